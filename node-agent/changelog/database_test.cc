#include "node-agent/changelog/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/write_batch.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "node-agent/changelog/state.h"
#include "tests/harness/cluster.h"
#include "tests/harness/small_disk.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

// A full disk must not end the agent, nor need it be started again once there is room, though
// RocksDB ends the process when it goes on after a write that failed.
class FullDiskTest : public testing::Test {
 protected:
  // Mounts of our own, gone with this process. Once, for RocksDB's threads stay in the namespace in
  // which they were started.
  static void SetUpTestSuite() { may_mount_ = harness::LeaveMounts().ok(); }

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    if (!may_mount_ || !harness::MountSmallDisk(folder_->path(), "24m").ok()) {
      GTEST_SKIP() << "a disk of its own can only be mounted by root";
    }
    mounted_ = true;
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/log",
                                                    .memory_bytes = 64 << 20}));
  }

  void TearDown() override {
    database_.reset();
    if (mounted_) harness::UnmountSmallDisk(folder_->path());
  }

  absl::Status Write(int i, bool sync) {
    rocksdb::WriteBatch batch;
    State(database_.get()).Put(&batch, absl::StrCat("test", i), std::string(100 << 10, 'x'));
    return database_->Write(&batch, sync);
  }

  void MakeRoom() {
    ASSERT_EQ(mount("tmpfs", folder_->path().c_str(), "tmpfs", MS_REMOUNT, "size=200m"), 0);
  }

  // A flush that found the disk full may report it a little after there is room again.
  absl::Status WaitUntilWritable(int i) {
    return harness::WaitFor("the disk has room, so writes succeed", absl::Seconds(30),
                            [&]() -> absl::StatusOr<bool> {
                              RETURN_IF_ERROR(Write(i, /*sync=*/true));
                              RETURN_IF_ERROR(database_->Sync());
                              return true;
                            });
  }

  uint64_t Available() { return std::filesystem::space(folder_->path()).available; }

  static inline bool may_mount_ = false;
  std::unique_ptr<harness::TempFolder> folder_;
  bool mounted_ = false;
  std::unique_ptr<Database> database_;
};

TEST_F(FullDiskTest, WritesAreRefusedWhileThereIsRoomForASync) {
  ASSERT_OK(Write(0, /*sync=*/false));
  std::ofstream ballast(folder_->path() + "/ballast");
  while (Available() >= 1 << 20) ballast << std::string(64 << 10, 'x') << std::flush;

  EXPECT_TRUE(absl::IsResourceExhausted(Write(1, /*sync=*/false)));
  EXPECT_TRUE(absl::IsResourceExhausted(Write(1, /*sync=*/true)));
  EXPECT_OK(database_->Sync());  // what was accepted can still be made durable

  MakeRoom();
  EXPECT_OK(Write(1, /*sync=*/true));
}

// What RocksDB writes by itself leaves room for what was promised to writes.
TEST_F(FullDiskTest, TableFilesLeaveTheReserve) {
  rocksdb::WriteBatch batch;
  ASSERT_TRUE(batch.Put(database_->spool(), "large", std::string(5 << 20, 'x')).ok());
  ASSERT_OK(database_->Write(&batch, /*sync=*/false));
  std::ofstream ballast(folder_->path() + "/ballast");
  while (Available() >= 5 << 20) ballast << std::string(64 << 10, 'x') << std::flush;

  EXPECT_TRUE(database_->db()->Flush({}, database_->spool()).IsNoSpace());
  EXPECT_GE(Available(), 3 << 19);

  MakeRoom();
  ASSERT_OK(WaitUntilWritable(0));
  EXPECT_TRUE(database_->db()->Flush({}, database_->spool()).ok());
}

// RocksDB fills the disk by files of its own as well, and takes some away again: a write may be
// refused or not, or wait for RocksDB's own recovery, and nothing of it ends the process.
TEST_F(FullDiskTest, GoesOnOnceThereIsRoomAgain) {
  int written = 0;
  while (written < 1000 && Write(written, /*sync=*/false).ok()) ++written;
  ASSERT_LT(written, 1000);
  for (int round = 0; round < 20; ++round) {
    for (const absl::Status& status :
         {database_->Sync(), Write(written, /*sync=*/round % 2 == 0)}) {
      EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status) || absl::IsUnavailable(status))
          << status;
    }
  }

  MakeRoom();
  ASSERT_OK(WaitUntilWritable(written));
  for (int i = 0; i <= written; ++i) {
    ASSERT_OK_AND_ASSIGN(const std::optional<std::string> value,
                         State(database_.get()).Get(absl::StrCat("test", i)));
    EXPECT_TRUE(value.has_value()) << i;
  }
}

// Behind the others: whoever opens a database first has RocksDB's threads in its own mounts.
TEST(DatabaseTest, ASyncWritesOnlyWhereSomethingWasWritten) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<harness::TempFolder> folder,
                       harness::TempFolder::Create());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Database> database,
                       Database::Open({.directory = folder->path() + "/log"}));
  State state(database.get());
  ASSERT_OK(state.Put("test", "1", /*sync=*/false));
  const uint64_t written = database->SizeOnDisk();
  ASSERT_OK(database->Sync());
  const uint64_t synced = database->SizeOnDisk();
  EXPECT_GT(synced, written) << "a synced record stands behind what was not";
  ASSERT_OK(database->Sync());
  EXPECT_EQ(database->SizeOnDisk(), synced);
  // What is synced itself takes what was written before along.
  ASSERT_OK(state.Put("test", "2", /*sync=*/false));
  ASSERT_OK(state.Put("test", "3", /*sync=*/true));
  const uint64_t again = database->SizeOnDisk();
  ASSERT_OK(database->Sync());
  EXPECT_EQ(database->SizeOnDisk(), again);
}

}  // namespace
}  // namespace bdr::agent
