#include "node-agent/listener.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/audit.h"
#include "base/grpc_security.h"
#include "base/listen_check.h"
#include "base/status_macros.h"
#include "bdr/v1/rows.grpc.pb.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "node-agent/stream/publisher.h"

namespace bdr::agent {
namespace {

// gRPC takes services only before a server starts, so these are there from the beginning and pass
// on what comes once there is somebody to pass it to.

grpc::Status NotYet() { return {grpc::StatusCode::UNAVAILABLE, kServesNoPeersYet}; }

using SubscribeReactor = grpc::ServerBidiReactor<v1::SubscriberMessage, v1::PublisherMessage>;

// Ends a call at once, and deletes itself.
class Refusal final : public SubscribeReactor {
 public:
  Refusal() { Finish(NotYet()); }
  void OnDone() override { delete this; }
};

class LateReplication final : public v1::Replication::CallbackService {
 public:
  void Open(grpc::Service* to) { to_ = static_cast<v1::Replication::CallbackService*>(to); }

  SubscribeReactor* Subscribe(grpc::CallbackServerContext* context) override {
    v1::Replication::CallbackService* const to = to_;
    return to == nullptr ? new Refusal : to->Subscribe(context);
  }

 private:
  std::atomic<v1::Replication::CallbackService*> to_{nullptr};
};

class LateRows final : public v1::Rows::CallbackService {
 public:
  void Open(grpc::Service* to) { to_ = static_cast<v1::Rows::CallbackService*>(to); }

  grpc::ServerUnaryReactor* FetchRows(grpc::CallbackServerContext* context,
                                      const v1::FetchRowsRequest* request,
                                      v1::FetchRowsResponse* response) override {
    if (v1::Rows::CallbackService* const to = to_; to != nullptr) {
      return to->FetchRows(context, request, response);
    }
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(NotYet());
    return reactor;
  }

 private:
  std::atomic<v1::Rows::CallbackService*> to_{nullptr};
};

}  // namespace

struct Listener::Impl {
  LateReplication replication;
  LateRows rows;
  std::unique_ptr<grpc::Server> server;  // last: serves the above
};

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Listener::~Listener() { Shutdown(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(const Options& options) {
  ASSIGN_OR_RETURN(const auto credentials,
                   MakeServerCredentials(options.security, options.address));
  // gRPC only says that it failed.
  RETURN_IF_ERROR(CheckCanListen("listen", options.address));
  auto impl = std::make_unique<Impl>();
  grpc::ServerBuilder builder;
  // Two agents on one port would each get half of the peers.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  Publisher::KeepStreamsAlive(&builder);
  int port = 0;
  builder.AddListeningPort(options.address, credentials, &port);
  builder.RegisterService(&impl->replication);
  builder.RegisterService(&impl->rows);
  if (options.admin != nullptr) builder.RegisterService(options.admin);
  AddAudit(&builder);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on \"", options.address,
                     "\" (listen): it was free a moment ago; start the agent again"));
  }
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

void Listener::Open(grpc::Service* replication, grpc::Service* rows) {
  impl_->replication.Open(replication);
  impl_->rows.Open(rows);
}

void Listener::Shutdown(absl::Duration drain) {
  if (impl_->server == nullptr) return;
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + drain));
  impl_->server->Wait();
  impl_->server.reset();
}

}  // namespace bdr::agent
