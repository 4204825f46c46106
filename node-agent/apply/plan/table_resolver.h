// Finds the local table that a change of an origin is about, and refuses those that nothing may be
// applied to.
//
// What a relation is here depends on when its change was made, since columns and tables may have
// been renamed or dropped (cluster/table_changes.h), and on the cluster's settings. It is looked up
// once and kept until Unbind().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/origin.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/local_relation.h"
#include "node-agent/tables/remote_relation.h"
#include "node-agent/tables/table_cache.h"

namespace bdr::agent {

// Whether an error tells of a table that a change is about, rather than of the server, a disk or a
// shutdown: then the same is true of the table's other changes.
bool IsOfTheTable(const absl::Status& status);

// Of one applier. Not thread-safe.
class TableResolver {
 public:
  // The columns that a node generates in a table, as far as is known.
  using GeneratedAt = std::function<std::vector<std::string>(NodeId node, absl::string_view schema,
                                                             absl::string_view table)>;
  struct Options {
    OriginId origin;
    // The changes are this node's own: their tables are known here by what they are called now.
    bool own = false;
    TableCache* tables = nullptr;  // outlives this, as does the next
    Settings* settings = nullptr;
    GeneratedAt generated_at = nullptr;  // null: nothing is known
  };
  explicit TableResolver(Options options) : options_(std::move(options)) {}

  // For GroupPlan::Add(). kFailedPrecondition: nothing can be applied to the table as it is; what a
  // person has to do stands in the message. This outlives what it gives.
  GroupPlan::Resolve Resolver();
  // The same for changes of which only versions are kept: what cannot be found is not looked for
  // again within a second, as there may be millions of changes of it.
  GroupPlan::Resolve QuietResolver();
  // Whether a piece has rows of tables without a key.
  absl::StatusOr<bool> HasKeylessRows(const Piece& piece);

  // Forgets what was looked up: tables or settings may have changed.
  void Unbind();
  // Forgets it if the cluster's settings changed since this was last called.
  void RefreshSettings();
  // Whether something was forgotten since this was last asked: statements on these tables are to be
  // given up.
  bool TakeUnbound() { return std::exchange(unbound_, false); }
  uint64_t settings_generation() const { return settings_generation_; }

 private:
  struct BoundRelation {
    AnswerHolds holds;
    GroupPlan::Resolved resolved;
  };

  absl::StatusOr<GroupPlan::Resolved> Find(const RemoteRelation& relation,
                                           const TransactionHeader& header);
  absl::StatusOr<std::shared_ptr<const BoundTable>> Bind(const RemoteRelation& relation,
                                                         const LocalRelation& here);
  absl::Status CheckMayBeApplied(const postgres::TableInfo& table,
                                 const postgres::RelationMessage& message);
  absl::Status CheckGeneratedThere(const RemoteRelation& relation, const BoundTable& table);

  const Options options_;
  // By the relation as it was announced; what it is here may depend on when the change was made.
  absl::flat_hash_map<std::string, std::vector<BoundRelation>> bound_;
  // By the relation as it was announced: why it cannot be found, and until when that counts.
  absl::flat_hash_map<std::string, std::pair<absl::Status, absl::Time>> unbindable_;
  absl::flat_hash_set<std::string> gone_told_;  // was logged
  // Relations whose origin generated columns that are plain ones here. It may have become a plain
  // one there since: what was sent before is without its values all the same.
  absl::flat_hash_map<std::string, std::vector<std::string>> without_generated_;
  uint64_t settings_generation_ = 0;  // for which tables were bound
  bool unbound_ = false;
};

}  // namespace bdr::agent
