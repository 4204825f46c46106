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

// Waits for the signals in a thread of its own, since the agent runs in the caller's, and has the
// agent stop. A server that does not answer any more (stopped, or unplugged) must not keep us: the
// process ends after kLongestShutdown. Whatever was not finished by then is done again at the next
// start, as after a kill.
class SignalWaiter {
 public:
  // Both outlive it. SIGUSR1 is its own.
  SignalWaiter(const sigset_t& signals, Agent* agent)
      : signals_(signals), agent_(agent), thread_([this] { Wait(); }) {}

  // The agent has ended.
  ~SignalWaiter() {
    {
      MutexLock lock(&mu_);
      ended_ = true;
      ended_cv_.NotifyAll();
    }
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  void Wait() {
    int signal = 0;
    while (sigwait(&signals_, &signal) != 0) {
    }
    if (signal != SIGUSR1) {
      LogInfo("agent", {{"state", "running->stopping"}, {"signal", strsignal(signal)}});
    }
    agent_->Stop();
    MutexLock lock(&mu_);
    const absl::Time deadline = SteadyNow() + kLongestShutdown;
    while (!ended_ && SteadyNow() < deadline) ended_cv_.WaitFor(&mu_, deadline - SteadyNow());
    if (ended_) return;
    LogError("agent", {{"state", "stopping->killed"}}, "parts did not end in time");
    _exit(1);
  }

  const sigset_t& signals_;
  Agent* const agent_;
  Mutex mu_;
  CondVar ended_cv_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses all of the above
};

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
  absl::Status status;
  {
    SignalWaiter waiter(signals, &agent);
    status = agent.Run();
  }
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
