// bdrctl clock ...
#include <memory>
#include <string>

#include "ctl/clock_view.h"
#include "ctl/command.h"
#include "ctl/confirm.h"
#include "ctl/rpc.h"

namespace bdr::ctl {
namespace {

struct AcceptOptions {
  std::string node;
  bool yes = false;
};

absl::StatusOr<v1::ClusterStatusResponse> AskForClocks(const Server& server) {
  return server.Call(&v1::ControlPlane::Stub::ClusterStatus, v1::ClusterStatusRequest());
}

absl::StatusOr<int> ShowClocks(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const auto status, AskForClocks(server));
  invocation.Print(ViewClocks(status));
  return kGood;
}

absl::StatusOr<int> Accept(const Invocation& invocation, const AcceptOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const auto status, AskForClocks(server));
  ASSIGN_OR_RETURN(const ClockStep step, PlanClockStep(status, options.node));
  RETURN_IF_ERROR(Confirm(ClockStepCosts(step),
                          absl::StrCat("Accept the clock of node \"", step.node, "\"?"),
                          options.yes));
  v1::AcceptClockRequest request;
  request.set_node(step.node);
  request.set_ceiling_us(step.ceiling_us);
  request.set_advance_us(step.advance_us);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::AcceptClock, request));
  const v1::AcceptedClock& accepted = response.accepted();
  invocation.Print(
      {.text = absl::StrCat("accepted: until all clocks have passed it, every node's clock counts ",
                            SignedDuration(accepted.advance_us()),
                            "; the agents take it up with their next report\n"),
       .document = {{"id", accepted.id()},
                    {"node", step.node},
                    {"ceiling_us", accepted.ceiling_us()},
                    {"advance_us", accepted.advance_us()}}});
  return kGood;
}

}  // namespace

void AddClockCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* clock = AddNoun(app, "clock", "The nodes' clocks, and what waits for them",
                            {"bdrctl clock status", "bdrctl clock accept eu1"});
  AddVerb(clock, invocation, "status",
          "Shows every node's clock, how far the others are ahead of it, and what is held for that",
          {"bdrctl clock status", "bdrctl clock status -o json"},
          [invocation] { return ShowClocks(*invocation); });
  auto options = std::make_shared<AcceptOptions>();
  CLI::App* accept = AddVerb(
      clock, invocation, "accept",
      "Applies the changes of a node whose clock was too far ahead to wait for. Says first what "
      "that costs, and asks",
      {"bdrctl clock accept eu1", "bdrctl clock accept eu1 --yes"},
      [invocation, options] { return Accept(*invocation, *options); });
  accept->add_option("NODE", options->node, "The node whose clock was ahead")->required();
  accept->add_flag("--yes", options->yes, "Do not ask");
}

}  // namespace bdr::ctl
