// The bdr-servers that run on one store, and which of them does the work in the background.
//
// Each server keeps a lease of the store. With it goes its entry under "server/", by which the
// others know of it, and of one of them the key "leader". Whoever dies, stands still or is cut off
// loses both when the lease ends.
//
// States: following -> leading (nobody had the key, and ours is the write that took it) ->
// following (the lease has ended, or may have: by this server's own steady clock, earlier than the
// store ends it).
//
// Fencing: a leader that stood still believes in its lease for a moment too long. So each write
// that only the leader may do compares the key's revision in the same transaction: Fence().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/store/store.h"

namespace bdr::v1 {
class ServerInfo;
}

namespace bdr::server {

struct LeadershipOptions {
  std::string id;       // of this server: another one at every start
  std::string address;  // host:port of its listener
  std::string host;
  std::string version;
  absl::Duration ttl = absl::Seconds(10);  // of the lease; it is renewed three times within it
};

// Thread-safe.
class Leadership {
 public:
  // Starts the thread, which does its first round at once. `store` outlives it.
  static std::unique_ptr<Leadership> Start(Store* store, LeadershipOptions options);
  // Gives the lease up, so that another server leads at once.
  ~Leadership();
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  const std::string& id() const;
  bool leads() const;
  // What a write that only the leader may do compares. kFailedPrecondition while it does not lead.
  absl::StatusOr<StoreCompare> Fence() const;
  // All servers on the store, by address; also one that died within the last seconds. The errors
  // are the store's.
  absl::StatusOr<std::vector<v1::ServerInfo>> Servers() const;

 private:
  struct Impl;
  explicit Leadership(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::server
