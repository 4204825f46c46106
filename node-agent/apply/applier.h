// Applies one origin's transactions to the local database, in groups, in causal order.
//
// Or, for the one applier that has this node's own changes, merges those again that another applier
// may have decided without (inflight/own_changes.h).
//
// What it is at: session/applier_state.h. The way of a group: plan/group_phase.h. This class owns
// the thread, the session's life and the parts; where transactions come from is a GroupSource, and
// what is tried when is GroupDriver's affair.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/apply/drive/applier_status.h"
#include "node-agent/apply/drive/apply_parts.h"
#include "node-agent/apply/drive/apply_tally.h"
#include "node-agent/apply/drive/apply_tools.h"
#include "node-agent/apply/drive/group_driver.h"
#include "node-agent/apply/drive/stall.h"
#include "node-agent/apply/drive/versions_only.h"
#include "node-agent/apply/drive/waits.h"
#include "node-agent/apply/session/apply_control.h"
#include "node-agent/apply/session/server_session.h"

namespace bdr::agent {

// Start() and Stop() are called by the owner, once each; all else from any thread.
//
// More members than most classes: each is a part with a job of its own, made here because this is
// where they meet.
class Applier {
 public:
  Applier(OriginId origin, ApplyOptions options, ApplyParts parts);
  ~Applier();  // stops

  void Start();
  void Stop();
  // Tries again at once what is stopped.
  void Retry() { control_.Retry(); }
  // Ends the session: what was committed must be read again, since the members changed or
  // PostgreSQL has lost commits.
  void Rewind(bool lost_commits);

  OriginId origin() const { return origin_; }
  ApplierStatus status() const;

 private:
  // How far apply has got: what is committed, and pieces of the transaction that is applied now.
  using Reached = std::pair<Lsn, uint64_t>;

  void Run();
  absl::Status Session();
  absl::Status ReadLetters();
  absl::Status WaitForVersions();
  absl::Status Loop();
  void BeginAnew();
  std::optional<absl::Time> StalledSince() const;
  void TellOfStall(bool stalled, const Health& health) const;
  std::unique_ptr<GroupSource> MakeSource();
  bool own() const { return options_.own_changes != nullptr; }
  WorkKind kind() const { return own() ? WorkKind::kOwn : WorkKind::kRemote; }

  const OriginId origin_;
  const ApplyOptions options_;
  const ApplyParts parts_;

  ApplyControl control_;
  ApplyTally tally_;
  LockWaits locks_;
  ClaimReader claim_reader_;
  TableResolver tables_;
  GroupVersions versions_;
  VersionsOnly versions_only_;
  MissingValues values_;
  ForeignKeys foreign_keys_;
  ServerSession session_;
  const std::unique_ptr<GroupSource> source_;
  Waits waits_;
  GroupSizer sizer_;
  ApplyTools tools_;
  GroupDriver driver_;

  mutable Mutex mu_;
  CondVar ended_cv_;
  mutable StallWatch<Reached> stall_watch_ ABSL_GUARDED_BY(mu_);
  mutable bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // the thread is about to return

  std::thread thread_;
};

}  // namespace bdr::agent
