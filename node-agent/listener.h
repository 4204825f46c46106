// The agent's gRPC port. It is taken before anything else is done: a port in use must not be found
// when a slot is there already, for which PostgreSQL keeps WAL.
//
// States: waiting (peers are answered kUnavailable, as if nobody listened; people may ask how the
// node is) -> open -> shut down.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/security_options.h"

namespace grpc {
class Service;
}

namespace bdr::agent {

// What peers read meanwhile.
inline constexpr char kServesNoPeersYet[] = "the agent is starting and does not serve peers yet";

// Thread-safe.
class Listener {
 public:
  struct Options {
    std::string address;
    SecurityOptions security;
    grpc::Service* admin = nullptr;  // served from the beginning; outlives the Listener
  };
  // kUnavailable, with the address and why, if it cannot listen; as MakeServerCredentials().
  static absl::StatusOr<std::unique_ptr<Listener>> Start(const Options& options);
  // Shuts down.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // What peers ask goes to these from now on: Publisher::service() and RowService::service(), which
  // outlive the Listener.
  void Open(grpc::Service* replication, grpc::Service* rows);

  // No call is served once it returns; what runs longer than `drain` is cancelled. Harmless if
  // repeated.
  void Shutdown(absl::Duration drain);

 private:
  struct Impl;
  explicit Listener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
