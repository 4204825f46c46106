#include "tests/model/database.h"

namespace bdr::model {
namespace {

constexpr uint64_t kCommitBytes = 4;

}  // namespace

void Database::CommitLocal(Transaction* transaction, const std::array<Row, kMaxKeys>& rows,
                           const std::array<bool, kMaxKeys>& written) {
  const uint32_t xid = next_xid_++;
  transaction->saw = committed_.applied;
  for (int key = 0; key < kMaxKeys; ++key) {
    if (!written[key]) continue;
    committed_.rows[key] = rows[key];
    committed_.rows[key].xmin = xid;
    committed_.rows[key].timed = true;
    committed_.rows[key].time_us = transaction->commit_us;
    committed_.rows[key].writer = 0;
    committed_.rows[key].own = false;
  }
  transaction->commit_lsn = insert_;
  insert_.value += kCommitBytes;
  transaction->end_lsn = insert_;
  wal_.push_back(transaction);
  ++committed_.applied[transaction->node];
  Flush();
}

void Database::CommitApplied(const Open& open, int64_t time_us, NodeId writer) {
  const uint32_t xid = next_xid_++;
  for (int key = 0; key < kMaxKeys; ++key) {
    if (!open.written[key]) continue;
    committed_.rows[key] = open.rows[key];
    committed_.rows[key].xmin = xid;
    committed_.rows[key].timed = true;
    committed_.rows[key].time_us = time_us;
    committed_.rows[key].writer = writer;
    committed_.rows[key].own = false;
  }
  insert_.value += kCommitBytes;
}

void Database::SetProgress(int origin, Lsn lsn, int64_t stamp_us, int applied) {
  committed_.progress[origin] = lsn;
  committed_.progress_us[origin] = stamp_us;
  committed_.applied[origin] = applied;
}

bool Database::LockedByOther(int slot, int key) const {
  for (int other = 0; other < kMaxNodes; ++other) {
    if (other != slot && open_[other] != nullptr && open_[other]->written[key]) return true;
  }
  return false;
}

bool Database::ConflictsWithOther(int slot, int key, const Content& content,
                                  int constraints) const {
  for (int other = 0; other < kMaxNodes; ++other) {
    if (other == slot || open_[other] == nullptr) continue;
    for (int k = 0; k < kMaxKeys; ++k) {
      if (k == key || !open_[other]->written[k]) continue;
      // Written: what it put there; deleted by it: what still stands until it commits.
      if (open_[other]->rows[k].exists &&
          Conflicting(open_[other]->rows[k].content, content, constraints)) {
        return true;
      }
      if (committed_.rows[k].exists &&
          Conflicting(committed_.rows[k].content, content, constraints)) {
        return true;
      }
    }
  }
  return false;
}

void Database::Freeze() {
  for (Row& row : committed_.rows) {
    row.timed = false;
    row.writer = 0;
  }
  flushed_ = committed_;
  flushed_lsn_ = insert_;
}

}  // namespace bdr::model
