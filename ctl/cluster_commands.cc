// bdrctl cluster ...
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ctl/command.h"
#include "ctl/files.h"
#include "ctl/rpc.h"

namespace bdr::ctl {
namespace {

struct InitOptions {
  std::string name;
  bool from_agents = false;
  std::string nodes;  // names, with commas between them
};

Json ClusterJson(const v1::Membership& membership) {
  return {{"name", membership.cluster_name()},
          {"id", membership.cluster_id()},
          {"epoch", membership.epoch()},
          {"members", membership.members_size()}};
}

absl::StatusOr<int> Begin(const Invocation& invocation, const std::string& name) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::InitClusterRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::InitCluster, request));
  const v1::Membership& membership = response.membership();
  invocation.Print({.text = absl::StrCat("cluster \"", membership.cluster_name(),
                                         "\" is initialised (id ", membership.cluster_id(), ")\n"),
                    .document = ClusterJson(membership)});
  return kGood;
}

absl::StatusOr<int> Rebuild(const Invocation& invocation, const InitOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::RebuildClusterRequest request;
  request.set_name(options.name);
  for (const absl::string_view node : absl::StrSplit(options.nodes, ',', absl::SkipEmpty())) {
    request.add_nodes(std::string(node));
  }
  ASSIGN_OR_RETURN(const auto response,
                   server.Call(&v1::ControlPlane::Stub::RebuildCluster, request));
  const v1::Membership& membership = response.membership();
  Output output{.text = absl::StrCat("cluster \"", membership.cluster_name(), "\" (id ",
                                     membership.cluster_id(), ") has ", membership.members_size(),
                                     " nodes, as of epoch ", membership.epoch(),
                                     "; heard: ", absl::StrJoin(response.reported(), ", "), "\n"),
                .document = ClusterJson(membership)};
  output.document["heard"] =
      std::vector<std::string>(response.reported().begin(), response.reported().end());
  invocation.Print(output);
  return kGood;
}

absl::StatusOr<int> Init(const Invocation& invocation, const InitOptions& options) {
  if (options.from_agents) return Rebuild(invocation, options);
  if (!options.name.empty()) return Begin(invocation, options.name);
  return absl::InvalidArgumentError("a new cluster needs a name: \"bdrctl cluster init NAME\"");
}

absl::StatusOr<int> BackUp(const Invocation& invocation, const std::string& path) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const auto response,
                   server.Call(&v1::ControlPlane::Stub::BackUp, v1::BackUpRequest()));
  RETURN_IF_ERROR(Replace(path, response.backup()));
  const v1::Membership& membership = response.membership();
  Output output{.text = absl::StrCat("cluster \"", membership.cluster_name(), "\" as of epoch ",
                                     membership.epoch(), " is in \"", path, "\"\n"),
                .document = ClusterJson(membership)};
  output.document["file"] = path;
  output.document["bytes"] = response.backup().size();
  invocation.Print(output);
  return kGood;
}

}  // namespace

void AddClusterCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* cluster = AddNoun(app, "cluster", "The cluster as a whole",
                              {"bdrctl cluster init shop", "bdrctl cluster backup shop.bdr"});
  auto init = std::make_shared<InitOptions>();
  CLI::App* init_verb = AddVerb(
      cluster, invocation, "init",
      "Gives the cluster its name and identity, or brings back one that bdr-server has lost; "
      "repeating it is harmless",
      {"bdrctl cluster init shop", "bdrctl cluster init --from-agents",
       "bdrctl cluster init shop --from-agents --nodes eu1,us2"},
      [invocation, init] { return Init(*invocation, *init); });
  init_verb->add_option("NAME", init->name,
                        "Name of the cluster: small letters, digits and '-'; with --from-agents "
                        "the one that it must have");
  CLI::Option* from_agents = init_verb->add_flag(
      "--from-agents", init->from_agents,
      "Takes members, ids and settings from the agents that report: bdr-server has lost its "
      "data_dir, or has an older one than they know");
  init_verb
      ->add_option("--nodes", init->nodes,
                   "With --from-agents: these must have reported (NAME,NAME,...); every node that "
                   "ever had an agent if it is not given")
      ->needs(from_agents);

  auto file = std::make_shared<std::string>();
  CLI::App* backup_verb =
      AddVerb(cluster, invocation, "backup",
              "Writes all that bdr-server keeps to a file, for \"bdr-server restore\"",
              {"bdrctl cluster backup /backup/shop.bdr"},
              [invocation, file] { return BackUp(*invocation, *file); });
  backup_verb->add_option("FILE", *file, "Where to; an older backup is replaced")->required();
}

}  // namespace bdr::ctl
