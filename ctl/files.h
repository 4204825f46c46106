// Files that an administrator keeps: keys, certificates, backups.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bdr::ctl {

// All on the disk once they return OK. kFailedPrecondition with path and cause otherwise.

// Never over a file, since a key that is lost cannot be made again: kAlreadyExists.
absl::Status WriteNew(const std::string& path, const std::string& bytes, mode_t mode);
// Whole or not at all: the file of yesterday stays until that of today is on the disk. For its
// owner alone.
absl::Status Replace(const std::string& path, const std::string& bytes);

// Of writing `path`, with the errno.
absl::Status CannotWrite(const std::string& path, int error);

}  // namespace bdr::ctl
