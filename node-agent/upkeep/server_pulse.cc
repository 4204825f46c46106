#include "node-agent/upkeep/server_pulse.h"

#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"

namespace bdr::agent {
namespace {

// Longer than the WAL writer takes to flush commits that do not wait for it (three rounds of
// wal_writer_delay, 200 ms by default).
constexpr absl::Duration kFlushPatience = absl::Seconds(1);

}  // namespace

absl::StatusOr<ServerPulse::Beat> ServerPulse::Read(postgres::Connection* connection) {
  // The clock before the WAL: what commits later than this position has a later time, but for
  // commits under way, whose stamps the promise will raise.
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      connection->Exec("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, "
                       "pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn(), "
                       "pg_snapshot_xmin(s), pg_snapshot_xmax(s) FROM pg_current_snapshot() s"));
  Beat beat;
  if (!absl::SimpleAtoi(result.value(0, 0), &beat.pulse.clock_us)) {
    return absl::InternalError("the server's clock is no number");
  }
  ASSIGN_OR_RETURN(beat.pulse.insert_lsn, ParseLsn(result.value(0, 1)));
  ASSIGN_OR_RETURN(beat.pulse.flush_lsn, ParseLsn(result.value(0, 2)));
  if (!absl::SimpleAtoi(result.value(0, 3), &beat.oldest_xid) ||
      !absl::SimpleAtoi(result.value(0, 4), &beat.next_xid)) {
    return absl::InternalError("the server's oldest running xid is no number");
  }
  stable_xid_->Seen(static_cast<uint32_t>(beat.oldest_xid), beat.pulse.insert_lsn,
                    beat.pulse.clock_us);
  progress_->SetServerClock(beat.pulse.clock_us);
  capture_->SetPulse(beat.pulse);
  return beat;
}

// What an open transaction has written is flushed by nobody until somebody commits. On a server
// that is idle otherwise capture would never get past it, and neither would this node's promises,
// which the whole cluster waits for. A small commit flushes it. That commit is flushed itself, so
// an idle server sees one for each time that something was left behind, not one after the other.
absl::Status ServerPulse::FlushIfStuck(const Pulse& pulse, postgres::Connection* connection) {
  const absl::Time now = SteadyNow();
  if (pulse.flush_lsn >= unflushed_) {
    unflushed_ = pulse.insert_lsn;
    unflushed_since_ = now;
    return absl::OkStatus();
  }
  if (now - unflushed_since_ < kFlushPatience) return absl::OkStatus();
  unflushed_ = Lsn();
  return connection
      ->Exec(
          "BEGIN; SET LOCAL synchronous_commit = local;"
          "SELECT pg_logical_emit_message(true, 'bdr.flush', ''); COMMIT")
      .status();
}

}  // namespace bdr::agent
