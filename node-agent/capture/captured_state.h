// How far capture has come, as it is written down with every block.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "node-agent/changelog/database.h"
#include "node-agent/positions/server_past.h"

namespace bdr::agent {

// What capture must know after a restart, in the state under "captured".
struct CapturedState {
  Lsn through;                // everything before was captured
  int64_t last_stamp_us = 0;  // of the last transaction
  CapturedCommit last = {};   // likewise

  // Unset if this node has captured nothing yet. kDataLoss if what is there cannot be read.
  static absl::StatusOr<std::optional<CapturedState>> Load(Database* database);
  std::string Encode() const;
};

}  // namespace bdr::agent
