#include "node-agent/check/check_server.h"

#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/config.h"
#include "base/grpc_security.h"
#include "base/grpc_status.h"
#include "base/status_macros.h"
#include "bdr/v1/control.grpc.pb.h"
#include "node-agent/check/check_files.h"
#include "node-agent/sync/first_start.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {
namespace {

using pg_setup::Findings;

constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr absl::Duration kRecent = absl::Minutes(1);

struct Answer {
  v1::ClusterStatusResponse status;
  ClockReading clock;
};

absl::StatusOr<Answer> Ask(const SecurityOptions& security, const std::string& address) {
  ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(security, address));
  const auto stub = v1::ControlPlane::NewStub(grpc::CreateChannel(address, credentials));
  // The connection is made first, or its making would count as the clock's uncertainty.
  const absl::Time until = absl::Now() + kCallTimeout;
  Answer answer;
  for (int round = 0; round < 2; ++round) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(until));
    const int64_t asked_us = absl::ToUnixMicros(absl::Now());
    const grpc::Status status = stub->ClusterStatus(&context, {}, &answer.status);
    if (!status.ok()) return FromGrpcStatus(status);
    answer.clock =
        ClockReading::Of(answer.status.now_us(), asked_us, absl::ToUnixMicros(absl::Now()));
  }
  return answer;
}

// Addresses of a host as bytes; none if the name is not known.
std::set<std::string> AddressesOf(const std::string& host) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  std::set<std::string> addresses;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return addresses;
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    if (each->ai_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(each->ai_addr);
      addresses.emplace(reinterpret_cast<const char*>(&v4->sin_addr), sizeof(v4->sin_addr));
    } else if (each->ai_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(each->ai_addr);
      addresses.emplace(reinterpret_cast<const char*>(&v6->sin6_addr), sizeof(v6->sin6_addr));
    }
  }
  freeaddrinfo(list);
  return addresses;
}

// Whether who goes to `advertised` may well come out at `listen`.
bool MayMeet(const std::string& advertised, const std::string& listen) {
  const auto to = config::ParseHostPort(advertised);
  const auto at = config::ParseHostPort(listen);
  if (!to.ok() || !at.ok() || to->port != at->port) return false;
  if (at->host == "0.0.0.0" || at->host == "::" || to->host == at->host) return true;
  const std::set<std::string> own = AddressesOf(at->host);
  for (const std::string& address : AddressesOf(to->host)) {
    if (own.contains(address)) return true;
  }
  return false;
}

void CheckSelf(const AgentConfig& config, const Member& self, Findings& findings) {
  findings.Ok(absl::StrCat("the cluster knows node \"", self.name, "\" (id ", self.id, ") at ",
                           self.address));
  if (MayMeet(self.address, config.listen)) {
    findings.Ok(absl::StrCat("that is where it listens (", config.listen, ")"));
  } else {
    findings.Warning(
        absl::StrCat("the cluster knows node \"", self.name, "\" at ", self.address,
                     ", and it listens on ", config.listen,
                     ": unless something forwards one to the other nobody reaches it; run "
                     "\"bdrctl node set-address ",
                     self.name, " --address ", config.listen, "\", or change listen"));
  }
  if (HasStore(config)) return;
  if (const absl::Status past = CheckNoPastOf(self); !past.ok()) {
    findings.Error(std::string(past.message()));
  }
}

void CheckRefused(const v1::ClusterStatusResponse& status, const std::string& name,
                  Findings& findings) {
  for (const v1::ReportedStatus& node : status.nodes()) {
    if (node.member().name() != name || node.refused().empty()) continue;
    if (status.now_us() - node.refused_us() > absl::ToInt64Microseconds(kRecent)) continue;
    findings.Warning(absl::StrCat("bdr-server has just refused a report in the name of \"", name,
                                  "\": ", node.refused(), "; is a second agent running?"));
  }
}

void TakeAnswer(const AgentConfig& config, const Answer& answer, Findings& findings,
                AskedServer* asked) {
  asked->clock = answer.clock;
  absl::StatusOr<Membership> membership =
      ParseMembership(answer.status.membership().SerializeAsString());
  if (!membership.ok()) return findings.Error(std::string(membership.status().message()));
  asked->membership = *std::move(membership);
  const Member* const self = asked->Self(config);
  if (self == nullptr) {
    findings.Warning(absl::StrCat("node \"", config.node, "\" is not a member of cluster \"",
                                  asked->membership->cluster_name,
                                  "\" yet, and its agent waits until it is: run \"bdrctl "
                                  "node add ",
                                  config.node, " --address HOST:PORT --no-copy\""));
    return;
  }
  CheckSelf(config, *self, findings);
  CheckRefused(answer.status, config.node, findings);
}

}  // namespace

AskedServer AskServer(const AgentConfig& config) {
  AskedServer asked;
  Findings answered, silent;
  std::string why;
  for (const std::string& address : config.control) {
    const absl::StatusOr<Answer> answer = Ask(config.security, address);
    const std::string who = absl::StrCat("bdr-server \"", address, "\"");
    if (answer.ok()) {
      answered.Ok(absl::StrCat(who, " answers"));
      if (!asked.membership.has_value()) TakeAnswer(config, *answer, answered, &asked);
    } else if (absl::IsFailedPrecondition(answer.status()) ||
               absl::IsPermissionDenied(answer.status())) {
      // It is there: a cluster is still to be made, or it is older than this question.
      answered.Warning(
          absl::StrCat(who, " answers, and cannot say more: ", answer.status().message()));
    } else {
      absl::StrAppend(&why, why.empty() ? "" : "; ", who,
                      " does not answer: ", answer.status().message());
    }
  }
  std::vector<pg_setup::Finding> findings = answered.Take();
  const bool any = !findings.empty();
  if (!why.empty()) {
    // The next start needs one of them.
    findings.push_back(
        {.level = any ? pg_setup::Finding::Level::kWarning : pg_setup::Finding::Level::kError,
         .what = absl::StrCat(why,
                              "; is it running, is control right, and has its "
                              "certificate that host and this CA?"),
         .remedy = ""});
  }
  asked.checked = {"bdr-server", std::move(findings)};
  return asked;
}

}  // namespace bdr::agent
