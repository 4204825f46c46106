// What processes and folders use, read from /proc (proc(5)) and the file system.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace bdr::harness {

struct Usage {
  absl::Duration cpu;        // since its start, of all threads
  int64_t memory_bytes = 0;  // of its own: resident, neither shared nor of a file
};
// kNotFound if there is no such process.
absl::StatusOr<Usage> UsageOf(pid_t pid);
// Its children at this moment.
std::vector<pid_t> ChildrenOf(pid_t pid);
// Of all files below; those that come and go meanwhile may count or not.
int64_t FolderBytes(const std::string& folder);

// Whether values that were sampled at equal intervals grow: by the medians of the second and of the
// last quarter, so that neither the start nor single samples count. "" if the last is at most
// `factor` times the other plus `slack`, in the values' unit; else what they are.
std::string Growth(absl::Span<const double> samples, double factor, double slack);

}  // namespace bdr::harness
