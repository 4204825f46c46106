#include "node-agent/apply/drive/apply_tally.h"

#include <algorithm>
#include <string>
#include <utility>

namespace bdr::agent {
namespace {

// Metrics must not grow with the number of tables.
constexpr size_t kMostTablesCounted = 500;

}  // namespace

ApplierStatus ApplyTally::Get() const {
  MutexLock lock(&mu_);
  ApplierStatus status = counts_;
  status.held_us = held_us_;
  return status;
}

void ApplyTally::Applied(uint64_t transactions, uint64_t changes, const ConflictCounts& conflicts) {
  MutexLock lock(&mu_);
  counts_.transactions += transactions;
  counts_.changes += changes;
  for (const auto& [kind, count] : conflicts.by_kind) counts_.conflicts[kind] += count;
  for (const auto& [where, count] : conflicts.by_table) {
    const bool room = counts_.table_conflicts.size() < kMostTablesCounted ||
                      counts_.table_conflicts.contains(where);
    counts_.table_conflicts[room ? where
                                 : std::pair<std::string, std::string>("other", where.second)] +=
        count;
  }
}

void ApplyTally::Retried() {
  MutexLock lock(&mu_);
  ++counts_.retries;
}

void ApplyTally::Failed() {
  MutexLock lock(&mu_);
  ++counts_.errors;
}

void ApplyTally::FoundOrphans(uint64_t orphans) {
  MutexLock lock(&mu_);
  counts_.orphans += orphans;
}

void ApplyTally::HeldBy(OriginId origin) {
  MutexLock lock(&mu_);
  counts_.held_by = origin;
}

void ApplyTally::Oldest(int64_t stamp_us) {
  MutexLock lock(&mu_);
  counts_.oldest_stamp_us = stamp_us;
}

void ApplyTally::Fetched(uint64_t rows, uint64_t waits) {
  MutexLock lock(&mu_);
  counts_.fetched_rows = rows;
  counts_.fetch_waits = waits;
}

void ApplyTally::Reached(uint64_t pieces) {
  furthest_piece_ = std::max<uint64_t>(furthest_piece_, pieces);
}

}  // namespace bdr::agent
