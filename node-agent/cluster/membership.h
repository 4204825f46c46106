// The members of the cluster as the agent knows them: told by bdr-server, cached on disk, so that
// the agent goes on without it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/origin.h"

namespace bdr::agent {

struct Member {
  NodeId id = 0;
  std::string name = "";
  std::string address = "";      // host:port of the agent's gRPC listener
  uint32_t incarnation = 0;      // 0: it has not reported one yet
  bool active = false;           // false while it joins
  uint64_t settings_ready = 0;   // the newest settings that it is ready for
  uint64_t followed_epoch = 0;   // what its agent drops, no member of this epoch needs
  uint64_t since_epoch = 0;      // as of which it has an incarnation; 0: not known
  std::string data_dir_id = "";  // of its agent's data folder; empty: not known
  int64_t added_us = 0;          // by bdr-server's clock, µs since 1970
  uint64_t settings_active = 0;  // that its own changes go by

  friend bool operator==(const Member&, const Member&) = default;
};

// One value that a setting of the cluster has had (bdr.v1.Setting).
struct Setting {
  std::string key = "";
  std::string value = "";
  uint64_t version = 0;

  friend bool operator==(const Setting&, const Setting&) = default;
};

// A step of a node's clock that an administrator has accepted, see clocks/clock_gate.h.
struct AcceptedClock {
  uint64_t id = 0;         // grows with each; 0: there is none
  int64_t ceiling_us = 0;  // the newest stamp that was known of that node, since 1970
  int64_t advance_us = 0;  // what is added to every server's clock
  NodeId node = 0;         // whose clock had jumped
  int64_t accepted_us = 0;

  friend bool operator==(const AcceptedClock&, const AcceptedClock&) = default;
};

// A node that was taken back before it had joined.
struct RemovedMember {
  NodeId id = 0;
  std::string name = "";
  int64_t removed_us = 0;

  friend bool operator==(const RemovedMember&, const RemovedMember&) = default;
};

// All that bdr-server must never forget of the cluster, also what the agent itself has no use for:
// who has lost the server's folder makes it anew from the agents.
struct Membership {
  std::string cluster_id = "";
  std::string cluster_name = "";
  uint64_t epoch = 0;  // grows with every change; 0: none known
  std::vector<Member> members = {};
  uint64_t settings_version = 0;       // of the newest setting
  uint64_t settings_active = 0;        // in force: every member is ready for it
  std::vector<Setting> settings = {};  // every value ever set, by version
  AcceptedClock accepted_clock = {};   // the last one
  NodeId last_node_id = 0;             // the largest that was ever given out
  std::vector<RemovedMember> removed = {};

  // Null if there is none.
  const Member* Find(NodeId id) const;
  const Member* FindByName(absl::string_view name) const;

  friend bool operator==(const Membership&, const Membership&) = default;
};

// The bytes of a bdr.v1.Membership, for the cache on disk.
std::string Serialize(const Membership& membership);
// kDataLoss if the bytes are no membership or hold an impossible node id.
absl::StatusOr<Membership> ParseMembership(absl::string_view bytes);

}  // namespace bdr::agent
