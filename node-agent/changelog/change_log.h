// The change log: every origin's blocks, own and received, kept until all members have them.
//
// Own blocks are synced before they can be seen here: whoever reads a block of this node's own
// origin may ship it, since a crash cannot take back what others acted on. Received ones are
// written at once and synced in the background; a lost one is fetched again.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// Thread-safe.
class ChangeLog {
 public:
  // `database` outlives it. Reads where every origin's log ends.
  static absl::StatusOr<std::unique_ptr<ChangeLog>> Open(Database* database);

  // Appends blocks of this node's own origin together with what else is in `batch` (their row
  // versions, the capture position), synced. Visible to readers only after that.
  absl::Status AppendOwn(absl::Span<const EncodedBlock> blocks, rocksdb::WriteBatch* batch);

  // Writes one part of a large transaction that is not complete yet: nobody sees it before the next
  // AppendOwn() of its origin, and it is gone if the agent stops before that.
  absl::Status WriteHidden(const EncodedBlock& block, rocksdb::WriteBatch* batch);

  // Appends a block that came from a peer. Harmless if it is here already. kDataLoss if its chain
  // does not follow ours (a fork, or a gap).
  absl::Status AppendReceived(const EncodedBlock& block);

  // Starts an origin's log at a cursor other than its beginning (a node that joins with equal
  // tables needs nothing of what was before). May be repeated, also with a later cursor, as long as
  // nothing was received; kAlreadyExists then.
  absl::Status StartAt(OriginId origin, const Cursor& cursor);

  // Removes what WriteHidden() left of a transaction that was never completed, when it begins anew.
  absl::Status RemoveHidden();

  // Every transaction that ends at or before this is here with all its parts.
  Lsn CompleteThrough(OriginId origin) const;

  // Behind this, none of an origin's blocks that came from a peer holds a TRUNCATE.
  Lsn TruncatesThrough(OriginId origin) const;

  // The last block of an origin; at_beginning() if there is none.
  Cursor End(OriginId origin) const;
  std::vector<OriginId> Origins() const;

  // Whether an origin's log holds the block that `cursor` names, so that Next() can go on from it.
  // kFailedPrecondition if it was trimmed; kDataLoss if this log has another block there or ends
  // before it (a fork, or a log that was set back).
  absl::Status CheckCursor(OriginId origin, const Cursor& cursor) const;

  // The block after (end_lsn, part), or nullopt if there is none yet. kFailedPrecondition if what
  // would follow was trimmed.
  absl::StatusOr<std::optional<EncodedBlock>> Next(OriginId origin, const Cursor& after) const;

  // The first block with a transaction beyond `lsn`, parts from 0 on; nullopt if none yet.
  absl::StatusOr<std::optional<EncodedBlock>> FirstBeyond(OriginId origin, Lsn lsn) const;

  // Waits until the origin's log goes on after `after`, or the timeout.
  bool WaitBeyond(OriginId origin, const Cursor& after, absl::Duration timeout) const;

  // Called, without any lock held, after blocks of the origin became visible. From any thread that
  // appends, so it must be quick. Returns a handle for RemoveListener, which waits for calls under
  // way to end.
  uint64_t AddListener(std::function<void(OriginId)> listener);
  void RemoveListener(uint64_t handle);

  // Wakes everyone in WaitBeyond (shutdown).
  void WakeAll();

  // Forgets the blocks that end at or before `stable`.
  absl::Status Trim(OriginId origin, Lsn stable);
  // How often anything was, since it was opened.
  uint64_t trims() const { return all_trims_; }
  // About how many bytes of blocks end beyond `after` and at or before `through`; 0 if none does.
  uint64_t BytesBetween(OriginId origin, Lsn after, Lsn through) const;
  // The last block that was trimmed; at_beginning() if none was.
  Cursor TrimmedThrough(OriginId origin) const;

 private:
  struct OriginLog {
    Cursor end;
    Cursor trimmed;
    Lsn complete;        // end_lsn of the last block that no further part follows
    Lsn truncates;       // of the last received block that may hold a TRUNCATE
    Lsn trim_seen = {};  // nothing more is to be trimmed that ends at or before
  };
  explicit ChangeLog(Database* database) : database_(database) {}
  absl::Status Load();
  absl::Status TrimLocked(OriginId origin, Lsn stable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mu_);
  void MoveEnd(const BlockInfo& last);
  void Notify(OriginId origin);
  OriginLog Find(OriginId origin) const;

  Database* const database_;

  Mutex append_mu_;  // one appender at a time, so that chains are checked against the real end
  int trims_ ABSL_GUARDED_BY(append_mu_) = 0;  // since the family was last written out for them
  std::atomic<uint64_t> all_trims_{0};
  mutable Mutex mu_;
  mutable CondVar grown_;
  absl::flat_hash_map<OriginId, OriginLog> logs_ ABSL_GUARDED_BY(mu_);
  uint64_t wakeups_ ABSL_GUARDED_BY(mu_) = 0;

  Mutex listeners_mu_;
  uint64_t next_handle_ ABSL_GUARDED_BY(listeners_mu_) = 1;
  absl::flat_hash_map<uint64_t, std::function<void(OriginId)>> listeners_
      ABSL_GUARDED_BY(listeners_mu_);
};

}  // namespace bdr::agent
