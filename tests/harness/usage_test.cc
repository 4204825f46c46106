#include "tests/harness/usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

TEST(UsageTest, AProcessIsMeasured) {
  const auto before = UsageOf(getpid());
  ASSERT_OK(before);
  std::string kept(64 << 20, 'x');
  while (UsageOf(getpid())->cpu < before->cpu + absl::Milliseconds(50)) kept[0] ^= 1;
  EXPECT_GE(UsageOf(getpid())->memory_bytes, before->memory_bytes + (60 << 20));

  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  EXPECT_THAT(ChildrenOf(getpid()), ::testing::Contains(child));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(UsageOf(child).status().code(), absl::StatusCode::kNotFound);
}

TEST(UsageTest, AFolderIsMeasured) {
  ASSERT_OK_AND_ASSIGN(const auto folder, TempFolder::Create("bdr-usage"));
  ASSERT_OK(WriteFile(folder->path() + "/a", std::string(1000, 'x')));
  ASSERT_OK(WriteFile(folder->path() + "/b", std::string(234, 'x')));
  EXPECT_EQ(FolderBytes(folder->path()), 1234);
}

TEST(UsageTest, ASlopeIsToldFromNoise) {
  std::vector<double> samples(40, 100);
  samples[3] = samples[30] = 1000;  // the start, and something that happened once
  EXPECT_EQ(Growth(samples, 1.1, 1), "");
  std::iota(samples.begin(), samples.end(), 100);
  EXPECT_EQ(Growth(samples, 1.1, 1), "from 115 to 135");
  EXPECT_EQ(Growth(samples, 1.1, 20), "");
  EXPECT_EQ(Growth({1, 2}, 1, 0), "only 2 samples");
}

}  // namespace
}  // namespace bdr::harness
