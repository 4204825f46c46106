// Capture: the one reader of the local slot. It turns what the server decodes into blocks of the
// change log, and confirms to the slot only what is durable there.
//
// One session (capture_session.h) follows the other: any error ends one, and the next starts from
// what is durable. The states and their moves are in capture_state.h.
//
// An error that PostgreSQL raises while it decodes is met again at the same place in the WAL every
// time. The next session, without streaming of running transactions, gets to know which commit
// record that is; then capture is stopped: tried again from time to time, until Skip() passes that
// transaction.
//
// A value that PostgreSQL cannot send in binary, though its type claims to have that form (an array
// of aclitem), would end every session. So the next one reads all values as texts until the
// transaction has passed, then a new one goes on in binary. Nothing of this is kept: an agent that
// was killed meets the value again, and goes the same way.
//
// What does what, in the order of a transaction's way through it:
//   slot, capture_session   where to go on; the stream, and what of it is published when
//   transaction_assembler   a transaction until its commit, in memory or in the spool
//   commit_origins          whose transaction it is
//   transaction_writer      its changes, their values in the forms in which they travel
//   block_writer            blocks, with own_versions and touched_changes
//   promises                what may be said while there is nothing to send
//   capture_waits, skips, log_room   who waits for capture, and what capture waits for
#pragma once

#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/lsn.h"
#include "node-agent/capture/capture_options.h"
#include "node-agent/capture/capture_session.h"
#include "node-agent/capture/capture_state.h"
#include "node-agent/capture/capture_waits.h"
#include "node-agent/capture/captured_state.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/capture/log_room.h"
#include "node-agent/capture/pulse.h"
#include "node-agent/capture/skips.h"

namespace bdr::agent {

// Thread-safe. Owns one thread.
class Capture {
 public:
  using Options = CaptureOptions;
  using Parts = CaptureParts;
  using Counters = CaptureWaits::Counters;

  Capture(Options options, Parts parts);
  ~Capture();  // stops

  void Start();
  void Stop();  // publishes what is whole, and joins

  // Given every few milliseconds by whoever watches the server.
  void SetPulse(const Pulse& pulse) { waits_.SetPulse(pulse); }

  // Waits until every local commit that ended at or before `local_lsn` is in the change log and
  // the version store. The caller must have seen to it that the WAL is flushed beyond there.
  // kDeadlineExceeded.
  absl::Status WaitThrough(Lsn local_lsn, absl::Duration timeout) {
    return waits_.WaitThrough(local_lsn, timeout);
  }

  // Passes the transaction that cannot be decoded and whose commit record is at `commit`, and no
  // other; with `until_decodable` also those behind it, up to the first that can be decoded. Their
  // changes stay on this node alone. Waits until that is durable, and gives what was skipped.
  // kFailedPrecondition if capture does not stand at that transaction, or nothing could be decoded
  // behind it either; kDeadlineExceeded: what was not skipped yet is given up.
  // `given_up` is asked several times a second: true ends it as the deadline does.
  absl::StatusOr<CaptureGap> Skip(Lsn commit, bool until_decodable, absl::Duration timeout,
                                  absl::FunctionRef<bool()> given_up) {
    return skips_.Ask(commit, until_decodable, timeout, given_up);
  }

  CaptureState state() const { return health_.state(); }
  Health health() const { return health_.Get(); }
  Counters counters() const { return waits_.counters(); }

 private:
  void Run();
  SessionEnd RunSession();
  // After a session that ended to begin anew in another way. False if it ended for another reason.
  bool GoesOnAtOnce(const SessionEnd& end);
  void ReadAsText(const SessionEnd& end);
  void ReadInBinary(const SessionEnd& end);
  void Pause();
  // After a session that failed, and perhaps lasted for a while. True if what it failed at was
  // passed; else `status` says what people are to read.
  bool Passed(const SessionEnd& end, bool lasted, absl::Status* status);
  void ShowFailure(const absl::Status& status);

  const Options options_;
  const Parts parts_;
  CaptureHealth health_;
  CaptureWaits waits_;
  Skips skips_;

  // Belong to the thread.
  LogRoom room_;
  Reading reading_;
  absl::Time reading_changed_ = absl::InfinitePast();
  absl::Time let_go_ = absl::InfinitePast();  // when a session of ours left the slot for another

  std::thread thread_;
};

}  // namespace bdr::agent
