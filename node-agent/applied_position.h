// What bdr.progress says: how far each origin has been applied here.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/lsn.h"
#include "base/origin.h"
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
absl::Status TakeOrigin(postgres::Connection& connection, OriginId origin);

// Makes sure that `origin` is a replication origin of the server.
absl::Status CreateOrigin(postgres::Connection& connection, OriginId origin);

// PostgreSQL's replication origin of repairs (repair/row_repair.h): one session holds it at a time.
// Rows written under it are nobody's own: appliers ask the version store about them.
inline constexpr absl::string_view kRepairOrigin = "bdr_repair";

// Makes sure that it exists. To be called before any applier looks up the origins.
absl::Status CreateRepairOrigin(postgres::Connection& connection);

}  // namespace bdr::agent
