// bdrctl status.
#include <unistd.h>

#include <iostream>
#include <memory>
#include <thread>

#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/status_view.h"

namespace bdr::ctl {
namespace {

struct StatusOptions {
  bool watch = false;
  double interval_s = 1;
};

absl::StatusOr<StatusView> Look(const Server& server) {
  ASSIGN_OR_RETURN(const auto status,
                   server.Call(&v1::ControlPlane::Stub::ClusterStatus, v1::ClusterStatusRequest()));
  return ViewCluster(status);
}

// Until somebody ends the program. An error is shown and does not end it: whoever watches wants to
// see the cluster come back.
void Watch(const Invocation& invocation, const Server& server, double interval_s) {
  const bool screen = invocation.globals.format == OutputFormat::kTable && isatty(STDOUT_FILENO);
  for (;;) {
    const absl::StatusOr<StatusView> view = Look(server);
    if (screen) *invocation.out << "\033[H\033[2J";
    if (view.ok()) {
      invocation.Print(view->output);
      if (!screen) *invocation.out << "\n" << std::flush;
    } else {
      std::cerr << "bdrctl: " << view.status().message() << "\n";
    }
    absl::SleepFor(absl::Seconds(interval_s));
  }
}

absl::StatusOr<int> Run(const Invocation& invocation, const StatusOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  if (options.watch) Watch(invocation, server, options.interval_s);
  ASSIGN_OR_RETURN(const StatusView view, Look(server));
  invocation.Print(view.output);
  return view.exit_code;
}

}  // namespace

void AddStatusCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* verb =
      AddVerb(app, invocation, "status",
              "Shows every node and link on one screen. Exit code 0: good, 1: warning, 2: critical",
              {"bdrctl status", "bdrctl status --watch", "bdrctl status -o json | jq .level"},
              [invocation, options] { return Run(*invocation, *options); });
  verb->add_flag("--watch", options->watch, "Show it again and again, until Ctrl-C");
  verb->add_option("--interval", options->interval_s, "With --watch: seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
}

}  // namespace bdr::ctl
