// A backup of what bdr-server keeps, as the bytes of a file (bdr.v1.Backup).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/cluster_state.h"
#include "server/store/store.h"

namespace bdr::server {

// kFailedPrecondition if the store keeps no cluster.
absl::StatusOr<std::string> MakeBackup(Store* store, int64_t now_us);

struct RestoredBackup {
  ClusterState state;
  int64_t taken_us = 0;
};
// Writes it to a store that keeps no cluster yet (else kFailedPrecondition), as `restored`: see
// cluster_state.h. The cluster comes last, in one write: what was killed before has restored
// nothing and may be repeated. kInvalidArgument if the bytes are no backup, kDataLoss if they are
// damaged.
absl::StatusOr<RestoredBackup> RestoreBackup(absl::string_view bytes, Store* store, int64_t now_us);

}  // namespace bdr::server
