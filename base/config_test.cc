// A configuration file must never be half understood: these tests pin what is refused and how.
#include "base/config.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Values {
  std::string name;
  std::string folder;
  bool insecure = false;
  int64_t count = 0;
  absl::Duration age;
  int64_t limit = 0;
  std::string listen;
  std::vector<std::string> control;
  std::string level;
};

Declaration Declare(Values* values) {
  Declaration declaration;
  declaration.String("node", &values->name, "name of the node", {.required = true});
  declaration.Path("data_dir", &values->folder, "folder of its own", {});
  declaration.Bool("insecure", &values->insecure, "plaintext", {.default_value = "false"});
  declaration.Integer("apply.count", &values->count, "bound",
                      {.default_value = "500", .min = "1", .max = "1000"});
  declaration.Duration("apply.age", &values->age, "bound",
                       {.default_value = "200ms", .min = "1ms", .max = "10s"});
  declaration.ByteSize("memory_limit", &values->limit, "bound", {.default_value = "256MiB"});
  declaration.Address("listen", &values->listen, "listener", {});
  declaration.AddressList("control", &values->control, "servers", {});
  declaration.String("log.level", &values->level, "least level",
                     {.default_value = "info", .one_of = {"debug", "info"}});
  return declaration;
}

absl::Status Load(const std::string& text, Values* values) {
  return Declare(values).LoadText(text, "etc/agent.yaml");
}

std::string ErrorOf(const std::string& text) {
  Values values;
  return std::string(Load(text, &values).message());
}

TEST(ConfigTest, WhatIsNotInTheFileTakesItsDefault) {
  Values values;
  ASSERT_TRUE(Load("node: eu1\n", &values).ok());
  EXPECT_EQ(values.name, "eu1");
  EXPECT_FALSE(values.insecure);
  EXPECT_EQ(values.count, 500);
  EXPECT_EQ(values.age, absl::Milliseconds(200));
  EXPECT_EQ(values.limit, 256 << 20);
  EXPECT_EQ(values.listen, "");
  EXPECT_EQ(values.level, "info");
}

TEST(ConfigTest, EveryTypeIsRead) {
  Values values;
  const absl::Status status = Load(
      "node: eu1\ndata_dir: ../data\ninsecure: true\n"
      "apply:\n  count: 7\n  age: 1s\nmemory_limit: 64KiB\nlisten: '[::1]:7400'\n"
      "control: [a:1, b:2]\nlog:\n  level: debug\n",
      &values);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(values.folder, "data");  // beside the folder of the file
  EXPECT_TRUE(values.insecure);
  EXPECT_EQ(values.count, 7);
  EXPECT_EQ(values.age, absl::Seconds(1));
  EXPECT_EQ(values.limit, 65536);
  EXPECT_EQ(values.listen, "[::1]:7400");
  EXPECT_THAT(values.control, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(values.level, "debug");
}

TEST(ConfigTest, UnknownKeyNamesLineAndNearestKnownKey) {
  EXPECT_EQ(ErrorOf("node: eu1\nmemory_limits: 1MiB\n"),
            "etc/agent.yaml:2: unknown key \"memory_limits\"; did you mean \"memory_limit\"?");
  EXPECT_EQ(ErrorOf("node: eu1\napply:\n  counts: 1\n"),
            "etc/agent.yaml:3: unknown key \"apply.counts\"; did you mean \"apply.count\"?");
  EXPECT_THAT(ErrorOf("node: eu1\nqqqqqqqq: 1\n"), HasSubstr("docs/configuration.md lists"));
}

TEST(ConfigTest, WrongValueNamesLineKeyAndWhatIsExpected) {
  EXPECT_EQ(
      ErrorOf("node: eu1\napply:\n  age: soon\n"),
      "etc/agent.yaml:3: key \"apply.age\": expected a duration such as \"500ms\", \"10s\" or "
      "\"7d\", at least 1ms, at most 10s, found \"soon\"");
  EXPECT_THAT(ErrorOf("node: eu1\napply: {age: 11s}\n"), HasSubstr("at most 10s, found \"11s\""));
  EXPECT_THAT(ErrorOf("node: eu1\napply: {count: 0}\n"), HasSubstr("at least 1"));
  EXPECT_THAT(ErrorOf("node: eu1\napply: {count: 1.5}\n"), HasSubstr("a whole number"));
  EXPECT_THAT(ErrorOf("node: eu1\ninsecure: yes\n"), HasSubstr("true or false, found \"yes\""));
  EXPECT_THAT(ErrorOf("node: eu1\nmemory_limit: 1MB\n"), HasSubstr("a size such as"));
  EXPECT_THAT(ErrorOf("node: eu1\nlisten: 7400\n"), HasSubstr("an address such as"));
  EXPECT_THAT(ErrorOf("node: eu1\ncontrol: a:1\n"), HasSubstr("a list of addresses"));
  EXPECT_THAT(ErrorOf("node: eu1\ncontrol: [a]\n"), HasSubstr("found \"a\""));
  EXPECT_THAT(ErrorOf("node: eu1\nlog: {level: loud}\n"), HasSubstr("one of debug, info"));
  EXPECT_THAT(ErrorOf("node: [eu1]\n"), HasSubstr("found a list or map"));
  EXPECT_THAT(ErrorOf("node:\n"), HasSubstr("found nothing"));
}

TEST(ConfigTest, StructureMistakesAreRefused) {
  EXPECT_EQ(ErrorOf("insecure: true\n"), "etc/agent.yaml: missing key \"node\" (name of the node)");
  EXPECT_THAT(ErrorOf("node: a\nnode: b\n"), HasSubstr(":2: key \"node\" stands twice"));
  EXPECT_THAT(ErrorOf("node: a\napply: 5\n"), HasSubstr("holds further keys"));
  EXPECT_THAT(ErrorOf("node: [a\n"), HasSubstr("not YAML"));
  EXPECT_THAT(ErrorOf("- node\n"), HasSubstr("key: value"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("missing key"));
}

TEST(ConfigTest, ACommentedOutSectionIsEmpty) {
  Values values;
  EXPECT_TRUE(Load("node: eu1\napply:\n  # age: 1s\n", &values).ok());
}

TEST(ConfigTest, MissingFileIsNamed) {
  Values values;
  const absl::Status status = Declare(&values).LoadFile("/nonexistent/agent.yaml");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/agent.yaml"));
}

TEST(ConfigTest, FileIsReadAndAnEmptyOneIsCalledEmpty) {
  const std::string path = testing::TempDir() + "/config_test.yaml";
  std::ofstream(path) << "node: eu1\ndata_dir: data\n";
  Values values;
  ASSERT_TRUE(Declare(&values).LoadFile(path).ok());
  EXPECT_TRUE(values.folder.front() == '/' && values.folder.size() > 5) << values.folder;
  std::ofstream(path) << "";
  EXPECT_THAT(std::string(Declare(&values).LoadFile(path).message()), HasSubstr("it is empty"));
}

TEST(ConfigTest, HelpAndMarkdownShowEveryKey) {
  Values values;
  const Declaration declaration = Declare(&values);
  for (const Key& key : declaration.keys()) {
    EXPECT_THAT(declaration.Help(), HasSubstr(key.name));
    EXPECT_THAT(declaration.MarkdownTable(), HasSubstr("`" + key.name + "`"));
  }
  EXPECT_THAT(declaration.MarkdownTable(),
              HasSubstr("| `apply.age` | duration, at least 1ms, at most 10s | 200ms | bound |"));
}

TEST(ConfigValuesTest, Durations) {
  EXPECT_EQ(*ParseDuration("7d"), absl::Hours(168));
  EXPECT_EQ(*ParseDuration("2h30m"), absl::Minutes(150));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  for (const char* wrong : {"", "10", "-1s", "inf", "d", "1w", "1s 2"}) {
    EXPECT_FALSE(ParseDuration(wrong).ok()) << wrong;
  }
}

TEST(ConfigValuesTest, Sizes) {
  EXPECT_EQ(*ParseByteSize("17"), 17);
  EXPECT_EQ(*ParseByteSize("10GiB"), int64_t{10} << 30);
  for (const char* wrong : {"", "MiB", "1MB", "-1KiB", "1.5GiB", "99999999TiB"}) {
    EXPECT_FALSE(ParseByteSize(wrong).ok()) << wrong;
  }
}

TEST(ConfigValuesTest, Addresses) {
  EXPECT_EQ(ParseHostPort("[fe80::1]:7400")->host, "fe80::1");
  EXPECT_EQ(ParseHostPort("db.example:7400")->port, 7400);
  for (const char* wrong :
       {"", "a", ":1", "a:0", "a:65536", "a:x", "::1:7400", "a b:1", "http://a:1"}) {
    EXPECT_FALSE(ParseHostPort(wrong).ok()) << wrong;
  }
}

TEST(ConfigValuesTest, OnlyThisMachineIsLoopback) {
  for (const char* here : {"localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
    EXPECT_TRUE(IsLoopback(here)) << here;
  }
  for (const char* there :
       {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.0.0.1.example.org", ""}) {
    EXPECT_FALSE(IsLoopback(there)) << there;
  }
}

TEST(ConfigValuesTest, NearestIsNotFarFetched) {
  EXPECT_EQ(Nearest("databse", {"data_dir", "database"}), "database");
  EXPECT_EQ(Nearest("zzz", {"data_dir", "database"}), "");
}

}  // namespace
}  // namespace bdr::config
