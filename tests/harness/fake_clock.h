// A clock of a test's own for some processes: set forward and back, or running fast or slow, while
// they run.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bdr::harness {

// The time of day that is shown to every process started with environment(), and to its children.
// Changes take effect at once, in all of them in the same instant. Their monotonic clock is the
// machine's. Not thread-safe.
class FakeClock {
 public:
  // `file` is made; it must stay where those processes, perhaps of another user, can read it. The
  // clock begins right.
  static absl::StatusOr<std::unique_ptr<FakeClock>> Create(const std::string& file);
  ~FakeClock();
  FakeClock(const FakeClock&) = delete;
  FakeClock& operator=(const FakeClock&) = delete;

  std::vector<std::pair<std::string, std::string>> environment() const;

  // A step: from now on the clock is that far ahead of the machine's (behind it if negative) and
  // runs as fast as that.
  void Set(absl::Duration ahead);
  // From now on it runs `rate` times as fast as the machine's (> 0), beginning with what it shows.
  void SetRate(double rate);

  // Shows `shown` until it is set again. Who sleeps until a time of day sleeps that long.
  void StandAt(absl::Time shown);

  absl::Time Now() const;
  absl::Duration ahead() const;

 private:
  struct Line;
  FakeClock(std::string file, Line* line) : file_(std::move(file)), line_(line) {}
  void Write(absl::Time real, absl::Time shown, double rate);
  absl::Time ShownAt(absl::Time real) const;

  const std::string file_;
  Line* const line_;  // mapped, and read by the processes (fake_clock.c)
};

// Two environments as one: libraries to be loaded first by both are loaded one after the other.
std::vector<std::pair<std::string, std::string>> Merge(
    std::vector<std::pair<std::string, std::string>> one,
    const std::vector<std::pair<std::string, std::string>>& other);

}  // namespace bdr::harness
