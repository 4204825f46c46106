#include "node-agent/cluster/membership.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {

const Member* Membership::Find(NodeId id) const {
  for (const Member& member : members) {
    if (member.id == id) return &member;
  }
  return nullptr;
}

const Member* Membership::FindByName(absl::string_view name) const {
  for (const Member& member : members) {
    if (member.name == name) return &member;
  }
  return nullptr;
}

namespace {

void FillMember(const Member& member, v1::Member* out) {
  out->set_node_id(member.id);
  out->set_name(member.name);
  out->set_agent_address(member.address);
  out->set_incarnation(member.incarnation);
  out->set_state(member.active ? v1::Member::ACTIVE : v1::Member::JOINING);
  out->set_settings_ready(member.settings_ready);
  out->set_followed_epoch(member.followed_epoch);
  out->set_since_epoch(member.since_epoch);
  out->set_data_dir_id(member.data_dir_id);
  out->set_added_us(member.added_us);
  out->set_settings_active(member.settings_active);
}

absl::StatusOr<Member> ReadMember(const v1::Member& member) {
  if (member.node_id() < 1 || member.node_id() > kMaxNodeId) {
    return absl::DataLossError(absl::StrCat("a membership names node \"", member.name(),
                                            "\" with id ", member.node_id(),
                                            ", which is not between 1 and ", kMaxNodeId));
  }
  return Member{.id = static_cast<NodeId>(member.node_id()),
                .name = member.name(),
                .address = member.agent_address(),
                .incarnation = member.incarnation(),
                .active = member.state() == v1::Member::ACTIVE,
                .settings_ready = member.settings_ready(),
                .followed_epoch = member.followed_epoch(),
                .since_epoch = member.since_epoch(),
                .data_dir_id = member.data_dir_id(),
                .added_us = member.added_us(),
                .settings_active = member.settings_active()};
}

void FillAcceptedClock(const AcceptedClock& accepted, v1::AcceptedClock* out) {
  out->set_id(accepted.id);
  out->set_ceiling_us(accepted.ceiling_us);
  out->set_advance_us(accepted.advance_us);
  out->set_node_id(accepted.node);
  out->set_accepted_us(accepted.accepted_us);
}

AcceptedClock ReadAcceptedClock(const v1::AcceptedClock& accepted) {
  return {.id = accepted.id(),
          .ceiling_us = accepted.ceiling_us(),
          .advance_us = accepted.advance_us(),
          .node = static_cast<NodeId>(accepted.node_id()),
          .accepted_us = accepted.accepted_us()};
}

}  // namespace

std::string Serialize(const Membership& membership) {
  v1::Membership message;
  message.set_cluster_id(membership.cluster_id);
  message.set_cluster_name(membership.cluster_name);
  message.set_epoch(membership.epoch);
  for (const Member& member : membership.members) FillMember(member, message.add_members());
  message.set_settings_version(membership.settings_version);
  message.set_settings_active(membership.settings_active);
  for (const Setting& setting : membership.settings) {
    v1::Setting* out = message.add_settings();
    out->set_key(setting.key);
    out->set_value(setting.value);
    out->set_version(setting.version);
  }
  if (membership.accepted_clock.id != 0) {
    FillAcceptedClock(membership.accepted_clock, message.mutable_accepted_clock());
  }
  message.set_last_node_id(membership.last_node_id);
  for (const RemovedMember& removed : membership.removed) {
    v1::RemovedMember* out = message.add_removed();
    out->set_node_id(removed.id);
    out->set_name(removed.name);
    out->set_removed_us(removed.removed_us);
  }
  return message.SerializeAsString();
}

absl::StatusOr<Membership> ParseMembership(absl::string_view bytes) {
  v1::Membership message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError(absl::StrCat("cannot read a membership of ", bytes.size(),
                                            " bytes: they are damaged; remove the cached copy"));
  }
  Membership membership{.cluster_id = message.cluster_id(),
                        .cluster_name = message.cluster_name(),
                        .epoch = message.epoch()};
  for (const v1::Member& member : message.members()) {
    ASSIGN_OR_RETURN(membership.members.emplace_back(), ReadMember(member));
  }
  membership.settings_version = message.settings_version();
  membership.settings_active = message.settings_active();
  for (const v1::Setting& setting : message.settings()) {
    membership.settings.push_back(
        {.key = setting.key(), .value = setting.value(), .version = setting.version()});
  }
  membership.accepted_clock = ReadAcceptedClock(message.accepted_clock());
  membership.last_node_id = static_cast<NodeId>(message.last_node_id());
  for (const v1::RemovedMember& removed : message.removed()) {
    membership.removed.push_back({.id = static_cast<NodeId>(removed.node_id()),
                                  .name = removed.name(),
                                  .removed_us = removed.removed_us()});
  }
  return membership;
}

}  // namespace bdr::agent
