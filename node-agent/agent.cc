#include "node-agent/agent.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/grpc_security.h"
#include "base/logging.h"
#include "base/process_metrics.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "bdr/v1/admin.pb.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/report/agent_metrics.h"
#include "node-agent/report/agent_status.h"
#include "node-agent/sync/database_claim.h"
#include "node-agent/sync/first_start.h"
#include "node-agent/sync/start_at_present.h"
#include "node-agent/tables/local_relation.h"
#include "postgres/connection.h"
#include "postgres/schema_version.h"
#include "postgres/setup/node_check.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kRepeat = absl::Milliseconds(500);
// What is missing at a start for less is no alarm.
constexpr absl::Duration kStartPatience = absl::Seconds(10);
constexpr char kRunning[] = "running";
constexpr absl::Duration kDrainTime = absl::Seconds(2);
constexpr uint32_t kFirstIncarnation = 1;
constexpr int kMinServerVersion = 150000;

}  // namespace

Agent::Agent(AgentConfig config)
    : config_(std::move(config)),
      metrics_(AgentMetrics()),
      foreign_origins_(config_.forward_foreign_origins),
      clock_skews_(config_.max_clock_skew) {}

Agent::~Agent() { ShutDown(); }

void Agent::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  woken_.NotifyAll();
}

void Agent::Wait(absl::Duration duration) {
  const absl::Time until = SteadyNow() + duration;
  MutexLock lock(&mu_);
  while (!stopping_ && !membership_changed_ && SteadyNow() < until) {
    woken_.WaitFor(&mu_, until - SteadyNow());
  }
}

Membership Agent::membership() const {
  MutexLock lock(&mu_);
  return membership_;
}

absl::Status Agent::Repeat(absl::string_view state, absl::Status (Agent::*step)()) {
  const absl::Time begun = SteadyNow();
  while (true) {
    const absl::Status status = (this->*step)();
    if (status.ok()) return status;
    if (absl::IsDataLoss(status) || absl::IsInvalidArgument(status)) return status;
    {
      MutexLock lock(&mu_);
      if (stopping_) return absl::CancelledError("stopped");
      membership_changed_ = false;
    }
    // Nobody has to do anything about what a start waits for as a rule, unless it takes long.
    const bool alarm = !absl::IsNotFound(status) &&
                       (!absl::IsUnavailable(status) || SteadyNow() - begun >= kStartPatience);
    if (health_.Set(alarm ? Health::Level::kCritical : Health::Level::kWarning, state,
                    status.message())) {
      (alarm ? LogWarning : LogInfo)("agent", {{"state", state}, {"node", config_.node}},
                                     status.message());
    }
    Wait(kRepeat);
  }
}

absl::Status Agent::Run() {
  RETURN_IF_ERROR(Listen());
  RETURN_IF_ERROR(Open());
  absl::Status status = Repeat("waiting_for_identity", &Agent::LearnIdentity);
  if (status.ok()) status = Repeat("checking", &Agent::CheckPostgres);
  if (status.ok()) status = Repeat("fencing", &Agent::Fence);
  if (status.ok()) status = Repeat("starting", &Agent::KeepMembership);
  if (status.ok()) status = CheckNotRemoved();
  if (status.ok()) status = StartDataPath();
  if (status.ok()) Serve();
  if (status.ok()) status = Repeat("joining", &Agent::Join);
  if (status.ok()) {
    health_.Set(Health::Level::kOk, kRunning);
    LogInfo("agent", {{"state", "running"}, {"node", config_.node}, {"origin", ToString(own_)}});
    status = Follow();
  }
  ShutDown();
  return absl::IsCancelled(status) ? absl::OkStatus() : status;
}

// Before anything is made, on disk or in the database: what is wrong here would be found too late
// else.
absl::Status Agent::Listen() {
  // Probes are answered from here on.
  health_.Set(Health::Level::kWarning, "starting", "the agent has not joined its peers yet");
  RETURN_IF_ERROR(CheckOwnIdentity(config_.security, Role::kNode, config_.node));
  ASSIGN_OR_RETURN(const auto expiries, CertificateExpiries(config_.security));
  ShowCertificates(expiries, &metrics_);
  metrics_.GetGauge("bdr_memory_limit_bytes").Set(static_cast<double>(config_.memory_limit));
  stable_known_us_ = absl::ToUnixMicros(absl::Now());
  metrics_.OnScrape([this] { RefreshMetrics(); });
  if (!config_.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(const auto address, config::ParseHostPort(config_.metrics_listen));
    ASSIGN_OR_RETURN(
        http_, HttpServer::Start({.address = address, .metrics = &metrics_, .not_ready = [this] {
                                    return NotReady();
                                  }}));
  }
  admin_ = std::make_unique<AdminService>(this, AdminOptions{.database = config_.database});
  ASSIGN_OR_RETURN(listener_, Listener::Start({.address = config_.listen,
                                               .security = config_.security,
                                               .admin = admin_->service()}));
  return absl::OkStatus();
}

absl::Status Agent::Open() {
  ASSIGN_OR_RETURN(
      database_, Database::Open({.directory = config_.data_dir + "/log",
                                 .memory_bytes = static_cast<uint64_t>(config_.memory_limit) / 4}));
  ASSIGN_OR_RETURN(log_, ChangeLog::Open(database_.get()));
  versions_ = std::make_unique<conflict::VersionStore>(database_->db(), database_->versions());
  claims_ = std::make_unique<conflict::ClaimStore>(database_->db(), database_->claims());
  fold_history_ = std::make_unique<conflict::HistoryStore>(database_->db(), database_->history());
  State state(database_.get());
  ASSIGN_OR_RETURN(const auto data_dir_id, state.Get(kStateDataDirId));
  data_dir_id_ = data_dir_id.value_or(RandomId());
  if (!data_dir_id.has_value()) {
    RETURN_IF_ERROR(state.Put(kStateDataDirId, data_dir_id_, /*sync=*/true));
  }
  ASSIGN_OR_RETURN(const auto identity, state.Get(kStateIdentity));
  if (identity.has_value()) {
    ASSIGN_OR_RETURN(const OriginId own, DecodeOrigin(*identity));
    reported_id_ = own.node;
  }
  ASSIGN_OR_RETURN(const auto cached, state.Get(kStateMembership));
  if (cached.has_value()) {
    ASSIGN_OR_RETURN(const Membership known, ParseMembership(*cached));
    MutexLock lock(&mu_);
    membership_ = known;
  }
  ASSIGN_OR_RETURN(sequence_marks_, SequenceMarks::Load(database_.get()));
  ASSIGN_OR_RETURN(
      control_,
      ControlClient::Start(
          {.node = config_.node,
           .servers = config_.control,
           .security = config_.security,
           .metrics = &metrics_,
           .wanted_schemas =
               [this](const v1::ReportResponse& response) {
                 const absl::Status learned = sequence_marks_->Learn(
                     {response.sequences().begin(), response.sequences().end()});
                 // The next answer says it again.
                 if (!learned.ok()) LogDebug("sequence", {}, learned.message());
                 return data_path_ ? schema_->Wanted(response) : std::vector<std::string>();
               },
           .on_schema = [this](const v1::NodeSchema& told) { schema_->Take(told); },
           .fill_known =
               [this](v1::Membership* known) { known->ParseFromString(Serialize(membership())); }},
          [this](v1::ReportRequest* report) {
            const Membership known = membership();
            report->set_cluster_id(known.cluster_id);
            report->set_known_epoch(known.epoch);
            report->set_node_id(reported_id_);
            report->set_data_dir_id(data_dir_id_);
            for (const v1::SequenceState& known_state : sequence_marks_->All()) {
              *report->add_known_sequences() = known_state;
            }
            FillStatus(report->mutable_status());
            if (!data_path_) return;
            report->set_incarnation(own_.incarnation);
            report->set_followed_epoch(followed_epoch_);
            report->set_captures(joined_);
            if (joined_) {
              report->set_settings_ready(settings_->Ready(progress_->StableTime()));
              report->set_settings_active(settings_->active());
            }
            schema_->FillReport(report->mutable_schema());
          },
          [this](const Membership& changed) { SetMembership(changed); }));
  return absl::OkStatus();
}

void Agent::SetMembership(const Membership& changed) {
  MutexLock lock(&mu_);
  if (!membership_.cluster_id.empty() && membership_.cluster_id != changed.cluster_id) {
    LogError("agent", {{"cluster", changed.cluster_id}, {"expected", membership_.cluster_id}},
             "bdr-server speaks of another cluster; ignored");
    return;
  }
  if (changed.epoch < membership_.epoch) {
    // It refuses reports for that; but one from before it could.
    LogError("agent", {{"epoch", changed.epoch}, {"known", membership_.epoch}},
             "bdr-server has gone back in time; ignored");
    return;
  }
  membership_ = changed;
  membership_changed_ = true;
  woken_.NotifyAll();
}

absl::Status Agent::LearnIdentity() {
  State state(database_.get());
  ASSIGN_OR_RETURN(const auto identity, state.Get(kStateIdentity));
  const Membership known = membership();
  const Member* self = known.FindByName(config_.node);
  if (identity.has_value()) {
    ASSIGN_OR_RETURN(own_, DecodeOrigin(*identity));
    if (self != nullptr && self->id != own_.node) {
      return absl::FailedPreconditionError(
          absl::StrCat("data_dir belongs to node ", own_.node, ", but \"", config_.node,
                       "\" is node ", self->id, " in the cluster; use the right data_dir"));
    }
    const Member* joined = known.Find(own_.node);
    if (joined == nullptr || !joined->active) {
      // It may have been removed. Nothing is captured before bdr-server has said that it was not:
      // for a node that will never be a member PostgreSQL would keep its WAL.
      const absl::Status report = control_->LastReport();
      if (absl::IsUnknown(report)) return absl::UnavailableError(report.message());
      if (!report.ok()) return absl::FailedPreconditionError(report.message());
    }
    ASSIGN_OR_RETURN(const auto tell_nodes, state.Get(kStateServerNames));
    names_ = std::make_unique<ServerNames>(
        tell_nodes.has_value() ? ServerNames::Of(known.cluster_id, own_.node, config_.node)
                               : ServerNames::Older(config_.node));
    return absl::OkStatus();
  }
  if (self == nullptr) {
    const absl::Status report = control_->LastReport();
    // It says whether the node was never added or was removed, or that there is no cluster.
    if (absl::IsFailedPrecondition(report) || absl::IsNotFound(report)) return report;
    if (!report.ok()) {
      return absl::UnavailableError(absl::StrCat("cannot learn whether node \"", config_.node,
                                                 "\" is a member: ", report.message()));
    }
    return absl::NotFoundError(absl::StrCat("node \"", config_.node,
                                            "\" is not a member yet; run \"bdrctl node add ",
                                            config_.node, " --address HOST:PORT --no-copy\""));
  }
  RETURN_IF_ERROR(CheckNoPastOf(*self));
  own_ = {.node = self->id, .incarnation = kFirstIncarnation};
  names_ =
      std::make_unique<ServerNames>(ServerNames::Of(known.cluster_id, own_.node, config_.node));
  RETURN_IF_ERROR(state.Put(kStateServerNames, "", /*sync=*/false));
  RETURN_IF_ERROR(state.Put(kStateMembership, Serialize(known), /*sync=*/false));
  RETURN_IF_ERROR(state.Put(kStateIdentity, EncodeOrigin(own_), /*sync=*/true));
  reported_id_ = own_.node;
  return absl::OkStatus();
}

absl::Status Agent::CheckNotRemoved() const {
  const absl::Status report = control_->LastReport();
  if (!absl::IsNotFound(report)) return absl::OkStatus();
  const Membership known = membership();
  const Member* self = known.Find(own_.node);
  // One that has joined is never removed: its name was changed, and an older bdr-server only looks
  // at that.
  if (self != nullptr && self->active) return absl::OkStatus();
  return absl::InvalidArgumentError(report.message());
}

absl::Status Agent::CheckPostgres() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = config_.database, .application_name = "bdr check"}));
  if (connection->server_version() < kMinServerVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "PostgreSQL ", connection->server_version() / 10000, " is too old: 15 or later is needed"));
  }
  // Before it becomes a node all is looked at. Of 10,000 tables that takes longer than a minute, so
  // one that has captured is looked at for what it can have lost.
  ASSIGN_OR_RETURN(const auto captured, CapturedState::Load(database_.get()));
  ASSIGN_OR_RETURN(const std::vector<pg_setup::Finding> findings,
                   pg_setup::CheckNode(*connection, {.running = captured.has_value()}));
  for (const pg_setup::Finding& finding : findings) {
    if (finding.level != pg_setup::Finding::Level::kError) continue;
    // What somebody has done to a table is told of by status, too; it must not keep the node away.
    if (finding.of_tables) {
      LogWarning("agent", {{"state", "checking"}},
                 absl::StrCat(finding.what, "; ", finding.remedy));
    } else {
      return absl::FailedPreconditionError(absl::StrCat(
          "this database cannot be a node yet: ", finding.what,
          finding.remedy.empty() ? "" : absl::StrCat("; as administrator: ", finding.remedy),
          " (\"bdrctl node check\" shows all)"));
    }
  }
  RETURN_IF_ERROR(postgres::CheckSchemaVersion(*connection));
  RETURN_IF_ERROR(CheckNeverJoined(*connection, database_.get(), *log_));
  return ClaimDatabase(*connection, membership().cluster_id, own_.node, config_.node);
}

// What an earlier agent had queued may be committed seconds after it died. Nothing is published
// before that is settled, or a local transaction that saw it would not say so.
absl::Status Agent::Fence() {
  history_ = std::make_unique<AppliedHistory>();
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = config_.database, .application_name = "bdr fence"}));
  RETURN_IF_ERROR(CreateRepairOrigin(*connection, *names_));
  ASSIGN_OR_RETURN(server_past_, ServerPast::Load(database_.get()));
  // What is found makes capture and the appliers refuse, and status says why.
  const auto unless_found = [](absl::Status status) {
    return absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
  };
  RETURN_IF_ERROR(unless_found(server_past_->CheckOrigins(*connection, *names_)));
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> origins, ReadApplied(*connection));
  for (const AppliedPosition& position : origins) {
    RETURN_IF_ERROR(TakeOrigin(*connection, *names_, position.origin));
    RETURN_IF_ERROR(connection->Exec("SELECT pg_replication_origin_session_reset()").status());
  }
  // What earlier sessions applied counts for every local commit that is captured from now on.
  ASSIGN_OR_RETURN(const ServerPast::Told told, server_past_->Ask(*connection));
  RETURN_IF_ERROR(unless_found(server_past_->CheckApplied(told)));
  for (const AppliedPosition& position : told.applied) {
    history_->Reset(position.origin, position.lsn, position.stamp_us, position.local_after);
    newest_applied_us_ = std::max(newest_applied_us_, position.stamp_us);
  }
  ASSIGN_OR_RETURN(letters_at_start_, ReadDeadLetters(*connection));
  ASSIGN_OR_RETURN(const std::string lsn,
                   connection->QueryValue("SELECT pg_current_wal_insert_lsn()"));
  ASSIGN_OR_RETURN(fenced_at_, ParseLsn(lsn));
  return absl::OkStatus();
}

absl::Status Agent::StartDataPath() {
  State state(database_.get());
  ASSIGN_OR_RETURN(const auto ceiling, state.Get(kStateCeiling));
  ASSIGN_OR_RETURN(const auto captured, CapturedState::Load(database_.get()));
  int64_t floor_us = captured.has_value() ? captured->last_stamp_us : 0;
  if (ceiling.has_value()) {
    ASSIGN_OR_RETURN(const uint64_t promised, DecodeU64(*ceiling));
    floor_us = std::max(floor_us, static_cast<int64_t>(promised));
  }
  const postgres::ConnectOptions sql{.conninfo = config_.database, .application_name = "bdr agent"};
  progress_ = std::make_unique<Progress>(own_, log_.get(), history_.get());
  const int64_t last_stamp_us = captured.has_value() ? captured->last_stamp_us : 0;
  clock_ = std::make_unique<StampClock>(floor_us, last_stamp_us);
  ASSIGN_OR_RETURN(const auto retired_bytes, state.Get(kStateClockRetired));
  uint64_t retired = 0;
  if (retired_bytes.has_value()) {
    ASSIGN_OR_RETURN(retired, DecodeU64(*retired_bytes));
  }
  clock_gate_ = std::make_unique<ClockGate>(config_.max_clock_skew, progress_.get(), history_.get(),
                                            clock_.get(), retired);
  clock_gate_->Accept(taken_.accepted_clock);
  dead_letters_ = std::make_unique<DeadLetters>(progress_.get(), letters_at_start_);
  foreign_key_actions_ = std::make_unique<ForeignKeyActions>(config_.database);
  tables_ = std::make_unique<TableCache>(sql);
  settings_ = std::make_unique<Settings>();
  RETURN_IF_ERROR(TakeSettings());
  // What appliers have planned by other shapes is planned anew.
  ASSIGN_OR_RETURN(
      schema_, SchemaWatch::Start({.conninfo = config_.database,
                                   .node = config_.node,
                                   .database = database_.get(),
                                   .newest_stamp_us =
                                       [clock = clock_.get(), history = history_.get()] {
                                         return std::max(clock->Newest(), history->NewestStamp());
                                       },
                                   .changed =
                                       [tables = tables_.get(), settings = settings_.get()] {
                                         tables->ForgetAll();
                                         settings->PlanAnew();
                                       }}));
  keys_ = std::make_unique<KeysInFlight>(
      std::min(KeysInFlight::kMostRecentBytes, static_cast<size_t>(config_.memory_limit) / 4));
  own_changes_ = std::make_unique<OwnChanges>();
  const Lsn own_end = log_->End(own_).end_lsn;
  ASSIGN_OR_RETURN(const auto merged_bytes, state.Get(kStateMerged));
  Lsn merged = own_end;
  if (merged_bytes.has_value()) {
    ASSIGN_OR_RETURN(merged.value, DecodeU64(*merged_bytes));
  }
  merged = std::max(merged, log_->TrimmedThrough(own_).end_lsn);
  if (BDR_RULE_BROKEN("own_merge_restart")) {
    merged = own_end;
    fenced_at_ = Lsn{0};
  }
  own_changes_->Looked(own_end);
  if (merged < own_end) own_changes_->BeginReplay(merged);
  progress_->Published(log_->End(own_).end_lsn, 0, {});

  const uint64_t log_cap_bytes = BDR_HAS_HABIT("small_cap")
                                     ? uint64_t{2} << 20
                                     : static_cast<uint64_t>(config_.log_retention_bytes);
  ASSIGN_OR_RETURN(gaps_, CaptureGaps::Load(database_.get()));
  const Stores stores{.database = database_.get(),
                      .log = log_.get(),
                      .versions = versions_.get(),
                      .claims = claims_.get(),
                      .fold_history = fold_history_.get()};
  const Positions positions{.progress = progress_.get(),
                            .applied = history_.get(),
                            .server_past = server_past_.get(),
                            .names = names_.get()};
  const Clocks clocks{
      .stamps = clock_.get(), .gate = clock_gate_.get(), .stable_xid = &stable_xid_};
  const InFlight in_flight{
      .keys = keys_.get(), .own_changes = own_changes_.get(), .barrier = nullptr};
  capture_ = std::make_unique<Capture>(
      Capture::Options{.own = own_,
                       .conninfo = config_.database,
                       .block_max_bytes = static_cast<size_t>(config_.block_max_bytes),
                       .log_cap_bytes = log_cap_bytes,
                       .forward_foreign_origins = config_.forward_foreign_origins,
                       .touched_through = fenced_at_},
      Capture::Parts{.stores = stores,
                     .positions = positions,
                     .clocks = clocks,
                     .in_flight = in_flight,
                     .tables = tables_.get(),
                     .settings = settings_.get(),
                     .gaps = gaps_.get(),
                     .foreign_origins = &foreign_origins_});
  barrier_ = std::make_unique<CaptureBarrier>(
      sql, [capture = capture_.get()](Lsn lsn, absl::Duration timeout) {
        return capture->WaitThrough(lsn, timeout);
      });
  watcher_ = std::make_unique<Watcher>(
      Watcher::Options{.conninfo = config_.database,
                       .slot = names_->slot(),
                       .conflict_log_max_age = config_.conflict_log_max_age,
                       .conflict_log_max_rows = config_.conflict_log_max_rows,
                       .publish_new_tables = config_.publish_new_tables},
      Watcher::Parts{.stores = stores,
                     .positions = positions,
                     .clocks = clocks,
                     .in_flight = in_flight,
                     .capture = capture_.get(),
                     .foreign_origins = &foreign_origins_});
  ASSIGN_OR_RETURN(chunk_client_, ChunkClient::Make({.node = config_.node,
                                                     .servers = config_.control,
                                                     .security = config_.security}));
  chunks_ = std::make_unique<ChunkKeeper>(
      ChunkKeeper::Options{.conninfo = config_.database,
                           .node = config_.node,
                           .node_id = own_.node,
                           .was_set_back = [this] { return !server_past_->Found().ok(); }},
      chunk_client_.get(), sequence_marks_.get());
  row_client_ = std::make_unique<RowClient>(
      RowClient::Options{.self = own_.node,
                         .cluster_id = membership().cluster_id,
                         .security = config_.security,
                         .membership = [this] { return membership(); }});
  peers_ = std::make_unique<Peers>(
      Peers::Options{
          .self = own_.node,
          .cluster_id = membership().cluster_id,
          .data_dir_id = data_dir_id_,
          .security = config_.security,
          .heartbeat_interval = config_.heartbeat_interval,
          .apply = {.conninfo = config_.database,
                    .group_max_transactions =
                        static_cast<size_t>(config_.apply_group_max_transactions),
                    .group_max_bytes = static_cast<size_t>(config_.apply_group_max_bytes),
                    .group_max_time = config_.apply_group_max_time,
                    .puts_aside = config_.on_apply_error == "dead_letter",
                    .forwards_foreign_origins = config_.forward_foreign_origins,
                    .stall_warning = config_.apply_stall_warning},
          .log_cap_bytes = log_cap_bytes,
          .own_changes = own_changes_.get(),
          .replay_after = merged,
          .replay_through = own_end,
          .metrics = &metrics_},
      ApplyParts{
          .stores = {.database = database_.get(),
                     .log = log_.get(),
                     .versions = versions_.get(),
                     .claims = claims_.get(),
                     .fold_history = fold_history_.get()},
          .positions = {.progress = progress_.get(),
                        .applied = history_.get(),
                        .server_past = server_past_.get(),
                        .names = names_.get()},
          .clocks = {.stamps = clock_.get(), .gate = clock_gate_.get(), .stable_xid = &stable_xid_},
          .in_flight = {.keys = keys_.get(),
                        .own_changes = own_changes_.get(),
                        .barrier = barrier_.get()},
          .tables = tables_.get(),
          .settings = settings_.get(),
          .dead_letters = dead_letters_.get(),
          .rows = row_client_.get(),
          .versions_rebuilt = nullptr,
          .foreign_keys_queued = [actions = foreign_key_actions_.get()] { actions->Wake(); },
          .rewound = nullptr,
          .generated_at =
              [schema = schema_.get()](NodeId node, absl::string_view name,
                                       absl::string_view table) {
                return schema->GeneratedAt(node, name, table);
              },
          .counts_claim =
              [schema = schema_.get()](
                  const postgres::TableInfo& table, const postgres::ConstraintInfo& constraint,
                  int64_t stamp_us) { return schema->Counts(table, constraint, stamp_us); }});
  repair_ = std::make_unique<RowRepair>(RowRepair::Parts{.conninfo = config_.database,
                                                         .database = database_.get(),
                                                         .versions = versions_.get(),
                                                         .claims = claims_.get(),
                                                         .fold_history = fold_history_.get(),
                                                         .keys = keys_.get(),
                                                         .barrier = barrier_.get(),
                                                         .progress = progress_.get(),
                                                         .clock_gate = clock_gate_.get(),
                                                         .names = names_.get()});
  compactor_ = std::make_unique<Compactor>(database_.get());
  capture_->Start();
  data_path_ = true;
  return absl::OkStatus();
}

void Agent::Serve() {
  const auto name_of = [this](NodeId node) {
    const Membership known = membership();
    const Member* member = known.Find(node);
    return member == nullptr ? std::string() : member->name;
  };
  publisher_ = std::make_unique<Publisher>(
      PublisherOptions{
          .self = own_.node,
          .cluster_id = membership().cluster_id,
          .heartbeat_interval = config_.heartbeat_interval,
          .is_member = [this](NodeId node) { return membership().Find(node) != nullptr; },
          .name_of = name_of,
          .data_dir_of =
              [this](NodeId node) {
                const Membership known = membership();
                const Member* member = known.Find(node);
                return member == nullptr ? std::string() : member->data_dir_id;
              }},
      log_.get(), progress_.get());
  row_service_ = std::make_unique<RowService>(
      RowService::Options{
          .database = config_.database, .cluster_id = membership().cluster_id, .name_of = name_of},
      RowService::Parts{.versions = versions_.get(),
                        .tables = tables_.get(),
                        .barrier = barrier_.get(),
                        .names = names_.get()});
  listener_->Open(publisher_->service(), row_service_->service());
}

absl::Status Agent::Join() {
  RETURN_IF_ERROR(CheckNotRemoved());
  const Health capture = capture_->health();
  // Paused is as good: what makes room is that the others' acknowledgements count again.
  const CaptureState state = capture_->state();
  if (state != CaptureState::kStreaming && state != CaptureState::kPaused) {
    return absl::UnavailableError(
        absl::StrCat("capture does not stream yet: ", capture.state,
                     capture.reason.empty() ? "" : absl::StrCat(" (", capture.reason, ")")));
  }
  RETURN_IF_ERROR(
      StartAtPresent({.self = own_.node,
                      .security = config_.security,
                      .database = {.conninfo = config_.database, .application_name = "bdr join"}},
                     membership(), database_.get(), log_.get()));
  RETURN_IF_ERROR(KeepMembership());
  RETURN_IF_ERROR(peers_->Set(taken_));
  followed_epoch_ = taken_.epoch;
  joined_ = true;
  control_->Kick();
  return absl::OkStatus();
}

// Takes up every change of the cluster until the agent is told to stop.
absl::Status Agent::Follow() {
  Membership followed;
  std::string logged;
  while (true) {
    // Removed at the moment when it told that it had joined.
    RETURN_IF_ERROR(CheckNotRemoved());
    absl::Status status = membership() == followed ? absl::OkStatus() : TakeChange(&followed);
    if (status.ok()) status = FollowTableChanges();
    if (status.ok()) status = FollowClock();
    if (absl::IsDataLoss(status)) return status;
    if (status.message() != logged) {
      logged = std::string(status.message());
      if (!status.ok()) {
        LogWarning("agent", {{"node", config_.node}},
                   absl::StrCat("cannot take up a change of the cluster yet: ", logged));
      }
    }
    peers_->Relay();
    LookAtClocks();
    Wait(kRepeat);
    MutexLock lock(&mu_);
    if (stopping_) return absl::OkStatus();
    membership_changed_ = false;
  }
}

absl::Status Agent::TakeChange(Membership* followed) {
  RETURN_IF_ERROR(KeepMembership());
  RETURN_IF_ERROR(peers_->Set(taken_));
  followed_epoch_ = taken_.epoch;
  RETURN_IF_ERROR(TakeSettings());
  *followed = taken_;
  // What is said of tables may be what an origin that is stopped needs.
  RETURN_IF_ERROR(peers_->Retry(0).status());
  // The cluster waits to hear that its settings are followed.
  control_->Kick();
  return absl::OkStatus();
}

// Written down before it is followed: what is kept for its settings from now on must still be kept
// after a crash.
absl::Status Agent::KeepMembership() {
  const Membership known = membership();
  RETURN_IF_ERROR(State(database_.get()).Put(kStateMembership, Serialize(known), /*sync=*/true));
  taken_ = known;
  return absl::OkStatus();
}

absl::Status Agent::TakeSettings() {
  // Another node's transactions may have told of more than bdr-server did.
  ASSIGN_OR_RETURN(const auto active, State(database_.get()).Get(kStateSettingsActive));
  settings_->Take(taken_,
                  std::max({progress_->ServerClock(), clock_->Promise(0), newest_applied_us_}));
  if (active.has_value()) {
    ASSIGN_OR_RETURN(const uint64_t version, DecodeU64(*active));
    if (version > settings_->active()) settings_->RaiseActive(version);
  }
  return absl::OkStatus();
}

// What an administrator has said of the tables is true here only once it was done here as well:
// until then this node is not ready for it, and so it is in force nowhere.
absl::Status Agent::FollowTableChanges() {
  const std::vector<TableChange> not_done = settings_->NotDone();
  if (not_done.empty()) return absl::OkStatus();
  const auto all = settings_->TableChanges();
  for (const TableChange& change : not_done) {
    ASSIGN_OR_RETURN(const bool done, IsDoneHere(change, *all, tables_.get()));
    if (!done) break;
    // What was committed before, and is not captured yet, is stamped a bit later at most.
    constexpr int64_t kRaisedUs = 1'000'000;
    ASSIGN_OR_RETURN(const int64_t now_us, tables_->ClockUs());
    settings_->MarkDone(change.version,
                        kRaisedUs + std::max({now_us, clock_->Promise(0), newest_applied_us_}));
    control_->Kick();
  }
  return absl::OkStatus();
}

// A step of the clock that the cluster has accepted holds from when it is written down, until the
// clock has passed all stamps.
absl::Status Agent::FollowClock() {
  const int64_t before_us = clock_gate_->advance_us();
  clock_gate_->Accept(taken_.accepted_clock);
  if (const int64_t now_us = clock_gate_->advance_us(); now_us != before_us) {
    LogWarning(
        "clock",
        {{"state", "advanced"}, {"id", taken_.accepted_clock.id}, {"by", RoughDuration(now_us)}});
  }
  if (const uint64_t retired = clock_gate_->Retire(); retired != 0) {
    LogInfo("clock", {{"state", "advanced->right"}, {"id", retired}});
    clock_retired_ = retired;
  }
  if (clock_retired_ == 0) return absl::OkStatus();
  RETURN_IF_ERROR(
      State(database_.get()).Put(kStateClockRetired, EncodeU64(clock_retired_), /*sync=*/true));
  clock_retired_ = 0;
  return absl::OkStatus();
}

void Agent::LookAtClocks() {
  std::vector<ClockSkews::Skew> skews;
  for (const PeerStatus& peer : peers_->status()) {
    if (peer.link.state != LinkState::kStreaming) continue;
    // What the way of the message leaves in doubt is no skew.
    const int64_t doubt = std::min(peer.link.clock_doubt_us, std::abs(peer.link.clock_skew_us));
    const int64_t ahead = peer.link.clock_skew_us > 0 ? peer.link.clock_skew_us - doubt
                                                      : peer.link.clock_skew_us + doubt;
    skews.push_back({.peer = peer.member.name, .ahead_us = ahead});
  }
  clock_skews_.Look(SteadyNow(), skews);
}

// In the order opposite to coming to life: first nobody asks any more, then nothing comes in, then
// what was captured is published.
void Agent::ShutDown() {
  control_.reset();
  http_.reset();
  data_path_ = false;
  if (admin_ != nullptr) admin_->Stop();
  if (row_service_ != nullptr) row_service_->Stop();
  if (publisher_ != nullptr) publisher_->Shutdown();
  if (listener_ != nullptr) listener_->Shutdown(kDrainTime);
  if (peers_ != nullptr) peers_->Stop();
  foreign_key_actions_.reset();
  schema_.reset();
  chunks_.reset();
  watcher_.reset();
  compactor_.reset();
  if (capture_ != nullptr) capture_->Stop();
  KeepMerged();
  admin_.reset();
  row_service_.reset();
  repair_.reset();
  publisher_.reset();
  peers_.reset();
  capture_.reset();
}

// What was captured and has been merged where it had to be is not to be merged at the next start.
void Agent::KeepMerged() {
  if (capture_ == nullptr) return;
  State state(database_.get());
  const Lsn merged = own_changes_->low_water();
  const auto stored = state.Get(kStateMerged);
  const absl::StatusOr<uint64_t> known = !stored.ok() ? stored.status()
                                         : !stored->has_value()
                                             ? absl::StatusOr<uint64_t>(uint64_t{0})
                                             : DecodeU64(**stored);
  if (!known.ok() || merged.value <= *known) return;
  const absl::Status kept = state.Put(kStateMerged, EncodeU64(merged.value), /*sync=*/false);
  if (!kept.ok()) LogWarning("agent", {{"state", "stopping"}}, kept.message());
}

std::vector<std::string> Agent::NotReady() {
  v1::NodeStatus status;
  FillStatus(&status);
  const Health own = health_.Get();
  if (own.state != kRunning) {
    return {absl::StrCat(own.state, own.reason.empty() ? "" : absl::StrCat(": ", own.reason))};
  }
  if (status.node().level() != v1::Health::CRITICAL) return {};
  return {absl::StrCat(status.node().state(), ": ", status.node().reason())};
}

void Agent::RefreshMetrics() {
  v1::NodeStatus status;
  FillStatus(&status);
  ShowStatus(status, &metrics_);
  ShowProcess("bdr-agent", BDR_VERSION, &metrics_);
  if (!data_path_) return;
  metrics_.GetGauge("bdr_postgres_up").Set(watcher_->seen().reachable ? 1 : 0);
  std::map<conflict::ConflictKind, uint64_t> conflicts;
  std::map<std::pair<std::string, std::string>, uint64_t> table_conflicts;
  uint64_t errors = 0;
  uint64_t orphans = 0;
  uint64_t link_failures = 0;
  for (const PeerStatus& peer : peers_->status()) {
    for (const auto& [kind, count] : peer.apply.conflicts) conflicts[kind] += count;
    for (const auto& [where, count] : peer.apply.table_conflicts) table_conflicts[where] += count;
    errors += peer.apply.errors;
    orphans += peer.apply.orphans;
    link_failures += peer.link.failures;
    metrics_.GetCounter("bdr_apply_retries_total", {{"origin", peer.member.name}})
        .SetTotal(static_cast<double>(peer.apply.retries));
    metrics_.GetCounter("bdr_fetched_rows_total", {{"origin", peer.member.name}})
        .SetTotal(static_cast<double>(peer.apply.fetched_rows));
    metrics_.GetCounter("bdr_fetch_waits_total", {{"origin", peer.member.name}})
        .SetTotal(static_cast<double>(peer.apply.fetch_waits));
  }
  metrics_.GetCounter("bdr_conflicts_by_kind_total", {{"kind", "foreign_key_orphaned"}})
      .SetTotal(static_cast<double>(orphans));
  metrics_.GetCounter("bdr_errors_total", {{"part", "apply"}})
      .SetTotal(static_cast<double>(errors));
  metrics_.GetCounter("bdr_errors_total", {{"part", "stream"}})
      .SetTotal(static_cast<double>(link_failures));
  metrics_.GetCounter("bdr_errors_total", {{"part", "capture"}})
      .SetTotal(static_cast<double>(capture_->counters().errors));
  metrics_.GetCounter("bdr_compactions_total")
      .SetTotal(static_cast<double>(compactor_->compactions()));
  for (const auto& [where, count] : table_conflicts) {
    metrics_
        .GetCounter("bdr_conflicts_by_table_total",
                    {{"table", where.first}, {"kind", where.second}})
        .SetTotal(static_cast<double>(count));
  }
  for (const auto& [kind, count] : conflicts) {
    metrics_.GetCounter("bdr_conflicts_by_kind_total", {{"kind", std::string(ToString(kind))}})
        .SetTotal(static_cast<double>(count));
  }
}

void Agent::FillStatus(v1::NodeStatus* status) {
  const Health health = health_.Get();
  status->set_name(config_.node);
  status->set_agent_version(BDR_VERSION);
  status->set_reported_us(absl::ToUnixMicros(absl::Now()));
  status->set_memory_bytes(ResidentBytes());
  status->set_stable_known_us(stable_known_us_);
  if (!data_path_) {
    FillHealth(health, status->mutable_node());
    return;
  }
  status->set_log_bytes(database_->SizeOnDisk());
  status->set_log_retained_bytes(database_->LogBytes());
  status->set_log_cap_bytes(static_cast<uint64_t>(config_.log_retention_bytes));
  status->set_versions_estimated(database_->EstimatedVersions());
  const Membership known = membership();
  FillRunningStatus({.own = own_,
                     .health = health,
                     .capture = capture_.get(),
                     .watcher = watcher_.get(),
                     .chunks = chunks_.get(),
                     .progress = progress_.get(),
                     .log = log_.get(),
                     .clock_gate = clock_gate_.get(),
                     .clock_skews = &clock_skews_,
                     .dead_letters = dead_letters_.get(),
                     .foreign_key_actions = foreign_key_actions_.get(),
                     .merges_own = peers_->own_health(),
                     .peers = peers_->status(),
                     .own_changes = own_changes_.get(),
                     .gaps = gaps_.get(),
                     .schema = schema_.get(),
                     .membership = &known},
                    status);
  if (status->stable_us() != 0) stable_known_us_ = status->stable_us();
  status->set_stable_known_us(stable_known_us_);
}

absl::Status Agent::FillPosition(absl::Time deadline, v1::GetPositionResponse* position) {
  if (!data_path_) return absl::UnavailableError("the agent does not capture yet");
  RETURN_IF_ERROR(barrier_->Pass(deadline - absl::Now()));
  const Cursor end = log_->End(own_);
  position->set_node(own_.node);
  position->set_incarnation(own_.incarnation);
  position->set_published_lsn(end.end_lsn.value);
  position->set_part(end.part);
  position->set_chain(end.chain);
  return absl::OkStatus();
}

absl::Status Agent::ExportRows(postgres::Connection& connection,
                               const v1::ExportRowsRequest& request,
                               v1::ExportRowsResponse* response) {
  if (!data_path_) return absl::UnavailableError("the agent knows no row versions yet");
  return repair_->Export(connection, request, response);
}

absl::Status Agent::RepairRows(const v1::RepairRowsRequest& request,
                               v1::RepairRowsResponse* response) {
  if (!data_path_) return absl::UnavailableError("the agent does not apply yet");
  return repair_->Repair(request, response);
}

absl::Status Agent::OwnsDatabase() {
  if (data_path_) return absl::OkStatus();
  return absl::UnavailableError("the agent is starting: ask again once it runs");
}

absl::Status Agent::RetryDeadLetter(int64_t id, absl::Time deadline) {
  if (!data_path_) return absl::UnavailableError("the agent does not apply yet");
  return dead_letters_->Retry(id, deadline - absl::Now());
}

void Agent::DeadLetterDropped(int64_t id) {
  if (data_path_) dead_letters_->Remove(id);
}

absl::Status Agent::SkipUndecodable(absl::Time deadline, absl::FunctionRef<bool()> cancelled,
                                    const v1::SkipUndecodableRequest& request,
                                    v1::SkipUndecodableResponse* response) {
  if (!data_path_) return absl::UnavailableError("the agent does not capture yet");
  ASSIGN_OR_RETURN(
      const CaptureGap gap,
      capture_->Skip(Lsn{request.lsn()}, request.until_decodable(), deadline - absl::Now(),
                     [&] { return cancelled() || !data_path_; }));
  FillGap(gap, response->mutable_gap());
  return absl::OkStatus();
}

absl::Status Agent::CloseGaps(const v1::CloseGapsRequest& request,
                              v1::CloseGapsResponse* response) {
  if (!data_path_) return absl::UnavailableError("the agent does not capture yet");
  ASSIGN_OR_RETURN(const std::vector<CaptureGap> closed, gaps_->Close(Lsn{request.first_lsn()}));
  for (const CaptureGap& gap : closed) {
    LogInfo("capture", {{"state", "gap_closed"}, {"lsn", ToString(gap.first)}}, ToString(gap));
    FillGap(gap, response->add_closed());
  }
  return absl::OkStatus();
}

std::vector<pg_setup::PolicyWish> Agent::TablePolicies() {
  std::vector<pg_setup::PolicyWish> wishes;
  if (!data_path_) return wishes;
  for (const auto& [name, policy] : settings_->MergedTables()) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits('.', 1));
    wishes.push_back({.schema = parts.first,
                      .table = parts.second,
                      .policy = std::string(conflict::ToString(policy.kind)),
                      .columns = policy.columns,
                      .function = policy.function});
  }
  return wishes;
}

std::vector<pg_setup::Finding> Agent::SchemaFindings() {
  std::vector<pg_setup::Finding> findings;
  if (!data_path_) return findings;
  for (const SchemaWatch::Difference& difference : schema_->Differences()) {
    findings.push_back({.level = pg_setup::Finding::Level::kWarning,
                        .what = difference.text,
                        .remedy = difference.statement});
  }
  return findings;
}

absl::StatusOr<std::vector<NodeId>> Agent::RetryApply(NodeId node) {
  if (!data_path_) return absl::UnavailableError("the agent does not apply yet");
  return peers_->Retry(node);
}

}  // namespace bdr::agent
