// Files that hold values of users' rows are for their owner alone.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace bdr {

// What this process makes from now on nobody else can read. Once, before any file is opened.
void KeepFilesPrivate();

// kFailedPrecondition, with the command that mends it, if others than the owner and his group may
// read what is at `path`, or the group may write there: as PostgreSQL asks of its own folder. What
// is not there yet is fine, and so is what is neither a folder nor a plain file (/dev/null).
absl::Status CheckPrivate(const std::string& path);

}  // namespace bdr
