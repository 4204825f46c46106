// Foreign keys that concurrent changes orphan, found while they are applied.
//
// Apply runs as a replica: PostgreSQL checks no foreign key there. What one origin did was checked
// where it was done, so only changes that did not know of each other can leave a row that
// references nothing: a deleted parent and a child that came from elsewhere. Such a child stands
// at its own origin before the delete gets there, in the database itself. So every deletion of a
// referenced row looks for children (as PostgreSQL does at its origin), and at least one node sees
// each orphan. The other order, a child whose parent is gone already, is looked at where the
// child's transaction had not seen everything that stands here; that shows it on more nodes.
//
// What is found is logged as foreign_key_orphaned, and queued in bdr.fk_action if the constraint's
// policy is to act (see foreign_key_actions.h), all in the group's own transaction.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/session/pipe.h"

namespace bdr::agent {

enum class ForeignKeyPolicy { kLog, kCascade, kSetNull, kRestoreParent };

// "log", "cascade", "set_null", "restore_parent"; anything else, also nothing, is kLog.
ForeignKeyPolicy ParseForeignKeyPolicy(absl::string_view text);
absl::string_view ToString(ForeignKeyPolicy policy);

struct ForeignKey {
  struct Table {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    bool partitioned = false;

    std::string Only() const;  // for SQL
    std::string Type() const;  // its row type, for SQL
    std::string DisplayName() const;
  };
  struct Pair {
    std::string child_column;
    std::string parent_column;
    std::string op;  // OPERATOR(...): parent's value, then child's
  };
  struct KeyColumn {
    std::string name;
    std::string op;
  };
  std::string name;
  Table child;
  Table parent;
  std::vector<Pair> pairs;
  std::vector<KeyColumn> child_key;  // empty if the table has none
  std::vector<std::string> parent_key;
  std::vector<std::string> parent_columns;  // that can be written
  std::string json;                         // as read, to be read again by ParseForeignKey()

  // No row `parent` of the parent table has what the row `child` references: SQL. Rows with a
  // null in one of the columns reference nothing.
  std::string OrphanCondition(absl::string_view child) const;
  // Part of it is no part of the parent's key, so an update may take it away.
  bool references_beside_key() const;
};

// Every foreign key between two tables, one jsonb in each row.
std::string ForeignKeysSql();
// kDataLoss if the text is not of ForeignKeysSql().
absl::StatusOr<ForeignKey> ParseForeignKey(std::string json);

// SQL: a row of the type with these columns as the conflict log's `row` has them, the others NULL.
// Only columns of keys have values there for sure (bdr.row_as_jsonb()).
std::string RowOfSql(absl::string_view type, absl::string_view row,
                     const std::vector<std::string>& columns);

// For one session. Not thread-safe.
class ForeignKeys {
 public:
  // What is to be done about orphans of a constraint of SCHEMA.TABLE; called for each one found.
  using PolicyOf =
      std::function<ForeignKeyPolicy(const std::string& table, const std::string& name)>;

  explicit ForeignKeys(PolicyOf policy_of) : policy_of_(std::move(policy_of)) {}

  // Reads the constraints again if one was added, changed or dropped since, or if `generation` has
  // changed, which tells that tables have. Looks for the former now and then. Outside of a
  // transaction.
  absl::Status Refresh(uint64_t generation, Pipe* pipe);
  // The next Refresh() reads everything: there is a new session, or a statement has failed, perhaps
  // since a table has changed.
  void Reset();
  bool empty() const { return keys_.empty(); }

  // Before the plan's changes, in their transaction: the rows that it will take from under their
  // children.
  absl::Status Before(GroupPlan& plan, Pipe* pipe);
  // After them. `unseen`: something stands here that the plan's first transaction had not seen.
  absl::Status After(GroupPlan& plan, bool unseen, Pipe* pipe);

  // Of the last After().
  uint64_t orphans() const { return orphans_; }
  bool queued() const { return queued_; }

 private:
  absl::Status QueueChecks(const ForeignKey& key, const std::string& from,
                           std::vector<std::string> params, const GroupPlan& plan, Pipe* pipe);
  const std::vector<const ForeignKey*>* Find(
      const absl::flat_hash_map<uint32_t, std::vector<const ForeignKey*>>& by, uint32_t oid) const;

  const PolicyOf policy_of_;
  absl::Time looked_at_ = absl::InfinitePast();
  std::string fingerprint_;  // of the constraints, as of which keys_ were read; empty: none
  uint64_t generation_ = 0;  // likewise
  std::vector<ForeignKey> keys_;
  absl::flat_hash_map<uint32_t, std::vector<const ForeignKey*>> by_child_;
  absl::flat_hash_map<uint32_t, std::vector<const ForeignKey*>> by_parent_;
  std::map<uint32_t, std::vector<std::string>> gone_;  // by parent: rows as jsonb
  uint64_t orphans_ = 0;
  bool queued_ = false;
};

}  // namespace bdr::agent
