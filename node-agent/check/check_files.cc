#include "node-agent/check/check_files.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/private_files.h"
#include "node-agent/changelog/reserving_file_system.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {
namespace {

namespace fs = std::filesystem;
using pg_setup::Findings;

std::string NameOf(uid_t user) {
  const passwd* const known = getpwuid(user);
  return known == nullptr ? absl::StrCat(user) : known->pw_name;
}

// The folder itself, or the nearest one above it that is there.
fs::path NearestThere(fs::path path) {
  std::error_code error;
  path = fs::absolute(path, error).lexically_normal();
  while (!fs::exists(path, error) && path != path.parent_path()) path = path.parent_path();
  return path;
}

// By the user that asks, as open() would see it. "" if it may.
std::string WhyNotWritable(const fs::path& path, bool folder) {
  const int wanted = folder ? R_OK | W_OK | X_OK : W_OK;
  if (faccessat(AT_FDCWD, path.c_str(), wanted, AT_EACCESS) == 0) return "";
  return std::strerror(errno);
}

// `key` is what the path stands under; `path` is not there yet.
void CheckCanBeMade(const char* key, const fs::path& path, Findings& findings) {
  const fs::path above = NearestThere(path.parent_path());
  std::error_code error;
  const std::string why = fs::is_directory(above, error) ? WhyNotWritable(above, /*folder=*/true)
                                                         : std::string("it is no folder");
  if (why.empty()) {
    findings.Ok(absl::StrCat(key, " \"", path.string(), "\" is not there yet and can be made"));
  } else {
    findings.Error(absl::StrCat(key, " \"", path.string(), "\" cannot be made in \"",
                                above.string(), "\": ", why, "; let user \"", NameOf(geteuid()),
                                "\" write there, or name another"));
  }
}

void CheckOwner(const char* key, const std::string& path, Findings& findings) {
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0 || found.st_uid == geteuid()) return;
  findings.Warning(absl::StrCat(key, " \"", path, "\" belongs to user \"", NameOf(found.st_uid),
                                "\", and this runs as \"", NameOf(geteuid()),
                                "\": run it as the user that runs the agent"));
}

// What both a folder and a file must be.
void CheckThere(const char* key, const std::string& path, bool folder, Findings& findings) {
  CheckOwner(key, path, findings);
  if (const absl::Status shut = CheckPrivate(path); !shut.ok()) {
    findings.Error(absl::StrCat(key, " ", shut.message()));
    return;
  }
  if (const std::string why = WhyNotWritable(path, folder); !why.empty()) {
    findings.Error(absl::StrCat(key, " \"", path, "\" cannot be written: ", why, "; let user \"",
                                NameOf(geteuid()), "\" write it, or name another"));
    return;
  }
  findings.Ok(absl::StrCat(key, " \"", path, "\""));
}

void CheckDataDir(const AgentConfig& config, Findings& findings) {
  std::error_code error;
  const fs::file_status status = fs::status(config.data_dir, error);
  if (!fs::exists(status)) return CheckCanBeMade("data_dir", config.data_dir, findings);
  if (!fs::is_directory(status)) {
    findings.Error(absl::StrCat("data_dir \"", config.data_dir, "\" is no folder; name another"));
    return;
  }
  CheckThere("data_dir", config.data_dir, /*folder=*/true, findings);
}

void CheckLogFile(const AgentConfig& config, Findings& findings) {
  if (config.log_file.empty()) return findings.Ok("the log goes to standard error");
  std::error_code error;
  const fs::file_status status = fs::status(config.log_file, error);
  if (!fs::exists(status)) {
    // The agent makes the file alone.
    const fs::path above = fs::path(config.log_file).parent_path();
    if (fs::is_directory(above, error)) {
      return CheckCanBeMade("log.file", config.log_file, findings);
    }
    findings.Error(absl::StrCat("log.file \"", config.log_file, "\" cannot be made: there is no \"",
                                above.string(), "\"; make that folder, or name another file"));
    return;
  }
  if (fs::is_directory(status)) {
    findings.Error(absl::StrCat("log.file \"", config.log_file, "\" is a folder; name a file"));
    return;
  }
  CheckThere("log.file", config.log_file, /*folder=*/false, findings);
}

uint64_t BytesIn(const fs::path& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; it != end && !error;
       it.increment(error)) {
    std::error_code gone;  // RocksDB of a running agent comes and goes
    const uint64_t size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

std::string MiB(uint64_t bytes) { return absl::StrCat(bytes >> 20, " MiB"); }

void CheckRoom(const AgentConfig& config, Findings& findings) {
  std::error_code error;
  const fs::space_info space = fs::space(NearestThere(config.data_dir), error);
  if (error) {
    findings.Error(absl::StrCat("the disk of data_dir \"", config.data_dir,
                                "\" does not say what room it has: ", error.message(),
                                "; name a data_dir on another"));
    return;
  }
  const uint64_t reserve = DiskReserve(space);
  if (space.available <= reserve) {
    findings.Error(absl::StrCat("the disk of data_dir has ", MiB(space.available),
                                " left, and nothing is captured below ", MiB(reserve),
                                ": make room on it"));
    return;
  }
  const uint64_t cap = static_cast<uint64_t>(config.log_retention_bytes);
  const uint64_t used = BytesIn(config.data_dir + "/log");
  if (used + space.available - reserve < cap) {
    findings.Warning(absl::StrCat(
        "the disk of data_dir has ", MiB(space.available), " left, and log_retention_bytes lets ",
        "the change log grow to ", MiB(cap), " (it has ", MiB(used),
        "): capture would pause at a full disk, not at its cap; make room on it, or lower "
        "log_retention_bytes"));
    return;
  }
  findings.Ok(absl::StrCat("the disk of data_dir has ", MiB(space.available),
                           " left, enough for log_retention_bytes"));
}

}  // namespace

bool HasStore(const AgentConfig& config) {
  std::error_code error;
  return fs::exists(config.data_dir + "/log/CURRENT", error);  // RocksDB's own
}

pg_setup::Checked CheckFiles(const AgentConfig& config) {
  Findings findings;
  CheckDataDir(config, findings);
  CheckRoom(config, findings);
  CheckLogFile(config, findings);
  return {"files", findings.Take()};
}

}  // namespace bdr::agent
