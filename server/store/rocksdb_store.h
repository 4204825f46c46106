// The embedded store: RocksDB in a folder of its own, for one bdr-server on one machine.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace bdr::server {

// Opens or creates the store in `folder`. kUnavailable if another process has it open or the disk
// refuses; kInternal if it is damaged. Watches must not outlive the store.
absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& folder);

}  // namespace bdr::server
