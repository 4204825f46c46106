// The history of rows whose table folds: every unstable change of a key, own or remote, and the
// stable base under them.
//
// The base is what all stable changes made of the row. It is written down when an applier first
// meets a key, before anything unstable of another node is applied to it: what stands in the table
// then is the base. Of a key that only this node writes no base is kept: each own change carries
// the row that it replaced, so the first of them knows it. A key without any history has nothing
// unstable: what stands in the table is its base.
//
// Changes go only as they become part of the base, or with the whole key. So nothing here may be
// dropped by a compaction filter.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "conflict/fold.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

struct FoldBase {
  FoldState state = {};
  // Nothing is known of it: changes were kept before the table folded, and each of them replaces
  // the row as a whole.
  bool assumed = false;
  // Every change stamped at or before is part of it, and every truncate stamped before.
  Stamp through = kNever;
  int64_t truncates_us = 0;
  // The newest commit, by this node's clock, of an own change that is part of it.
  int64_t own_commit_us = 0;
  // If valid: it was read from the table while capture had perhaps not reached this position of the
  // local WAL. Own commits up to there are part of it, though captured later.
  Lsn read_at = {};
};

struct HistoryEntry {
  FoldChange change = {};
  bool own = false;
  int64_t commit_us = 0;  // of an own change, by this node's clock
  int64_t stable_us = 0;  // of an own change: the stable time when it was captured
};

struct KeyHistory {
  std::optional<FoldBase> base;
  std::vector<HistoryEntry> entries;  // in the order of the fold

  bool empty() const { return !base.has_value() && entries.empty(); }
};

// Columns are stored by their number in the catalog (attnum), so that rows stay readable when the
// table gains or loses columns. `attnums`: of the row's columns, as the table is now. A column that
// is not stored, since the table gained it later, comes back as kUnknown.
using Attnums = std::vector<int>;

// Thread-safe.
class HistoryStore {
 public:
  // Both outlive it.
  HistoryStore(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  // Keys are version keys (version_store.h). Writing an entry or a base again replaces it.
  void PutEntry(rocksdb::WriteBatch* batch, absl::string_view version_key, const Attnums& attnums,
                const HistoryEntry& entry) const;
  void PutBase(rocksdb::WriteBatch* batch, absl::string_view version_key, const Attnums& attnums,
               const FoldBase& base) const;
  void DeleteEntry(rocksdb::WriteBatch* batch, absl::string_view version_key,
                   const FoldChange& change) const;
  void DeleteBase(rocksdb::WriteBatch* batch, absl::string_view version_key) const;

  // kDataLoss if something is malformed.
  absl::StatusOr<KeyHistory> Get(absl::string_view version_key, const Attnums& attnums) const;
  // Another node's changes of the key are unstable, or were lately: there is a base.
  absl::StatusOr<bool> HasBase(absl::string_view version_key) const;

  // Up to `most` keys that have a history, behind `after` ("": from the first), of one table
  // (0: all); in the order of the store.
  absl::StatusOr<std::vector<std::string>> Keys(absl::string_view after, uint32_t table_oid,
                                                size_t most) const;

 private:
  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const family_;
};

}  // namespace bdr::conflict
