// Keeps the versions of changes that are not applied now, or not any more.
//
// Those that a transaction has written here, or would have if it had not been put aside: they count
// as seen, so that what is older is not written later. After a crash of the machine they come back
// from the log. Where a table is missing, or another than at the origin, there is nothing to keep
// versions of; that is logged, once in a while for each cause, as there may be millions of changes.
#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/origin.h"
#include "node-agent/apply/drive/apply_parts.h"
#include "node-agent/apply/plan/group_source.h"
#include "node-agent/apply/plan/group_versions.h"
#include "node-agent/apply/plan/table_resolver.h"
#include "node-agent/apply/session/apply_control.h"

namespace bdr::agent {

// Of one applier. Not thread-safe.
class VersionsOnly {
 public:
  // All outlive it.
  VersionsOnly(OriginId origin, TableResolver* tables, ClaimReader* claim_reader,
               GroupVersions* versions)
      : origin_(origin), tables_(tables), claim_reader_(claim_reader), versions_(versions) {}

  // `applied`: the piece's changes have their part in the history of rows that fold. Only errors of
  // the store and of the server; what lies in a table is passed over.
  absl::Status Record(const PiecePtr& piece, bool applied);

  // Brings back from the change log what the store may have lost of what is applied up to
  // `committed`; the log itself may have to be fetched again first. kCancelled: the agent shuts
  // down.
  absl::Status Rebuild(const ApplyParts& parts, Lsn committed, ApplyControl* control);

 private:
  absl::Status RecordOne(const PiecePtr& piece, bool applied);
  void Tell(const Piece& piece, const absl::Status& cause);

  const OriginId origin_;
  TableResolver* const tables_;
  ClaimReader* const claim_reader_;
  GroupVersions* const versions_;
  absl::flat_hash_map<std::string, absl::Time> told_;  // why none is kept: as logged, when
};

}  // namespace bdr::agent
