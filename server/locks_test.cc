// A lock has one holder at a time, whoever waits gets it in order, and who has lost it cannot write
// under it any more. On both stores.
#include "server/locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
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

// Ends no lease, and lets somebody else be faster if that is wanted.
class UnwillingStore : public SharedStore {
 public:
  explicit UnwillingStore(Store* store) : SharedStore(store) {}
  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    if (slow) return absl::AbortedError("somebody was faster");
    return SharedStore::Commit(transaction);
  }
  absl::Status EndLease(uint64_t) override {
    ++asked_to_end;
    return absl::UnavailableError("cut off");
  }
  bool slow = false;
  int asked_to_end = 0;
};

enum class On { kEmbedded, kEtcd };

v1::AcquireLockRequest Ask(const std::string& name, const std::string& owner, bool wait = true) {
  v1::AcquireLockRequest request;
  request.set_name(name);
  request.set_ticket(absl::StrCat("ticket-", owner));
  request.set_owner(owner);
  request.set_ttl_ms(60'000);
  request.set_wait(wait);
  return request;
}

class LocksTest : public ::testing::TestWithParam<On> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    if (GetParam() == On::kEmbedded) {
      ASSERT_OK_AND_ASSIGN(store_, OpenRocksDbStore(folder_->path() + "/store"));
    } else {
      ASSERT_OK_AND_ASSIGN(etcd_, harness::EtcdCluster::Start());
      ASSERT_OK_AND_ASSIGN(store_, OpenEtcdStore({.endpoints = etcd_->endpoints()}));
    }
    locks_ = std::make_unique<Locks>(store_.get());
  }
  uint64_t Token(const v1::AcquireLockRequest& request) {
    const auto response = locks_->Acquire(request, 1);
    EXPECT_OK(response);
    return response.ok() ? response->lock().token() : 0;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<harness::EtcdCluster> etcd_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Locks> locks_;
};

INSTANTIATE_TEST_SUITE_P(Both, LocksTest, ::testing::Values(On::kEmbedded, On::kEtcd),
                         [](const auto& on) {
                           return on.param == On::kEmbedded ? "Embedded" : "Etcd";
                         });

TEST_P(LocksTest, OneHoldsItAndTheOthersGetItInOrder) {
  ASSERT_OK_AND_ASSIGN(const auto a, locks_->Acquire(Ask("x", "anna"), 7));
  EXPECT_TRUE(a.lock().held());
  EXPECT_EQ(a.lock().asked_us(), 7);
  ASSERT_OK_AND_ASSIGN(const auto b, locks_->Acquire(Ask("x", "bert"), 8));
  EXPECT_FALSE(b.lock().held());
  ASSERT_EQ(b.ahead_size(), 1);
  EXPECT_EQ(b.ahead(0).owner(), "anna");
  ASSERT_OK_AND_ASSIGN(const auto c, locks_->Acquire(Ask("x", "carl"), 9));
  EXPECT_EQ(c.ahead_size(), 2);
  // Another name is another lock, also one that begins alike.
  EXPECT_TRUE(locks_->Acquire(Ask("xx", "bert"), 9)->lock().held());
  const auto refused = locks_->Acquire(Ask("x", "dora", /*wait=*/false), 9);
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("held by \"anna\""));

  ASSERT_OK_AND_ASSIGN(const auto listed, locks_->List());
  std::vector<std::string> lines;
  for (const auto& one : listed) {
    lines.push_back(absl::StrCat(one.name(), " ", one.owner(), one.held() ? " held" : ""));
  }
  EXPECT_THAT(lines, ::testing::ElementsAre("x anna held", "x bert", "x carl", "xx bert held"));

  // Who gives up its place is left out.
  ASSERT_OK_AND_ASSIGN(bool released, locks_->Release("x", "ticket-bert", ""));
  EXPECT_TRUE(released);
  ASSERT_OK_AND_ASSIGN(released, locks_->Release("x", "ticket-anna", "anna"));
  EXPECT_TRUE(released);
  ASSERT_OK_AND_ASSIGN(released, locks_->Release("x", "ticket-anna", "anna"));
  EXPECT_FALSE(released);
  ASSERT_OK_AND_ASSIGN(const auto next, locks_->Acquire(Ask("x", "carl"), 10));
  EXPECT_TRUE(next.lock().held());
  EXPECT_EQ(next.lock().token(), c.lock().token()) << "its place was kept";
  EXPECT_GT(next.lock().token(), a.lock().token());
}

TEST_P(LocksTest, WhoDoesNotRenewLosesItAndIsTold) {
  v1::AcquireLockRequest brief = Ask("x", "anna");
  brief.set_ttl_ms(2'000);
  brief.set_token(Token(brief));
  ASSERT_OK_AND_ASSIGN(const StoreCompare fence, locks_->Fence("x", "ticket-anna", brief.token()));
  EXPECT_OK(store_->Commit({.compares = {fence}, .writes = {{.key = "done", .value = "1"}}}));
  v1::AcquireLockRequest next = Ask("x", "bert");
  next.set_token(Token(next));
  EXPECT_EQ(locks_->Fence("x", "ticket-bert", next.token()).status().code(), StatusCode::kAborted);
  ASSERT_OK(
      harness::WaitFor("the next one holds it", absl::Seconds(60), [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const auto response, locks_->Acquire(next, 1));
        return response.lock().held();
      }));
  EXPECT_EQ(locks_->Acquire(brief, 1).status().code(), StatusCode::kAborted);
  EXPECT_EQ(store_->Commit({.compares = {fence}, .writes = {{.key = "done", .value = "2"}}})
                .status()
                .code(),
            StatusCode::kAborted);
  EXPECT_EQ(store_->Get("done")->value, "1");
  EXPECT_GT(next.token(), brief.token());
}

TEST_P(LocksTest, WhoIsKilledWhileItWaitsLosesItsPlaceSoonAndTheHolderKeepsItsTime) {
  v1::AcquireLockRequest holder = Ask("x", "anna");
  v1::AcquireLockRequest killed = Ask("x", "bert");
  v1::AcquireLockRequest waits = Ask("x", "carl");
  for (v1::AcquireLockRequest* request : {&holder, &killed, &waits}) {
    request->set_ttl_ms(3'600'000);
    request->set_token(Token(*request));
  }
  ASSERT_OK_AND_ASSIGN(const StoreCompare fence, locks_->Fence("x", "ticket-anna", holder.token()));
  ASSERT_OK(harness::WaitFor("bert is gone", absl::Seconds(60), [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto response, locks_->Acquire(waits, 1));
    EXPECT_GE(response.ahead_size(), 1);
    return response.ahead_size() == 1 && response.ahead(0).owner() == "anna";
  }));
  EXPECT_OK(store_->Commit({.compares = {fence}, .writes = {{.key = "done", .value = "1"}}}));
  EXPECT_EQ(locks_->Acquire(killed, 1).status().code(), StatusCode::kAborted);
  ASSERT_OK_AND_ASSIGN(const auto renewed, locks_->Acquire(holder, 1));
  EXPECT_EQ(renewed.lock().token(), holder.token());
  ASSERT_OK(locks_->Release("x", "ticket-anna", ""));
  ASSERT_OK_AND_ASSIGN(const auto next, locks_->Acquire(waits, 1));
  EXPECT_TRUE(next.lock().held());
  EXPECT_EQ(next.lock().token(), waits.token());
}

TEST_P(LocksTest, ManyWhoAskAtOnceNeverHoldItTogether) {
  constexpr int kThreads = 4, kEach = 5;
  std::atomic<int> inside = 0;
  std::atomic<uint64_t> last = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        v1::AcquireLockRequest request = Ask("x", absl::StrCat("t", t, "-", i));
        ASSERT_OK(harness::WaitFor("the lock", absl::Seconds(60), [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const auto response, locks_->Acquire(request, 1));
          request.set_token(response.lock().token());
          return response.lock().held();
        }));
        EXPECT_EQ(++inside, 1);
        EXPECT_GT(request.token(), last.exchange(request.token()));
        --inside;
        EXPECT_OK(locks_->Release("x", request.ticket(), request.owner()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(LocksTest, WhatCannotBeIsRefused) {
  for (const char* name : {"", "X", "a b", "a/b", "-a", "."}) {
    EXPECT_EQ(locks_->Acquire(Ask(name, "anna"), 1).status().code(), StatusCode::kInvalidArgument)
        << name;
  }
  v1::AcquireLockRequest request = Ask("x", "anna");
  request.set_ttl_ms(1'999);
  EXPECT_EQ(locks_->Acquire(request, 1).status().code(), StatusCode::kInvalidArgument);
  request = Ask("x", "anna");
  request.set_ticket("../../xx");
  EXPECT_EQ(locks_->Acquire(request, 1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(locks_->Release("x", "a/b", "").status().code(), StatusCode::kInvalidArgument);
  request = Ask("x", "anna");
  request.set_token(4711);
  EXPECT_EQ(locks_->Acquire(request, 1).status().code(), StatusCode::kAborted);
  ASSERT_OK(locks_->Acquire(Ask("x", "anna"), 1));
  request = Ask("x", "anna");
  request.set_owner("bert");
  EXPECT_EQ(locks_->Acquire(request, 1).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(locks_->Release("x", "ticket-anna", "bert").status().code(),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(CheckNoneHeld(store_.get()).code(), StatusCode::kFailedPrecondition);
}

TEST_P(LocksTest, ANodeCannotFillTheStoreWithTickets) {
  v1::AcquireLockRequest request = Ask("x", "n1");
  request.set_ttl_ms(600'001);
  EXPECT_EQ(locks_->CheckLimitsOfNode(request).code(), StatusCode::kInvalidArgument);
  request.set_ttl_ms(600'000);
  for (int i = 0; i < 100; ++i) {
    request.set_name(absl::StrCat("x", i % 2));
    request.set_ticket(absl::StrCat("ticket-", i));
    ASSERT_OK(locks_->CheckLimitsOfNode(request)) << i;
    v1::LockTicket ticket;
    ticket.set_name(request.name());
    ticket.set_ticket(request.ticket());
    ticket.set_owner("n1");
    ASSERT_OK(store_->Put(absl::StrCat("lock/", request.name(), "/", request.ticket()),
                          ticket.SerializeAsString(), 0));
  }
  EXPECT_OK(locks_->CheckLimitsOfNode(request)) << "renewing makes nothing more";
  request.set_ticket("ticket-new");
  EXPECT_EQ(locks_->CheckLimitsOfNode(request).code(), StatusCode::kFailedPrecondition);
  // Others are not in its way, nor it in theirs.
  EXPECT_OK(locks_->CheckLimitsOfNode(Ask("x", "n2")));
}

TEST_P(LocksTest, ALeaseThatCannotBeEndedChangesNothing) {
  UnwillingStore store(store_.get());
  Locks locks(&store);
  v1::AcquireLockRequest request = Ask("x", "anna");
  ASSERT_OK_AND_ASSIGN(const auto taken, locks.Acquire(request, 1));
  EXPECT_TRUE(taken.lock().held());
  EXPECT_EQ(store.asked_to_end, 1) << "the short lease";
  ASSERT_OK_AND_ASSIGN(const bool released, locks.Release("x", request.ticket(), ""));
  EXPECT_TRUE(released);
  EXPECT_EQ(store.asked_to_end, 2);
  // Of a ticket that was not written nothing is left either.
  store.slow = true;
  EXPECT_EQ(locks.Acquire(request, 1).status().code(), StatusCode::kAborted);
  EXPECT_EQ(store.asked_to_end, 3);
}

TEST_P(LocksTest, TokensGrowOnInAnotherStore) {
  const uint64_t before = Token(Ask("x", "anna"));
  ASSERT_OK_AND_ASSIGN(const uint64_t base, NextTokenBase(store_.get(), 1));
  EXPECT_GT(base, before);
  ASSERT_OK_AND_ASSIGN(const auto other, OpenRocksDbStore(folder_->path() + "/other"));
  ASSERT_OK(other->Put("token_base", absl::StrCat(base), 0));
  Locks there(other.get());
  ASSERT_OK_AND_ASSIGN(const auto response, there.Acquire(Ask("x", "anna"), 1));
  EXPECT_GT(response.lock().token(), base);
  EXPECT_OK(there.Fence("x", "ticket-anna", response.lock().token()));
  ASSERT_OK_AND_ASSIGN(const uint64_t next, NextTokenBase(other.get(), 1));
  EXPECT_GT(next, response.lock().token());
}

}  // namespace
}  // namespace bdr::server
