#include "server/cluster_state.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/config.h"
#include "base/status_macros.h"

namespace bdr::server {
namespace {

// As agents begin with.
constexpr uint32_t kFirstIncarnation = 1;

absl::Status CheckInitialised(const ClusterState& state) {
  if (!state.id.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "there is no cluster yet: run \"bdrctl cluster init NAME\" first");
}

absl::Status CheckAddressIsFree(const ClusterState& state, const NewNode& node) {
  for (const ClusterMember& member : state.members) {
    if (member.address != node.address) continue;
    return absl::AlreadyExistsError(absl::StrCat("address \"", node.address,
                                                 "\" belongs to node \"", member.name,
                                                 "\": every node has an agent of its own"));
  }
  return absl::OkStatus();
}

// What every member is ready for comes into force. A member that joins later learns what is in
// force before it captures anything.
void ActivateSettings(ClusterState* state) {
  uint64_t ready = state->settings_version;
  for (const ClusterMember& member : state->members) {
    ready = std::min(ready, member.settings_ready);
  }
  state->settings_active = std::max(state->settings_active, ready);
}

}  // namespace

const ClusterMember* ClusterState::Find(absl::string_view node) const {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const ClusterMember& m) { return m.name == node; });
  return found == members.end() ? nullptr : &*found;
}

const ClusterSetting* ClusterState::FindSetting(absl::string_view key) const {
  const auto found = std::find_if(settings.rbegin(), settings.rend(),
                                  [&](const ClusterSetting& s) { return s.key == key; });
  return found == settings.rend() ? nullptr : &*found;
}

absl::Status CheckName(absl::string_view what, absl::string_view name) {
  const bool good = !name.empty() && name.size() <= 63 && absl::ascii_islower(name[0]) &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " name \"", name,
                   "\" cannot be used: take a small letter, then up to 62 small letters, digits or "
                   "'-', such as \"eu1\""));
}

absl::StatusOr<ClusterState> InitCluster(ClusterState state, absl::string_view name,
                                         absl::string_view fresh_id) {
  RETURN_IF_ERROR(CheckName("cluster", name));
  if (state.id.empty()) {
    state.id = std::string(fresh_id);
    state.name = std::string(name);
    ++state.epoch;
    return state;
  }
  if (state.name == name) return state;
  return absl::AlreadyExistsError(absl::StrCat("this server already keeps cluster \"", state.name,
                                               "\": start another bdr-server for \"", name, "\""));
}

absl::StatusOr<ClusterState> AddNode(ClusterState state, const NewNode& node) {
  RETURN_IF_ERROR(CheckInitialised(state));
  RETURN_IF_ERROR(CheckName("node", node.name));
  RETURN_IF_ERROR(config::ParseHostPort(node.address).status());
  if (const ClusterMember* member = state.Find(node.name)) {
    if (member->address == node.address) return state;
    return absl::AlreadyExistsError(
        absl::StrCat("node \"", node.name, "\" was added with address \"", member->address,
                     "\", not \"", node.address, "\": take another name"));
  }
  RETURN_IF_ERROR(CheckAddressIsFree(state, node));
  if (!node.no_copy) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot copy the data to node \"", node.name,
        "\": there is no first copy yet; load equal tables on it, then add it with --no-copy"));
  }
  if (state.last_node_id >= kMaxNodeId) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot add node \"", node.name, "\": all ",
                                                     kMaxNodeId,
                                                     " node ids were given out, and none is used "
                                                     "twice; start a new cluster"));
  }
  ++state.last_node_id;
  state.members.push_back({.id = state.last_node_id,
                           .name = node.name,
                           .address = node.address,
                           .added_us = node.now_us});
  ++state.epoch;
  return state;
}

absl::StatusOr<ClusterState> ApplyReport(ClusterState state, const NodeReport& report) {
  RETURN_IF_ERROR(CheckInitialised(state));
  const ClusterMember* known = state.Find(report.name);
  if (known == nullptr) {
    return absl::NotFoundError(absl::StrCat("cluster \"", state.name, "\" has no node \"",
                                            report.name, "\": run \"bdrctl node add ", report.name,
                                            " --address HOST:PORT --no-copy\""));
  }
  if (!report.cluster_id.empty() && report.cluster_id != state.id) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", report.name, "\" belongs to cluster ", report.cluster_id,
                     ", not to \"", state.name, "\" (", state.id,
                     "): point it to its own bdr-server, or give it a new data_dir"));
  }
  if (!known->data_dir_id.empty() && !report.data_dir_id.empty() &&
      report.data_dir_id != known->data_dir_id) {
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", report.name, "\" is known by data_dir ", known->data_dir_id,
        ", and an agent reports in its name from data_dir ", report.data_dir_id,
        ": if two agents run under this name, stop the one that is not the node's; if its data_dir "
        "was lost, bring it back, as with a new one the node would skip what it has missed"));
  }
  if (report.incarnation != 0 && report.incarnation < known->incarnation) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", report.name, "\" reports incarnation ", report.incarnation,
                     " after ", known->incarnation,
                     ": its data_dir is older than what the cluster has seen of it; restore "
                     "the newer one"));
  }
  // Nothing raises an incarnation yet. One that was taken would refuse the node's own for ever.
  const uint32_t most = std::max(known->incarnation, kFirstIncarnation);
  if (report.incarnation > most) {
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", report.name, "\" reports incarnation ", report.incarnation,
        ", and it can have no other than ", most, ": is another program reporting in its name?"));
  }
  ClusterMember& member = state.members[known - state.members.data()];
  const ClusterMember before = member;
  member.incarnation = std::max(member.incarnation, report.incarnation);
  if (report.incarnation != 0 && member.data_dir_id.empty()) {
    member.data_dir_id = report.data_dir_id;
  }
  member.active = member.active || report.captures;
  member.settings_ready =
      std::max(member.settings_ready, std::min(report.settings_ready, state.settings_version));
  member.settings_active =
      std::max(member.settings_active, std::min(report.settings_active, state.settings_version));
  if (!(member == before)) ++state.epoch;
  if (before.incarnation == 0 && member.incarnation != 0) member.since_epoch = state.epoch;
  member.followed_epoch =
      std::max(member.followed_epoch, std::min(report.followed_epoch, state.epoch));
  ActivateSettings(&state);
  return state;
}

absl::StatusOr<ClusterState> SetSetting(ClusterState state, absl::string_view key,
                                        absl::string_view value) {
  RETURN_IF_ERROR(CheckInitialised(state));
  constexpr absl::string_view kKinds[] = {"policy/", "foreign_key/", "table_change/"};
  const bool known = std::any_of(std::begin(kKinds), std::end(kKinds), [&](absl::string_view kind) {
    return absl::StartsWith(key, kind) && key.size() > kind.size();
  });
  if (!known) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no setting \"", key, "\"; is bdrctl newer than bdr-server?"));
  }
  const ClusterSetting* present = state.FindSetting(key);
  if (present == nullptr ? value.empty() : present->value == value) return state;
  ++state.epoch;
  ++state.settings_version;
  state.settings.push_back(
      {.key = std::string(key), .value = std::string(value), .version = state.settings_version});
  ActivateSettings(&state);
  return state;
}

absl::StatusOr<ClusterState> AcceptClock(ClusterState state, const ClockStep& step) {
  RETURN_IF_ERROR(CheckInitialised(state));
  const ClusterMember* member = state.Find(step.node);
  if (member == nullptr) {
    return absl::NotFoundError(absl::StrCat("cluster \"", state.name, "\" has no node \"",
                                            step.node, "\": see \"bdrctl node list\""));
  }
  if (step.ceiling_us <= 0 || step.advance_us <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the clock of node \"", step.node,
                     "\" cannot be accepted: its changes are not ahead of the other clocks"));
  }
  AcceptedClock& accepted = state.accepted_clock;
  if (accepted.node == member->id && accepted.ceiling_us == step.ceiling_us &&
      accepted.advance_us == step.advance_us) {
    return state;
  }
  accepted = {.id = accepted.id + 1,
              .node = member->id,
              .ceiling_us = step.ceiling_us,
              .advance_us = step.advance_us,
              .accepted_us = step.now_us};
  ++state.epoch;
  return state;
}

}  // namespace bdr::server
