// A log line must stay one line, and tell values from text, whatever peers and users send.
#include "base/logging.h"

#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

absl::Time SomeTime() { return absl::FromUnixMillis(1769897647042); }

std::string ReadFile(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(LoggingTest, ALineHasLevelTimeEventFieldsAndText) {
  EXPECT_EQ(FormatLogLine(LogLevel::kWarning, SomeTime(), "stream",
                          {{"state", "streaming->backoff"},
                           {"node", "eu1"},
                           {"peer", "us2"},
                           {"lsn", "0/5A3F210"},
                           {"retry_ms", 400}},
                          "connection reset"),
            "W 2026-01-31T22:14:07.042Z stream state=streaming->backoff node=eu1 peer=us2 "
            "lsn=0/5A3F210 retry_ms=400: connection reset");
  EXPECT_EQ(FormatLogLine(LogLevel::kInfo, SomeTime(), "start", {}, ""),
            "I 2026-01-31T22:14:07.042Z start");
}

TEST(LoggingTest, LineEndsAndQuotesCannotForgeALine) {
  EXPECT_THAT(
      FormatLogLine(LogLevel::kError, SomeTime(), "apply",
                    {{"table", "a \"b\""}, {"empty", ""}, {"eq", "a=b"}}, "one\ntwo\x1b[2J"),
      EndsWith("apply table=\"a \\\"b\\\"\" empty=\"\" eq=\"a=b\": one\\ntwo\\x1b[2J"));
  EXPECT_THAT(FormatLogLine(LogLevel::kError, SomeTime(), "apply", {{"table", "größe\n"}}, ""),
              EndsWith("table=\"größe\\n\""));
}

TEST(LoggingTest, BracesInATextAreNoFormat) {
  const std::string path = testing::TempDir() + "/logging_braces.log";
  std::remove(path.c_str());
  ASSERT_TRUE(SetLogFile(path).ok());
  LogInfo("event", {{"value", "{}"}}, "{0} {missing}");
  ASSERT_TRUE(SetLogFile("").ok());
  EXPECT_THAT(ReadFile(path), EndsWith("event value={}: {0} {missing}\n"));
}

TEST(LoggingTest, AFileThatWasRenamedIsBegunAnew) {
  const std::string path = testing::TempDir() + "/logging_rotated.log";
  const std::string rotated = path + ".1";
  std::remove(path.c_str());
  ASSERT_TRUE(SetLogFile(path).ok());
  LogInfo("before", {});
  ASSERT_EQ(std::rename(path.c_str(), rotated.c_str()), 0);
  LogInfo("after", {});
  ASSERT_EQ(std::remove(path.c_str()), 0);
  LogInfo("again", {});
  ASSERT_TRUE(SetLogFile("").ok());
  EXPECT_THAT(ReadFile(rotated), EndsWith("Z before\n"));
  EXPECT_THAT(ReadFile(path), AllOf(StartsWith("I "), EndsWith("Z again\n")));
}

TEST(LoggingTest, LessSeriousLevelsAreDropped) {
  const std::string path = testing::TempDir() + "/logging_levels.log";
  std::remove(path.c_str());
  ASSERT_TRUE(SetLogFile(path).ok());
  ASSERT_TRUE(SetLogLevel("warning").ok());
  LogDebug("a", {});
  LogInfo("b", {});
  LogWarning("c", {});
  LogError("d", {});
  ASSERT_TRUE(SetLogLevel("info").ok());
  ASSERT_TRUE(SetLogFile("").ok());
  const std::vector<std::string> lines = absl::StrSplit(ReadFile(path), '\n');
  EXPECT_THAT(lines, ElementsAre(StartsWith("W "), StartsWith("E "), ""));
}

TEST(LoggingTest, UnknownLevelAndUnwritableFileAreErrors) {
  EXPECT_THAT(std::string(SetLogLevel("loud").message()), HasSubstr("debug, info, warning"));
  const absl::Status status = SetLogFile("/proc/nowhere/a.log");
  EXPECT_THAT(std::string(status.message()), HasSubstr("/proc/nowhere/a.log"));
}

TEST(LoggingTest, LinesOfManyThreadsStayWhole) {
  const std::string path = testing::TempDir() + "/logging_threads.log";
  std::remove(path.c_str());
  ASSERT_TRUE(SetLogFile(path).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) LogInfo("event", {{"thread", t}, {"i", i}}, "text");
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(SetLogFile("").ok());
  const std::vector<std::string> lines = absl::StrSplit(ReadFile(path), '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 400u);
  for (const std::string& line : lines) {
    EXPECT_THAT(line, MatchesRegex("I .*Z event thread=[0-3] i=[0-9]+: text"));
  }
}

}  // namespace
}  // namespace bdr
