#include "base/private_files.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bdr {

void KeepFilesPrivate() { umask(077); }

absl::Status CheckPrivate(const std::string& path) {
  struct stat found = {};
  if (path.empty() || stat(path.c_str(), &found) != 0) return absl::OkStatus();
  const bool folder = S_ISDIR(found.st_mode);
  if (!folder && !S_ISREG(found.st_mode)) return absl::OkStatus();
  if ((found.st_mode & 027) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "\"", path, "\" may be read or written by others than its owner (mode ",
      absl::StrFormat("%04o", found.st_mode & 07777), "), and holds values of rows: run chmod ",
      folder ? "0700" : "0600", " ", path, " (", folder ? "0750" : "0640", " will do, too)"));
}

}  // namespace bdr
