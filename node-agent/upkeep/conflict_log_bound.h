// Keeps bdr.conflict_log within its bounds, by age and by number of rows.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe.
class ConflictLogBound {
 public:
  struct Options {
    absl::Duration max_age;
    int64_t max_rows = 0;
  };
  explicit ConflictLogBound(Options options) : options_(options) {}

  // To be called all the time: looks once a minute, and then deletes no more than kRowsAtATime in a
  // call, so that who calls it has time for other things. `stable_us`: Progress::StableTime(). By
  // that the age is told: a clock of this server that was set ahead by mistake would else empty the
  // log at the moment at which it is needed. Errors as Connection::Exec(); but where a user holds
  // a lock it is left for the next time.
  absl::Status Look(postgres::Connection* connection, int64_t stable_us);

  static constexpr int64_t kRowsAtATime = 1000;

 private:
  const Options options_;
  absl::Time looked_ = absl::InfinitePast();
};

}  // namespace bdr::agent
