#include "tests/chaos/client.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace bdr::chaos {

postgres::Connection* Client::Get() {
  while (connection_ == nullptr || connection_->broken()) {
    if (*stop_) return nullptr;
    absl::StatusOr<std::unique_ptr<postgres::Connection>> connected = cluster_->Connect(node_);
    if (connected.ok() &&
        (*connected)->Exec("SET lock_timeout = '3s'; SET statement_timeout = '20s'").ok()) {
      connection_ = *std::move(connected);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // Nobody tells when it is back.
    }
  }
  return connection_.get();
}

bool IsRefused(const absl::Status& status) {
  const std::string state = postgres::Sqlstate(status);
  return state == "23505" || state == "23P01" || state == "23503";
}

bool IsExpected(const absl::Status& status) {
  static const auto* const states =
      new std::vector<std::string>{"40001",            // serialization failure
                                   "40P01",            // deadlock
                                   "55P03", "57014"};  // waited too long for a lock
  return absl::IsUnavailable(status) || IsRefused(status) ||
         std::find(states->begin(), states->end(), postgres::Sqlstate(status)) != states->end();
}

}  // namespace bdr::chaos
