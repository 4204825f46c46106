#include "server/server_service.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "bdr/v1/servers.grpc.pb.h"
#include "server/finish_call.h"

namespace bdr::server {

class ServerService::Impl : public v1::Servers::CallbackService {
 public:
  Impl(GuardedStore* store, const Leadership* leadership, StoreOptions options, Metrics* metrics)
      : store_(store), leadership_(leadership), options_(std::move(options)), metrics_(metrics) {}

  grpc::ServerUnaryReactor* GetServerStatus(grpc::CallbackServerContext* context,
                                            const v1::GetServerStatusRequest*,
                                            v1::GetServerStatusResponse* response) override {
    return Finish(context, "GetServerStatus", FillStatus(response));
  }

  grpc::ServerUnaryReactor* MigrateStore(grpc::CallbackServerContext* context,
                                         const v1::MigrateStoreRequest* request,
                                         v1::MigrateStoreResponse* response) override {
    return Finish(context, "MigrateStore", Migrate(request->to(), response));
  }

 private:
  absl::Status FillStatus(v1::GetServerStatusResponse* response) const {
    response->set_answered_by(leadership_->id());
    response->set_store(store_->Name());
    response->set_moved_to(store_->moved_to());
    for (const StoreEndpoint& endpoint : store_->Endpoints()) {
      v1::StoreEndpointStatus* added = response->add_endpoints();
      added->set_address(endpoint.address);
      added->set_version(endpoint.version);
      added->set_leader(endpoint.leader);
      added->set_bytes(endpoint.bytes);
      added->set_error(std::string(endpoint.status.message()));
    }
    // That it was moved, or that etcd has no majority, is told all the more.
    const absl::StatusOr<std::vector<v1::ServerInfo>> servers = leadership_->Servers();
    if (servers.ok()) {
      for (const v1::ServerInfo& server : *servers) *response->add_servers() = server;
      return absl::OkStatus();
    }
    const bool explained = !response->moved_to().empty() || response->endpoints_size() > 0;
    return explained ? absl::OkStatus() : servers.status();
  }

  absl::Status Migrate(const std::string& to, v1::MigrateStoreResponse* response) {
    if (!IsStore(to)) {
      return absl::InvalidArgumentError(
          "a store is \"embedded\" or \"etcd://HOST:PORT,HOST:PORT.../PREFIX\", without a "
          "password: user and password of etcd belong to bdr-server's configuration");
    }
    if (to == options_.store) {
      return absl::FailedPreconditionError(
          absl::StrCat("the cluster's state is in ", store_->Name(), " already"));
    }
    StoreOptions options = options_;
    options.store = to;
    ASSIGN_OR_RETURN(const std::unique_ptr<Store> target, OpenStore(options));
    LogWarning("store", {{"state", "moving"}, {"from", store_->Name()}, {"to", target->Name()}});
    const absl::StatusOr<uint64_t> keys =
        store_->Move(target.get(), {.id = RandomId(),
                                    .server_id = leadership_->id(),
                                    .now_us = absl::ToUnixMicros(absl::Now())});
    const absl::Status present = store_->Check();
    RETURN_IF_ERROR(keys.status());
    LogWarning("store", {{"state", "moved"}, {"to", target->Name()}, {"keys", *keys}},
               present.message());
    response->set_from(store_->Name());
    response->set_to(target->Name());
    response->set_keys(*keys);
    return absl::OkStatus();
  }

  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, const char* call,
                                   const absl::Status& status) {
    return FinishCall(context, call, status, metrics_);
  }

  GuardedStore* const store_;
  const Leadership* const leadership_;
  const StoreOptions options_;
  Metrics* const metrics_;
};

ServerService::ServerService(GuardedStore* store, const Leadership* leadership,
                             StoreOptions options, Metrics* metrics)
    : impl_(std::make_unique<Impl>(store, leadership, std::move(options), metrics)) {}
ServerService::~ServerService() = default;
grpc::Service* ServerService::service() { return impl_.get(); }

}  // namespace bdr::server
