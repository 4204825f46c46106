#include "base/grpc_status.h"

#include <grpcpp/support/status.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace bdr {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  // gRPC has none for a call that a server does not know, and a reason is put behind other words.
  if (!status.ok() && status.error_message().empty()) {
    return {code, absl::StrCat("the call ended with ", absl::StatusCodeToString(code),
                               ", without a reason")};
  }
  return {code, status.error_message()};
}

}  // namespace bdr
