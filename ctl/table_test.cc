// The one table printer and the one output writer.
#include "ctl/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <sstream>
#include <string>

#include "ctl/format.h"
#include "ctl/output.h"

namespace bdr::ctl {
namespace {

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"NAME"}, {"ROWS", Table::Align::kRight}, {"REASON"}});
  table.AddRow({"a", "10000", ""});
  table.AddRow({"longer", "7", "why"});
  EXPECT_EQ(table.Render(),
            "NAME     ROWS  REASON\n"
            "a       10000\n"
            "longer      7  why\n");
}

TEST(TableTest, ARowIsALineWhateverItHolds) {
  Table table({{"KEY"}, {"X"}});
  table.AddRow({"two\nlines\x1b[31m", "x"});
  EXPECT_EQ(table.Render(),
            "KEY             X\n"
            "two lines [31m  x\n");
}

TEST(TableTest, CountsCharactersAndNotBytes) {
  Table table({{"N"}, {"X"}});
  table.AddRow({"äöü", "1"});
  table.AddRow({"abc", "2"});
  EXPECT_EQ(table.Render(),
            "N    X\n"
            "äöü  1\n"
            "abc  2\n");
}

TEST(TableTest, MissingCellsAreEmpty) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"1"});
  EXPECT_EQ(table.Render(), "A  B\n1\n");
}

std::string Written(const Output& output, OutputFormat format) {
  std::ostringstream out;
  Write(output, format, out);
  return out.str();
}

TEST(OutputTest, EachFormatWritesOnlyItself) {
  const Output output{.text = "hello\n",
                      .document = {{"b", 1}, {"a", {{"list", {1, "no", nullptr}}}}}};
  EXPECT_EQ(Written(output, OutputFormat::kTable), "hello\n");
  EXPECT_EQ(Json::parse(Written(output, OutputFormat::kJson)), output.document);
}

TEST(OutputTest, YamlKeepsStringsStrings) {
  const Output output{.text = "",
                      .document = {{"flag", "no"},
                                   {"number", "1e3"},
                                   {"empty", ""},
                                   {"lines", "a\nb\n"},
                                   {"quote", "a \"b\" \\ c"},
                                   {"list", Json::array()},
                                   {"map", Json::object()},
                                   {"truth", true},
                                   {"n", 42}}};
  const YAML::Node yaml = YAML::Load(Written(output, OutputFormat::kYaml));
  EXPECT_EQ(yaml["flag"].as<std::string>(), "no");
  EXPECT_EQ(yaml["flag"].Tag(), "!");  // quoted
  EXPECT_EQ(yaml["empty"].as<std::string>(), "");
  EXPECT_EQ(yaml["lines"].as<std::string>(), "a\nb\n");
  EXPECT_EQ(yaml["quote"].as<std::string>(), "a \"b\" \\ c");
  EXPECT_TRUE(yaml["list"].IsSequence());
  EXPECT_TRUE(yaml["map"].IsMap());
  EXPECT_TRUE(yaml["truth"].as<bool>());
  EXPECT_EQ(yaml["n"].as<int>(), 42);
}

TEST(OutputTest, BytesThatAreNoUtf8DoNotStopIt) {
  EXPECT_NE(Written({.text = "", .document = {{"x", "\xff"}}}, OutputFormat::kJson), "");
}

TEST(FormatTest, NumbersAndTimesReadWell) {
  EXPECT_EQ(HumanBytes(0), "0");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes(5ull << 40), "5.0 TiB");
  EXPECT_EQ(HumanAge(-5), "now");
  EXPECT_EQ(HumanAge(90'000'000), "90s");
  EXPECT_EQ(HumanAge(3'600'000'000), "60m");
  EXPECT_EQ(HumanAge(86'400'000'000), "24h");
  EXPECT_EQ(TimeText(1), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(TimeText(0), "-");
}

}  // namespace
}  // namespace bdr::ctl
