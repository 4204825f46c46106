#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/steady_clock.h"

namespace bdr {
namespace {

constexpr int kMostInAMinute = 5;
constexpr size_t kLongest = 500;

struct Lines {
  Mutex mu;
  absl::Time since ABSL_GUARDED_BY(mu) = absl::InfinitePast();
  int written ABSL_GUARDED_BY(mu) = 0;
  uint64_t left_out ABSL_GUARDED_BY(mu) = 0;
};

void Take(gpr_log_func_args* line) {
  if (line->severity != GPR_LOG_SEVERITY_ERROR) return;
  static Lines& lines = *new Lines;  // gRPC's threads may outlive static objects
  uint64_t left_out = 0;
  {
    MutexLock lock(&lines.mu);
    const absl::Time now = SteadyNow();
    if (now - lines.since >= absl::Minutes(1)) {
      lines.since = now;
      lines.written = 0;
    }
    if (lines.written == kMostInAMinute) {
      ++lines.left_out;
      return;
    }
    ++lines.written;
    left_out = lines.left_out;
    lines.left_out = 0;
  }
  const std::string text = std::string(line->message).substr(0, kLongest);
  if (left_out == 0) {
    LogWarning("grpc", {}, text);
  } else {
    LogWarning("grpc", {{"left_out", absl::StrCat(left_out)}}, text);
  }
}

}  // namespace

void TakeGrpcLog() {
  gpr_set_log_function(&Take);
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
}

}  // namespace bdr
