// A clock that does not show what a test believes would prove nothing.
#include "tests/harness/fake_clock.h"

#include <gmock/gmock.h>

#include "absl/strings/numbers.h"
#include "base/testing.h"
#include "tests/harness/postgres_server.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

TEST(FakeClockTest, MovesEverySessionOfARunningServerAtOnce) {
  ASSERT_OK_AND_ASSIGN(const auto folder, TempFolder::Create("bdr-clock"));
  ASSERT_OK_AND_ASSIGN(const auto clock, FakeClock::Create(folder->path() + "/clock"));
  ASSERT_OK_AND_ASSIGN(const auto server,
                       PostgresServer::Create({.environment = clock->environment()}));
  ASSERT_OK_AND_ASSIGN(const auto old_session, server->Connect());
  // How far the server's clock is ahead of the machine's, as an old session and a new one see it.
  const auto expect_ahead = [&](absl::Duration ahead) {
    for (const bool old : {true, false}) {
      const std::string sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
      const absl::StatusOr<std::string> value =
          old ? old_session->QueryValue(sql) : server->QueryValue(sql);
      ASSERT_OK(value.status());
      int64_t shown_us = 0;
      ASSERT_TRUE(absl::SimpleAtoi(*value, &shown_us));
      EXPECT_LT(absl::AbsDuration(absl::FromUnixMicros(shown_us) - absl::Now() - ahead),
                absl::Milliseconds(500));
    }
  };
  expect_ahead(absl::ZeroDuration());
  for (const absl::Duration ahead :
       {absl::Seconds(5), absl::Seconds(-5), absl::Hours(24 * 3653), absl::ZeroDuration()}) {
    clock->Set(ahead);
    expect_ahead(ahead);
  }
  // No jump when the rate changes; and a thousandfold rate shows within any time that can be
  // measured.
  clock->Set(absl::Seconds(-7));
  clock->SetRate(1000);
  EXPECT_LT(absl::AbsDuration(clock->ahead() + absl::Seconds(7)), absl::Seconds(3));
  while (clock->ahead() < absl::Seconds(1)) {
  }
  clock->SetRate(1);
  expect_ahead(clock->ahead());
}

TEST(FakeClockTest, MergedEnvironmentsLoadBothLibraries) {
  EXPECT_THAT(Merge({{"LD_PRELOAD", "a.so"}, {"A", "1"}}, {{"LD_PRELOAD", "b.so"}, {"B", "2"}}),
              testing::UnorderedElementsAre(testing::Pair("LD_PRELOAD", "a.so:b.so"),
                                            testing::Pair("A", "1"), testing::Pair("B", "2")));
}

}  // namespace
}  // namespace bdr::harness
