#include "server/lock_service.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/peer_identity.h"
#include "base/status_macros.h"
#include "bdr/v1/locks.grpc.pb.h"
#include "server/finish_call.h"
#include "server/locks.h"

namespace bdr::server {
namespace {

// What only the store means.
void HideWithin(v1::LockTicket* ticket) {
  ticket->clear_lease();
  ticket->clear_order();
}

}  // namespace

class LockService::Impl : public v1::Locks::CallbackService {
 public:
  Impl(Store* store, Metrics* metrics) : locks_(store), metrics_(metrics) {}

  grpc::ServerUnaryReactor* AcquireLock(grpc::CallbackServerContext* context,
                                        const v1::AcquireLockRequest* request,
                                        v1::AcquireLockResponse* response) override {
    return Finish(context, "AcquireLock", Acquire(*context, *request, response));
  }

  grpc::ServerUnaryReactor* ReleaseLock(grpc::CallbackServerContext* context,
                                        const v1::ReleaseLockRequest* request,
                                        v1::ReleaseLockResponse* response) override {
    return Finish(context, "ReleaseLock", Release(*context, *request, response));
  }

  grpc::ServerUnaryReactor* ListLocks(grpc::CallbackServerContext* context,
                                      const v1::ListLocksRequest*,
                                      v1::ListLocksResponse* response) override {
    const absl::StatusOr<std::vector<v1::LockTicket>> tickets = locks_.List();
    if (tickets.ok()) {
      for (const v1::LockTicket& ticket : *tickets) {
        *response->add_locks() = ticket;
        HideWithin(&*response->mutable_locks()->rbegin());
      }
    }
    return Finish(context, "ListLocks", tickets.status());
  }

 private:
  // The name of the node that calls, which may speak for itself alone; empty for people.
  static absl::StatusOr<std::string> CallingNode(const grpc::CallbackServerContext& context) {
    ASSIGN_OR_RETURN(const PeerIdentity caller, IdentityOf(*context.auth_context()));
    return caller.insecure || caller.role != Role::kNode ? "" : caller.name;
  }

  absl::Status Acquire(const grpc::CallbackServerContext& context,
                       const v1::AcquireLockRequest& request, v1::AcquireLockResponse* response) {
    ASSIGN_OR_RETURN(const std::string node, CallingNode(context));
    if (!node.empty() && request.owner() != node) {
      return absl::PermissionDeniedError(absl::StrCat("node \"", node, "\" asks for a lock as \"",
                                                      request.owner(),
                                                      "\": a node is itself the owner"));
    }
    if (!node.empty()) RETURN_IF_ERROR(locks_.CheckLimitsOfNode(request));
    ASSIGN_OR_RETURN(*response, locks_.Acquire(request, absl::ToUnixMicros(absl::Now())));
    HideWithin(response->mutable_lock());
    for (v1::LockTicket& ticket : *response->mutable_ahead()) HideWithin(&ticket);
    return absl::OkStatus();
  }

  absl::Status Release(const grpc::CallbackServerContext& context,
                       const v1::ReleaseLockRequest& request, v1::ReleaseLockResponse* response) {
    ASSIGN_OR_RETURN(const std::string node, CallingNode(context));
    ASSIGN_OR_RETURN(const bool released, locks_.Release(request.name(), request.ticket(), node));
    response->set_released(released);
    return absl::OkStatus();
  }

  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, const char* call,
                                   const absl::Status& status) {
    return FinishCall(context, call, status, metrics_);
  }

  server::Locks locks_;
  Metrics* const metrics_;
};

LockService::LockService(Store* store, Metrics* metrics)
    : impl_(std::make_unique<Impl>(store, metrics)) {}
LockService::~LockService() = default;
grpc::Service* LockService::service() { return impl_.get(); }

}  // namespace bdr::server
