// Who it is that a call did not get through to. gRPC says of a wrong port or wrong TLS only that it
// could not connect, or that the socket was closed; whoever listens there says more by its first
// bytes.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace bdr {

enum class PortSpeaks {
  kNothing,  // nobody listens, or what answers is not known
  kPlaintextGrpc,
  kTls,
  kHttp,
  kPostgres,
};

// Connects a few times and says hello in one protocol after the other. Blocks, for no longer than
// `limit` and the time that the system takes to look up a name. `address` is host:port.
PortSpeaks ProbePort(const std::string& address, absl::Duration limit);

// Why a gRPC client that speaks plaintext or TLS gets no answer from such a port, with the port as
// the subject: "speaks TLS, and this side plaintext"; "" if that is not the reason.
std::string WhyNoAnswer(PortSpeaks speaks, bool plaintext);

// `error`, or in its place why nobody answers at `address`, if that is the reason. Blocks as
// ProbePort() if `error` is kUnavailable.
absl::Status ExplainUnavailable(const absl::Status& error, const std::string& address,
                                bool plaintext, absl::Duration limit);

}  // namespace bdr
