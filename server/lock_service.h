// The gRPC service of proto/bdr/v1/locks.proto.
#pragma once

#include <memory>

#include "base/metrics.h"
#include "server/store/store.h"

namespace grpc {
class Service;
}

namespace bdr::server {

class LockService {
 public:
  // Both must outlive the service; `metrics` declares ServerMetrics().
  LockService(Store* store, Metrics* metrics);
  ~LockService();
  LockService(const LockService&) = delete;
  LockService& operator=(const LockService&) = delete;

  // To be registered with a grpc::ServerBuilder. Owned by this object.
  grpc::Service* service();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::server
