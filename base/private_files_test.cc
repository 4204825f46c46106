#include "base/private_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::HasSubstr;

class PrivateFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = (std::filesystem::temp_directory_path() / "bdr-private-XXXXXX").string();
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

TEST_F(PrivateFilesTest, WhatOthersMayReadIsRefusedWithTheCommandThatMendsIt) {
  for (const mode_t mode : {0700, 0750, 0500}) {
    ASSERT_EQ(chmod(folder_.c_str(), mode), 0);
    EXPECT_OK(CheckPrivate(folder_)) << mode;
  }
  for (const mode_t mode : {0755, 0701, 0704, 0770, 0777}) {
    ASSERT_EQ(chmod(folder_.c_str(), mode), 0);
    const absl::Status status = CheckPrivate(folder_);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << mode;
    EXPECT_THAT(std::string(status.message()), HasSubstr("chmod 0700 " + folder_));
  }
  const std::string file = folder_ + "/log";
  std::ofstream(file) << "x";
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  EXPECT_THAT(std::string(CheckPrivate(file).message()), HasSubstr("(mode 0644)"));
  ASSERT_EQ(chmod(file.c_str(), 0640), 0);
  EXPECT_OK(CheckPrivate(file));
}

TEST_F(PrivateFilesTest, WhatIsNoFileOfOursIsFine) {
  EXPECT_OK(CheckPrivate(""));
  EXPECT_OK(CheckPrivate(folder_ + "/missing"));
  EXPECT_OK(CheckPrivate("/dev/null"));
}

}  // namespace
}  // namespace bdr
