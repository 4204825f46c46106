// The gRPC service of proto/bdr/v1/servers.proto.
#pragma once

#include <memory>

#include "base/metrics.h"
#include "server/guarded_store.h"
#include "server/leadership.h"
#include "server/store/open_store.h"

namespace grpc {
class Service;
}

namespace bdr::server {

class ServerService {
 public:
  // All must outlive the service. `options` are those of `store`: another store is opened with the
  // same folder and credentials. `metrics` declares ServerMetrics().
  ServerService(GuardedStore* store, const Leadership* leadership, StoreOptions options,
                Metrics* metrics);
  ~ServerService();
  ServerService(const ServerService&) = delete;
  ServerService& operator=(const ServerService&) = delete;

  // To be registered with a grpc::ServerBuilder. Owned by this object.
  grpc::Service* service();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::server
