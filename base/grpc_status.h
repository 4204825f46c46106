// absl::Status to grpc::Status and back: the codes of both have the same numbers, and the message
// travels as it is.
#pragma once

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace bdr {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace bdr
