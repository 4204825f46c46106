#include "node-agent/upkeep/compactor.h"

#include <algorithm>

#include "base/logging.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);
// Fewer entries, or bytes, are not worth the trouble.
constexpr uint64_t kFewKeys = 10'000;
constexpr uint64_t kFewBytes = 64 << 20;
// Compacting takes no more than one part in twenty of the time.
constexpr int kRestFactor = 20;
constexpr absl::Duration kShortestRest = absl::Seconds(5);

}  // namespace

bool WorthCompacting(const FamilyGrowth& growth) {
  if (!growth.stable_moved) return false;
  if (growth.since_last < std::max(kShortestRest, growth.last_took * kRestFactor)) return false;
  if (growth.by_filter) return growth.keys >= kFewKeys;
  // What a member that is away still needs makes the log large; only growth can be garbage.
  return growth.bytes >= std::max(kFewBytes, 2 * growth.bytes_after_last);
}

Compactor::Compactor(Database* database) : database_(database) {
  thread_ = std::thread([this] {
    NameThread("bdr-compactor");
    Run();
  });
}

Compactor::~Compactor() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  database_->StopCompacting();
  thread_.join();
}

uint64_t Compactor::compactions() const {
  MutexLock lock(&mu_);
  return compactions_;
}

void Compactor::Run() {
  while (true) {
    Look();
    const absl::Time until = SteadyNow() + kLookInterval;
    MutexLock lock(&mu_);
    while (!stopping_ && SteadyNow() < until) woken_.WaitFor(&mu_, until - SteadyNow());
    if (stopping_) return;
  }
}

void Compactor::Look() {
  const int64_t stable_us = database_->stable_time();
  for (const Database::FamilySize& family : database_->FamilySizes()) {
    Last& last = last_[family.name];
    const absl::Time begun = SteadyNow();
    if (!WorthCompacting({.keys = family.keys,
                          .bytes = family.bytes,
                          .by_filter = family.by_filter,
                          .stable_moved = stable_us > last.stable_us,
                          .bytes_after_last = last.bytes_left,
                          .since_last = begun - last.ended,
                          .last_took = last.took})) {
      continue;
    }
    const absl::Status status = database_->Compact(family.name);
    last.ended = SteadyNow();
    last.took = last.ended - begun;
    last.stable_us = stable_us;
    if (!status.ok()) {
      if (last.repetition.Failed(std::string(status.message()), SteadyNow())) {
        LogWarning("compactor", {{"family", family.name}},
                   last.repetition.LineText(status.message()));
      }
      continue;
    }
    (void)last.repetition.Works(SteadyNow());
    for (const Database::FamilySize& now : database_->FamilySizes()) {
      if (now.name == family.name) last.bytes_left = now.bytes;
    }
    MutexLock lock(&mu_);
    ++compactions_;
    if (stopping_) return;
  }
}

}  // namespace bdr::agent
