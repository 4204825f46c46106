// Gives memory and disk back for what has become stable.
//
// RocksDB drops what a compaction filter or a deleted range names only when it compacts, which it
// does by its own lights: a family that is written and forgotten evenly may keep what nobody needs
// for long. So families that have grown are compacted on purpose, in a thread of its own, and so
// rarely that it takes a small share of the time, however long one takes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// What is known of a family when it is decided whether to compact it.
struct FamilyGrowth {
  uint64_t keys = 0;   // RocksDB's estimate
  uint64_t bytes = 0;  // on disk and in memory
  // By the filter: versions and claims, one entry at a time, with the stable time. Else by deleted
  // ranges: the log, many bytes an entry.
  bool by_filter = false;
  bool stable_moved = false;      // since the last compaction
  uint64_t bytes_after_last = 0;  // what the last compaction left
  absl::Duration since_last;      // since it ended
  absl::Duration last_took;
};

// Pure.
bool WorthCompacting(const FamilyGrowth& growth);

// Thread-safe. Owns one thread, which ends with the object; a compaction under way is cut short.
class Compactor {
 public:
  explicit Compactor(Database* database);  // which outlives it
  ~Compactor();
  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  uint64_t compactions() const;

 private:
  struct Last {
    absl::Time ended = absl::InfinitePast();
    absl::Duration took;
    uint64_t bytes_left = 0;
    int64_t stable_us = 0;
    Repetition repetition = {};
  };
  void Run();
  void Look();

  Database* const database_;
  std::map<std::string, Last> last_;  // the thread's

  mutable Mutex mu_;
  CondVar woken_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t compactions_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace bdr::agent
