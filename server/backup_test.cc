// A backup holds all that the store does, and is taken for what it is when it comes back.
#include "server/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/testing.h"
#include "bdr/v1/control.pb.h"
#include "server/cluster.h"
#include "server/schema_cache.h"
#include "server/store/rocksdb_store.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

using absl::StatusCode;

constexpr int64_t kNowUs = 1'000'000;

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(from_, OpenRocksDbStore(folder_->path() + "/from"));
    ASSERT_OK_AND_ASSIGN(to_, OpenRocksDbStore(folder_->path() + "/to"));
  }
  // A cluster with a bit of everything.
  ClusterState Fill() {
    Cluster cluster(from_.get());
    const auto filled = cluster.Change([](ClusterState begun) -> absl::StatusOr<ClusterState> {
      ClusterState state = *InitCluster(std::move(begun), "shop", "id-1");
      for (const char* name : {"a", "typo", "b"}) {
        state = *AddNode(
            std::move(state),
            {.name = name, .address = std::string(name) + ":1", .no_copy = true, .now_us = 11});
      }
      state = *RemoveNode(std::move(state), "typo", 12);
      state = *SetSetting(std::move(state), "policy/public.t", "delta");
      state = *AcceptClock(std::move(state),
                           {.node = "a", .ceiling_us = 13, .advance_us = 14, .now_us = 15});
      return ApplyReport(std::move(state),
                         {.name = "a", .incarnation = 1, .data_dir_id = "d", .captures = true});
    });
    EXPECT_OK(filled);
    v1::NodeSchema schema;
    schema.set_node("a");
    schema.set_hash("h");
    schema.set_packed("tables");
    EXPECT_OK(SchemaCache(from_.get()).Set(schema, 16));
    return *filled;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Store> from_;
  std::unique_ptr<Store> to_;
};

TEST_F(BackupTest, RestoresAllAsRestored) {
  ClusterState state = Fill();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeBackup(from_.get(), 99));
  ASSERT_OK_AND_ASSIGN(const RestoredBackup restored, RestoreBackup(bytes, to_.get(), kNowUs));
  EXPECT_EQ(restored.taken_us, 99);
  state.restored = true;
  EXPECT_EQ(restored.state, state);
  EXPECT_EQ(*Cluster(to_.get()).Read(), state);
  SchemaCache schemas(to_.get());
  ASSERT_OK(schemas.Load());
  ASSERT_NE(schemas.Find("a"), nullptr);
  EXPECT_EQ(schemas.Find("a")->packed(), "tables");
  EXPECT_EQ(schemas.Find("a")->received_us(), 16);
}

TEST_F(BackupTest, NothingIsReplaced) {
  Fill();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeBackup(from_.get(), 1));
  EXPECT_EQ(RestoreBackup(bytes, from_.get(), kNowUs).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Cluster(from_.get()).Read()->restored);
}

TEST_F(BackupTest, HoldsWhatThisVersionDoesNotKnowAndNothingThatEndsWithItsServer) {
  Fill();
  ASSERT_OK(from_->Put("sequence/public.s", "4711", 0));
  ASSERT_OK(from_->Put("lock/x/ticket", "", 0));
  ASSERT_OK(from_->Put("server/id", "", 0));
  ASSERT_OK(from_->Put("leader", "", 0));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeBackup(from_.get(), 1));
  ASSERT_OK(RestoreBackup(bytes, to_.get(), kNowUs));
  EXPECT_EQ(to_->Get("sequence/public.s")->value, "4711");
  for (const char* key : {"lock/x/ticket", "server/id", "leader"}) {
    EXPECT_EQ(to_->Get(key).status().code(), StatusCode::kNotFound) << key;
  }
  EXPECT_EQ(to_->Get("token_base")->value, "1000000");
}

// Killed before the cluster was written: the schemas are there already.
TEST_F(BackupTest, MayBeRepeatedIfItWasKilled) {
  const ClusterState state = Fill();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeBackup(from_.get(), 1));
  ASSERT_OK(to_->Put("schema/a", "half", 0));
  ASSERT_OK(RestoreBackup(bytes, to_.get(), kNowUs));
  SchemaCache schemas(to_.get());
  ASSERT_OK(schemas.Load());
  EXPECT_EQ(schemas.Find("a")->hash(), "h");
}

TEST_F(BackupTest, WhatIsDamagedIsRefusedAndNothingIsWritten) {
  Fill();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeBackup(from_.get(), 1));
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    // The line feed after the hash says nothing.
    if (bytes[at] == '\n' && at < 100) continue;
    ASSERT_FALSE(RestoreBackup(damaged, to_.get(), kNowUs).ok()) << "changed at " << at;
    ASSERT_FALSE(RestoreBackup(bytes.substr(0, at), to_.get(), kNowUs).ok()) << "cut at " << at;
  }
  EXPECT_EQ(RestoreBackup("", to_.get(), kNowUs).status().code(), StatusCode::kInvalidArgument);
  ASSERT_OK_AND_ASSIGN(const auto entries, to_->List(""));
  EXPECT_TRUE(entries.empty());
}

TEST_F(BackupTest, AnEmptyStoreHasNone) {
  EXPECT_EQ(MakeBackup(from_.get(), 1).status().code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace bdr::server
