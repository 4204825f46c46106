#include "node-agent/apply/write/fold_key.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

using conflict::ChangeKind;
using conflict::FoldBase;
using conflict::FoldChange;
using conflict::FoldState;
using conflict::HistoryEntry;
using conflict::Stamp;

std::optional<conflict::FoldRow> RowBefore(const FoldChange& change) {
  return change.kind == ChangeKind::kInsert ? std::nullopt : change.old_row;
}

// A large transaction that was decoded again after a crash has a later stamp than before; what was
// kept of it the first time is void.
void DropVoid(std::vector<HistoryEntry>* entries) {
  absl::flat_hash_map<std::pair<uint64_t, uint32_t>, Stamp> newest;
  for (const HistoryEntry& entry : *entries) {
    if (!entry.own) continue;
    Stamp& stamp = newest[{entry.change.end_lsn.value, entry.change.number}];
    stamp = std::max(stamp, entry.change.stamp);
  }
  std::erase_if(*entries, [&newest](const HistoryEntry& entry) {
    return entry.own &&
           newest[{entry.change.end_lsn.value, entry.change.number}] > entry.change.stamp;
  });
}

class Folder {
 public:
  explicit Folder(FoldQuery query) : query_(std::move(query)) {}

  absl::StatusOr<FoldResult> Run() {
    DropVoid(&query_.history.entries);
    NoteOwnCommits();
    if (!FindBase()) return FoldResult{.must_wait = true};
    if (!CorrectBase()) return FoldResult{.must_wait = true};
    FillUnknown(&base_.state.row);
    Order();
    RETURN_IF_ERROR(TakeStableIn());
    FoldState before = base_.state;  // without what is new
    FoldState now = base_.state;
    for (const FoldChange& change : changes_) {
      ASSIGN_OR_RETURN(now, Step(std::move(now), change));
    }
    if (Uncaptured() || !query_.found.has_value()) {
      for (const FoldChange& change : changes_) {
        if (query_.is_new(change)) continue;
        ASSIGN_OR_RETURN(before, Step(std::move(before), change));
      }
    }
    if (!query_.found.has_value() && before.row.has_value() && !fresh_ && !query_.waited) {
      // Something stood there, as far as is known: a local delete is not captured yet.
      return FoldResult{.must_wait = true};
    }
    if (Uncaptured() && !fresh_ && !StandsAs(before)) {
      // Or by something that will never be captured: ALTER TABLE that rewrote the table with other
      // values. A guess would stay then, so waiting comes first; once, since a row that users
      // write all the time never stands still.
      if (!query_.asked) return FoldResult{.must_wait = true};
      ASSIGN_OR_RETURN(now, OnTop(before, std::move(now)));
    }
    FoldResult result{.target = std::move(now.row)};
    // Where nobody else ever wrote, own changes tell of their base themselves.
    const bool needs_base = query_.history.base.has_value() || any_remote_;
    if (needs_base && (base_changed_ || !query_.history.base.has_value())) {
      result.first_base = !query_.history.base.has_value();
      result.base = std::move(base_);
      result.forget = std::move(forget_);
    }
    return result;
  }

 private:
  absl::StatusOr<FoldState> Step(FoldState state, const FoldChange& change) const {
    ASSIGN_OR_RETURN(state, conflict::FoldStep(query_.policy_of(change), std::move(state), change,
                                               query_.custom));
    FillUnknown(&state.row);
    return state;
  }

  // Not with what stands there: that may be of a change which is left out on every other node.
  void FillUnknown(std::optional<conflict::FoldRow>* row) const {
    if (!row->has_value()) return;
    for (size_t i = 0; i < (*row)->size() && i < query_.added.size(); ++i) {
      conflict::FoldValue& value = (**row)[i];
      if (value.kind == conflict::FoldValue::Kind::kUnknown) value = query_.added[i];
    }
  }

  void NoteOwnCommits() {
    if (query_.history.base.has_value()) newest_own_us_ = query_.history.base->own_commit_us;
    for (const HistoryEntry& entry : query_.history.entries) {
      if (entry.own) newest_own_us_ = std::max(newest_own_us_, entry.commit_us);
      any_remote_ = any_remote_ || !entry.own;
    }
  }

  // The row that stands there was written by a local commit that is in the history only once it is
  // captured, and is merged again then; or by a rewrite of its table, which never is.
  bool Uncaptured() const {
    return query_.found.has_value() && query_.found->local && !query_.found->own &&
           !query_.waited &&
           (query_.found->foreign_time || query_.found->time_us.value_or(0) > newest_own_us_);
  }

  // What stands there is what the history made of it, so no commit that it does not know counts.
  bool StandsAs(const FoldState& state) const {
    return state.row.has_value() && SameRow(*state.row, query_.found->row);
  }

  // False if it cannot be told yet.
  bool FindBase() {
    ForgetOldUnlessKnown();
    if (query_.history.base.has_value()) {
      base_ = *query_.history.base;
      return true;
    }
    const std::vector<HistoryEntry>& entries = query_.history.entries;
    const auto first_own =
        std::find_if(entries.begin(), entries.end(), [](const HistoryEntry& e) { return e.own; });
    if (first_own != entries.end()) {
      base_.state.row = RowBefore(first_own->change);
      base_.truncates_us = first_own->stable_us;
      return true;
    }
    // Nothing unstable was ever applied to it: it is the base. Except for local commits that are
    // not captured yet, of which CorrectBase() takes care, and for rows that they deleted: what an
    // insert or a delete makes of those does not depend on what they were.
    if (!query_.found.has_value() && !query_.waited && !entries.empty() &&
        entries.front().change.kind == ChangeKind::kUpdate) {
      return false;
    }
    fresh_ = true;
    base_.truncates_us = query_.stable_us;
    // Own changes that were just forgotten are part of it. Or the row, if nothing is to be changed
    // in it, would pass for a local commit that is not captured yet for as long as the base lives.
    base_.own_commit_us = newest_own_us_;
    if (!query_.found.has_value()) return true;
    const FoldFound& found = *query_.found;
    if (found.local && !found.own && found.foreign_time && !query_.waited) return false;
    base_.state.row = found.row;
    // Commit times do not tell whether capture has seen who wrote it: a freeze takes them away, and
    // clocks are set back.
    if (!found.local || found.own || query_.waited || found.time_us == 0) return true;
    base_.own_commit_us = std::max(base_.own_commit_us, found.time_us.value_or(0));
    base_.read_at = query_.local_now;
    return true;
  }

  // Without a base that is known, what is stable tells nothing: newer changes may have come before
  // anything was kept. What stands in the table has them all.
  void ForgetOldUnlessKnown() {
    if (query_.history.base.has_value() && !query_.history.base->assumed) return;
    std::vector<HistoryEntry>& entries = query_.history.entries;
    const auto old = [this](const HistoryEntry& entry) {
      return entry.change.stamp.time_us < query_.stable_us;
    };
    const auto fresh = [this](const HistoryEntry& entry) { return query_.is_new(entry.change); };
    if (!std::all_of(entries.begin(), entries.end(),
                     [&](const HistoryEntry& e) { return old(e) || fresh(e); })) {
      return;
    }
    std::erase_if(entries, [&](const HistoryEntry& entry) {
      if (fresh(entry)) return false;
      forget_.push_back(entry.change);
      return true;
    });
    query_.history.base.reset();
  }

  // What was read as base while capture was behind held own changes that have come since: whoever
  // locks a row sees all that had written it, and their commits lie before. False while some of
  // them may be still to come: in a fold of what has come they could have no place, and once all
  // have, nothing would fold the row again.
  bool CorrectBase() {
    if (fresh_ || !base_.read_at.valid()) return true;
    const std::vector<HistoryEntry>& entries = query_.history.entries;
    const auto first = std::find_if(entries.begin(), entries.end(), [this](const HistoryEntry& e) {
      return e.own && e.change.end_lsn <= base_.read_at;
    });
    if (!query_.base_captured) return first == entries.end();
    if (first != entries.end()) base_.state.row = RowBefore(first->change);
    base_.read_at = Lsn{};
    base_changed_ = true;
    return true;
  }

  // By stamp, truncates among them. What is part of the base already is void.
  void Order() {
    for (HistoryEntry& entry : query_.history.entries) {
      if (entry.change.stamp <= base_.through) {
        forget_.push_back(std::move(entry.change));
        base_changed_ = true;
        continue;
      }
      changes_.push_back(std::move(entry.change));
    }
    for (FoldChange& truncate : query_.truncates) {
      if (truncate.stamp <= base_.through || truncate.stamp.time_us < base_.truncates_us) continue;
      changes_.push_back(std::move(truncate));
    }
    std::stable_sort(changes_.begin(), changes_.end());
  }

  // Nothing can come before what is stable any more: it becomes part of the base.
  absl::Status TakeStableIn() {
    // Without a base of its own the key has only own changes; they go once all are stable.
    if (base_.read_at.valid() || (!query_.history.base.has_value() && !any_remote_)) {
      return absl::OkStatus();
    }
    size_t stable = 0;
    while (stable < changes_.size() && changes_[stable].stamp.time_us < query_.stable_us &&
           !query_.is_new(changes_[stable])) {
      FoldChange& change = changes_[stable++];
      ASSIGN_OR_RETURN(base_.state, Step(std::move(base_.state), change));
      base_.through = change.stamp;
      forget_.push_back(std::move(change));
    }
    if (stable == 0) return absl::OkStatus();
    changes_.erase(changes_.begin(), changes_.begin() + static_cast<int64_t>(stable));
    base_.truncates_us = std::max(base_.truncates_us, query_.stable_us);
    base_.assumed = false;
    base_.own_commit_us = newest_own_us_;
    base_changed_ = true;
    return absl::OkStatus();
  }

  // A guess, so that what a user has just written does not vanish until it is captured: what stands
  // there as the last change of all.
  absl::StatusOr<FoldState> OnTop(const FoldState& before, FoldState now) const {
    FoldChange top;
    top.kind = ChangeKind::kUpdate;
    top.stamp = {.time_us = std::numeric_limits<int64_t>::max(), .node = kMaxNodeId};
    top.seen.push_back({.node = now.stamp.node, .time_us = top.stamp.time_us});
    top.old_row = before.row;
    top.new_row = query_.found->row;
    if (!before.row.has_value()) top.old_row.reset();
    return conflict::FoldStep(*query_.local_policy, std::move(now), top, query_.custom);
  }

  FoldQuery query_;
  FoldBase base_;
  std::vector<FoldChange> changes_;
  std::vector<FoldChange> forget_;
  int64_t newest_own_us_ = 0;
  bool any_remote_ = false;
  bool fresh_ = false;
  bool base_changed_ = false;
};

}  // namespace

bool SameRow(const conflict::FoldRow& row, const conflict::FoldRow& found) {
  for (size_t i = 0; i < row.size() && i < found.size(); ++i) {
    if (row[i].kind != conflict::FoldValue::Kind::kUnchanged && row[i] != found[i]) return false;
  }
  return true;
}

absl::StatusOr<FoldResult> FoldKey(FoldQuery query) { return Folder(std::move(query)).Run(); }

}  // namespace bdr::agent
