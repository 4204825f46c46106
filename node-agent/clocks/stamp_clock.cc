#include "node-agent/clocks/stamp_clock.h"

#include <algorithm>

namespace bdr::agent {
namespace {

constexpr int64_t kSecondUs = 1'000'000;

}  // namespace

int64_t StampClock::Next(int64_t commit_us, int64_t newest_applied_us) {
  MutexLock lock(&mu_);
  const int64_t stamp = std::max({commit_us, last_us_ + 1, newest_applied_us + 1});
  last_us_ = stamp;
  newest_us_ = stamp;
  if (const int64_t raise = stamp - commit_us; raise > 0) {
    if (!raises_.empty() && raises_.back().stamp_us / kSecondUs == stamp / kSecondUs) {
      raises_.back().stamp_us = stamp;
      raises_.back().raise_us = std::max(raises_.back().raise_us, raise);
    } else {
      raises_.push_back({.stamp_us = stamp, .raise_us = raise});
    }
  }
  return stamp;
}

int64_t StampClock::Newest() const {
  MutexLock lock(&mu_);
  return newest_us_;
}

int64_t StampClock::Floor() const {
  MutexLock lock(&mu_);
  return last_us_;
}

int64_t StampClock::Promise(int64_t promise_us) {
  MutexLock lock(&mu_);
  last_us_ = std::max(last_us_, promise_us);
  return last_us_;
}

int64_t StampClock::LargestRaise(int64_t since_us) {
  MutexLock lock(&mu_);
  while (!raises_.empty() && raises_.front().stamp_us < since_us) raises_.pop_front();
  int64_t largest = 0;
  for (const Raise& raise : raises_) largest = std::max(largest, raise.raise_us);
  return largest;
}

}  // namespace bdr::agent
