// What bdr.progress says: how far each origin has been applied here.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "node-agent/positions/server_names.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct AppliedPosition {
  OriginId origin;
  Lsn lsn;               // in the origin's WAL
  int64_t stamp_us = 0;  // of the newest transaction applied; 0 if none was
  Lsn local_after;       // local WAL had reached this when it was read
};

absl::StatusOr<std::vector<AppliedPosition>> ReadApplied(postgres::Connection& connection);

// Makes sure that no session of an earlier agent can still commit on behalf of `origin`: ends what
// is left of it, and takes the replication origin for this session, which is refused while another
// backend holds it. kUnavailable until then.
absl::Status TakeOrigin(postgres::Connection& connection, const ServerNames& names,
                        OriginId origin);

// Makes sure that `origin` is a replication origin of the server.
absl::Status CreateOrigin(postgres::Connection& connection, const ServerNames& names,
                          OriginId origin);

// Makes sure that the origin of repairs exists. To be called before any applier looks up the
// origins.
absl::Status CreateRepairOrigin(postgres::Connection& connection, const ServerNames& names);

}  // namespace bdr::agent
