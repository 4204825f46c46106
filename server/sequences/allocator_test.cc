// No number is ever granted twice, whoever asks at the same time and whatever the store has lost.
#include "server/sequences/allocator.h"

#include <gmock/gmock.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/testing.h"
#include "bdr/v1/control.pb.h"
#include "server/store/rocksdb_store.h"
#include "server/store_testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

using ::testing::HasSubstr;

class AllocatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    Open("store");
  }
  void Open(const std::string& name) {
    allocator_.reset();
    store_.reset();
    ASSERT_OK_AND_ASSIGN(store_, OpenRocksDbStore(folder_->path() + "/" + name));
    allocator_ = std::make_unique<SequenceAllocator>(store_.get());
  }
  uint32_t Converted(const std::string& name, const std::string& type, int64_t first,
                     int64_t last) {
    const auto state = allocator_->Convert(
        {.name = name, .method = "galloc", .data_type = type, .first = first, .last = last});
    EXPECT_OK(state.status());
    return state.ok() ? state->number() : 0;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SequenceAllocator> allocator_;
};

TEST_F(AllocatorTest, ChunksFollowEachOtherAndAreNobodyElses) {
  const uint32_t number = Converted("app.a", "integer", 1001, 2147483647);
  EXPECT_EQ(Converted("app.b", "bigint", 1, 1 << 30), number + 1);
  EXPECT_EQ(*allocator_->Grant(number, 64), 1024) << "aligned to the unit of integers";
  EXPECT_EQ(*allocator_->Grant(number, 256), 1088);
  Open("store");
  EXPECT_EQ(*allocator_->Grant(number, 64), 1344) << "after a restart";
  EXPECT_EQ(Converted("app.a", "integer", 5, 2147483647), number) << "the same request again";
  EXPECT_EQ(*allocator_->Grant(number, 64), 1408);
}

TEST_F(AllocatorTest, ManyWhoAskAtOnceShareNothing) {
  const uint32_t number = Converted("app.a", "integer", 1, 2147483647);
  SequenceAllocator other(store_.get());  // as a second server on one store
  std::mutex mu;
  std::set<int64_t> firsts;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) {
        const auto first = (i % 2 == 0 ? *allocator_ : other).Grant(number, 64);
        const std::lock_guard<std::mutex> lock(mu);
        ASSERT_OK(first.status());
        EXPECT_TRUE(firsts.insert(*first).second) << *first;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*firsts.rbegin() - *firsts.begin(), 199 * 64) << "dense";
}

// Counts the writes that came too late.
class CountingStore : public SharedStore {
 public:
  using SharedStore::SharedStore;
  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    absl::StatusOr<uint64_t> written = SharedStore::Commit(transaction);
    if (absl::IsAborted(written.status())) ++beaten_;
    return written;
  }
  int beaten() const { return beaten_; }

 private:
  std::atomic<int> beaten_ = 0;
};

TEST_F(AllocatorTest, ThoseWhoAskOneServerDoNotCompete) {
  const uint32_t number = Converted("app.a", "bigint", 1, int64_t{1} << 40);
  CountingStore counting(store_.get());
  SequenceAllocator server(&counting, /*patience=*/absl::Minutes(1));
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 20; ++n) EXPECT_OK(server.Grant(number, 1024));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counting.beaten(), 0);
}

TEST_F(AllocatorTest, WhoeverHasLostPatienceGoesOn) {
  const uint32_t number = Converted("app.a", "bigint", 1, int64_t{1} << 40);
  SequenceAllocator server(store_.get(), /*patience=*/absl::ZeroDuration());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_OK(server.Grant(number, 1024)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*server.Grant(number, 1024), 5 * 1024);
}

TEST_F(AllocatorTest, ASequenceEndsWhereItsTypeDoes) {
  const uint32_t number = Converted("app.a", "smallint", 32760, 32767);
  EXPECT_EQ(*allocator_->Grant(number, 8), 32760);
  const auto none = allocator_->Grant(number, 4);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(none.status().message(), HasSubstr("has 0 numbers left up to 32767"));
  EXPECT_EQ(allocator_->Grant(number, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(allocator_->Grant(77, 4).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(allocator_
                ->Convert({.name = "b",
                           .method = "galloc",
                           .data_type = "smallint",
                           .first = 32766,
                           .last = 32767})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(AllocatorTest, AStoreThatWentBackLearnsHowFarTheOthersAre) {
  const uint32_t number = Converted("app.a", "integer", 1, 2147483647);
  ASSERT_OK(allocator_->Grant(number, 1 << 20).status());
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::SequenceState> known, allocator_->List());

  Open("lost");
  ASSERT_OK(allocator_->Learn({known[0]}));
  EXPECT_EQ(*allocator_->Grant(number, 64), known[0].next());
  ASSERT_OK(allocator_->Learn({known[0]}));  // older by now
  EXPECT_EQ(*allocator_->Grant(number, 64), known[0].next() + 64);
  EXPECT_EQ(Converted("app.b", "integer", 1, 2147483647), number + 1);
}

TEST_F(AllocatorTest, AgentsTeachNothingThatCannotBe) {
  const uint32_t number = Converted("app.a", "integer", 1, 2147483647);
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::SequenceState> known, allocator_->List());
  for (const int64_t next : {int64_t{-1}, INT64_MAX, INT64_MIN}) {
    v1::SequenceState wrong = known[0];
    wrong.set_next(next);
    EXPECT_EQ(allocator_->Learn({wrong}).code(), absl::StatusCode::kInvalidArgument) << next;
  }
  v1::SequenceState other = known[0];
  other.set_number(4294967295);
  EXPECT_EQ(allocator_->Learn({other}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_OK(allocator_->Grant(number, 64).status());
}

// Registers hold 46 bits.
TEST_F(AllocatorTest, ABigintEndsWhereRegistersDo) {
  const uint32_t number = Converted("app.a", "bigint", (int64_t{1} << 46) - 2048, INT64_MAX);
  EXPECT_OK(allocator_->Grant(number, 2048).status());
  EXPECT_EQ(allocator_->Grant(number, 1024).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(allocator_->Grant(number, int64_t{1} << 40).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(AllocatorTest, OnlyMethodsThatThereAreAndLiveOnChunksHaveThem) {
  EXPECT_EQ(
      allocator_
          ->Convert({.name = "a", .method = "magic", .data_type = "bigint", .first = 1, .last = 9})
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
  const auto local = allocator_->Convert(
      {.name = "a", .method = "local", .data_type = "bigint", .first = 1, .last = 90000});
  ASSERT_OK(local.status());
  EXPECT_EQ(allocator_->Grant(local->number(), 1024).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace bdr::server
