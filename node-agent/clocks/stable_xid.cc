#include "node-agent/clocks/stable_xid.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bdr::agent {
namespace {

constexpr int64_t kApartUs = 1'000'000;
// Enough for ten minutes; while a member is away for longer, marks move apart.
constexpr size_t kMostMarks = 600;

}  // namespace

StableXid::StableXid() : apart_us_(kApartUs) {}

void StableXid::Seen(uint32_t xid, Lsn insert_lsn, int64_t clock_us) {
  MutexLock lock(&mu_);
  if (!marks_.empty()) {
    const int64_t since_us = clock_us - marks_.back().clock_us;
    if (since_us >= 0 && since_us < apart_us_) return;
  }
  if (marks_.size() >= kMostMarks) {
    std::deque<Mark> half;
    for (size_t i = 0; i < marks_.size(); i += 2) half.push_back(marks_[i]);
    marks_ = std::move(half);
    apart_us_ *= 2;
  }
  marks_.push_back({.xid = xid, .insert_lsn = insert_lsn, .clock_us = clock_us});
}

void StableXid::Advance(Lsn captured, int64_t newest_us, int64_t stable_us) {
  MutexLock lock(&mu_);
  for (Mark& mark : marks_) {
    if (mark.insert_lsn > captured) break;
    if (mark.newest_us == 0) mark.newest_us = std::max(mark.clock_us, newest_us);
  }
  while (!marks_.empty() && marks_.front().newest_us != 0 && marks_.front().newest_us < stable_us) {
    stable_ = marks_.front().xid;
    marks_.pop_front();
  }
  if (marks_.empty()) apart_us_ = kApartUs;
}

void StableXid::Reset() {
  MutexLock lock(&mu_);
  marks_.clear();
  stable_ = kFrozenXid;
}

uint32_t StableXid::Get() const {
  MutexLock lock(&mu_);
  return stable_;
}

std::string WrittenByStableXidSql() {
  return absl::StrCat("pg_catalog.age(t.xmin) > pg_catalog.age(pg_catalog.current_setting('",
                      kStableXidSetting, "')::pg_catalog.xid)");
}

}  // namespace bdr::agent
