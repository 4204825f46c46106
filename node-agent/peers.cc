#include "node-agent/peers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/grpc_security.h"
#include "base/logging.h"
#include "base/port_probe.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/listener.h"
#include "node-agent/positions/progress.h"
#include "postgres/connection.h"

namespace bdr::agent {

namespace {

constexpr absl::Duration kLongestProbe = absl::Seconds(1);

absl::Status NoAgent(const std::string& address) {
  return absl::FailedPreconditionError(
      absl::StrCat("\"", address,
                   "\" is not the port of an agent: correct it with \"bdrctl node set-address\""));
}

// A person is needed, or the next automatic try.
bool IsStopped(const Applier& applier) { return applier.status().state == ApplierState::kStopped; }

}  // namespace

Peers::Wanted Peers::WantedOf(const Membership& membership, NodeId self) {
  Wanted wanted;
  for (const Member& member : membership.members) {
    // Before its first report a node has no history that could be needed.
    if (member.id == self || member.incarnation == 0) continue;
    const OriginId origin{.node = member.id, .incarnation = member.incarnation};
    wanted.counted.push_back(origin);
    // While a node joins, what this one has is kept for it, but nothing of it is fetched: so one
    // that has not joined can be taken back, and nobody has changes of it.
    if (!member.active) continue;
    wanted.fetched.push_back(member);
    wanted.origins.push_back(origin);
  }
  return wanted;
}

Peers::Peers(Options options, ApplyParts parts)
    : options_(std::move(options)), parts_([&] {
        ApplyParts with_gates = std::move(parts);
        with_gates.versions_rebuilt = [this](OriginId origin, absl::Duration timeout) {
          return Rebuilt(origin, timeout);
        };
        with_gates.rewound = [this](OriginId origin) { Rewound(origin); };
        return with_gates;
      }()) {}

Peers::~Peers() { Stop(); }

void Peers::Stop() {
  std::map<NodeId, Peer> stopped;
  std::unique_ptr<Applier> own;
  {
    MutexLock lock(&mu_);
    stopped.swap(peers_);
    own.swap(own_);
  }
  // Streams first: what comes no more need not be applied.
  for (auto& [node, peer] : stopped) peer.subscriber->Stop();
  for (auto& [node, peer] : stopped) peer.applier->Stop();
  if (own != nullptr) own->Stop();
  MutexLock lock(&rebuilt_mu_);
  appliers_.clear();
}

// In an order in which nothing is missed: PostgreSQL must know an origin before an applier writes
// under it or meets rows of it, so origins are made first, and if that fails nothing has changed.
// Then they count for what is stable, before anything of them comes; appliers that run already read
// PostgreSQL's ids again; and only then streams and appliers start, own changes before the peers'.
absl::Status Peers::Set(const Membership& membership) {
  const Wanted wanted = WantedOf(membership, options_.self);
  const bool grown = Grows(wanted);
  if (grown) {
    std::vector<OriginId> all = wanted.origins;
    all.push_back(parts_.positions.progress->own());
    RETURN_IF_ERROR(CreateOrigins(all));
  }
  parts_.positions.progress->SetPeers(wanted.counted);
  Expect(wanted.origins, grown);
  MutexLock lock(&mu_);
  if (own_ == nullptr) own_ = StartOwn();
  for (const Member& member : wanted.fetched) {
    const auto found = peers_.find(member.id);
    if (found != peers_.end()) {
      Update(member, &found->second);
    } else {
      peers_.emplace(member.id, Add(member));
    }
  }
  return absl::OkStatus();
}

bool Peers::Grows(const Wanted& wanted) const {
  MutexLock lock(&mu_);
  if (own_ == nullptr) return true;
  return std::any_of(wanted.fetched.begin(), wanted.fetched.end(),
                     [&](const Member& member) { return !peers_.contains(member.id); });
}

void Peers::Expect(const std::vector<OriginId>& origins, bool grown) {
  MutexLock lock(&rebuilt_mu_);
  expected_.insert(origins.begin(), origins.end());
  if (!grown) return;
  // They must learn PostgreSQL's ids of the new origins before they meet rows of them.
  for (const auto& [origin, applier] : appliers_) applier->Rewind(/*lost_commits=*/false);
}

std::unique_ptr<Applier> Peers::StartOwn() {
  ApplyOptions apply = options_.apply;
  apply.own_changes = options_.own_changes;
  apply.replay_after = options_.replay_after;
  apply.replay_through = options_.replay_through;
  return StartApplier(parts_.positions.progress->own(), std::move(apply));
}

std::unique_ptr<Applier> Peers::StartApplier(OriginId origin, ApplyOptions options) {
  auto applier = std::make_unique<Applier>(origin, std::move(options), parts_);
  {
    MutexLock lock(&rebuilt_mu_);
    appliers_[origin] = applier.get();
  }
  applier->Start();
  return applier;
}

Peers::Peer Peers::Add(const Member& member) {
  const OriginId origin{.node = member.id, .incarnation = member.incarnation};
  ApplyOptions apply = options_.apply;
  apply.origin_name = member.name;
  apply.group_transactions =
      options_.metrics->GetHistogram("bdr_apply_group_transactions", {{"origin", member.name}});
  apply.group_seconds =
      options_.metrics->GetHistogram("bdr_apply_group_seconds", {{"origin", member.name}});
  LogInfo("peer", {{"node", member.name},
                   {"origin", ToString(origin)},
                   {"address", member.address},
                   {"state", "added"}});
  return {.member = member,
          .subscriber = MakeSubscriber(member),
          .applier = StartApplier(origin, std::move(apply)),
          .fetched = {origin}};
}

void Peers::Update(const Member& member, Peer* peer) {
  if (peer->member.address != member.address) {
    LogInfo("peer", {{"node", member.name},
                     {"address", absl::StrCat(peer->member.address, "->", member.address)}});
    peer->subscriber->Stop();
    peer->subscriber = MakeSubscriber(member);
    peer->fetched = {peer->origin()};
  }
  peer->member = member;
}

std::unique_ptr<Subscriber> Peers::MakeSubscriber(const Member& member) {
  return std::make_unique<Subscriber>(
      SubscriberOptions{
          .cluster_id = options_.cluster_id,
          .self = options_.self,
          .data_dir_id = options_.data_dir_id,
          .peer = member.id,
          .address = member.address,
          .credentials = [security = options_.security,
                          address =
                              member.address] { return MakeChannelCredentials(security, address); },
          .explain =
              [security = options_.security, address = member.address](const absl::Status& why) {
                if (absl::IsUnimplemented(why)) return NoAgent(address);
                // It has answered.
                if (absl::StrContains(why.message(), kServesNoPeersYet)) return why;
                return ExplainUnavailable(why, address, security.insecure, kLongestProbe);
              },
          .origins = {{.node = member.id, .incarnation = member.incarnation}},
          .has_room = [this](OriginId origin) { return HasRoom(origin); },
          .heartbeat_interval = options_.heartbeat_interval},
      parts_.stores.log, parts_.positions.progress);
}

// An origin of which a whole transaction waits for apply can do without more: what others wait for
// comes before it in time, and who has the earliest waits for nobody. One that apply has caught up
// with is taken from whatever is in the log, as what fills it may be kept for a member that this
// frees.
bool Peers::HasRoom(OriginId origin) const {
  if (parts_.stores.database->LogBytes() < options_.log_cap_bytes) return true;
  const std::optional<Lsn> applied = parts_.positions.progress->CommittedLsn(origin);
  return !applied.has_value() || parts_.stores.log->CompleteThrough(origin) <= *applied;
}

void Peers::Relay() {
  MutexLock lock(&mu_);
  std::vector<OriginId> cut_off;
  std::vector<Peer*> reached;
  const absl::Time now = SteadyNow();
  for (auto& [node, peer] : peers_) {
    if (peer.subscriber->Status().state == LinkState::kStreaming) {
      peer.last_reached = now;
      reached.push_back(&peer);
    } else if (now - peer.last_reached > options_.relay_after) {
      cut_off.push_back(peer.origin());
    }
  }
  for (Peer* peer : reached) {
    // From everyone who may have it: which of them does is not known, and a block that comes twice
    // is taken once.
    std::vector<OriginId> wanted = {peer->origin()};
    wanted.insert(wanted.end(), cut_off.begin(), cut_off.end());
    if (wanted == peer->fetched) continue;
    LogInfo("peer", {{"node", peer->member.name}, {"relays_origins", wanted.size() - 1}});
    peer->subscriber->SetOrigins(wanted);
    peer->fetched = std::move(wanted);
  }
}

absl::Status Peers::CreateOrigins(const std::vector<OriginId>& origins) {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = options_.apply.conninfo, .application_name = "bdr peers"}));
  for (const OriginId& origin : origins)
    RETURN_IF_ERROR(CreateOrigin(*connection, *parts_.positions.names, origin));
  return absl::OkStatus();
}

bool Peers::Rebuilt(OriginId origin, absl::Duration timeout) {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&rebuilt_mu_);
  if (rebuilt_.insert(origin).second) rebuilt_cv_.NotifyAll();
  while (!std::includes(rebuilt_.begin(), rebuilt_.end(), expected_.begin(), expected_.end())) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) return false;
    rebuilt_cv_.WaitFor(&rebuilt_mu_, left);
  }
  return true;
}

void Peers::Rewound(OriginId origin) {
  MutexLock lock(&rebuilt_mu_);
  const auto found = appliers_.find(origin);
  if (found != appliers_.end()) found->second->Rewind(/*lost_commits=*/true);
}

std::vector<PeerStatus> Peers::status() const {
  MutexLock lock(&mu_);
  std::vector<PeerStatus> all;
  for (const auto& [node, peer] : peers_) {
    all.push_back({.member = peer.member,
                   .link = peer.subscriber->Status(),
                   .apply = peer.applier->status()});
  }
  return all;
}

std::optional<Health> Peers::own_health() const {
  MutexLock lock(&mu_);
  if (own_ == nullptr) return std::nullopt;
  return own_->status().health;
}

absl::StatusOr<std::vector<NodeId>> Peers::Retry(NodeId node) {
  MutexLock lock(&mu_);
  if (node != 0 && !peers_.contains(node)) {
    return absl::NotFoundError(absl::StrCat("node ", node, " is no peer of this one"));
  }
  std::vector<NodeId> told;
  if (own_ != nullptr && node == 0 && IsStopped(*own_)) own_->Retry();
  for (const auto& [id, peer] : peers_) {
    if (node != 0 && id != node) continue;
    if (!IsStopped(*peer.applier)) continue;
    peer.applier->Retry();
    told.push_back(id);
  }
  return told;
}

}  // namespace bdr::agent
