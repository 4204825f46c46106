// The one table printer and the one output writer.
#include "ctl/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/field_table.h"
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
  EXPECT_EQ(HumanAge(59'000'000), "59s");
  EXPECT_EQ(HumanAge(125'000'000), "2m 5s");
  EXPECT_EQ(HumanAge(3'600'000'000), "1h");
  EXPECT_EQ(HumanAge(86'399'000'000), "23h 59m");
  EXPECT_EQ(HumanAge(97'200'000'000), "1d 3h");
  EXPECT_EQ(HumanLag(0), "0");
  EXPECT_EQ(HumanLag(350), "350ms");
  EXPECT_EQ(HumanLag(2'140), "2.1s");
  EXPECT_EQ(HumanLag(125'000), "2m 5s");
  EXPECT_EQ(TimeText(1), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(TimeText(0), "-");
}

TEST(FormatTest, MomentsAreShownByTheClockOfWhoeverReads) {
  const int64_t us = 1'769'897'647'042'123;
  EXPECT_EQ(LocalTime(us, absl::UTCTimeZone()), "2026-01-31 22:14:07+00");
  EXPECT_EQ(LocalTime(us, absl::FixedTimeZone(3600)), "2026-01-31 23:14:07+01");
  EXPECT_EQ(LocalTime(us, absl::FixedTimeZone(5 * 3600 + 1800)), "2026-02-01 03:44:07+05:30");
  EXPECT_EQ(LocalStamp(us, absl::UTCTimeZone()), "2026-01-31 22:14:07.042123+00");
  EXPECT_EQ(LocalTime(0), "-");
}

TEST(FieldTableTest, UnitsSayHowAValueIsShownAndAreNotShown) {
  const Json facts = {{"since_us", 1'769'897'647'042'123},
                      {"never_us", 0},
                      {"advance_us", 2'140'000},
                      {"age_ms", 350},
                      {"log_bytes", 1536},
                      {"count", 7},
                      {"nothing", nullptr},
                      {"empty", ""},
                      {"words", "as they are"}};
  EXPECT_EQ(FieldTable(facts, {"advance_us"}).Render(),
            absl::StrCat("FIELD    VALUE\n"
                         "since    ",
                         LocalTime(1'769'897'647'042'123),
                         "\n"
                         "never    -\n"
                         "advance  2.1s\n"
                         "age      350ms\n"
                         "log      1.5 KiB\n"
                         "count    7\n"
                         "nothing  -\n"
                         "empty    -\n"
                         "words    as they are\n"));
}

}  // namespace
}  // namespace bdr::ctl
