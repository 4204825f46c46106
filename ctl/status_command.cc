// bdrctl status.
#include <unistd.h>

#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/screen.h"
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

// Both end only when what they write to is gone. An error of bdr-server is shown and does not end
// them: whoever watches wants to see the cluster come back.

absl::StatusOr<int> WatchInPlace(const Server& server, absl::Duration interval) {
  Screen screen(STDOUT_FILENO);
  std::string last;
  for (;;) {
    const absl::StatusOr<StatusView> view = Look(server);
    if (view.ok()) last = view->output.text;
    RETURN_IF_ERROR(screen.Draw(
        view.ok() ? last
                  : absl::StrCat("bdrctl: ", view.status().message(),
                                 last.empty() ? "" : "\n\nThe last that is known:\n\n", last)));
    screen.Wait(interval);
  }
}

absl::StatusOr<int> WatchBelow(const Invocation& invocation, const Server& server,
                               absl::Duration interval) {
  while (*invocation.out) {
    const absl::StatusOr<StatusView> view = Look(server);
    if (view.ok()) {
      invocation.Print(view->output);
      *invocation.out << "\n" << std::flush;
    } else {
      Invocation::Complain(view.status());
    }
    absl::SleepFor(interval);
  }
  return kFailed;
}

absl::StatusOr<int> Run(const Invocation& invocation, const StatusOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  if (options.watch) {
    const absl::Duration interval = absl::Seconds(options.interval_s);
    const bool in_place =
        invocation.globals.format == OutputFormat::kTable && Screen::Possible(STDOUT_FILENO);
    return in_place ? WatchInPlace(server, interval) : WatchBelow(invocation, server, interval);
  }
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
  verb->add_flag("--watch", options->watch,
                 "Show it again and again, in place on a terminal, until Ctrl-C");
  verb->add_option("--interval", options->interval_s, "With --watch: seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
}

}  // namespace bdr::ctl
