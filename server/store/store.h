// Where bdr-server keeps its state: a small map from keys to values, each with a revision.
//
// One interface for the embedded store (RocksDB, one machine) and for etcd (many machines). It
// offers only what both do alike, so that no decision can depend on which one it is: every decision
// is a write that names the revision it was made from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr::server {

struct StoreEntry {
  std::string key;
  std::string value;
  // Of the write that made this value: larger than that of every write before it, of any key.
  uint64_t revision = 0;
  bool deleted = false;  // of a watch: the key is gone, as of `revision`; the value is empty
};

// That a key still has this revision; 0: that there is no such key.
struct StoreCompare {
  std::string key = "";
  uint64_t revision = 0;
};

struct StoreWrite {
  std::string key = "";
  std::optional<std::string> value = std::nullopt;  // nullopt: the key is removed
  // The key goes when the lease ends; 0: it stays. Whichever write comes last decides.
  uint64_t lease = 0;
};

// All writes, at once and with one revision, if all compares hold; each key once. A write to a key
// that is not compared wins over whatever is there, and may be done twice: only for what says no
// more than how things stand.
struct StoreTransaction {
  std::vector<StoreCompare> compares = {};
  std::vector<StoreWrite> writes = {};
};

// How one part of the store is at this moment.
struct StoreEndpoint {
  std::string address = "";
  std::string version = "";
  bool leader = false;
  int64_t bytes = 0;
  absl::Status status = absl::OkStatus();
};

// Changes to the keys under one prefix, from the moment of Watch() on. Thread-safe.
class StoreWatch {
 public:
  virtual ~StoreWatch() = default;

  // The next change, in the order of revisions; nullopt if there was none within `timeout`. Of
  // several changes to one key that were not yet taken only the last may be given. kUnavailable if
  // the store has lost track: list the prefix again and watch anew.
  virtual absl::StatusOr<std::optional<StoreEntry>> Next(absl::Duration timeout) = 0;
};

// Thread-safe. Every error but those named is kUnavailable (try again), kFailedPrecondition (the
// store refuses us: somebody must change something) or kInternal (the store is damaged); of writes
// also kDeadlineExceeded: it may have been done, so read and decide again.
class Store {
 public:
  virtual ~Store() = default;

  // For people: which store it is. Names no secrets.
  virtual std::string Name() const = 0;
  // Nobody else can have it open while we have.
  virtual bool exclusive() const = 0;

  // kNotFound if there is no such key.
  virtual absl::StatusOr<StoreEntry> Get(absl::string_view key) = 0;

  // The entries whose keys start with `prefix`, by key.
  virtual absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) = 0;

  // Writes the value if the key still has `expected_revision` (0: if there is no such key), and
  // gives the new revision; durable once it returns. kAborted if the key has another revision: read
  // it and decide again.
  virtual absl::StatusOr<uint64_t> Put(absl::string_view key, absl::string_view value,
                                       uint64_t expected_revision) {
    return Commit({.compares = {{std::string(key), expected_revision}},
                   .writes = {{.key = std::string(key), .value = std::string(value)}}});
  }

  // The revision of what was written; durable once it returns. kAborted if a compare does not hold,
  // and nothing was written then. kNotFound if there is no such lease.
  virtual absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) = 0;

  virtual absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) = 0;

  // A lease ends `ttl` after it was last renewed, never before; how long after is up to the store,
  // a few seconds when it was down itself. The keys that were written with it are removed then.
  virtual absl::StatusOr<uint64_t> GrantLease(absl::Duration ttl) = 0;
  // kNotFound if it has ended.
  virtual absl::Status RenewLease(uint64_t lease) = 0;
  // Ends it now. OK if it has ended already.
  virtual absl::Status EndLease(uint64_t lease) = 0;

  // Lets the store forget values that were replaced longer ago than the last call of this.
  virtual absl::Status ForgetHistory() = 0;

  virtual std::vector<StoreEndpoint> Endpoints() = 0;
};

}  // namespace bdr::server
