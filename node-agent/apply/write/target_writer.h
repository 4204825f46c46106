// Puts rows of one table where they belong, whatever stands there: finds and locks the rows at
// given keys, tells their versions, and writes what is to stand there afterwards.
//
// For tables where a row cannot be decided by a condition within the statement that writes it:
// what becomes of it depends on other rows, or on what it was. The caller
//   1. locks the rows at all its keys (Lock, then Pipe::Finish),
//   2. asks for the version of each that stands (conflict::VersionOfRow), and where one of them is
//   not known yet
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
#include "node-agent/apply/session/pipe.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/found_rows.h"

namespace bdr::agent {

// A row under its name in the version store.
struct KeyedRow {
  std::string version_key;
  const LocalRow* row = nullptr;  // for Lock and removal only the key's columns count
};

// Rows that stand in the table and are locked by this transaction, by version key.
using StandingRows = absl::flat_hash_map<std::string, FoundRow>;

// What is to stand at the caller's keys. Each key at most once.
struct TargetRows {
  std::vector<KeyedRow> remove;  // a row stands there, and nothing shall
  std::vector<KeyedRow> update;  // one stands there, and becomes this one
  // As `update`, but it has to make way first, since another row takes over one of its values: it
  // is deleted before anything else is written, and inserted anew.
  std::vector<KeyedRow> rewrite;
  std::vector<KeyedRow> insert;  // nothing stands there
};

// Not thread-safe. All arguments outlive it. Nothing is checked in SQL: what is written was locked
// by Lock() in the same transaction. Where it has changed all the same (a row came into being),
// Pipe::Finish() gives kAborted or PostgreSQL's own error (23505, 23P01): roll back, come again.
class TargetWriter {
 public:
  TargetWriter(const BoundTable* table, Pipe* pipe,
               const absl::flat_hash_map<uint32_t, NodeId>* node_of_roident)
      : table_(table), pipe_(pipe), found_rows_(node_of_roident) {}

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
  const FoundRows found_rows_;
};

}  // namespace bdr::agent
