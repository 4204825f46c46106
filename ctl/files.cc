#include "ctl/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::ctl {
namespace {

absl::Status WriteSynced(const std::string& path, const std::string& bytes, int flags,
                         mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);
  if (fd < 0) return CannotWrite(path, errno);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0) break;
    done += static_cast<size_t>(n);
  }
  const bool written = done == bytes.size() && fsync(fd) == 0;
  const int error = errno;
  close(fd);
  return written ? absl::OkStatus() : CannotWrite(path, error);
}

// A new name is on the disk once its folder is.
absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return CannotWrite(path, errno);
  const bool synced = fsync(fd) == 0;
  const int error = errno;
  close(fd);
  return synced ? absl::OkStatus() : CannotWrite(path, error);
}

}  // namespace

absl::Status CannotWrite(const std::string& path, int error) {
  if (error == EEXIST) {
    return absl::AlreadyExistsError(absl::StrCat(
        "\"", path, "\" is there already, and may be in use: move it away, or take another --out"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("cannot write \"", path, "\": ", std::strerror(error)));
}

absl::Status WriteNew(const std::string& path, const std::string& bytes, mode_t mode) {
  RETURN_IF_ERROR(WriteSynced(path, bytes, O_EXCL, mode));
  return SyncFolderOf(path);
}

absl::Status Replace(const std::string& path, const std::string& bytes) {
  const std::string part = path + ".part";
  absl::Status status = WriteSynced(part, bytes, O_TRUNC, 0600);
  if (status.ok() && std::rename(part.c_str(), path.c_str()) != 0) {
    status = CannotWrite(path, errno);
  }
  if (!status.ok()) {
    unlink(part.c_str());
    return status;
  }
  return SyncFolderOf(path);
}

}  // namespace bdr::ctl
