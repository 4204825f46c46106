#include "server/cluster.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/store.pb.h"
#include "server/store/contention.h"

namespace bdr::server {
namespace {

// Somebody else's write is the only reason to repeat, so a few are plenty.

absl::Status CheckId(uint32_t id, absl::string_view of) {
  if (id >= 1 && id <= kMaxNodeId) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the state of a cluster gives node \"", of,
                                                 "\" the id ", id, ", which is not between 1 and ",
                                                 kMaxNodeId));
}

struct Versioned {
  ClusterState state;
  uint64_t revision = 0;
};

absl::StatusOr<Versioned> ReadVersioned(Store* store) {
  const absl::StatusOr<StoreEntry> entry = store->Get(kClusterKey);
  if (absl::IsNotFound(entry.status())) return Versioned{};
  RETURN_IF_ERROR(entry.status());
  ASSIGN_OR_RETURN(ClusterState state, ParseClusterState(entry->value));
  return Versioned{std::move(state), entry->revision};
}

}  // namespace

absl::StatusOr<ClusterState> ParseClusterState(const std::string& value) {
  v1::ClusterState message;
  absl::StatusOr<ClusterState> state = absl::InternalError("");
  if (message.ParseFromString(value)) state = FromProto(message);
  if (state.ok()) return state;
  return absl::InternalError(
      "the store's entry \"cluster\" is damaged: move data_dir away (of etcd, name another "
      "prefix), then restore a backup (\"bdr-server restore\"), or start empty and rebuild it from "
      "the agents (\"bdrctl cluster init --from-agents\")");
}

absl::StatusOr<ClusterState> Cluster::Read() const {
  ASSIGN_OR_RETURN(Versioned present, ReadVersioned(store_));
  return std::move(present.state);
}

absl::StatusOr<ClusterState> Cluster::Change(const ChangeFunction& change) {
  for (Contention contention; contention.Again();) {
    ASSIGN_OR_RETURN(const Versioned present, ReadVersioned(store_));
    ASSIGN_OR_RETURN(ClusterState wanted, change(present.state));
    if (wanted == present.state) return wanted;
    v1::ClusterState bytes;
    ToProto(wanted, &bytes);
    const absl::StatusOr<uint64_t> written =
        store_->Put(kClusterKey, bytes.SerializeAsString(), present.revision);
    if (written.ok()) return wanted;
    if (!absl::IsAborted(written.status())) return written.status();
  }
  return absl::UnavailableError(absl::StrCat("the cluster's state was changed by others ",
                                             Contention::kAttempts, " times in a row; try again"));
}

void ToProto(const ClusterMember& member, v1::Member* out) {
  out->set_node_id(member.id);
  out->set_name(member.name);
  out->set_agent_address(member.address);
  out->set_state(member.active ? v1::Member::ACTIVE : v1::Member::JOINING);
  out->set_incarnation(member.incarnation);
  out->set_added_us(member.added_us);
  out->set_settings_ready(member.settings_ready);
  out->set_settings_active(member.settings_active);
  out->set_followed_epoch(member.followed_epoch);
  out->set_since_epoch(member.since_epoch);
  out->set_data_dir_id(member.data_dir_id);
}

void ToProto(const AcceptedClock& accepted, v1::AcceptedClock* out) {
  out->set_id(accepted.id);
  out->set_node_id(accepted.node);
  out->set_ceiling_us(accepted.ceiling_us);
  out->set_advance_us(accepted.advance_us);
  out->set_accepted_us(accepted.accepted_us);
}

void ToProto(const ClusterState& state, v1::Membership* out) {
  out->set_cluster_id(state.id);
  out->set_cluster_name(state.name);
  out->set_epoch(state.epoch);
  for (const ClusterMember& member : state.members) ToProto(member, out->add_members());
  out->set_settings_version(state.settings_version);
  out->set_settings_active(state.settings_active);
  for (const ClusterSetting& setting : state.settings) {
    v1::Setting* added = out->add_settings();
    added->set_key(setting.key);
    added->set_value(setting.value);
    added->set_version(setting.version);
  }
  if (state.accepted_clock.id != 0) {
    ToProto(state.accepted_clock, out->mutable_accepted_clock());
  }
  out->set_last_node_id(state.last_node_id);
  for (const RemovedMember& removed : state.removed) {
    v1::RemovedMember* added = out->add_removed();
    added->set_node_id(removed.id);
    added->set_name(removed.name);
    added->set_removed_us(removed.removed_us);
  }
}

void ToProto(const ClusterState& state, v1::ClusterState* out) {
  ToProto(state, out->mutable_membership());
  out->set_last_node_id(state.last_node_id);
  out->set_restored(state.restored);
}

absl::StatusOr<ClusterState> FromProto(const v1::Membership& membership) {
  ClusterState state{.id = membership.cluster_id(),
                     .name = membership.cluster_name(),
                     .epoch = membership.epoch(),
                     .last_node_id = static_cast<NodeId>(membership.last_node_id()),
                     .settings_version = membership.settings_version(),
                     .settings_active = membership.settings_active()};
  // Numbers that rise by one do not get there; what is rebuilt goes on above them.
  constexpr uint64_t kMost = uint64_t{1} << 62;
  if (membership.epoch() > kMost || membership.settings_version() > kMost) {
    return absl::InvalidArgumentError(absl::StrCat("no cluster has come to epoch ",
                                                   membership.epoch(), " or settings version ",
                                                   membership.settings_version()));
  }
  if (membership.last_node_id() != 0) RETURN_IF_ERROR(CheckId(membership.last_node_id(), "last"));
  for (const v1::Setting& setting : membership.settings()) {
    state.settings.push_back(
        {.key = setting.key(), .value = setting.value(), .version = setting.version()});
  }
  for (const v1::Member& member : membership.members()) {
    RETURN_IF_ERROR(CheckId(member.node_id(), member.name()));
    state.members.push_back({.id = static_cast<NodeId>(member.node_id()),
                             .name = member.name(),
                             .address = member.agent_address(),
                             .active = member.state() == v1::Member::ACTIVE,
                             .incarnation = member.incarnation(),
                             .added_us = member.added_us(),
                             .settings_ready = member.settings_ready(),
                             .settings_active = member.settings_active(),
                             .followed_epoch = member.followed_epoch(),
                             .since_epoch = member.since_epoch(),
                             .data_dir_id = member.data_dir_id()});
  }
  const v1::AcceptedClock& accepted = membership.accepted_clock();
  state.accepted_clock = {.id = accepted.id(),
                          .node = static_cast<NodeId>(accepted.node_id()),
                          .ceiling_us = accepted.ceiling_us(),
                          .advance_us = accepted.advance_us(),
                          .accepted_us = accepted.accepted_us()};
  for (const v1::RemovedMember& removed : membership.removed()) {
    RETURN_IF_ERROR(CheckId(removed.node_id(), removed.name()));
    state.removed.push_back({.id = static_cast<NodeId>(removed.node_id()),
                             .name = removed.name(),
                             .removed_us = removed.removed_us()});
  }
  return state;
}

absl::StatusOr<ClusterState> FromProto(const v1::ClusterState& message) {
  ASSIGN_OR_RETURN(ClusterState state, FromProto(message.membership()));
  if (message.last_node_id() != 0) RETURN_IF_ERROR(CheckId(message.last_node_id(), "last"));
  // Before memberships told it as well, only this did.
  state.last_node_id = std::max(state.last_node_id, static_cast<NodeId>(message.last_node_id()));
  state.restored = message.restored();
  return state;
}

}  // namespace bdr::server
