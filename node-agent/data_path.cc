#include "node-agent/data_path.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/changelog/state.h"
#include "node-agent/following.h"

namespace bdr::agent {
namespace {

// nullopt if it is not there.
absl::StatusOr<std::optional<uint64_t>> ReadU64(const State& state, absl::string_view name) {
  ASSIGN_OR_RETURN(const auto bytes, state.Get(name));
  if (!bytes.has_value()) return std::nullopt;
  ASSIGN_OR_RETURN(const uint64_t value, DecodeU64(*bytes));
  return value;
}

}  // namespace

DataPath::DataPath(Options options)
    : config_(*options.config),
      folder_(*options.folder),
      known_(*options.known),
      metrics_(options.metrics),
      identity_(std::move(options.identity)),
      fenced_(std::move(options.fenced)),
      stores_(folder_.stores()) {
  positions_ = {.progress = nullptr,
                .applied = fenced_.applied.get(),
                .server_past = fenced_.server_past.get(),
                .names = &identity_.names};
}

DataPath::~DataPath() {
  StopServing();
  Stop();
  // Who asks goes before whom he asks; the rest as it came, in the opposite order.
  parts_.row_service.reset();
  parts_.repair.reset();
  parts_.publisher.reset();
  parts_.peers.reset();
  parts_.capture.reset();
}

absl::Status DataPath::Start(const Membership& followed) {
  RETURN_IF_ERROR(MakeClocks(followed));
  RETURN_IF_ERROR(MakeSettings(followed));
  RETURN_IF_ERROR(MakeInFlight());
  RETURN_IF_ERROR(MakeCapture());
  MakeWatcher();
  RETURN_IF_ERROR(MakeSequences());
  MakePeers();
  MakeRepair();
  parts_.capture->Start();
  return absl::OkStatus();
}

// No stamp of this agent may be at or before one that an earlier one gave out, or had promised not
// to go below.
absl::Status DataPath::MakeClocks(const Membership& followed) {
  const State state(stores_.database);
  ASSIGN_OR_RETURN(const auto promised, ReadU64(state, kStateCeiling));
  ASSIGN_OR_RETURN(const auto captured, CapturedState::Load(stores_.database));
  const int64_t last_stamp_us = captured.has_value() ? captured->last_stamp_us : 0;
  const int64_t floor_us = std::max(last_stamp_us, static_cast<int64_t>(promised.value_or(0)));
  parts_.progress = std::make_unique<Progress>(own(), stores_.log, positions_.applied);
  positions_.progress = parts_.progress.get();
  parts_.stamps = std::make_unique<StampClock>(floor_us, last_stamp_us);
  ASSIGN_OR_RETURN(const auto retired, ReadU64(state, kStateClockRetired));
  parts_.clock_gate =
      std::make_unique<ClockGate>(config_.max_clock_skew, positions_.progress, positions_.applied,
                                  parts_.stamps.get(), retired.value_or(0));
  parts_.clock_gate->Accept(followed.accepted_clock);
  clocks_ = {.stamps = parts_.stamps.get(),
             .gate = parts_.clock_gate.get(),
             .stable_xid = &parts_.stable_xid};
  return absl::OkStatus();
}

absl::Status DataPath::MakeSettings(const Membership& followed) {
  parts_.dead_letters = std::make_unique<DeadLetters>(positions_.progress, fenced_.letters);
  parts_.foreign_key_actions = std::make_unique<ForeignKeyActions>(config_.database);
  parts_.tables = std::make_unique<TableCache>(
      postgres::ConnectOptions{.conninfo = config_.database, .application_name = "bdr agent"});
  parts_.settings = std::make_unique<Settings>();
  RETURN_IF_ERROR(TakeSettings(followed, stores_, positions_, clocks_, newest_applied_us(),
                               parts_.settings.get()));
  // What appliers have planned by other shapes is planned anew.
  ASSIGN_OR_RETURN(
      parts_.schema,
      SchemaWatch::Start({.conninfo = config_.database,
                          .node = config_.node,
                          .database = stores_.database,
                          .newest_stamp_us =
                              [stamps = clocks_.stamps, applied = positions_.applied] {
                                return std::max(stamps->Newest(), applied->NewestStamp());
                              },
                          .changed =
                              [tables = parts_.tables.get(), settings = parts_.settings.get()] {
                                tables->ForgetAll();
                                settings->PlanAnew();
                              }}));
  return absl::OkStatus();
}

// Own changes that were captured before, and may not have been merged again where they had to be,
// are replayed; all of that is known, and what is published, before capture goes on.
absl::Status DataPath::MakeInFlight() {
  parts_.keys = std::make_unique<KeysInFlight>(
      std::min(KeysInFlight::kMostRecentBytes, static_cast<size_t>(config_.memory_limit) / 4));
  parts_.own_changes = std::make_unique<OwnChanges>();
  in_flight_ = {.keys = parts_.keys.get(), .own_changes = parts_.own_changes.get()};
  const Lsn own_end = stores_.log->End(own()).end_lsn;
  ASSIGN_OR_RETURN(const auto kept, ReadU64(State(stores_.database), kStateMerged));
  Lsn merged = kept.has_value() ? Lsn{*kept} : own_end;
  merged = std::max(merged, stores_.log->TrimmedThrough(own()).end_lsn);
  if (BDR_RULE_BROKEN("own_merge_restart")) {
    merged = own_end;
    fenced_.at = Lsn{0};
  }
  parts_.own_changes->Looked(own_end);
  if (merged < own_end) parts_.own_changes->BeginReplay(merged);
  replay_ = {.after = merged, .through = own_end};
  positions_.progress->Published(own_end, 0, {});
  return absl::OkStatus();
}

absl::Status DataPath::MakeCapture() {
  ASSIGN_OR_RETURN(parts_.gaps, CaptureGaps::Load(stores_.database));
  parts_.foreign_origins = std::make_unique<ForeignOrigins>(config_.forward_foreign_origins);
  parts_.capture = std::make_unique<Capture>(
      Capture::Options{.own = own(),
                       .conninfo = config_.database,
                       .block_max_bytes = static_cast<size_t>(config_.block_max_bytes),
                       .log_cap_bytes = log_cap_bytes(),
                       .forward_foreign_origins = config_.forward_foreign_origins,
                       .touched_through = fenced_.at},
      Capture::Parts{.stores = stores_,
                     .positions = positions_,
                     .clocks = clocks_,
                     .in_flight = in_flight_,
                     .tables = parts_.tables.get(),
                     .settings = parts_.settings.get(),
                     .gaps = parts_.gaps.get(),
                     .foreign_origins = parts_.foreign_origins.get()});
  parts_.barrier = std::make_unique<CaptureBarrier>(
      postgres::ConnectOptions{.conninfo = config_.database, .application_name = "bdr agent"},
      [capture = parts_.capture.get()](Lsn lsn, absl::Duration timeout) {
        return capture->WaitThrough(lsn, timeout);
      });
  in_flight_.barrier = parts_.barrier.get();
  return absl::OkStatus();
}

void DataPath::MakeWatcher() {
  parts_.watcher = std::make_unique<Watcher>(
      Watcher::Options{.conninfo = config_.database,
                       .slot = positions_.names->slot(),
                       .conflict_log_max_age = config_.conflict_log_max_age,
                       .conflict_log_max_rows = config_.conflict_log_max_rows,
                       .publish_new_tables = config_.publish_new_tables},
      Watcher::Parts{.stores = stores_,
                     .positions = positions_,
                     .clocks = clocks_,
                     .in_flight = in_flight_,
                     .capture = parts_.capture.get(),
                     .foreign_origins = parts_.foreign_origins.get()});
}

absl::Status DataPath::MakeSequences() {
  ASSIGN_OR_RETURN(parts_.chunk_client, ChunkClient::Make({.node = config_.node,
                                                           .servers = config_.control,
                                                           .security = config_.security}));
  parts_.chunks = std::make_unique<ChunkKeeper>(
      ChunkKeeper::Options{
          .conninfo = config_.database,
          .node = config_.node,
          .node_id = own().node,
          .was_set_back = [past = positions_.server_past] { return !past->Found().ok(); }},
      parts_.chunk_client.get(), folder_.sequence_marks());
  return absl::OkStatus();
}

void DataPath::MakePeers() {
  const std::string cluster_id = known_.Get().cluster_id;
  parts_.row_client = std::make_unique<RowClient>(
      RowClient::Options{.self = own().node,
                         .cluster_id = cluster_id,
                         .security = config_.security,
                         .membership = [this] { return known_.Get(); }});
  parts_.peers = std::make_unique<Peers>(
      Peers::Options{
          .self = own().node,
          .cluster_id = cluster_id,
          .data_dir_id = folder_.id(),
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
          .log_cap_bytes = log_cap_bytes(),
          .own_changes = in_flight_.own_changes,
          .replay_after = replay_.after,
          .replay_through = replay_.through,
          .metrics = metrics_},
      MakeApplyParts());
  parts_.clock_skews = std::make_unique<ClockSkews>(config_.max_clock_skew);
}

ApplyParts DataPath::MakeApplyParts() const {
  return {.stores = stores_,
          .positions = positions_,
          .clocks = clocks_,
          .in_flight = in_flight_,
          .tables = parts_.tables.get(),
          .settings = parts_.settings.get(),
          .dead_letters = parts_.dead_letters.get(),
          .rows = parts_.row_client.get(),
          .versions_rebuilt = nullptr,
          .foreign_keys_queued = [actions = parts_.foreign_key_actions.get()] { actions->Wake(); },
          .rewound = nullptr,
          .generated_at =
              [schema = parts_.schema.get()](NodeId node, absl::string_view name,
                                             absl::string_view table) {
                return schema->GeneratedAt(node, name, table);
              },
          .counts_claim =
              [schema = parts_.schema.get()](
                  const postgres::TableInfo& table, const postgres::ConstraintInfo& constraint,
                  int64_t stamp_us) { return schema->Counts(table, constraint, stamp_us); }};
}

void DataPath::MakeRepair() {
  parts_.repair = std::make_unique<RowRepair>(RowRepair::Parts{.conninfo = config_.database,
                                                               .stores = stores_,
                                                               .positions = positions_,
                                                               .clocks = clocks_,
                                                               .in_flight = in_flight_});
  parts_.compactor = std::make_unique<Compactor>(stores_.database);
}

void DataPath::Serve() {
  const std::string cluster_id = known_.Get().cluster_id;
  const auto name_of = [this](NodeId node) { return known_.NameOf(node); };
  parts_.publisher = std::make_unique<Publisher>(
      PublisherOptions{.self = own().node,
                       .cluster_id = cluster_id,
                       .heartbeat_interval = config_.heartbeat_interval,
                       .is_member = [this](NodeId node) { return known_.Has(node); },
                       .name_of = name_of,
                       .data_dir_of = [this](NodeId node) { return known_.DataDirOf(node); }},
      stores_.log, positions_.progress);
  parts_.row_service = std::make_unique<RowService>(
      RowService::Options{
          .database = config_.database, .cluster_id = cluster_id, .name_of = name_of},
      RowService::Parts{.stores = stores_,
                        .positions = positions_,
                        .in_flight = in_flight_,
                        .tables = parts_.tables.get()});
}

void DataPath::StopServing() {
  if (parts_.row_service != nullptr) parts_.row_service->Stop();
  if (parts_.publisher != nullptr) parts_.publisher->Shutdown();
}

void DataPath::Stop() {
  if (parts_.peers != nullptr) parts_.peers->Stop();
  parts_.foreign_key_actions.reset();
  parts_.schema.reset();
  parts_.chunks.reset();
  parts_.watcher.reset();
  parts_.compactor.reset();
  if (parts_.capture == nullptr) return;
  parts_.capture->Stop();
  KeepMerged();
}

// What was captured and has been merged where it had to be is not to be merged at the next start.
void DataPath::KeepMerged() {
  State state(stores_.database);
  const Lsn merged = parts_.own_changes->low_water();
  const auto stored = ReadU64(state, kStateMerged);
  if (!stored.ok() || merged.value <= stored->value_or(0)) return;
  const absl::Status kept = state.Put(kStateMerged, EncodeU64(merged.value), /*sync=*/false);
  if (!kept.ok()) LogWarning("agent", {{"state", "stopping"}}, kept.message());
}

uint64_t DataPath::log_cap_bytes() const {
  return BDR_HAS_HABIT("small_cap") ? uint64_t{2} << 20
                                    : static_cast<uint64_t>(config_.log_retention_bytes);
}

StatusParts DataPath::status_parts() const {
  return {.own = own(),
          .health = {},
          .stores = stores_,
          .positions = positions_,
          .clocks = clocks_,
          .in_flight = in_flight_,
          .capture = parts_.capture.get(),
          .gaps = parts_.gaps.get(),
          .watcher = parts_.watcher.get(),
          .chunks = parts_.chunks.get(),
          .clock_skews = parts_.clock_skews.get(),
          .dead_letters = parts_.dead_letters.get(),
          .foreign_key_actions = parts_.foreign_key_actions.get(),
          .schema = parts_.schema.get(),
          .merges_own = parts_.peers->own_health(),
          .peers = parts_.peers->status()};
}

}  // namespace bdr::agent
