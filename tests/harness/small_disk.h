// A disk of its own for a folder, that can be full. Needs root.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace bdr::harness {

// From here on what this thread mounts, and the processes that it starts, is seen by them alone,
// and goes with them, however they end. To be called before there are other threads.
// kPermissionDenied where that is not allowed.
absl::Status LeaveMounts();

// Creates the folder if need be. `size` as in mount(8): "256m".
absl::Status MountSmallDisk(const std::string& folder, const std::string& size);
void UnmountSmallDisk(const std::string& folder);

// Leaves no room on the folder's disk, and gives back what that took.
absl::Status FillDisk(const std::string& folder);
absl::Status MakeRoom(const std::string& folder);

}  // namespace bdr::harness
