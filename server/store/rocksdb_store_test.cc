// The embedded store: what was acknowledged stays, and no write wins over one that it did not see.
#include "server/store/rocksdb_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"

namespace bdr::server {
namespace {

class RocksDbStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/bdr-store-XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    Open();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Open() {
    store_.reset();
    auto store = OpenRocksDbStore(folder_);
    ASSERT_OK(store);
    store_ = std::move(*store);
  }

  std::string folder_;
  std::unique_ptr<Store> store_;
};

TEST_F(RocksDbStoreTest, KeepsValuesAndRevisionsOverReopening) {
  ASSERT_OK_AND_ASSIGN(const uint64_t first, store_->Put("a", "1", 0));
  ASSERT_OK_AND_ASSIGN(const uint64_t second, store_->Put("b", "2", 0));
  EXPECT_GT(second, first);
  Open();
  ASSERT_OK_AND_ASSIGN(const StoreEntry a, store_->Get("a"));
  EXPECT_EQ(a.value, "1");
  EXPECT_EQ(a.revision, first);
  // Revisions go on where they were, or an old compare would succeed again.
  ASSERT_OK_AND_ASSIGN(const uint64_t third, store_->Put("a", "3", first));
  EXPECT_GT(third, second);
}

TEST_F(RocksDbStoreTest, PutFailsUnlessTheRevisionIsTheOneThatWasRead) {
  ASSERT_OK_AND_ASSIGN(const uint64_t revision, store_->Put("a", "1", 0));
  EXPECT_EQ(store_->Put("a", "x", 0).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Put("a", "x", revision + 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Put("new", "x", revision).status().code(), absl::StatusCode::kAborted);
  EXPECT_OK(store_->Put("a", "2", revision));
  EXPECT_EQ(store_->Get("a")->value, "2");
}

TEST_F(RocksDbStoreTest, MissingKeysAreNotFound) {
  EXPECT_EQ(store_->Get("none").status().code(), absl::StatusCode::kNotFound);
  // The store's own bookkeeping is no key.
  EXPECT_EQ(store_->Get("revision").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RocksDbStoreTest, ListsOnlyThePrefixInOrder) {
  for (const char* key : {"m/2", "m/1", "n/1", "m"}) ASSERT_OK(store_->Put(key, key, 0));
  ASSERT_OK_AND_ASSIGN(const auto entries, store_->List("m/"));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].key, "m/1");
  EXPECT_EQ(entries[1].key, "m/2");
}

TEST_F(RocksDbStoreTest, ConcurrentIncrementsLoseNone) {
  constexpr int kThreads = 4, kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      for (int done = 0; done < kEach;) {
        const auto entry = store_->Get("n");
        int n = 0;
        ASSERT_TRUE(!entry.ok() || absl::SimpleAtoi(entry->value, &n));
        if (store_->Put("n", absl::StrCat(n + 1), entry.ok() ? entry->revision : 0).ok()) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->Get("n")->value, absl::StrCat(kThreads * kEach));
}

TEST_F(RocksDbStoreTest, WatchGivesChangesUnderItsPrefixInOrder) {
  ASSERT_OK(store_->Put("m/0", "before", 0));
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch("m/"));
  ASSERT_OK_AND_ASSIGN(const uint64_t revision, store_->Put("m/2", "x", 0));
  ASSERT_OK(store_->Put("n/1", "other", 0));
  ASSERT_OK(store_->Put("m/1", "y", 0));
  ASSERT_OK(store_->Put("m/2", "z", revision));
  std::vector<std::string> seen;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(absl::ZeroDuration()));
    if (!change.has_value()) break;
    seen.push_back(absl::StrCat(change->key, "=", change->value));
  }
  EXPECT_THAT(seen, ::testing::ElementsAre("m/1=y", "m/2=z"));
}

TEST_F(RocksDbStoreTest, WatchWakesOnAChange) {
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch(""));
  std::thread writer([this] { EXPECT_OK(store_->Put("a", "1", 0)); });
  ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(absl::Seconds(30)));
  writer.join();
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->value, "1");
}

TEST_F(RocksDbStoreTest, ASecondProcessIsRefused) {
  EXPECT_EQ(OpenRocksDbStore(folder_).status().code(), absl::StatusCode::kUnavailable);
}

// What Put() acknowledged must be there after the process is killed at any moment.
TEST_F(RocksDbStoreTest, AcknowledgedWritesSurviveAKill) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot follow a child that starts threads after fork()";
#endif
  store_.reset();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = OpenRocksDbStore(folder_);
    if (!store.ok()) _exit(1);
    for (uint64_t i = 0, revision = 0;; ++i) {
      auto written = (*store)->Put("n", absl::StrCat(i), revision);
      if (!written.ok()) _exit(1);
      revision = *written;
      if (write(pipe_ends[1], &i, sizeof(i)) != sizeof(i)) _exit(1);
    }
  }
  close(pipe_ends[1]);
  uint64_t acknowledged = 0;
  while (acknowledged < 50) {
    ASSERT_EQ(read(pipe_ends[0], &acknowledged, sizeof(acknowledged)),
              static_cast<ssize_t>(sizeof(acknowledged)));
  }
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  while (read(pipe_ends[0], &acknowledged, sizeof(acknowledged)) > 0) {
  }
  close(pipe_ends[0]);

  Open();
  ASSERT_OK_AND_ASSIGN(const StoreEntry entry, store_->Get("n"));
  uint64_t stored = 0;
  ASSERT_TRUE(absl::SimpleAtoi(entry.value, &stored));
  EXPECT_GE(stored, acknowledged);
  EXPECT_EQ(entry.revision, stored + 1);
}

}  // namespace
}  // namespace bdr::server
