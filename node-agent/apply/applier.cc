#include "node-agent/apply/applier.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "base/thread_name.h"
#include "node-agent/apply/drive/log_source.h"
#include "node-agent/apply/drive/own_source.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kIdleWait = absl::Milliseconds(500);
constexpr absl::Duration kPingInterval = absl::Seconds(1);
constexpr absl::Duration kShortestBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(2);

}  // namespace

Applier::Applier(OriginId origin, ApplyOptions options, ApplyParts parts)
    : origin_(origin),
      options_(std::move(options)),
      parts_(std::move(parts)),
      control_(origin),
      locks_(options_.conninfo, absl::StrCat("bdr locks ", ToString(origin))),
      claim_reader_({.conninfo = options_.conninfo,
                     .application_name = absl::StrCat("bdr claims ", ToString(origin))}),
      tables_({.origin = origin,
               .own = own(),
               .tables = parts_.tables,
               .settings = parts_.settings,
               .generated_at = parts_.generated_at}),
      versions_(parts_.stores, origin, kind()),
      versions_only_(origin, &tables_, &claim_reader_, &versions_),
      values_(parts_.rows, parts_.stores.database, parts_.stores.versions),
      foreign_keys_([this](const std::string& table, const std::string& name) {
        return ParseForeignKeyPolicy(parts_.settings->Value(
            absl::StrCat("foreign_key/", table, "/", name), parts_.settings->active()));
      }),
      session_({.origin = origin,
                .conninfo = options_.conninfo,
                .comes_again = !own(),
                .positions = parts_.positions,
                .clocks = parts_.clocks,
                .keys = parts_.in_flight.keys,
                .activity = &control_.activity(),
                .locks = &locks_,
                .rewound = parts_.rewound}),
      source_(MakeSource()),
      waits_({.origin = origin,
              .origin_name = options_.origin_name,
              .kind = source_->kind(),
              .parts = &parts_,
              .control = &control_,
              .tally = &tally_,
              .session = &session_,
              .locks = &locks_,
              .values = &values_}),
      sizer_({.transactions = options_.group_max_transactions,
              .bytes = options_.group_max_bytes,
              .time = options_.group_max_time}),
      tools_{.origin = origin,
             .options = &options_,
             .parts = &parts_,
             .control = &control_,
             .tally = &tally_,
             .session = &session_,
             .source = source_.get(),
             .tables = &tables_,
             .claim_reader = &claim_reader_,
             .versions = &versions_,
             .versions_only = &versions_only_,
             .values = &values_,
             .foreign_keys = &foreign_keys_,
             .locks = &locks_,
             .waits = &waits_},
      driver_(&tools_, &sizer_),
      stall_watch_(options_.stall_warning) {}

Applier::~Applier() { Stop(); }

std::unique_ptr<GroupSource> Applier::MakeSource() {
  if (!own()) {
    return std::make_unique<LogSource>(origin_, options_.origin_name, &parts_, &control_, &tally_);
  }
  const OwnSource::Replay replay{.after = options_.replay_after,
                                 .through = options_.replay_through};
  return std::make_unique<OwnSource>(parts_.stores.log, origin_, options_.own_changes, replay,
                                     &control_);
}

void Applier::Start() {
  thread_ = std::thread([this] {
    NameThread(own() ? "bdr-apply-own" : absl::StrCat("bdr-apply-", origin_.node));
    Run();
    control_.Ended();
    MutexLock lock(&mu_);
    ended_ = true;
    ended_cv_.NotifyAll();
  });
}

// One session after the other.
void Applier::Run() {
  absl::Duration backoff = kShortestBackoff;
  while (!control_.stopping()) {
    const absl::Time begun = SteadyNow();
    const absl::Status status = Session();
    const bool asked = control_.rewinding() && !session_.broken();
    session_.Close();
    if (control_.stopping()) return;
    if (asked) {
      BeginAnew();
      continue;
    }
    if (SteadyNow() - begun > absl::Seconds(5)) backoff = kShortestBackoff;
    control_.Set(absl::IsUnavailable(status) ? Health::Level::kWarning : Health::Level::kCritical,
                 ApplierState::kConnecting, status.message());
    control_.WaitABit(backoff);
    backoff = std::min(backoff * 2, kMaxBackoff);
  }
}

// That the members changed is no alarm.
void Applier::BeginAnew() {
  if (control_.TakeLostCommits()) {
    control_.Set(Health::Level::kWarning, ApplierState::kConnecting,
                 "PostgreSQL has lost commits that it had not flushed; they are applied again");
  } else {
    control_.Set(Health::Level::kOk, ApplierState::kConnecting);
  }
}

// A statement may wait for a user's lock: it is cancelled, again and again, since another may be
// sent before the thread sees that it is to stop.
void Applier::Stop() {
  control_.Stop();
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    while (!ended_) {
      source_->Wake();
      parts_.stores.log->WakeAll();  // own changes are read from it as well, at times
      session_.Cancel();
      ended_cv_.WaitFor(&mu_, absl::Milliseconds(100));
    }
  }
  thread_.join();
}

void Applier::Rewind(bool lost_commits) {
  control_.Rewind(lost_commits);
  parts_.stores.log->WakeAll();
}

// The order counts. Progress is read only once the origin was had. Letters are read before
// anything is applied, and versions that a crash took come back before anybody decides by them.
// PostgreSQL's ids of the origins come after that, as others may have been added meanwhile.
absl::Status Applier::Session() {
  control_.BeginSession();
  control_.activity().Set("begins a session");
  tables_.Unbind();
  tools_.before.clear();
  values_.Clear();
  RETURN_IF_ERROR(session_.Open());
  RETURN_IF_ERROR(session_.ReadCommitted());
  if (!own()) RETURN_IF_ERROR(versions_.Begin(session_.committed()));
  RETURN_IF_ERROR(ReadLetters());
  if (!own()) {
    RETURN_IF_ERROR(versions_only_.Rebuild(parts_, session_.committed(), &control_));
  }
  RETURN_IF_ERROR(WaitForVersions());
  ASSIGN_OR_RETURN(tools_.node_of_roident, session_.ReadOrigins());
  source_->BeginSession(session_.committed());
  RETURN_IF_ERROR(session_.StartPipeline([this] { waits_.LookAtLock(); }));
  foreign_keys_.Reset();
  return Loop();
}

absl::Status Applier::ReadLetters() {
  ASSIGN_OR_RETURN(const std::vector<DeadLetter> letters, ReadDeadLetters(*session_.connection()));
  parts_.dead_letters->Reload(origin_, letters);
  return absl::OkStatus();
}

absl::Status Applier::WaitForVersions() {
  while (!control_.stopping() && !parts_.versions_rebuilt(origin_, kIdleWait)) {
    control_.Set(Health::Level::kWarning, ApplierState::kRebuilding,
                 "waits for other origins' row versions");
  }
  return absl::OkStatus();
}

absl::Status Applier::Loop() {
  control_.Set(Health::Level::kOk, ApplierState::kApplying);
  absl::Time last_ping = absl::InfinitePast();
  while (!control_.stopping()) {
    if (control_.rewinding()) return absl::UnavailableError("a new session was asked for");
    control_.activity().Set("retries dead letters");
    RETURN_IF_ERROR(driver_.RetryLetters());
    control_.activity().Set("looks for what may be applied");
    if (!own()) BDR_HANG_POINT("apply_gather");
    ASSIGN_OR_RETURN(const bool gathered, source_->Gather(sizer_));
    if (gathered) {
      RETURN_IF_ERROR(driver_.ApplyPending());
      continue;
    }
    if (SteadyNow() - last_ping > kPingInterval) {
      last_ping = SteadyNow();
      RETURN_IF_ERROR(session_.Ping());
    }
  }
  return absl::OkStatus();
}

// An applier that hangs cannot say so: whoever asks finds out, by how far it got.
ApplierStatus Applier::status() const {
  ApplierStatus status = tally_.Get();
  status.health = control_.health();
  status.state = control_.state();
  const std::optional<absl::Time> since = StalledSince();
  // What waits for something and says so has a reason of its own.
  const bool silent = status.health.level == Health::Level::kOk;
  if (since.has_value() && silent) {
    const absl::Duration ago = SteadyNow() - *since;
    status.health.since = absl::Now() - ago;
    status.health.level = Health::Level::kWarning;
    if (status.health.reason.empty()) {
      status.state = ApplierState::kStalled;
      status.health.state = ToString(status.state);
    }
    status.health.reason = absl::StrCat(
        "no progress for ", absl::ToInt64Seconds(ago), "s while changes wait; ",
        status.health.reason.empty() ? control_.activity().Describe() : status.health.reason);
  }
  TellOfStall(since.has_value(), status.health);
  return status;
}

void Applier::TellOfStall(bool stalled, const Health& health) const {
  {
    MutexLock lock(&mu_);
    if (std::exchange(stalled_, stalled) == stalled) return;
  }
  if (stalled) {
    LogWarning("apply", {{"state", "stalled"}, {"origin", ToString(origin_)}},
               health.reason.empty() ? control_.activity().Describe() : health.reason);
  } else {
    LogInfo("apply", {{"state", "stalled->applying"}, {"origin", ToString(origin_)}});
  }
}

std::optional<absl::Time> Applier::StalledSince() const {
  const Lsn reached = source_->reached();
  const bool waits = source_->waits();
  MutexLock lock(&mu_);
  return stall_watch_.Look({reached, tally_.furthest_piece()}, waits, SteadyNow());
}

}  // namespace bdr::agent
