// bdrctl cluster ...
#include <memory>
#include <string>

#include "ctl/command.h"
#include "ctl/rpc.h"

namespace bdr::ctl {
namespace {

absl::StatusOr<int> Init(const Invocation& invocation, const std::string& name) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::InitClusterRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::InitCluster, request));
  const v1::Membership& membership = response.membership();
  invocation.Print({.text = absl::StrCat("cluster \"", membership.cluster_name(),
                                         "\" is initialised (id ", membership.cluster_id(), ")\n"),
                    .document = {{"name", membership.cluster_name()},
                                 {"id", membership.cluster_id()},
                                 {"epoch", membership.epoch()},
                                 {"members", membership.members_size()}}});
  return kGood;
}

}  // namespace

void AddClusterCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* cluster =
      AddNoun(app, "cluster", "The cluster as a whole", {"bdrctl cluster init shop"});
  auto name = std::make_shared<std::string>();
  CLI::App* verb =
      AddVerb(cluster, invocation, "init",
              "Gives the cluster its name and identity; repeating it is harmless",
              {"bdrctl cluster init shop", "bdrctl --insecure cluster init demo -o json"},
              [invocation, name] { return Init(*invocation, *name); });
  verb->add_option("NAME", *name, "Name of the cluster: small letters, digits and '-'")->required();
}

}  // namespace bdr::ctl
