// Large values (TOAST) that an update did not change, and so does not carry.
//
// They may be left alone where the row found is the one that the update was made from: its version
// had been seen by the update's transaction, and its values are that version's own. Else they are
// fetched from the update's origin, or from another member that has exactly that version. Whoever
// gets them from a newer version, because the row has moved on there, marks the row as disputed:
// until that version has come, no later update may lean on what stands here. So the newest version
// of every key ends with the same values everywhere (docs/architecture.md, "Large values").
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/plan/row_source.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

bool HasUnchanged(const LocalRow& row);

// For one applier. Not thread-safe. What it fetched lives until Clear().
class MissingValues {
 public:
  using Versions = absl::flat_hash_map<std::string, conflict::Version>;  // by version key

  // All outlive it.
  MissingValues(RowSource* source, Database* database, const conflict::VersionStore* versions)
      : source_(source), database_(database), versions_(versions) {}

  // Nothing is wanted yet.
  void BeginAttempt();
  // Before each attempt at a plan, once it is known what stood in the store: fills in what was
  // fetched, and takes back what a change took from an earlier one of the group where another
  // origin's version lies between the two.
  absl::Status Prepare(GroupPlan& plan, const Versions& before);

  // Whether a large value of the row that stands at `op`'s key may be of a version that `op`'s
  // transaction had not seen, though the row itself had been.
  bool IsDisputed(const RowOp& op, OriginId origin) const;

  // The change cannot be written without values that it does not carry.
  void Want(const std::shared_ptr<const BoundTable>& table, const RowOp& op);
  bool wants() const { return !wanted_.empty(); }
  // So many that they should be fetched before more are asked for.
  bool wants_many() const { return wanted_.size() >= kManyRows; }

  struct Fetch {
    OriginId origin;  // of the changes
    NodeId own_node = 0;
    std::function<bool()> stop;
    // Something cannot be had now, and is tried again: what is waited for. Returns after a moment.
    std::function<void(const std::string& why)> wait;
  };
  // Gets everything wanted. Hold no locks, in the database or of keys. kFailedPrecondition: a value
  // does not fit into the column here. kAborted: it is too much to
  // be kept at once; come again with a smaller group. kUnavailable if told to stop.
  absl::Status FetchWanted(const Fetch& fetch, bool may_be_split);

  void Clear();
  uint64_t fetched() const { return fetched_; }  // rows, ever
  uint64_t waits() const { return waits_; }      // how often somebody could not be asked, ever

 private:
  static constexpr size_t kManyRows = 10'000;

  struct Wanted {
    std::shared_ptr<const BoundTable> table;
    std::string version_key;
    conflict::Stamp stamp;
    std::vector<OwnedValue> key;
    std::vector<int> columns;
    int denied = 0;  // rounds in which every member said that it does not have it
  };
  struct Got {
    RowAnswer::State state = RowAnswer::State::kUnknown;  // kUnknown: nobody has it
    std::vector<int> columns;
    std::vector<OwnedValue> values;
  };
  using Name = std::pair<std::string, conflict::Stamp>;  // version key, stamp
  struct Round {
    bool origin_member = false;
    std::string unreachable;  // why, of the first member that could not be asked
  };

  void Fill(RowOp* op, const Got& got);
  absl::Status Ask(NodeId node, bool exact_only, const Fetch& fetch, Round* round);
  static absl::Status ConvertAnswer(const Wanted& wanted, RowAnswer* answer);
  absl::Status Take(const Wanted& wanted, RowAnswer answer, rocksdb::WriteBatch* disputed);
  RowsWanted MakeRequest(const std::vector<Wanted*>& rows, bool exact_only) const;

  RowSource* const source_;
  Database* const database_;
  const conflict::VersionStore* const versions_;
  std::vector<Wanted> wanted_;
  std::set<Name> named_;  // of what was wanted in this attempt
  std::map<Name, Got> got_;
  size_t bytes_ = 0;
  absl::flat_hash_map<std::string, conflict::Stamp> disputed_;
  uint64_t fetched_ = 0;
  uint64_t waits_ = 0;
};

}  // namespace bdr::agent
