// What other tools write under replication origins of their own: a subscription, an ETL job.
//
// Such transactions were made elsewhere, by their word, so they are not this node's to send on:
// they go to no other node, and nothing else would show it. On PostgreSQL 15 capture sees and drops
// them; from 16 on the server keeps them away, and only its record of origins tells that they move.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe.
class ForeignOrigins {
 public:
  // `forwarded`: capture sends all of it on, so that there is nothing to warn of.
  explicit ForeignOrigins(bool forwarded = false) : forwarded_(forwarded) {}

  // An origin of the agents' own: nothing to tell of.
  static bool IsOurs(absl::string_view name);

  // Capture has dropped a transaction of this origin.
  void Dropped(absl::string_view name);
  // Looks which origins have moved since the last call. One caller, one connection; errors as
  // Connection::Exec().
  absl::Status Look(postgres::Connection* connection);

  // A warning as long as one of them writes: a minute after the last time.
  Health health() const;

 private:
  struct Origin {
    std::string local_lsn;                    // as last looked at
    absl::Time since = absl::InfinitePast();  // it has been writing, if `last` is not long ago
    absl::Time last = absl::InfinitePast();
    uint64_t transactions = 0;  // since then; 0 where they are not counted
    std::string subscription;
    bool told = false;
  };

  void MovedLocked(const std::string& name, Origin* origin, absl::Time now);

  const bool forwarded_;
  mutable Mutex mu_;
  std::map<std::string, Origin, std::less<>> origins_ ABSL_GUARDED_BY(mu_);
  bool looked_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace bdr::agent
