// The embedded store: what was acknowledged stays. What it has in common with etcd is in
// store_test.cc.
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

TEST_F(RocksDbStoreTest, LeasesLastTheirWholeTimeAgainAfterReopening) {
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, store_->GrantLease(absl::Seconds(2)));
  ASSERT_OK(store_->Commit({.writes = {{.key = "a", .value = "1", .lease = lease}}}));
  Open();
  EXPECT_OK(store_->Get("a"));
  EXPECT_OK(store_->RenewLease(lease));
  {
    ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch("a"));  // must not outlive the store
    ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(absl::Seconds(60)));
    ASSERT_TRUE(change.has_value());
    EXPECT_TRUE(change->deleted);
  }
  // Also on disk, with the lease itself.
  Open();
  EXPECT_EQ(store_->Get("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->RenewLease(lease).code(), absl::StatusCode::kNotFound);
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
