// Child processes of tests and of the demo: started, paused, ended, killed, measured.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bdr::harness {

struct ProcessOptions {
  std::string name = {};               // for messages; the program's path if empty
  std::vector<std::string> argv = {};  // argv[0] is the program: a path, or looked up in $PATH
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to ours
  std::string log_file = {};        // stdout and stderr are appended to it; empty: /dev/null
  std::string user = {};            // runs as this user (only root may ask); empty: as we do
  std::string working_folder = {};  // empty: ours
  int network_namespace = -1;       // a descriptor of the one that it runs in (setns(2)); -1: ours
  // Sent to the child when this process dies, however it dies, so that nothing is left behind.
  // 0: the child outlives us.
  int parent_death_signal = SIGKILL;
};

// One running or ended child in a process group of its own. Killed by the destructor if it still
// runs, unless it was detached. Not thread-safe.
class ChildProcess {
 public:
  // kNotFound if there is no such program; kUnavailable if it cannot be started.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(ProcessOptions options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  // As waitpid() gives it; unset while it runs.
  std::optional<int> wait_status();
  const ProcessOptions& options() const { return options_; }

  // kFailedPrecondition if it has ended already.
  absl::Status Signal(int signal);
  absl::Status Pause();
  absl::Status Resume() { return Signal(SIGCONT); }
  // kDeadlineExceeded if it still runs then; the message holds the end of its log.
  absl::Status WaitForExit(absl::Duration deadline);
  // SIGTERM, and an exit code of 0 within the deadline; kInternal if it ended in another way.
  absl::Status Terminate(absl::Duration deadline = absl::Seconds(15));
  // SIGKILL to the process, and waits until it is gone. Harmless if it has ended.
  void Kill9();
  // Lets it run on after this object is gone.
  void Detach() { detached_ = true; }

  // The most memory that was ever resident (VmHWM). kNotFound once it has ended.
  absl::StatusOr<int64_t> PeakMemoryBytes() const;

 private:
  ChildProcess(ProcessOptions options, pid_t pid, int pidfd);
  bool Reap(absl::Duration timeout);

  const ProcessOptions options_;
  const pid_t pid_;
  const int pidfd_;
  std::optional<int> wait_status_;
  bool detached_ = false;
};

struct ProgramResult {
  int exit_code = 0;  // 128 + signal if a signal ended it
  std::string out;
  std::string err;
};

// Runs a program to its end. A failing exit code is not an error here. kDeadlineExceeded if it did
// not end in time; it is killed then. `log_file` of the options is not used.
absl::StatusOr<ProgramResult> RunProgram(ProcessOptions options,
                                         absl::Duration deadline = absl::Seconds(60),
                                         const std::string& input = "");

// The user that PostgreSQL must run as: "postgres" if we are root, else "" (ourselves).
// kFailedPrecondition if we are root and there is no such user.
absl::StatusOr<std::string> PostgresUser();

// SIGSTOP, and returns once every thread stands: on a busy machine that takes a while, in which the
// process goes on. kNotFound if there is none.
absl::Status StopProcess(pid_t pid);

// Gives a file or folder (with all in it) to a user; nothing for "".
absl::Status GiveTo(const std::string& user, const std::string& path);

}  // namespace bdr::harness
