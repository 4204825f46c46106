// Ends a call of one of our services, and counts it. Included by .cc files only: it brings gRPC
// along.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "base/grpc_status.h"
#include "base/metrics.h"

namespace bdr::server {

inline grpc::ServerUnaryReactor* FinishCall(grpc::CallbackServerContext* context, const char* call,
                                            const absl::Status& status, Metrics* metrics) {
  metrics
      ->GetCounter("bdr_server_requests_total",
                   {{"call", call}, {"code", absl::StatusCodeToString(status.code())}})
      .Increment();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace bdr::server
