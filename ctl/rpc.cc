#include "ctl/rpc.h"

#include <grpc/support/log.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/config.h"
#include "base/grpc_security.h"

namespace bdr::ctl {

namespace {

// What gRPC says on standard error by itself stands in the error of the call as well.
void SilenceGrpc() {
  gpr_set_log_function([](gpr_log_func_args*) {});
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const Globals& globals,
                                                           const std::string& address) {
  const SecurityOptions security{.insecure = globals.insecure,
                                 .certificate = globals.cert,
                                 .key = globals.key,
                                 .ca = globals.ca};
  if (!security.insecure && security.certificate.empty() && security.ca.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot connect to \"", address,
                     "\": name the files with --ca, --cert and --key (or BDR_CA, BDR_CERT and "
                     "BDR_KEY), or say --insecure for a cluster on loopback addresses"));
  }
  ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(security, address));
  SilenceGrpc();
  grpc::ChannelArguments arguments;
  // Hashes of many rows are larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

absl::Status Combine(const std::vector<absl::Status>& errors) {
  if (errors.size() == 1) return errors[0];
  return absl::Status(
      errors.back().code(),
      absl::StrCat("none of ", errors.size(), " answers: ",
                   absl::StrJoin(errors, "; ", [](std::string* out, const absl::Status& error) {
                     absl::StrAppend(out, error.message());
                   })));
}

absl::StatusOr<std::vector<Target>> ServerTargets(const Globals& globals) {
  std::vector<Target> targets;
  const std::vector<std::string> addresses = absl::StrSplit(globals.server, ',');
  for (const std::string& address : addresses) {
    if (!config::ParseHostPort(address).ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--server \"", globals.server, "\" is not host:port, such as \"", kDefaultServer,
          "\", or several of them with commas between: the port is the one that bdr-server's "
          "configuration has as \"listen\""));
    }
    Target target{.kind = Target::Kind::kServer,
                  .name = absl::StrCat("bdr-server \"", address, "\""),
                  .address = address,
                  .insecure = globals.insecure,
                  .channel = nullptr};
    ASSIGN_OR_RETURN(target.channel, OpenChannel(globals, address));
    targets.push_back(std::move(target));
  }
  return targets;
}

absl::StatusOr<Server> ConnectServer(const Globals& globals) {
  ASSIGN_OR_RETURN(std::vector<Target> targets, ServerTargets(globals));
  return Server(std::move(targets));
}

absl::StatusOr<Agent> ConnectAgent(const Globals& globals, const v1::Member& member) {
  Target target{
      .kind = Target::Kind::kAgent,
      .name = absl::StrCat("agent of node \"", member.name(), "\" (", member.agent_address(), ")"),
      .address = member.agent_address(),
      .insecure = globals.insecure,
      .channel = nullptr};
  ASSIGN_OR_RETURN(target.channel, OpenChannel(globals, member.agent_address()));
  return Agent(std::move(target));
}

absl::StatusOr<v1::Membership> FetchMembership(const Globals& globals) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(globals));
  ASSIGN_OR_RETURN(const auto response,
                   server.Call(&v1::ControlPlane::Stub::GetMembership, v1::GetMembershipRequest()));
  return response.membership();
}

absl::StatusOr<std::vector<v1::Member>> SelectMembers(const v1::Membership& membership,
                                                      const std::string& name) {
  std::vector<v1::Member> selected;
  std::vector<std::string> names;
  for (const v1::Member& member : membership.members()) {
    names.push_back(member.name());
    if (name.empty() || member.name() == name) selected.push_back(member);
  }
  if (selected.empty() && !name.empty()) {
    return absl::NotFoundError(
        absl::StrCat("cluster \"", membership.cluster_name(), "\" has no node \"", name, "\"",
                     names.empty() ? "; it has none at all"
                                   : absl::StrCat("; it has ", absl::StrJoin(names, ", "))));
  }
  return selected;
}

const char* StateName(v1::Member::State state) {
  switch (state) {
    case v1::Member::JOINING:
      return "joining";
    case v1::Member::ACTIVE:
      return "active";
    default:
      return "unknown";
  }
}

}  // namespace bdr::ctl
