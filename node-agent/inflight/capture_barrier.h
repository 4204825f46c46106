// Waiting until capture has passed this moment.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe. Owns a connection of its own, without a replication origin, opened when needed.
class CaptureBarrier {
 public:
  // `wait_through` waits until capture has passed a position of local WAL, as
  // Capture::WaitThrough().
  using WaitThrough = std::function<absl::Status(Lsn, absl::Duration)>;
  CaptureBarrier(postgres::ConnectOptions options, WaitThrough wait_through)
      : options_(std::move(options)), wait_through_(std::move(wait_through)) {}

  // Returns once every local commit that was visible when it was called is in the change log and
  // in the version store. Hold no locks in the database meanwhile. kUnavailable if the server
  // cannot be reached, kDeadlineExceeded.
  absl::Status Pass(absl::Duration timeout);

  // Whether capture has passed this position of local WAL. Does not wait.
  bool HasPassed(Lsn local_lsn) const {
    return wait_through_(local_lsn, absl::ZeroDuration()).ok();
  }

 private:
  const postgres::ConnectOptions options_;
  const WaitThrough wait_through_;
  Mutex mu_;
  std::unique_ptr<postgres::Connection> connection_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
