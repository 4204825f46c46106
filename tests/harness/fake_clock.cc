#include "tests/harness/fake_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace bdr::harness {

// The same as in fake_clock.c.
struct FakeClock::Line {
  std::atomic<uint64_t> changes;  // odd while the rest is written
  int64_t real_ns;
  int64_t shown_ns;
  double rate;
};

absl::StatusOr<std::unique_ptr<FakeClock>> FakeClock::Create(const std::string& file) {
  static_assert(sizeof(Line) == 32);
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  void* mapped = MAP_FAILED;
  if (fd >= 0 && fchmod(fd, 0644) == 0 && ftruncate(fd, sizeof(Line)) == 0) {
    mapped = mmap(nullptr, sizeof(Line), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const absl::Status status =
      absl::ErrnoToStatus(errno, absl::StrCat("cannot make the clock \"", file, "\""));
  if (fd >= 0) close(fd);
  if (mapped == MAP_FAILED) return status;
  std::unique_ptr<FakeClock> clock(new FakeClock(file, static_cast<Line*>(mapped)));
  clock->Set(absl::ZeroDuration());
  return clock;
}

FakeClock::~FakeClock() { munmap(line_, sizeof(Line)); }

std::vector<std::pair<std::string, std::string>> FakeClock::environment() const {
  return {{"LD_PRELOAD", BDR_FAKE_CLOCK_LIBRARY}, {"BDR_FAKE_CLOCK", file_}};
}

void FakeClock::Set(absl::Duration ahead) {
  const absl::Time now = absl::Now();
  Write(now, now + ahead, 1);
}

void FakeClock::SetRate(double rate) {
  const absl::Time now = absl::Now();
  Write(now, ShownAt(now), rate);
}

// Not quite: nothing may wait by a division by 0. A year of it is a millisecond.
void FakeClock::StandAt(absl::Time shown) { Write(absl::Now(), shown, 3e-11); }

void FakeClock::Write(absl::Time real, absl::Time shown, double rate) {
  line_->changes.fetch_add(1, std::memory_order_acq_rel);
  std::atomic_thread_fence(std::memory_order_release);
  line_->real_ns = absl::ToUnixNanos(real);
  line_->shown_ns = absl::ToUnixNanos(shown);
  line_->rate = rate;
  line_->changes.fetch_add(1, std::memory_order_release);
}

absl::Time FakeClock::ShownAt(absl::Time real) const {
  const double passed_ns = static_cast<double>(absl::ToUnixNanos(real) - line_->real_ns);
  return absl::FromUnixNanos(line_->shown_ns + static_cast<int64_t>(passed_ns * line_->rate));
}

absl::Time FakeClock::Now() const { return ShownAt(absl::Now()); }

absl::Duration FakeClock::ahead() const {
  const absl::Time now = absl::Now();
  return ShownAt(now) - now;
}

std::vector<std::pair<std::string, std::string>> Merge(
    std::vector<std::pair<std::string, std::string>> one,
    const std::vector<std::pair<std::string, std::string>>& other) {
  for (const auto& [name, value] : other) {
    const auto known = std::find_if(one.begin(), one.end(),
                                    [&name = name](const auto& v) { return v.first == name; });
    if (known == one.end()) {
      one.emplace_back(name, value);
    } else if (name == "LD_PRELOAD") {
      absl::StrAppend(&known->second, ":", value);
    } else {
      known->second = value;
    }
  }
  return one;
}

}  // namespace bdr::harness
