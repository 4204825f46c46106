// What a group of transactions comes to: the net effect on each row, in the order in which it is
// written.
//
// Pure: it takes decoded changes and gives a plan; no database. Within a group changes to one row
// collapse into the last one, since the group becomes visible as a whole. What needs the order in
// which things happened (truncates) keeps it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "conflict/row_rule.h"
#include "conflict/stamp.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/transaction_reader.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/fold_changes.h"
#include "node-agent/tables/local_relation.h"

namespace bdr::agent {

// A transaction that may become part of a group.
struct GroupMember {
  int64_t stamp_us = 0;
  bool keyless = false;  // it has rows of tables without a key
};

// How many of an origin's next transactions may be one group; at least 1. A row without a key has
// no version, only its commit time, which is the stamp of its group's last transaction. No TRUNCATE
// from elsewhere may fall between its own stamp and that: so such a row is in a group by itself, or
// in one that is all older than any TRUNCATE which is not known yet.
size_t GroupSize(absl::Span<const GroupMember> next, int64_t no_truncate_before_us);

struct RowOp {
  std::string version_key;                                    // empty for tables without a key
  conflict::ChangeKind kind = conflict::ChangeKind::kInsert;  // the last change's
  // The row probably does not exist yet: written by INSERT ... ON CONFLICT rather than UPDATE. Of
  // a delete: the row came into being within the group, so nobody need find it.
  bool by_insert = false;
  LocalRow row;  // of a delete only the key counts
  conflict::Stamp stamp;
  Lsn end_lsn;
  const TransactionHeader* header = nullptr;  // of the last change's transaction
  // Of the first that came to this row in the plan: what it had seen, all had.
  const TransactionHeader* first_header = nullptr;
  // The row had another key before (its version key in the plan, its key columns here): unchanged
  // TOAST values that do not come with it stand in the row of that key.
  std::optional<LocalRow> moved_from;
  std::string moved_from_key;  // the version key of that row
  // Values that this change left alone and took from an earlier one in the plan. They are right
  // only if no other origin's version of that key lies between the two.
  struct Filled {
    int column = 0;
    std::string version_key;
    conflict::Stamp stamp;
  };
  std::vector<Filled> filled;
  // What it left alone is kept as it stands; where nothing stands, nothing is written. Its values
  // are of no account, as the row is known to be gone (or, with `values_lost`, nobody has them).
  bool keeps_found = false;
  bool values_lost = false;

  bool is_delete() const { return kind == conflict::ChangeKind::kDelete; }
};

struct TableOps {
  std::shared_ptr<const BoundTable> table;
  std::vector<RowOp> rows;  // one for each key, if there is a key
  // Of tables with further unique constraints: rows that a transaction of the group had left, and a
  // later one changed. What they claimed counts all the same.
  std::vector<RowOp> superseded = {};
  // For the history, of a table that keeps one: every change by itself. Where the table folds,
  // `rows` only names what is to be folded.
  std::vector<KeyedChange> changes = {};
};

struct TruncateOp {
  std::vector<std::shared_ptr<const BoundTable>> tables;
  bool restart_identity = false;
  conflict::Stamp stamp;
  Lsn end_lsn;
  const TransactionHeader* header = nullptr;
  uint32_t number = 0;  // its place within its transaction
};

// Tables in the order of their first touch: any other order deadlocks with users who run the same
// transactions. Then, if set, the truncate.
struct Segment {
  std::vector<TableOps> tables;
  std::optional<TruncateOp> truncate;
};

// Not thread-safe.
class GroupPlan {
 public:
  // Changes of `origin`. With `keyed_only` what inserts into tables without a key is left out: it
  // cannot be told from what is there already.
  explicit GroupPlan(OriginId origin = {}, bool keyed_only = false)
      : origin_(origin), keyed_only_(keyed_only) {}

  // What the relation of a change is here, by when the change was made.
  struct Resolved {
    std::shared_ptr<const BoundTable> table = nullptr;  // null: it is gone, see gone
    std::shared_ptr<const GoneValues> gone = nullptr;   // null: nothing is
  };
  using Resolve = std::function<absl::StatusOr<Resolved>(
      const std::shared_ptr<const RemoteRelation>&, const TransactionHeader&)>;

  // Adds a piece; keeps what its rows point into. The error names table and column.
  absl::Status Add(std::shared_ptr<const Piece> piece, const Resolve& resolve);

  bool empty() const { return transactions_ == 0; }
  size_t transactions() const { return transactions_; }  // that end in it
  size_t changes() const { return changes_; }
  size_t bytes() const { return bytes_; }
  const TransactionHeader& first() const { return pieces_.front()->header; }
  const TransactionHeader& last() const { return pieces_.back()->header; }
  std::deque<Segment>& segments() { return segments_; }
  bool has_truncate() const { return segments_.size() > 1 || segments_.front().truncate; }
  StampRange stamps() const {
    return {.oldest_us = first().stamp.time_us, .newest_us = last().stamp.time_us};
  }
  // Keeps bytes that rows of the plan are to point into.
  absl::string_view Own(std::string bytes) { return owned_.emplace_back(std::move(bytes)); }
  // Changes that are not written, or not whole, for a table or column that is gone.
  struct NotWritten {
    const RemoteChange* change = nullptr;
    const TransactionHeader* header = nullptr;
    std::shared_ptr<const GoneValues> what;
  };
  const std::vector<NotWritten>& not_written() const { return not_written_; }
  // Every version key in it, sorted, each once.
  std::vector<std::string> Keys() const;
  // Tables without a key into which it inserts.
  std::vector<uint32_t> KeylessTables() const;

 private:
  absl::Status AddChange(const RemoteChange& change, const TransactionHeader* header,
                         const Resolve& resolve);
  absl::Status AddTruncate(const RemoteChange& change, const TransactionHeader* header,
                           const Resolve& resolve);
  TableOps& OpsFor(const std::shared_ptr<const BoundTable>& table);
  absl::Status Put(TableOps& ops, RowOp op);

  const OriginId origin_;  // whose changes they are
  const bool keyed_only_;
  std::vector<std::shared_ptr<const Piece>> pieces_;  // rows point to their headers and payloads
  std::deque<std::string> owned_;
  std::deque<Segment> segments_{1};
  // For the last segment: a table's place, and a row's place within it.
  absl::flat_hash_map<uint32_t, size_t> table_places_;
  absl::flat_hash_map<std::string, size_t> row_places_;
  std::vector<NotWritten> not_written_;
  size_t transactions_ = 0;
  size_t changes_ = 0;
  size_t bytes_ = 0;
};

}  // namespace bdr::agent
