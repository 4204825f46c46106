#include "node-agent/capture/touched_changes.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "base/test_hooks.h"

namespace bdr::agent {
namespace {

constexpr size_t kKeptSuspects = 10'000;  // room for so many stays

}  // namespace

void TouchedChanges::Add(const OwnTransaction& transaction, Suspect suspect,
                         absl::string_view change) {
  if (header_ == nullptr) header_ = std::make_shared<const TransactionHeader>(transaction.header);
  suspect.change = std::string(change);
  suspect.row.change = {};
  suspect.commit_us = transaction.commit.shown_us();
  suspect.header = header_;
  suspects_.push_back(std::move(suspect));
}

void TouchedChanges::AddRow(const OwnTransaction& transaction, Row row) {
  // A row that stands and shows its stamp as its commit time misleads nobody; but where rows fold,
  // whoever met it before it was captured has folded without it.
  const bool misleads = row.dead ||
                        transaction.header.stamp.time_us > transaction.commit.shown_us() ||
                        transaction.header.end_lsn <= touched_through_;
  row.claims = row.claims && !row.dead;
  if (!misleads && !row.claims && row.policies == nullptr) return;
  const absl::string_view change = row.change;
  Suspect suspect;
  suspect.row = std::move(row);
  suspect.misleads = misleads;
  Add(transaction, std::move(suspect), change);
}

void TouchedChanges::AddTruncate(const OwnTransaction& transaction,
                                 const std::shared_ptr<const CapturedRelation>& relation,
                                 absl::string_view change) {
  Suspect suspect;
  suspect.row.relation = relation;
  suspect.row.dead = true;
  suspect.truncate = true;
  Add(transaction, std::move(suspect), change);
}

// What a later change of the same transaction replaced never stood, so it claims nothing, and there
// is nothing of it to be merged again beside that change. (Of the same part, as appliers see it.)
void TouchedChanges::DropReplaced() {
  absl::flat_hash_set<std::pair<const TransactionHeader*, absl::string_view>> later;
  for (auto suspect = suspects_.rbegin(); suspect != suspects_.rend(); ++suspect) {
    const bool last = later.emplace(suspect->header.get(), suspect->row.version_key).second;
    suspect->replaced = suspect->row.claims && !last;
  }
  suspects_.erase(std::remove_if(suspects_.begin(), suspects_.end(),
                                 [](const Suspect& suspect) { return suspect.replaced; }),
                  suspects_.end());
}

std::vector<TouchedChanges::Claiming> TouchedChanges::TakeClaiming() {
  DropReplaced();
  std::vector<Claiming> claiming;
  for (Suspect& suspect : suspects_) {
    if (!std::exchange(suspect.row.claims, false)) continue;
    claiming.push_back({.relation = suspect.row.relation,
                        .change = suspect.change,
                        .version_key = suspect.row.version_key,
                        .stamp = suspect.header->stamp,
                        .in_flight = &suspect.values});
  }
  return claiming;
}

bool TouchedChanges::IsTouched(const Suspect& suspect) const {
  if (suspect.header->end_lsn <= touched_through_) return true;
  const Row& row = suspect.row;
  const int64_t stamp_us = suspect.header->stamp.time_us;
  if (suspect.truncate) return keys_->TouchesTable(row.relation->message.relation_oid, stamp_us);
  if (row.policies != nullptr && row.policies->Folds(settings_->active())) {
    // Whatever an applier wrote or is about to write there. And where another node's changes are
    // unstable, what this one makes of the row is for the fold to say.
    if (keys_->Touches(row.version_key, /*gone=*/true, 0, INT64_MAX)) return true;
    const absl::StatusOr<bool> has_base = fold_history_->HasBase(row.version_key);
    return !has_base.ok() || *has_base;
  }
  return (suspect.misleads &&
          keys_->Touches(row.version_key, row.dead, suspect.commit_us, stamp_us)) ||
         std::any_of(suspect.values.begin(), suspect.values.end(),
                     [this](const std::string& value) { return keys_->TouchesClaim(value); });
}

void TouchedChanges::Look(const OwnRelations::Types& types) {
  if (BDR_RULE_BROKEN("own_merge")) suspects_.clear();
  for (Suspect& suspect : suspects_) {
    if (!IsTouched(suspect)) continue;
    const CapturedRelation& relation = *suspect.row.relation;
    OwnChange own{.header = *suspect.header,
                  .relation = relation.raw,
                  .relation_message = relation.message,
                  .types = {},
                  .change = std::move(suspect.change)};
    for (const postgres::RelationColumn& column : relation.message.columns) {
      const auto type = types.find(column.type_oid);
      if (type != types.end()) own.types.push_back(type->second);
    }
    own_changes_->Add(std::move(own));
  }
  suspects_.clear();
  // One part of a large transaction may have had hundreds of thousands.
  if (suspects_.capacity() > kKeptSuspects) suspects_.shrink_to_fit();
}

}  // namespace bdr::agent
