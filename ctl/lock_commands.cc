// bdrctl lock ...
#include <openssl/rand.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "base/config.h"
#include "bdr/v1/locks.grpc.pb.h"
#include "ctl/command.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

using LocksPeer = Peer<v1::Locks>;

constexpr absl::Duration kAskEvery = absl::Milliseconds(500);

struct AcquireOptions {
  std::string name;
  std::string owner;
  std::string reason;
  std::string ttl = "1m";
  std::string wait = "0s";
  std::string ticket;
  uint64_t token = 0;
};

struct ReleaseOptions {
  std::string name;
  std::string ticket;
};

absl::StatusOr<LocksPeer> ConnectLocks(const Globals& globals) {
  ASSIGN_OR_RETURN(std::vector<Target> targets, ServerTargets(globals));
  return LocksPeer(std::move(targets));
}

std::string UserAtHost() {
  char host[256] = "";
  (void)gethostname(host, sizeof(host) - 1);
  const passwd* user = getpwuid(geteuid());
  return absl::StrCat(user == nullptr ? "unknown" : user->pw_name, "@", host);
}

absl::StatusOr<std::string> NewTicket() {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
    return absl::InternalError("the system gives no random numbers");
  }
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
}

Json TicketJson(const v1::LockTicket& ticket) {
  return {{"name", ticket.name()},     {"ticket", ticket.ticket()},    {"owner", ticket.owner()},
          {"reason", ticket.reason()}, {"held", ticket.held()},        {"token", ticket.token()},
          {"ttl_ms", ticket.ttl_ms()}, {"asked_us", ticket.asked_us()}};
}

absl::StatusOr<int> ListLocks(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const LocksPeer locks, ConnectLocks(invocation.globals));
  ASSIGN_OR_RETURN(const auto response,
                   locks.Call(&v1::Locks::Stub::ListLocks, v1::ListLocksRequest()));
  Table table(
      {{"LOCK"}, {"STATE"}, {"OWNER"}, {"ASKED"}, {"TTL"}, {"TOKEN"}, {"TICKET"}, {"REASON"}});
  Json document = Json::array();
  for (const v1::LockTicket& ticket : response.locks()) {
    table.AddRow({ticket.name(), ticket.held() ? "held" : "waits", ticket.owner(),
                  LocalTime(ticket.asked_us()), HumanLag(ticket.ttl_ms()),
                  absl::StrCat(ticket.token()), ticket.ticket(), OrDash(ticket.reason())});
    document.push_back(TicketJson(ticket));
  }
  invocation.Print({.text = table.empty() ? "no lock is held\n" : table.Render(),
                    .document = std::move(document)});
  return kGood;
}

absl::Status StillWaits(const v1::AcquireLockResponse& response, absl::string_view waited) {
  const v1::LockTicket& holder = response.ahead(0);
  return absl::DeadlineExceededError(
      absl::StrCat("lock \"", holder.name(), "\" is still held by \"", holder.owner(), "\" after ",
                   waited, "; the place in the queue was given up"));
}

// Gives up the ticket of a call that failed: it may have been made, and nobody would know it. The
// error, and how to look for the ticket where that is not certain.
absl::Status GiveUp(const LocksPeer& locks, const v1::AcquireLockRequest& request,
                    const absl::Status& error) {
  // Refused before anything was made.
  if (absl::IsInvalidArgument(error) || absl::IsPermissionDenied(error) ||
      absl::IsUnauthenticated(error)) {
    return error;
  }
  v1::ReleaseLockRequest release;
  release.set_name(request.name());
  release.set_ticket(request.ticket());
  const auto released = locks.Call(&v1::Locks::Stub::ReleaseLock, release);
  // A call that was not answered may still be under way.
  if (released.ok() && (released->released() || !IsSilence(error))) return error;
  return absl::Status(
      error.code(),
      absl::StrCat(error.message(), "; ticket \"", request.ticket(),
                   "\" may be queued up or hold the lock all the same, until its time is over: see "
                   "\"bdrctl lock list\", and release it with \"bdrctl lock release ",
                   request.name(), " --ticket ", request.ticket(), "\""));
}

absl::StatusOr<v1::LockTicket> AcquireWithin(const LocksPeer& locks, v1::AcquireLockRequest request,
                                             const std::string& wait, bool given_ticket) {
  ASSIGN_OR_RETURN(const absl::Duration patience, config::ParseDuration(wait));
  const absl::Time until = absl::Now() + patience;
  request.set_wait(patience > absl::ZeroDuration() || given_ticket);
  while (true) {
    const auto answer = locks.Call(&v1::Locks::Stub::AcquireLock, request);
    if (!answer.ok()) {
      return given_ticket ? answer.status() : GiveUp(locks, request, answer.status());
    }
    const v1::AcquireLockResponse& response = *answer;
    request.set_token(response.lock().token());
    if (response.lock().held() || given_ticket) return response.lock();
    if (absl::Now() >= until) {
      v1::ReleaseLockRequest release;
      release.set_name(request.name());
      release.set_ticket(request.ticket());
      RETURN_IF_ERROR(locks.Call(&v1::Locks::Stub::ReleaseLock, release).status());
      return StillWaits(response, wait);
    }
    absl::SleepFor(kAskEvery);
  }
}

absl::StatusOr<int> Acquire(const Invocation& invocation, const AcquireOptions& options) {
  ASSIGN_OR_RETURN(const LocksPeer locks, ConnectLocks(invocation.globals));
  ASSIGN_OR_RETURN(const absl::Duration ttl, config::ParseDuration(options.ttl));
  v1::AcquireLockRequest request;
  request.set_name(options.name);
  request.set_owner(options.owner.empty() ? UserAtHost() : options.owner);
  request.set_reason(options.reason);
  request.set_ttl_ms(absl::ToInt64Milliseconds(ttl));
  request.set_token(options.token);
  request.set_ticket(options.ticket);
  if (options.ticket.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_ticket(), NewTicket());
  }
  ASSIGN_OR_RETURN(const v1::LockTicket lock,
                   AcquireWithin(locks, request, options.wait, !options.ticket.empty()));
  invocation.Print({.text = absl::StrCat(
                        "lock \"", lock.name(), "\" ", lock.held() ? "is held" : "is waited for",
                        " by \"", lock.owner(), "\", for ", HumanLag(lock.ttl_ms()),
                        " from now\nticket ", lock.ticket(), "\ntoken ", lock.token(), "\n"),
                    .document = TicketJson(lock)});
  return kGood;
}

absl::StatusOr<int> Release(const Invocation& invocation, const ReleaseOptions& options) {
  ASSIGN_OR_RETURN(const LocksPeer locks, ConnectLocks(invocation.globals));
  v1::ReleaseLockRequest request;
  request.set_name(options.name);
  request.set_ticket(options.ticket);
  ASSIGN_OR_RETURN(const auto response, locks.Call(&v1::Locks::Stub::ReleaseLock, request));
  invocation.Print({.text = absl::StrCat("lock \"", options.name, "\": ",
                                         response.released() ? "released" : "no such ticket", "\n"),
                    .document = {{"released", response.released()}}});
  return response.released() ? kGood : kFailed;
}

}  // namespace

void AddLockCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* lock =
      AddNoun(app, "lock", "Locks of the whole cluster: one holder at a time, others queue up",
              {"bdrctl lock list", "bdrctl lock acquire nightly-load --wait 10m"});
  AddVerb(lock, invocation, "list", "Shows who holds which lock, and who waits for it",
          {"bdrctl lock list", "bdrctl lock list -o json"},
          [invocation] { return ListLocks(*invocation); });

  auto acquire = std::make_shared<AcquireOptions>();
  CLI::App* acquire_verb =
      AddVerb(lock, invocation, "acquire",
              "Takes a lock, or renews it by its ticket; who does not renew it in time has lost it",
              {"bdrctl lock acquire nightly-load --wait 10m --ttl 1h --reason 'loads prices'",
               "bdrctl lock acquire nightly-load --ticket TICKET --token 4711"},
              [invocation, acquire] { return Acquire(*invocation, *acquire); });
  acquire_verb->add_option("NAME", acquire->name, "Small letters, digits, '.', '_' and '-'")
      ->required();
  acquire_verb->add_option("--owner", acquire->owner, "Who takes it; you@host if not given");
  acquire_verb->add_option("--reason", acquire->reason, "What for; others see it");
  acquire_verb
      ->add_option("--ttl", acquire->ttl, "How long it is kept without being renewed, 2s to 24h")
      ->capture_default_str();
  acquire_verb->add_option("--wait", acquire->wait, "How long to queue up for it")
      ->capture_default_str();
  CLI::Option* ticket = acquire_verb->add_option(
      "--ticket", acquire->ticket, "Renews the ticket that an earlier call has told, held or not");
  acquire_verb
      ->add_option("--token", acquire->token,
                   "With --ticket: the token told with it; fails if that was lost meanwhile")
      ->needs(ticket);

  auto release = std::make_shared<ReleaseOptions>();
  CLI::App* release_verb =
      AddVerb(lock, invocation, "release",
              "Gives up a lock or a place in its queue; also another's, by the ticket that \"lock "
              "list\" shows",
              {"bdrctl lock release nightly-load --ticket TICKET"},
              [invocation, release] { return Release(*invocation, *release); });
  release_verb->add_option("NAME", release->name, "The lock")->required();
  release_verb->add_option("--ticket", release->ticket, "As \"lock acquire\" has told it")
      ->required();
}

}  // namespace bdr::ctl
