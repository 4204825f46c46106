// What could not be applied here and was put aside: transactions (on_apply_error: dead_letter), and
// single changes that the function of a custom policy refused (refused_changes.h).
//
// They stand in bdr.dead_letter, as they came. Put aside is not applied: a transaction that is
// tried again later is merged by its own, old stamp, so what was written to its rows since must
// still be known. Therefore nothing is forgotten from its stamp on while a letter is there: the
// stable time of this node stands still (Progress::HoldStable).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/apply/plan/transaction_reader.h"
#include "node-agent/changelog/block.h"
#include "node-agent/positions/progress.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct DeadLetter {
  int64_t id = 0;
  OriginId origin;
  Lsn end_lsn;  // in the origin's WAL
  int64_t stamp_us = 0;
  bool refused = false;  // a single change, of whatever origin: the applier of own changes retries
};

// Whether the cause may lie in the transaction that could not be applied, so that putting it aside
// helps. Not what lies in the server (a full disk, memory, an administrator who cancels, damage),
// what somebody is waited for, nor what nobody knows the reason of.
bool MayLieInTransaction(const absl::Status& cause);

// All that stand in the database.
absl::StatusOr<std::vector<DeadLetter>> ReadDeadLetters(postgres::Connection& connection);

// One transaction, or the part of it that stands in `block`, as a block by itself. kInternal if it
// is not in there.
absl::StatusOr<EncodedBlock> ExtractTransaction(const EncodedBlock& block,
                                                const TransactionHeader& header);

// How many changes of which kind a transaction makes to which table.
class ContentsSummary {
 public:
  void Add(const Piece& piece);
  std::string ToJson() const;
  int64_t changes() const { return changes_; }

 private:
  std::map<std::string, std::map<std::string, int64_t>> tables_;
  int64_t changes_ = 0;
};

// Which letters there are, and who asks for them to be tried again. Thread-safe.
class DeadLetters {
 public:
  // `progress` outlives it. `letters`: read before anything could be forgotten.
  DeadLetters(Progress* progress, const std::vector<DeadLetter>& letters);

  // --- appliers, each for its origin ---
  // A transaction is about to be put aside.
  void Announce(OriginId origin, int64_t stamp_us);
  // It was, or nothing was.
  void Add(OriginId announced_by, const std::vector<DeadLetter>& letters);
  // What stands in the database, read by the origin's session while nothing of it is under way.
  void Reload(OriginId origin, const std::vector<DeadLetter>& letters);
  // That transaction is not applied here, though progress has passed it.
  bool Holds(OriginId origin, Lsn end_lsn) const;
  // The next letter of the origin to be tried again, and how that went.
  std::optional<DeadLetter> NextRequest(OriginId origin);
  void Finish(int64_t id, const absl::Status& outcome);

  // --- administrators ---
  // Has a letter tried again, and waits. kNotFound if there is none; kDeadlineExceeded if its
  // origin's applier does not come to it; else how it went.
  absl::Status Retry(int64_t id, absl::Duration timeout);
  // It was removed.
  void Remove(int64_t id);

  size_t count() const;

 private:
  struct Request {
    bool taken = false;
    std::optional<absl::Status> outcome;
    int waiters = 0;
  };
  // Who retries it.
  OriginId ApplierOf(const DeadLetter& letter) const;
  void HoldLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Progress* const progress_;
  mutable Mutex mu_;
  CondVar finished_;
  std::map<int64_t, DeadLetter> letters_ ABSL_GUARDED_BY(mu_);
  std::map<OriginId, int64_t> announced_ ABSL_GUARDED_BY(mu_);
  std::map<int64_t, Request> requests_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
