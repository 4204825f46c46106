// A folder of a test's own, gone when the test ends.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::harness {

// Lies under $TMPDIR or /tmp, so that also the user that PostgreSQL runs as may enter it and paths
// of unix sockets stay short. Removed with everything in it by the destructor, unless Keep() was
// called or BDR_TEST_KEEP is set in the environment.
class TempFolder {
 public:
  static absl::StatusOr<std::unique_ptr<TempFolder>> Create(absl::string_view prefix = "bdr-test");
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  void Keep() { keep_ = true; }

 private:
  explicit TempFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
  bool keep_ = false;
};

absl::StatusOr<std::string> ReadFile(const std::string& path);
absl::Status WriteFile(const std::string& path, absl::string_view content, int mode = 0644);
// The end of a log file for an error message; a word in its place if it cannot be read.
std::string TailOfFile(const std::string& path, int lines = 15);

// The folder with bdr-agent, bdr-server and bdrctl: $BDR_BIN_DIR, or bin/ of this build.
std::string ProgramFolder();
// The build folder of this build, for what is worth keeping between runs.
std::string BuildFolder();

}  // namespace bdr::harness
