// Settles what an earlier agent of this node had under way in the server.
//
// What it had queued there may be committed seconds after it died. Nothing is published before that
// is settled, or a local transaction that saw it would not say so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/lsn.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/changelog/database.h"
#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/server_names.h"
#include "node-agent/positions/server_past.h"

namespace bdr::agent {

// How the server stands once no earlier session can commit any more.
struct Fenced {
  std::unique_ptr<ServerPast> server_past = nullptr;
  std::unique_ptr<AppliedHistory> applied = nullptr;  // what those sessions had applied
  int64_t newest_applied_us = 0;                      // no stamp of that was later
  std::vector<DeadLetter> letters = {};               // that stand in the database
  Lsn at = {};                                        // local WAL then
};

// Fills `fenced`. Repeating it after an error is harmless, with the same `fenced`. That the server
// was set back is no error here: it makes capture and the appliers refuse, and status says why.
// kUnavailable while PostgreSQL cannot be reached, or a backend of an earlier session is there.
absl::Status Fence(const std::string& conninfo, const ServerNames& names, Database* database,
                   Fenced* fenced);

}  // namespace bdr::agent
