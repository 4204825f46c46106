// A real PostgreSQL server of a test's own: its own folder, port and life.
#pragma once

#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "postgres/connection.h"
#include "tests/harness/process.h"
#include "tests/harness/session_pool.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {

// The folder with initdb and postgres to use by default: $BDR_PG_BIN, or the newest of Debian's
// /usr/lib/postgresql/*/bin that is at least 15. kNotFound with what to install.
absl::StatusOr<std::string> DefaultPostgresBin();

// "15.20", of the `postgres` in a folder.
absl::StatusOr<std::string> PostgresVersion(const std::string& bin_folder);

struct PostgresOptions {
  std::string name = "postgres";  // for messages
  std::string bin_folder = {};    // empty: DefaultPostgresBin()
  std::string folder = {};        // of its own; empty: a temporary one
  int port = 0;                   // 0: a free one
  // Off is fast, and safe against anything but a crash of the whole machine.
  bool fsync = false;
  std::vector<std::pair<std::string, std::string>> settings = {};  // more of postgresql.conf
  // Added to the server's.
  std::vector<std::pair<std::string, std::string>> environment = {};
  int parent_death_signal = SIGQUIT;  // see ProcessOptions; 0: the server outlives us
  // See ProcessOptions. Not ours: we connect through the socket in `folder`.
  int network_namespace = -1;
};

// One server on 127.0.0.1 (and a unix socket in its folder), superuser "postgres", everybody
// trusted, set up for logical decoding: wal_level, commit timestamps, 20 slots and senders.
// Runs as user postgres if we are root. The first server of each version pays for initdb; the
// others copy what it made.
//
// The destructor ends the server and removes a temporary folder. Not thread-safe, but Exec(),
// QueryValue() and Connect() may be called from many threads while nobody starts or stops it.
class PostgresServer {
 public:
  // Creates the data folder and starts the server.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Create(PostgresOptions options = {});
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  enum class StopMode { kFast, kImmediate };
  // Returns once the server accepts connections.
  absl::Status Start();
  absl::Status Stop(StopMode mode = StopMode::kFast);
  absl::Status Restart(StopMode mode = StopMode::kFast);
  // SIGKILL for the postmaster and all its children at once.
  absl::Status Kill9();
  // SIGSTOP for all of them, as if the machine hung; SIGCONT.
  absl::Status Pause();
  absl::Status Resume();
  bool Running();

  // For libpq, over TCP if the server is in our network.
  std::string conninfo(absl::string_view user = "postgres",
                       absl::string_view database = "postgres") const;
  absl::StatusOr<std::unique_ptr<postgres::Connection>> Connect(
      absl::string_view user = "postgres", absl::string_view database = "postgres") const;
  // As superuser, in a session that is as good as new; many statements are one transaction.
  absl::Status Exec(const std::string& sql, absl::string_view database = "postgres") const;
  absl::StatusOr<std::string> QueryValue(const std::string& sql,
                                         absl::string_view database = "postgres") const;
  // The superuser's sessions, for whoever asks much.
  SessionPool& sessions() const { return sessions_; }
  // Runs a script by psql, each statement in a transaction of its own, up to the first error.
  absl::Status RunScript(const std::string& sql, absl::string_view database = "postgres") const;

  const std::string& name() const { return options_.name; }
  const std::string& bin_folder() const { return options_.bin_folder; }
  const std::string& folder() const { return options_.folder; }
  std::string data_folder() const { return options_.folder + "/data"; }
  std::string log_file() const { return options_.folder + "/postgres.log"; }
  int port() const { return options_.port; }
  pid_t pid() const { return process_ ? process_->pid() : 0; }
  // The server runs on after this object is gone (see parent_death_signal).
  void Detach();

 private:
  PostgresServer(PostgresOptions options, std::unique_ptr<TempFolder> temporary, std::string user);
  absl::Status CreateDataFolder() const;
  absl::Status WaitUntilReady(absl::Duration deadline);

  const PostgresOptions options_;
  const std::unique_ptr<TempFolder> temporary_;  // null if the folder was given
  const std::string user_;
  std::unique_ptr<ChildProcess> process_;
  mutable SessionPool sessions_;
};

}  // namespace bdr::harness
