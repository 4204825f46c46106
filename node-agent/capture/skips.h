// The transaction that PostgreSQL cannot decode, where capture stands at one, and the wish of an
// administrator to pass it.
//
// One thread asks and waits (the admin service's), the other passes (capture's). What is passed is
// written down as a gap in the same write that moves capture's position, so that no crash leaves
// the one without the other.
#pragma once

#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// A transaction that PostgreSQL cannot decode.
struct Undecodable {
  Lsn commit;            // its commit record
  std::string cause;     // PostgreSQL's error
  bool applied = false;  // it was applied here for another node, which has its changes
  bool follows =
      false;  // there is nothing that can be decoded between it and the last that was skipped
  std::string missing = {};  // a publication that is not there now: nothing new can be decoded
};

// What people read of it.
std::string ToString(const Undecodable& undecodable);

// Thread-safe.
class Skips {
 public:
  // Both outlive it.
  Skips(Database* database, CaptureGaps* gaps) : database_(database), gaps_(gaps) {}

  // As Capture::Skip().
  absl::StatusOr<CaptureGap> Ask(Lsn commit, bool until_decodable, absl::Duration timeout,
                                 absl::FunctionRef<bool()> given_up);
  void Stop();  // every wait ends

  // The rest is for capture's thread.

  // Whether the server can decode is not known: capture stands at a transaction, or passes some.
  bool InDoubt() const;
  // After a session that ended at `undecodable`. True if it was passed: begin again at once. Errors
  // as Database::Write(); kFailedPrecondition if it was passed before, to no avail.
  absl::StatusOr<bool> Pass(const Undecodable& undecodable);
  // The server decodes; `proven`: something behind what could not be decoded.
  void Decodes(bool proven);
  // No more will be skipped, for this reason; OK: what comes can be decoded.
  void End(const absl::Status& status);
  // At most until then; less if somebody asks for a skip, or with Stop().
  void SleepUntilAsked(absl::Time until);

 private:
  struct Skipping {
    Lsn commit;
    bool until_decodable = false;
    bool begun = false;  // the first was skipped
    bool ended = false;
    absl::Status status = absl::OkStatus();
  };
  // What is to be done about the transaction that capture stands at.
  enum class Wish { kNone, kFirst, kAnother };
  Wish WishFor(const Undecodable& undecodable);
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Somebody asked, and is answered.
  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteDown(const Undecodable& undecodable, bool extends);

  Database* const database_;
  CaptureGaps* const gaps_;
  mutable Mutex mu_;
  CondVar moved_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<Undecodable> undecodable_ ABSL_GUARDED_BY(mu_);  // where capture stands
  std::optional<Skipping> skipping_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
