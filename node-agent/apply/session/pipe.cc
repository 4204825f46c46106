#include "node-agent/apply/session/pipe.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

namespace {

// What people need of a statement: what it does, and to which table. Values are not among what
// comes first.
std::string Label(absl::string_view sql) {
  constexpr size_t kMost = 80;
  constexpr absl::string_view kLocks = "FOR UPDATE OF t";
  const size_t joined = sql.find(" JOIN ");
  if (absl::EndsWith(sql, kLocks) && joined != absl::string_view::npos) {
    const absl::string_view table = sql.substr(joined + 6);
    return absl::StrCat("SELECT ... FOR UPDATE of ", table.substr(0, table.find(" AS t")));
  }
  return std::string(sql.substr(0, std::min({kMost, sql.find(" AS t"), sql.find(" (")})));
}

}  // namespace

absl::Status Pipe::Exec(const std::string& sql, Handler handler) {
  RETURN_IF_ERROR(connection_->QueueParams(sql, {}));
  expected_.push_back({.handler = std::move(handler), .label = Label(sql)});
  return absl::OkStatus();
}

absl::Status Pipe::Run(const std::string& name, const std::function<std::string()>& sql,
                       const std::vector<uint32_t>& type_oids,
                       const std::vector<std::string>& params, Handler handler,
                       bool binary_result) {
  const auto known = by_name_.find(name);
  Statements::iterator statement;
  if (known == by_name_.end()) {
    ASSIGN_OR_RETURN(statement, Prepare(name, sql(), type_oids));
  } else {
    statement = known->second;
    statements_.splice(statements_.begin(), statements_, statement);
  }
  std::vector<postgres::Param> bound;
  bound.reserve(params.size());
  for (const std::string& param : params) bound.push_back({.data = param, .binary = true});
  RETURN_IF_ERROR(connection_->QueuePrepared(statement->server_name, bound, binary_result));
  expected_.push_back({.handler = std::move(handler), .label = statement->label});
  return absl::OkStatus();
}

absl::StatusOr<Pipe::Statements::iterator> Pipe::Prepare(const std::string& name,
                                                         const std::string& sql,
                                                         const std::vector<uint32_t>& type_oids) {
  // Of those that are still to be answered it is not known whether there is anything to give up.
  for (auto last = statements_.end();
       statements_.size() >= most_statements_ && last != statements_.begin();) {
    if (!(--last)->answered) continue;
    given_up_.push_back(last->server_name);
    by_name_.erase(last->name);
    last = statements_.erase(last);
  }
  RETURN_IF_ERROR(QueueGivingUp());
  const std::string server_name = absl::StrCat("bdr", ++made_);
  RETURN_IF_ERROR(connection_->QueuePrepare(server_name, sql, type_oids));
  statements_.push_front({.name = name, .server_name = server_name, .label = Label(sql)});
  by_name_[name] = statements_.begin();
  expected_.push_back({.prepares = server_name,
                       .name = name,
                       .handler = nullptr,
                       .label = absl::StrCat("(prepare) ", statements_.front().label)});
  return statements_.begin();
}

absl::Status Pipe::QueueGivingUp() {
  for (const std::string& server_name : std::exchange(given_up_, {})) {
    const std::string sql = absl::StrCat("DEALLOCATE ", server_name);
    RETURN_IF_ERROR(connection_->QueueParams(sql, {}));
    expected_.push_back({.gives_up = server_name, .handler = nullptr, .label = sql});
  }
  return absl::OkStatus();
}

void Pipe::Answered(const Expected& expected, bool ok) {
  // Skipped, behind another error.
  if (!expected.gives_up.empty() && !ok) given_up_.push_back(expected.gives_up);
  if (expected.prepares.empty()) return;
  const auto known = by_name_.find(expected.name);
  if (known == by_name_.end() || known->second->server_name != expected.prepares) return;
  if (ok) {
    known->second->answered = true;
    return;
  }
  statements_.erase(known->second);
  by_name_.erase(known);
}

absl::Status Pipe::ForgetStatements() {
  if (statements_.empty() && given_up_.empty()) return absl::OkStatus();
  statements_.clear();
  by_name_.clear();
  given_up_.clear();
  RETURN_IF_ERROR(Exec("DEALLOCATE ALL"));
  return Finish();
}

void Pipe::DropHandlers() {
  for (Expected& expected : expected_) expected.handler = nullptr;
}

absl::Status Pipe::Rollback() {
  DropHandlers();
  if (!idle()) Finish().IgnoreError();
  if (absl::Status status = Exec("ROLLBACK"); !status.ok()) return status;
  return Finish();
}

absl::StatusOr<postgres::Result> Pipe::Next() {
  absl::Duration patience = slow_after_;
  while (true) {
    absl::StatusOr<postgres::Result> result = connection_->Next(patience);
    if (!absl::IsDeadlineExceeded(result.status()) || connection_->broken() || slow_ == nullptr) {
      return result;
    }
    slow_();
    patience *= 2;
  }
}

absl::Status Pipe::Finish() {
  absl::Status first = connection_->Sync();
  if (!first.ok()) return first;
  // What handlers queue comes behind this Sync: PostgreSQL answers it with the next one.
  for (size_t left = expected_.size(); left > 0; --left) {
    const Expected expected = std::move(expected_.front());
    expected_.pop_front();
    Tell(expected.label);
    const absl::StatusOr<postgres::Result> result = Next();
    Answered(expected, result.ok());
    if (!result.ok()) {
      if (first.ok()) first = result.status();
      if (connection_->broken()) {
        expected_.clear();
        return first;
      }
      continue;
    }
    if (expected.handler && first.ok()) first = expected.handler(*result);
  }
  Tell("Sync");
  const absl::StatusOr<postgres::Result> sync = Next();
  Tell("");
  if (first.ok() && !sync.ok()) first = sync.status();
  return first;
}

}  // namespace bdr::agent
