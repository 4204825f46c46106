#include "node-agent/clocks/clock_gate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kLongestWait = absl::Milliseconds(50);
constexpr absl::Duration kHeldWait = absl::Milliseconds(100);
// The clock was read a moment before it is known here. Not to be taken for a clock that is behind:
// the server is asked as well.
constexpr int64_t kReadingSlackUs = 20'000;

std::string TimeOfDay(int64_t us) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%E3S UTC", absl::FromUnixMicros(us), absl::UTCTimeZone());
}

}  // namespace

std::string RoughDuration(int64_t us) {
  const double seconds = static_cast<double>(us) / 1e6;
  if (seconds < 1) return absl::StrCat(us / 1000, "ms");
  if (seconds < 120) return absl::StrFormat("%.1fs", seconds);
  const int64_t minutes = us / 60'000'000;
  if (minutes < 48 * 60) return absl::StrCat(minutes / 60, "h", minutes % 60, "m");
  return absl::StrCat(minutes / (24 * 60), " days");
}

int64_t ClockGate::Newest() const { return std::max(history_->NewestStamp(), stamps_->Newest()); }

int64_t ClockGate::advance_us() const {
  MutexLock lock(&mu_);
  return accepted_.advance_us;
}

int64_t ClockGate::MustHavePassed(int64_t stamp_us) const {
  return std::max(stamp_us, Newest()) - advance_us();
}

// The cheap answer comes first: both the transaction and all that is applied here lie behind the
// clock. Else the larger cause is named before the smaller: a clock that lies far behind what it
// already holds is wrong itself, whatever the transaction's stamp is, so "paused" is asked before
// "held". What is left is a wait of milliseconds, for the later of the two.
ClockGate::Verdict ClockGate::Look(int64_t stamp_us, absl::string_view origin) const {
  const int64_t server_us = progress_->ServerClock();
  if (server_us == 0) {
    return {.go = false,
            .wait = kLongestWait,
            .level = Health::Level::kOk,
            .state = State::kWaiting,
            .reason = "for the first reading of this server's clock"};
  }
  const int64_t clock_us = server_us + advance_us();
  const int64_t newest_us = Newest();
  const int64_t ahead_us = stamp_us - clock_us;
  const int64_t behind_us = newest_us - clock_us;
  if (ahead_us < 0 && behind_us < kReadingSlackUs) return {.go = true};

  const int64_t most_us = absl::ToInt64Microseconds(max_skew_);
  // What stands here already speaks of this server's clock, not of the other's.
  if (behind_us > most_us) {
    return {.go = false,
            .wait = kHeldWait,
            .level = Health::Level::kCritical,
            .state = State::kPaused,
            .reason = absl::StrCat(
                "this server's clock is ", RoughDuration(behind_us),
                " behind the newest change that it holds: it was set back, or had been ahead. "
                "Apply goes on by itself when the clock shows ",
                TimeOfDay(newest_us - clock_us + server_us),
                "; set the clock right, or see \"bdrctl clock status\"")};
  }
  if (ahead_us > most_us) {
    return {.go = false,
            .wait = kHeldWait,
            .level = Health::Level::kCritical,
            .state = State::kHeld,
            .reason = absl::StrCat(
                "node \"", origin, "\" committed a transaction at ", TimeOfDay(stamp_us), ", ",
                RoughDuration(ahead_us), " ahead of this server's clock (max_clock_skew is ",
                absl::FormatDuration(max_skew_),
                "): set the clocks right and it goes on by itself; if the clock of \"", origin,
                "\" jumped too far to wait for, see \"bdrctl clock accept ", origin, "\""),
            .held_us = ahead_us};
  }
  const int64_t wait_us = std::max(ahead_us, behind_us) + 100;
  return {.go = false,
          .wait = std::min(absl::Microseconds(wait_us), kLongestWait),
          .level = Health::Level::kOk,
          .state = State::kWaiting,
          .reason = ahead_us >= behind_us
                        ? "for this server's clock to pass a transaction's"
                        : "for this server's clock to pass what it already holds"};
}

void ClockGate::Accept(const AcceptedClock& accepted) {
  MutexLock lock(&mu_);
  if (accepted.id > std::max(retired_, accepted_.id)) accepted_ = accepted;
}

uint64_t ClockGate::Retire() {
  const int64_t clock_us = progress_->ServerClock();
  const int64_t newest_us = Newest();
  MutexLock lock(&mu_);
  if (accepted_.id == 0 || clock_us <= std::max(accepted_.ceiling_us, newest_us)) return 0;
  retired_ = accepted_.id;
  accepted_ = {};
  return retired_;
}

}  // namespace bdr::agent
