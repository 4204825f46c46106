// Of the servers on one store one leads, another one follows it, and who has lost the lease writes
// nothing any more, whatever it believes.
#include "server/leadership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "bdr/v1/servers.pb.h"
#include "server/cluster.h"
#include "server/schema_cache.h"
#include "server/store/etcd_store.h"
#include "server/store/rocksdb_store.h"
#include "server/store_testing.h"
#include "server/upkeep.h"
#include "tests/harness/cluster.h"
#include "tests/harness/etcd.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

constexpr absl::Duration kLongest = absl::Seconds(60);

// No lease runs out on a busy machine, unless it is meant to.
constexpr absl::Duration kTtl = absl::Seconds(30);
constexpr absl::Duration kShortTtl = absl::Seconds(3);

std::unique_ptr<Leadership> StartServer(Store* store, const std::string& id,
                                        absl::Duration ttl = kTtl) {
  return Leadership::Start(
      store, {.id = id, .address = id + ":1", .host = "here", .version = "1", .ttl = ttl});
}

absl::Status WaitUntilLeads(const Leadership& server) {
  return harness::WaitFor(server.id() + " leads", kLongest,
                          [&]() -> absl::StatusOr<bool> { return server.leads(); });
}

class LeadershipTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(embedded_, OpenRocksDbStore(folder_->path() + "/store"));
    shared_ = std::make_unique<SharedStore>(embedded_.get());
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Store> embedded_;
  std::unique_ptr<SharedStore> shared_;  // the same, as if other processes had it open as well
};

TEST_F(LeadershipTest, OneLeadsAndTheNextFollowsWhenItStops) {
  std::unique_ptr<Leadership> a = StartServer(shared_.get(), "a");
  ASSERT_OK(WaitUntilLeads(*a));
  const std::unique_ptr<Leadership> b = StartServer(shared_.get(), "b");
  ASSERT_OK(harness::WaitFor("both are known", kLongest, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto servers, b->Servers());
    return servers.size() == 2;
  }));
  EXPECT_FALSE(b->leads());
  ASSERT_OK_AND_ASSIGN(const auto servers, b->Servers());
  EXPECT_TRUE(servers[0].leads());
  EXPECT_EQ(servers[0].id(), "a");
  EXPECT_GT(servers[0].leads_since_us(), 0);
  EXPECT_FALSE(servers[1].leads());
  ASSERT_OK_AND_ASSIGN(const StoreCompare fence, a->Fence());
  a.reset();
  ASSERT_OK(WaitUntilLeads(*b));
  ASSERT_OK_AND_ASSIGN(const StoreCompare next, b->Fence());
  EXPECT_GT(next.revision, fence.revision);
  EXPECT_EQ(shared_->Commit({.compares = {fence}, .writes = {{.key = "x", .value = "1"}}})
                .status()
                .code(),
            absl::StatusCode::kAborted);
  EXPECT_OK(shared_->Commit({.compares = {next}, .writes = {{.key = "x", .value = "1"}}}));
  EXPECT_EQ(b->Servers()->size(), 1u);
}

TEST_F(LeadershipTest, WhoIsCutOffStopsLeadingByItselfAndCannotWrite) {
  SharedStore cut_off(embedded_.get());
  const std::unique_ptr<Leadership> a = StartServer(&cut_off, "a", kShortTtl);
  ASSERT_OK(WaitUntilLeads(*a));
  ASSERT_OK_AND_ASSIGN(const StoreCompare fence, a->Fence());
  cut_off.set_broken(true);
  const std::unique_ptr<Leadership> b = StartServer(shared_.get(), "b", kShortTtl);
  ASSERT_OK(WaitUntilLeads(*b));
  EXPECT_FALSE(a->leads()) << "two lead at once";
  // As one that stood still would try with what it had in its hands.
  EXPECT_EQ(embedded_->Commit({.compares = {fence}, .writes = {{.key = "x", .value = "1"}}})
                .status()
                .code(),
            absl::StatusCode::kAborted);
  cut_off.set_broken(false);
  ASSERT_OK(harness::WaitFor("a is back", kLongest, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto servers, b->Servers());
    return servers.size() == 2;
  }));
  EXPECT_FALSE(a->leads());
  EXPECT_TRUE(b->leads());
}

// A process that was killed has left its entries, and its lease goes on for a while.
TEST_F(LeadershipTest, OnAStoreOfItsOwnItLeadsAtOnceWhateverWasBefore) {
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, embedded_->GrantLease(absl::Hours(1)));
  ASSERT_OK(embedded_->Commit({.writes = {{.key = "leader", .value = "", .lease = lease},
                                          {.key = "server/old", .value = "", .lease = lease}}}));
  const std::unique_ptr<Leadership> a = StartServer(embedded_.get(), "a");
  ASSERT_OK(WaitUntilLeads(*a));
  ASSERT_OK_AND_ASSIGN(const auto servers, a->Servers());
  ASSERT_EQ(servers.size(), 1u);
  EXPECT_EQ(servers[0].id(), "a");
}

TEST_F(LeadershipTest, UpkeepRemovesWhatRemovedNodesHaveLeftAndOnlyAsTheLeader) {
  Cluster cluster(embedded_.get());
  ASSERT_OK(cluster.Change([](ClusterState begun) -> absl::StatusOr<ClusterState> {
    ClusterState state = *InitCluster(std::move(begun), "shop", "id-1");
    return AddNode(std::move(state), {.name = "a", .address = "a:1", .no_copy = true});
  }));
  for (const char* key : {"schema/a", "schema/gone", "status/gone", "other/gone"}) {
    ASSERT_OK(embedded_->Put(key, "x", 0));
  }
  EXPECT_EQ(RemoveLeftovers(embedded_.get(), {.key = "leader", .revision = 1}).code(),
            absl::StatusCode::kAborted);
  EXPECT_OK(embedded_->Get("schema/gone"));
  const std::unique_ptr<Leadership> leader = StartServer(embedded_.get(), "a");
  ASSERT_OK(WaitUntilLeads(*leader));
  ASSERT_OK_AND_ASSIGN(const StoreCompare fence, leader->Fence());
  ASSERT_OK(RemoveLeftovers(embedded_.get(), fence));
  EXPECT_OK(embedded_->Get("schema/a"));
  EXPECT_OK(embedded_->Get("other/gone"));
  EXPECT_FALSE(embedded_->Get("schema/gone").ok());
  EXPECT_FALSE(embedded_->Get("status/gone").ok());
}

TEST(LeadershipOnEtcdTest, SurvivesALeaderOfEtcdAndItsOwn) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, harness::EtcdCluster::Start());
  ASSERT_OK_AND_ASSIGN(const auto store, OpenEtcdStore({.endpoints = etcd->endpoints()}));
  std::unique_ptr<Leadership> a = StartServer(store.get(), "a", kShortTtl);
  ASSERT_OK(WaitUntilLeads(*a));
  const std::unique_ptr<Leadership> b = StartServer(store.get(), "b", kShortTtl);
  ASSERT_OK_AND_ASSIGN(const int member, etcd->Leader());
  etcd->member(member).Kill9();
  ASSERT_OK(harness::WaitFor("one leads", kLongest,
                             [&]() -> absl::StatusOr<bool> { return a->leads() || b->leads(); }));
  EXPECT_FALSE(a->leads() && b->leads());
  a.reset();
  ASSERT_OK(WaitUntilLeads(*b));
}

}  // namespace
}  // namespace bdr::server
