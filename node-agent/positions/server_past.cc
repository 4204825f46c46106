#include "node-agent/positions/server_past.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

absl::Status Refuse(absl::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the server was set back: ", why,
                   ". It was restored from a backup, replaced by a standby that lagged, or lost "
                   "what marks the changes of other nodes; what is committed here cannot be told "
                   "from what was lost: the node has to be copied anew"));
}

// What the server says of a transaction, if it is not the one that was captured.
absl::StatusOr<std::optional<std::string>> Contradiction(postgres::Connection& connection,
                                                         const CapturedCommit& last) {
  const std::string name = absl::StrCat("transaction ", last.xid, ", which was captured, ");
  ASSIGN_OR_RETURN(
      const postgres::Result known,
      connection.Exec(absl::StrCat(
          "SELECT (extract(epoch FROM pg_catalog.pg_xact_commit_timestamp('", last.xid,
          "'::pg_catalog.xid)) * 1000000)::pg_catalog.int8,"
          " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text")));
  if (!known.is_null(0, 0)) {
    if (known.value(0, 0) == absl::StrCat(last.commit_us)) return std::nullopt;
    return name + "was committed at another time";
  }
  // No commit time: a freeze took it, or there was no such commit.
  uint64_t next = 0;
  if (!absl::SimpleAtoi(known.value(0, 1), &next)) {
    return absl::InternalError("the server's next xid is no number");
  }
  // The transaction's xid of 64 bits is the one nearest to the next.
  uint64_t xid = (next & ~uint64_t{0xffffffff}) | last.xid;
  if (xid > next && xid - next > (uint64_t{1} << 31) && xid >= (uint64_t{1} << 32)) {
    xid -= uint64_t{1} << 32;
  } else if (xid < next && next - xid > (uint64_t{1} << 31)) {
    xid += uint64_t{1} << 32;
  }
  if (xid >= next) return name + "is yet to come";
  ASSIGN_OR_RETURN(const postgres::Result status,
                   connection.Exec(absl::StrCat("SELECT pg_catalog.pg_xact_status('", xid,
                                                "'::pg_catalog.xid8)")));
  if (status.is_null(0, 0) || status.value(0, 0) != "aborted") return std::nullopt;
  return name + "was rolled back";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerPast>> ServerPast::Load(Database* database) {
  std::map<OriginId, Lsn> flushed;
  const std::unique_ptr<rocksdb::Iterator> at(
      database->db()->NewIterator(rocksdb::ReadOptions(), database->state()));
  for (at->Seek(std::string(kStateFlushed)); at->Valid(); at->Next()) {
    absl::string_view name(at->key().data(), at->key().size());
    if (!absl::ConsumePrefix(&name, kStateFlushed)) break;
    ASSIGN_OR_RETURN(const OriginId origin, DecodeOrigin(name));
    ASSIGN_OR_RETURN(flushed[origin].value, DecodeU64({at->value().data(), at->value().size()}));
  }
  RETURN_IF_ERROR(FromRocksDb(at->status(), "cannot read the state"));
  ASSIGN_OR_RETURN(const std::optional<std::string> why, State(database).Get(kStateSetBack));
  return std::unique_ptr<ServerPast>(new ServerPast(
      database, std::move(flushed), why.has_value() ? Refuse(*why) : absl::OkStatus()));
}

absl::Status ServerPast::CheckCapture(postgres::Connection& connection, Lsn through,
                                      const CapturedCommit& last, const Told& told) {
  // An applier that has covered the trace meanwhile has met it first, so what was noticed is asked
  // for behind what was read.
  RETURN_IF_ERROR(CheckApplied(told));
  ASSIGN_OR_RETURN(const std::string end,
                   connection.QueryValue("SELECT pg_catalog.pg_current_wal_insert_lsn()"));
  ASSIGN_OR_RETURN(const Lsn local_now, ParseLsn(end));
  if (local_now < through) {
    return SetBack(
        absl::StrCat("its WAL ends at ", end, " and was read up to ", ToString(through)));
  }
  if (last.xid == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::optional<std::string> why, Contradiction(connection, last));
  return why.has_value() ? SetBack(*why) : absl::OkStatus();
}

absl::Status ServerPast::CheckOrigins(postgres::Connection& connection,
                                      const ServerNames& server_names) {
  ASSIGN_OR_RETURN(const postgres::Result there,
                   connection.Exec("SELECT roname FROM pg_catalog.pg_replication_origin"));
  absl::flat_hash_set<std::string> names;
  for (int row = 0; row < there.rows(); ++row) names.emplace(there.value(row, 0));
  std::string why;
  {
    MutexLock lock(&mu_);
    for (const auto& [origin, lsn] : flushed_) {
      const std::string name = server_names.Origin(origin);
      if (names.contains(name)) continue;
      why = absl::StrCat("its replication origin \"", name, "\" is gone");
    }
  }
  return why.empty() ? absl::OkStatus() : SetBack(why);
}

absl::StatusOr<ServerPast::Told> ServerPast::Ask(postgres::Connection& connection) const {
  Told told;
  {
    MutexLock lock(&mu_);
    told.flushed = flushed_;
  }
  ASSIGN_OR_RETURN(told.applied, ReadApplied(connection));
  return told;
}

absl::Status ServerPast::CheckApplied(const Told& told) {
  std::string why;
  {
    MutexLock lock(&mu_);
    if (!set_back_.ok()) return set_back_;
    for (const AppliedPosition& position : told.applied) {
      const auto known = told.flushed.find(position.origin);
      if (known == told.flushed.end() || known->second <= position.lsn) continue;
      why = absl::StrCat("it shows origin ", ToString(position.origin), " up to ",
                         ToString(position.lsn), " and had flushed it up to ",
                         ToString(known->second));
    }
  }
  return why.empty() ? absl::OkStatus() : SetBack(why);
}

absl::Status ServerPast::Found() const {
  MutexLock lock(&mu_);
  return set_back_;
}

absl::Status ServerPast::Flushed(absl::Span<const OriginLsn> flushed) {
  rocksdb::WriteBatch batch;
  std::vector<OriginLsn> newer;
  {
    MutexLock lock(&mu_);
    for (const OriginLsn& position : flushed) {
      // Never back: that is what it is for.
      if (position.lsn <= flushed_[position.origin]) continue;
      newer.push_back(position);
      State(database_).Put(&batch, absl::StrCat(kStateFlushed, EncodeOrigin(position.origin)),
                           EncodeU64(position.lsn.value));
    }
  }
  if (newer.empty()) return absl::OkStatus();
  // What a full disk refused is tried again.
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/false));
  MutexLock lock(&mu_);
  for (const OriginLsn& position : newer) {
    flushed_[position.origin] = std::max(flushed_[position.origin], position.lsn);
  }
  return absl::OkStatus();
}

absl::Status ServerPast::SetBack(const std::string& why) {
  {
    MutexLock lock(&mu_);
    if (!set_back_.ok()) return set_back_;
    set_back_ = Refuse(why);
    LogError("server", {{"state", "set_back"}}, set_back_.message());
  }
  RETURN_IF_ERROR(State(database_).Put(kStateSetBack, why, /*sync=*/true));
  return Refuse(why);
}

}  // namespace bdr::agent
