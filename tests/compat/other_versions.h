// PostgreSQL servers of other major versions than Debian's.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace bdr::integration {

// The folder of a major's binaries, fetched if it is not there yet; 0 is Debian's own major.
// kUnavailable, with the reason, if it cannot be had here.
absl::StatusOr<std::string> BinFolderOf(int major);

}  // namespace bdr::integration
