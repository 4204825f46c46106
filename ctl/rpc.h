// Asking bdr-server and the agents. Included by .cc files only: it brings gRPC along.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/grpc_status.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "bdr/v1/control.grpc.pb.h"
#include "ctl/command.h"
#include "ctl/wrong_port.h"

namespace bdr::ctl {

// Long enough for a busy machine, short enough for a person.
inline constexpr absl::Duration kCallTimeout = absl::Seconds(10);

// kInvalidArgument or kFailedPrecondition if the address or the TLS options cannot work; does not
// connect yet.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const Globals& globals,
                                                           const std::string& address);

// One stub and what it has in errors. Thread-safe like the stub.
template <typename Service>
class Peer {
 public:
  explicit Peer(Target target)
      : target_(std::move(target)), stub_(Service::NewStub(target_.channel)) {}

  // `method` is a member of the stub: Call(&v1::AgentAdmin::Stub::HashTable, request).
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                                const Request& request,
                                absl::Duration timeout = kCallTimeout) const {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (status.ok()) return response;
    return ExplainFailure(target_, FromGrpcStatus(status));
  }

  const std::string& name() const { return target_.name; }

 private:
  Target target_;
  std::unique_ptr<typename Service::Stub> stub_;
};

using Server = Peer<v1::ControlPlane>;
using Agent = Peer<v1::AgentAdmin>;

absl::StatusOr<Server> ConnectServer(const Globals& globals);
absl::StatusOr<Agent> ConnectAgent(const Globals& globals, const v1::Member& member);

absl::StatusOr<v1::Membership> FetchMembership(const Globals& globals);

// The member called `name`, or all if it is empty. kNotFound names those that there are.
absl::StatusOr<std::vector<v1::Member>> SelectMembers(const v1::Membership& membership,
                                                      const std::string& name);

const char* StateName(v1::Member::State state);

}  // namespace bdr::ctl
