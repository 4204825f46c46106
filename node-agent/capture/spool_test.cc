// Large transactions come and go; their room on the disk is to go with them.
#include "node-agent/capture/spool.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "base/testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class SpoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create("bdr-spool"));
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/db",
                                                    .memory_bytes = 16 * kMiB}));
  }
  // So much that cannot be compressed.
  static void Fill(Spool* spool, uint32_t xid, uint64_t bytes) {
    std::mt19937_64 random(xid);
    std::string message(64 << 10, 0);
    for (uint64_t done = 0; done < bytes; done += message.size()) {
      for (size_t i = 0; i + 8 <= message.size(); i += 8) {
        const uint64_t word = random();
        message.replace(i, 8, reinterpret_cast<const char*>(&word), 8);
      }
      ASSERT_OK(spool->Add(xid, xid, Spool::Kind::kChange, message));
    }
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
};

TEST_F(SpoolTest, ATransactionThatHasEndedLeavesNothingOnTheDisk) {
  Spool spool(database_.get());
  ASSERT_NO_FATAL_FAILURE(Fill(&spool, 7, kMiB));
  ASSERT_NO_FATAL_FAILURE(Fill(&spool, 8, 64 * kMiB));
  ASSERT_NO_FATAL_FAILURE(Fill(&spool, 9, kMiB));
  EXPECT_GT(database_->SpoolBytes(), 60 * kMiB);
  ASSERT_OK(spool.Forget(8));
  EXPECT_LT(database_->SpoolBytes(), 8 * kMiB);
  // What still runs is all there.
  for (const uint32_t xid : {7u, 9u}) {
    uint64_t bytes = 0;
    ASSERT_OK(spool.ForEach(xid, [&bytes](Spool::Kind, absl::string_view message) {
      bytes += message.size();
      return absl::OkStatus();
    }));
    EXPECT_EQ(bytes, kMiB);
  }
}

TEST_F(SpoolTest, WhatAnEarlierAgentLeftIsGivenBack) {
  {
    Spool killed(database_.get());
    ASSERT_NO_FATAL_FAILURE(Fill(&killed, 7, 64 * kMiB));
  }
  Spool spool(database_.get());
  ASSERT_OK(spool.Clear());
  EXPECT_LT(database_->SpoolBytes(), 8 * kMiB);
}

}  // namespace
}  // namespace bdr::agent
