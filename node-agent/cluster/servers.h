// The bdr-servers that an agent may ask. Included by .cc files only: it brings gRPC along.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/security_options.h"
#include "bdr/v1/control.grpc.pb.h"

namespace bdr::agent {

struct Server {
  std::string address;
  std::unique_ptr<v1::ControlPlane::Stub> stub;
};

// One for each address (host:port), in their order. kInvalidArgument if there is none, or one that
// cannot be; errors of the certificates. Connects to none of them yet.
absl::StatusOr<std::vector<Server>> MakeServers(const std::vector<std::string>& addresses,
                                                const SecurityOptions& security);

// Nobody has answered, in one way or another: the next may.
bool IsSilence(const absl::Status& status);

}  // namespace bdr::agent
