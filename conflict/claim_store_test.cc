// Whether a version lives is decided by what this store says, so it must say the same whoever wrote
// first, however RocksDB has arranged the writes meanwhile.
#include "conflict/claim_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rocksdb/options.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/testing.h"
#include "conflict/store_testing.h"
#include "conflict/version_store.h"

namespace bdr::conflict {
namespace {

using testing::Check;

class StoreFile {
 public:
  StoreFile() {
    filter_.reset(NewStableClaimFilter(&stable_us_));
    rocksdb::Options options;
    options.create_if_missing = true;
    options.merge_operator = ClaimStore::MergeOperator();
    options.compaction_filter = filter_.get();
    rocksdb::DB* db = nullptr;
    Check(rocksdb::DB::Open(options, folder_->path() + "/db", &db));
    db_.reset(db);
  }

  void Claim(const std::string& claim_key, const std::string& key, Stamp stamp) {
    rocksdb::WriteBatch batch;
    store().Put(&batch, claim_key, key, stamp);
    Check(db_->Write({}, &batch));
  }
  Claimants Get(const std::string& claim_key) {
    const auto found = store().Get({claim_key});
    if (!found.ok()) throw std::runtime_error(found.status().ToString());
    return found->front();
  }
  void Flush() { Check(db_->Flush({})); }
  void Compact() {
    Flush();
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    Check(db_->CompactRange(options, nullptr, nullptr));
  }
  void SetStable(int64_t stable_us) { stable_us_ = stable_us; }
  ClaimStore store() { return ClaimStore(db_.get(), db_->DefaultColumnFamily()); }

 private:
  std::unique_ptr<harness::TempFolder> folder_ = testing::NewFolder();
  std::atomic<int64_t> stable_us_{0};
  std::unique_ptr<const rocksdb::CompactionFilter> filter_;
  std::unique_ptr<rocksdb::DB> db_;
};

TEST(ClaimStoreTest, AValueNobodyClaimedHasNoClaimants) {
  StoreFile file;
  EXPECT_EQ(file.Get(ClaimKey(1, "seat 7")), Claimants());
}

TEST(ClaimStoreTest, NamesAreThoseOfTheirConstraintAndNoRowsName) {
  EXPECT_NE(ClaimKey(1, "v"), ClaimKey(2, "v"));
  EXPECT_NE(ClaimKey(1, "v"), ClaimKey(1, "w"));
  // A row's name begins with its table's OID, which is never 0.
  EXPECT_EQ(ClaimKey(1, "v").substr(0, 4), std::string(4, '\0'));
  EXPECT_NE(VersionKey(1, "v").substr(0, 4), std::string(4, '\0'));
}

TEST(ClaimStoreTest, WhatOnlyPostgresComparesIsFoundByBucketAndTime) {
  StoreFile file;
  const std::string bucket = "bucket 1";
  const auto claim = [&](uint64_t constraint, const std::string& value, int64_t time_us) {
    file.Claim(TimedClaimKey(constraint, value, time_us), "k", {.time_us = time_us, .node = 1});
  };
  claim(1, bucket + "other constraint", 6);
  claim(2, bucket + "too old", 5);
  claim(2, bucket + "b", 300);
  claim(2, bucket, 6);
  claim(2, bucket + "b", 7);
  claim(2, "bucket 2b", 7);
  claim(3, bucket + "behind", 8);
  std::vector<std::pair<std::string, int64_t>> found;
  ASSERT_OK(
      file.store().Since(2, bucket, 6, [&](absl::string_view value, const Claimants& claimants) {
        found.emplace_back(value, claimants.first->stamp.time_us);
        return absl::OkStatus();
      }));
  EXPECT_THAT(found,
              ::testing::ElementsAre(::testing::Pair(bucket, 6), ::testing::Pair(bucket + "b", 7),
                                     ::testing::Pair(bucket + "b", 300)));
  int taken = 0;
  EXPECT_FALSE(file.store()
                   .Since(2, bucket, 0,
                          [&](absl::string_view, const Claimants&) {
                            ++taken;
                            return absl::AbortedError("enough");
                          })
                   .ok());
  EXPECT_EQ(taken, 1);
}

TEST(ClaimStoreTest, WhatIsStableIsForgottenAndWhatIsNotStays) {
  StoreFile file;
  const std::string old_value = ClaimKey(1, "old");
  const std::string mixed = ClaimKey(1, "mixed");
  file.Claim(old_value, "k", {.time_us = 10, .node = 1});
  file.Claim(old_value, "l", {.time_us = 20, .node = 2});
  file.Claim(mixed, "k", {.time_us = 10, .node = 1});
  file.Claim(mixed, "l", {.time_us = 30, .node = 2});
  file.Compact();
  EXPECT_TRUE(file.Get(old_value).first.has_value());
  file.SetStable(30);
  file.Compact();
  EXPECT_EQ(file.Get(old_value), Claimants());
  ASSERT_TRUE(file.Get(mixed).first.has_value());
  EXPECT_EQ(file.Get(mixed).first->key, "l");
}

// Whatever order the claims come in, and whenever RocksDB writes and merges files: what stands
// there is what the rule makes of all of them.
RC_GTEST_PROP(ClaimStoreTest, OrderAndFilesDoNotMatter, ()) {
  StoreFile file;
  std::map<std::string, Claimants> expected;
  const int count = *rc::gen::inRange(1, 40);
  for (int i = 0; i < count; ++i) {
    const std::string value = ClaimKey(1, std::string(1, *rc::gen::inRange('a', 'c')));
    const std::string key(1, *rc::gen::inRange('k', 'p'));
    const Stamp stamp{.time_us = *rc::gen::inRange(1, 10),
                      .node = static_cast<NodeId>(*rc::gen::inRange(1, 4))};
    file.Claim(value, key, stamp);
    expected[value] = Merge(expected[value], ClaimOf(key, stamp));
    if (i % 7 == 3) file.Flush();
    if (i % 13 == 5) file.Compact();
  }
  for (const auto& [value, claimants] : expected) RC_ASSERT(file.Get(value) == claimants);
}

}  // namespace
}  // namespace bdr::conflict
