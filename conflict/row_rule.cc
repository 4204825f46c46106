#include "conflict/row_rule.h"

namespace bdr::conflict {
namespace {

ConflictKind AgainstRow(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kInsertExists;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateOriginDiffers;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteOriginDiffers;
  }
  return ConflictKind::kNone;
}

ConflictKind AgainstTombstone(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kInsertDeleted;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateDeleted;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteMissing;
  }
  return ConflictKind::kNone;
}

ConflictKind AgainstNothing(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kInsert:
      return ConflictKind::kNone;
    case ChangeKind::kUpdate:
      return ConflictKind::kUpdateMissing;
    case ChangeKind::kDelete:
      return ConflictKind::kDeleteMissing;
  }
  return ConflictKind::kNone;
}

ConflictKind Against(ChangeKind kind, const KnownVersion& version) {
  return version.dead ? AgainstTombstone(kind) : AgainstRow(kind);
}

Decision Drop(const RowChange& change, const KnownVersion& newer, Met met, Rule rule) {
  Decision decision{.verdict = Verdict::kDrop};
  if (change.seen.Has(newer.stamp)) return decision;
  decision.conflict = Against(change.kind, newer);
  decision.met = met;
  decision.winner = Winner::kLocal;
  decision.rule = rule;
  return decision;
}

// Its transaction had not seen the last version of the key, or knew of a row that is not here.
Decision MeetsNothing(Verdict verdict, const RowChange& change, const Known& known) {
  Decision decision{.verdict = verdict};
  const bool knows_before = known.before.stamp != kNever;
  // That an own change, merged again, finds nothing to do is none: it has done it.
  if (knows_before ? change.seen.Has(known.before.stamp) : change.merged_again) return decision;
  decision.conflict =
      known.before.dead ? AgainstTombstone(change.kind) : AgainstNothing(change.kind);
  if (knows_before) decision.met = Met::kBefore;
  // A delete that was sent says no more than that it found nothing.
  const bool only_nothing = change.kind == ChangeKind::kDelete && change.sent;
  decision.rule = known.before.dead && !only_nothing ? Rule::kOlderKnown : Rule::kNothingStands;
  return decision;
}

// Which version the row is of that the change replaces, as exactly as it is known.
struct Replaced {
  Met met = Met::kNothing;
  Stamp stamp = kNever;
  Rule rule = Rule::kUnknownIsOlder;
};

Replaced VersionReplaced(const RowChange& change, const FoundRow& found, const Known& known) {
  if (known.row.has_value()) {
    if (known.row->source == RowVersion::Source::kTime) {
      return {Met::kRow, known.row->stamp, Rule::kOlderByTime};
    }
    const bool is_known = known.row->source == RowVersion::Source::kStore && !known.row->dead;
    return is_known ? Replaced{Met::kRow, known.row->stamp, Rule::kOlderKnown} : Replaced{};
  }
  const bool has_before = known.before.stamp != kNever && !known.before.dead;
  const bool before_is_it = has_before && known.before.stamp.node == known.own_node &&
                            known.before.stamp.time_us >= found.time_us.value_or(0);
  if (found.writer == Writer::kLocal && !before_is_it &&
      SurelyOlder(found, change.stamp, known.largest_raise_us)) {
    return {
        Met::kCommitTime, {.time_us = *found.time_us, .node = known.own_node}, Rule::kOlderByTime};
  }
  return has_before ? Replaced{Met::kBefore, known.before.stamp, Rule::kOlderKnown} : Replaced{};
}

Decision Replaces(const RowChange& change, const FoundRow& found, const Known& known) {
  Decision decision{.verdict = Verdict::kWrite};
  const Replaced replaced = VersionReplaced(change, found, known);
  // A row of unknown version is an old one, which everybody had seen.
  if (replaced.met == Met::kNothing || change.seen.Has(replaced.stamp)) return decision;
  decision.conflict = AgainstRow(change.kind);
  decision.met = replaced.met;
  decision.rule = replaced.rule;
  return decision;
}

// An own change that is merged again, and the newest of its key.
Decision DecideAgain(const RowChange& change, const FoundRow* found, const Known& known) {
  // The row that its transaction left stands already, unless an applier decided without it.
  if (found != nullptr && found->writer != Writer::kThisTransaction && known.row.has_value() &&
      known.row->source != RowVersion::Source::kTime && known.row->stamp == change.stamp) {
    return {.verdict = Verdict::kStands};
  }
  // One transaction may have deleted a row and made it again, or the other way round. Merged again
  // is the one change that was touched; what the transaction did to the key last stands already.
  const bool is_delete = change.kind == ChangeKind::kDelete;
  if (known.newest.dead != is_delete) return {.verdict = Verdict::kNothing};
  return {.verdict = Verdict::kWrite};
}

}  // namespace

bool SurelyOlder(const FoundRow& found, Stamp incoming, int64_t largest_raise_us) {
  return found.time_us.has_value() && *found.time_us + largest_raise_us < incoming.time_us;
}

bool IsKnownOlder(const RowChange& change, const Known& known) {
  return known.before.stamp > change.stamp;
}

// In this order: what is known to be newer needs no row; what an own transaction did last counts
// against what it did before; and only then what stands there, which may have to be waited for.
Decision Decide(const RowChange& change, const FoundRow* found, const Known& known) {
  const bool is_delete = change.kind == ChangeKind::kDelete;
  if (IsKnownOlder(change, known)) {
    return Drop(change, known.before, Met::kBefore, Rule::kNewerKnown);
  }
  if (known.newest.stamp > change.stamp) {
    return Drop(change, known.newest, Met::kNewest, Rule::kNewerCaptured);
  }
  const bool again = change.merged_again && known.newest.stamp == change.stamp;
  if (again) {
    const Decision decision = DecideAgain(change, found, known);
    if (decision.verdict != Verdict::kWrite) return decision;
  }
  if (found == nullptr) {
    if (change.whole && !is_delete) {
      return {.verdict = change.sent ? Verdict::kVanished : Verdict::kInsert};
    }
    if (is_delete) {
      return change.whole ? Decision{} : MeetsNothing(Verdict::kNothing, change, known);
    }
    // A local delete may not have been captured yet.
    if (!known.before.dead && !known.capture_passed) return {.verdict = Verdict::kWait};
    return MeetsNothing(Verdict::kInsert, change, known);
  }
  if (found->writer == Writer::kThisTransaction) {
    // What was sent has passed over it, or has written it.
    return {.verdict = change.sent ? Verdict::kNothing : Verdict::kWrite};
  }
  // What a remote origin wrote is in the store, or so old that nothing older can still arrive.
  if (found->writer == Writer::kLocal && !known.capture_passed &&
      !SurelyOlder(*found, change.stamp, known.largest_raise_us)) {
    return {.verdict = Verdict::kWait};
  }
  return again ? Decision{.verdict = Verdict::kWrite} : Replaces(change, *found, known);
}

Decision DecideFolded(const RowChange& change, const Known& known) {
  Decision decision{.verdict = Verdict::kWrite};
  if (change.merged_again || known.before.stamp == kNever || change.seen.Has(known.before.stamp)) {
    return decision;
  }
  decision.conflict = Against(change.kind, known.before);
  decision.met = Met::kBefore;
  decision.winner = Winner::kMerged;
  decision.rule = Rule::kFolded;
  return decision;
}

bool IsTruncated(Stamp insert, Stamp newest_truncate) { return newest_truncate > insert; }

// By who wrote the row: of an applier's the store knows it; of a local one only once capture has
// passed it, or has stored a version that it can be.
RowVersion VersionOfRow(const FoundRow& found, const RowVersionQuery& query) {
  RowVersion from_store;
  if (query.known.stamp != kNever) {
    from_store = {
        .source = RowVersion::Source::kStore, .stamp = query.known.stamp, .dead = query.known.dead};
  }
  if (found.writer == Writer::kNode) {
    // Of an applied row the commit time is its stamp or a little above, never below. A later
    // version that is known belongs to a transaction that is still to be applied.
    const bool later_known =
        found.time_us.has_value() && query.known.stamp.time_us > *found.time_us;
    if (later_known || query.known_is_pending) return {.pending = true};
    return from_store;
  }
  if (query.capture_passed && query.known_is_pending) return {.pending = true};
  const bool known = query.known.stamp != kNever && query.known.stamp.node == query.own_node &&
                     found.time_us.has_value() && query.known.stamp.time_us >= *found.time_us;
  if (query.capture_passed || known) return from_store;
  if (SurelyOlder(found, query.enough_if_older_than, query.largest_raise_us)) {
    return {.source = RowVersion::Source::kTime,
            .stamp = {.time_us = *found.time_us, .node = query.own_node}};
  }
  return {.must_wait = true};
}

bool KnowsNewer(const RowImage& image, const KnownVersion& newest, const KnownVersion& truncate,
                int64_t stable_us) {
  const auto newer = [&image, stable_us](const KnownVersion& known) {
    if (known.stamp == kNever) return false;
    if (image.stamp != kNever) return known.stamp > image.stamp;
    // Nobody keeps a version that is older than the stable time for certain; and a row that shows
    // its commit time is no older than that.
    return known.stamp.time_us >= stable_us && known.stamp.time_us > image.commit_us;
  };
  return newer(newest) || (image.present && newer(truncate));
}

}  // namespace bdr::conflict
