// The other members, as far as changes go: a stream from each, and an applier for each origin.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "base/security_options.h"
#include "base/steady_clock.h"
#include "node-agent/apply/applier.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/report/peer_status.h"
#include "node-agent/stream/subscriber.h"

namespace bdr::agent {

// Thread-safe. Set() and Relay() are for one thread, the agent's.
class Peers {
 public:
  struct Options {
    NodeId self = 0;
    std::string cluster_id;
    std::string data_dir_id;  // ours
    SecurityOptions security;
    absl::Duration heartbeat_interval = absl::Milliseconds(100);
    // A peer that has not been reached for this long is fetched through others.
    absl::Duration relay_after = absl::Seconds(5);
    ApplyOptions apply;
    // Beyond this size the change log takes only what apply has caught up for.
    uint64_t log_cap_bytes = UINT64_MAX;
    OwnChanges* own_changes = nullptr;
    Lsn replay_after = {};  // of own changes, see ApplyOptions
    Lsn replay_through = {};
    Metrics* metrics = nullptr;
  };

  // `parts` as for Applier, without versions_rebuilt and rewound.
  Peers(Options options, ApplyParts parts);
  ~Peers();

  // Starts streams and appliers for members that have joined, and takes up new addresses. Repeating
  // it is harmless. kUnavailable if PostgreSQL cannot be reached; then nothing has changed.
  absl::Status Set(const Membership& membership);

  // Decides which peer serves which origin: each its own, and also those that cannot be reached
  // directly. To be called every second or so.
  void Relay();

  std::vector<PeerStatus> status() const;
  // Of merging this node's own changes again; nothing before the first Set().
  std::optional<Health> own_health() const;
  // Gives the origins that were told to try again. kNotFound if `node` (not 0) is no peer.
  absl::StatusOr<std::vector<NodeId>> Retry(NodeId node);

  void Stop();

 private:
  struct Peer {
    Member member;
    std::unique_ptr<Subscriber> subscriber;
    std::unique_ptr<Applier> applier;
    std::vector<OriginId> fetched;          // through its stream
    absl::Time last_reached = SteadyNow();  // or when it was added

    OriginId origin() const { return {.node = member.id, .incarnation = member.incarnation}; }
  };
  // What a membership asks for.
  struct Wanted {
    std::vector<OriginId> counted;  // nothing is stable before they have it
    std::vector<Member> fetched;    // those of them that have joined
    std::vector<OriginId> origins;  // of these
  };
  static Wanted WantedOf(const Membership& membership, NodeId self);
  // Somebody is to be fetched who was not before; or nobody was.
  bool Grows(const Wanted& wanted) const;
  // These origins are to have rebuilt their versions before anybody goes on.
  void Expect(const std::vector<OriginId>& origins, bool grown);
  std::unique_ptr<Applier> StartOwn();
  std::unique_ptr<Applier> StartApplier(OriginId origin, ApplyOptions options);
  Peer Add(const Member& member);
  void Update(const Member& member, Peer* peer);
  absl::Status CreateOrigins(const std::vector<OriginId>& origins);
  std::unique_ptr<Subscriber> MakeSubscriber(const Member& member);
  bool HasRoom(OriginId origin) const;
  bool Rebuilt(OriginId origin, absl::Duration timeout);
  void Rewound(OriginId origin);

  const Options options_;
  const ApplyParts parts_;

  mutable Mutex mu_;
  std::map<NodeId, Peer> peers_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Applier> own_ ABSL_GUARDED_BY(mu_);  // merges own changes again

  // Apart from mu_: appliers call in while peers are being stopped.
  Mutex rebuilt_mu_;
  CondVar rebuilt_cv_;
  std::set<OriginId> expected_ ABSL_GUARDED_BY(rebuilt_mu_);
  std::set<OriginId> rebuilt_ ABSL_GUARDED_BY(rebuilt_mu_);
  std::map<OriginId, Applier*> appliers_ ABSL_GUARDED_BY(rebuilt_mu_);
};

}  // namespace bdr::agent
