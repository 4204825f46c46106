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
#include "base/thread_name.h"
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
constexpr absl::Duration kRetry = absl::Milliseconds(500);

}  // namespace

Watcher::Watcher(Options options, Parts parts)
    : options_(std::move(options)),
      parts_(parts),
      pulse_(parts.positions, parts.clocks, parts.capture),
      durability_(parts.stores, parts.positions, parts.clocks, parts.in_flight),
      forgetting_(parts.stores, parts.positions, parts.clocks, parts.in_flight, parts.capture),
      unpublished_(options_.publish_new_tables),
      fitness_({.conninfo = options_.conninfo}),
      conflict_log_(
          {.max_age = options_.conflict_log_max_age, .max_rows = options_.conflict_log_max_rows}) {
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

// The pulse comes first, as all the rest goes by it. Positions become durable before anything is
// forgotten by them. What may fail for a user's sake, or costs more, comes at longer intervals and
// behind that; the small commit comes last, as what was done until then may have flushed as well.
absl::Status Watcher::Look() {
  if (connection_ == nullptr) RETURN_IF_ERROR(Connect());
  ASSIGN_OR_RETURN(const ServerPulse::Beat beat, pulse_.Read(connection_.get()));
  const Lsn insert_lsn = beat.pulse.insert_lsn;
  const absl::Time now = SteadyNow();
  {
    MutexLock lock(&mu_);
    if (std::exchange(seen_.insert_lsn, insert_lsn) != insert_lsn) moved_ = now;
  }
  if (now - last_durable_ > kDurableInterval) {
    last_durable_ = now;
    RETURN_IF_ERROR(durability_.Flushed(beat.pulse.flush_lsn));
    RETURN_IF_ERROR(forgetting_.Forget(durability_.merged()));
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
  if (now - last_origins_ > kOriginsInterval && insert_lsn != origins_looked_at_) {
    last_origins_ = now;
    origins_looked_at_ = insert_lsn;
    RETURN_IF_ERROR(parts_.foreign_origins->Look(connection_.get()));
  }
  RETURN_IF_ERROR(unpublished_.Look(connection_.get(), beat.oldest_xid, beat.next_xid));
  return pulse_.FlushIfStuck(beat.pulse, connection_.get());
}

absl::Status Watcher::Connect() {
  ASSIGN_OR_RETURN(std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr watcher"}));
  RETURN_IF_ERROR(connection
                      ->Exec("SET synchronous_commit = off; SET search_path = pg_catalog; SET "
                             "lock_timeout = '200ms'")
                      .status());
  RETURN_IF_ERROR(durability_.Restart(connection.get()));
  ASSIGN_OR_RETURN(const std::string version, connection->QueryValue("SHOW server_version"));
  connection_ = std::move(connection);
  fitness_.Reconnected();
  MutexLock lock(&mu_);
  seen_.server_version = version;
  return absl::OkStatus();
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
