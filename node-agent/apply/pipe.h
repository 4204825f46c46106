// Statements queued on a connection in pipeline mode, each with what is to be done with its result.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "node-agent/apply/activity.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe. `connection` outlives it and is in pipeline mode.
class Pipe {
 public:
  using Handler = std::function<absl::Status(const postgres::Result&)>;

  // `activity`, if there is one, is told which statement's result is waited for, and outlives this.
  explicit Pipe(postgres::Connection* connection, Activity* activity = nullptr)
      : connection_(connection), activity_(activity) {}

  // Runs a statement without parameters.
  absl::Status Exec(const std::string& sql, Handler handler = nullptr);
  // Runs a statement that is prepared in this session under `name` when it is first needed.
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

  // Forgets what was to be done with results that are still to come: whoever queued it is gone.
  void DropHandlers();

 private:
  struct Expected {
    std::string prepared;  // name of the statement that this result says is prepared
    Handler handler;
    std::string label;
  };
  void Tell(absl::string_view statement) const {
    if (activity_ != nullptr) activity_->SetStatement(statement);
  }

  absl::StatusOr<postgres::Result> Next();

  postgres::Connection* const connection_;
  Activity* const activity_;
  absl::flat_hash_map<std::string, std::string> labels_;  // by name of the statement
  absl::Duration slow_after_ = absl::InfiniteDuration();
  std::function<void()> slow_;
  absl::flat_hash_set<std::string> prepared_;
  absl::flat_hash_set<std::string> preparing_;
  std::deque<Expected> expected_;
};

}  // namespace bdr::agent
