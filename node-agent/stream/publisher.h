// Ships the change log to members that subscribe: the gRPC service Replication.
//
// One thread serves all subscribers: it reads a block, hands it to gRPC, and comes back when gRPC
// has passed it on. So a subscriber costs no thread and at most two blocks of memory (one with
// gRPC, one waiting for room in the subscriber's window), and one that reads slowly or not at all
// holds back nobody but itself. While nothing happens the thread sleeps until the next heartbeat.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/origin.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/stream/stream_backend.h"
#include "node-agent/stream/wire.h"

namespace grpc {
class ServerBuilder;
class Service;
}  // namespace grpc

namespace bdr::agent {

struct PublisherOptions {
  NodeId self = 0;
  std::string cluster_id = {};
  // Heartbeats go out at least this often, under load too.
  absl::Duration heartbeat_interval = absl::Milliseconds(100);
  // ... but less often where the log has not grown for two seconds.
  absl::Duration idle_heartbeat_interval = absl::Seconds(1);
  // Membership is asked at each subscription and heartbeat, so it must be quick: who is removed
  // gets no more.
  std::function<bool(NodeId)> is_member = {};
  // A member's name, asked at each subscription: who subscribes has to show that node's
  // certificate, or come without TLS. Null: not checked.
  std::function<std::string(NodeId)> name_of = {};
  // The data folder that a member is known by, see bdr.v1.Member; empty: not known. Asked at each
  // subscription. Null: none is known.
  std::function<std::string(NodeId)> data_dir_of = {};
};

// One subscriber, for status and metrics.
struct SubscriberStatus {
  NodeId node = 0;
  std::string address;      // as gRPC names the other end, "ipv4:10.0.0.2:41020"
  int64_t since_us = 0;     // when the subscription was accepted, µs since 1970
  uint64_t sent_bytes = 0;  // of blocks, since then
  uint64_t sent_blocks = 0;
  uint64_t consumed_bytes = 0;        // of them, by the subscriber's word
  std::vector<WantedOrigin> cursors;  // what was sent last of each origin
};

// Thread-safe.
class Publisher {
 public:
  // `log` and `backend` outlive it.
  Publisher(PublisherOptions options, ChangeLog* log, StreamBackend* backend);
  // Shuts down. The server that it was added to must be gone before.
  ~Publisher();

  // The v1::Replication::CallbackService, to be registered with a server that keeps streams alive.
  // Owned by this object.
  grpc::Service* service();
  // The keepalive settings that streams need.
  static void KeepStreamsAlive(grpc::ServerBuilder* builder);

  std::vector<SubscriberStatus> Subscribers() const;

  // Ends all streams, and waits until gRPC is done with them. New ones are refused from now on.
  // To be called before grpc::Server::Shutdown(), which would wait for the streams.
  void Shutdown();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
