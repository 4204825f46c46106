#include "tests/demo/running.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/harness/temp_folder.h"

namespace bdr::demo {
namespace {

constexpr char kKeepFile[] = "/kept";

struct Found {
  pid_t pid = 0;
  std::string program;
};

// By command line rather than by a list of ids on disk: ids are used again after a reboot.
std::vector<Found> FindProcesses(const std::string& folder) {
  std::vector<Found> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    const absl::StatusOr<std::string> line = harness::ReadFile(entry.path().string() + "/cmdline");
    if (!line.ok()) continue;
    const std::vector<std::string> arguments = absl::StrSplit(*line, '\0', absl::SkipEmpty());
    if (arguments.size() < 3 || !absl::StartsWith(arguments[2], folder + "/")) continue;
    const std::string program = std::filesystem::path(arguments[0]).filename().string();
    if ((arguments[1] == "--config" && (program == "bdr-agent" || program == "bdr-server")) ||
        (arguments[1] == "--data-dir" && program == "etcd") ||
        (arguments[1] == "-D" && program == "postgres")) {
      found.push_back({.pid = pid, .program = program});
    }
  }
  return found;
}

bool Exists(pid_t pid) {
  waitpid(pid, nullptr, WNOHANG);  // in case it is a child of ours
  return kill(pid, 0) == 0;
}

// True if all of them end by themselves.
bool End(const std::vector<Found>& processes, const std::string& program, int signal) {
  bool killed = false;
  for (const Found& process : processes) {
    if (process.program == program) kill(process.pid, signal);
  }
  const absl::Time until = absl::Now() + absl::Seconds(20);
  for (const Found& process : processes) {
    if (process.program != program) continue;
    while (Exists(process.pid)) {
      if (!killed && absl::Now() > until) {
        kill(process.pid, SIGKILL);
        killed = true;
      }
      // A killed one may remain as a zombie of a parent that never asks: do not wait for ever.
      if (absl::Now() > until + absl::Seconds(2)) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  return !killed;
}

}  // namespace

std::vector<pid_t> RunningProcesses(const std::string& folder) {
  std::vector<pid_t> pids;
  for (const Found& process : FindProcesses(folder)) pids.push_back(process.pid);
  return pids;
}

absl::Status Stop(const std::string& folder) {
  const std::vector<Found> processes = FindProcesses(folder);
  bool clean = End(processes, "bdr-agent", SIGTERM);
  clean = End(processes, "bdr-server", SIGTERM) && clean;
  clean = End(processes, "etcd", SIGTERM) && clean;
  clean = End(processes, "postgres", SIGINT) && clean;
  std::error_code error;
  if (!IsKept(folder)) std::filesystem::remove_all(folder, error);
  if (error) {
    return absl::InternalError(absl::StrCat("cannot remove \"", folder, "\": ", error.message()));
  }
  if (clean) return absl::OkStatus();
  return absl::DeadlineExceededError("a process did not stop in time and was killed");
}

absl::Status MarkAsKept(const std::string& folder) {
  return harness::WriteFile(folder + kKeepFile,
                            "Started with --keep: never removed by bdr-demo.\n");
}

bool IsKept(const std::string& folder) { return std::filesystem::exists(folder + kKeepFile); }

}  // namespace bdr::demo
