#include "node-agent/apply/pipe.h"

#include <utility>

#include "base/status_macros.h"

namespace bdr::agent {

absl::Status Pipe::Exec(const std::string& sql, Handler handler) {
  RETURN_IF_ERROR(connection_->QueueParams(sql, {}));
  expected_.push_back({.prepared = "", .handler = std::move(handler)});
  return absl::OkStatus();
}

absl::Status Pipe::Run(const std::string& name, const std::function<std::string()>& sql,
                       const std::vector<uint32_t>& type_oids,
                       const std::vector<std::string>& params, Handler handler,
                       bool binary_result) {
  if (!prepared_.contains(name) && preparing_.insert(name).second) {
    RETURN_IF_ERROR(connection_->QueuePrepare(name, sql(), type_oids));
    expected_.push_back({.prepared = name, .handler = nullptr});
  }
  std::vector<postgres::Param> bound;
  bound.reserve(params.size());
  for (const std::string& param : params) bound.push_back({.data = param, .binary = true});
  RETURN_IF_ERROR(connection_->QueuePrepared(name, bound, binary_result));
  expected_.push_back({.prepared = "", .handler = std::move(handler)});
  return absl::OkStatus();
}

void Pipe::DropHandlers() {
  for (Expected& expected : expected_) expected.handler = nullptr;
}

absl::Status Pipe::Finish() {
  absl::Status first = connection_->Sync();
  if (!first.ok()) return first;
  // What handlers queue comes behind this Sync: PostgreSQL answers it with the next one.
  for (size_t left = expected_.size(); left > 0; --left) {
    const Expected expected = std::move(expected_.front());
    expected_.pop_front();
    const absl::StatusOr<postgres::Result> result = connection_->Next();
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
  const absl::StatusOr<postgres::Result> sync = connection_->Next();
  if (first.ok() && !sync.ok()) first = sync.status();
  return first;
}

}  // namespace bdr::agent
