// The state moves from one store to another without losing a write, and at no moment two stores
// count.
#include "server/migrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "bdr/v1/store.pb.h"
#include "server/cluster.h"
#include "server/guarded_store.h"
#include "server/leadership.h"
#include "server/locks.h"
#include "server/store/etcd_store.h"
#include "server/store/rocksdb_store.h"
#include "server/store_testing.h"
#include "tests/harness/cluster.h"
#include "tests/harness/etcd.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

// A store that is cut off after so many writes.
class FailingStore : public SharedStore {
 public:
  FailingStore(Store* store, int writes) : SharedStore(store), store_(store), left_(writes) {}
  std::string Name() const override { return store_->Name(); }
  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    if (--left_ < 0) set_broken(true);
    return SharedStore::Commit(transaction);
  }

  void Heal() {
    left_ = 1000;
    set_broken(false);
  }

 private:
  Store* const store_;
  std::atomic<int> left_;
};

class RenamedStore : public SharedStore {
 public:
  RenamedStore(Store* store, std::string name) : SharedStore(store), name_(std::move(name)) {}
  std::string Name() const override { return name_; }

 private:
  const std::string name_;
};

class MigrateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(a_, OpenRocksDbStore(folder_->path() + "/a"));
    ASSERT_OK_AND_ASSIGN(b_, OpenRocksDbStore(folder_->path() + "/b"));
    Fill(a_.get());
  }
  static void Fill(Store* store) {
    ASSERT_OK(Cluster(store).Change(
        [](ClusterState begun) { return InitCluster(std::move(begun), "shop", "id-1"); }));
    for (int i = 0; i < 10; ++i) ASSERT_OK(store->Put(absl::StrCat("sequence/", i), "x", 0));
  }
  static absl::StatusOr<uint64_t> Move(Store* from, Store* to, const std::string& id = "1") {
    return MoveStore(from, to, {.id = id, .server_id = "s", .now_us = 5});
  }
  static bool Counts(Store* store) {
    return store->Get(kClusterKey).ok() && !store->Get("moved").ok();
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Store> a_;
  std::unique_ptr<Store> b_;
};

TEST_F(MigrateTest, MovesAllThatOutlivesAServerAndBack) {
  ASSERT_OK(a_->Put("server/x", "y", 0));
  ASSERT_OK_AND_ASSIGN(const uint64_t keys, Move(a_.get(), b_.get()));
  EXPECT_EQ(keys, 11u);
  EXPECT_TRUE(Counts(b_.get()));
  EXPECT_FALSE(Counts(a_.get()));
  EXPECT_EQ(b_->Get(kClusterKey)->value, a_->Get(kClusterKey)->value);
  EXPECT_FALSE(b_->Get("server/x").ok());
  // The same again: nothing is left to do.
  EXPECT_EQ(*Move(a_.get(), b_.get(), "2"), 0u);
  EXPECT_TRUE(Counts(b_.get()));
  // What has changed there since comes back, and what was removed does not.
  ASSERT_OK(b_->Put("sequence/0", "changed", b_->Get("sequence/0")->revision));
  ASSERT_OK(b_->Commit({.writes = {{.key = "sequence/1"}}}));
  ASSERT_OK(Move(b_.get(), a_.get(), "3"));
  EXPECT_TRUE(Counts(a_.get()));
  EXPECT_FALSE(Counts(b_.get()));
  EXPECT_EQ(a_->Get("sequence/0")->value, "changed");
  EXPECT_FALSE(a_->Get("sequence/1").ok());
  EXPECT_OK(a_->Get("server/x")) << "who runs there goes on";
}

// One that was left on the store when the state was moved away must be known again when it is back.
TEST_F(MigrateTest, AServerWhoseEntryIsGoneRegistersAgain) {
  SharedStore store(a_.get());
  const auto leadership = Leadership::Start(
      &store,
      {.id = "s", .address = "127.0.0.1:1", .host = "h", .version = "1", .ttl = absl::Seconds(3)});
  const auto registered = [&]() -> absl::StatusOr<bool> { return a_->Get("server/s").ok(); };
  ASSERT_OK(harness::WaitFor("it registers", absl::Seconds(60), registered));
  ASSERT_OK(a_->Commit({.writes = {{.key = "server/s"}}}));
  EXPECT_OK(harness::WaitFor("it registers again", absl::Seconds(60), registered));
  EXPECT_OK(harness::WaitFor("it leads", absl::Seconds(60),
                             [&]() -> absl::StatusOr<bool> { return leadership->leads(); }));
}

// Each host has an embedded store in the same folder, so the name does not tell them apart.
TEST_F(MigrateTest, ToAnotherStoreOfTheSameNameNothingHasBeenMoved) {
  ASSERT_OK(Move(a_.get(), b_.get()));
  ASSERT_OK_AND_ASSIGN(const auto elsewhere, OpenRocksDbStore(folder_->path() + "/elsewhere"));
  RenamedStore same_name(elsewhere.get(), b_->Name());
  EXPECT_EQ(Move(a_.get(), &same_name, "2").status().code(), StatusCode::kFailedPrecondition);
  // Also if that one is in the middle of another move.
  v1::MovedStore incoming;
  incoming.set_state(v1::MovedStore::INCOMING);
  incoming.set_id("other");
  ASSERT_OK(elsewhere->Put("moved", incoming.SerializeAsString(), 0));
  EXPECT_EQ(Move(a_.get(), &same_name, "3").status().code(), StatusCode::kFailedPrecondition);
  ASSERT_OK(elsewhere->Get("moved"));
  EXPECT_EQ(*Move(a_.get(), b_.get(), "4"), 0u);
  EXPECT_TRUE(Counts(b_.get()));
}

TEST_F(MigrateTest, WhatMustNotBeMovedIsRefusedAndGoesOn) {
  ASSERT_OK_AND_ASSIGN(const auto empty, OpenRocksDbStore(folder_->path() + "/empty"));
  EXPECT_EQ(Move(empty.get(), b_.get()).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Move(a_.get(), a_.get()).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Counts(a_.get()));
  Fill(b_.get());
  const absl::Status in_use = Move(a_.get(), b_.get()).status();
  EXPECT_EQ(in_use.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("keeps a cluster already"));
  EXPECT_TRUE(Counts(a_.get()));
  EXPECT_TRUE(Counts(b_.get()));

  v1::AcquireLockRequest lock;
  lock.set_name("x");
  lock.set_ticket("ticket-1");
  lock.set_owner("anna");
  lock.set_ttl_ms(60'000);
  ASSERT_OK(Locks(a_.get()).Acquire(lock, 1));
  const absl::Status held = Move(a_.get(), empty.get()).status();
  EXPECT_EQ(held.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(held.message()), HasSubstr("\"x\""));
  EXPECT_TRUE(Counts(a_.get()));
}

// Wherever it is cut off: afterwards at most one counts, and the same move again completes it.
TEST_F(MigrateTest, CutOffAnywhereAtMostOneStoreCountsAndTheSameAgainCompletesIt) {
  for (const bool from_fails : {false, true}) {
    bool done = false;
    for (int writes = 0; !done; ++writes) {
      ASSERT_LT(writes, 100);
      const std::string name = absl::StrCat(folder_->path(), "/", from_fails, "-", writes);
      ASSERT_OK_AND_ASSIGN(const auto from, OpenRocksDbStore(name + "-from"));
      ASSERT_OK_AND_ASSIGN(const auto to, OpenRocksDbStore(name + "-to"));
      ASSERT_NO_FATAL_FAILURE(Fill(from.get()));
      FailingStore failing_from(from.get(), from_fails ? writes : 1000);
      FailingStore failing_to(to.get(), from_fails ? 1000 : writes);
      done = Move(&failing_from, &failing_to).ok();
      EXPECT_FALSE(Counts(from.get()) && Counts(to.get())) << name;
      if (from_fails && !done) {
        // As a process that was killed: the next one takes back what was not done.
        v1::MovedStore moved;
        const auto marker = from->Get("moved");
        if (marker.ok() && moved.ParseFromString(marker->value) &&
            moved.state() == v1::MovedStore::COPYING) {
          ASSERT_OK(from->Commit({.writes = {{.key = "moved"}}}));
        }
      }
      ASSERT_OK(Move(from.get(), to.get(), "again")) << name;
      EXPECT_TRUE(Counts(to.get())) << name;
      EXPECT_FALSE(Counts(from.get())) << name;
      EXPECT_EQ(to->List("sequence/")->size(), 10u) << name;
    }
  }
}

TEST_F(MigrateTest, AGuardedStoreRefusesOnceItIsMovedAndTakesBackWhatADeadProcessBegan) {
  ASSERT_OK_AND_ASSIGN(auto guarded, GuardedStore::Guard(std::move(a_)));
  ASSERT_OK(guarded->Put("n", "1", 0));
  ASSERT_OK(Move(guarded->unguarded(), b_.get()));
  // It has not looked yet; a write finds out by itself.
  const absl::Status refused = guarded->Put("m", "1", 0).status();
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("set \"store\""));
  EXPECT_EQ(guarded->Get("n").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(guarded->moved_to(), b_->Name());
  EXPECT_EQ(b_->Get("n")->value, "1");

  v1::MovedStore copying;
  copying.set_state(v1::MovedStore::COPYING);
  ASSERT_OK(b_->Put("moved", copying.SerializeAsString(), 0));
  ASSERT_OK_AND_ASSIGN(const auto other, GuardedStore::Guard(std::move(b_)));
  EXPECT_OK(other->Put("n2", "1", 0));
}

// A move that failed while its server lives on: its mark was written without an answer, or could
// not be removed.
TEST_F(MigrateTest, WhatAFailedMoveLeftIsTakenBackByTheSameServer) {
  ASSERT_OK(a_->Put("server/s", "", 0));
  {
    // Cut off at the mark's removal: the target refuses, then this one does not answer.
    FailingStore failing_to(b_.get(), 0);
    auto failing = std::make_unique<FailingStore>(a_.get(), 1);
    FailingStore* const from = failing.get();
    ASSERT_OK_AND_ASSIGN(const auto guarded, GuardedStore::Guard(std::move(failing)));
    EXPECT_FALSE(guarded->Move(&failing_to, {.id = "1", .server_id = "s", .now_us = 5}).ok());
    ASSERT_OK(a_->Get("moved"));
    from->Heal();
    (void)guarded->Check();  // unless its own thread was faster
    EXPECT_FALSE(a_->Get("moved").ok());
    EXPECT_OK(guarded->Put("n", "1", 0));
  }

  // The same without a look in between: a new move goes on.
  v1::MovedStore copying;
  copying.set_state(v1::MovedStore::COPYING);
  copying.set_server_id("s");
  ASSERT_OK(a_->Put("moved", copying.SerializeAsString(), 0));
  EXPECT_EQ(MoveStore(a_.get(), b_.get(), {.id = "2", .server_id = "other"}).status().code(),
            StatusCode::kAborted);
  ASSERT_OK(Move(a_.get(), b_.get(), "3"));
  EXPECT_TRUE(Counts(b_.get()));
}

TEST_F(MigrateTest, AWriteWhileItIsCopiedWaitsAndNoneIsLost) {
  ASSERT_OK_AND_ASSIGN(auto guarded, GuardedStore::Guard(std::move(a_)));
  std::atomic<int> acknowledged = 0;
  std::atomic<bool> moved = false;
  std::thread writer([&] {
    for (int n = 0;; ++n) {
      const bool late = moved;
      const auto entry = guarded->Get("n");
      const auto written = guarded->Put("n", absl::StrCat(n), entry.ok() ? entry->revision : 0);
      if (written.ok()) {
        acknowledged = n;
        ASSERT_FALSE(late) << "written to a store that is not used any more";
      } else if (!guarded->moved_to().empty()) {
        return;
      } else {
        --n;
        EXPECT_TRUE(absl::IsUnavailable(written.status()) || absl::IsAborted(written.status()));
      }
    }
  });
  EXPECT_OK(harness::WaitFor("it writes", absl::Seconds(60),
                             [&]() -> absl::StatusOr<bool> { return acknowledged > 20; }));
  EXPECT_OK(Move(guarded->unguarded(), b_.get()));
  moved = true;
  writer.join();
  EXPECT_EQ(b_->Get("n")->value, absl::StrCat(acknowledged.load()));
}

TEST_F(MigrateTest, MovesToEtcdAndBack) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, harness::EtcdCluster::Start());
  ASSERT_OK_AND_ASSIGN(auto opened, OpenEtcdStore({.endpoints = etcd->endpoints()}));
  ASSERT_OK(Move(a_.get(), opened.get()));
  EXPECT_TRUE(Counts(opened.get()));
  // Another server on the same etcd notices by itself that it is moved back.
  ASSERT_OK_AND_ASSIGN(auto second, OpenEtcdStore({.endpoints = etcd->endpoints()}));
  ASSERT_OK_AND_ASSIGN(const auto guarded, GuardedStore::Guard(std::move(second)));
  EXPECT_EQ(guarded->List("sequence/")->size(), 10u);
  ASSERT_OK(opened->Put("server/s", "", 0));
  ASSERT_OK(Move(opened.get(), a_.get(), "2"));
  EXPECT_TRUE(Counts(a_.get()));
  ASSERT_OK(harness::WaitFor("it notices", absl::Seconds(60), [&]() -> absl::StatusOr<bool> {
    return absl::IsUnavailable(guarded->Get("sequence/1").status());
  }));
  EXPECT_THAT(guarded->moved_to(), HasSubstr("embedded"));
}

}  // namespace
}  // namespace bdr::server
