// What an applier's stations work with, and what they share of each group.
#pragma once

#include <deque>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/origin.h"
#include "node-agent/apply/drive/apply_parts.h"
#include "node-agent/apply/drive/apply_tally.h"
#include "node-agent/apply/drive/versions_only.h"
#include "node-agent/apply/drive/waits.h"
#include "node-agent/apply/foreign_keys/foreign_keys.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/apply/plan/group_source.h"
#include "node-agent/apply/plan/group_versions.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/apply/plan/table_resolver.h"
#include "node-agent/apply/session/apply_control.h"
#include "node-agent/apply/session/server_session.h"
#include "node-agent/apply/write/group_executor.h"
#include "node-agent/tables/claim_reader.h"

namespace bdr::agent {

// Of one applier; belongs to its thread. What is pointed to outlives the groups that are given it.
struct ApplyTools {
  OriginId origin = {};
  const ApplyOptions* options = nullptr;
  const ApplyParts* parts = nullptr;
  ApplyControl* control = nullptr;
  ApplyTally* tally = nullptr;
  ServerSession* session = nullptr;
  GroupSource* source = nullptr;
  TableResolver* tables = nullptr;
  ClaimReader* claim_reader = nullptr;
  GroupVersions* versions = nullptr;
  VersionsOnly* versions_only = nullptr;
  MissingValues* values = nullptr;
  ForeignKeys* foreign_keys = nullptr;
  LockWaits* locks = nullptr;
  Waits* waits = nullptr;
  // PostgreSQL's ids of our replication origins, as of the session's begin.
  absl::flat_hash_map<uint32_t, NodeId> node_of_roident = {};
  // What stood in the store before the versions of what is pending were recorded, over all attempts
  // at it: recorded once, they hide it.
  GroupVersions::Versions before = {};

  bool own() const { return source->own(); }
  Pipe* pipe() const { return session->pipe(); }

  // Tables may have changed: forgets what they are bound to, and before the next group the
  // statements on them.
  void Unbind();
  // Before a group is planned: the cluster's settings may have changed.
  absl::Status RefreshSettings();
  // For one group, by what is known now.
  ExecutorOptions MakeExecutorOptions() const;

  // By how much a local row's commit time may be below its stamp.
  int64_t LargestRaise() const;
  // Until what was found at these keys is captured: then the options and `found_before` tell that.
  absl::Status WaitForCapture(const FoundBefore& found, ExecutorOptions* executor,
                              FoundBefore* found_before) const;
  // After every commit: what was kept for attempts at what is pending is over.
  void Committed(bool moved_progress);

  // After a group's rows were written, in its transaction. `letter`: it had been put aside.
  absl::Status CheckForeignKeys(GroupPlan& plan, bool letter);
  // Versions that died of a claim die with their own stamps: a later one of the same row may live.
  absl::Status RecordDead(const GroupExecutor& executor);

  // Before a commit that puts changes among the dead letters, and after it.
  void AnnounceRefused(const std::deque<DeadLetter>& refused);
  void NoteRefused(const std::deque<DeadLetter>& refused);
  // After the commit of a group that has found orphaned rows.
  void NoteOrphans(uint64_t orphans, bool queued);

  // Nothing stands here that a transaction with this header had not seen when it was committed, as
  // far as capture knows.
  bool SawEverything(const TransactionHeader& header) const;
};

// Queues a look at the tables that a plan has written, now that they are locked by it: whether they
// still are what they were bound as. A table that was altered since mostly makes its statements
// fail. Where a column was made narrower they do not: PostgreSQL would cut the values in silence.
// Nor where another table has its name by now, which a DELETE by key or a TRUNCATE would meet,
// while its versions went under the old table's OID. kFailedPrecondition, by the pipe's Finish().
absl::Status QueueShapeCheck(GroupPlan& plan, Pipe* pipe);

}  // namespace bdr::agent
