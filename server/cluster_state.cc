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
  if (state.id.empty()) {
    return absl::FailedPreconditionError(
        "there is no cluster yet: run \"bdrctl cluster init NAME\" first");
  }
  if (!state.restored) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the state of cluster \"", state.name,
      "\" was restored from a backup, and it is not certain yet that no agent knows a newer one: "
      "start the agents of all nodes, or run \"bdrctl cluster init --from-agents\""));
}

absl::Status NoSuchNode(const ClusterState& state, absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("cluster \"", state.name, "\" has no node \"", name,
                                          "\": see \"bdrctl node list\""));
}

absl::Status CheckAddressIsFree(const ClusterState& state, absl::string_view address) {
  for (const ClusterMember& member : state.members) {
    if (member.address != address) continue;
    return absl::AlreadyExistsError(absl::StrCat("address \"", address, "\" belongs to node \"",
                                                 member.name,
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

const RemovedMember* FindRemoved(const ClusterState& state, NodeId id) {
  for (const RemovedMember& removed : state.removed) {
    if (removed.id == id) return &removed;
  }
  return nullptr;
}

// The last of this name.
const RemovedMember* FindRemoved(const ClusterState& state, absl::string_view name) {
  const auto found = std::find_if(state.removed.rbegin(), state.removed.rend(),
                                  [&](const RemovedMember& r) { return r.name == name; });
  return found == state.removed.rend() ? nullptr : &*found;
}

absl::Status WasRemoved(const ClusterState& state, const RemovedMember& removed) {
  return absl::NotFoundError(absl::StrCat(
      "node \"", removed.name, "\" (id ", removed.id, ") was removed from cluster \"", state.name,
      "\": stop its agent, and drop its replication slot on its server, if it has made one; to "
      "make it a node after all, run \"bdrctl node add\" and give its agent a new data_dir"));
}

// That the report comes from the agent of the member that it names.
absl::Status CheckSender(const ClusterState& state, const NodeReport& report) {
  const ClusterMember* known = state.Find(report.name);
  if (known != nullptr && (report.node_id == 0 || report.node_id == known->id)) {
    return absl::OkStatus();
  }
  if (const RemovedMember* removed = report.node_id == 0 ? FindRemoved(state, report.name)
                                                         : FindRemoved(state, report.node_id)) {
    return WasRemoved(state, *removed);
  }
  if (report.node_id == 0) {
    return absl::NotFoundError(absl::StrCat("cluster \"", state.name, "\" has no node \"",
                                            report.name, "\": run \"bdrctl node add ", report.name,
                                            " --address HOST:PORT --no-copy\""));
  }
  const ClusterMember* other = state.Find(report.node_id);
  return absl::FailedPreconditionError(absl::StrCat(
      "the agent that reports as node \"", report.name, "\" has the data_dir of node ",
      report.node_id,
      other == nullptr ? ", which this bdr-server knows nothing of: its state is older than the "
                         "agent's, or was rebuilt without it; if the node has joined, run \"bdrctl "
                         "cluster init --from-agents\""
                       : absl::StrCat(", which is \"", other->name,
                                      "\": correct \"node\" in its configuration")));
}

}  // namespace

const ClusterMember* ClusterState::Find(NodeId node) const {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const ClusterMember& m) { return m.id == node; });
  return found == members.end() ? nullptr : &*found;
}

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
  RETURN_IF_ERROR(CheckInitialised(state));
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
                     "\", not \"", node.address, "\": take another name, or run \"bdrctl node ",
                     "set-address ", node.name, " --address ", node.address, "\""));
  }
  RETURN_IF_ERROR(CheckAddressIsFree(state, node.address));
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

absl::StatusOr<ClusterState> RemoveNode(ClusterState state, absl::string_view name,
                                        int64_t now_us) {
  RETURN_IF_ERROR(CheckInitialised(state));
  const ClusterMember* member = state.Find(name);
  if (member == nullptr) {
    return FindRemoved(state, name) == nullptr ? NoSuchNode(state, name)
                                               : absl::StatusOr<ClusterState>(std::move(state));
  }
  if (member->active) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", name, "\" has joined cluster \"", state.name, "\" (incarnation ",
                     member->incarnation,
                     "), so other nodes may have changes of it: only a node that has not joined "
                     "can be removed"));
  }
  state.removed.push_back({.id = member->id, .name = member->name, .removed_us = now_us});
  state.members.erase(state.members.begin() + (member - state.members.data()));
  ++state.epoch;
  // It may have been the only one that was not ready.
  ActivateSettings(&state);
  return state;
}

absl::StatusOr<ClusterState> SetNodeAddress(ClusterState state, absl::string_view name,
                                            absl::string_view address) {
  RETURN_IF_ERROR(CheckInitialised(state));
  RETURN_IF_ERROR(config::ParseHostPort(address).status());
  const ClusterMember* member = state.Find(name);
  if (member == nullptr) return NoSuchNode(state, name);
  if (member->address == address) return state;
  RETURN_IF_ERROR(CheckAddressIsFree(state, address));
  state.members[member - state.members.data()].address = std::string(address);
  ++state.epoch;
  return state;
}

absl::StatusOr<ClusterState> ApplyReport(ClusterState state, const NodeReport& report) {
  if (state.id.empty() && !report.cluster_id.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this bdr-server keeps no cluster, and node \"", report.name, "\" belongs to ",
                     report.cluster_id,
                     ": if the server's data_dir was lost, run \"bdrctl cluster init "
                     "--from-agents\"; else point the agent to its own bdr-server"));
  }
  RETURN_IF_ERROR(CheckInitialised(state));
  if (!report.cluster_id.empty() && report.cluster_id != state.id) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", report.name, "\" belongs to cluster ", report.cluster_id,
                     ", not to \"", state.name, "\" (", state.id,
                     "): point it to its own bdr-server, or give it a new data_dir"));
  }
  if (report.known_epoch > state.epoch) {
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", report.name, "\" knows cluster \"", state.name, "\" as of epoch ",
        report.known_epoch, ", and this bdr-server as of epoch ", state.epoch,
        ": its data_dir is older than what it has told before; run \"bdrctl cluster init "
        "--from-agents\""));
  }
  RETURN_IF_ERROR(CheckSender(state, report));
  const ClusterMember* known = state.Find(report.name);
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
  if (member == nullptr) return NoSuchNode(state, step.node);
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
  // Ids rise as epochs do, also where the state was rebuilt and a step was lost that some know.
  accepted = {.id = state.epoch + 1,
              .node = member->id,
              .ceiling_us = step.ceiling_us,
              .advance_us = step.advance_us,
              .accepted_us = step.now_us};
  ++state.epoch;
  return state;
}

}  // namespace bdr::server
