#include "node-agent/upkeep/history_sweeper.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/status_macros.h"

namespace bdr::agent {
namespace {

// No node has this id, so that it waits for every applier.
constexpr uint64_t kHolder = std::numeric_limits<uint64_t>::max();
constexpr size_t kTableKeyBytes = 4;  // a version key without a key: the table's truncates

}  // namespace

absl::Status HistorySweeper::Sweep(int64_t stable_us, Lsn merged, Lsn captured, size_t most) {
  // Where nothing is kept, there is nothing to look through but what was deleted, until something
  // is written: that can be much, and is looked through several times a second.
  const uint64_t written = database_->db()->GetLatestSequenceNumber();
  if (empty_as_of_ == written) return absl::OkStatus();
  const bool from_first = at_.empty();
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, history_->Keys(at_, 0, most));
  for (const std::string& key : keys) {
    RETURN_IF_ERROR(key.size() == kTableKeyBytes ? SweepTruncates(key, stable_us)
                                                 : SweepKey(key, stable_us, merged, captured));
  }
  at_ = keys.size() < most ? "" : keys.back();
  if (from_first && keys.empty()) empty_as_of_ = written;
  return absl::OkStatus();
}

absl::Status HistorySweeper::SweepKey(const std::string& key, int64_t stable_us, Lsn merged,
                                      Lsn captured) {
  // An applier that has read the history goes by it until it has written the row.
  auto [registered, held] =
      keys_->Register(kHolder, {key}, {.oldest_us = 0, .newest_us = 0}, absl::ZeroDuration());
  if (!registered) return absl::OkStatus();
  ASSIGN_OR_RETURN(const conflict::KeyHistory history, history_->Get(key, {}));
  const auto settled = [&](const conflict::HistoryEntry& entry) {
    return entry.change.stamp.time_us < stable_us && (!entry.own || entry.change.end_lsn <= merged);
  };
  const bool base_settled =
      !history.base.has_value() ||
      (history.base->state.stamp.time_us < stable_us && history.base->read_at <= captured);
  const bool all =
      base_settled && std::all_of(history.entries.begin(), history.entries.end(), settled);
  // Without a base every change carries what it replaced: each can go by itself.
  if (!all && history.base.has_value()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  for (const conflict::HistoryEntry& entry : history.entries) {
    if (!settled(entry)) break;
    history_->DeleteEntry(&batch, key, entry.change);
  }
  if (history.base.has_value()) history_->DeleteBase(&batch, key);
  return batch.Count() == 0 ? absl::OkStatus() : database_->Write(&batch, /*sync=*/false);
}

// They count for the table's rows as long as one of them has a history.
absl::Status HistorySweeper::SweepTruncates(const std::string& key, int64_t stable_us) {
  const auto oid = static_cast<uint32_t>(
      static_cast<uint8_t>(key[0]) << 24 | static_cast<uint8_t>(key[1]) << 16 |
      static_cast<uint8_t>(key[2]) << 8 | static_cast<uint8_t>(key[3]));
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, history_->Keys("", oid, 2));
  if (keys.size() > 1) return absl::OkStatus();
  ASSIGN_OR_RETURN(const conflict::KeyHistory history, history_->Get(key, {}));
  rocksdb::WriteBatch batch;
  for (const conflict::HistoryEntry& entry : history.entries) {
    if (entry.change.stamp.time_us < stable_us) history_->DeleteEntry(&batch, key, entry.change);
  }
  return batch.Count() == 0 ? absl::OkStatus() : database_->Write(&batch, /*sync=*/false);
}

}  // namespace bdr::agent
