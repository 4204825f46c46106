#include "base/grpc_log.h"

#include <grpc/support/log.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

TEST(GrpcLogTest, ErrorsAreLinesOfOursAndFew) {
  const std::string path =
      (std::filesystem::temp_directory_path() / absl::StrCat("bdr_grpc_log_", getpid())).string();
  ASSERT_OK(SetLogFile(path));
  TakeGrpcLog();
  gpr_log(GPR_INFO, "nobody needs this");
  for (int i = 0; i < 1000; ++i) gpr_log(GPR_ERROR, "handshake %d\nfailed", i);
  ASSERT_OK(SetLogFile(""));
  std::ifstream file(path);
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    EXPECT_TRUE(absl::StrContains(line, " grpc")) << line;
    EXPECT_TRUE(absl::StrContains(line, "handshake")) << line;
  }
  EXPECT_EQ(lines, 5);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace bdr
