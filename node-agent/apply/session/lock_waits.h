// What an applier does about locks that others hold.
//
// A lock that has to be waited for is a lock that keeps others waiting: whoever comes later for a
// table queues behind an ACCESS EXCLUSIVE that is not granted yet, and a group that waits for one
// row holds all that it has locked before. So every lock is tried for a short time only. Then the
// group rolls back, and what is in the way is waited for outside of any transaction. What that is,
// PostgreSQL tells while one waits (rows) or afterwards (tables), to a session of its own.
//
// How long is short: of a table, milliseconds, since all its users wait meanwhile; of a row, far
// longer than users' transactions take, since only its other writers do. Where something else is in
// the way each time, the table or row is busy, and the time is doubled, so that its turn comes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "node-agent/apply/session/pipe.h"
#include "postgres/connection.h"

namespace bdr::agent {

// SQLSTATE lock_not_available: what a lock that is tried for a short time ends with.
bool IsLockTimeout(const absl::Status& status);

// A lock timeout of another session of ours that looked at a table (`name`: as SQL; `display`: for
// people), so that who is in the way can be found out. Another status stays as it is.
absl::Status AtTable(absl::Status status, absl::string_view name, absl::string_view display);

// For one applier's session. Not thread-safe.
class LockWaits {
 public:
  // How long an answer of the server may take before it is asked what its session waits for.
  static constexpr absl::Duration kAskAfter = absl::Milliseconds(500);

  LockWaits(std::string conninfo, std::string application_name)
      : conninfo_(std::move(conninfo)), application_name_(std::move(application_name)) {}

  // For how long a row is tried now.
  absl::Duration row_timeout() const;

  // A new attempt: no table has been tried.
  void BeginAttempt() { tables_.clear(); }
  // Queues the lock, which is tried for a short time. `name`: as SQL. `display`: for people.
  absl::Status QueueTableLock(Pipe* pipe, absl::string_view name, absl::string_view display,
                              uint32_t table_oid, absl::string_view mode);

  // What the backend waits for at this moment, if it is a lock.
  void AskAbout(int backend_pid);
  // An attempt ended with this lock timeout, and was rolled back: finds out what was in the way, if
  // it is not known yet, and sets how long is tried the next time.
  void TimedOut(const absl::Status& status, int backend_pid);
  // Whether that is still there. True where it cannot be asked.
  bool StillThere();
  // Whether the next attempt is only to see what can be done beside what is still in the way.
  void SetBrief(bool brief) { brief_ = brief; }
  // What was wanted was had.
  void Passed();

  // What is waited for and who is in the way, for people; what is known of it. Empty: nothing is
  // waited for.
  const std::string& reason() const { return reason_; }
  bool knows_holders() const { return !holders_.empty(); }

 private:
  struct TableTried {
    std::string oid;  // SQL
    std::string display;
    std::string mode;
    std::shared_ptr<bool> locked;
  };
  absl::StatusOr<postgres::Connection*> Session();
  absl::Duration table_timeout() const;
  absl::Status LookAtWait(int backend_pid);
  absl::Status LookAtTable(const TableTried& table, int backend_pid);
  void Take(const postgres::Result& result, absl::string_view what);

  const std::string conninfo_;
  const std::string application_name_;
  std::unique_ptr<postgres::Connection> session_;  // while something is in the way
  static constexpr absl::Duration kFirstRowTimeout = absl::Seconds(1);
  static constexpr absl::Duration kFirstTableTimeout = absl::Milliseconds(50);
  absl::Duration row_timeout_ = kFirstRowTimeout;
  absl::Duration table_timeout_ = kFirstTableTimeout;
  std::vector<TableTried> tables_;
  // Virtual transaction ids, as pg_locks shows them.
  std::vector<std::string> holders_;
  std::string reason_;
  bool asked_ = false;  // holders_ are of this attempt
  bool brief_ = false;
};

}  // namespace bdr::agent
