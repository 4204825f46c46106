// Every conflict is decided by what this store says, so it must say the same whoever wrote first,
// however RocksDB has arranged the writes meanwhile.
#include "conflict/version_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/testing.h"
#include "conflict/store_testing.h"

namespace bdr::conflict {
namespace {

using testing::Check;

// With the options that matter here: small enough that flushes and compactions happen.
class StoreFile {
 public:
  StoreFile() {
    filter_.reset(NewStableFilter(&stable_us_));
    Open();
  }
  ~StoreFile() { Close(); }

  void Reopen() {
    Close();
    Open();
  }
  void Flush() { Check(db_->Flush({}, family_)); }
  void Compact() {
    Flush();
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    Check(db_->CompactRange(options, family_, nullptr, nullptr));
  }

  VersionStore store() { return VersionStore(db_, family_); }
  void Put(const std::string& key, const Version& version) {
    rocksdb::WriteBatch batch;
    store().Put(&batch, key, version);
    Write(&batch);
  }
  void Write(rocksdb::WriteBatch* batch) { Check(db_->Write({}, batch)); }
  std::optional<Version> Get(const std::string& key) {
    const auto versions = store().Get({key});
    if (!versions.ok()) throw std::runtime_error(versions.status().ToString());
    return versions->front();
  }
  std::atomic<int64_t>& stable_us() { return stable_us_; }

 private:
  void Open() {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    options.write_buffer_size = 64 << 10;
    rocksdb::ColumnFamilyOptions versions(options);
    versions.merge_operator = VersionStore::MergeOperator();
    versions.compaction_filter = filter_.get();
    versions.max_successive_merges = 8;
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    Check(rocksdb::DB::Open(options, folder_->path() + "/db",
                            {{rocksdb::kDefaultColumnFamilyName, {}}, {"versions", versions}},
                            &handles, &db_));
    default_ = handles[0];
    family_ = handles[1];
  }
  void Close() {
    db_->DestroyColumnFamilyHandle(default_);
    db_->DestroyColumnFamilyHandle(family_);
    delete db_;
  }

  std::unique_ptr<harness::TempFolder> folder_ = testing::NewFolder();
  std::atomic<int64_t> stable_us_{0};
  std::unique_ptr<const rocksdb::CompactionFilter> filter_;
  rocksdb::DB* db_ = nullptr;
  rocksdb::ColumnFamilyHandle* default_ = nullptr;
  rocksdb::ColumnFamilyHandle* family_ = nullptr;
};

Version At(int64_t time_us, NodeId node = 1, bool dead = false, uint64_t lsn = 7) {
  return {.stamp = {.time_us = time_us, .node = node},
          .origin = {.node = node, .incarnation = 3},
          .end_lsn = Lsn{lsn},
          .dead = dead};
}

class VersionStoreTest : public ::testing::Test {
 protected:
  StoreFile file_;
};

TEST_F(VersionStoreTest, AVersionComesBackAsItWasWritten) {
  const Version version{.stamp = {.time_us = 1'700'000'000'123'456, .node = 1023},
                        .origin = {.node = 1023, .incarnation = 4'000'000'000},
                        .end_lsn = Lsn{0xFEDCBA9876543210},
                        .dead = true};
  file_.Put("key", version);
  for (const bool reopened : {false, true}) {
    if (reopened) file_.Reopen();
    const std::optional<Version> read = file_.Get("key");
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->stamp, version.stamp);
    EXPECT_EQ(read->origin, version.origin);
    EXPECT_EQ(read->end_lsn, version.end_lsn);
    EXPECT_TRUE(read->dead);
  }
}

TEST_F(VersionStoreTest, AKeyThatIsNotThereHasNoVersion) {
  file_.Put("other", At(1));
  EXPECT_EQ(file_.Get("key"), std::nullopt);
  ASSERT_OK_AND_ASSIGN(const std::vector<std::optional<Version>> none, file_.store().Get({}));
  EXPECT_TRUE(none.empty());
}

TEST_F(VersionStoreTest, ManyKeysComeBackInTheOrderAsked) {
  file_.Put("b", At(2));
  file_.Put("a", At(1));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::optional<Version>> read,
                       file_.store().Get({"b", "missing", "a", "b"}));
  ASSERT_EQ(read.size(), 4);
  EXPECT_EQ(read[0]->stamp.time_us, 2);
  EXPECT_EQ(read[1], std::nullopt);
  EXPECT_EQ(read[2]->stamp.time_us, 1);
  EXPECT_EQ(read[3]->stamp.time_us, 2);
}

TEST_F(VersionStoreTest, TheLaterStampWinsWhoeverWroteFirst) {
  file_.Put("up", At(1));
  file_.Put("up", At(2));
  file_.Put("down", At(2));
  file_.Put("down", At(1));
  file_.Put("tie", At(5, /*node=*/2));
  file_.Put("tie", At(5, /*node=*/1));
  EXPECT_EQ(file_.Get("up")->stamp.time_us, 2);
  EXPECT_EQ(file_.Get("down")->stamp.time_us, 2);
  EXPECT_EQ(file_.Get("tie")->stamp.node, 2);
  file_.Compact();
  EXPECT_EQ(file_.Get("down")->stamp.time_us, 2);
  EXPECT_EQ(file_.Get("tie")->stamp.node, 2);
}

// One transaction that deletes a row and inserts it again, or the other way round.
TEST_F(VersionStoreTest, OfEqualStampsTheLastOneWrittenStands) {
  for (const bool dead : {true, false}) {
    const std::string key = dead ? "deleted last" : "inserted last";
    rocksdb::WriteBatch batch;
    file_.store().Put(&batch, key, At(5, 1, !dead));
    file_.store().Put(&batch, key, At(5, 1, dead));
    file_.Write(&batch);
    EXPECT_EQ(file_.Get(key)->dead, dead);
    file_.Compact();
    EXPECT_EQ(file_.Get(key)->dead, dead);
    // And across files.
    file_.Put(key, At(5, 1, !dead));
    EXPECT_EQ(file_.Get(key)->dead, !dead);
    file_.Compact();
    EXPECT_EQ(file_.Get(key)->dead, !dead);
  }
}

TEST_F(VersionStoreTest, ATruncateIsKeptByTableAndMeetsNoRow) {
  rocksdb::WriteBatch batch;
  file_.store().PutTruncate(&batch, 16384, At(9, 2, /*dead=*/true));
  // Keys that look as much as they can like a truncate's.
  file_.store().Put(&batch, VersionKey(16384, ""), At(1));
  file_.store().Put(&batch, VersionKey(1, std::string("\0\0\x40\0", 4)), At(2));
  file_.Write(&batch);
  ASSERT_OK_AND_ASSIGN(const std::optional<Version> truncate, file_.store().GetTruncate(16384));
  ASSERT_TRUE(truncate.has_value());
  EXPECT_EQ(truncate->stamp.time_us, 9);
  ASSERT_OK_AND_ASSIGN(const std::optional<Version> other, file_.store().GetTruncate(16385));
  EXPECT_EQ(other, std::nullopt);
  EXPECT_EQ(file_.Get(VersionKey(16384, ""))->stamp.time_us, 1);
}

TEST_F(VersionStoreTest, KeysOfDifferentTablesDiffer) {
  EXPECT_NE(VersionKey(1, "x"), VersionKey(2, "x"));
  EXPECT_NE(VersionKey(1, "x"), VersionKey(1, "y"));
  EXPECT_NE(VersionKey(1, std::string(1, '\0')), VersionKey(1, ""));
}

TEST_F(VersionStoreTest, NothingIsForgottenBeforeTheStableTimeIsKnown) {
  file_.Put("key", At(1));
  file_.Compact();
  EXPECT_TRUE(file_.Get("key").has_value());
}

TEST_F(VersionStoreTest, StableVersionsAreForgottenByCompaction) {
  file_.Put("old", At(99));
  file_.Put("old", At(98));
  file_.Put("old and dead", At(50, 1, /*dead=*/true));
  file_.Put("just stable", At(100));
  file_.Put("new", At(101));
  file_.Put("new", At(3));
  rocksdb::WriteBatch batch;
  file_.store().PutTruncate(&batch, 1, At(99));
  file_.store().PutTruncate(&batch, 2, At(100));
  file_.Write(&batch);
  file_.stable_us() = 100;
  file_.Compact();
  EXPECT_EQ(file_.Get("old"), std::nullopt);
  EXPECT_EQ(file_.Get("old and dead"), std::nullopt);
  EXPECT_TRUE(file_.Get("just stable").has_value());  // only what is older may go
  EXPECT_EQ(file_.Get("new")->stamp.time_us, 101);
  ASSERT_OK_AND_ASSIGN(const std::optional<Version> gone, file_.store().GetTruncate(1));
  EXPECT_EQ(gone, std::nullopt);
  ASSERT_OK_AND_ASSIGN(const std::optional<Version> kept, file_.store().GetTruncate(2));
  EXPECT_TRUE(kept.has_value());
}

TEST_F(VersionStoreTest, ConcurrentWritersEndWithTheLatestOfAll) {
  constexpr int kThreads = 4;
  constexpr int kWrites = 4000;
  constexpr int kKeys = 20;
  std::vector<std::map<std::string, Stamp>> newest(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<uint32_t>(thread));
      for (int i = 0; i < kWrites; ++i) {
        const std::string key = VersionKey(7, std::to_string(random() % kKeys));
        const Version version = At(random() % 100000, static_cast<NodeId>(thread + 1));
        file_.Put(key, version);
        newest[thread][key] = std::max(newest[thread][key], version.stamp);
        // Others may only have raised it meanwhile.
        const std::optional<Version> read = file_.Get(key);
        EXPECT_TRUE(read.has_value() && read->stamp >= newest[thread][key]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::map<std::string, Stamp> expected;
  for (const auto& mine : newest) {
    for (const auto& [key, stamp] : mine) expected[key] = std::max(expected[key], stamp);
  }
  file_.Compact();
  for (const auto& [key, stamp] : expected) EXPECT_EQ(file_.Get(key)->stamp, stamp);
}

// From min to below max, whatever the size of the case: the first cases are to be as wild as the
// last.
template <typename T>
T Draw(T min, T max) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(min, max));
}

// Who made an own update upon disputed values may be captured after the dispute is over.
TEST(DisputeTest, ADisputeIsNoVersionAndOutlivesItsVersionByAnHour) {
  StoreFile file;
  const std::string key = VersionKey(7, "row");
  file.Put(key, At(10, 1, false, 1));
  rocksdb::WriteBatch batch;
  file.store().PutDisputed(&batch, key, At(20, 2, false, 2));
  file.Write(&batch);
  const auto disputed = [&]() -> std::optional<Version> {
    const auto found = file.store().GetDisputed({key});
    EXPECT_TRUE(found.ok());
    return found->front();
  };
  EXPECT_EQ(file.Get(key)->stamp.time_us, 10);
  ASSERT_TRUE(disputed().has_value());
  EXPECT_EQ(disputed()->stamp.time_us, 20);
  file.stable_us() = 20 + 3'600'000'000;
  file.Compact();
  EXPECT_FALSE(file.Get(key).has_value());
  EXPECT_TRUE(disputed().has_value());
  file.stable_us() = 21 + 3'600'000'000;
  file.Compact();
  EXPECT_FALSE(disputed().has_value());
}

// Any writes in any order, with flushes and compactions anywhere: the version with the latest
// stamp, and of equal ones the last, or nothing if that one is stable.
RC_GTEST_PROP(VersionStorePropertyTest, AgreesWithAMap, ()) {
  static StoreFile file;  // one for all cases, each with keys of its own
  static int cases = 0;
  const std::string prefix = std::to_string(cases++) + "/";
  file.stable_us() = 0;
  std::map<std::string, Version> expected;
  int64_t stable_us = 0;
  const int steps = Draw(1, 40);
  for (int i = 0; i < steps; ++i) {
    const std::string key = prefix + std::to_string(Draw(0, 3));
    switch (*rc::gen::weightedElement<int>({{30, 0}, {3, 1}, {2, 2}, {1, 3}})) {
      case 0: {
        // What is older than the stable time cannot arrive any more.
        const int64_t time = stable_us + Draw<int64_t>(1, 20);
        const Version version = At(time, *rc::gen::element<NodeId>(1, 2),
                                   *rc::gen::arbitrary<bool>(), static_cast<uint64_t>(i));
        file.Put(key, version);
        const auto found = expected.find(key);
        if (found == expected.end() || version.stamp >= found->second.stamp) {
          expected[key] = version;
        }
        break;
      }
      case 1:
        file.Flush();
        break;
      case 2:
        stable_us += Draw<int64_t>(0, 10);
        file.stable_us() = stable_us;
        break;
      default:
        file.Compact();
        break;
    }
    for (const auto& [known, version] : expected) {
      const std::optional<Version> read = file.Get(known);
      if (version.stamp.time_us < stable_us) {
        // It may be there still; nothing older may come up in its place.
        if (read.has_value()) RC_ASSERT(read->stamp <= version.stamp);
        continue;
      }
      RC_ASSERT(read.has_value());
      RC_ASSERT(read->stamp == version.stamp);
      RC_ASSERT(read->end_lsn == version.end_lsn);
      RC_ASSERT(read->dead == version.dead);
    }
  }
}

}  // namespace
}  // namespace bdr::conflict
