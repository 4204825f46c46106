// What agents tell one bdr-server, the others on the same store know as well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "base/testing.h"
#include "bdr/v1/control.pb.h"
#include "server/schema_cache.h"
#include "server/status_cache.h"
#include "server/store/rocksdb_store.h"
#include "server/store_testing.h"
#include "server/witnesses.h"
#include "tests/harness/cluster.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

std::shared_ptr<const v1::NodeStatus> StatusOf(const std::string& state, uint64_t captured) {
  auto status = std::make_shared<v1::NodeStatus>();
  status->mutable_node()->set_state(state);
  status->set_captured_lsn(captured);
  return status;
}

int64_t NowUs() { return absl::ToUnixMicros(absl::Now()); }

class SharedReportsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(embedded_, OpenRocksDbStore(folder_->path() + "/store"));
    store_ = std::make_unique<SharedStore>(embedded_.get());
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Store> embedded_;
  std::unique_ptr<SharedStore> store_;
};

TEST_F(SharedReportsTest, AStatusIsKnownToTheOtherServerAndWrittenRarely) {
  StatusCache one(store_.get()), other(store_.get());
  for (uint64_t i = 0; i < 50; ++i) ASSERT_OK(one.Set("a", StatusOf("running", i), NowUs()));
  ASSERT_OK_AND_ASSIGN(const StoreEntry first, store_->Get("status/a"));
  ASSERT_OK_AND_ASSIGN(auto told, other.All());
  ASSERT_EQ(told.count("a"), 1u);
  EXPECT_EQ(told["a"].status->captured_lsn(), 0u) << "not each of 50 within a moment is written";
  EXPECT_EQ(told["a"].status->node().state(), "running");
  // What changes its health does not wait.
  ASSERT_OK(one.Set("a", StatusOf("stopped", 50), NowUs()));
  EXPECT_GT(store_->Get("status/a")->revision, first.revision);
  ASSERT_OK_AND_ASSIGN(told, other.All());
  EXPECT_EQ(told["a"].status->node().state(), "stopped");
  ASSERT_OK(one.Refuse("a", "twice", NowUs()));
  ASSERT_OK_AND_ASSIGN(told, other.All());
  EXPECT_EQ(told["a"].refused, "twice");
  // The agent turns to the other server, which knows better from then on.
  ASSERT_OK(other.Set("a", StatusOf("running", 51), NowUs()));
  ASSERT_OK_AND_ASSIGN(told, other.All());
  EXPECT_EQ(told["a"].status->captured_lsn(), 51u);
  ASSERT_OK(harness::WaitFor("the first one takes it from there", absl::Seconds(60),
                             [&]() -> absl::StatusOr<bool> {
                               ASSIGN_OR_RETURN(auto now, one.All());
                               return now["a"].status->captured_lsn() == 51;
                             }));
  ASSERT_OK(other.Forget("a"));
  EXPECT_FALSE(store_->Get("status/a").ok());
}

TEST_F(SharedReportsTest, AStatusThatCouldNotBeSharedIsSharedWithTheNextReport) {
  StatusCache one(store_.get());
  store_->set_broken(true);
  EXPECT_FALSE(one.Set("a", StatusOf("running", 1), NowUs()).ok());
  store_->set_broken(false);
  ASSERT_OK(one.Set("a", StatusOf("running", 2), NowUs()));
  EXPECT_OK(store_->Get("status/a"));
}

TEST_F(SharedReportsTest, AStoreOfItsOwnGetsNoStatusAtAll) {
  StatusCache statuses(embedded_.get());
  ASSERT_OK(statuses.Set("a", StatusOf("running", 1), 1));
  EXPECT_EQ(embedded_->List("")->size(), 0u);
  EXPECT_EQ(statuses.All()->size(), 1u);
}

TEST_F(SharedReportsTest, WhoeverIsAskedToRebuildHearsWhatTheOthersHeard) {
  Witnesses one(store_.get()), other(store_.get());
  const ClusterState known = {.id = "id-1", .name = "shop", .epoch = 7};
  const Witness witness{.node = "a",
                        .node_id = 3,
                        .data_dir_id = "d",
                        .cluster_id = "id-1",
                        .known_epoch = 7,
                        .known = known};
  one.Set(witness, NowUs());
  ASSERT_OK_AND_ASSIGN(auto heard, other.Recent(NowUs()));
  EXPECT_TRUE(heard.empty()) << "what is as the store has it is not written";
  ASSERT_OK(one.Share(witness));
  ASSERT_OK_AND_ASSIGN(heard, other.Recent(NowUs()));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].node, "a");
  EXPECT_EQ(heard[0].node_id, 3);
  EXPECT_EQ(heard[0].data_dir_id, "d");
  EXPECT_EQ(heard[0].known_epoch, 7u);
  EXPECT_EQ(heard[0].known, known);
  // The agent has turned to the other one, and knows more by now; the first one must not go by what
  // it was told itself, nor the other by what is shared once it was told more.
  Witness later = witness;
  later.known_epoch = 9;
  later.known.epoch = 9;
  ASSERT_OK(other.Share(later));
  ASSERT_OK_AND_ASSIGN(heard, one.Recent(NowUs()));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].known_epoch, 9u);
  EXPECT_EQ(heard[0].known.epoch, 9u);
  later.known_epoch = 11;
  later.known = {};
  other.Set(later, NowUs());
  ASSERT_OK_AND_ASSIGN(heard, other.Recent(NowUs()));
  EXPECT_EQ(heard[0].known_epoch, 11u);
  // Without the store nobody knows who else was heard, so nothing is decided.
  store_->set_broken(true);
  EXPECT_EQ(one.Recent(NowUs()).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(SharedReportsTest, ASchemaThatIsToldToOneServerReachesTheOther) {
  SchemaCache one(store_.get()), other(store_.get());
  other.Follow();
  v1::NodeSchema schema;
  schema.set_node("a");
  for (const char* hash : {"h1", "h2"}) {
    schema.set_hash(hash);
    schema.set_packed(hash);
    ASSERT_OK(one.Set(schema, 1));
    ASSERT_OK(harness::WaitFor("it is taken up", absl::Seconds(60), [&]() -> absl::StatusOr<bool> {
      const auto found = other.Find("a");
      return found != nullptr && found->hash() == hash;
    }));
  }
  // The other one goes on from there.
  schema.set_hash("h3");
  ASSERT_OK(other.Set(schema, 2));
}

}  // namespace
}  // namespace bdr::server
