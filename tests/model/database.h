// One node's PostgreSQL, as far as apply and capture can tell it from the real one: rows with xmin,
// commit time and origin; a WAL of commits, flushed behind; open transactions that hold row locks;
// a crash that takes what was not flushed; a freeze that takes commit times.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/lsn.h"
#include "tests/model/random.h"
#include "tests/model/world.h"

namespace bdr::model {

struct Row {
  bool exists = false;
  Content content;
  uint32_t xmin = 0;
  bool timed = false;   // PostgreSQL still has the commit time
  int64_t time_us = 0;  // that, as set by the committer
  NodeId writer = 0;    // the replication origin's node; 0: a local commit, or not known
  bool own = false;     // written by the transaction that looks
};

// What has been committed, rows and progress together.
struct Committed {
  std::array<Row, kMaxKeys> rows{};
  std::array<Lsn, kMaxNodes> progress{};         // bdr.progress
  std::array<int64_t, kMaxNodes> progress_us{};  // and its stamps
  std::array<int, kMaxNodes> applied{};          // the same as a count of transactions
};

// What an open transaction has written.
struct Open {
  std::array<Row, kMaxKeys> rows{};
  std::array<bool, kMaxKeys> written{};
};

class Database {
 public:
  const Committed& committed() const { return committed_; }
  Lsn insert_lsn() const { return insert_; }
  Lsn flush_lsn() const { return flushed_lsn_; }

  // Commits of this node's users that capture can read, in WAL order.
  const std::vector<const Transaction*>& wal() const { return wal_; }

  // A user's transaction: returns at once, flushed. `rows` is the table after it.
  void CommitLocal(Transaction* transaction, const std::array<Row, kMaxKeys>& rows,
                   const std::array<bool, kMaxKeys>& written);

  // An applier's: visible at once, flushed later.
  void CommitApplied(const Open& open, int64_t time_us, NodeId writer);
  void SetProgress(int origin, Lsn lsn, int64_t stamp_us, int applied);

  // Appliers' open transactions by slot; null when there is none.
  void SetOpen(int slot, const Open* open) { open_[slot] = open; }
  // Whether another open transaction holds the key's row, or has inserted it.
  bool LockedByOther(int slot, int key) const;
  // Whether a row that another open transaction wrote stands in the way of this content.
  bool ConflictsWithOther(int slot, int key, const Content& content, int constraints) const;

  void Flush() {
    flushed_ = committed_;
    flushed_lsn_ = insert_;
  }
  void Crash() {
    committed_ = flushed_;
    insert_ = flushed_lsn_;
  }
  // VACUUM FREEZE in every database.
  void Freeze();

 private:
  Committed committed_;
  Committed flushed_;
  Lsn insert_{100};
  Lsn flushed_lsn_{100};
  uint32_t next_xid_ = 1;
  std::vector<const Transaction*> wal_;
  std::array<const Open*, kMaxNodes> open_{};
};

}  // namespace bdr::model
