// Puts rows of one table where they belong, whatever stands there: finds and locks the rows at
// given keys, tells their versions, and writes what is to stand there afterwards.
//
// For tables where a row cannot be decided by a condition within the statement that writes it:
// what becomes of it depends on other rows, or on what it was. The caller
//   1. locks the rows at all its keys (Lock, then Pipe::Finish),
//   2. asks for the version of each that stands (VersionOf), and where one of them is not known yet
//      rolls back, waits for capture, and comes again (GroupExecutor::must_wait),
//   3. decides, without the database, and
//   4. writes (Write, then Pipe::Finish).
// Keys are to be registered in the KeysInFlight before: else another applier's version of a row may
// be in the store already while the row is not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/origin.h"
#include "conflict/stamp.h"
#include "conflict/version_store.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/tables/bound_table.h"

namespace bdr::agent {

// A row under its name in the version store.
struct KeyedRow {
  std::string version_key;
  const LocalRow* row = nullptr;  // for Lock and removal only the key's columns count
};

// A row that stands in the table and is locked by this transaction.
struct StandingRow {
  bool own = false;  // written by this very transaction
  std::string xmin;
  std::optional<int64_t> time_us;  // its commit time, as far as PostgreSQL knows it
  uint32_t roident = 0;            // the replication origin that wrote it; 0: a local commit
  std::string json;                // the row as jsonb
};
using StandingRows = absl::flat_hash_map<std::string, StandingRow>;  // by version key

// What is known of a standing row's version.
struct StandingVersion {
  // Its last writer was a local commit that capture has perhaps not reached: wait, and ask again
  // with its xmin as `xmin_before`.
  bool must_wait = false;
  // kNever: older than anything that can still arrive.
  conflict::Stamp stamp = conflict::kNever;
  // The version that the stamp is of. Unset where it is not known, and everybody had seen it.
  std::optional<conflict::Version> version;
  // `stamp` is no more than the row's commit time, which its true stamp lies at or (of a local
  // commit) a little above.
  bool by_time = false;
  // The newest version of the key is still to be applied, so which one stands is not known. (Its
  // claims are: conflict/claim_store.h.)
  bool unknown = false;
};

struct VersionQuery {
  NodeId own_node = 0;
  // PostgreSQL's ids of our replication origins.
  const absl::flat_hash_map<uint32_t, NodeId>* node_of_roident = nullptr;
  // A local row's commit time may be this much below its stamp.
  int64_t largest_raise_us = 0;
  // The newest version of the key in the store, without what the caller is about to write.
  std::optional<conflict::Version> known;
  // `known` is of a transaction that is not applied here yet.
  bool known_is_pending = false;
  // The row's xmin when capture was last waited for; unset if it was not, or nothing stood there.
  std::optional<std::string> xmin_before;
  // It is enough to know that the row is older than this: no wait then. kNever: must be exact.
  conflict::Stamp enough_if_older_than = conflict::kNever;
};

// Not for rows of the own transaction: what they are the caller knows.
StandingVersion VersionOf(const StandingRow& row, const VersionQuery& query);

// What is to stand at the caller's keys. Each key at most once.
struct TargetRows {
  std::vector<KeyedRow> remove;  // a row stands there, and nothing shall
  std::vector<KeyedRow> update;  // one stands there, and becomes this one
  // As `update`, but it has to make way first, since another row takes over one of its values: it
  // is deleted before anything else is written, and inserted anew.
  std::vector<KeyedRow> rewrite;
  std::vector<KeyedRow> insert;  // nothing stands there
};

// Not thread-safe. Both arguments outlive it. Nothing is checked in SQL: what is written was locked
// by Lock() in the same transaction. Where it has changed all the same (a row came into being),
// Pipe::Finish() gives kAborted or PostgreSQL's own error (23505, 23P01): roll back, come again.
class TargetWriter {
 public:
  TargetWriter(const BoundTable* table, Pipe* pipe) : table_(table), pipe_(pipe) {}

  // Queues: locks the rows that stand at these keys, in the order of their names, which is
  // everybody's. After Finish() `standing` holds those that are there; it outlives that.
  absl::Status Lock(std::vector<KeyedRow> keys, StandingRows* standing);

  // Queues all of `targets`, in an order in which no value is ever held twice. A column of a row
  // that is kUnchangedToast keeps what stands there; to insert, a row must be whole. `targets` may
  // go away afterwards, the rows that it points to as well.
  absl::Status Write(TargetRows targets);

 private:
  absl::Status Remove(std::vector<KeyedRow> rows);
  absl::Status Update(std::vector<KeyedRow> rows);
  absl::Status Rewrite(std::vector<KeyedRow> rows);
  absl::Status Insert(std::vector<KeyedRow> rows);

  const BoundTable* const table_;
  Pipe* const pipe_;
};

}  // namespace bdr::agent
