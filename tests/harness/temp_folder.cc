#include "tests/harness/temp_folder.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace bdr::harness {

absl::StatusOr<std::unique_ptr<TempFolder>> TempFolder::Create(absl::string_view prefix) {
  const char* parent = getenv("TMPDIR");
  std::string path =
      absl::StrCat(parent != nullptr && *parent != 0 ? parent : "/tmp", "/", prefix, "-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot create the folder \"", path, "\""));
  }
  // mkdtemp() lets nobody else in, but PostgreSQL may run as another user.
  if (chmod(path.c_str(), 0755) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open up the folder \"", path, "\""));
  }
  return std::unique_ptr<TempFolder>(new TempFolder(std::move(path)));
}

TempFolder::~TempFolder() {
  if (keep_ || getenv("BDR_TEST_KEEP") != nullptr) return;
  std::error_code ignored;  // A destructor has nobody to tell; what is left lies under /tmp.
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot open \"", path, "\""));
  std::ostringstream content;
  content << in.rdbuf();
  return std::move(content).str();
}

absl::Status WriteFile(const std::string& path, absl::string_view content, int mode) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out || chmod(path.c_str(), mode) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write \"", path, "\""));
  }
  return absl::OkStatus();
}

std::string TailOfFile(const std::string& path, int lines) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return absl::StrCat("(no \"", path, "\")");
  std::vector<absl::string_view> all = absl::StrSplit(*content, '\n', absl::SkipEmpty());
  const size_t skip = all.size() > static_cast<size_t>(lines) ? all.size() - lines : 0;
  return absl::StrJoin(all.begin() + static_cast<std::ptrdiff_t>(skip), all.end(), "\n");
}

std::string ProgramFolder() {
  const char* folder = getenv("BDR_BIN_DIR");
  return folder != nullptr ? folder : absl::StrCat(BDR_BINARY_DIR, "/bin");
}

std::string BuildFolder() { return BDR_BINARY_DIR; }

}  // namespace bdr::harness
