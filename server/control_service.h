// The gRPC service of proto/bdr/v1/control.proto.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "base/metrics.h"
#include "server/cluster.h"
#include "server/schema_cache.h"
#include "server/status_cache.h"

namespace grpc {
class Service;
}
namespace bdr::v1 {
class ClusterStatusResponse;
}

namespace bdr::server {

class ControlService {
 public:
  // All must outlive the service; `metrics` declares ServerMetrics(). `store` is what the others
  // keep their state in.
  ControlService(Store* store, Cluster* cluster, StatusCache* statuses, SchemaCache* schemas,
                 Metrics* metrics);
  ~ControlService();
  ControlService(const ControlService&) = delete;
  ControlService& operator=(const ControlService&) = delete;

  // What ClusterStatus answers. kFailedPrecondition before InitCluster, and after a restore until
  // the state is in force again.
  absl::Status FillClusterStatus(v1::ClusterStatusResponse* response) const;

  // To be registered with a grpc::ServerBuilder. Owned by this object.
  grpc::Service* service();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::server
