#include "tests/harness/small_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace bdr::harness {
namespace {

absl::Status Error(absl::string_view what, int error) {
  return absl::PermissionDeniedError(absl::StrCat(what, ": ", std::strerror(error)));
}

std::string Filler(const std::string& folder) { return folder + "/filler"; }

}  // namespace

absl::Status LeaveMounts() {
  if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) {
    return absl::OkStatus();
  }
  return Error("no mounts of our own are allowed", errno);
}

absl::Status MountSmallDisk(const std::string& folder, const std::string& size) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Error(absl::StrCat("cannot create ", folder), error.value());
  if (mount("tmpfs", folder.c_str(), "tmpfs", 0, absl::StrCat("mode=0700,size=", size).c_str()) ==
      0) {
    return absl::OkStatus();
  }
  return Error(absl::StrCat("cannot mount a disk at ", folder), errno);
}

void UnmountSmallDisk(const std::string& folder) { umount2(folder.c_str(), MNT_DETACH); }

absl::Status FillDisk(const std::string& folder) {
  const int fd = open(Filler(folder).c_str(), O_CREAT | O_WRONLY, 0600);
  if (fd < 0) return Error(absl::StrCat("cannot create ", Filler(folder)), errno);
  int failed = ENOSPC;
  // Others take and give back some meanwhile.
  for (int attempt = 0; failed == ENOSPC && attempt < 10; ++attempt) {
    std::error_code error;
    const std::filesystem::space_info disk = std::filesystem::space(folder, error);
    failed = error ? error.value() : posix_fallocate(fd, 0, static_cast<off_t>(disk.available));
  }
  close(fd);
  if (failed == 0) return absl::OkStatus();
  (void)MakeRoom(folder);
  return Error(absl::StrCat("cannot fill ", folder), failed);
}

absl::Status MakeRoom(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove(Filler(folder), error);
  return error ? Error(absl::StrCat("cannot remove ", Filler(folder)), error.value())
               : absl::OkStatus();
}

}  // namespace bdr::harness
