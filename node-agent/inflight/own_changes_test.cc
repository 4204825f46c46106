// Own changes that wait to be merged again take a bounded amount of memory, and none is forgotten.
#include "node-agent/inflight/own_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bdr::agent {
namespace {

OwnChange Change(uint64_t end_lsn, size_t bytes = 1000) {
  OwnChange change;
  change.header.end_lsn = Lsn{end_lsn};
  change.change = std::string(bytes, 'x');
  return change;
}

TEST(OwnChangesTest, LowWaterIsBelowWhatWaitsAndWhatIsBeingMerged) {
  OwnChanges changes;
  changes.Looked(Lsn{100});
  EXPECT_EQ(changes.low_water(), Lsn{100});
  changes.Add(Change(150));
  changes.Add(Change(160));
  changes.Looked(Lsn{200});
  EXPECT_EQ(changes.low_water(), Lsn{149});
  EXPECT_EQ(changes.Take(10, absl::ZeroDuration()).size(), 2u);
  EXPECT_EQ(changes.low_water(), Lsn{149});
  changes.Done();
  EXPECT_EQ(changes.low_water(), Lsn{200});
}

TEST(OwnChangesTest, WhatDoesNotFitComesFromTheLogAgain) {
  OwnChanges changes(/*most_bytes=*/10'000);
  uint64_t lsn = 1000;
  for (int i = 0; i < 1000; ++i) changes.Add(Change(lsn += 10));
  EXPECT_LE(changes.waiting_bytes(), 10'000u);
  changes.Looked(Lsn{lsn});

  // First what waits.
  uint64_t last = 0;
  for (auto taken = changes.Take(500, absl::ZeroDuration()); !taken.empty();
       taken = changes.Take(500, absl::ZeroDuration())) {
    EXPECT_FALSE(changes.TakeDropped().has_value());  // those are not merged yet
    last = taken.back().header.end_lsn.value;
    EXPECT_LT(changes.low_water(), Lsn{last});
    changes.Done();
  }
  // Then the rest, without a gap.
  EXPECT_EQ(changes.low_water(), Lsn{last + 9});
  const auto dropped = changes.TakeDropped();
  ASSERT_TRUE(dropped.has_value());
  EXPECT_EQ(dropped->after, Lsn{last + 9});
  EXPECT_EQ(dropped->through, Lsn{lsn});
  EXPECT_FALSE(changes.TakeDropped().has_value());

  // What comes meanwhile waits as ever.
  changes.Add(Change(lsn + 10));
  EXPECT_EQ(changes.low_water(), dropped->after);
  changes.Replayed(Lsn{5000});
  EXPECT_EQ(changes.low_water(), Lsn{5000});
  changes.EndReplay();
  EXPECT_EQ(changes.Take(500, absl::ZeroDuration()).size(), 1u);
}

TEST(OwnChangesTest, AChangeThatIsLargerThanTheBoundIsTakenAlone) {
  OwnChanges changes(/*most_bytes=*/10'000);
  changes.Add(Change(10, 50'000));
  changes.Add(Change(20, 100));
  EXPECT_EQ(changes.Take(500, absl::ZeroDuration()).size(), 1u);
  changes.Done();
  const auto dropped = changes.TakeDropped();
  ASSERT_TRUE(dropped.has_value());
  EXPECT_EQ(dropped->after, Lsn{19});
}

}  // namespace
}  // namespace bdr::agent
