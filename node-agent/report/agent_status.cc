#include "node-agent/report/agent_status.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
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

}  // namespace

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

void FillRunningStatus(const StatusParts& parts, v1::NodeStatus* status) {
  const Capture::Counters captured = parts.capture->counters();
  const Watcher::Seen seen = parts.watcher->seen();
  status->set_node_id(parts.own.node);
  status->set_incarnation(parts.own.incarnation);
  status->set_postgres_version(seen.server_version);
  status->set_captured_lsn(captured.captured.value);
  status->set_undecoded_bytes(
      seen.insert_lsn > captured.captured ? seen.insert_lsn.value - captured.captured.value : 0);
  status->set_slot_retained_bytes(seen.slot_retained_bytes);
  status->set_transactions_captured(captured.transactions);
  status->set_changes_captured(captured.changes);
  status->set_stable_us(parts.progress->StableTime());
  status->set_clock_us(parts.progress->ServerClock());
  status->set_newest_stamp_us(parts.clock_gate->Newest());
  status->set_clock_floor_us(parts.clock_gate->Floor());
  status->set_clock_advance_us(parts.clock_gate->advance_us());
  status->set_merged_lsn(parts.own_changes->low_water().value);

  Health worst = parts.health;
  const auto take = [&worst](const Health& health, absl::string_view part) {
    if (health.level < worst.level || health.level == Health::Level::kOk) return;
    const std::string reason =
        absl::StrCat(part, ": ", health.reason.empty() ? health.state : health.reason);
    // One warning must not hide another: each names something else to be done.
    if (health.level == worst.level) {
      absl::StrAppend(&worst.reason, worst.reason.empty() ? "" : "; ", reason);
      return;
    }
    worst = health;
    worst.reason = reason;
  };
  const Health capture = parts.capture->health();
  FillHealth(capture, status->mutable_capture());
  take(capture, "capture");
  for (const CaptureGap& gap : parts.gaps->all()) {
    FillGap(gap, status->add_gaps());
    take({.level = Health::Level::kWarning,
          .state = "gap",
          .reason = absl::StrCat(ToString(gap),
                                 " could not be decoded and was skipped: the changes are on this "
                                 "node alone; make the nodes equal with \"bdrctl verify --repair "
                                 "NODE\", which closes the gap"),
          .since = absl::FromUnixMicros(gap.skipped_us)},
         "capture");
  }
  if (!seen.reachable && seen.error.empty()) {
    take({.level = Health::Level::kWarning,
          .state = "connecting",
          .reason = "not asked yet",
          .since = absl::Now()},
         "PostgreSQL");
  } else if (!seen.reachable) {
    take({.level = Health::Level::kCritical,
          .state = "unreachable",
          .reason = seen.error,
          .since = absl::Now()},
         "PostgreSQL");
  } else if (!seen.error.empty()) {
    take({.level = Health::Level::kWarning,
          .state = "watching",
          .reason = seen.error,
          .since = absl::Now()},
         "what the agent looks after");
  }

  const size_t letters = parts.dead_letters->count();
  status->set_dead_letters(letters);
  if (letters > 0) {
    take(
        {.level = Health::Level::kCritical,
         .state = "dead_letters",
         .reason = absl::StrCat(letters, letters == 1 ? " dead letter waits" : " dead letters wait",
                                " for a person: see \"bdrctl dead-letter list\""),
         .since = absl::Now()},
        "apply");
  }

  if (!seen.left_out.empty()) {
    take({.level = Health::Level::kWarning,
          .state = "left_out",
          .reason = absl::StrJoin(seen.left_out, "; "),
          .since = absl::Now()},
         "tables");
  }

  if (const std::string failing = parts.foreign_key_actions->failing(); !failing.empty()) {
    take({.level = Health::Level::kWarning,
          .state = "foreign_keys",
          .reason = absl::StrCat("what the policy of an orphaned foreign key asks for fails and is "
                                 "tried again (table bdr.fk_action): ",
                                 failing),
          .since = absl::Now()},
         "foreign keys");
  }

  if (const auto& own = parts.merges_own; own.has_value()) {
    take(*own, "merging own changes again");
  }
  take(parts.watcher->fitness(), "database");
  take(parts.chunks->health(), "sequences");
  parts.chunks->FillStatus(status);
  take(parts.clock_skews->health(), "clocks");
  take(parts.watcher->unpublished(), "publications");
  take(parts.watcher->foreign_origins(), "other tools");

  const std::vector<SchemaWatch::Difference> differences = parts.schema->Differences();
  if (!differences.empty()) {
    constexpr size_t kNamed = 3;
    std::vector<std::string> named;
    absl::Time since = differences.front().since;
    for (const SchemaWatch::Difference& difference : differences) {
      if (named.size() < kNamed) named.push_back(difference.text);
      since = std::min(since, difference.since);
    }
    take({.level = Health::Level::kWarning,
          .state = "schema_differs",
          .reason = absl::StrCat(absl::StrJoin(named, "; "),
                                 differences.size() > kNamed
                                     ? absl::StrCat(" (and ", differences.size() - kNamed, " more)")
                                     : "",
                                 "; see \"bdrctl schema diff\""),
          .since = since},
         "schema");
  }

  const auto name_of = [&parts](NodeId node) -> std::string {
    const Member* member = parts.membership->Find(node);
    return member == nullptr ? absl::StrCat(node) : member->name;
  };
  for (const PeerStatus& peer : parts.peers) {
    const OriginId origin{.node = peer.member.id, .incarnation = peer.member.incarnation};
    v1::OriginStatus* out = status->add_origins();
    out->set_node_id(origin.node);
    out->set_incarnation(origin.incarnation);
    out->set_name(peer.member.name);
    const Health link = LinkHealth(peer.link);
    FillHealth(link, out->mutable_link());
    FillHealth(peer.apply.health, out->mutable_apply());
    take(link, absl::StrCat("stream from ", peer.member.name));
    take(peer.apply.health, absl::StrCat("apply of ", peer.member.name));
    const Lsn received = parts.log->End(origin).end_lsn;
    // What was never needed here counts as applied: bdr.progress says nothing of it.
    const Lsn applied = std::max(parts.progress->CommittedLsn(origin).value_or(Lsn{0}),
                                 parts.log->TrimmedThrough(origin).end_lsn);
    out->set_published_lsn(parts.progress->PublishedLsn(origin).value);
    out->set_received_lsn(received.value);
    out->set_applied_lsn(applied.value);
    out->set_durable_lsn(parts.progress->DurableLsn(origin).value);
    out->set_queued_bytes(parts.log->BytesBetween(origin, applied, received));
    if (peer.apply.oldest_stamp_us != 0) {
      const int64_t age_us = parts.progress->ServerClock() - peer.apply.oldest_stamp_us;
      out->set_lag_ms(std::max<int64_t>(age_us, 0) / 1000);
    }
    if (peer.apply.held_by.node != 0) out->set_held_by(name_of(peer.apply.held_by.node));
    out->set_clock_skew_us(peer.link.clock_skew_us);
    out->set_transactions_applied(peer.apply.transactions);
    out->set_changes_applied(peer.apply.changes);
    uint64_t conflicts = 0;
    for (const auto& [kind, count] : peer.apply.conflicts) conflicts += count;
    out->set_conflicts(conflicts);
    out->set_held_ahead_us(peer.apply.held_us);
    if (peer.apply.held_us != 0) out->set_newest_stamp_us(NewestReceived(*parts.log, origin));
  }
  if (const auto holder = parts.progress->StableHeldBy(); holder.has_value()) {
    status->set_stable_held_by(*holder == parts.own.node ? status->name() : name_of(*holder));
  }
  FillHealth(worst, status->mutable_node());
}

}  // namespace bdr::agent
