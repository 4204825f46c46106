#include "ctl/wrong_port.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/port_probe.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "bdr/v1/control.grpc.pb.h"

namespace bdr::ctl {
namespace {

// Whether the other kind of daemon listens there. Which answer it gives does not matter.
bool IsOtherKind(const Target& target) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kProbeTimeout));
  grpc::Status status;
  if (target.kind == Target::Kind::kServer) {
    v1::GetNodeStatusResponse response;
    status = v1::AgentAdmin::NewStub(target.channel)->GetNodeStatus(&context, {}, &response);
  } else {
    v1::GetMembershipResponse response;
    status = v1::ControlPlane::NewStub(target.channel)->GetMembership(&context, {}, &response);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::PERMISSION_DENIED:  // said before the call is looked for
      return false;
    default:
      return true;
  }
}

std::string WrongDaemon(const Target& target) {
  if (!IsOtherKind(target)) {
    return "it does not know this call: it is of another version than bdrctl, or another program "
           "(\"bdrctl --version\")";
  }
  if (target.kind == Target::Kind::kServer) {
    return "this is the port of a bdr-agent: give bdr-server's with --server (\"listen\" in "
           "bdr-server's configuration)";
  }
  return "this is the port of a bdr-server: give the agent's with \"bdrctl node set-address\" "
         "(\"listen\" in the agent's configuration)";
}

std::string WrongPort(const Target& target, const absl::Status& error) {
  const PortSpeaks speaks = ProbePort(target.address, kProbeTimeout);
  if (speaks == PortSpeaks::kTls && !target.insecure) {
    return absl::StrCat(
        "it speaks TLS, and one of the two does not trust the other's certificate: is --ca the "
        "cluster's CA, has it signed --cert, and does the daemon's certificate name this host? "
        "(\"bdrctl cert show FILE\"; ",
        error.message(), ")");
  }
  const std::string why = WhyNoAnswer(speaks, target.insecure);
  if (why.empty()) return "";
  const char* remedy = "";
  if (speaks == PortSpeaks::kTls) {
    remedy = ": give --ca, --cert and --key instead of --insecure";
  } else if (speaks == PortSpeaks::kPlaintextGrpc) {
    remedy = ": say --insecure instead of --ca, --cert and --key; that is for loopback addresses";
  }
  return absl::StrCat("it ", why, remedy);
}

}  // namespace

absl::Status ExplainFailure(const Target& target, const absl::Status& error) {
  std::string why;
  if (absl::IsUnimplemented(error)) {
    why = WrongDaemon(target);
  } else if ((absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error)) &&
             target.channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
    why = WrongPort(target, error);
  }
  if (why.empty()) why = std::string(error.message());
  if (why.empty()) why = absl::StatusCodeToString(error.code());
  return {error.code(), absl::StrCat(target.name, ": ", why)};
}

}  // namespace bdr::ctl
