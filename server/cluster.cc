#include "server/cluster.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/store.pb.h"

namespace bdr::server {
namespace {

constexpr char kKey[] = "cluster";
// Somebody else's write is the only reason to repeat, so a few are plenty.
constexpr int kAttempts = 20;

std::string Encode(const ClusterState& state) {
  v1::ClusterState message;
  ToProto(state, message.mutable_membership());
  message.set_last_node_id(state.last_node_id);
  return message.SerializeAsString();
}

absl::StatusOr<ClusterState> Decode(const std::string& bytes) {
  v1::ClusterState message;
  if (!message.ParseFromString(bytes) || message.last_node_id() > kMaxNodeId) {
    return absl::InternalError(
        "the store's entry \"cluster\" is damaged; restore the store from a backup");
  }
  const v1::Membership& membership = message.membership();
  ClusterState state{.id = membership.cluster_id(),
                     .name = membership.cluster_name(),
                     .epoch = membership.epoch(),
                     .last_node_id = static_cast<NodeId>(message.last_node_id()),
                     .settings_version = membership.settings_version(),
                     .settings_active = membership.settings_active()};
  for (const v1::Setting& setting : membership.settings()) {
    state.settings.push_back(
        {.key = setting.key(), .value = setting.value(), .version = setting.version()});
  }
  for (const v1::Member& member : membership.members()) {
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
  return state;
}

struct Versioned {
  ClusterState state;
  uint64_t revision = 0;
};

absl::StatusOr<Versioned> ReadVersioned(Store* store) {
  const absl::StatusOr<StoreEntry> entry = store->Get(kKey);
  if (absl::IsNotFound(entry.status())) return Versioned{};
  RETURN_IF_ERROR(entry.status());
  ASSIGN_OR_RETURN(ClusterState state, Decode(entry->value));
  return Versioned{std::move(state), entry->revision};
}

}  // namespace

absl::StatusOr<ClusterState> Cluster::Read() const {
  ASSIGN_OR_RETURN(Versioned present, ReadVersioned(store_));
  return std::move(present.state);
}

absl::StatusOr<ClusterState> Cluster::Change(const ChangeFunction& change) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    ASSIGN_OR_RETURN(const Versioned present, ReadVersioned(store_));
    ASSIGN_OR_RETURN(ClusterState wanted, change(present.state));
    if (wanted == present.state) return wanted;
    const absl::StatusOr<uint64_t> written = store_->Put(kKey, Encode(wanted), present.revision);
    if (written.ok()) return wanted;
    if (!absl::IsAborted(written.status())) return written.status();
  }
  return absl::UnavailableError(absl::StrCat("the cluster's state was changed by others ",
                                             kAttempts, " times in a row; try again"));
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
}

}  // namespace bdr::server
