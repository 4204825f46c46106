// bdr-agent: captures one database's changes and applies its peers'. See docs/configuration.md.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/config.h"
#include "base/grpc_log.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/private_files.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/agent.h"
#include "node-agent/check/check.h"
#include "node-agent/config/agent_config.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kLongestShutdown = absl::Seconds(10);

absl::Status Run(const std::string& config_path, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const AgentConfig config, LoadAgentConfig(config_path));
  RETURN_IF_ERROR(SetLogLevel(absl::string_view(config.log_level)));
  RETURN_IF_ERROR(CheckPrivate(config.data_dir));
  RETURN_IF_ERROR(CheckPrivate(config.log_file));
  RETURN_IF_ERROR(SetLogFile(config.log_file));
  TakeGrpcLog();
  RETURN_IF_ERROR(EnableTestHooks());
  LogInfo("agent", {{"state", "starting"}, {"version", BDR_VERSION}, {"node", config.node}});

  Agent agent(config);
  Mutex mu;
  CondVar ended_cv;
  bool ended = false;
  // Waits for the signal apart, since the agent runs in this thread; ended by a signal of our own
  // if the agent ends by itself.
  std::thread waiter([&] {
    int signal = 0;
    while (sigwait(&signals, &signal) != 0) {
    }
    if (signal != SIGUSR1) {
      LogInfo("agent", {{"state", "running->stopping"}, {"signal", strsignal(signal)}});
    }
    agent.Stop();
    // A server that does not answer any more (stopped, or unplugged) must not keep us: whatever was
    // not finished by then is done again at the next start, as after a kill.
    MutexLock lock(&mu);
    const absl::Time deadline = SteadyNow() + kLongestShutdown;
    while (!ended && SteadyNow() < deadline) ended_cv.WaitFor(&mu, deadline - SteadyNow());
    if (ended) return;
    LogError("agent", {{"state", "stopping->killed"}}, "parts did not end in time");
    _exit(1);
  });
  const absl::Status status = agent.Run();
  {
    MutexLock lock(&mu);
    ended = true;
    ended_cv.NotifyAll();
  }
  pthread_kill(waiter.native_handle(), SIGUSR1);
  waiter.join();
  LogInfo("agent", {{"state", "stopped"}});
  return status;
}

}  // namespace
}  // namespace bdr::agent

int main(int argc, char** argv) {
  bdr::KeepFilesPrivate();
  signal(SIGPIPE, SIG_IGN);
  CLI::App app("bdr-agent: captures one PostgreSQL database's changes and applies its peers'.");
  bdr::agent::AgentConfig keys;
  app.footer("\nKeys of the configuration file:\n" + bdr::agent::DeclareAgentConfig(&keys).Help());
  std::string config_path;
  app.add_option("--config", config_path, "Configuration file (YAML)")->required();
  bool check = false;
  app.add_flag("--check", check,
               "Looks whether the agent could do its work, changes nothing, and ends: 0 good, 1 "
               "warnings, 2 something does not work");
  app.set_version_flag("--version", std::string("bdr-agent ") + BDR_VERSION);
  CLI11_PARSE(app, argc, argv);

  if (check) {
    // What gRPC tries in vain is told by what was looked at.
    bdr::SetLogLevel(bdr::LogLevel::kError);
    bdr::TakeGrpcLog();
    return bdr::agent::RunCheck(config_path, std::cout);
  }
  // Before any thread: all inherit the mask, so that only the waiting one gets them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const absl::Status status = bdr::agent::Run(config_path, signals);
  if (!status.ok()) {
    bdr::LogError("agent", {{"state", "failed"}}, status.message());
    return 1;
  }
  return 0;
}
