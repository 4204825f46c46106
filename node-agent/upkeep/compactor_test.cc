// When what is forgotten is given back, and that it is.
#include "node-agent/upkeep/compactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "conflict/version_store.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

FamilyGrowth ManyVersions() {
  return {.keys = 100'000,
          .bytes = 5 << 20,
          .by_filter = true,
          .stable_moved = true,
          .bytes_after_last = 0,
          .since_last = absl::Minutes(1),
          .last_took = absl::Seconds(1)};
}

TEST(CompactorTest, ManyEntriesAreWorthIt) { EXPECT_TRUE(WorthCompacting(ManyVersions())); }

TEST(CompactorTest, WhileNothingBecameStableNothingCanBeDropped) {
  FamilyGrowth growth = ManyVersions();
  growth.stable_moved = false;
  EXPECT_FALSE(WorthCompacting(growth));
}

TEST(CompactorTest, ACompactionThatTakesLongIsRare) {
  FamilyGrowth growth = ManyVersions();
  growth.last_took = absl::Seconds(10);
  EXPECT_FALSE(WorthCompacting(growth));
  growth.since_last = absl::Seconds(201);
  EXPECT_TRUE(WorthCompacting(growth));
}

TEST(CompactorTest, ALogThatIsLargeBecauseItIsNeededIsLeftAlone) {
  FamilyGrowth growth = ManyVersions();
  growth.by_filter = false;
  growth.bytes = 10ull << 30;
  growth.bytes_after_last = 9ull << 30;
  EXPECT_FALSE(WorthCompacting(growth));
  growth.bytes_after_last = 1ull << 30;
  EXPECT_TRUE(WorthCompacting(growth));
}

TEST(CompactorTest, StableVersionsGoAndOthersStay) {
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create("compactor"));
  ASSERT_OK_AND_ASSIGN(const auto database, Database::Open({.directory = folder->path() + "/log"}));
  const conflict::VersionStore versions(database->db(), database->versions());
  rocksdb::WriteBatch batch;
  constexpr uint32_t kTable = 16'384;  // the lowest are taken for other things
  constexpr int kRows = 20'000;
  for (int i = 0; i < kRows; ++i) {
    versions.Put(&batch, conflict::VersionKey(kTable, absl::StrCat(i)),
                 {.stamp = {.time_us = i < 100 ? 2000 : 1000, .node = 1},
                  .origin = {.node = 1, .incarnation = 1},
                  .end_lsn = Lsn{7},
                  .dead = true});
  }
  ASSERT_OK(database->Write(&batch, /*sync=*/false));
  EXPECT_GE(database->EstimatedVersions(), 20'000u);
  Compactor compactor(database.get());
  database->SetStableTime(1500);
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (database->EstimatedVersions() > 1000 && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_LE(database->EstimatedVersions(), 1000u);
  ASSERT_OK_AND_ASSIGN(const auto kept, versions.Get({conflict::VersionKey(kTable, "99"),
                                                      conflict::VersionKey(kTable, "100")}));
  EXPECT_TRUE(kept[0].has_value());
  EXPECT_FALSE(kept[1].has_value());
}

}  // namespace
}  // namespace bdr::agent
