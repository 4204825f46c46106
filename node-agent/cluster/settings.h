// The cluster's settings as this node knows them: what each was from which version on.
//
// A value is set, then every node takes it up and says once it is ready for it, then it comes into
// force. From then on a node's own transactions carry the new version in their headers, each node
// from a position of its own: that frontier is the switch. Whoever merges a change goes by the
// version in its header, so all nodes merge it by the same value, whenever they learn of it.
//
// What an administrator has said was done to tables by hand (table_changes.h) counts as soon as it
// is taken up; it comes into force once every node's tables are as it says.
//
// "Ready" means: from taking a value up on, what it needs beforehand is kept (the history of tables
// that are to be folded), and everything older is stable.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "conflict/fold.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/cluster/table_changes.h"

namespace bdr::agent {

// bdr.v1.TablePolicy.
struct TablePolicy {
  conflict::PolicyKind kind = conflict::PolicyKind::kLastUpdateWins;
  std::vector<std::string> columns = {};  // of delta
  std::vector<NodeId> priority = {};      // of origin_priority
  std::string function = {};              // of custom: schema.name

  friend bool operator==(const TablePolicy&, const TablePolicy&) = default;
};
// The value of a setting "policy/SCHEMA.TABLE"; the default if it is empty. kDataLoss if it is
// damaged, kUnimplemented for a policy that this program does not know.
absl::StatusOr<TablePolicy> ParseTablePolicy(absl::string_view value);

// Every policy that a table has had. Immutable.
class PolicyHistory {
 public:
  // By version, which rise; not empty.
  explicit PolicyHistory(std::vector<std::pair<uint64_t, TablePolicy>> policies)
      : policies_(std::move(policies)) {}

  // By which a change is merged whose header carries this settings_version.
  const TablePolicy& At(uint64_t settings_version) const;
  // Where `settings_version` or a later one is in force, the table's rows are folded, whatever the
  // policy of each change.
  bool Folds(uint64_t settings_version) const { return settings_version >= policies_[0].first; }
  const TablePolicy& newest() const { return policies_.back().second; }
  const std::vector<std::pair<uint64_t, TablePolicy>>& all() const { return policies_; }

 private:
  std::vector<std::pair<uint64_t, TablePolicy>> policies_;
  const TablePolicy default_ = {};
};

// Thread-safe; no call blocks.
class Settings {
 public:
  // Takes up what the cluster has set; to be called once it is written down, so that it is still
  // known after a crash. What was applied or captured before is stamped at or before
  // `unstable_until_us`. An older membership than before changes nothing.
  void Take(const Membership& membership, int64_t unstable_until_us);

  // In force here: what own transactions carry. Never falls.
  uint64_t active() const { return active_.load(std::memory_order_acquire); }
  // A transaction of another node came with it: every member was ready, so it counts here as well.
  // To be called once it is written down.
  void RaiseActive(uint64_t version);
  // The same once `write` has made it durable, one after the other, so that what is written down is
  // never less than what is in force. Nothing if it is in force already.
  absl::Status RaiseActive(uint64_t version, const std::function<absl::Status()>& write);
  // What was taken up. A transaction that carries a later one cannot be merged yet.
  uint64_t taken() const;
  // The newest version that this node is ready for, while all before `stable_us` is stable.
  uint64_t Ready(int64_t stable_us);
  // Versions were taken up for which this node is not ready yet.
  bool settling() const;

  // The value of a setting as of a version; empty for the default.
  std::string Value(absl::string_view key, uint64_t version) const;
  // Null if the table never had a policy: then none of its changes need be kept.
  std::shared_ptr<const PolicyHistory> Policies(absl::string_view schema,
                                                absl::string_view table) const;
  // The newest policy of each table (SCHEMA.TABLE) that has another than the default.
  std::vector<std::pair<std::string, TablePolicy>> MergedTables() const;
  // What was said of tables and not taken back, by version. Never null.
  std::shared_ptr<const std::vector<TableChange>> TableChanges() const;
  // Of those the ones that are not in force yet, until MarkDone(): this node is not ready for them
  // before its tables are as they say.
  std::vector<TableChange> NotDone() const;
  // This node's tables are as was said up to `version`. What was captured under the old names is
  // stamped at or before `unstable_until_us`.
  void MarkDone(uint64_t version, int64_t unstable_until_us);
  // Changes with every Take(), MarkDone(), RaiseActive() and PlanAnew(): what was planned before
  // must be planned anew.
  void PlanAnew() { generation_.fetch_add(1); }
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  uint64_t DoneThroughLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  uint64_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t ready_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t done_ ABSL_GUARDED_BY(mu_) = 0;  // tables are as was said up to here
  std::deque<std::pair<uint64_t, int64_t>> settling_ ABSL_GUARDED_BY(mu_);  // version, until
  std::vector<Setting> settings_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<const PolicyHistory>, std::less<>> policies_
      ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const std::vector<TableChange>> table_changes_ ABSL_GUARDED_BY(mu_) =
      std::make_shared<const std::vector<TableChange>>();
  Mutex raising_;  // held while what is raised is written down
  std::atomic<uint64_t> active_{0};
  std::atomic<uint64_t> generation_{0};
};

}  // namespace bdr::agent
