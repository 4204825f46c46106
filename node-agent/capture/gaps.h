// Transactions of this node that PostgreSQL cannot decode, and that were therefore skipped: their
// changes are on this node and on no other.
//
// A gap is written down in the same write that moves capture past its transactions, so no crash can
// leave the one without the other: the slot is told only afterwards. It stays until somebody closes
// it: `bdrctl verify`, once it has found all tables of all nodes equal, or the administrator.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// One transaction, or several between which there was none that could be decoded. Positions are
// those of commit records in this node's WAL.
struct CaptureGap {
  Lsn first;
  Lsn last;
  uint64_t transactions = 0;
  int64_t skipped_us = 0;  // when, by the agent's clock
  std::string cause;       // PostgreSQL's error for the first of them
};

// Thread-safe. `database` outlives it.
class CaptureGaps {
 public:
  // What an earlier life of the agent wrote down. kDataLoss if that cannot be read.
  static absl::StatusOr<std::unique_ptr<CaptureGaps>> Load(Database* database);

  // Writes `batch`, and with it, durably, that the transaction whose commit record is at `commit`
  // was skipped: as part of the newest gap if `extends`, else as one of its own.
  absl::Status Skip(Lsn commit, const std::string& cause, int64_t now_us, bool extends,
                    rocksdb::WriteBatch* batch);

  // Forgets, durably, the gap that begins at `first`, or all of them if it is 0. Gives those that
  // were forgotten. kNotFound if there is none.
  absl::StatusOr<std::vector<CaptureGap>> Close(Lsn first);

  std::vector<CaptureGap> all() const;  // the oldest first

 private:
  explicit CaptureGaps(Database* database) : database_(database) {}

  Database* const database_;
  mutable Mutex mu_;
  std::vector<CaptureGap> gaps_ ABSL_GUARDED_BY(mu_);
};

// For people: "the transaction whose commit record is at 0/15435D0", "3 transactions ...".
std::string ToString(const CaptureGap& gap);

}  // namespace bdr::agent
