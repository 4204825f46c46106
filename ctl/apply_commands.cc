// bdrctl apply ...
#include <memory>
#include <string>

#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

struct RetryOptions {
  std::string node;
  std::string origin;
};

absl::StatusOr<int> Retry(const Invocation& invocation, const RetryOptions& options) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto nodes, SelectMembers(membership, options.node));
  v1::RetryApplyRequest request;
  if (!options.origin.empty()) {
    ASSIGN_OR_RETURN(const auto origin, SelectMembers(membership, options.origin));
    request.set_node(origin[0].node_id());
  }

  Table table({{"NODE"}, {"RETRIES APPLY OF"}});
  Json document = Json::array();
  int exit_code = kGood;
  for (const v1::Member& node : nodes) {
    if (node.node_id() == request.node()) continue;  // a node does not apply its own changes
    ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, node));
    const auto response = agent.Call(&v1::AgentAdmin::Stub::RetryApply, request);
    if (!response.ok()) {
      Invocation::Complain(response.status());
      exit_code = kFailed;
      continue;
    }
    Json origins = Json::array();
    std::string text;
    for (const uint32_t id : response->nodes()) {
      for (const v1::Member& member : membership.members()) {
        if (member.node_id() != id) continue;
        origins.push_back(member.name());
        absl::StrAppend(&text, text.empty() ? "" : ", ", member.name());
      }
    }
    table.AddRow({node.name(), text.empty() ? "- (nothing had stopped)" : text});
    document.push_back({{"node", node.name()}, {"origins", std::move(origins)}});
  }
  invocation.Print({.text = table.Render(), .document = std::move(document)});
  return exit_code;
}

}  // namespace

void AddApplyCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* apply =
      AddNoun(app, "apply", "Applying other nodes' changes", {"bdrctl apply retry --node us2"});
  auto options = std::make_shared<RetryOptions>();
  CLI::App* verb = AddVerb(apply, invocation, "retry",
                           "Lets apply that has stopped on an error try again, once its cause is "
                           "gone",
                           {"bdrctl apply retry", "bdrctl apply retry us2",
                            "bdrctl apply retry --node us2 --origin eu1"},
                           [invocation, options] { return Retry(*invocation, *options); });
  verb->add_option("NODE,--node", options->node, "Only on this node; on all if it is not given");
  verb->add_option("--origin", options->origin,
                   "Only the changes of this node; of all if it is not given");
}

}  // namespace bdr::ctl
