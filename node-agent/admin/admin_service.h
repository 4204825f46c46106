// The agent's gRPC service for bdrctl and other agents: status, conflicts, content hashes, checks.
//
// Whatever asks PostgreSQL runs on a few threads of the service's own, each with its own connection
// of the agent's role; gRPC's threads never wait.
#pragma once

#include <memory>
#include <string>

#include "node-agent/admin/agent_backend.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace bdr::agent {

struct AdminOptions {
  std::string database;  // libpq connection string
  int workers = 2;       // so many requests run at a time, the others queue
};

// Owns `workers` threads with a connection each. Calls of the service come on gRPC's threads, as
// many at a time as clients make; what they ask the backend comes on these, or on the service's own
// threads where agent_backend.h says so.
class AdminService {
 public:
  // `backend` must outlive the service.
  AdminService(AgentBackend* backend, AdminOptions options);
  // Cancels what runs in PostgreSQL. The grpc::Server which serves it must have been shut down.
  ~AdminService();
  AdminService(const AdminService&) = delete;
  AdminService& operator=(const AdminService&) = delete;

  // To be registered with a grpc::ServerBuilder. Owned by this object.
  grpc::Service* service();

  // Cancels what runs and refuses what comes, so that a server's shutdown need not wait for it.
  // Thread-safe; harmless if repeated.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
