#include "node-agent/cluster/servers.h"

#include <grpcpp/grpcpp.h>

#include "base/config.h"
#include "base/grpc_security.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::StatusOr<std::vector<Server>> MakeServers(const std::vector<std::string>& addresses,
                                                const SecurityOptions& security) {
  if (addresses.empty()) {
    return absl::InvalidArgumentError(
        "no bdr-server is named: set \"control\" to the address of at least one");
  }
  std::vector<Server> servers;
  for (const std::string& address : addresses) {
    RETURN_IF_ERROR(config::ParseHostPort(address).status());
    ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(security, address));
    grpc::ChannelArguments arguments;
    // Ours is the backoff that counts; gRPC's own would go up to two minutes.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    servers.push_back({address, v1::ControlPlane::NewStub(
                                    grpc::CreateCustomChannel(address, credentials, arguments))});
  }
  return servers;
}

bool IsSilence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsCancelled(status);
}

}  // namespace bdr::agent
