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

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr::server {

struct StoreEntry {
  std::string key;
  std::string value;
  // Of the write that made this value: larger than that of every write before it, of any key.
  uint64_t revision = 0;
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

// Thread-safe. Every error but those named is kUnavailable (try again) or kInternal (the store is
// damaged).
class Store {
 public:
  virtual ~Store() = default;

  // kNotFound if there is no such key.
  virtual absl::StatusOr<StoreEntry> Get(absl::string_view key) = 0;

  // The entries whose keys start with `prefix`, by key.
  virtual absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) = 0;

  // Writes the value if the key still has `expected_revision` (0: if there is no such key), and
  // gives the new revision; durable once it returns. kAborted if the key has another revision: read
  // it and decide again.
  virtual absl::StatusOr<uint64_t> Put(absl::string_view key, absl::string_view value,
                                       uint64_t expected_revision) = 0;

  virtual absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) = 0;
};

}  // namespace bdr::server
