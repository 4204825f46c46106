#include "node-agent/apply/write/claimed_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "conflict/claim_rule.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/apply/write/row_change.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/statements.h"
#include "postgres/wire.h"

namespace bdr::agent {
namespace {

using conflict::Stamp;
using conflict::Version;
using conflict::Winner;
using postgres::ColumnKind;
using postgres::ConstraintInfo;
using postgres::Result;

bool IsOwn(const FoundRow* row) {
  return row != nullptr && row->at.writer == conflict::Writer::kThisTransaction;
}

conflict::Decision ByClaim(Winner winner) {
  return {.verdict = conflict::Verdict::kDrop,
          .conflict = conflict::ConflictKind::kUniqueClaimed,
          .met = conflict::Met::kNewest,
          .winner = winner,
          .rule = conflict::Rule::kClaimedLater};
}

}  // namespace

// Looked for by every version's values, not only by those that are written: an older row has to go
// for a claim that itself has lost.
absl::Status ClaimedTable::QueueHolders() {
  const BoundTable& table = *ops_->table;
  if (table.table().deferrable_unique) {
    // Nothing checks such constraints under the replica role, so nobody else may write meanwhile.
    RETURN_IF_ERROR(context_.locks->QueueTableLock(context_.pipe, table.table().QualifiedName(),
                                                   table.table().DisplayName(), table.table().oid,
                                                   "SHARE ROW EXCLUSIVE"));
  }
  const std::vector<ConstraintInfo>& constraints = table.table().constraints;
  for (size_t c = 0; c < constraints.size(); ++c) {
    std::vector<size_t> claiming;
    for (size_t i = 0; i < claims_->versions.size(); ++i) {
      if (claims_->claims[i][c].has_value()) claiming.push_back(i);
    }
    for (size_t from = 0; from < claiming.size(); from += kRowsPerStatement) {
      const std::vector<size_t> versions(
          claiming.begin() + from,
          claiming.begin() + std::min(from + kRowsPerStatement, claiming.size()));
      std::vector<const LocalRow*> rows;
      for (const size_t version : versions) rows.push_back(&claims_->versions[version]->row);
      std::vector<std::string> params;
      ASSIGN_OR_RETURN(std::string encoded, table.EncodeRows(rows));
      params.push_back(std::move(encoded));
      for (const int column : table.columns_beside()) {
        ASSIGN_OR_RETURN(std::string beside, table.EncodeColumn(column, rows));
        params.push_back(std::move(beside));
      }
      RETURN_IF_ERROR(Run(
          context_.pipe,
          MakeStatement(
              table, OtherStatement::kHolders,
              [&table, &info = constraints[c]] { return HoldersSql(table, info); }, c),
          params,
          [this, c, versions](const Result& result) { return TakeHolders(result, c, versions); },
          /*binary_result=*/true));
    }
  }
  return absl::OkStatus();
}

absl::Status ClaimedTable::TakeHolders(const Result& result, size_t constraint,
                                       const std::vector<size_t>& versions) {
  const postgres::TableInfo& table = ops_->table->table();
  for (int i = 0; i < result.rows(); ++i) {
    postgres::WireReader reader(result.value(i, 0));
    const uint64_t place = reader.Uint64();
    if (!reader.done() || place == 0 || place > versions.size()) {
      return absl::InternalError("a statement returned a place that it was not given");
    }
    LocalRow row(table.columns.size());
    int field = 1;
    for (const int column : table.key) {
      row[column] = {.kind = ColumnKind::kBinary,
                     .data = bytes_.emplace_back(result.value(i, field++))};
    }
    ASSIGN_OR_RETURN(const std::string canonical, LocalKey(table, row));
    std::string key = conflict::VersionKey(table.oid, canonical);
    const size_t version = versions[place - 1];
    const bool itself = key == claims_->versions[version]->version_key;
    if (const auto [at, is_new] = keys_.try_emplace(key); is_new) {
      at->second.row = &holder_rows_.emplace_back(std::move(row));
    }
    (itself ? kept_ : holdings_)
        .push_back({.version = version,
                    .constraint = constraint,
                    .key = std::move(key),
                    .xmin = std::string(result.value(i, field))});
  }
  return absl::OkStatus();
}

absl::Status ClaimedTable::QueueLock() {
  for (const RowOp& op : ops_->rows) {
    Key& key = keys_[op.version_key];
    key.op = &op;
    key.row = &op.row;
  }
  std::vector<KeyedRow> rows;
  for (const auto& [name, key] : keys_) {
    if (context_.registered != nullptr && !context_.registered->contains(name)) {
      unregistered_.push_back(name);
    }
    rows.push_back({.version_key = name, .row = key.row});
  }
  // It will be begun again: lock nothing.
  if (!unregistered_.empty()) return absl::OkStatus();
  return writer_.Lock(std::move(rows), &standing_);
}

absl::Status ClaimedTable::Decide() {
  if (!unregistered_.empty()) return absl::OkStatus();
  for (auto& [name, key] : keys_) {
    const auto found = standing_.find(name);
    key.standing = found == standing_.end() ? nullptr : &found->second;
  }
  for (const auto* holdings : {&holdings_, &kept_}) {
    for (const Holding& holding : *holdings) {
      const FoundRow* standing = keys_[holding.key].standing;
      // What it holds now is not known. That it is gone is no matter.
      if (standing != nullptr && standing->xmin != holding.xmin) {
        return absl::AbortedError("a row changed while it was being locked");
      }
    }
  }
  RETURN_IF_ERROR(FindVersions());
  if (!must_wait_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(JudgeClaims());
  return Targets();
}

// For each key concerned: what the store knows of it beside what this group has recorded, then of
// which version the row is that stands there, as exactly as anyone will ask. Whoever must be waited
// for is noted, all of them, so that one wait does for the group; without any, the change is
// judged.
absl::Status ClaimedTable::FindVersions() {
  std::vector<std::string> names;
  for (const auto& [name, key] : keys_) names.push_back(name);
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> now, context_.versions->Get(names));
  // The oldest claim on what a holder holds: it is enough to know that its row is older.
  absl::flat_hash_map<std::string, Stamp> oldest_claim;
  for (const Holding& holding : holdings_) {
    const Stamp stamp = claims_->versions[holding.version]->stamp;
    const auto [at, is_new] = oldest_claim.try_emplace(holding.key, stamp);
    if (!is_new) at->second = std::min(at->second, stamp);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    Key& key = keys_[names[i]];
    key.newest = NewestOf(names[i], key.op, now[i]);
    const bool stale =
        key.op != nullptr && key.newest.has_value() && key.newest->stamp > key.op->stamp;
    const auto waited = context_.found_before->find(names[i]);
    if (IsOwn(key.standing)) {
      const auto written = context_.written->find(names[i]);
      key.version.stamp = written == context_.written->end() ? context_.own_stamp : written->second;
    } else if (key.standing != nullptr) {
      conflict::RowVersionQuery query{
          .own_node = context_.own_node,
          .largest_raise_us = context_.largest_raise_us,
          .known = key.newest.has_value() ? KnownOf(*key.newest) : conflict::KnownVersion{},
          .known_is_pending = key.newest.has_value() && context_.is_pending(*key.newest),
          .capture_passed =
              waited != context_.found_before->end() && waited->second == key.standing->xmin,
          .enough_if_older_than = conflict::kNever};
      const auto claimed = oldest_claim.find(names[i]);
      if (key.op != nullptr && !stale) {
        query.enough_if_older_than = key.op->stamp;
      } else if (stale && claimed != oldest_claim.end()) {
        query.enough_if_older_than = claimed->second;
      }
      // A mere holder that dies leaves nothing at its key. What keeps away what is older still is
      // its version, so that has to be known, however old the row looks.
      key.version = conflict::VersionOfRow(key.standing->at, query);
      // A row that keeps its place, and that nobody claims anything from, need not be known.
      if (key.version.must_wait && stale && claimed == oldest_claim.end()) {
        key.version = {};
        key.version.stamp = key.newest->stamp;
      }
      if (key.version.must_wait) must_wait_[names[i]] = key.standing->xmin;
    } else if (key.op != nullptr && !stale && !key.op->is_delete() && !key.op->by_insert &&
               !context_.merges_own && !(key.newest.has_value() && key.newest->dead) &&
               !(waited != context_.found_before->end() && !waited->second.has_value())) {
      // A local delete may not have been captured yet.
      must_wait_[names[i]] = std::nullopt;
    }
    if (key.op != nullptr && must_wait_.empty()) Judge(&key);
  }
  return absl::OkStatus();
}

// The newest version known of a key, without what this group has recorded of it; `now`: what the
// store says.
std::optional<Version> ClaimedTable::NewestOf(const std::string& name, const RowOp* op,
                                              const std::optional<Version>& now) const {
  const auto found = context_.before->find(name);
  const std::optional<Version> before =
      found == context_.before->end() ? std::nullopt : std::optional<Version>(found->second);
  // A later part of the group may write the row again; and what it wrote to the store as part of a
  // larger one, which fell apart, is there already.
  const bool by_group = now.has_value() && !context_.merges_own && now->origin == context_.origin &&
                        now->end_lsn >= context_.first_lsn &&
                        (now->end_lsn <= context_.last_lsn || context_.is_pending(*now));
  if (op == nullptr) return by_group && now->end_lsn <= context_.last_lsn ? before : now;
  if (by_group || !now.has_value()) return before;
  // A truncate stands with its table, not with the key.
  return before.has_value() && before->stamp > now->stamp ? before : now;
}

// Of the standing row; unset where it is not known, and everybody had seen it.
std::optional<Version> ClaimedTable::VersionOf(const Key& key) const {
  switch (key.version.source) {
    case conflict::RowVersion::Source::kNone:
      return std::nullopt;
    case conflict::RowVersion::Source::kStore:
      return key.newest;
    case conflict::RowVersion::Source::kTime:
      break;
  }
  return Version{.stamp = key.version.stamp,
                 .origin = {.node = key.version.stamp.node, .incarnation = 0},
                 .end_lsn = Lsn{0}};
}

// Whether the group's change of a key replaces what stands there, claims aside. Capture was waited
// for where that was needed, so what is known now decides.
void ClaimedTable::Judge(Key* key) {
  const RowOp& op = *key->op;
  conflict::Known known{.capture_passed = true,
                        .largest_raise_us = context_.largest_raise_us,
                        .own_node = context_.own_node};
  if (key->newest.has_value()) known.before = known.newest = KnownOf(*key->newest);
  if (key->standing != nullptr) known.row = key->version;
  const conflict::Decision decision =
      conflict::Decide(ChangeOf(op, context_.origin.node, /*sent=*/false, context_.merges_own),
                       key->standing == nullptr ? nullptr : &key->standing->at, known);
  key->settled = decision.verdict == conflict::Verdict::kStands;
  key->fresh = decision.verdict == conflict::Verdict::kWrite ||
               decision.verdict == conflict::Verdict::kInsert;
  if (decision.conflict == conflict::ConflictKind::kNone) return;
  losses_.push_back({.op = &op,
                     .key = nullptr,
                     .local = decision.met == conflict::Met::kRow ? VersionOf(*key) : key->newest,
                     .local_row = key->standing == nullptr ? "" : key->standing->json,
                     .by_claim = false,
                     .decision = decision});
}

// Where not every node has the constraint, this one alone would take a row away. What of an own
// change stands already is not taken back for it: it stands on the other nodes as well.
absl::StatusOr<bool> ClaimedTable::Counts(size_t constraint, const Stamp& claim) const {
  if (context_.counts_claim == nullptr || *context_.counts_claim == nullptr) return true;
  const postgres::TableInfo& table = ops_->table->table();
  const ConstraintInfo& info = table.constraints[constraint];
  const absl::Status counts = (*context_.counts_claim)(table, info, claim.time_us);
  if (counts.ok()) return true;
  if (context_.merges_own) return false;
  return absl::Status(
      counts.code(),
      absl::StrCat("unique violation: two rows of table \"", table.DisplayName(),
                   "\" hold the same by \"", info.name, "\", ", info.Meaning(), ", and ",
                   counts.message(), ", so none may lose its place for it; drop \"", info.name,
                   "\" on this node, settle which row keeps the value, and then make the "
                   "constraint on every "
                   "node"));
}

// Once every key is judged by itself. The group's versions come first, then rows that stand: what a
// version has lost to a claim counts for nothing where rows are taken from their places, and must
// be known by then.
absl::Status ClaimedTable::JudgeClaims() {
  const auto judge = [this](size_t version, size_t constraint, Key* key) -> absl::Status {
    const RowOp& op = *claims_->versions[version];
    const conflict::Claim* later =
        conflict::LaterClaim(claims_->claimants[version][constraint], op.version_key, op.stamp);
    if (later == nullptr || key->dies) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool counts, Counts(constraint, later->stamp));
    if (counts) Lose(key, *later);
    return absl::OkStatus();
  };
  // Versions that are about to stand: has another key claimed one of their values?
  for (size_t i = 0; i < claims_->versions.size(); ++i) {
    const RowOp& op = *claims_->versions[i];
    Key& key = keys_[op.version_key];
    if (key.op != &op || !key.fresh) continue;
    for (size_t c = 0; c < claims_->claims[i].size(); ++c) RETURN_IF_ERROR(judge(i, c, &key));
  }
  // Own rows that stand already. The change that is merged again may not be the last that its
  // transaction made of the row: what the row does not hold any more cannot be taken from it.
  for (const Holding& kept : kept_) {
    Key& key = keys_[kept.key];
    if (key.op == claims_->versions[kept.version] && key.settled) {
      RETURN_IF_ERROR(judge(kept.version, kept.constraint, &key));
    }
  }
  // Rows that the group does not replace: has one of its versions claimed theirs? A row that stands
  // is itself a claim, also where the store knows of none.
  for (const Holding& holding : holdings_) {
    const RowOp& op = *claims_->versions[holding.version];
    Key& holder = keys_[holding.key];
    if (holder.standing == nullptr || holder.fresh) continue;
    if (holder.version.pending || op.stamp > holder.version.stamp) {
      // Of an unknown version: it has claimed what it holds. Unless that was the later claim, it is
      // the older row.
      const conflict::Claimants& claimants =
          claims_->claimants[holding.version][holding.constraint];
      const bool later =
          holder.version.pending && conflict::ClaimedLater(claimants, op.version_key, op.stamp);
      if (later || holder.dies) continue;
      ASSIGN_OR_RETURN(const bool counts, Counts(holding.constraint, op.stamp));
      if (counts) Die(&holder, op);
      continue;
    }
    Key& key = keys_[op.version_key];
    if (key.op == &op && key.fresh && !key.dies && holder.version.stamp > op.stamp) {
      ASSIGN_OR_RETURN(const bool counts, Counts(holding.constraint, holder.version.stamp));
      if (counts) Lose(&key, {.stamp = holder.version.stamp, .key = holding.key});
    }
  }
  return absl::OkStatus();
}

// `key`'s standing row loses its place to `by`.
void ClaimedTable::Die(Key* key, const RowOp& by) {
  key->dies = true;
  losses_.push_back({.op = &by,
                     .key = key->row,
                     .local = VersionOf(*key),
                     .local_row = key->standing->json,
                     .by_claim = true,
                     .decision = ByClaim(Winner::kRemote)});
  if (key->version.source == conflict::RowVersion::Source::kStore) {
    Version dead = *key->newest;
    dead.dead = true;
    for (const auto& [name, other] : keys_) {
      if (&other == key) unseated_.emplace_back(name, dead);
    }
  }
}

// The group's version of `key` loses against a later claim.
void ClaimedTable::Lose(Key* key, const conflict::Claim& to) {
  key->dies = true;
  const RowOp& op = *key->op;
  const auto holder = standing_.find(to.key);
  losses_.push_back({.op = &op,
                     .key = nullptr,
                     .local = Version{.stamp = to.stamp,
                                      .origin = {.node = to.stamp.node, .incarnation = 0},
                                      .end_lsn = Lsn{0}},
                     .local_row = holder == standing_.end() ? "" : holder->second.json,
                     .by_claim = true,
                     .decision = ByClaim(Winner::kLocal)});
  unseated_.emplace_back(
      op.version_key,
      Version{.stamp = op.stamp, .origin = context_.origin, .end_lsn = op.end_lsn, .dead = true});
}

absl::Status ClaimedTable::Targets() {
  absl::flat_hash_set<std::string> makes_way;
  for (const Holding& holding : holdings_) {
    const RowOp& op = *claims_->versions[holding.version];
    const Key& key = keys_[op.version_key];
    if (key.op == &op && key.fresh && !key.dies) makes_way.insert(holding.key);
  }
  for (const auto& [name, key] : keys_) {
    const KeyedRow row{.version_key = name, .row = key.fresh ? &key.op->row : key.row};
    const bool gone = key.dies || (key.fresh && key.op->is_delete());
    if (gone) {
      if (key.standing != nullptr) targets_.remove.push_back(row);
      continue;
    }
    if (!key.fresh) continue;
    (*context_.written)[name] = key.op->stamp;
    if (key.standing == nullptr) {
      if (!HasUnchanged(*row.row)) {
        targets_.insert.push_back(row);
      } else if (!key.op->keeps_found) {
        // Written as it came, the row would have NULL where its origin has a value.
        wanted_.push_back(key.op);
      } else if (key.op->values_lost) {
        lost_values_.push_back(key.op);
      }
    } else if (!IsOwn(key.standing) && !context_.may_keep(*key.op, *key.standing)) {
      wanted_.push_back(key.op);
    } else if (makes_way.contains(name)) {
      targets_.rewrite.push_back(row);
    } else {
      targets_.update.push_back(row);
    }
  }
  return absl::OkStatus();
}

absl::Status ClaimedTable::QueueWrites() { return writer_.Write(std::move(targets_)); }

}  // namespace bdr::agent
