// Forgets the history of rows that nobody touches any more.
//
// Where a row is folded again, what is stable becomes part of its base. A row that is never touched
// again keeps its history until it comes by here: once all of it is stable, and merged where it had
// to be, what stands in the table is all there is to know.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/lsn.h"
#include "conflict/history_store.h"
#include "node-agent/changelog/database.h"
#include "node-agent/inflight/keys_in_flight.h"

namespace bdr::agent {

// Not thread-safe. What it is made with outlives it.
class HistorySweeper {
 public:
  HistorySweeper(Database* database, const conflict::HistoryStore* history, KeysInFlight* keys)
      : database_(database), history_(history), keys_(keys) {}

  // Looks at the next `most` keys, and begins again after the last. Everything stamped before
  // `stable_us` is stable; own changes that end at or before `merged` were merged again where they
  // had to be, and capture has passed `captured` of the local WAL.
  absl::Status Sweep(int64_t stable_us, Lsn merged, Lsn captured, size_t most);

 private:
  absl::Status SweepKey(const std::string& key, int64_t stable_us, Lsn merged, Lsn captured);
  absl::Status SweepTruncates(const std::string& key, int64_t stable_us);

  Database* const database_;
  const conflict::HistoryStore* const history_;
  KeysInFlight* const keys_;
  std::string at_;  // the last key that was looked at
  // RocksDB's number of the last write before which there was no history at all.
  std::optional<uint64_t> empty_as_of_;
};

}  // namespace bdr::agent
