#include "node-agent/apply/pipe.h"

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
  expected_.push_back({.prepared = "", .handler = std::move(handler), .label = Label(sql)});
  return absl::OkStatus();
}

absl::Status Pipe::Run(const std::string& name, const std::function<std::string()>& sql,
                       const std::vector<uint32_t>& type_oids,
                       const std::vector<std::string>& params, Handler handler,
                       bool binary_result) {
  if (!prepared_.contains(name) && preparing_.insert(name).second) {
    const std::string text = sql();
    RETURN_IF_ERROR(connection_->QueuePrepare(name, text, type_oids));
    std::string& label = labels_[name];
    label = Label(text);
    expected_.push_back(
        {.prepared = name, .handler = nullptr, .label = absl::StrCat("(prepare) ", label)});
  }
  std::vector<postgres::Param> bound;
  bound.reserve(params.size());
  for (const std::string& param : params) bound.push_back({.data = param, .binary = true});
  RETURN_IF_ERROR(connection_->QueuePrepared(name, bound, binary_result));
  expected_.push_back({.prepared = "", .handler = std::move(handler), .label = labels_[name]});
  return absl::OkStatus();
}

absl::Status Pipe::ForgetStatements() {
  if (prepared_.empty()) return absl::OkStatus();
  prepared_.clear();
  preparing_.clear();
  labels_.clear();
  RETURN_IF_ERROR(Exec("DEALLOCATE ALL"));
  return Finish();
}

void Pipe::DropHandlers() {
  for (Expected& expected : expected_) expected.handler = nullptr;
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
    if (!result.ok()) {
      preparing_.erase(expected.prepared);
      if (first.ok()) first = result.status();
      if (connection_->broken()) {
        expected_.clear();
        return first;
      }
      continue;
    }
    if (!expected.prepared.empty()) {
      prepared_.insert(expected.prepared);
      preparing_.erase(expected.prepared);
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
