#include "node-agent/cluster/chunk_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "node-agent/cluster/servers.h"

namespace bdr::agent {

struct ChunkClient::Impl {
  Options options;
  std::vector<Server> servers;

  Mutex mu;
  size_t present ABSL_GUARDED_BY(mu) = 0;  // counts up; modulo the number of servers, whom to ask
  bool cancelled ABSL_GUARDED_BY(mu) = false;
  grpc::ClientContext* call ABSL_GUARDED_BY(mu) = nullptr;

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::ControlPlane::Stub::*)(grpc::ClientContext*, const Request&,
                                                          Response*);

  template <typename Request, typename Response>
  absl::StatusOr<Response> AskOne(Server& server, Method<Request, Response> method,
                                  const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options.call_timeout));
    {
      MutexLock lock(&mu);
      if (cancelled) return absl::CancelledError("stopping");
      call = &context;
    }
    Response response;
    const grpc::Status status = ((*server.stub).*method)(&context, request, &response);
    MutexLock lock(&mu);
    call = nullptr;
    if (status.ok()) return response;
    const absl::Status error = FromGrpcStatus(status);
    return absl::Status(error.code(),
                        absl::StrCat("bdr-server \"", server.address, "\": ", error.message()));
  }

  // Whoever answers.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Ask(Method<Request, Response> method, const Request& request) {
    absl::Status last;
    for (size_t i = 0; i < servers.size(); ++i) {
      size_t whom = 0;
      {
        MutexLock lock(&mu);
        whom = present;
      }
      absl::StatusOr<Response> response = AskOne(servers[whom % servers.size()], method, request);
      if (!IsSilence(response.status())) return response;
      last = response.status();
      MutexLock lock(&mu);
      ++present;
    }
    return last;
  }
};

absl::StatusOr<std::unique_ptr<ChunkClient>> ChunkClient::Make(Options options) {
  ASSIGN_OR_RETURN(std::vector<Server> servers, MakeServers(options.servers, options.security));
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->servers = std::move(servers);
  return std::unique_ptr<ChunkClient>(new ChunkClient(std::move(impl)));
}

ChunkClient::ChunkClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChunkClient::~ChunkClient() = default;

absl::StatusOr<int64_t> ChunkClient::Grant(uint32_t number, uint64_t count) {
  v1::GrantChunkRequest request;
  request.set_node(impl_->options.node);
  request.set_number(number);
  request.set_count(count);
  ASSIGN_OR_RETURN(const v1::GrantChunkResponse response,
                   impl_->Ask(&v1::ControlPlane::Stub::GrantChunk, request));
  return response.first();
}

absl::StatusOr<v1::TurnResponse> ChunkClient::Turn(const v1::TurnRequest& request) {
  v1::TurnRequest own = request;
  own.set_node(impl_->options.node);
  return impl_->Ask(&v1::ControlPlane::Stub::Turn, own);
}

void ChunkClient::Cancel() {
  MutexLock lock(&impl_->mu);
  impl_->cancelled = true;
  if (impl_->call != nullptr) impl_->call->TryCancel();
}

}  // namespace bdr::agent
