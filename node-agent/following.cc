#include "node-agent/following.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/changelog/state.h"
#include "node-agent/clocks/clock_gate.h"
#include "node-agent/tables/local_relation.h"

namespace bdr::agent {

absl::Status TakeSettings(const Membership& followed, const Stores& stores,
                          const Positions& positions, const Clocks& clocks,
                          int64_t newest_applied_us, Settings* settings) {
  // Another node's transactions may have told of more than bdr-server did.
  ASSIGN_OR_RETURN(const auto active, State(stores.database).Get(kStateSettingsActive));
  settings->Take(followed, std::max({positions.progress->ServerClock(), clocks.stamps->Promise(0),
                                     newest_applied_us}));
  if (active.has_value()) {
    ASSIGN_OR_RETURN(const uint64_t version, DecodeU64(*active));
    if (version > settings->active()) settings->RaiseActive(version);
  }
  return absl::OkStatus();
}

absl::Status Following::Take(const Membership& followed) {
  RETURN_IF_ERROR(TakeSettings(followed, path_.stores(), path_.positions(), path_.clocks(),
                               path_.newest_applied_us(), path_.parts().settings.get()));
  // What is said of tables may be what an origin that is stopped needs.
  return path_.parts().peers->Retry(0).status();
}

absl::Status Following::GoOn(const Membership& followed) {
  RETURN_IF_ERROR(FollowTableChanges());
  return FollowClock(followed.accepted_clock);
}

// What an administrator has said of the tables is true here only once it was done here as well:
// until then this node is not ready for it, and so it is in force nowhere.
absl::Status Following::FollowTableChanges() {
  Settings* const settings = path_.parts().settings.get();
  TableCache* const tables = path_.parts().tables.get();
  const std::vector<TableChange> not_done = settings->NotDone();
  if (not_done.empty()) return absl::OkStatus();
  const auto all = settings->TableChanges();
  for (const TableChange& change : not_done) {
    ASSIGN_OR_RETURN(const bool done, IsDoneHere(change, *all, tables));
    if (!done) break;
    // What was committed before, and is not captured yet, is stamped a bit later at most.
    constexpr int64_t kRaisedUs = 1'000'000;
    ASSIGN_OR_RETURN(const int64_t now_us, tables->ClockUs());
    settings->MarkDone(change.version,
                       kRaisedUs + std::max({now_us, path_.clocks().stamps->Promise(0),
                                             path_.newest_applied_us()}));
    report_();
  }
  return absl::OkStatus();
}

// A step of the clock that the cluster has accepted holds from when it is written down, until the
// clock has passed all stamps.
absl::Status Following::FollowClock(const AcceptedClock& accepted) {
  ClockGate* const gate = path_.parts().clock_gate.get();
  const int64_t before_us = gate->advance_us();
  gate->Accept(accepted);
  if (const int64_t now_us = gate->advance_us(); now_us != before_us) {
    LogWarning("clock",
               {{"state", "advanced"}, {"id", accepted.id}, {"by", RoughDuration(now_us)}});
  }
  if (const uint64_t retired = gate->Retire(); retired != 0) {
    LogInfo("clock", {{"state", "advanced->right"}, {"id", retired}});
    clock_retired_ = retired;
  }
  if (clock_retired_ == 0) return absl::OkStatus();
  RETURN_IF_ERROR(State(path_.stores().database)
                      .Put(kStateClockRetired, EncodeU64(clock_retired_), /*sync=*/true));
  clock_retired_ = 0;
  return absl::OkStatus();
}

void Following::LookAtClocks() {
  std::vector<ClockSkews::Skew> skews;
  for (const PeerStatus& peer : path_.parts().peers->status()) {
    if (peer.link.state != LinkState::kStreaming) continue;
    // What the way of the message leaves in doubt is no skew.
    const int64_t doubt = std::min(peer.link.clock_doubt_us, std::abs(peer.link.clock_skew_us));
    const int64_t ahead = peer.link.clock_skew_us > 0 ? peer.link.clock_skew_us - doubt
                                                      : peer.link.clock_skew_us + doubt;
    skews.push_back({.peer = peer.member.name, .ahead_us = ahead});
  }
  path_.parts().clock_skews->Look(SteadyNow(), skews);
}

}  // namespace bdr::agent
