// The only place where apply tries, waits and tries again.
//
// Drive() takes one body (group_body.h) through its phases until it is committed: what is needed
// for a decision is waited for after a rollback, with nothing locked, as often as there are needs.
// ApplyPending() decides what is driven: everything that is pending as one group; after a failure
// a half of it, so that what is in order is applied beside what is not; and when a transaction
// fails by itself, with everything looked up again, it is put aside or apply stops at it until a
// person, or the next automatic try, comes.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "node-agent/apply/drive/apply_tools.h"
#include "node-agent/apply/drive/group_body.h"
#include "node-agent/apply/drive/put_aside.h"
#include "node-agent/apply/drive/recovery.h"
#include "node-agent/apply/plan/group_sizer.h"
#include "node-agent/apply/session/apply_session.h"

namespace bdr::agent {

// Takes a body to its commit. After an error nothing is open in `session`, or it is broken and has
// to end, as it has to where `control` asks for something else. What was tried again counts as
// retries in `tally`.
absl::Status Drive(GroupBody* body, ApplySession* session, const ApplyControl& control,
                   ApplyTally* tally);

// Of one applier; belongs to its thread.
class GroupDriver {
 public:
  // All outlive it.
  GroupDriver(ApplyTools* tools, GroupSizer* sizer)
      : tools_(*tools), sizer_(*sizer), put_aside_(tools) {}

  // Applies what is pending; an error only if the session has to end.
  absl::Status ApplyPending();
  // Tries again what had been put aside and was asked for; likewise.
  absl::Status RetryLetters();

 private:
  absl::Status TryOnce(size_t size);
  void Succeeded(size_t applied, absl::Duration took);
  void BeforeNext(Recovery::Step step, const absl::Status& failed, size_t size);
  void LookUpAnew();
  bool EndsSession(const absl::Status& failed) const;
  absl::Status GiveUp(const absl::Status& failed);
  absl::StatusOr<bool> DropOrPutAside(const absl::Status& failed);
  void StopAt(const absl::Status& failed);

  ApplyTools& tools_;
  GroupSizer& sizer_;
  PutAside put_aside_;
  Recovery recovery_;
  Histogram group_transactions_ = tools_.options->group_transactions;
  Histogram group_seconds_ = tools_.options->group_seconds;
  Repetition refused_letters_;
};

}  // namespace bdr::agent
