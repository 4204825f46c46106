#include "node-agent/clocks/stable_xid.h"

#include <gmock/gmock.h>

namespace bdr::agent {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr uint32_t kNone = kFrozenXid;

TEST(StableXidTest, AnXidCountsOnceWhatItCouldWriteIsStable) {
  StableXid xid;
  EXPECT_EQ(xid.Get(), kNone);
  xid.Seen(1000, Lsn{50}, 10 * kSecond);
  xid.Advance(Lsn{50}, 9 * kSecond, 10 * kSecond);
  EXPECT_EQ(xid.Get(), kNone);
  xid.Advance(Lsn{60}, 9 * kSecond, 10 * kSecond + 1);
  EXPECT_EQ(xid.Get(), 1000u);
}

TEST(StableXidTest, ARestartedServerGivesXidsOutAgain) {
  StableXid xid;
  xid.Seen(1000, Lsn{50}, 10 * kSecond);
  xid.Advance(Lsn{50}, 0, 20 * kSecond);
  xid.Seen(2000, Lsn{60}, 30 * kSecond);
  xid.Reset();
  xid.Advance(Lsn{60}, 0, 40 * kSecond);
  EXPECT_EQ(xid.Get(), kNone);
}

// Until capture is there, a commit before that moment may still get a stamp above its time.
TEST(StableXidTest, WhatIsNotCapturedYetIsNotStable) {
  StableXid xid;
  xid.Seen(1000, Lsn{50}, 10 * kSecond);
  xid.Advance(Lsn{49}, 9 * kSecond, 20 * kSecond);
  EXPECT_EQ(xid.Get(), kNone);
}

TEST(StableXidTest, StampsAheadOfTheClockAreWaitedFor) {
  StableXid xid;
  xid.Seen(1000, Lsn{50}, 10 * kSecond);
  xid.Advance(Lsn{50}, 15 * kSecond, 12 * kSecond);
  EXPECT_EQ(xid.Get(), kNone);
  // What is stamped later was written later.
  xid.Advance(Lsn{70}, 30 * kSecond, 15 * kSecond + 1);
  EXPECT_EQ(xid.Get(), 1000u);
}

TEST(StableXidTest, MarksStayFewHoweverLongAMemberIsAway) {
  StableXid xid;
  for (int64_t i = 1; i <= 100'000; ++i) {
    xid.Seen(static_cast<uint32_t>(i + 10), Lsn{static_cast<uint64_t>(i)}, i * kSecond);
    xid.Advance(Lsn{static_cast<uint64_t>(i)}, i * kSecond, 0);
  }
  xid.Advance(Lsn{100'000}, 100'000 * kSecond, 50'000 * kSecond);
  EXPECT_GT(xid.Get(), 40'000u);
  EXPECT_LE(xid.Get(), 50'010u);
}

}  // namespace
}  // namespace bdr::agent
