#include "server/migrate.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "bdr/v1/store.pb.h"
#include "server/cluster.h"
#include "server/locks.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

struct Marker {
  uint64_t revision = 0;  // 0: there is none
  v1::MovedStore moved;
};

absl::StatusOr<Marker> ReadMarker(Store* store) {
  const absl::StatusOr<StoreEntry> entry = store->Get(kMovedKey);
  if (absl::IsNotFound(entry.status())) return Marker{};
  RETURN_IF_ERROR(entry.status());
  Marker marker{.revision = entry->revision, .moved = {}};
  if (marker.moved.ParseFromString(entry->value)) return marker;
  return absl::InternalError("the store's entry \"moved\" is damaged: restore a backup");
}

absl::StatusOr<uint64_t> WriteMarker(Store* store, uint64_t expected, v1::MovedStore::State state,
                                     const std::string& other, const MoveOptions& options) {
  v1::MovedStore moved;
  moved.set_state(state);
  moved.set_other(other);
  moved.set_id(options.id);
  moved.set_server_id(options.server_id);
  return store->Put(kMovedKey, moved.SerializeAsString(), expected);
}

absl::Status RemoveMarker(Store* store, uint64_t expected) {
  return store->Commit({.compares = {{kMovedKey, expected}}, .writes = {{.key = kMovedKey}}})
      .status();
}

// Step 4 of a move that was interrupted before it.
absl::StatusOr<uint64_t> Finish(Store* from, Store* to, const Marker& moved) {
  if (moved.moved.other() != to->Name()) {
    return absl::FailedPreconditionError(absl::StrCat("the cluster's state was moved from here (",
                                                      from->Name(), ") to ", moved.moved.other(),
                                                      " already"));
  }
  ASSIGN_OR_RETURN(const Marker incoming, ReadMarker(to));
  if (incoming.revision != 0 && incoming.moved.id() == moved.moved.id()) {
    RETURN_IF_ERROR(RemoveMarker(to, incoming.revision));
    return 0;
  }
  // A name may mean another store elsewhere: each host has an embedded one in the same folder.
  const absl::Status cluster = to->Get(kClusterKey).status();
  if (incoming.revision == 0 && cluster.ok()) return 0;
  if (!cluster.ok() && !absl::IsNotFound(cluster)) return cluster;
  return absl::FailedPreconditionError(absl::StrCat(
      "the cluster's state was moved from here (", from->Name(), ") to ", moved.moved.other(),
      ", but it is not in this one of that name, or is not there any more: ask the bdr-server that "
      "it was moved to"));
}

// Says which servers run on the store, and which of them leads: theirs, whatever it keeps.
bool IsOfServers(absl::string_view key) {
  return key == kLeaderKey || absl::StartsWith(key, kServerPrefix);
}

// The revision of TO's mark. Whatever TO had of an earlier move is gone then.
absl::StatusOr<uint64_t> Prepare(Store* from, Store* to, const MoveOptions& options) {
  ASSIGN_OR_RETURN(const Marker present, ReadMarker(to));
  if (present.revision != 0 && present.moved.id() == options.id) {
    return absl::FailedPreconditionError(
        absl::StrCat(to->Name(), " is the store that the cluster's state is in"));
  }
  if (present.revision != 0 && present.moved.state() == v1::MovedStore::COPYING) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store ", to->Name(), " is in use: it is being moved elsewhere"));
  }
  if (present.revision == 0) {
    const absl::Status cluster = to->Get(kClusterKey).status();
    if (cluster.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the store ", to->Name(),
                       " keeps a cluster already: name another one, or another prefix in etcd"));
    }
    if (!absl::IsNotFound(cluster)) return cluster;
  }
  ASSIGN_OR_RETURN(const uint64_t mark, WriteMarker(to, present.revision, v1::MovedStore::INCOMING,
                                                    from->Name(), options));
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> old, to->List(""));
  for (const StoreEntry& entry : old) {
    if (entry.key == kMovedKey || IsOfServers(entry.key)) continue;
    RETURN_IF_ERROR(
        to->Commit({.compares = {{kMovedKey, mark}}, .writes = {{.key = entry.key}}}).status());
  }
  return mark;
}

absl::Status CheckEqual(const std::vector<StoreEntry>& wanted, Store* to) {
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> present, to->List(""));
  std::vector<StoreEntry> copied;
  for (const StoreEntry& entry : present) {
    if (Outlives(entry.key)) copied.push_back(entry);
  }
  const auto same = [](const StoreEntry& a, const StoreEntry& b) {
    return a.key == b.key && a.value == b.value;
  };
  if (std::equal(wanted.begin(), wanted.end(), copied.begin(), copied.end(), same)) {
    return absl::OkStatus();
  }
  return absl::AbortedError(
      absl::StrCat("the copy in ", to->Name(), " differs: somebody else writes there"));
}

// Steps 2 and 3. The number of keys.
absl::StatusOr<uint64_t> Copy(Store* from, Store* to, uint64_t copying,
                              const MoveOptions& options) {
  RETURN_IF_ERROR(CheckNoneHeld(from));
  ASSIGN_OR_RETURN(const uint64_t mark, Prepare(from, to, options));
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> all, from->List(""));
  std::vector<StoreEntry> kept;
  for (const StoreEntry& entry : all) {
    if (Outlives(entry.key)) kept.push_back(entry);
  }
  for (const StoreEntry& entry : kept) {
    RETURN_IF_ERROR(to->Commit({.compares = {{kMovedKey, mark}},
                                .writes = {{.key = entry.key, .value = entry.value}}})
                        .status());
  }
  ASSIGN_OR_RETURN(const uint64_t base, NextTokenBase(from, options.now_us));
  RETURN_IF_ERROR(to->Commit({.compares = {{kMovedKey, mark}},
                              .writes = {{.key = kTokenBaseKey, .value = absl::StrCat(base)}}})
                      .status());
  RETURN_IF_ERROR(CheckEqual(kept, to));
  RETURN_IF_ERROR(WriteMarker(from, copying, v1::MovedStore::MOVED, to->Name(), options).status());
  RETURN_IF_ERROR(RemoveMarker(to, mark));
  return kept.size();
}

}  // namespace

absl::StatusOr<uint64_t> MoveStore(Store* from, Store* to, const MoveOptions& options) {
  ASSIGN_OR_RETURN(const Marker present, ReadMarker(from));
  if (present.moved.state() == v1::MovedStore::MOVED) return Finish(from, to, present);
  if (present.moved.state() == v1::MovedStore::COPYING && !options.server_id.empty() &&
      present.moved.server_id() == options.server_id) {
    // Left by one before this, which could not remove it, or was not told that it had written it.
    RETURN_IF_ERROR(RemoveMarker(from, present.revision));
  } else if (present.revision != 0) {
    return absl::AbortedError("the cluster's state is being moved already: try again");
  }
  const absl::Status cluster = from->Get(kClusterKey).status();
  if (absl::IsNotFound(cluster)) {
    return absl::FailedPreconditionError(
        "this bdr-server keeps no cluster that could be moved: set \"store\" as you want it");
  }
  RETURN_IF_ERROR(cluster);
  ASSIGN_OR_RETURN(const uint64_t copying,
                   WriteMarker(from, 0, v1::MovedStore::COPYING, to->Name(), options));
  absl::StatusOr<uint64_t> copied = Copy(from, to, copying, options);
  if (copied.ok()) return copied;
  // Unless it was the last step that failed, or may have: then the mark is another one by now.
  const absl::Status given_up = RemoveMarker(from, copying);
  if (!given_up.ok() && !absl::IsAborted(given_up)) {
    LogWarning("store", {{"state", "copying"}}, given_up.message());
  }
  return copied.status();
}

}  // namespace bdr::server
