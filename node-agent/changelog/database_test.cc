#include "node-agent/changelog/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "node-agent/changelog/state.h"
#include "tests/harness/cluster.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

// A full disk must not end the agent, nor need it be started again once there is room, though
// RocksDB ends the process when it goes on after a write that failed.
TEST(DatabaseTest, GoesOnOnceAFullDiskHasRoomAgain) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<harness::TempFolder> folder,
                       harness::TempFolder::Create());
  // A small disk of our own, gone with this process.
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", folder->path().c_str(), "tmpfs", 0, "size=24m") != 0) {
    GTEST_SKIP() << "a disk of its own can only be mounted by root";
  }
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<Database> database,
      Database::Open({.directory = folder->path() + "/log", .memory_bytes = 64 << 20}));
  const auto write = [&](int i, bool sync) {
    rocksdb::WriteBatch batch;
    State(database.get()).Put(&batch, absl::StrCat("test", i), std::string(100 << 10, 'x'));
    return database->Write(&batch, sync);
  };
  int written = 0;
  while (written < 1000 && write(written, /*sync=*/false).ok()) ++written;
  ASSERT_LT(written, 1000);
  // What was accepted can still be made durable; nothing more is.
  EXPECT_OK(database->Sync());
  EXPECT_TRUE(absl::IsResourceExhausted(write(written, /*sync=*/true)));
  EXPECT_OK(database->Sync());

  ASSERT_EQ(mount("tmpfs", folder->path().c_str(), "tmpfs", MS_REMOUNT, "size=200m"), 0);
  ASSERT_OK(harness::WaitFor("the disk has room, so writes succeed", absl::Seconds(30),
                             [&]() -> absl::StatusOr<bool> {
                               RETURN_IF_ERROR(write(written, /*sync=*/true));
                               return true;
                             }));
  ASSERT_OK(database->Sync());
  ASSERT_OK_AND_ASSIGN(const auto first, State(database.get()).Get("test0"));
  EXPECT_TRUE(first.has_value());
}

}  // namespace
}  // namespace bdr::agent
