#include "node-agent/report/agent_status.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/report/worst_health.h"

namespace bdr::agent {

void FillHealth(const Health& from, v1::Health* to) {
  to->set_level(static_cast<v1::Health::Level>(from.level));
  to->set_state(from.state);
  to->set_reason(from.reason);
  to->set_since_us(absl::ToUnixMicros(from.since));
}

void FillGap(const CaptureGap& from, v1::CaptureGap* to) {
  to->set_first_lsn(from.first.value);
  to->set_last_lsn(from.last.value);
  to->set_transactions(from.transactions);
  to->set_skipped_us(from.skipped_us);
  to->set_cause(from.cause);
}

namespace {

constexpr char kLogIsFull[] =
    "the change log has reached log_retention_bytes: no more is taken from this peer before apply "
    "has caught up";

Health LinkHealth(const LinkStatus& link) {
  Health health;
  health.state = ToString(link.state);
  health.reason = link.reason;
  health.since = absl::FromUnixMicros(link.since_us);
  switch (link.state) {
    case LinkState::kStreaming:
      health.level = link.full ? Health::Level::kWarning : Health::Level::kOk;
      if (link.full) health.reason = kLogIsFull;
      break;
    case LinkState::kConnecting:
    case LinkState::kBackoff:
      health.level = Health::Level::kWarning;
      break;
    case LinkState::kRefused:
      health.level = Health::Level::kCritical;
      break;
  }
  return health;
}

// The stamp of the last transaction that was received of an origin; 0 if it cannot be read.
int64_t NewestReceived(const ChangeLog& log, OriginId origin) {
  const Lsn end = log.End(origin).end_lsn;
  if (!end.valid()) return 0;
  const auto last = log.FirstBeyond(origin, Lsn{end.value - 1});
  return last.ok() && last->has_value() ? (*last)->info.last_stamp_us : 0;
}

// What stands in the way of PostgreSQL itself, and of what is looked after there.
void TakePostgres(const Watcher::Seen& seen, WorstHealth* worst) {
  if (!seen.reachable && seen.error.empty()) {
    worst->Take({.level = Health::Level::kWarning,
                 .state = "connecting",
                 .reason = "not asked yet",
                 .since = absl::Now()},
                "PostgreSQL");
  } else if (!seen.reachable) {
    worst->Take({.level = Health::Level::kCritical,
                 .state = "unreachable",
                 .reason = seen.error,
                 .since = absl::Now()},
                "PostgreSQL");
  } else if (!seen.error.empty()) {
    worst->Take({.level = Health::Level::kWarning,
                 .state = "watching",
                 .reason = seen.error,
                 .since = absl::Now()},
                "what the agent looks after");
  }
}

void TakeLetters(size_t letters, WorstHealth* worst) {
  if (letters == 0) return;
  worst->Take(
      {.level = Health::Level::kCritical,
       .state = "dead_letters",
       .reason = absl::StrCat(letters, letters == 1 ? " dead letter waits" : " dead letters wait",
                              " for a person: see \"bdrctl dead-letter list\""),
       .since = absl::Now()},
      "apply");
}

void TakeLeftOut(const std::vector<std::string>& left_out, WorstHealth* worst) {
  if (left_out.empty()) return;
  worst->Take({.level = Health::Level::kWarning,
               .state = "left_out",
               .reason = absl::StrJoin(left_out, "; "),
               .since = absl::Now()},
              "tables");
}

void TakeForeignKeys(const std::string& failing, WorstHealth* worst) {
  if (failing.empty()) return;
  worst->Take({.level = Health::Level::kWarning,
               .state = "foreign_keys",
               .reason = absl::StrCat("what the policy of an orphaned foreign key asks for fails "
                                      "and is tried again (table bdr.fk_action): ",
                                      failing),
               .since = absl::Now()},
              "foreign keys");
}

void TakeSchema(const std::vector<SchemaWatch::Difference>& differences, WorstHealth* worst) {
  if (differences.empty()) return;
  constexpr size_t kNamed = 3;
  std::vector<std::string> named;
  absl::Time since = differences.front().since;
  for (const SchemaWatch::Difference& difference : differences) {
    if (named.size() < kNamed) named.push_back(difference.text);
    since = std::min(since, difference.since);
  }
  worst->Take(
      {.level = Health::Level::kWarning,
       .state = "schema_differs",
       .reason = absl::StrCat(absl::StrJoin(named, "; "),
                              differences.size() > kNamed
                                  ? absl::StrCat(" (and ", differences.size() - kNamed, " more)")
                                  : "",
                              "; see \"bdrctl schema diff\""),
       .since = since},
      "schema");
}

void FillNode(const StatusParts& parts, const Capture::Counters& captured,
              const Watcher::Seen& seen, v1::NodeStatus* status) {
  status->set_node_id(parts.own.node);
  status->set_incarnation(parts.own.incarnation);
  status->set_postgres_version(seen.server_version);
  status->set_captured_lsn(captured.captured.value);
  status->set_undecoded_bytes(
      seen.insert_lsn > captured.captured ? seen.insert_lsn.value - captured.captured.value : 0);
  status->set_slot_retained_bytes(seen.slot_retained_bytes);
  status->set_transactions_captured(captured.transactions);
  status->set_changes_captured(captured.changes);
  status->set_stable_us(parts.positions.progress->StableTime());
  status->set_clock_us(parts.positions.progress->ServerClock());
  status->set_newest_stamp_us(parts.clocks.gate->Newest());
  status->set_clock_floor_us(parts.clocks.gate->Floor());
  status->set_clock_advance_us(parts.clocks.gate->advance_us());
  status->set_merged_lsn(parts.in_flight.own_changes->low_water().value);
}

void FillCapture(const StatusParts& parts, WorstHealth* worst, v1::NodeStatus* status) {
  const Health capture = parts.capture->health();
  FillHealth(capture, status->mutable_capture());
  worst->Take(capture, "capture");
  for (const CaptureGap& gap : parts.gaps->all()) {
    FillGap(gap, status->add_gaps());
    worst->Take({.level = Health::Level::kWarning,
                 .state = "gap",
                 .reason = absl::StrCat(
                     ToString(gap),
                     " could not be decoded and was skipped: the changes are on this node alone; "
                     "make the nodes equal with \"bdrctl verify --repair NODE\", which closes the "
                     "gap"),
                 .since = absl::FromUnixMicros(gap.skipped_us)},
                "capture");
  }
}

std::string NameOf(const Membership& membership, NodeId node) {
  const Member* member = membership.Find(node);
  return member == nullptr ? absl::StrCat(node) : member->name;
}

void FillPositions(const StatusParts& parts, OriginId origin, v1::OriginStatus* out) {
  const Progress& progress = *parts.positions.progress;
  const ChangeLog& log = *parts.stores.log;
  const Lsn received = log.End(origin).end_lsn;
  // What was never needed here counts as applied: bdr.progress says nothing of it.
  const Lsn applied =
      std::max(progress.CommittedLsn(origin).value_or(Lsn{0}), log.TrimmedThrough(origin).end_lsn);
  out->set_published_lsn(progress.PublishedLsn(origin).value);
  out->set_received_lsn(received.value);
  out->set_applied_lsn(applied.value);
  out->set_durable_lsn(progress.DurableLsn(origin).value);
  out->set_queued_bytes(log.BytesBetween(origin, applied, received));
}

void FillOrigin(const StatusParts& parts, const PeerStatus& peer, WorstHealth* worst,
                v1::OriginStatus* out) {
  const OriginId origin{.node = peer.member.id, .incarnation = peer.member.incarnation};
  out->set_node_id(origin.node);
  out->set_incarnation(origin.incarnation);
  out->set_name(peer.member.name);
  const Health link = LinkHealth(peer.link);
  FillHealth(link, out->mutable_link());
  FillHealth(peer.apply.health, out->mutable_apply());
  worst->Take(link, absl::StrCat("stream from ", peer.member.name));
  worst->Take(peer.apply.health, absl::StrCat("apply of ", peer.member.name));
  FillPositions(parts, origin, out);
  if (peer.apply.oldest_stamp_us != 0) {
    const int64_t age_us = parts.positions.progress->ServerClock() - peer.apply.oldest_stamp_us;
    out->set_lag_ms(std::max<int64_t>(age_us, 0) / 1000);
  }
  if (peer.apply.held_by.node != 0) {
    out->set_held_by(NameOf(*parts.membership, peer.apply.held_by.node));
  }
  out->set_clock_skew_us(peer.link.clock_skew_us);
  out->set_transactions_applied(peer.apply.transactions);
  out->set_changes_applied(peer.apply.changes);
  uint64_t conflicts = 0;
  for (const auto& [kind, count] : peer.apply.conflicts) conflicts += count;
  out->set_conflicts(conflicts);
  out->set_held_ahead_us(peer.apply.held_us);
  if (peer.apply.held_us != 0) out->set_newest_stamp_us(NewestReceived(*parts.stores.log, origin));
}

}  // namespace

// The order in which parts are taken is the order in which people read of them: first what they all
// depend on (capture, PostgreSQL), then what waits for a person, then what may heal by itself, and
// the peers last, as there may be many.
void FillRunningStatus(const StatusParts& parts, v1::NodeStatus* status) {
  // What was captured before where the WAL ends: else it could seem to be beyond it.
  const Capture::Counters captured = parts.capture->counters();
  const Watcher::Seen seen = parts.watcher->seen();
  FillNode(parts, captured, seen, status);
  WorstHealth worst(parts.health);
  FillCapture(parts, &worst, status);
  TakePostgres(seen, &worst);
  const size_t letters = parts.dead_letters->count();
  status->set_dead_letters(letters);
  TakeLetters(letters, &worst);
  TakeLeftOut(seen.left_out, &worst);
  TakeForeignKeys(parts.foreign_key_actions->failing(), &worst);
  if (const auto& own = parts.merges_own; own.has_value()) {
    worst.Take(*own, "merging own changes again");
  }
  worst.Take(parts.watcher->fitness(), "database");
  worst.Take(parts.chunks->health(), "sequences");
  parts.chunks->FillStatus(status);
  worst.Take(parts.clock_skews->health(), "clocks");
  worst.Take(parts.watcher->unpublished(), "publications");
  worst.Take(parts.watcher->foreign_origins(), "other tools");
  TakeSchema(parts.schema->Differences(), &worst);
  for (const PeerStatus& peer : parts.peers) FillOrigin(parts, peer, &worst, status->add_origins());
  if (const auto holder = parts.positions.progress->StableHeldBy(); holder.has_value()) {
    status->set_stable_held_by(*holder == parts.own.node ? status->name()
                                                         : NameOf(*parts.membership, *holder));
  }
  FillHealth(worst.get(), status->mutable_node());
}

}  // namespace bdr::agent
