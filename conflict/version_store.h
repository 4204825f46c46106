// The commit-timestamp store: the newest known version of every row that is not yet stable, own or
// remote, dead ones (tombstones) included, and for each table its newest TRUNCATE.
//
// It is the truth about a row's version; PostgreSQL's own commit time is only a filter in front of
// it. A key that is not in it is older than anything that can still arrive.
//
// Writes only ever raise: a merge operator keeps the version with the later stamp, whoever wrote
// first. So capture and every applier may write the same key without agreeing on an order.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

struct Version {
  Stamp stamp;
  OriginId origin;
  Lsn end_lsn;  // of the transaction, in the origin's WAL
  bool dead = false;
};

// A row's name in the store: the table's OID on this node and its key in canonical form.
std::string VersionKey(uint32_t table_oid, absl::string_view canonical_key);

// Of a table without a key, whose rows have no versions: the stamp of the own transaction that
// inserted into it and committed at `commit_us`, if that is later.
std::string RaisedKey(uint32_t table_oid, int64_t commit_us);
// The same of rows whose commit time another tool made up. Its transactions are told apart by that
// time: a row's xmin may be that of a subtransaction.
std::string MadeUpKey(uint32_t table_oid, int64_t commit_us);

std::string EncodeVersion(const Version& version);
// Unset if `data` is not what EncodeVersion() gives.
std::optional<Version> DecodeVersion(absl::string_view data);

// Thread-safe.
class VersionStore {
 public:
  // `db` and `family` outlive it; the family must have been opened with MergeOperator() and, to
  // forget what is stable, with CompactionFilter().
  VersionStore(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  static std::shared_ptr<rocksdb::MergeOperator> MergeOperator();

  void Put(rocksdb::WriteBatch* batch, absl::string_view version_key, const Version& version) const;
  void PutTruncate(rocksdb::WriteBatch* batch, uint32_t table_oid, const Version& version) const;

  // A row's large values here are, or were, not those of its version but of a later one, `version`,
  // which is on its way (docs/architecture.md, "Large values"). Unlike versions it stands in no
  // log: to be synced.
  void PutDisputed(rocksdb::WriteBatch* batch, absl::string_view version_key,
                   const Version& version) const;
  // For each key the newest that was put; unset where none was, or it is long since stable.
  absl::StatusOr<std::vector<std::optional<Version>>> GetDisputed(
      absl::Span<const std::string> keys) const;

  // The newest known version of each key, in the order given; unset where the store has none.
  absl::StatusOr<std::vector<std::optional<Version>>> Get(absl::Span<const std::string> keys) const;
  absl::StatusOr<std::optional<Version>> GetTruncate(uint32_t table_oid) const;

 private:
  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const family_;
};

// Drops versions whose stamp lies before `*stable_us` when RocksDB compacts. `stable_us` (0: keep
// everything) outlives the database.
const rocksdb::CompactionFilter* NewStableFilter(const std::atomic<int64_t>* stable_us);

}  // namespace bdr::conflict
