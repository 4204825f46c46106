#include "tests/harness/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "tests/harness/temp_folder.h"

extern char** environ;

namespace bdr::harness {
namespace {

// PR_SET_PDEATHSIG fires when the *thread* that forked ends. So all children are forked by one
// thread that lives as long as the process, whichever thread asks.
class Spawner {
 public:
  static Spawner& Get() {
    static Spawner* const spawner = new Spawner;
    return *spawner;
  }

  pid_t Run(const std::function<pid_t()>& fork_it) {
    Job job{&fork_it};
    MutexLock lock(&mu_);
    jobs_.push_back(&job);
    wake_.NotifyAll();
    while (!job.done) done_.Wait(&mu_);
    errno = job.error;
    return job.pid;
  }

 private:
  struct Job {
    const std::function<pid_t()>* fork_it;
    pid_t pid = -1;
    int error = 0;
    bool done = false;
  };

  Spawner() {
    std::thread([this] { Loop(); }).detach();
  }

  void Loop() {
    MutexLock lock(&mu_);
    for (;;) {
      while (jobs_.empty()) wake_.Wait(&mu_);
      Job* const job = jobs_.front();
      jobs_.pop_front();
      job->pid = (*job->fork_it)();
      job->error = errno;
      job->done = true;
      done_.NotifyAll();
    }
  }

  Mutex mu_;
  CondVar wake_;
  CondVar done_;
  std::deque<Job*> jobs_ ABSL_GUARDED_BY(mu_);
};

struct Identity {
  bool change = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

// The user's entry, copied: getpwnam() alone gives all threads the same one.
std::optional<passwd> FindUser(const std::string& user, std::string* buffer) {
  buffer->resize(16384);
  passwd entry;
  passwd* found = nullptr;
  getpwnam_r(user.c_str(), &entry, buffer->data(), buffer->size(), &found);
  if (found == nullptr) return std::nullopt;
  return entry;
}

absl::StatusOr<Identity> LookUp(const std::string& user) {
  Identity identity;
  if (user.empty()) return identity;
  std::string buffer;
  const std::optional<passwd> entry = FindUser(user, &buffer);
  if (!entry.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("there is no user \"", user, "\" here"));
  }
  identity.uid = entry->pw_uid;
  identity.gid = entry->pw_gid;
  identity.change = identity.uid != geteuid();
  int count = 64;
  identity.groups.resize(count);
  if (getgrouplist(user.c_str(), entry->pw_gid, identity.groups.data(), &count) < 0) {
    identity.groups.resize(count);
    getgrouplist(user.c_str(), entry->pw_gid, identity.groups.data(), &count);
  }
  identity.groups.resize(count);
  return identity;
}

// The program's path, since execvpe() after a fork of a process with threads may take locks.
absl::StatusOr<std::string> FindProgram(const std::string& program) {
  if (program.find('/') != std::string::npos) {
    if (access(program.c_str(), X_OK) == 0) return program;
    return absl::NotFoundError(absl::StrCat("there is no program \"", program, "\""));
  }
  const char* const path = getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path != nullptr ? path : "/usr/bin:/bin", ':')) {
    const std::string candidate = absl::StrCat(folder, "/", program);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat("there is no program \"", program, "\" in $PATH"));
}

struct Streams {
  int in = -1;
  int out = -1;
  int err = -1;
};

// Forks and executes. Between fork and exec only what is safe in a process that had threads.
absl::StatusOr<pid_t> Spawn(const ProcessOptions& options, const Streams& streams) {
  ASSIGN_OR_RETURN(const std::string program, FindProgram(options.argv[0]));
  ASSIGN_OR_RETURN(const Identity identity, LookUp(options.user));

  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);
  }
  for (const auto& [name, value] : options.environment) {
    const std::string prefix = absl::StrCat(name, "=");
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(prefix); });
    environment.push_back(prefix + value);
  }
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::vector<std::string> arguments = options.argv;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = Spawner::Get().Run([&]() -> pid_t {
    const pid_t child = fork();
    if (child != 0) return child;
    setpgid(0, 0);
    if (dup2(streams.in, 0) < 0 || dup2(streams.out, 1) < 0 || dup2(streams.err, 2) < 0) _exit(126);
    if (!options.working_folder.empty() && chdir(options.working_folder.c_str()) != 0) _exit(126);
    if (options.network_namespace >= 0 && setns(options.network_namespace, CLONE_NEWNET) != 0) {
      _exit(126);
    }
    if (identity.change && (setgroups(identity.groups.size(), identity.groups.data()) != 0 ||
                            setgid(identity.gid) != 0 || setuid(identity.uid) != 0)) {
      _exit(126);
    }
    // After setuid(), which clears it.
    if (options.parent_death_signal != 0) {
      prctl(PR_SET_PDEATHSIG, options.parent_death_signal);
      if (getppid() != parent) _exit(126);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    execve(program.c_str(), argv.data(), envp.data());
    _exit(127);
  });
  if (pid < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot start \"", program, "\""));
  return pid;
}

// glibc 2.36 declares pidfd_open() without C linkage.
int PidFd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

std::string ReadAll(int fd) {
  std::string content;
  lseek(fd, 0, SEEK_SET);
  char buffer[65536];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) content.append(buffer, n);
  return content;
}

}  // namespace

ChildProcess::ChildProcess(ProcessOptions options, pid_t pid, int pidfd)
    : options_(std::move(options)), pid_(pid), pidfd_(pidfd) {}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(ProcessOptions options) {
  if (options.name.empty()) options.name = options.argv[0];
  const Fd in(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Fd out(options.log_file.empty() ? open("/dev/null", O_WRONLY | O_CLOEXEC)
                                        : open(options.log_file.c_str(),
                                               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (out.get() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open \"", options.log_file, "\""));
  }
  ASSIGN_OR_RETURN(const pid_t pid,
                   Spawn(options, {.in = in.get(), .out = out.get(), .err = out.get()}));
  const int pidfd = PidFd(pid);
  if (pidfd < 0) {
    kill(pid, SIGKILL);
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot watch \"", options.name, "\""));
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(std::move(options), pid, pidfd));
}

ChildProcess::~ChildProcess() {
  if (!detached_) Kill9();
  close(pidfd_);
}

bool ChildProcess::Reap(absl::Duration timeout) {
  if (wait_status_.has_value()) return true;
  const absl::Time until = absl::Now() + timeout;
  for (;;) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      wait_status_ = status;
      return true;
    }
    const absl::Duration left = until - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd ended{.fd = pidfd_, .events = POLLIN, .revents = 0};
    poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
  }
}

bool ChildProcess::Running() { return !Reap(absl::ZeroDuration()); }

std::optional<int> ChildProcess::wait_status() {
  Reap(absl::ZeroDuration());
  return wait_status_;
}

absl::Status ChildProcess::Signal(int signal) {
  if (!Running() || kill(pid_, signal) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("\"", options_.name, "\" (pid ", pid_,
                                                      ") does not run; end of its log:\n",
                                                      TailOfFile(options_.log_file)));
  }
  return absl::OkStatus();
}

absl::Status ChildProcess::Pause() {
  RETURN_IF_ERROR(Signal(SIGSTOP));
  return StopProcess(pid_);
}

absl::Status StopProcess(pid_t pid) {
  if (kill(pid, SIGSTOP) != 0) return absl::NotFoundError(absl::StrCat("no process ", pid));
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  const auto stands = [pid] {
    std::error_code error;
    for (std::filesystem::directory_iterator thread(absl::StrCat("/proc/", pid, "/task"), error),
         end;
         !error && thread != end; thread.increment(error)) {
      std::ifstream file(thread->path() / "stat");
      std::string line;
      // The state stands behind the name, which may hold anything: proc(5). One that has ended is
      // gone.
      if (!std::getline(file, line)) continue;
      const size_t name_end = line.rfind(')');
      if (name_end == std::string::npos || name_end + 2 >= line.size()) return false;
      const char state = line[name_end + 2];
      if (state != 'T' && state != 'Z' && state != 'X') return false;
    }
    return !error;
  };
  while (!stands()) {
    if (kill(pid, 0) != 0) return absl::NotFoundError(absl::StrCat("no process ", pid));
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("process ", pid, " does not stand"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // nothing tells of it
  }
  return absl::OkStatus();
}

absl::Status ChildProcess::WaitForExit(absl::Duration deadline) {
  if (Reap(deadline)) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(
      "\"", options_.name, "\" (pid ", pid_, ") still runs after ", absl::FormatDuration(deadline),
      "; end of its log:\n", TailOfFile(options_.log_file)));
}

absl::Status ChildProcess::Terminate(absl::Duration deadline) {
  RETURN_IF_ERROR(Signal(SIGTERM));
  RETURN_IF_ERROR(WaitForExit(deadline));
  if (WIFEXITED(*wait_status_) && WEXITSTATUS(*wait_status_) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "\"", options_.name, "\" ended with ",
      WIFSIGNALED(*wait_status_) ? absl::StrCat("signal ", WTERMSIG(*wait_status_))
                                 : absl::StrCat("exit code ", WEXITSTATUS(*wait_status_)),
      " after SIGTERM; end of its log:\n", TailOfFile(options_.log_file)));
}

void ChildProcess::Kill9() {
  if (!Running()) return;
  kill(pid_, SIGKILL);
  Reap(absl::Minutes(1));  // A killed process may linger in the kernel while it frees memory.
}

absl::StatusOr<int64_t> ChildProcess::PeakMemoryBytes() const {
  ASSIGN_OR_RETURN(const std::string status, ReadFile(absl::StrCat("/proc/", pid_, "/status")));
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::ConsumePrefix(&line, "VmHWM:")) continue;
    absl::ConsumeSuffix(&line, "kB");
    int64_t kilobytes = 0;
    if (absl::SimpleAtoi(line, &kilobytes)) return kilobytes * 1024;
  }
  return absl::NotFoundError(absl::StrCat("\"", options_.name, "\" has ended: no VmHWM"));
}

absl::StatusOr<ProgramResult> RunProgram(ProcessOptions options, absl::Duration deadline,
                                         const std::string& input) {
  if (options.name.empty()) options.name = options.argv[0];
  // Files in memory rather than pipes: nobody has to read while the program runs.
  const Fd in(memfd_create("in", MFD_CLOEXEC));
  const Fd out(memfd_create("out", MFD_CLOEXEC));
  const Fd err(memfd_create("err", MFD_CLOEXEC));
  if (in.get() < 0 || out.get() < 0 || err.get() < 0) {
    return absl::ErrnoToStatus(errno, "cannot create a file in memory");
  }
  for (size_t done = 0; done < input.size();) {
    const ssize_t n = write(in.get(), input.data() + done, input.size() - done);
    if (n <= 0) return absl::ErrnoToStatus(errno, "cannot write to a file in memory");
    done += static_cast<size_t>(n);
  }
  lseek(in.get(), 0, SEEK_SET);
  ASSIGN_OR_RETURN(const pid_t pid,
                   Spawn(options, {.in = in.get(), .out = out.get(), .err = err.get()}));

  const Fd pidfd(PidFd(pid));
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  const absl::Time until = absl::Now() + deadline;
  int ready = 0;
  do {
    const int64_t left_ms = absl::ToInt64Milliseconds(until - absl::Now());
    ready = poll(&ended, 1, static_cast<int>(std::max<int64_t>(0, left_ms)));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }

  ProgramResult result;
  result.out = ReadAll(out.get());
  result.err = ReadAll(err.get());
  if (ready == 0) {
    return absl::DeadlineExceededError(absl::StrCat("\"", options.name, "\" did not end within ",
                                                    absl::FormatDuration(deadline), ": ",
                                                    result.err));
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (result.exit_code == 127 && result.err.empty()) {
    return absl::NotFoundError(absl::StrCat("cannot execute \"", options.argv[0], "\""));
  }
  return result;
}

absl::StatusOr<std::string> PostgresUser() {
  if (geteuid() != 0) return "";
  std::string buffer;
  if (!FindUser("postgres", &buffer).has_value()) {
    return absl::FailedPreconditionError(
        "PostgreSQL does not run as root and there is no user \"postgres\": install the package "
        "postgresql, or run this as another user");
  }
  return "postgres";
}

absl::Status GiveTo(const std::string& user, const std::string& path) {
  if (user.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Identity identity, LookUp(user));
  std::vector<std::string> paths = {path};
  std::error_code error;
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error)) {
      paths.push_back(entry.path().string());
    }
  }
  for (const std::string& each : paths) {
    if (lchown(each.c_str(), identity.uid, identity.gid) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot give \"", each, "\" to ", user));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::harness
