#include "server/rebuild.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace bdr::server {
namespace {

// A state, and who knows it.
struct Told {
  std::string by;
  const ClusterState* state;
};

std::string Quoted(const std::vector<std::string>& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, "\"", name, "\"");
  });
}

bool HasHadAgent(const ClusterMember& member) { return member.incarnation != 0; }

absl::Status Contradiction(const Told& older, const Told& newer, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(
      older.by, " (epoch ", older.state->epoch, ") and ", newer.by, " (epoch ", newer.state->epoch,
      ") contradict each other in what they know of cluster \"", newer.state->name, "\": ", what,
      "; stop what is wrong: an agent, or a bdr-server that was rebuilt without hearing all nodes, "
      "which is rebuilt once more with an empty data_dir (\"bdrctl cluster init --from-agents "
      "--nodes NAME,...\" says who must be heard)"));
}

bool IsRemoved(const ClusterState& state, NodeId id) {
  return std::any_of(state.removed.begin(), state.removed.end(),
                     [id](const RemovedMember& removed) { return removed.id == id; });
}

absl::Status CheckMember(const ClusterMember& before, const Told& older, const Told& newer) {
  const ClusterMember* after = newer.state->Find(before.id);
  if (after == nullptr) {
    if (IsRemoved(*newer.state, before.id) && !before.active) return absl::OkStatus();
    return Contradiction(older, newer,
                         absl::StrCat("node ", before.id, " (\"", before.name, "\")"));
  }
  const bool same_folder = before.data_dir_id.empty() || before.data_dir_id == after->data_dir_id;
  const bool same_address =
      older.state->epoch < newer.state->epoch || before.address == after->address;
  if (before.name == after->name && before.incarnation <= after->incarnation &&
      before.active <= after->active && same_folder && same_address) {
    return absl::OkStatus();
  }
  return Contradiction(older, newer,
                       absl::StrCat("node ", before.id, " (\"", before.name, "\", \"", after->name,
                                    "\"): its name, address, incarnation or data_dir"));
}

// That `older` may have become `newer`; of the same epoch, that it has nothing which that lacks.
absl::Status CheckFits(const Told& older, const Told& newer) {
  for (const ClusterMember& member : older.state->members) {
    RETURN_IF_ERROR(CheckMember(member, older, newer));
  }
  for (const RemovedMember& removed : older.state->removed) {
    if (IsRemoved(*newer.state, removed.id)) continue;
    return Contradiction(older, newer,
                         absl::StrCat("node ", removed.id, " (\"", removed.name, "\")"));
  }
  const std::vector<ClusterSetting>& settings = newer.state->settings;
  for (const ClusterSetting& setting : older.state->settings) {
    if (std::find(settings.begin(), settings.end(), setting) != settings.end()) continue;
    return Contradiction(
        older, newer,
        absl::StrCat("setting \"", setting.key, "\" as of version ", setting.version));
  }
  return absl::OkStatus();
}

// That the agent is the node that it says it is.
absl::Status CheckItself(const Witness& witness, const Told& newest) {
  if (witness.node_id == 0 || IsRemoved(*newest.state, witness.node_id)) return absl::OkStatus();
  const ClusterMember* member = newest.state->Find(witness.node_id);
  const bool fits = member != nullptr && member->name == witness.node &&
                    (member->data_dir_id.empty() || witness.data_dir_id.empty() ||
                     member->data_dir_id == witness.data_dir_id);
  if (fits) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot rebuild cluster \"", newest.state->name, "\": the agent of node \"", witness.node,
      "\" has id ", witness.node_id, " and data_dir ", witness.data_dir_id, ", and ", newest.by,
      " (epoch ", newest.state->epoch, ") knows ",
      member == nullptr
          ? "no such id"
          : absl::StrCat("that id as \"", member->name, "\" with data_dir ", member->data_dir_id),
      ": stop the agent that is wrong, and say by --nodes which nodes must be heard"));
}

absl::Status CheckHeard(const ClusterState& newest, const ClusterState& present,
                        const RebuildRequest& request) {
  std::set<std::string> heard;
  for (const Witness& witness : request.heard) {
    // Who is answered tells no more than the epoch, which is that of the answer.
    const bool is_answered = present.id == newest.id && !present.restored;
    if (witness.cluster_id == newest.id && (is_answered || !witness.known.id.empty())) {
      heard.insert(witness.node);
    }
  }
  std::vector<std::string> missing;
  for (const std::string& node : request.nodes) {
    if (newest.Find(node) == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("cluster \"", newest.name, "\" has no node \"", node, "\""));
    }
    if (!heard.contains(node)) missing.push_back(node);
  }
  if (request.nodes.empty()) {
    for (const ClusterMember& member : newest.members) {
      if (HasHadAgent(member) && !heard.contains(member.name)) missing.push_back(member.name);
    }
  }
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "cluster \"", newest.name, "\" (", newest.id, ") is known as of epoch ", newest.epoch,
      ", but no agent of ", Quoted(missing),
      " has reported within half a minute, and could know more: start ",
      missing.size() == 1 ? "it" : "them",
      "; if that cannot be, say \"bdrctl cluster init --from-agents --nodes NAME,...\" with those "
      "that are enough"));
}

// The newest, as the one to go on with.
ClusterState Raised(const std::vector<Told>& told, const std::vector<Witness>& heard,
                    const ClusterState& newest) {
  ClusterState state = newest;
  const auto given = [&state](NodeId id) { state.last_node_id = std::max(state.last_node_id, id); };
  for (const Told& one : told) {
    given(one.state->last_node_id);
    for (const ClusterMember& member : one.state->members) given(member.id);
    for (const RemovedMember& removed : one.state->removed) given(removed.id);
    state.settings_active = std::max(state.settings_active, one.state->settings_active);
  }
  for (const Witness& witness : heard) {
    if (witness.cluster_id == state.id) given(witness.node_id);
  }
  for (ClusterMember& member : state.members) {
    // It may have joined since, and then others may have changes of it: it is not to be removed.
    member.active = member.active || HasHadAgent(member);
  }
  state.epoch += kRebuiltAbove;
  state.settings_version += kRebuiltAbove;
  state.restored = false;
  return state;
}

}  // namespace

absl::Status CheckNoneBelongs(const std::vector<Witness>& heard) {
  std::vector<std::string> nodes;
  std::string cluster;
  for (const Witness& witness : heard) {
    if (witness.cluster_id.empty()) continue;
    nodes.push_back(witness.node);
    if (cluster.empty()) cluster = witness.cluster_id;
    if (!witness.known.name.empty()) {
      cluster = absl::StrCat("\"", witness.known.name, "\" (", witness.cluster_id, ")");
    }
  }
  if (nodes.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "there is no cluster here, but agents of cluster ", cluster,
      " report to this bdr-server: ", Quoted(nodes),
      "; if its data_dir was lost, run \"bdrctl cluster init --from-agents\", which brings their "
      "cluster back; to begin another one, point those agents elsewhere, or stop them and wait for "
      "half a minute"));
}

absl::StatusOr<ClusterState> RebuildCluster(ClusterState state, const RebuildRequest& request) {
  const bool keeps =
      state.restored || std::any_of(state.members.begin(), state.members.end(), HasHadAgent);
  std::vector<Told> told;
  if (keeps) told.push_back({"this bdr-server", &state});
  for (const Witness& witness : request.heard) {
    if (witness.cluster_id.empty() || witness.known.id.empty()) continue;
    if (keeps && witness.cluster_id != state.id) continue;
    told.push_back({absl::StrCat("node \"", witness.node, "\""), &witness.known});
  }
  if (told.empty()) {
    std::vector<std::string> silent;
    for (const Witness& witness : request.heard) {
      if (!witness.cluster_id.empty()) silent.push_back(witness.node);
    }
    if (!silent.empty()) {
      return absl::UnavailableError(absl::StrCat(
          "the agents of ", Quoted(silent),
          " belong to a cluster, but have not told yet what they know of it: try again in a few "
          "seconds; agents that are older than this bdr-server never tell it, so update them"));
    }
    return absl::FailedPreconditionError(
        "no agent that belongs to a cluster has reported to this bdr-server within half a minute: "
        "start the agents, and name this bdr-server in their \"control\"");
  }
  for (const Told& one : told) {
    if (one.state->id == told[0].state->id) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        told[0].by, " belongs to cluster \"", told[0].state->name, "\" (", told[0].state->id,
        ") and ", one.by, " to \"", one.state->name, "\" (", one.state->id,
        "): stop the agents of the cluster that is not to be rebuilt, and wait for half a minute"));
  }
  const Told newest = *std::max_element(told.begin(), told.end(), [](const Told& a, const Told& b) {
    return a.state->epoch < b.state->epoch;
  });
  if (!request.name.empty() && request.name != newest.state->name) {
    return absl::AlreadyExistsError(absl::StrCat("the agents belong to cluster \"",
                                                 newest.state->name, "\" (", newest.state->id,
                                                 "), not to \"", request.name, "\""));
  }
  for (const Witness& witness : request.heard) {
    if (witness.cluster_id != newest.state->id || witness.known_epoch <= newest.state->epoch) {
      continue;
    }
    return absl::UnavailableError(absl::StrCat(
        "node \"", witness.node, "\" knows cluster \"", newest.state->name, "\" as of epoch ",
        witness.known_epoch, ", and tells it with its next report: try again in a few seconds"));
  }
  if (newest.state == &state && !state.restored) return state;
  for (const Told& one : told) {
    RETURN_IF_ERROR(CheckFits(one, newest));
    if (one.state->epoch == newest.state->epoch) RETURN_IF_ERROR(CheckFits(newest, one));
  }
  for (const Witness& witness : request.heard) {
    if (witness.cluster_id == newest.state->id) RETURN_IF_ERROR(CheckItself(witness, newest));
  }
  RETURN_IF_ERROR(CheckHeard(*newest.state, state, request));
  return Raised(told, request.heard, *newest.state);
}

absl::Status CheckKnown(const ClusterState& state, const Witness& witness) {
  if (witness.known.id != state.id || witness.known.epoch > state.epoch) return absl::OkStatus();
  return CheckFits({absl::StrCat("node \"", witness.node, "\""), &witness.known},
                   {"this bdr-server", &state});
}

absl::StatusOr<ClusterState> ConfirmRestored(ClusterState state,
                                             const std::vector<Witness>& heard) {
  for (const Witness& witness : heard) {
    if (witness.cluster_id != state.id || witness.known_epoch <= state.epoch) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the state of cluster \"", state.name, "\" was restored from a backup of epoch ",
        state.epoch, ", and node \"", witness.node, "\" knows epoch ", witness.known_epoch,
        ": run \"bdrctl cluster init --from-agents\", which takes what the agents know"));
  }
  return RebuildCluster(std::move(state), {.heard = heard});
}

}  // namespace bdr::server
