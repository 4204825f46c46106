// bdr-demo: what `./dev demo` runs.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/demo/demo.h"
#include "tests/demo/options.h"
#include "tests/demo/running.h"
#include "tests/harness/temp_folder.h"

namespace {

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "\nbdr-demo: %s\n", std::string(status.message()).c_str());
  return 1;
}

// Whoever interrupts the demo wants it gone, not half of it running.
void StopOnInterrupt(const std::string& folder) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  // Inherited by every thread that starts later.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals, folder] {
    int received = 0;
    sigwait(&signals, &received);
    std::fputs("\nstopping\n", stderr);
    bdr::demo::Stop(folder).IgnoreError();
    _exit(128 + received);
  }).detach();
}

}  // namespace

int main(int argc, char** argv) {
  bdr::demo::Options options;
  options.folder = bdr::harness::BuildFolder() + "/demo";
  CLI::App app("Several PostgreSQL servers, written to at the same time, all ending equal.");
  app.add_option("--nodes", options.nodes, "how many nodes")
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "how long pgbench runs")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--clients", options.clients, "pgbench's clients on each node")
      ->check(CLI::Range(1, 50))
      ->capture_default_str();
  app.add_option("--scale", options.scale, "size of pgbench's tables, in 100,000 accounts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--port", options.first_port, "first of the ports that it listens on")
      ->check(CLI::Range(1024, 65000))
      ->capture_default_str();
  app.add_option("--policy", options.policy,
                 "delta: what is added to a balance counts on every node, whoever wrote last")
      ->check(CLI::IsMember({"delta"}));
  app.add_flag(
      "--etcd", options.etcd,
      "two bdr-servers on three members of etcd; during the load a member of etcd and then a "
      "bdr-server are killed and come back");
  app.add_flag("--keep", options.keep, "keep the data folder when the demo is stopped");
  CLI::App* const stop = app.add_subcommand("stop", "stop what a demo left running");
  CLI11_PARSE(app, argc, argv);

  if (stop->parsed()) return Report(bdr::demo::Stop(options.folder));
  if (options.etcd && options.seconds < bdr::demo::kLeastSecondsOnEtcd) {
    std::fprintf(stderr, "bdr-demo: --etcd wants --seconds %d or more\n",
                 bdr::demo::kLeastSecondsOnEtcd);
    return 1;
  }
  StopOnInterrupt(options.folder);
  return Report(bdr::demo::Run(options));
}
