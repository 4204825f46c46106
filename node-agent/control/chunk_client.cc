#include "node-agent/control/chunk_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "node-agent/control/servers.h"

namespace bdr::agent {

struct ChunkClient::Impl {
  Options options;
  std::vector<Server> servers;

  Mutex mu;
  size_t present ABSL_GUARDED_BY(mu) = 0;  // counts up; modulo the number of servers, whom to ask
  bool cancelled ABSL_GUARDED_BY(mu) = false;
  grpc::ClientContext* call ABSL_GUARDED_BY(mu) = nullptr;

  absl::StatusOr<int64_t> Ask(Server& server, const v1::GrantChunkRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options.call_timeout));
    {
      MutexLock lock(&mu);
      if (cancelled) return absl::CancelledError("stopping");
      call = &context;
    }
    v1::GrantChunkResponse response;
    const grpc::Status status = server.stub->GrantChunk(&context, request, &response);
    MutexLock lock(&mu);
    call = nullptr;
    if (status.ok()) return response.first();
    const absl::Status error = FromGrpcStatus(status);
    return absl::Status(error.code(),
                        absl::StrCat("bdr-server \"", server.address, "\": ", error.message()));
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
  absl::Status last;
  for (size_t i = 0; i < impl_->servers.size(); ++i) {
    size_t present = 0;
    {
      MutexLock lock(&impl_->mu);
      present = impl_->present;
    }
    auto first = impl_->Ask(impl_->servers[present % impl_->servers.size()], request);
    if (!IsSilence(first.status())) return first;
    last = first.status();
    MutexLock lock(&impl_->mu);
    ++impl_->present;
  }
  return last;
}

void ChunkClient::Cancel() {
  MutexLock lock(&impl_->mu);
  impl_->cancelled = true;
  if (impl_->call != nullptr) impl_->call->TryCancel();
}

}  // namespace bdr::agent
