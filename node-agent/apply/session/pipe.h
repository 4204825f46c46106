// Statements queued on a connection in pipeline mode, each with what is to be done with its result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "node-agent/apply/session/activity.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe. `connection` outlives it and is in pipeline mode.
class Pipe {
 public:
  using Handler = std::function<absl::Status(const postgres::Result&)>;

  // `activity`, if there is one, is told which statement's result is waited for, and outlives this.
  // Of `most_statements` that are prepared the one that was not used for longest is given up for
  // the next; more stay only while one Finish() needs them.
  explicit Pipe(postgres::Connection* connection, Activity* activity = nullptr,
                size_t most_statements = kMostStatements)
      : connection_(connection), activity_(activity), most_statements_(most_statements) {}

  // The server keeps 50 to 100 kB for each in every session: this many serve some hundred tables.
  static constexpr size_t kMostStatements = 1000;

  // Runs a statement without parameters.
  absl::Status Exec(const std::string& sql, Handler handler = nullptr);
  // Runs a statement that is prepared in this session when it is first needed. `name` may be of any
  // length and is not the server's, which would cut it at 63 bytes and take two for one.
  absl::Status Run(const std::string& name, const std::function<std::string()>& sql,
                   const std::vector<uint32_t>& type_oids, const std::vector<std::string>& params,
                   Handler handler, bool binary_result = false);

  // Sends all, waits for every result and hands each to its handler. The first error, from the
  // server or a handler; what came after a server's error was skipped. What handlers queue is sent
  // by the next Finish().
  absl::Status Finish();

  // From now on Finish() calls `slow` where an answer takes longer than `after`, and again and
  // again at growing distances while it does not come. `slow` does not use this connection.
  void SetSlow(absl::Duration after, std::function<void()> slow) {
    slow_after_ = after;
    slow_ = std::move(slow);
  }

  // Gives up all prepared statements, which the server would keep as long as the session. Outside
  // of a transaction.
  absl::Status ForgetStatements();

  // Nothing was queued whose result is still to come.
  bool idle() const { return expected_.empty(); }

  // Leaves the transaction that is open. What is still queued goes first, by itself: if it fails,
  // PostgreSQL skips all that stands behind it up to the Sync, and ROLLBACK would be among that.
  absl::Status Rollback();

  // Forgets what was to be done with results that are still to come: whoever queued it is gone.
  void DropHandlers();

 private:
  struct Prepared {
    std::string name;
    std::string server_name;
    std::string label;
    bool answered = false;  // the server has said that it is prepared
  };
  // The one that was used last comes first.
  using Statements = std::list<Prepared>;
  struct Expected {
    std::string prepares = {};  // server's name of the statement that this result says is prepared
    std::string gives_up = {};  // ... or given up
    std::string name = {};      // by which Run() knows it
    Handler handler;
    std::string label;
  };
  void Tell(absl::string_view statement) const {
    if (activity_ != nullptr) activity_->SetStatement(statement);
  }

  absl::StatusOr<Statements::iterator> Prepare(const std::string& name, const std::string& sql,
                                               const std::vector<uint32_t>& type_oids);
  absl::Status QueueGivingUp();
  void Answered(const Expected& expected, bool ok);
  absl::StatusOr<postgres::Result> Next();

  postgres::Connection* const connection_;
  Activity* const activity_;
  const size_t most_statements_;
  absl::Duration slow_after_ = absl::InfiniteDuration();
  std::function<void()> slow_;
  Statements statements_;
  absl::flat_hash_map<std::string, Statements::iterator> by_name_;
  // Server's names of statements that nobody knows here any more and the server still keeps.
  std::vector<std::string> given_up_;
  uint64_t made_ = 0;  // statements, ever
  std::deque<Expected> expected_;
};

}  // namespace bdr::agent
