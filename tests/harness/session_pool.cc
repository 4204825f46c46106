#include "tests/harness/session_pool.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace bdr::harness {
namespace {

// A server that was stopped since has closed it, or would say so as soon as it is used.
bool StillThere(postgres::Connection& session) {
  char byte = 0;
  const ssize_t received =
      recv(PQsocket(session.raw()), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  return received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

// After which sessions that are there differ from new ones, whatever DISCARD does.
bool OutlivesDiscard(absl::string_view sql) {
  const std::string lower = absl::AsciiStrToLower(sql);
  for (const char* words : {"alter role", "alter user", "alter database", "alter system",
                            "drop database", "replication_origin"}) {
    if (absl::StrContains(lower, words)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<postgres::Connection>> SessionPool::Take(
    const std::string& database) {
  {
    MutexLock lock(&mu_);
    auto& idle = idle_[database];
    while (!idle.empty()) {
      std::unique_ptr<postgres::Connection> session = std::move(idle.back());
      idle.pop_back();
      if (StillThere(*session)) return session;
    }
  }
  return connect_(database);
}

void SessionPool::GiveBack(const std::string& database,
                           std::unique_ptr<postgres::Connection> session,
                           absl::string_view used_for) {
  if (OutlivesDiscard(used_for)) return Clear();
  if (PQtransactionStatus(session->raw()) != PQTRANS_IDLE) return;
  if (!session->Exec("DISCARD ALL").ok()) return;
  MutexLock lock(&mu_);
  idle_[database].push_back(std::move(session));
}

void SessionPool::Clear() {
  MutexLock lock(&mu_);
  idle_.clear();
}

}  // namespace bdr::harness
