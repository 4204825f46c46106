// What a crash of the whole machine does to the files of one process.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bdr::harness {

// Watches a folder from before its first file is made (see unsynced.c), in a process that is
// started with environment(). Once that process was killed, LoseUnsynced() takes from each file
// what had not been synced; files that never were are left empty.
class MachineCrash {
 public:
  // The journal must lie outside of the folder. Both paths absolute and without symlinks.
  MachineCrash(std::string folder, std::string journal)
      : folder_(std::move(folder)), journal_(std::move(journal)) {}

  std::vector<std::pair<std::string, std::string>> environment() const;

  // How many bytes were lost. Only while the process does not run.
  absl::StatusOr<int64_t> LoseUnsynced();

 private:
  const std::string folder_;
  const std::string journal_;
};

}  // namespace bdr::harness
