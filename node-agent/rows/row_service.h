// Tells other agents what rows of this node hold: the gRPC service Rows.
//
// What is told of a row must never look older than it is: who asks takes the values for those of
// the version named, and asks again where a later one may be meant (docs/architecture.md, "Large
// values"). So the row is read first and its version asked for afterwards, once capture has passed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/origin.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/tables/table_cache.h"

namespace grpc {
class Service;
}

namespace bdr::agent {

// Thread-safe. Owns two threads with a connection each, on which PostgreSQL is asked: gRPC's never
// wait.
class RowService {
 public:
  struct Options {
    std::string database;  // libpq connection string
    std::string cluster_id;
    // A member's name; empty: there is none. Who asks has to show that node's certificate, or come
    // without TLS.
    std::function<std::string(NodeId)> name_of;
  };
  struct Parts {  // all outlive it
    Stores stores;
    Positions positions;
    InFlight in_flight;
    TableCache* tables = nullptr;
  };
  RowService(Options options, Parts parts);
  // The grpc::Server which serves it must have been shut down.
  ~RowService();

  // The service, to be registered with a grpc::ServerBuilder. Owned by this object.
  grpc::Service* service();

  // Cancels what runs and refuses what comes. Thread-safe; harmless if repeated.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
