// A call that got no answer because the port is not what it was taken for: an agent's instead of
// bdr-server's or the reverse, the one for metrics, TLS where plaintext is spoken. gRPC's own words
// for these name none of it. Included by .cc files only: it brings gRPC along.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace bdr::ctl {

// Where a call goes to.
struct Target {
  enum class Kind { kServer, kAgent };
  Kind kind = Kind::kServer;
  std::string name;  // in errors
  std::string address;
  bool insecure = false;
  std::shared_ptr<grpc::Channel> channel;
};

// The longest that is spent to find out.
inline constexpr absl::Duration kProbeTimeout = absl::Seconds(2);

// What is said of a call to `target` that failed with `error`: the same code, and what is wrong
// with the port and what to do if that is the reason, otherwise what `error` says. May connect
// there.
absl::Status ExplainFailure(const Target& target, const absl::Status& error);

}  // namespace bdr::ctl
