// Asking bdr-server and the agents. Included by .cc files only: it brings gRPC along.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
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

// Whether nobody has answered, so that another server may be asked: all that is asked of one may be
// asked again.
inline bool IsSilence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// What all of `errors` say, if there are several; the code of the last.
absl::Status Combine(const std::vector<absl::Status>& errors);

// Those that may be asked, and what each has in errors. A call goes to the one that answered last,
// and to the next if that one does not. Thread-safe like the stubs.
template <typename Service>
class Peer {
 public:
  explicit Peer(Target target) : Peer(std::vector<Target>{std::move(target)}) {}
  explicit Peer(std::vector<Target> targets) : targets_(std::move(targets)) {
    for (const Target& target : targets_) stubs_.push_back(Service::NewStub(target.channel));
  }

  // `method` is a member of the stub: Call(&v1::AgentAdmin::Stub::HashTable, request).
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                                const Request& request,
                                absl::Duration timeout = kCallTimeout) const {
    std::vector<absl::Status> errors;
    for (size_t i = 0; i < targets_.size(); ++i) {
      const size_t asked = *present_ % targets_.size();
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
      Response response;
      const grpc::Status status = (stubs_[asked].get()->*method)(&context, request, &response);
      if (status.ok()) return response;
      const absl::Status error = FromGrpcStatus(status);
      errors.push_back(ExplainFailure(targets_[asked], error));
      // What a server says itself stands: the servers share one state.
      if (!IsSilence(error)) return errors.back();
      ++*present_;
    }
    return Combine(errors);
  }

  // Of the one that is asked first.
  const std::string& name() const { return targets_[*present_ % targets_.size()].name; }

 private:
  std::vector<Target> targets_;
  std::vector<std::unique_ptr<typename Service::Stub>> stubs_;
  // Counts up. Behind a pointer, so that a peer can be moved.
  std::unique_ptr<std::atomic<size_t>> present_ = std::make_unique<std::atomic<size_t>>(0);
};

using Server = Peer<v1::ControlPlane>;
using Agent = Peer<v1::AgentAdmin>;

// The servers that --server names. kInvalidArgument if that is no list of addresses.
absl::StatusOr<std::vector<Target>> ServerTargets(const Globals& globals);
absl::StatusOr<Server> ConnectServer(const Globals& globals);
absl::StatusOr<Agent> ConnectAgent(const Globals& globals, const v1::Member& member);

absl::StatusOr<v1::Membership> FetchMembership(const Globals& globals);

// The member called `name`, or all if it is empty. kNotFound names those that there are.
absl::StatusOr<std::vector<v1::Member>> SelectMembers(const v1::Membership& membership,
                                                      const std::string& name);

const char* StateName(v1::Member::State state);

}  // namespace bdr::ctl
