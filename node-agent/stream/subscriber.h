// Fetches blocks from one peer into the change log, for ever.
//
//   connecting --first message--> streaming
//   connecting, streaming --failure--> backoff --first message--> streaming
//   connecting, streaming --the peer or our own log refuses--> refused --first message--> streaming
//   backoff <--> refused: as the reason changes
//
// A link that failed is tried again for ever; it stays in `backoff` or `refused`, with its reason,
// until a message comes. Where it goes on is read from the change log at each attempt, so nothing
// here has to be remembered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/origin.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/stream/stream_backend.h"

namespace grpc {
class ChannelCredentials;
}

namespace bdr::agent {

struct SubscriberOptions {
  std::string cluster_id = {};
  NodeId self = 0;
  std::string data_dir_id = {};  // ours, see bdr.v1.Member
  NodeId peer = 0;
  std::string address = {};  // host:port of the peer's agent
  // Called for each attempt, so that renewed certificates are taken up.
  std::function<absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>>()> credentials = {};
  // Called with why an attempt failed, while none has succeeded yet: the same, or what it means.
  // From the subscriber's thread, which may wait in it for a second or two. Unset: never.
  std::function<absl::Status(const absl::Status&)> explain = {};
  std::vector<OriginId> origins = {};  // the first to fetch; none: heartbeats only
  uint64_t window_bytes = 16 << 20;    // how much may be under way to us
  // Whether more of an origin may come; unset: always. While it is no of all that are fetched here,
  // the peer sends at most one more window. Quick; from the subscriber's thread.
  std::function<bool(OriginId)> has_room = {};
  absl::Duration heartbeat_interval = absl::Milliseconds(100);
  absl::Duration shortest_backoff = absl::Milliseconds(50);
  absl::Duration longest_backoff = absl::Seconds(2);
  absl::Duration refused_backoff = absl::Seconds(5);
};

enum class LinkState {
  kConnecting,
  kStreaming,
  kBackoff,
  // By the peer, or by our own log (a fork, a gap): as a rule a person has to do something.
  kRefused,
};
const char* ToString(LinkState state);

struct LinkStatus {
  LinkState state = LinkState::kConnecting;
  int64_t since_us = 0;         // when the state was entered, µs since 1970
  std::string reason = {};      // one line; empty while connecting or streaming
  bool full = false;            // streaming, and no room for more: see has_room
  uint64_t received_bytes = 0;  // of blocks, since the start, as are all counts
  uint64_t received_blocks = 0;
  uint64_t attempts = 0;
  uint64_t failures = 0;
  int64_t clock_skew_us = 0;      // the peer's server's clock minus ours
  int64_t clock_doubt_us = 0;     // how far off that may be
  int64_t last_heartbeat_us = 0;  // by our clock; 0 if none came yet
};

// Thread-safe. Owns one thread, which also writes to the change log.
class Subscriber {
 public:
  // Starts. `log` and `backend` outlive it.
  Subscriber(SubscriberOptions options, ChangeLog* log, StreamBackend* backend);
  ~Subscriber();

  // What to fetch from this peer from now on; reconnects if that is a change.
  void SetOrigins(std::vector<OriginId> origins);

  LinkStatus Status() const;

  // Ends the stream and waits for the thread. Repeating is harmless.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
