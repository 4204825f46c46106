#include "node-agent/upkeep/fitness.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "postgres/setup/node_check.h"

namespace bdr::agent {
namespace {

constexpr size_t kNamed = 3;
constexpr absl::Duration kCancelAgain = absl::Milliseconds(100);

// What is wrong, each with what mends it; "" if nothing is.
std::string Against(const std::vector<pg_setup::Finding>& findings) {
  std::vector<std::string> named;
  size_t errors = 0;
  for (const pg_setup::Finding& finding : findings) {
    if (finding.level != pg_setup::Finding::Level::kError) continue;
    if (++errors > kNamed) continue;
    named.push_back(absl::StrCat(
        finding.what,
        finding.remedy.empty() ? "" : absl::StrCat(": as administrator: ", finding.remedy)));
  }
  if (errors == 0) return "";
  return absl::StrCat(absl::StrJoin(named, "; "),
                      errors > kNamed ? absl::StrCat(" (and ", errors - kNamed, " more)") : "",
                      "; see \"bdrctl node check\"");
}

}  // namespace

Fitness::Fitness(Options options) : options_(std::move(options)) {
  health_.Set(Health::Level::kOk, "fit");
  thread_ = std::thread([this] { Run(); });
}

Fitness::~Fitness() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
    // Again and again: between two statements there is nothing to cancel.
    while (!ended_) {
      if (looking_ != nullptr) looking_->Cancel();
      woken_.WaitFor(&mu_, kCancelAgain);
    }
  }
  thread_.join();
}

void Fitness::Reconnected() {
  MutexLock lock(&mu_);
  wanted_ = true;
  woken_.NotifyAll();
}

void Fitness::Run() {
  while (WaitFor(health_.Get().level == Health::Level::kOk ? options_.interval
                                                           : options_.interval_unfit)) {
    const absl::Status status = Look();
    // A server that is down says nothing of what it allows.
    if (!status.ok()) LogDebug("fitness", {}, status.message());
    looked_ = SteadyNow();
  }
  MutexLock lock(&mu_);
  ended_ = true;
  woken_.NotifyAll();
}

bool Fitness::WaitFor(absl::Duration pause) {
  const absl::Time until = SteadyNow() + pause;
  // A server that comes and goes is not asked each time.
  const absl::Time soonest = looked_ + options_.interval_unfit;
  MutexLock lock(&mu_);
  while (!stopping_) {
    const absl::Time next = wanted_ ? std::min(until, soonest) : until;
    const absl::Duration left = next - SteadyNow();
    if (left <= absl::ZeroDuration()) break;
    woken_.WaitFor(&mu_, left);
  }
  wanted_ = false;
  return !stopping_;
}

absl::Status Fitness::Look() {
  const absl::StatusOr<std::string> against = AskServer();
  // Whoever may not log in any more, or not ask, has lost rights as well.
  if (absl::IsPermissionDenied(against.status()) || absl::IsFailedPrecondition(against.status())) {
    Tell(std::string(against.status().message()));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(against.status());
  Tell(*against);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Fitness::AskServer() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr fitness"}));
  {
    MutexLock lock(&mu_);
    if (stopping_) return absl::CancelledError("stopping");
    looking_ = connection.get();
  }
  // Nobody's lock is waited for: the next look comes.
  absl::Status timeout = connection->Exec("SET lock_timeout = '1s'").status();
  const auto findings =
      timeout.ok() ? pg_setup::CheckNode(*connection, {.running = true}) : std::move(timeout);
  {
    MutexLock lock(&mu_);
    looking_ = nullptr;
  }
  RETURN_IF_ERROR(findings.status());
  return Against(*findings);
}

void Fitness::Tell(const std::string& against) {
  if (against.empty()) {
    if (health_.Set(Health::Level::kOk, "fit")) LogInfo("fitness", {{"state", "unfit->fit"}});
  } else if (health_.Set(Health::Level::kCritical, "unfit", against)) {
    LogError("fitness", {{"state", "unfit"}}, against);
  }
}

}  // namespace bdr::agent
