#include "tests/harness/postgres_server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "tests/harness/ports.h"

namespace bdr::harness {
namespace {

constexpr int kOldestMajor = 15;
// sun_path holds 107 characters.
constexpr size_t kLongestSocketPath = 107;

absl::Status RunAs(const std::string& user, std::vector<std::string> argv) {
  const std::string program = argv[0];
  ASSIGN_OR_RETURN(const ProgramResult result,
                   RunProgram({.argv = std::move(argv), .user = user, .working_folder = "/"}));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("\"", program, "\" failed: ", result.err.empty() ? result.out : result.err));
}

// initdb takes seconds, a copy of what it made a fraction of one. The copy lies in the build
// folder, made by whoever comes first; the others wait at the lock.
absl::StatusOr<std::string> DataFolderTemplate(const std::string& bin_folder,
                                               const std::string& user) {
  ASSIGN_OR_RETURN(const std::string version, PostgresVersion(bin_folder));
  const std::string parent = absl::StrCat(BuildFolder(), "/pg-templates");
  const std::string path = absl::StrCat(parent, "/", absl::StrReplaceAll(bin_folder, {{"/", "_"}}),
                                        "-", version, "-", geteuid());
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  const std::string lock_path = path + ".lock";
  const int lock = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock \"", lock_path, "\""));
  }
  const auto make = [&]() -> absl::Status {
    if (std::filesystem::exists(path)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto work, TempFolder::Create("bdr-initdb"));
    RETURN_IF_ERROR(GiveTo(user, work->path()));
    const std::string data = work->path() + "/data";
    RETURN_IF_ERROR(
        RunAs(user, {bin_folder + "/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E",
                     "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"}));
    std::filesystem::remove_all(path + ".part", error);
    RETURN_IF_ERROR(RunAs("", {"cp", "-a", data, path + ".part"}));
    std::filesystem::rename(path + ".part", path, error);
    if (error) return absl::InternalError(absl::StrCat("cannot create \"", path, "\""));
    return absl::OkStatus();
  };
  const absl::Status made = make();
  close(lock);
  if (!made.ok()) return made;
  return path;
}

std::string Settings(const PostgresOptions& options) {
  std::map<std::string, std::string> settings = {
      {"listen_addresses", "127.0.0.1"},
      {"port", absl::StrCat(options.port)},
      {"fsync", options.fsync ? "on" : "off"},
      {"wal_level", "logical"},
      {"track_commit_timestamp", "on"},
      {"max_replication_slots", "20"},
      {"max_wal_senders", "20"},
      {"max_connections", "100"},
      {"shared_buffers", "64MB"},
      {"timezone", "UTC"},
      {"log_timezone", "UTC"},
      {"log_line_prefix", "%m [%p] %q%u@%d/%a "},
      {"unix_socket_directories", options.folder},
  };
  const std::string socket = absl::StrCat(options.folder, "/.s.PGSQL.", options.port);
  if (socket.size() > kLongestSocketPath) settings["unix_socket_directories"] = "";
  for (const auto& [name, value] : options.settings) settings[name] = value;
  std::string text;
  for (const auto& [name, value] : settings) {
    absl::StrAppend(&text, name, " = ", postgres::QuoteLiteral(value), "\n");
  }
  return text;
}

// The postmaster's children. Each is a session of its own, so no signal to a group reaches them.
std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::vector<pid_t> children;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    const absl::StatusOr<std::string> stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
    if (!stat.ok()) continue;
    // "pid (name) state ppid ...": the name may hold anything, so look behind the last ')'.
    const std::vector<absl::string_view> fields =
        absl::StrSplit(stat->substr(stat->rfind(')') + 1), ' ', absl::SkipEmpty());
    pid_t its_parent = 0;
    if (fields.size() > 1 && absl::SimpleAtoi(fields[1], &its_parent) && its_parent == parent) {
      children.push_back(pid);
    }
  }
  return children;
}

}  // namespace

absl::StatusOr<std::string> PostgresVersion(const std::string& bin_folder) {
  ASSIGN_OR_RETURN(const ProgramResult result,
                   RunProgram({.argv = {bin_folder + "/postgres", "--version"}}));
  // "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
  const std::vector<absl::string_view> words =
      absl::StrSplit(result.out, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  if (result.exit_code != 0 || words.size() < 3) {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", bin_folder, "/postgres --version\": ", result.out, result.err));
  }
  return std::string(words[2]);
}

absl::StatusOr<std::string> DefaultPostgresBin() {
  if (const char* folder = getenv("BDR_PG_BIN"); folder != nullptr) {
    ASSIGN_OR_RETURN(const std::string version, PostgresVersion(folder));
    int major = 0;
    if (absl::SimpleAtoi(version.substr(0, version.find_first_not_of("0123456789")), &major) &&
        major < kOldestMajor) {
      return absl::FailedPreconditionError(absl::StrCat("PostgreSQL ", version,
                                                        " of BDR_PG_BIN is too old: at least ",
                                                        kOldestMajor, " is needed"));
    }
    return std::string(folder);
  }
  int best = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
    int major = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &major) &&
        std::filesystem::exists(entry.path() / "bin/postgres")) {
      best = std::max(best, major);
    }
  }
  if (best == 0) {
    return absl::NotFoundError(
        "no PostgreSQL server in /usr/lib/postgresql: install the package postgresql, or set "
        "BDR_PG_BIN to the folder that holds initdb and postgres");
  }
  if (best < kOldestMajor) {
    return absl::NotFoundError(absl::StrCat("PostgreSQL ", best, " is too old: at least ",
                                            kOldestMajor, " is needed; install a newer one"));
  }
  return absl::StrCat("/usr/lib/postgresql/", best, "/bin");
}

PostgresServer::PostgresServer(PostgresOptions options, std::unique_ptr<TempFolder> temporary,
                               std::string user)
    : options_(std::move(options)),
      temporary_(std::move(temporary)),
      user_(std::move(user)),
      sessions_([this](const std::string& database) { return Connect("postgres", database); }) {}

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Create(PostgresOptions options) {
  if (options.bin_folder.empty()) {
    ASSIGN_OR_RETURN(options.bin_folder, DefaultPostgresBin());
  }
  if (options.port == 0) {
    ASSIGN_OR_RETURN(options.port, FreePort());
  }
  std::unique_ptr<TempFolder> temporary;
  if (options.folder.empty()) {
    ASSIGN_OR_RETURN(temporary, TempFolder::Create("bdr-pg"));
    options.folder = temporary->path();
  }
  ASSIGN_OR_RETURN(std::string user, PostgresUser());
  std::unique_ptr<PostgresServer> server(
      new PostgresServer(std::move(options), std::move(temporary), std::move(user)));
  RETURN_IF_ERROR(server->CreateDataFolder());
  RETURN_IF_ERROR(server->Start());
  return server;
}

PostgresServer::~PostgresServer() {
  if (process_ && process_->Running()) Stop(StopMode::kImmediate).IgnoreError();
}

absl::Status PostgresServer::CreateDataFolder() const {
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  RETURN_IF_ERROR(GiveTo(user_, options_.folder));
  if (!RunAs(user_, {"/usr/bin/test", "-w", options_.folder}).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("user \"", user_, "\", which PostgreSQL runs as, cannot enter \"",
                     options_.folder, "\": use a folder whose parents let everybody in"));
  }
  ASSIGN_OR_RETURN(const std::string source, DataFolderTemplate(options_.bin_folder, user_));
  RETURN_IF_ERROR(RunAs("", {"cp", "-a", "--reflink=auto", source, data_folder()}));
  const std::string config = data_folder() + "/bdr.conf";
  RETURN_IF_ERROR(WriteFile(config, Settings(options_)));
  RETURN_IF_ERROR(GiveTo(user_, config));
  const std::string main = data_folder() + "/postgresql.conf";
  ASSIGN_OR_RETURN(const std::string before, ReadFile(main));
  RETURN_IF_ERROR(WriteFile(main, before + "\ninclude 'bdr.conf'\n", 0600));
  return GiveTo(user_, main);
}

absl::Status PostgresServer::Start() {
  if (Running()) return absl::OkStatus();
  const absl::Time until = absl::Now() + absl::Seconds(30);
  while (true) {
    ASSIGN_OR_RETURN(
        process_,
        ChildProcess::Start({.name = options_.name,
                             .argv = {options_.bin_folder + "/postgres", "-D", data_folder()},
                             .environment = options_.environment,
                             .log_file = log_file(),
                             .user = user_,
                             .working_folder = options_.folder,
                             .network_namespace = options_.network_namespace,
                             .parent_death_signal = options_.parent_death_signal}));
    const absl::Status ready = WaitUntilReady(absl::Seconds(60));
    // After a kill, a process of the old server that still ends keeps its shared memory.
    const bool too_early = absl::StrContains(ready.message(), "is still in use");
    if (ready.ok() || !too_early || absl::Now() > until) return ready;
  }
}

absl::Status PostgresServer::WaitUntilReady(absl::Duration deadline) {
  const absl::Time until = absl::Now() + deadline;
  const std::string target = conninfo();
  while (PQping(target.c_str()) != PQPING_OK) {
    if (!process_->Running()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "\"", options_.name, "\" did not start; end of its log:\n", TailOfFile(log_file())));
    }
    if (absl::Now() > until) {
      return absl::DeadlineExceededError(absl::StrCat(
          "\"", options_.name, "\" accepts no connections; log:\n", TailOfFile(log_file())));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // Nothing tells when it is ready.
  }
  return absl::OkStatus();
}

absl::Status PostgresServer::Stop(StopMode mode) {
  if (!Running()) return absl::OkStatus();
  RETURN_IF_ERROR(process_->Signal(mode == StopMode::kFast ? SIGINT : SIGQUIT));
  return process_->WaitForExit(absl::Seconds(60));
}

absl::Status PostgresServer::Restart(StopMode mode) {
  RETURN_IF_ERROR(Stop(mode));
  return Start();
}

absl::Status PostgresServer::Kill9() {
  // Stopped first, so that it neither starts new children nor tells the others that one died.
  RETURN_IF_ERROR(process_->Pause());
  const std::vector<pid_t> children = ChildrenOf(process_->pid());
  for (pid_t child : children) kill(child, SIGKILL);
  process_->Kill9();
  // A new server refuses to start while one of them still has the old shared memory.
  const absl::Time until = absl::Now() + absl::Seconds(30);
  for (pid_t child : children) {
    while (kill(child, 0) == 0) {
      if (absl::Now() > until) {
        return absl::DeadlineExceededError(
            absl::StrCat("a process of \"", options_.name, "\" (", child, ") does not end"));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // Nothing tells of its end.
    }
  }
  return absl::OkStatus();
}

absl::Status PostgresServer::Pause() {
  // The postmaster first: it starts no new children then.
  RETURN_IF_ERROR(process_->Pause());
  for (const pid_t child : ChildrenOf(process_->pid())) (void)StopProcess(child);
  return absl::OkStatus();
}

absl::Status PostgresServer::Resume() {
  for (const pid_t child : ChildrenOf(process_->pid())) kill(child, SIGCONT);
  return process_->Resume();
}

bool PostgresServer::Running() { return process_ && process_->Running(); }

void PostgresServer::Detach() {
  if (process_) process_->Detach();
  process_.reset();
}

std::string PostgresServer::conninfo(absl::string_view user, absl::string_view database) const {
  return absl::StrCat("host=", options_.network_namespace < 0 ? "127.0.0.1" : options_.folder,
                      " port=", options_.port, " user=", user, " dbname=", database);
}

absl::StatusOr<std::unique_ptr<postgres::Connection>> PostgresServer::Connect(
    absl::string_view user, absl::string_view database) const {
  return postgres::Connection::Connect(
      {.conninfo = conninfo(user, database), .application_name = "test", .users_settings = true});
}

absl::Status PostgresServer::Exec(const std::string& sql, absl::string_view database) const {
  ASSIGN_OR_RETURN(auto session, sessions_.Take(std::string(database)));
  RETURN_IF_ERROR(session->Exec(sql).status());
  sessions_.GiveBack(std::string(database), std::move(session), sql);
  return absl::OkStatus();
}

absl::StatusOr<std::string> PostgresServer::QueryValue(const std::string& sql,
                                                       absl::string_view database) const {
  ASSIGN_OR_RETURN(auto session, sessions_.Take(std::string(database)));
  ASSIGN_OR_RETURN(std::string value, session->QueryValue(sql));
  sessions_.GiveBack(std::string(database), std::move(session), sql);
  return value;
}

absl::Status PostgresServer::RunScript(const std::string& sql, absl::string_view database) const {
  // Only Debian's packages bring psql; any version of it talks to any server.
  std::string psql = options_.bin_folder + "/psql";
  if (!std::filesystem::exists(psql)) psql = "psql";
  ASSIGN_OR_RETURN(const ProgramResult result,
                   RunProgram({.argv = {psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d",
                                        conninfo("postgres", database)}},
                              absl::Seconds(120), sql));
  sessions_.Clear();  // it may have changed what sessions begin with
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("a script failed on \"", options_.name, "\": ", result.err));
}

}  // namespace bdr::harness
