// Two appliers that decide about one row at the same time make nodes differ; two that wait for each
// other stop the cluster. Neither may happen, whatever the keys.
#include "node-agent/inflight/keys_in_flight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "conflict/version_store.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kShort = absl::Milliseconds(10);
constexpr absl::Duration kLong = absl::Seconds(60);
constexpr StampRange kStamps{.oldest_us = 100, .newest_us = 200};

TEST(KeysInFlightTest, DifferentKeysDoNotWaitForEachOther) {
  KeysInFlight table;
  auto [first, a] = table.Register(1, {"a", "b"}, kStamps, kShort);
  auto [second, b] = table.Register(2, {"c"}, kStamps, kShort);
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST(KeysInFlightTest, AKeyThatAnotherHoldsIsWaitedFor) {
  KeysInFlight table;
  auto [first, held] = table.Register(1, {"a"}, kStamps, kShort);
  ASSERT_TRUE(first);
  EXPECT_FALSE(table.Register(2, {"a"}, kStamps, kShort).first);
  held.Release();
  EXPECT_TRUE(table.Register(2, {"a"}, kStamps, kShort).first);
}

TEST(KeysInFlightTest, AllKeysOrNone) {
  KeysInFlight table;
  auto [first, held] = table.Register(1, {"b"}, kStamps, kShort);
  ASSERT_TRUE(first);
  EXPECT_FALSE(table.Register(2, {"a", "b", "c"}, kStamps, kShort).first);
  // What was free is free still.
  EXPECT_TRUE(table.Register(3, {"a", "c"}, kStamps, kShort).first);
}

TEST(KeysInFlightTest, KeysAreGivenBackWhenTheRegistrationGoes) {
  KeysInFlight table;
  { auto registration = table.Register(1, {"a"}, kStamps, kShort); }
  auto [registered, kept] = table.Register(2, {"a"}, kStamps, kShort);
  EXPECT_TRUE(registered);
  KeysInFlight::Registration moved = std::move(kept);
  EXPECT_FALSE(table.Register(3, {"a"}, kStamps, kShort).first);
  moved = KeysInFlight::Registration();
  EXPECT_TRUE(table.Register(3, {"a"}, kStamps, kShort).first);
}

TEST(KeysInFlightTest, AWaiterGoesOnWhenTheKeyIsGivenBack) {
  KeysInFlight table;
  auto [first, held] = table.Register(1, {"a"}, kStamps, kShort);
  std::thread holder([&held = held] {
    absl::SleepFor(absl::Milliseconds(20));
    held.Commit(Lsn{5});
  });
  EXPECT_TRUE(table.Register(2, {"a"}, kStamps, kLong).first);
  holder.join();
}

TEST(KeysInFlightTest, EverythingIsWaitedForAndKeepsOthersOut) {
  KeysInFlight table;
  auto [first, held] = table.Register(1, {"a"}, kStamps, kShort);
  EXPECT_FALSE(table.RegisterAll(2, kStamps, kShort).first);
  held.Release();
  auto [all, everything] = table.RegisterAll(2, kStamps, kShort);
  ASSERT_TRUE(all);
  EXPECT_FALSE(table.Register(1, {"z"}, kStamps, kShort).first);
  EXPECT_FALSE(table.RegisterAll(3, kStamps, kShort).first);
  everything.Release();
  EXPECT_TRUE(table.Register(1, {"z"}, kStamps, kShort).first);
}

TEST(KeysInFlightTest, WhoGaveUpWaitingForEverythingKeepsNobodyOut) {
  KeysInFlight table;
  auto [first, held] = table.Register(1, {"a"}, kStamps, kShort);
  EXPECT_FALSE(table.RegisterAll(2, kStamps, kShort).first);
  EXPECT_TRUE(table.Register(3, {"b"}, kStamps, kShort).first);
}

// Others come and go all the time; with never a moment without any, it must get its turn.
TEST(KeysInFlightTest, WhoWaitsForEverythingDoesNotStarve) {
  KeysInFlight table;
  std::atomic<bool> done = false;
  std::vector<std::thread> others;
  for (uint64_t holder = 1; holder <= 3; ++holder) {
    others.emplace_back([&, holder] {
      while (!done) {
        auto [registered, held] =
            table.Register(holder, {absl::StrCat("key ", holder)}, kStamps, kShort);
        absl::SleepFor(absl::Microseconds(300));
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(table.RegisterAll(9, kStamps, kLong).first);
  done = true;
  for (std::thread& other : others) other.join();
}

// A local TRUNCATE names no keys. Any row of its table counts that an applier holds, or wrote
// before capture came by, and whose change is older.
TEST(KeysInFlightTest, ATruncateTouchesEveryRowOfItsTableUntilCaptureHasPassed) {
  KeysInFlight table;
  const std::string row = conflict::VersionKey(7, "row");
  EXPECT_FALSE(table.TouchesTable(7, 500));
  auto [first, held] = table.Register(1, {row}, kStamps, kShort);
  ASSERT_TRUE(first);
  EXPECT_TRUE(table.TouchesTable(7, 500));
  EXPECT_FALSE(table.TouchesTable(8, 500));
  EXPECT_FALSE(table.TouchesTable(7, 99));  // everything in the group is newer
  EXPECT_TRUE(table.TouchesTable(7, 100));  // perhaps: of equal times the node decides
  held.Commit(Lsn{50});
  EXPECT_TRUE(table.TouchesTable(7, 500));
  table.Forget(Lsn{49});
  EXPECT_TRUE(table.TouchesTable(7, 500));
  table.Forget(Lsn{50});
  EXPECT_FALSE(table.TouchesTable(7, 500));
}

TEST(KeysInFlightTest, RowsWithoutAKeyAreRememberedByTableAndKeptFromNobody) {
  KeysInFlight table;
  auto [first, one] = table.Register(1, {}, kStamps, kShort, {9});
  auto [second, other] = table.Register(2, {}, kStamps, kShort, {9});
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  one.Release();  // rolled back
  EXPECT_TRUE(table.TouchesTable(9, 500));
  other.Release();
  EXPECT_FALSE(table.TouchesTable(9, 500));
}

// A TRUNCATE between the store that was asked for one and the rows would leave these standing.
TEST(KeysInFlightTest, WhoWantsAllWaitsForAGroupOfRowsWithoutAKey) {
  KeysInFlight table;
  auto [first, one] = table.Register(1, {}, kStamps, kShort, {9});
  ASSERT_TRUE(first);
  EXPECT_FALSE(table.RegisterAll(2, kStamps, kShort).first);
  one.Commit(Lsn{50});
  EXPECT_TRUE(table.RegisterAll(2, kStamps, kShort).first);
}

TEST(KeysInFlightTest, ManyHoldersOfRandomKeysNeitherMeetNorHang) {
  constexpr int kHolders = 6;
  constexpr int kRounds = 1500;
  constexpr uint32_t kKeys = 12;
  KeysInFlight table;
  std::vector<std::atomic<int>> holders(kKeys);
  std::atomic<int> exclusive = 0;
  std::atomic<int> inside = 0;
  std::vector<std::thread> threads;
  for (int holder = 1; holder <= kHolders; ++holder) {
    threads.emplace_back([&, holder] {
      std::mt19937 random(static_cast<uint32_t>(holder));
      for (int round = 0; round < kRounds; ++round) {
        const bool all = random() % 20 == 0;
        std::vector<std::string> keys;
        std::vector<uint32_t> numbers;
        for (uint32_t key = 0; key < kKeys && !all; ++key) {
          if (random() % 4 != 0) continue;
          keys.push_back(std::to_string(key));
          numbers.push_back(key);
        }
        const auto id = static_cast<uint64_t>(holder);
        auto [registered, held] =
            all ? table.RegisterAll(id, kStamps, kLong) : table.Register(id, keys, kStamps, kLong);
        ASSERT_TRUE(registered);
        if (all) {
          EXPECT_EQ(inside++, 0);
          EXPECT_EQ(exclusive++, 0);
          exclusive--;
          inside--;
        } else {
          inside++;
          EXPECT_EQ(exclusive, 0);
          for (const uint32_t number : numbers) EXPECT_EQ(holders[number]++, 0);
          for (const uint32_t number : numbers) holders[number]--;
          inside--;
        }
        const auto position = static_cast<uint64_t>(round);
        if (random() % 2 == 0) held.Commit(Lsn{position});
        if (random() % 8 == 0) table.Forget(Lsn{position / 2});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  table.Forget(Lsn{kRounds});
  EXPECT_TRUE(table.RegisterAll(99, kStamps, kShort).first);
  EXPECT_FALSE(table.Touches("3", /*gone=*/true, 0, INT64_MAX));
}

// --- what capture asks ---

TEST(KeysInFlightTest, ALocalDeleteTouchesAKeyInFlightUnlessItIsOlderThanAllOfIt) {
  KeysInFlight table;
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 150, 150));
  auto [registered, held] = table.Register(1, {"a"}, kStamps, kShort);
  ASSERT_TRUE(registered);
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 900, 900));  // it showed no row to be compared
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 50, 50));   // it loses in any case
  EXPECT_FALSE(table.Touches("b", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, ALocalRowTouchesOnlyWhereItsCommitTimeMisleads) {
  KeysInFlight table;
  auto [registered, held] = table.Register(1, {"a"}, kStamps, kShort);
  ASSERT_TRUE(registered);
  EXPECT_TRUE(table.Touches("a", /*gone=*/false, 90, 150));  // looked older than it is
  EXPECT_TRUE(table.Touches("a", /*gone=*/false, 199, 1000));
  EXPECT_FALSE(table.Touches("a", /*gone=*/false, 300, 1000));  // looked newer, and is
  EXPECT_FALSE(table.Touches("a", /*gone=*/false, 50, 90));     // looked older, and is
}

// Two nodes may commit in the same microsecond; then the higher node's change is the newer one.
TEST(KeysInFlightTest, EqualTimesTouchSinceTheNodesDecide) {
  KeysInFlight table;
  auto [registered, held] = table.Register(1, {"a"}, {.oldest_us = 150, .newest_us = 150}, kShort);
  ASSERT_TRUE(registered);
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Touches("a", /*gone=*/false, 150, 151));
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 149, 149));
}

TEST(KeysInFlightTest, WhatWasReleasedTouchesNothing) {
  KeysInFlight table;
  table.Register(1, {"a"}, kStamps, kShort).second.Release();
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, WhatWasWrittenTouchesUntilCaptureHasPassedIt) {
  KeysInFlight table;
  table.Register(1, {"a"}, kStamps, kShort).second.Commit(Lsn{1000});
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Register(2, {"a"}, kStamps, kShort).first);  // it is held by nobody
  table.Forget(Lsn{999});
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  table.Forget(Lsn{1000});
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, EachGroupThatWroteAKeyCountsByItself) {
  KeysInFlight table;
  table.Register(1, {"a"}, {.oldest_us = 500, .newest_us = 600}, kShort).second.Commit(Lsn{10});
  table.Register(2, {"a"}, {.oldest_us = 100, .newest_us = 110}, kShort).second.Commit(Lsn{20});
  table.Forget(Lsn{10});
  // The second group is younger in the WAL, and older by its stamps.
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  table.Forget(Lsn{20});
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, ACommitThatIsNotKnownCountsUntilItIsSettled) {
  KeysInFlight table;
  table.Register(1, {"a"}, kStamps, kShort).second.Commit(Lsn{UINT64_MAX});
  table.Register(2, {"b"}, kStamps, kShort).second.Commit(Lsn{UINT64_MAX});
  table.Forget(Lsn{1'000'000});
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
  table.Settle(1, Lsn{2'000'000});
  table.Forget(Lsn{2'000'000});
  EXPECT_FALSE(table.Touches("a", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Touches("b", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, ALargeTransactionTouchesEveryKey) {
  KeysInFlight table;
  auto [registered, all] = table.RegisterAll(1, kStamps, kShort);
  ASSERT_TRUE(registered);
  EXPECT_TRUE(table.Touches("anything", /*gone=*/true, 150, 150));
  all.Commit(Lsn{10});
  EXPECT_TRUE(table.Touches("anything", /*gone=*/true, 150, 150));
  EXPECT_FALSE(table.Touches("anything", /*gone=*/true, 50, 50));
  EXPECT_TRUE(table.Register(2, {"anything"}, kStamps, kShort).first);
  table.Forget(Lsn{10});
  EXPECT_FALSE(table.Touches("anything", /*gone=*/true, 150, 150));
}

TEST(KeysInFlightTest, GroupsAreForgottenInWhateverOrderTheyEnd) {
  KeysInFlight table;
  table.Register(1, {"a"}, kStamps, kShort).second.Commit(Lsn{UINT64_MAX});
  table.Register(2, {"b"}, kStamps, kShort).second.Commit(Lsn{10});
  table.Forget(Lsn{10});  // the one before it is still not settled
  EXPECT_FALSE(table.Touches("b", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Touches("a", /*gone=*/true, 150, 150));
}

// Capture stands still, and others' changes go on coming.
TEST(KeysInFlightTest, WhatIsRememberedIsBoundedAndForgetsNothing) {
  constexpr size_t kMost = size_t{4} << 20;
  KeysInFlight table(kMost);
  size_t group = 0;
  size_t before = 0;
  // Long keys: their number says little.
  const std::string common(2000, 'k');
  do {
    before = table.recent_bytes();
    std::vector<std::string> keys;
    for (size_t i = 0; i < 200; ++i) keys.push_back(absl::StrCat(common, group, "/", i));
    table.Register(1 + group % 2, std::move(keys), kStamps, kShort).second.Commit(Lsn{10 + group});
    EXPECT_LE(table.recent_bytes(), kMost);
    ASSERT_LT(++group, 100u) << "it only grows";
  } while (table.recent_bytes() > before);
  EXPECT_TRUE(table.Touches(common + "0/7", /*gone=*/true, 150, 150));
  EXPECT_TRUE(table.Touches("any other", /*gone=*/true, 150, 150));         // more than need be
  EXPECT_TRUE(table.Register(3, {common + "0/7"}, kStamps, kShort).first);  // nobody waits
  table.Forget(Lsn{1000});
  EXPECT_FALSE(table.Touches(common + "0/7", /*gone=*/true, 150, 150));
  EXPECT_EQ(table.recent_bytes(), 0u);
}

// The look of capture at what was written must not take the longer the further it is behind.
TEST(KeysInFlightTest, ManyLargeTransactionsAreLookedAtTogetherAndNoneIsMissed) {
  KeysInFlight table;
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany; ++i) {
    const StampRange stamps{.oldest_us = 1000 + 10 * i, .newest_us = 1000 + 10 * i};
    table.RegisterAll(1, stamps, kShort).second.Commit(Lsn{10 + static_cast<uint64_t>(i)});
  }
  const absl::Time begun = absl::Now();
  for (int i = 0; i < kMany; ++i) {
    const int64_t stamp_us = 1000 + 10 * i;
    ASSERT_TRUE(table.Touches("key", /*gone=*/false, stamp_us - 1, stamp_us + 1)) << i;
  }
  EXPECT_LT(absl::Now() - begun, absl::Seconds(5));  // one by one it is half a minute
  EXPECT_FALSE(table.Touches("key", /*gone=*/true, 999, 999));
  EXPECT_FALSE(table.Touches("key", /*gone=*/false, 1001 + 10 * kMany, 1001 + 10 * kMany));
  table.Forget(Lsn{10 + kMany / 2});
  EXPECT_FALSE(table.Touches("key", /*gone=*/true, 1001, 1001));
  EXPECT_TRUE(table.TouchesTable(7, 1000 + 10 * kMany));
  table.Forget(Lsn{10 + kMany});
  EXPECT_FALSE(table.TouchesTable(7, 1000 + 10 * kMany));
  EXPECT_FALSE(table.TouchesClaim("claim"));
}

}  // namespace
}  // namespace bdr::agent
