#include "node-agent/upkeep/watcher.h"

#include <libpq-fe.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "base/thread_name.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/stream/idle.h"
#include "postgres/setup/published_tables_sql.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kPulse = absl::Milliseconds(50);
// Where the server has written nothing for a while.
constexpr absl::Duration kIdlePulse = absl::Milliseconds(500);
constexpr absl::Duration kDurableInterval = absl::Milliseconds(200);
constexpr absl::Duration kSlotInterval = absl::Seconds(1);
constexpr absl::Duration kTablesInterval = absl::Seconds(30);
constexpr absl::Duration kOriginsInterval = absl::Seconds(5);
// Longer than the WAL writer takes to flush commits that do not wait for it (three rounds of
// wal_writer_delay, 200 ms by default).
constexpr absl::Duration kFlushPatience = absl::Seconds(1);
// Of rows that fold, at each look: enough for tens of thousands a second.
constexpr size_t kSweptKeys = 5000;
constexpr absl::Duration kRetry = absl::Milliseconds(500);

}  // namespace

Watcher::Watcher(Options options, Parts parts)
    : options_(std::move(options)),
      parts_(parts),
      unpublished_(options_.publish_new_tables),
      fitness_({.conninfo = options_.conninfo}),
      conflict_log_(
          {.max_age = options_.conflict_log_max_age, .max_rows = options_.conflict_log_max_rows}),
      sweeper_(parts.stores.database, parts.stores.fold_history, parts.in_flight.keys) {
  thread_ = std::thread([this] {
    NameThread("bdr-watcher");
    Run();
  });
}

Watcher::~Watcher() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

Watcher::Seen Watcher::seen() const {
  MutexLock lock(&mu_);
  return seen_;
}

void Watcher::Run() {
  while (true) {
    const absl::Status status = Look();
    // A disk of ours that is full, or a lock of a user's, says nothing of the server.
    const bool reachable = connection_ != nullptr && !connection_->broken();
    // Nor does a transaction that failed end by itself.
    if (!reachable || PQtransactionStatus(connection_->raw()) != PQTRANS_IDLE) connection_.reset();
    MutexLock lock(&mu_);
    if (reachable != seen_.reachable || status.message() != seen_.error) {
      if (!status.ok()) LogWarning("watcher", {}, status.message());
      if (status.ok() && !seen_.error.empty()) LogInfo("watcher", {{"state", "connected"}});
    }
    seen_.reachable = reachable;
    seen_.error = std::string(status.message());
    const absl::Time now = SteadyNow();
    const absl::Duration pulse = now - moved_ < kIdleAfter ? kPulse : kIdlePulse;
    const absl::Time until = now + (status.ok() ? pulse : kRetry);
    while (!stopping_ && SteadyNow() < until) woken_.WaitFor(&mu_, until - SteadyNow());
    if (stopping_) return;
  }
}

absl::Status Watcher::Look() {
  if (connection_ == nullptr) RETURN_IF_ERROR(Connect());
  // The clock before the WAL: what commits later than this position has a later time, but for
  // commits under way, whose stamps the promise will raise.
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      connection_->Exec("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, "
                        "pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn(), "
                        "pg_snapshot_xmin(s), pg_snapshot_xmax(s) FROM pg_current_snapshot() s"));
  Pulse pulse;
  if (!absl::SimpleAtoi(result.value(0, 0), &pulse.clock_us)) {
    return absl::InternalError("the server's clock is no number");
  }
  ASSIGN_OR_RETURN(pulse.insert_lsn, ParseLsn(result.value(0, 1)));
  ASSIGN_OR_RETURN(pulse.flush_lsn, ParseLsn(result.value(0, 2)));
  uint64_t xid = 0;  // of 64 bits; a row's xmin has the lower half
  uint64_t next_xid = 0;
  if (!absl::SimpleAtoi(result.value(0, 3), &xid) ||
      !absl::SimpleAtoi(result.value(0, 4), &next_xid)) {
    return absl::InternalError("the server's oldest running xid is no number");
  }
  parts_.clocks.stable_xid->Seen(static_cast<uint32_t>(xid), pulse.insert_lsn, pulse.clock_us);
  parts_.positions.progress->SetServerClock(pulse.clock_us);
  parts_.capture->SetPulse(pulse);
  const absl::Time now = SteadyNow();
  {
    MutexLock lock(&mu_);
    if (std::exchange(seen_.insert_lsn, pulse.insert_lsn) != pulse.insert_lsn) moved_ = now;
  }
  if (now - last_durable_ > kDurableInterval) {
    last_durable_ = now;
    const std::vector<OriginLsn> flushed =
        parts_.positions.progress->FlushedThrough(pulse.flush_lsn);
    const Lsn merged = parts_.in_flight.own_changes->low_water();
    if (merged > merged_) {
      RETURN_IF_ERROR(
          State(parts_.stores.database).Put(kStateMerged, EncodeU64(merged.value), /*sync=*/false));
      merged_ = merged;
    }
    RETURN_IF_ERROR(parts_.positions.server_past->Flushed(flushed));
    // Peers trim what is durable here, so the log and the versions must survive as well.
    RETURN_IF_ERROR(parts_.stores.database->Sync());
    parts_.positions.progress->Durable(flushed);
    // What is still to be merged again holds back what may be forgotten: it is to meet the versions
    // that it met when it was committed. After a crash that begins at what is on disk.
    parts_.positions.progress->OwnMerged(merged_);
    RETURN_IF_ERROR(Forget());
  }
  if (now - last_slot_ > kSlotInterval) {
    last_slot_ = now;
    RETURN_IF_ERROR(LookAtSlot());
  }
  if (now - last_tables_ > kTablesInterval) {
    last_tables_ = now;
    RETURN_IF_ERROR(LookAtTables());
  }
  RETURN_IF_ERROR(conflict_log_.Look(connection_.get(), parts_.positions.progress->StableTime()));
  if (now - last_origins_ > kOriginsInterval && pulse.insert_lsn != origins_looked_at_) {
    last_origins_ = now;
    origins_looked_at_ = pulse.insert_lsn;
    RETURN_IF_ERROR(parts_.foreign_origins->Look(connection_.get()));
  }
  RETURN_IF_ERROR(unpublished_.Look(connection_.get(), xid, next_xid));
  return FlushIfStuck(pulse);
}

absl::Status Watcher::Connect() {
  ASSIGN_OR_RETURN(std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr watcher"}));
  RETURN_IF_ERROR(connection
                      ->Exec("SET synchronous_commit = off; SET search_path = pg_catalog; SET "
                             "lock_timeout = '200ms'")
                      .status());
  RETURN_IF_ERROR(RestartFlushing(connection.get()));
  ASSIGN_OR_RETURN(const std::string version, connection->QueryValue("SHOW server_version"));
  connection_ = std::move(connection);
  fitness_.Reconnected();
  MutexLock lock(&mu_);
  seen_.server_version = version;
  return absl::OkStatus();
}

// What an open transaction has written is flushed by nobody until somebody commits. On a server
// that is idle otherwise capture would never get past it, and neither would this node's promises,
// which the whole cluster waits for. A small commit flushes it. That commit is flushed itself, so
// an idle server sees one for each time that something was left behind, not one after the other.
absl::Status Watcher::FlushIfStuck(const Pulse& pulse) {
  const absl::Time now = SteadyNow();
  if (pulse.flush_lsn >= unflushed_) {
    unflushed_ = pulse.insert_lsn;
    unflushed_since_ = now;
    return absl::OkStatus();
  }
  if (now - unflushed_since_ < kFlushPatience) return absl::OkStatus();
  unflushed_ = Lsn();
  return connection_
      ->Exec(
          "BEGIN; SET LOCAL synchronous_commit = local;"
          "SELECT pg_logical_emit_message(true, 'bdr.flush', ''); COMMIT")
      .status();
}

absl::Status Watcher::RestartFlushing(postgres::Connection* connection) {
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> applied, ReadApplied(*connection));
  std::vector<OriginLsn> visible;
  Lsn local_after;
  for (const AppliedPosition& position : applied) {
    visible.push_back({.origin = position.origin, .lsn = position.lsn});
    local_after = position.local_after;
  }
  parts_.positions.progress->RestartFlushing(visible, local_after);
  parts_.clocks.stable_xid->Reset();
  return absl::OkStatus();
}

absl::Status Watcher::Forget() {
  const int64_t stable_us = parts_.positions.progress->StableTime();
  parts_.stores.database->SetStableTime(stable_us);
  // Capture's position before the stamps: what it had passed by then is among them.
  const Lsn captured = parts_.capture->counters().captured;
  parts_.clocks.stable_xid->Advance(
      captured, std::max(parts_.clocks.stamps->Newest(), parts_.positions.applied->NewestStamp()),
      stable_us);
  RETURN_IF_ERROR(sweeper_.Sweep(stable_us, merged_, captured, kSweptKeys));
  for (const OriginId& origin : parts_.stores.log->Origins()) {
    const Lsn stable = parts_.positions.progress->StableLsn(origin);
    if (!stable.valid()) continue;
    RETURN_IF_ERROR(parts_.stores.log->Trim(origin, stable));
  }
  return BDR_HAS_HABIT("forget") ? parts_.stores.database->Reclaim() : absl::OkStatus();
}

absl::Status Watcher::LookAtSlot() {
  const postgres::Param slot{.data = options_.slot};
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      connection_->ExecParams("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 "
                              "FROM pg_replication_slots WHERE slot_name = $1",
                              absl::MakeConstSpan(&slot, 1)));
  int64_t retained = 0;
  if (result.rows() == 1 && !result.is_null(0, 0)) {
    (void)absl::SimpleAtoi(result.value(0, 0), &retained);
  }
  MutexLock lock(&mu_);
  seen_.slot_retained_bytes = static_cast<uint64_t>(std::max<int64_t>(retained, 0));
  return absl::OkStatus();
}

absl::Status Watcher::LookAtTables() {
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      connection_->Exec(absl::StrCat("WITH ", pg_setup::PublishedTablesCtes(),
                                     " SELECT format('%I.%I', nspname, relname), why, remedy"
                                     " FROM left_out ORDER BY 1")));
  std::vector<std::string> left_out;
  for (int i = 0; i < result.rows(); ++i) {
    left_out.push_back(absl::StrCat("table ", result.value(i, 0), " does not replicate: ",
                                    result.value(i, 1), "; ", result.value(i, 2)));
  }
  MutexLock lock(&mu_);
  for (const std::string& table : left_out) {
    if (std::find(seen_.left_out.begin(), seen_.left_out.end(), table) == seen_.left_out.end()) {
      LogWarning("watcher", {{"state", "left_out"}}, table);
    }
  }
  seen_.left_out = std::move(left_out);
  return absl::OkStatus();
}

}  // namespace bdr::agent
