// Keys in flight: rows that some applier is about to write, is writing, or has just written.
//
// An applier reads a row's version, decides, and writes. Two that did so for one row at the same
// time would decide on the same old version. So every key of a group is registered here first, all
// together or not at all; whoever comes later waits, holding nothing.
//
// A local write may have been committed before such a group and captured after it: the group then
// decided without knowing it. So keys stay known here until capture has passed the group's commit,
// and capture asks, once a local change's version is in the store, whether it touches one. Since
// appliers register before they read the store, one of the two always sees the other. A local
// TRUNCATE names no keys: capture asks about its tables, so groups are counted by table as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/mutex.h"

namespace bdr::agent {

// The stamps (µs) of a group's transactions lie within, bounds included.
struct StampRange {
  int64_t oldest_us = 0;
  int64_t newest_us = 0;
};

// Thread-safe.
class KeysInFlight {
 public:
  // Registered keys, given back when it goes away.
  class Registration {
   public:
    Registration() = default;
    Registration(Registration&& other) noexcept { *this = std::move(other); }
    Registration& operator=(Registration&& other) noexcept;
    ~Registration() { Release(); }

    // Nothing was written.
    void Release();
    // The keys were written, and local WAL had reached `local_after` once that was committed.
    // Lsn{UINT64_MAX} if it is not known whether it was, until Settle().
    void Commit(Lsn local_after);

   private:
    friend class KeysInFlight;
    KeysInFlight* table_ = nullptr;
    uint64_t holder_ = 0;
    bool all_ = false;
    StampRange stamps_;
    std::vector<std::string> keys_;
    std::vector<std::string> tables_;  // of keys_ and those given, each once
  };

  explicit KeysInFlight(size_t most_recent_bytes = kMostRecentBytes)
      : most_recent_bytes_(most_recent_bytes) {}

  // Waits until no other holder has any of `keys` (version keys), then registers them all. False
  // on timeout. `tables`: OIDs of tables in which rows without a key are written; these are only
  // remembered, and kept from nobody but who registers all.
  std::pair<bool, Registration> Register(uint64_t holder, std::vector<std::string> keys,
                                         StampRange stamps, absl::Duration timeout,
                                         const std::vector<uint32_t>& tables = {});

  // Waits until nobody else holds a registration, be it of no key, then registers all there could
  // be: for a transaction too large to name its keys beforehand, and for a TRUNCATE, which must not
  // fall between another group's look at the store and its rows without a key. Others wait
  // meanwhile.
  std::pair<bool, Registration> RegisterAll(uint64_t holder, StampRange stamps,
                                            absl::Duration timeout);

  // What `holder` committed, if anything, was visible before local WAL reached `local_after`.
  void Settle(uint64_t holder, Lsn local_after);

  // A local change of this key, committed at `commit_us` by the server's clock and stamped
  // `stamp_us`, must be merged once more: an applier may have decided without it. A row that is
  // gone shows nothing to decide by; one that stands shows its commit time, which misleads only
  // about changes stamped between that and its stamp.
  bool Touches(absl::string_view key, bool gone, int64_t commit_us, int64_t stamp_us) const;

  // The same of a local TRUNCATE: an applier may have written rows of the table that it must kill.
  bool TouchesTable(uint32_t table_oid, int64_t stamp_us) const;

  // Whether an applier has taken, or is about to take, a unique value that a local version claims
  // as well. Whichever of the two is later, neither has reckoned with the other, and the applier's
  // claim may not show in any row.
  bool TouchesClaim(absl::string_view key) const;
  // Memory of groups, by estimate, that are remembered because capture has not passed them. More
  // than the constructor was given is not kept key by key: what was written then counts as
  // every key, so more is merged again than need be.
  size_t recent_bytes() const;
  static constexpr size_t kMostRecentBytes = size_t{64} << 20;

  // Capture has passed this position, and has asked about everything before.
  void Forget(Lsn captured_through);

 private:
  struct Recent {
    uint64_t holder = 0;
    StampRange stamps;
    std::vector<std::string> keys;
    std::vector<std::string> tables;
  };
  // By the position that local WAL had reached by then, so that those which capture has passed come
  // first.
  using Recents = std::multimap<Lsn, Recent>;
  // Groups that touch a table; `oldest_us` is only lowered until none does any more.
  struct KnownTable {
    int groups = 0;  // that hold or wrote rows of it
    int64_t oldest_us = 0;
  };
  struct Known {
    uint64_t holder = 0;  // 0: nobody holds it, it was written
    int groups = 0;       // recent ones that wrote it
    StampRange held;
    StampRange recent;
  };
  bool FreeLocked(uint64_t holder, const std::vector<std::string>& keys)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndLocked(Registration* registration) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetTablesLocked(const std::vector<std::string>& tables)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetKeysLocked(const std::vector<std::string>& keys) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static size_t BytesOf(const Recent& recent);
  void AddRangeLocked(StampRange stamps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FindRangesLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CoarsenLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t most_recent_bytes_;

  mutable Mutex mu_;
  CondVar released_;
  absl::flat_hash_map<std::string, Known> keys_ ABSL_GUARDED_BY(mu_);
  // By the first bytes of their version keys.
  absl::flat_hash_map<std::string, KnownTable> tables_ ABSL_GUARDED_BY(mu_);
  size_t held_ ABSL_GUARDED_BY(mu_) = 0;  // registrations, but for an exclusive one
  uint64_t exclusive_ ABSL_GUARDED_BY(mu_) = 0;
  // Who waits for everything; nobody else begins meanwhile, or it might wait for ever.
  uint64_t exclusive_waiter_ ABSL_GUARDED_BY(mu_) = 0;
  Recents recent_ ABSL_GUARDED_BY(mu_);      // that named their keys
  Recents recent_all_ ABSL_GUARDED_BY(mu_);  // that stand for every key
  // In both. What their keys take is counted as often as they are there.
  size_t recent_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // Stamps that recent_all_ covers, and perhaps some more: ranges are joined where they are many,
  // so that a look at them does not take the longer the further capture is behind.
  std::vector<StampRange> all_ranges_ ABSL_GUARDED_BY(mu_);
  size_t stale_ranges_ ABSL_GUARDED_BY(mu_) = 0;  // of groups that are forgotten
};

}  // namespace bdr::agent
