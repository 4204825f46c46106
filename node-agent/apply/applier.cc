#include "node-agent/apply/applier.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "base/thread_name.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/gone_log.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/tables/row_sql.h"

namespace bdr::agent {
namespace {

using postgres::Result;

constexpr absl::Duration kIdleWait = absl::Milliseconds(500);
constexpr absl::Duration kPingInterval = absl::Seconds(1);
constexpr absl::Duration kRetryInterval = absl::Seconds(30);
constexpr absl::Duration kSoonAgain = absl::Seconds(1);
constexpr absl::Duration kBarrierTimeout = absl::Seconds(10);
constexpr absl::Duration kTellOfLockAfter = absl::Seconds(1);
constexpr absl::Duration kLockPoll = absl::Milliseconds(100);
// What is in the way may be something else than it was.
constexpr absl::Duration kLockPatience = absl::Seconds(10);
constexpr int kLockPatiencePerAttempt = 10;  // times what the attempt has taken
constexpr absl::Duration kFetchInterval = absl::Milliseconds(200);
constexpr absl::Duration kMaxBackoff = absl::Seconds(2);
// A unique value that a user's transaction took just now is seen at the next attempt. What goes on
// colliding is no race.
constexpr int kMaxCollisions = 20;
constexpr absl::Duration kCollisionWait = absl::Milliseconds(10);
// Nor is a row that is left out again and again, if the table has a trigger that may do so. If it
// has none, this many attempts: users may write a row all the time.
constexpr int kMaxLeftOut = 500;
// Metrics must not grow with the number of tables.
constexpr size_t kMostTablesCounted = 500;

// Plans are generic and use indexes: one made while a table was small would scan it when it has
// grown.
constexpr char kSessionSql[] =
    "SET session_replication_role = replica; SET synchronous_commit = off; SET row_security = off;"
    "SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off;"
    "SET enable_mergejoin = off; SET enable_seqscan = off;"
    "SET bdr.stable_xid = '2'";  // kFrozenXid: nothing, until it is known

// unique_violation, exclusion_violation
bool IsCollision(const absl::Status& status) {
  const std::string sqlstate = postgres::Sqlstate(status);
  return sqlstate == "23505" || sqlstate == "23P01";
}

// What will be said of the change whenever it is tried: what it names is gone, or has become
// another thing. Not a full disk, a right that was taken away, or whatever else lies in the server.
bool IsForGood(const absl::Status& status) {
  const std::string sqlstate = postgres::Sqlstate(status);
  if (sqlstate.empty()) {
    return absl::IsNotFound(status) || absl::IsFailedPrecondition(status) ||
           absl::IsInvalidArgument(status);
  }
  constexpr absl::string_view kInsufficientPrivilege = "42501";
  if (sqlstate == kInsufficientPrivilege) return false;
  const absl::string_view klass = absl::string_view(sqlstate).substr(0, 2);
  return klass == "42" || klass == "22" || klass == "23";
}

bool RefusedSchema(absl::string_view schema) {
  return schema == "bdr" || schema == "information_schema" || absl::StartsWith(schema, "pg_");
}

}  // namespace

Applier::Applier(OriginId origin, ApplyOptions options, ApplyParts parts)
    : origin_(origin),
      options_(std::move(options)),
      parts_(std::move(parts)),
      health_("connecting"),
      reader_(parts_.log, origin),
      values_(parts_.rows, parts_.database, parts_.versions),
      versions_({.database = parts_.database,
                 .versions = parts_.versions,
                 .claims = parts_.claims,
                 .history = parts_.fold_history},
                origin, merges_own()),
      group_limit_(options_.group_max_transactions),
      locks_(options_.conninfo, absl::StrCat("bdr locks ", ToString(origin))),
      group_transactions_(options_.group_transactions),
      group_seconds_(options_.group_seconds),
      claim_reader_({.conninfo = options_.conninfo,
                     .application_name = absl::StrCat("bdr claims ", ToString(origin))}),
      foreign_keys_([this](const std::string& table, const std::string& name) {
        return ParseForeignKeyPolicy(parts_.settings->Value(
            absl::StrCat("foreign_key/", table, "/", name), parts_.settings->active()));
      }),
      stall_watch_(options_.stall_warning) {}

Applier::~Applier() { Stop(); }

void Applier::Start() {
  if (merges_own() && options_.replay_after < options_.replay_through) {
    replaying_ = true;
    replay_through_ = options_.replay_through;
    reader_.Seek(options_.replay_after);
  }
  thread_ = std::thread([this] {
    NameThread(merges_own() ? "bdr-apply-own" : absl::StrCat("bdr-apply-", origin_.node));
    absl::Duration backoff = absl::Milliseconds(50);
    while (!stopping_) {
      const absl::Time begun = SteadyNow();
      const absl::Status status = Session();
      const bool asked = rewind_ && connection_ != nullptr && !connection_->broken();
      SetConnection(nullptr);
      if (stopping_) break;
      if (asked) {
        BeginAnew();
        continue;
      }
      if (SteadyNow() - begun > absl::Seconds(5)) backoff = absl::Milliseconds(50);
      SetHealth(absl::IsUnavailable(status) ? Health::Level::kWarning : Health::Level::kCritical,
                "connecting", status.message());
      WaitABit(backoff);
      backoff = std::min(backoff * 2, kMaxBackoff);
    }
    health_.Set(Health::Level::kWarning, "stopped", "the agent is shutting down");
    MutexLock lock(&mu_);
    ended_ = true;
    woken_.NotifyAll();
  });
}

// That the members changed is no alarm.
void Applier::BeginAnew() {
  if (lost_commits_.exchange(false)) {
    SetHealth(Health::Level::kWarning, "connecting",
              "PostgreSQL has lost commits that it had not flushed; they are applied again");
  } else {
    SetHealth(Health::Level::kOk, "connecting");
  }
}

// A statement may wait for a user's lock: it is cancelled, again and again, since another may be
// sent before the thread sees that it is to stop.
void Applier::Stop() {
  stopping_ = true;
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    woken_.NotifyAll();
    while (!ended_) {
      parts_.log->WakeAll();
      if (merges_own()) options_.own_changes->Wake();
      if (connection_ != nullptr) connection_->Cancel();
      woken_.WaitFor(&mu_, absl::Milliseconds(100));
    }
  }
  thread_.join();
}

void Applier::SetConnection(std::unique_ptr<postgres::Connection> connection) {
  MutexLock lock(&mu_);
  connection_ = std::move(connection);
}

void Applier::Retry() {
  MutexLock lock(&mu_);
  retry_ = true;
  woken_.NotifyAll();
}

void Applier::Rewind(bool lost_commits) {
  if (lost_commits) lost_commits_ = true;
  rewind_ = true;
  parts_.log->WakeAll();
}

ApplierStatus Applier::status() const {
  ApplierStatus status;
  {
    MutexLock lock(&mu_);
    status = tally_;
  }
  status.health = health_.Get();
  status.fetched_rows = fetched_rows_;
  status.fetch_waits = fetch_waits_;
  const std::optional<absl::Time> since = StalledSince();
  // What waits for something and says so has a reason of its own.
  const bool silent = status.health.level == Health::Level::kOk;
  if (since.has_value() && silent) {
    const absl::Duration ago = SteadyNow() - *since;
    status.health.since = absl::Now() - ago;
    status.health.level = Health::Level::kWarning;
    if (status.health.reason.empty()) status.health.state = "stalled";
    status.health.reason =
        absl::StrCat("no progress for ", absl::ToInt64Seconds(ago), "s while changes wait; ",
                     status.health.reason.empty() ? activity_.Describe() : status.health.reason);
  }
  bool changed = false;
  {
    MutexLock lock(&mu_);
    changed = std::exchange(stalled_, since.has_value()) != since.has_value();
  }
  if (changed && since.has_value()) {
    LogWarning("apply", {{"state", "stalled"}, {"origin", ToString(origin_)}},
               status.health.reason.empty() ? activity_.Describe() : status.health.reason);
  } else if (changed) {
    LogInfo("apply", {{"state", "stalled->applying"}, {"origin", ToString(origin_)}});
  }
  return status;
}

std::optional<absl::Time> Applier::StalledSince() const {
  Lsn reached;
  bool waits = false;
  if (merges_own()) {
    reached = options_.own_changes->low_water();
    waits = options_.own_changes->waits();
  } else {
    reached = parts_.progress->CommittedLsn(origin_).value_or(Lsn{0});
    waits = parts_.log->CompleteThrough(origin_) > reached;
  }
  MutexLock lock(&mu_);
  return stall_watch_.Look({reached, furthest_piece_}, waits, SteadyNow());
}

void Applier::SetHealth(Health::Level level, absl::string_view state, absl::string_view reason) {
  if (!health_.Set(level, state, reason)) return;
  // Reasons by the clock change all the time: once for each time that it begins.
  const bool by_clock = state == "held" || state == "paused";
  if (level == Health::Level::kOk) {
    // To connect is not to work yet.
    const bool works = state != "connecting" && repetition_.Works(SteadyNow());
    const bool healed = works && std::exchange(failed_, false);
    (healed ? LogInfo : LogDebug)("apply", {{"state", state}, {"origin", ToString(origin_)}},
                                  healed ? repetition_.LineText("") : "");
    return;
  }
  if (level == Health::Level::kWarning && state == "waiting") return;
  // A session may begin well and end at once, for the same reason each time.
  if (!repetition_.Failed(absl::StrCat(state, " ", by_clock ? "" : reason), SteadyNow())) return;
  failed_ = true;
  (level == Health::Level::kCritical ? LogError : LogWarning)(
      "apply", {{"state", state}, {"origin", ToString(origin_)}}, repetition_.LineText(reason));
}

void Applier::WaitABit(absl::Duration duration) {
  const absl::Time until = SteadyNow() + duration;
  MutexLock lock(&mu_);
  while (!stopping_ && !retry_ && SteadyNow() < until) woken_.WaitFor(&mu_, until - SteadyNow());
}

absl::Status Applier::Session() {
  rewind_ = false;
  activity_.Set("begins a session");
  if (!merges_own()) pending_.clear();  // the log has them; own changes are nowhere else
  bound_.clear();
  before_.clear();
  values_.Clear();
  pipe_.reset();  // it leads to the session before
  server_life_ = parts_.progress->ServerLife();
  RETURN_IF_ERROR(Connect());
  // The old session's backend may still commit what was queued there. It holds the origin until it
  // ends, so progress is read only after the origin was had.
  RETURN_IF_ERROR(SetUpOrigin());
  if (merges_own()) {
    RETURN_IF_ERROR(SettleOwn());
  } else {
    RETURN_IF_ERROR(ReadProgress());
    RETURN_IF_ERROR(versions_.Begin(committed_));
  }
  ASSIGN_OR_RETURN(const std::vector<DeadLetter> letters, ReadDeadLetters(*connection_));
  parts_.dead_letters->Reload(origin_, letters);
  if (!merges_own()) RETURN_IF_ERROR(RebuildVersions());
  while (!stopping_ && !parts_.versions_rebuilt(origin_, kIdleWait)) {
    SetHealth(Health::Level::kWarning, "rebuilding", "waits for other origins' row versions");
  }
  RETURN_IF_ERROR(ReadOrigins());
  if (!merges_own()) reader_.Seek(committed_);
  RETURN_IF_ERROR(connection_->EnterPipeline());
  pipe_ = std::make_unique<Pipe>(connection_.get(), &activity_);
  pipe_->SetSlow(LockWaits::kAskAfter, [this] {
    locks_.AskAbout(connection_->backend_pid());
    TellOfLock();
  });
  foreign_keys_.Reset();
  return Loop();
}

absl::Status Applier::Connect() {
  ASSIGN_OR_RETURN(std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo,
                        .application_name = absl::StrCat("bdr apply ", ToString(origin_))}));
  SetConnection(std::move(connection));
  RETURN_IF_ERROR(connection_->Exec(kSessionSql).status());
  if (merges_own()) {
    // Nobody sends own changes again: merged counts as done, so a crash of the server must not take
    // it back. (A remote group comes again, by bdr.progress.)
    RETURN_IF_ERROR(connection_->Exec("SET synchronous_commit = local").status());
  }
  stable_xid_ = kFrozenXid;
  // Apply is to be the victim of a deadlock, not the user; whoever looks first is.
  const absl::Status timeout = connection_->Exec("SET deadlock_timeout = '20ms'").status();
  if (!timeout.ok() && !warned_timeout_) {
    warned_timeout_ = true;
    LogWarning("apply", {{"origin", ToString(origin_)}},
               absl::StrCat("deadlocks may hit users: ", timeout.message()));
  }
  return connection_->broken() ? timeout : absl::OkStatus();
}

absl::Status Applier::SetUpOrigin() {
  RETURN_IF_ERROR(parts_.server_past->CheckOrigins(*connection_, *parts_.names));
  RETURN_IF_ERROR(TakeOrigin(*connection_, *parts_.names, origin_));
  return connection_
      ->Exec(
          absl::StrCat("INSERT INTO bdr.progress (origin_node, origin_incarnation, lsn) VALUES (",
                       origin_.node, ", ", origin_.incarnation, ", '0/0') ON CONFLICT DO NOTHING"))
      .status();
}

absl::Status Applier::ReadProgress() {
  // Taken before the table is read: who moves on meanwhile is not set back for it.
  absl::flat_hash_map<OriginId, Lsn> known;
  for (const OriginId& origin : parts_.progress->Peers()) {
    known[origin] = parts_.progress->CommittedLsn(origin).value_or(Lsn{0});
  }
  ASSIGN_OR_RETURN(const ServerPast::Told told, parts_.server_past->Ask(*connection_));
  RETURN_IF_ERROR(parts_.server_past->CheckApplied(told));
  for (const AppliedPosition& position : told.applied) {
    const OriginId origin = position.origin;
    if (origin == origin_) {
      committed_ = position.lsn;
      parts_.progress->ResetCommitted(origin, position.lsn);
      if (!parts_.progress->Committed(origin, position.lsn, position.local_after, server_life_)) {
        return absl::UnavailableError("PostgreSQL may have been restarted meanwhile");
      }
      parts_.history->Reset(origin, position.lsn, position.stamp_us, position.local_after);
      parts_.keys->Settle(origin.node, position.local_after);
    } else if (known[origin] > position.lsn) {
      // The server has lost commits that it had not flushed. Others must not lean on them.
      parts_.progress->ResetCommitted(origin, position.lsn);
      parts_.rewound(origin);
    }
  }
  return absl::OkStatus();
}

// The session before has ended. What it committed last, perhaps, was committed by now or never.
absl::Status Applier::SettleOwn() {
  ASSIGN_OR_RETURN(const std::string now,
                   connection_->QueryValue("SELECT pg_catalog.pg_current_wal_insert_lsn()"));
  ASSIGN_OR_RETURN(const Lsn local_after, ParseLsn(now));
  parts_.keys->Settle(origin_.node, local_after);
  return absl::OkStatus();
}

absl::Status Applier::ReadOrigins() {
  ASSIGN_OR_RETURN(const Result result,
                   connection_->Exec("SELECT roident, roname FROM pg_replication_origin"));
  executor_options_.origin = origin_;
  executor_options_.own_node = parts_.progress->own().node;
  executor_options_.merges_own = merges_own();
  executor_options_.forwards_foreign_origins = options_.forwards_foreign_origins;
  executor_options_.locks = &locks_;
  executor_options_.is_pending = [this](const conflict::Version& version) {
    if (version.origin.node == parts_.progress->own().node) return false;
    const std::optional<Lsn> applied = parts_.progress->CommittedLsn(version.origin);
    return (applied.has_value() && *applied < version.end_lsn) ||
           parts_.dead_letters->Holds(version.origin, version.end_lsn);
  };
  executor_options_.node_of_roident.clear();
  for (int row = 0; row < result.rows(); ++row) {
    uint32_t roident = 0;
    const std::optional<OriginId> origin = parts_.names->Parse(result.value(row, 1));
    if (origin.has_value() && absl::SimpleAtoi(result.value(row, 0), &roident)) {
      executor_options_.node_of_roident[roident] = origin->node;
    } else if (result.value(row, 1) == parts_.names->RepairOrigin() &&
               absl::SimpleAtoi(result.value(row, 0), &roident)) {
      // No node: never seen, so the version store decides.
      executor_options_.node_of_roident[roident] = 0;
    }
  }
  return absl::OkStatus();
}

// After a crash of the machine the store may lack versions of rows that PostgreSQL has. They come
// back from the log, which itself may have to be fetched again first.
absl::Status Applier::RebuildVersions() {
  State state(parts_.database);
  const std::string name = absl::StrCat(kStateVersions, EncodeOrigin(origin_));
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, state.Get(name));
  Lsn known;
  if (bytes.has_value()) {
    ASSIGN_OR_RETURN(known.value, DecodeU64(*bytes));
  }
  // What was trimmed is stable: no version of it is needed.
  known = std::max(known, parts_.log->TrimmedThrough(origin_).end_lsn);
  reader_.Seek(known);
  while (known < committed_) {
    if (stopping_) return absl::CancelledError("the agent is shutting down");
    SetHealth(Health::Level::kWarning, "rebuilding",
              "row versions since the last sync come back from the change log");
    ASSIGN_OR_RETURN(const Piece* next, reader_.Peek(kIdleWait));
    if (next == nullptr) continue;
    if (next->header.end_lsn > committed_) break;
    const auto piece = std::make_shared<const Piece>(reader_.Pop());
    // It may have been put aside, because its table is missing, say.
    RETURN_IF_ERROR(
        RecordQuietly(piece, !parts_.dead_letters->Holds(origin_, piece->header.end_lsn)));
    if (piece->last) known = piece->header.end_lsn;
  }
  return absl::OkStatus();
}

GroupPlan::Resolve Applier::Resolver() {
  return [this](const std::shared_ptr<const RemoteRelation>& relation,
                const TransactionHeader& header) -> absl::StatusOr<GroupPlan::Resolved> {
    const MadeAt at{.settings_version = header.settings_version, .stamp_us = header.stamp.time_us};
    std::vector<BoundRelation>& known = bound_[relation->raw];
    for (const BoundRelation& bound : known) {
      if (bound.holds.Covers(at)) return bound.resolved;
    }
    const postgres::RelationMessage& message = relation->message;
    if (RefusedSchema(message.schema)) {
      return absl::FailedPreconditionError(
          absl::StrCat("origin ", ToString(origin_), " sent a change of \"", message.schema, ".",
                       message.name, "\", which is not a user's table; refused"));
    }
    const auto changes = parts_.settings->TableChanges();
    ASSIGN_OR_RETURN(LocalRelation here,
                     merges_own()
                         ? FindOwnRelation(message, *changes, /*anew=*/false, parts_.tables)
                         : FindLocalRelation(message, at, *changes, parts_.tables));
    BoundRelation bound{.holds = here.holds, .resolved = {.gone = here.gone}};
    if (here.gone == nullptr || !here.gone->table) {
      ASSIGN_OR_RETURN(bound.resolved.table, Bind(*relation, here));
    }
    if (here.gone != nullptr && gone_told_.insert(here.gone->said).second) {
      LogWarning(
          "apply",
          {{"state", "gone"}, {"origin", ToString(origin_)}, {"relation", here.gone->relation}},
          absl::StrCat("what is gone here is not written, and kept in bdr.conflict_log: ",
                       here.gone->said));
    }
    known.push_back(bound);
    return bound.resolved;
  };
}

absl::StatusOr<std::shared_ptr<const BoundTable>> Applier::Bind(const RemoteRelation& relation,
                                                                const LocalRelation& here) {
  const postgres::RelationMessage& message = here.message;
  const std::string display = absl::StrCat(message.schema, ".", message.name);
  const absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> table =
      parts_.tables->Find(message.schema, message.name);
  if (absl::IsNotFound(table.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", display,
                     "\" does not exist here; create it as it is on the node where the change "
                     "comes from and run \"bdrctl apply retry\", or say what became of it: "
                     "\"bdrctl table renamed\", \"dropped\" or \"schema-renamed\""));
  }
  if (!table.ok()) {
    return AtTable(table.status(),
                   absl::StrCat(postgres::QuoteIdentifier(message.schema), ".",
                                postgres::QuoteIdentifier(message.name)),
                   display);
  }
  if (!(*table)->published) {
    parts_.tables->Forget(message.schema, message.name);
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", display,
                     "\" is not published here, so it would not replicate back; run "
                     "\"SELECT bdr.sync_publications()\" and then \"bdrctl apply retry\""));
  }
  if ((*table)->row_security) {
    parts_.tables->Forget(message.schema, message.name);
    return absl::FailedPreconditionError(
        absl::StrCat("row security of table \"", display,
                     "\" hides rows from the agent; grant its role BYPASSRLS and run \"bdrctl "
                     "apply retry\""));
  }
  for (const int column : (*table)->key) {
    if ((*table)->columns[column].key_canonical) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("key column \"", (*table)->columns[column].name, "\" of table \"", display,
                     "\" is of a type whose equal values may have other bytes; use another key"));
  }
  // All nodes go by the policy of the name that the change came with.
  const std::shared_ptr<const PolicyHistory> policies =
      parts_.settings->Policies(relation.message.schema, relation.message.name);
  RemoteRelation renamed{.raw = relation.raw, .message = message, .types = relation.types};
  ASSIGN_OR_RETURN(std::shared_ptr<const BoundTable> bound,
                   BoundTable::Make(renamed, *table, policies, parts_.settings->active()));
  RETURN_IF_ERROR(CheckGeneratedThere(relation, *bound));
  return bound;
}

// A generated column does not come with the changes: where it is a plain one it would stay as it
// is, or null.
absl::Status Applier::CheckGeneratedThere(const RemoteRelation& relation, const BoundTable& table) {
  if (parts_.generated_at == nullptr || merges_own()) return absl::OkStatus();
  const postgres::TableInfo& info = table.table();
  std::vector<std::string> generated =
      parts_.generated_at(origin_.node, relation.message.schema, relation.message.name);
  const std::string& raw = relation.raw;
  if (const auto known = without_generated_.find(raw); known != without_generated_.end()) {
    generated.insert(generated.end(), known->second.begin(), known->second.end());
  }
  for (const std::string& name : generated) {
    for (size_t local = 0; local < info.columns.size(); ++local) {
      const postgres::ColumnInfo& column = info.columns[local];
      if (column.name != name || column.generated ||
          table.columns().remote_of_local()[local] >= 0) {
        continue;
      }
      if (std::vector<std::string>& known = without_generated_[raw];
          std::find(known.begin(), known.end(), name) == known.end()) {
        known.push_back(name);
      }
      parts_.tables->Forget(info.schema, info.name);
      return absl::FailedPreconditionError(absl::StrCat(
          "column \"", name, "\" of table \"", info.DisplayName(),
          "\" is a plain one here and generated on the node where the change comes from, which "
          "sends no values of it; make it generated here, as it is there, and run \"bdrctl apply "
          "retry\" (once that has come, it may be made a plain one on every node)"));
    }
  }
  return absl::OkStatus();
}

absl::Status Applier::Loop() {
  SetHealth(Health::Level::kOk, "applying");
  while (!stopping_) {
    if (rewind_) return absl::UnavailableError("a new session was asked for");
    activity_.Set("retries dead letters");
    RETURN_IF_ERROR(RetryLetters());
    activity_.Set("looks for what may be applied");
    if (!merges_own()) BDR_HANG_POINT("apply_gather");
    ASSIGN_OR_RETURN(const bool gathered, merges_own() ? GatherOwn() : Gather());
    if (gathered) {
      RETURN_IF_ERROR(ApplyPending());
      continue;
    }
    if (SteadyNow() - last_ping_ > kPingInterval) {
      last_ping_ = SteadyNow();
      RETURN_IF_ERROR(pipe_->Exec("SELECT"));
      RETURN_IF_ERROR(pipe_->Finish());
    }
  }
  return absl::OkStatus();
}

// An origin whose stamps fall below its own promises was set back, or lost what it had written
// down. Versions are compared all the same, and end alike on all nodes; but what was forgotten
// because of that promise is gone, so a person must know.
void Applier::HoldToPromise(const TransactionHeader& header) {
  if (merges_own() ||
      header.stamp.time_us > parts_.progress->PromisedBefore(origin_, header.end_lsn)) {
    return;
  }
  if (!broken_promises_.Failed("", SteadyNow())) return;
  LogError("apply", {{"origin", ToString(origin_)}, {"lsn", ToString(header.end_lsn)}},
           broken_promises_.LineText(
               "the origin broke its promise: a transaction is stamped earlier than it had said "
               "that any could be; run \"bdrctl verify\", and find out what set that node back"));
}

// Whether a transaction may be applied now; if not, waits a moment.
absl::StatusOr<bool> Applier::Ready(const Piece& piece) {
  if (!piece.last && parts_.log->CompleteThrough(origin_) < piece.header.end_lsn) {
    // Begun now, it would hold its locks for as long as the rest takes to come.
    SetHealth(Health::Level::kOk, "waiting", "for the rest of a large transaction");
    WaitABit(absl::Milliseconds(20));
    return false;
  }
  std::optional<OriginLsn> missing;
  if (!BDR_RULE_BROKEN("causal_order")) {
    missing = parts_.progress->FirstMissing(piece.header.waits_for);
  }
  {
    MutexLock lock(&mu_);
    tally_.held_by = missing.has_value() ? missing->origin : OriginId{};
  }
  if (missing.has_value()) {
    if (!pending_.empty()) return false;
    parts_.progress->WaitCommitted(*missing, absl::Milliseconds(20));
    if (parts_.progress->FirstMissing(piece.header.waits_for).has_value()) {
      SetHealth(Health::Level::kOk, "waiting",
                absl::StrCat("for origin ", ToString(missing->origin), " to be applied up to ",
                             ToString(missing->lsn), " (causal order)"));
    }
    return false;
  }
  ASSIGN_OR_RETURN(const bool knows, KnowsSettings(piece.header));
  if (!knows) return false;
  if (BDR_RULE_BROKEN("clock_wait")) return true;
  const ClockGate::Verdict verdict =
      parts_.clock_gate->Look(piece.header.stamp.time_us, options_.origin_name);
  if (!verdict.go) {
    if (pending_.empty()) WaitForClock(verdict);
    return false;
  }
  if (held_) {
    held_ = false;
    MutexLock lock(&mu_);
    tally_.held_us = 0;
  }
  return true;
}

void Applier::WaitForClock(const ClockGate::Verdict& verdict) {
  {
    MutexLock lock(&mu_);
    tally_.held_us = verdict.held_us;
  }
  held_ = verdict.held_us != 0;
  SetHealth(verdict.level, verdict.state, verdict.reason);
  WaitABit(verdict.wait);
}

// The server itself has said that its clock is not there yet: what is known of it is a bit ahead,
// or it was set back just now.
void Applier::WaitForServerClock(int64_t stamp_us) {
  const ClockGate::Verdict verdict = parts_.clock_gate->Look(stamp_us, options_.origin_name);
  if (!verdict.go) return WaitForClock(verdict);
  SetHealth(Health::Level::kOk, "waiting", "for this server's clock to pass a transaction's");
  WaitABit(absl::Milliseconds(2));
  SetHealth(Health::Level::kOk, "applying");  // whatever hangs from here on is not the clock
}

// What a transaction is merged by must be known. bdr-server lets nobody go by a setting before all
// members have it, so that only a node which lost its data can be behind.
absl::StatusOr<bool> Applier::KnowsSettings(const TransactionHeader& header) {
  if (header.settings_version <= parts_.settings->active()) return true;
  if (header.settings_version > parts_.settings->taken()) {
    if (!pending_.empty()) return false;
    SetHealth(
        Health::Level::kCritical, "held",
        absl::StrCat("a transaction of origin ", ToString(origin_), " at ",
                     ToString(header.end_lsn), " was made under version ", header.settings_version,
                     " of the cluster's settings, and only ", parts_.settings->taken(),
                     " is known here; let this agent reach bdr-server"));
    WaitABit(absl::Milliseconds(100));
    return false;
  }
  RETURN_IF_ERROR(State(parts_.database)
                      .Put(kStateSettingsActive, EncodeU64(header.settings_version),
                           /*sync=*/true));
  parts_.settings->RaiseActive(header.settings_version);
  return true;
}

// Takes what is ready from the log, up to a group. True if there is something to apply.
absl::StatusOr<bool> Applier::Gather() {
  size_t bytes = 0;
  for (const auto& piece : pending_) bytes += piece->bytes;
  while (pending_.size() < group_limit_ && bytes < options_.group_max_bytes) {
    ASSIGN_OR_RETURN(const Piece* next,
                     reader_.Peek(pending_.empty() ? kIdleWait : absl::ZeroDuration()));
    {
      MutexLock lock(&mu_);
      if (pending_.empty()) {
        tally_.oldest_stamp_us = next == nullptr ? 0 : next->header.stamp.time_us;
      }
    }
    if (next == nullptr) {
      if (pending_.empty()) SetHealth(Health::Level::kOk, "applying");
      break;
    }
    // A large transaction is applied by itself, piece by piece.
    if (!next->last && !pending_.empty()) break;
    ASSIGN_OR_RETURN(const bool ready, Ready(*next));
    if (!ready) break;
    HoldToPromise(next->header);
    bytes += next->bytes;
    pending_.push_back(std::make_shared<const Piece>(reader_.Pop()));
    if (!pending_.back()->last) break;
  }
  return !pending_.empty();
}

// One piece for each change: only what was touched is merged, whatever else its transaction did.
absl::StatusOr<bool> Applier::GatherOwn() {
  if (!pending_.empty()) return true;
  size_t bytes = 0;
  while (replaying_ && pending_.size() < options_.group_max_transactions &&
         bytes < options_.group_max_bytes) {
    ASSIGN_OR_RETURN(const Piece* next, reader_.Peek(absl::ZeroDuration()));
    if (next == nullptr || next->header.end_lsn > replay_through_) {
      if (!pending_.empty()) return true;
      if (next == nullptr && parts_.log->CompleteThrough(origin_) < replay_through_) {
        WaitABit(absl::Milliseconds(20));  // it is about to be published
        return false;
      }
      replaying_ = false;
      options_.own_changes->EndReplay();
      break;
    }
    if (pending_.empty()) options_.own_changes->Replayed(Lsn{next->header.end_lsn.value - 1});
    bytes += next->bytes;
    pending_.push_back(std::make_shared<const Piece>(reader_.Pop()));
  }
  if (!pending_.empty()) return true;
  options_.own_changes->Done();
  if (const auto dropped = options_.own_changes->TakeDropped(); dropped.has_value()) {
    replaying_ = true;
    replay_through_ = dropped->through;
    reader_.Seek(dropped->after);
    return false;
  }
  for (OwnChange& own : options_.own_changes->Take(options_.group_max_transactions, kIdleWait)) {
    ASSIGN_OR_RETURN(Piece piece, MakePiece(std::move(own)));
    pending_.push_back(std::make_shared<const Piece>(std::move(piece)));
  }
  return !pending_.empty();
}

// Applies what was gathered, in smaller groups if it must; returns an error only if the session
// has to end.
absl::Status Applier::ApplyPending() {
  size_t size = pending_.size();
  bool fresh = false;  // shapes of tables were read again for this attempt
  while (!pending_.empty() && !stopping_) {
    size = std::min(size, pending_.size());
    const size_t waiting = pending_.size();
    const absl::Time begun = SteadyNow();
    absl::Status status = pending_.front()->last || merges_own() ? ApplyGroup(size) : ApplyLarge();
    if (status.ok()) {
      const absl::Duration took = SteadyNow() - begun;
      const size_t applied = waiting - pending_.size();
      group_transactions_.Observe(static_cast<double>(applied));
      group_seconds_.Observe(absl::ToDoubleSeconds(took));
      FitGroups(applied, SteadyNow() - begun_at_);
      PassedLocks();
      collisions_ = 0;
      left_out_ = 0;
      MutexLock lock(&mu_);
      retry_ = false;
      continue;
    }
    const bool blocked = IsLockTimeout(status);
    if (stopping_ || rewind_ || connection_->broken() ||
        (absl::IsUnavailable(status) && !blocked) || absl::IsDataLoss(status)) {
      return status;
    }
    Rollback();
    if (connection_->broken()) return absl::UnavailableError("the session was lost");
    {
      MutexLock lock(&mu_);
      ++tally_.retries;
    }
    if (blocked) {
      // What comes before the row that somebody has locked need not wait for him.
      WaitForLock(status, /*at_once=*/size > 1);
      size = std::max<size_t>(1, size / 2);
      continue;
    }
    const bool left_out = IsLeftOut(status);
    if (left_out ? ComeAgainAfterLeftOut(size, &status) : absl::IsAborted(status)) {
      size = std::max<size_t>(1, size / 2);
      continue;
    }
    if (connection_->broken()) return status;
    // A user's transaction has just taken a unique value, or one that is checked was added: both
    // show once all is looked up again.
    if (IsCollision(status) && ++collisions_ <= kMaxCollisions) {
      size = std::max<size_t>(1, size / 2);
      Unbind();
      parts_.tables->ForgetAll();
      WaitABit(kCollisionWait);
      continue;
    }
    // A table's shape may have changed since it was looked up.
    Unbind();
    parts_.tables->ForgetAll();
    if (size > 1 || !fresh) {
      fresh = size == 1;
      size = 1;
      continue;
    }
    fresh = false;
    collisions_ = 0;
    left_out_ = 0;
    if (merges_own() && !left_out && IsForGood(status)) {
      // The table was changed or dropped since: what was committed here is not to be undone.
      LogWarning("apply", {{"origin", ToString(origin_)}},
                 absl::StrCat("an own change is not merged again: ", status.message()));
      pending_.pop_front();
      continue;
    }
    {
      MutexLock lock(&mu_);
      ++tally_.errors;
      retry_ = false;
    }
    if (PutsAside(status)) {
      const absl::Status put = PutAside(status);
      if (put.ok()) continue;
      if (connection_->broken() || absl::IsUnavailable(put)) return put;
      Rollback();
      if (refused_letters_.Failed(std::string(put.message()), SteadyNow())) {
        LogError("dead_letter", {{"state", "refused"}, {"origin", ToString(origin_)}},
                 refused_letters_.LineText(put.message()));
      }
      if (pending_.empty()) return put;
    }
    SetHealth(Health::Level::kCritical, "stopped",
              absl::StrCat("transaction of origin ", ToString(origin_), " at ",
                           ToString(pending_.front()->header.end_lsn), ", committed ",
                           conflict::ToString(pending_.front()->header.stamp),
                           ", cannot be applied: ", status.message()));
    // What was said of tables meanwhile may be what it needs.
    if (parts_.settings->generation() == settings_generation_) {
      WaitABit(absl::IsUnavailable(status) ? kSoonAgain : kRetryInterval);
    }
    MutexLock lock(&mu_);
    retry_ = false;
  }
  return absl::OkStatus();
}

bool Applier::ComeAgainAfterLeftOut(size_t size, absl::Status* status) {
  if (size > 1) return true;
  WaitABit(kCollisionWait);
  if (++left_out_ <= kMaxCollisions) return true;
  *status = ExplainLeftOut(*status, pipe_.get());
  return absl::IsAborted(*status) && left_out_ <= kMaxLeftOut;
}

// A group holds its row locks until it commits, and users wait for them meanwhile. So the time that
// this may take decides how many transactions it takes next. What it waited for before (capture,
// keys of another group) held no locks, and smaller groups would only wait for it more often.
void Applier::FitGroups(size_t transactions, absl::Duration took) {
  const double fits =
      static_cast<double>(transactions) *
      absl::FDivDuration(options_.group_max_time, std::max(took, absl::Microseconds(1)));
  const size_t most = options_.group_max_transactions;
  if (took > options_.group_max_time) {
    group_limit_ = std::max<size_t>(1, static_cast<size_t>(fits));
  } else {
    // Grows slowly: what was small because of a lock that somebody held may be quick again.
    group_limit_ = std::min(most, group_limit_ + std::max<size_t>(1, group_limit_ / 4));
  }
}

absl::Status Applier::WaitForKeys(const std::vector<std::string>& keys,
                                  const std::vector<uint32_t>& tables, bool all, StampRange stamps,
                                  KeysInFlight::Registration* registration) {
  activity_.Set("waits for other groups that write the same rows");
  if (!merges_own()) BDR_HANG_POINT("apply_keys");
  while (!stopping_ && !rewind_) {
    auto [registered, held] =
        all ? parts_.keys->RegisterAll(origin_.node, stamps, absl::Seconds(1))
            : parts_.keys->Register(origin_.node, keys, stamps, absl::Seconds(1), tables);
    if (registered) {
      *registration = std::move(held);
      return absl::OkStatus();
    }
    SetHealth(Health::Level::kOk, "waiting",
              "for another origin's group that writes the same rows");
  }
  return absl::UnavailableError("the applier was told to stop");
}

absl::Status Applier::WaitForCapture() {
  activity_.Set("waits until capture has passed this moment");
  if (!merges_own()) BDR_HANG_POINT("apply_capture");
  // Whatever transaction is older than all that run now has ended, and is captured after this.
  RETURN_IF_ERROR(pipe_->Exec(
      "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid",
      [this](const Result& result) {
        executor_options_.captured_xid = std::string(result.value(0, 0));
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(pipe_->Finish());
  // It may stand for as long as a person takes (at a transaction that cannot be decoded, say),
  // which is no fault of the transaction that waits for it.
  while (!stopping_ && !rewind_) {
    const absl::Status passed = parts_.barrier->Pass(kBarrierTimeout);
    if (passed.ok()) {
      // What it has passed may have been raised further.
      executor_options_.largest_raise_us =
          parts_.clock->LargestRaise(parts_.progress->StableTime());
    }
    if (!absl::IsDeadlineExceeded(passed)) return passed;
    SetHealth(Health::Level::kWarning, "waiting",
              absl::StrCat("for capture of this node: ", passed.message()));
  }
  return absl::UnavailableError("the applier was told to stop");
}

// After some time a person may want to know whose lock it is.
void Applier::TellOfLock() {
  if (blocked_since_ == absl::InfiniteFuture()) blocked_since_ = begun_at_;
  if (locks_.reason().empty() || SteadyNow() - blocked_since_ < kTellOfLockAfter) return;
  SetHealth(Health::Level::kWarning, "waiting", locks_.reason());
  if (std::exchange(blocked_by_, locks_.reason()) == locks_.reason()) return;
  LogWarning("apply", {{"state", "waiting"}, {"origin", ToString(origin_)}}, blocked_by_);
}

// After a rollback, with nothing registered: it may take as long as somebody else's transaction.
void Applier::WaitForLock(const absl::Status& timed_out, bool at_once) {
  activity_.Set("waits for a lock that somebody holds");
  locks_.TimedOut(timed_out, connection_->backend_pid());
  bool there = locks_.knows_holders();
  // An attempt at a large transaction takes long and keeps every other origin from writing.
  const absl::Duration patience =
      std::max(kLockPatience, kLockPatiencePerAttempt * (SteadyNow() - begun_at_));
  const absl::Time until = SteadyNow() + (at_once ? absl::ZeroDuration() : patience);
  TellOfLock();
  if (!there && !at_once) WaitABit(kLockPoll);
  while (there && !stopping_ && !rewind_ && SteadyNow() < until) {
    WaitABit(kLockPoll);
    TellOfLock();
    there = locks_.StillThere();
    MutexLock lock(&mu_);
    if (std::exchange(retry_, false)) break;
  }
  locks_.SetBrief(there);
}

void Applier::PassedLocks() {
  locks_.Passed();
  blocked_since_ = absl::InfiniteFuture();
  blocked_by_.clear();
}

// No row is locked, and no key held: it may take as long as another node is away.
absl::Status Applier::FetchValues(bool may_be_split) {
  std::string told;
  const MissingValues::Fetch fetch{
      .origin = origin_,
      .own_node = parts_.progress->own().node,
      .stop = [this] { return stopping_ || rewind_; },
      .wait =
          [&](const std::string& why) {
            if (told != why) {
              LogWarning("apply", {{"state", "waiting"}, {"origin", ToString(origin_)}}, why);
            }
            told = why;
            SetHealth(Health::Level::kWarning, "waiting", why);
            WaitABit(kFetchInterval);
          }};
  activity_.Set("fetches large values from other nodes");
  SetHealth(Health::Level::kOk, "waiting", "for large values of rows from another node");
  if (!merges_own()) BDR_HANG_POINT("apply_values");
  const absl::Status status = values_.FetchWanted(fetch, may_be_split);
  fetched_rows_ = values_.fetched();
  fetch_waits_ = values_.waits();
  return status;
}

absl::StatusOr<bool> Applier::HasKeylessRows(const Piece& piece) {
  for (const RemoteChange& change : piece.changes) {
    if (change.relation == nullptr) continue;
    ASSIGN_OR_RETURN(const GroupPlan::Resolved resolved, Resolver()(change.relation, piece.header));
    if (resolved.table != nullptr && !resolved.table->table().has_key) return true;
  }
  return false;
}

// How many of the first `pieces` may be one group.
absl::StatusOr<size_t> Applier::SizeOfGroup(size_t pieces) {
  if (merges_own()) return pieces;  // nothing of tables without a key is merged again
  const int64_t no_truncate_before_us = parts_.progress->NoTruncateBefore(origin_);
  // The last is the newest.
  if (pending_[pieces - 1]->header.stamp.time_us <= no_truncate_before_us) return pieces;
  std::vector<GroupMember> members;
  for (size_t i = 0; i < pieces; ++i) {
    ASSIGN_OR_RETURN(const bool keyless, HasKeylessRows(*pending_[i]));
    members.push_back({.stamp_us = pending_[i]->header.stamp.time_us, .keyless = keyless});
  }
  return GroupSize(members, no_truncate_before_us);
}

absl::Status Applier::ApplyGroup(size_t wanted) {
  ASSIGN_OR_RETURN(const size_t pieces, SizeOfGroup(wanted));
  RETURN_IF_ERROR(RefreshSettings());
  const uint64_t generation = parts_.settings->generation();
  GroupPlan plan(origin_, /*keyed_only=*/merges_own());
  for (size_t i = 0; i < pieces; ++i) {
    RETURN_IF_ERROR(plan.Add(pending_[i], Resolver()));
  }
  GroupClaims claims;
  activity_.Set("asks PostgreSQL which unique values the rows claim");
  if (!merges_own()) BDR_HANG_POINT("apply_claims");
  RETURN_IF_ERROR(claims.Read(plan, &claim_reader_));
  KeysInFlight::Registration registration;
  absl::flat_hash_set<std::string> registered;
  std::vector<std::string> further;  // keys of rows that hold what the group claims
  RETURN_IF_ERROR(RegisterKeys(plan, claims, further, &registered, &registration));
  if (parts_.settings->generation() != generation) {
    // Another applier may have folded a row that this plan would write by the last update.
    return absl::AbortedError("the cluster's settings have changed");
  }
  FoundBefore found_before;
  if (merges_own()) BDR_FAIL_POINT("own_merge_before");
  if (!merges_own()) RETURN_IF_ERROR(foreign_keys_.Refresh(settings_generation_, pipe_.get()));
  activity_.Set("records row versions");
  if (!merges_own()) BDR_HANG_POINT("apply_versions");
  if (!merges_own()) BDR_FAIL_POINT("apply_before_versions");
  RETURN_IF_ERROR(versions_.Record(plan, claims, &before_, {}));
  if (!merges_own()) BDR_FAIL_POINT("apply_after_versions");
  executor_options_.captured_xid.clear();
  executor_options_.largest_raise_us = parts_.clock->LargestRaise(parts_.progress->StableTime());
  while (true) {
    RETURN_IF_ERROR(claims.LookUp(*parts_.claims, &claim_reader_));
    GroupExecutor executor(executor_options_, pipe_.get(), &versions_, parts_.versions,
                           &found_before, &values_);
    executor.SetClaims(&claims, plan.has_truncate() ? nullptr : &registered);
    values_.BeginAttempt();
    RETURN_IF_ERROR(values_.Prepare(plan, before_));
    activity_.Set("writes rows");
    if (!merges_own()) BDR_HANG_POINT("apply_writes");
    absl::Status status = QueueBegin(plan.last().stamp.time_us);
    if (status.ok() && !merges_own()) status = foreign_keys_.Before(plan, pipe_.get());
    if (status.ok()) status = executor.Run(plan, before_);
    const bool decided = status.ok() && executor.must_wait().empty() &&
                         executor.must_register().empty() && !values_.wants();
    ConflictCounts conflicts = executor.conflicts();
    if (decided) status = CheckForeignKeys(plan, /*letter=*/false);
    if (decided && status.ok() && !merges_own()) {
      status = QueueGone(plan, origin_, pipe_.get(), &conflicts);
    }
    if (decided && status.ok()) status = CheckShapes(plan);
    if (decided && status.ok()) {
      RETURN_IF_ERROR(RecordDead(executor));
      if (!merges_own()) BDR_FAIL_POINT("apply_after_statements");
      AnnounceRefused(executor.refused());
      RETURN_IF_ERROR(Commit(plan.last(), &registration, !merges_own()));
      Count(plan, conflicts);
      NoteRefused(executor.refused());
      NoteOrphans(foreign_keys_.orphans(), foreign_keys_.queued());
      pending_.erase(pending_.begin(), pending_.begin() + pieces);
      before_.clear();
      values_.Clear();
      SetHealth(Health::Level::kOk, "applying");
      return absl::OkStatus();
    }
    if (connection_->broken()) return status;
    Rollback();
    if (stopping_ || rewind_) return absl::UnavailableError("the applier was told to stop");
    if (status.ok() && (!executor.must_register().empty() || values_.wants())) {
      // Nothing is locked now. Others may be about to write these rows, or may need the keys while
      // another node takes its time.
      further.insert(further.end(), executor.must_register().begin(),
                     executor.must_register().end());
      registration.Release();
      if (values_.wants()) {
        RETURN_IF_ERROR(FetchValues(/*may_be_split=*/pieces > 1));
        // What came may be a unique value.
        RETURN_IF_ERROR(values_.Prepare(plan, before_));
        RETURN_IF_ERROR(claims.Read(plan, &claim_reader_));
      }
      RETURN_IF_ERROR(RegisterKeys(plan, claims, further, &registered, &registration));
      if (executor.must_wait().empty()) {
        RETURN_IF_ERROR(versions_.Record(plan, claims, &before_, {}));
        continue;
      }
    }
    if (status.ok()) {
      // Nothing is locked now. Once capture is past this moment, the version store tells.
      if (!executor.must_wait().empty()) RETURN_IF_ERROR(WaitForCapture());
      for (const auto& [key, xmin] : executor.must_wait()) found_before[key] = xmin;
    } else if (postgres::Sqlstate(status) == kClockBehind) {
      WaitForServerClock(plan.last().stamp.time_us);
    } else {
      return status;
    }
    RETURN_IF_ERROR(versions_.Record(plan, claims, &before_, {}));
    MutexLock lock(&mu_);
    ++tally_.retries;
  }
}

// A transaction of many blocks: one local transaction, a block at a time, so that memory stays
// bounded whatever its size. Its keys are not known beforehand, so nobody else writes meanwhile.
absl::Status Applier::ApplyLarge() {
  KeysInFlight::Registration registration;
  const StampRange stamps{.oldest_us = pending_.front()->header.stamp.time_us,
                          .newest_us = pending_.front()->header.stamp.time_us};
  RETURN_IF_ERROR(WaitForKeys({}, {}, /*all=*/true, stamps, &registration));
  RETURN_IF_ERROR(RefreshSettings());
  FoundBefore found_before;
  activity_.Set("reads foreign keys");
  RETURN_IF_ERROR(foreign_keys_.Refresh(settings_generation_, pipe_.get()));
  executor_options_.captured_xid.clear();
  executor_options_.largest_raise_us = parts_.clock->LargestRaise(parts_.progress->StableTime());
  for (size_t look_ahead = kFirstLookAhead; !stopping_ && !rewind_;
       look_ahead = LongerLookAhead(look_ahead)) {
    // From its beginning, also when it is tried again.
    reader_.Seek(committed_);
    pending_.clear();
    values_.BeginAttempt();
    Attempt attempt{.look_ahead = look_ahead};
    TransactionHeader last;
    absl::StatusOr<bool> more = true;
    uint64_t tried = 0;
    while (more.ok() && *more) {
      const absl::StatusOr<const Piece*> next = reader_.Peek(kIdleWait);
      if (!next.ok()) return next.status();
      if (stopping_ || rewind_) return absl::UnavailableError("the applier was told to stop");
      // Its last part was in the log before the first was shown to us, or will come soon.
      if (*next == nullptr) continue;
      const auto piece = std::make_shared<const Piece>(reader_.Pop());
      last = piece->header;
      if (pending_.empty()) {
        pending_.push_back(piece);
        if (const absl::Status begun = QueueBegin(last.stamp.time_us); !begun.ok()) {
          more = begun;
          break;
        }
      }
      activity_.Set("writes rows of a large transaction");
      more = RunPiece(piece, found_before, &attempt);
      furthest_piece_ = std::max<uint64_t>(furthest_piece_, ++tried);
      if (piece->last) break;
    }
    absl::Status status = more.status();
    if (status.ok() && !attempt.rehearsal) {
      AnnounceRefused(attempt.refused);
      RETURN_IF_ERROR(Commit(last, &registration, /*moves_progress=*/true));
      NoteRefused(attempt.refused);
      NoteOrphans(attempt.orphans, attempt.orphans_queued);
      pending_.clear();
      values_.Clear();
      SetHealth(Health::Level::kOk, "applying");
      MutexLock lock(&mu_);
      ++tally_.transactions;
      tally_.changes += attempt.changes;
      CountConflictsLocked(attempt.conflicts);
      return absl::OkStatus();
    }
    if (connection_->broken()) return status;
    Rollback();
    if (attempt.rehearsal) {
      RETURN_IF_ERROR(WaitFor(attempt, stamps, &registration, &found_before));
    } else if (postgres::Sqlstate(status) == kClockBehind) {
      WaitForServerClock(last.stamp.time_us);
    } else {
      return status;
    }
    MutexLock lock(&mu_);
    ++tally_.retries;
  }
  return absl::UnavailableError("the applier was told to stop");
}

absl::StatusOr<bool> Applier::RunPiece(const std::shared_ptr<const Piece>& piece,
                                       const FoundBefore& found_before, Attempt* attempt) {
  const bool letter = attempt->letter.valid();
  GroupPlan plan(origin_);
  RETURN_IF_ERROR(plan.Add(piece, Resolver()));
  GroupClaims claims;
  RETURN_IF_ERROR(claims.Read(plan, &claim_reader_));
  absl::flat_hash_map<std::string, conflict::Version> before;
  RETURN_IF_ERROR(versions_.Record(
      plan, claims, &before, {.ends_here = piece->last && !letter, .letter = attempt->letter}));
  RETURN_IF_ERROR(claims.LookUp(*parts_.claims, &claim_reader_));
  RETURN_IF_ERROR(values_.Prepare(plan, before));
  executor_options_.fold.rehearsal = attempt->rehearsal;
  GroupExecutor executor(executor_options_, pipe_.get(), &versions_, parts_.versions, &found_before,
                         &values_);
  executor.SetClaims(&claims, /*registered=*/nullptr);
  RETURN_IF_ERROR(foreign_keys_.Before(plan, pipe_.get()));
  RETURN_IF_ERROR(executor.Run(plan, before));
  attempt->must_wait.insert(executor.must_wait().begin(), executor.must_wait().end());
  if (!attempt->must_wait.empty() || values_.wants()) {
    attempt->rehearsal = true;
    return attempt->look_ahead-- > 0 && !values_.wants_many();
  }
  RETURN_IF_ERROR(RecordDead(executor));
  RETURN_IF_ERROR(CheckForeignKeys(plan, letter));
  RETURN_IF_ERROR(CheckShapes(plan));
  attempt->orphans += foreign_keys_.orphans();
  attempt->orphans_queued = attempt->orphans_queued || foreign_keys_.queued();
  attempt->refused.insert(attempt->refused.end(), executor.refused().begin(),
                          executor.refused().end());
  attempt->conflicts.Add(executor.conflicts());
  if (!merges_own() && !plan.not_written().empty()) {
    RETURN_IF_ERROR(QueueGone(plan, origin_, pipe_.get(), &attempt->conflicts));
    // Nothing else may be sent for this piece, and there may be many.
    RETURN_IF_ERROR(pipe_->Finish());
  }
  attempt->changes += plan.changes();
  return true;
}

// What a rehearsal has met, after its rollback: nothing is locked. An error that it ended with may
// come of what it left out; if not, the next attempt meets it again.
absl::Status Applier::WaitFor(const Attempt& attempt, StampRange stamps,
                              KeysInFlight::Registration* registration, FoundBefore* found_before) {
  if (values_.wants()) {
    // Others may need the keys while another node takes its time.
    registration->Release();
    RETURN_IF_ERROR(FetchValues(/*may_be_split=*/false));
    RETURN_IF_ERROR(WaitForKeys({}, {}, /*all=*/true, stamps, registration));
  }
  if (!attempt.must_wait.empty()) RETURN_IF_ERROR(WaitForCapture());
  // Earlier pieces' rows were decided with what was found before; they will be again.
  for (const auto& [key, xmin] : attempt.must_wait) (*found_before)[key] = xmin;
  return absl::OkStatus();
}

// A group's rows and the unique values that they claim: whoever writes the one or takes the other
// has to wait.
absl::Status Applier::RegisterKeys(const GroupPlan& plan, const GroupClaims& claims,
                                   const std::vector<std::string>& further,
                                   absl::flat_hash_set<std::string>* registered,
                                   KeysInFlight::Registration* registration) {
  std::vector<std::string> keys = plan.Keys();
  const std::vector<std::string> values = claims.InFlightKeys();
  keys.insert(keys.end(), values.begin(), values.end());
  keys.insert(keys.end(), further.begin(), further.end());
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  registered->clear();
  registered->insert(keys.begin(), keys.end());
  return WaitForKeys(keys, plan.KeylessTables(), /*all=*/plan.has_truncate(), plan.stamps(),
                     registration);
}

// Versions that died of a claim die with their own stamps: a later one of the same row may live.
absl::Status Applier::RecordDead(const GroupExecutor& executor) {
  if (executor.unseated().empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  for (const auto& [key, version] : executor.unseated()) {
    parts_.versions->Put(&batch, key, version);
  }
  return parts_.database->Write(&batch, /*sync=*/false);
}

void Applier::Unbind() {
  bound_.clear();
  unbindable_.clear();
  unbound_ = true;
  foreign_keys_.Reset();
}

// What a table is bound to holds its policies.
absl::Status Applier::RefreshSettings() {
  const uint64_t generation = parts_.settings->generation();
  if (std::exchange(settings_generation_, generation) != generation) {
    Unbind();
    // What is said of tables tells that they have changed.
    if (!parts_.settings->TableChanges()->empty()) parts_.tables->ForgetAll();
  }
  executor_options_.counts_claim = parts_.counts_claim;
  executor_options_.fold = {.database = parts_.database,
                            .history = parts_.fold_history,
                            .log = parts_.log,
                            .settings = parts_.settings,
                            .barrier = parts_.barrier,
                            .own = parts_.progress->own(),
                            .origin = origin_,
                            .merges_own = merges_own(),
                            .node_of_roident = &executor_options_.node_of_roident,
                            .stable_us = parts_.progress->StableTime()};
  // Versions come back from the change log before there is a session: a new one has no statements.
  if (!std::exchange(unbound_, false) || pipe_ == nullptr) return absl::OkStatus();
  return pipe_->ForgetStatements();
}

absl::Status Applier::QueueBegin(int64_t newest_us) {
  begun_at_ = SteadyNow();
  if (const uint32_t stable = parts_.stable_xid->Get(); stable != stable_xid_) {
    RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("SET ", kStableXidSetting, " = '", stable, "'")));
    stable_xid_ = stable;
  }
  locks_.BeginAttempt();
  RETURN_IF_ERROR(pipe_->Exec("BEGIN"));
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat(
      "SET LOCAL lock_timeout = '", absl::ToInt64Milliseconds(locks_.row_timeout()), "ms'")));
  if (BDR_RULE_BROKEN("clock_wait")) return absl::OkStatus();
  return pipe_->Exec(absl::StrCat("SELECT bdr.require_clock_past(",
                                  TimestampSql(parts_.clock_gate->MustHavePassed(newest_us)), ")"));
}

absl::Status Applier::Commit(const TransactionHeader& last,
                             KeysInFlight::Registration* registration, bool moves_progress) {
  Lsn before;
  activity_.Set("commits");
  if (!merges_own()) BDR_HANG_POINT("apply_commit");
  if (moves_progress)
    RETURN_IF_ERROR(pipe_->Exec(
        absl::StrCat("UPDATE bdr.progress SET lsn = '", ToString(last.end_lsn), "', stamp = ",
                     TimestampSql(last.stamp.time_us), " WHERE origin_node = ", origin_.node,
                     " AND origin_incarnation = ", origin_.incarnation),
        [](const Result& result) {
          return result.affected() == 1
                     ? absl::OkStatus()
                     : absl::UnavailableError("bdr.progress does not take how far apply has come");
        }));
  RETURN_IF_ERROR(pipe_->Exec("SELECT pg_catalog.pg_current_wal_insert_lsn()",
                              [&before](const Result& result) -> absl::Status {
                                ASSIGN_OR_RETURN(before, ParseLsn(result.value(0, 0)));
                                return absl::OkStatus();
                              }));
  RETURN_IF_ERROR(pipe_->Finish());

  if (!merges_own()) BDR_FAIL_POINT("apply_before_commit");
  // From here on the group may be visible at any moment.
  if (moves_progress) {
    parts_.history->Begin(origin_, last.end_lsn, last.stamp.time_us, before);
  }
  Lsn after;
  // The last statement before COMMIT: an abort, also of a savepoint, would move the origin on.
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("SELECT pg_catalog.pg_replication_origin_xact_setup('",
                                           ToString(last.end_lsn), "', ",
                                           TimestampSql(last.stamp.time_us), ")")));
  bool committed = false;
  RETURN_IF_ERROR(pipe_->Exec("COMMIT", [&committed](const Result&) {
    committed = true;
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(pipe_->Exec("SELECT pg_catalog.pg_current_wal_insert_lsn()",
                              [&after](const Result& result) -> absl::Status {
                                ASSIGN_OR_RETURN(after, ParseLsn(result.value(0, 0)));
                                return absl::OkStatus();
                              }));
  if (const absl::Status status = pipe_->Finish(); !status.ok()) {
    // Refused by the server (a constraint that is checked at commit): an error like any other.
    if (!committed && !connection_->broken() && !absl::IsUnavailable(status)) return status;
    // Whether it was committed is not known: a new session reads it from bdr.progress.
    registration->Commit(Lsn{UINT64_MAX});
    return absl::UnavailableError(absl::StrCat("commit was not confirmed: ", status.message()));
  }
  if (!merges_own()) BDR_FAIL_POINT("apply_after_commit");
  if (merges_own()) BDR_FAIL_POINT("own_merge_after");
  registration->Commit(after);
  if (!moves_progress) return absl::OkStatus();
  furthest_piece_ = 0;
  committed_ = last.end_lsn;
  parts_.history->Finish(origin_, after);
  if (!parts_.progress->Committed(origin_, last.end_lsn, after, server_life_)) {
    return absl::UnavailableError("PostgreSQL may have been restarted, without the last commit");
  }
  versions_.Applied(committed_, parts_.progress->DurableLsn(origin_));
  return absl::OkStatus();
}

// Nothing stands here that a transaction with this header had not seen when it was committed, as
// far as capture knows.
bool Applier::SawEverything(const TransactionHeader& header) const {
  const auto seen_until = [&header](NodeId node) {
    for (const SeenUntil& seen : header.seen) {
      if (seen.node == node) return seen.time_us;
    }
    return int64_t{0};
  };
  if (parts_.clock->Newest() > seen_until(parts_.progress->own().node)) return false;
  for (const auto& [origin, newest_us] : parts_.history->NewestStamps()) {
    if (origin.node != origin_.node && newest_us > seen_until(origin.node)) return false;
  }
  return true;
}

absl::Status Applier::CheckForeignKeys(GroupPlan& plan, bool letter) {
  if (merges_own() || foreign_keys_.empty()) return absl::OkStatus();
  return foreign_keys_.After(plan, letter || !SawEverything(plan.first()), pipe_.get());
}

// A table that was altered since it was bound mostly makes its statements fail. Where a column was
// made narrower they do not: PostgreSQL would cut the values in silence. Nor where another table
// has its name by now, which a DELETE by key or a TRUNCATE would meet, while its versions went
// under the old table's OID. Asked once the tables are locked by what was written, so that nothing
// changes before the commit.
absl::Status Applier::CheckShapes(GroupPlan& plan) {
  absl::flat_hash_map<std::string, std::shared_ptr<const BoundTable>> tables;
  std::vector<int32_t> oids;
  const auto ask = [&](const std::shared_ptr<const BoundTable>& table) {
    const uint32_t oid = table->table().oid;
    if (tables.emplace(absl::StrCat(oid), table).second) oids.push_back(static_cast<int32_t>(oid));
  };
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) ask(ops.table);
    if (!segment.truncate.has_value()) continue;
    for (const auto& table : segment.truncate->tables) ask(table);
  }
  if (oids.empty()) return absl::OkStatus();
  const auto sql = [] {
    return std::string(
        "SELECT c.oid::pg_catalog.text, COALESCE((SELECT pg_catalog.string_agg("
        "pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) FROM "
        "pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT "
        "a.attisdropped), ''), n.nspname, c.relname FROM pg_catalog.pg_class c JOIN "
        "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY "
        "($1::pg_catalog.int4[]::pg_catalog.oid[])");
  };
  return pipe_->Run("bdr shapes", sql, {kInt4ArrayOid}, {EncodeInt4Array(oids)},
                    [tables = std::move(tables)](const Result& result) mutable -> absl::Status {
                      const auto altered = [](const BoundTable& table) {
                        return absl::FailedPreconditionError(absl::StrCat(
                            "table \"", table.table().DisplayName(),
                            "\" was altered since its columns were looked up; run \"bdrctl apply "
                            "retry\""));
                      };
                      for (int row = 0; row < result.rows(); ++row) {
                        const auto found = tables.extract(std::string(result.value(row, 0)));
                        if (found.empty()) continue;
                        const BoundTable& table = *found.mapped();
                        if (result.value(row, 2) != table.table().schema ||
                            result.value(row, 3) != table.table().name ||
                            (!table.shape().empty() && table.shape() != result.value(row, 1))) {
                          return altered(table);
                        }
                      }
                      return tables.empty() ? absl::OkStatus() : altered(*tables.begin()->second);
                    });
}

// After the commit.
void Applier::NoteOrphans(uint64_t orphans, bool queued) {
  if (merges_own() || orphans == 0) return;
  {
    MutexLock lock(&mu_);
    tally_.orphans += orphans;
  }
  if (queued) parts_.foreign_keys_queued();
}

void Applier::Rollback() {
  pipe_->DropHandlers();
  absl::Status status = pipe_->Exec("ROLLBACK");
  if (status.ok()) status = pipe_->Finish();
  if (!status.ok() && !connection_->broken()) {
    LogWarning("apply", {{"origin", ToString(origin_)}},
               absl::StrCat("rollback failed: ", status.message()));
  }
}

void Applier::Count(const GroupPlan& plan, const ConflictCounts& conflicts) {
  MutexLock lock(&mu_);
  tally_.transactions += plan.transactions();
  tally_.changes += plan.changes();
  CountConflictsLocked(conflicts);
}

void Applier::CountConflictsLocked(const ConflictCounts& conflicts) {
  for (const auto& [kind, count] : conflicts.by_kind) tally_.conflicts[kind] += count;
  for (const auto& [where, count] : conflicts.by_table) {
    const bool room = tally_.table_conflicts.size() < kMostTablesCounted ||
                      tally_.table_conflicts.contains(where);
    tally_.table_conflicts[room ? where
                                : std::pair<std::string, std::string>("other", where.second)] +=
        count;
  }
}

}  // namespace bdr::agent
