#include "node-agent/repair/row_repair.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/published_table.h"
#include "node-agent/tables/row_sql.h"
#include "node-agent/tables/writer_session.h"
#include "postgres/owners_code.h"
#include "postgres/value_form.h"

namespace bdr::agent {
namespace {

using conflict::Version;
using postgres::QuoteIdentifier;
using postgres::Result;
using postgres::TableInfo;

// Beside the appliers, who are known by their nodes' ids.
constexpr uint64_t kHolder = uint64_t{kMaxNodeId} + 1;
constexpr absl::Duration kKeysTimeout = absl::Seconds(10);
constexpr absl::Duration kBarrierTimeout = absl::Seconds(10);
constexpr int kMostRows = 1000;
// The commit time of a row of which no version is known: older than anything that can still come.
constexpr int64_t kLongAgoUs = 946'684'801'000'000;  // 2000-01-01 00:00:01

constexpr char kSessionSql[] = "SET statement_timeout = '60s'; SET lock_timeout = '10s'";

absl::StatusOr<TableInfo> LoadKeyed(postgres::Connection& connection, const std::string& schema,
                                    const std::string& name) {
  ASSIGN_OR_RETURN(TableInfo table, LoadPublished(connection, schema, name));
  RETURN_IF_ERROR(postgres::LoadOwnersCode(connection, &table));
  RETURN_IF_ERROR(postgres::MayRunCode(table));
  if (!table.has_key) {
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", table.DisplayName(), "\" has no key: its rows cannot be named"));
  }
  return table;
}

absl::StatusOr<std::vector<postgres::Param>> KeyParams(const TableInfo& table, const v1::Key& key) {
  if (static_cast<size_t>(key.column_size()) != table.key.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a key of table \"", table.DisplayName(),
                                                   "\" has ", table.key.size(), " columns, not ",
                                                   key.column_size()));
  }
  std::vector<postgres::Param> params;
  for (const std::string& column : key.column()) params.push_back({.data = column});
  return params;
}

// The row's name in the version store.
absl::StatusOr<std::string> VersionKeyOf(postgres::Connection& connection, const TableInfo& table,
                                         const v1::Key& key) {
  std::vector<std::string> casts;
  for (size_t i = 0; i < table.key.size(); ++i) {
    casts.push_back(absl::StrCat("$", i + 1, "::text::", TypeSql(table.columns[table.key[i]])));
  }
  ASSIGN_OR_RETURN(const auto params, KeyParams(table, key));
  ASSIGN_OR_RETURN(const Result row,
                   connection.ExecParams(absl::StrCat("SELECT ", absl::StrJoin(casts, ", ")),
                                         params, /*binary_result=*/true));
  std::string canonical;
  for (size_t i = 0; i < table.key.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string value,
                     postgres::CanonicalKeyValue(*table.columns[table.key[i]].type,
                                                 row.value(0, static_cast<int>(i))));
    AppendKeyValue(&canonical, value);
  }
  return conflict::VersionKey(table.oid, canonical);
}

void FillVersion(const std::optional<Version>& version, v1::RowImage* image) {
  if (!version.has_value()) return;
  image->set_stamp_us(version->stamp.time_us);
  image->set_stamp_node(version->stamp.node);
  image->set_origin_node(version->origin.node);
  image->set_origin_incarnation(version->origin.incarnation);
  image->set_end_lsn(version->end_lsn.value);
  image->set_dead(version->dead);
}

Version VersionOf(const v1::RowImage& image) {
  return {.stamp = {.time_us = image.stamp_us(), .node = static_cast<NodeId>(image.stamp_node())},
          .origin = {.node = static_cast<NodeId>(image.origin_node()),
                     .incarnation = image.origin_incarnation()},
          .end_lsn = Lsn{image.end_lsn()},
          .dead = !image.present()};
}

// A trigger that returns NULL leaves a row out without an error.
absl::Status MustBeOne(const Result& result, const TableInfo& table, absl::string_view verb) {
  if (result.affected() == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      verb, " leaves the row out: an ALWAYS or REPLICA trigger or rule of table \"",
      table.DisplayName(), "\" does so; drop it, or let it fire for users alone, and repeat"));
}

// A row as FillImage() reads it; $1 and so on are its key.
std::string ImageSql(const TableInfo& table) {
  std::string selected = absl::StrCat(
      RowHashSql(table),
      ", t.xmin::text, coalesce((extract(epoch FROM pg_xact_commit_timestamp(t.xmin)) * 1000000)"
      "::bigint, 0)");
  for (const postgres::ColumnInfo& column : table.columns) {
    absl::StrAppend(&selected, ", ", AsTextSql(column.name));
  }
  return absl::StrCat("SELECT ", selected, " FROM ", FromSql(table), " WHERE ",
                      CompareKeySql(table, "=", 1));
}

absl::Status FillImage(const Result& row, const TableInfo& table, v1::RowImage* image) {
  image->set_present(true);
  ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(row.value(0, 0)));
  image->set_hash(hash);
  image->set_version(std::string(row.value(0, 1)));
  int64_t commit_us = 0;
  (void)absl::SimpleAtoi(row.value(0, 2), &commit_us);
  image->set_commit_us(commit_us);
  for (size_t i = 0; i < table.columns.size(); ++i) {
    v1::RowImage::Column* column = image->add_columns();
    const int place = static_cast<int>(i) + 3;
    column->set_name(table.columns[i].name);
    column->set_null(row.is_null(0, place));
    column->set_text(std::string(row.value(0, place)));
  }
  return absl::OkStatus();
}

int64_t CommitTime(const v1::RowImage& image) {
  if (image.stamp_us() != 0) return image.stamp_us();
  return image.commit_us() != 0 ? image.commit_us() : kLongAgoUs;
}

// An INSERT of an image, which shows what it has written.
struct ImageInsert {
  std::string sql;
  std::vector<std::string> names;  // of the columns that are written
  std::vector<postgres::Param> params;
};

absl::StatusOr<ImageInsert> MakeInsert(const TableInfo& table, const v1::RowImage& image) {
  ImageInsert insert;
  std::vector<std::string> values, columns;
  for (const v1::RowImage::Column& column : image.columns()) {
    const auto local =
        std::find_if(table.columns.begin(), table.columns.end(),
                     [&](const postgres::ColumnInfo& info) { return info.name == column.name(); });
    if (local == table.columns.end()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "table \"", table.DisplayName(), "\" has no column \"", column.name(), "\" here"));
    }
    if (local->generated) continue;
    insert.names.push_back(QuoteIdentifier(column.name()));
    columns.push_back(AsTextSql(column.name()));
    values.push_back(
        postgres::FromTextSql(*local->type, absl::StrCat("$", insert.params.size() + 1, "::text")));
    insert.params.push_back(column.null() ? postgres::Param{}
                                          : postgres::Param{.data = column.text()});
  }
  insert.sql =
      absl::StrCat("INSERT INTO ", table.QualifiedName(), " AS t (",
                   absl::StrJoin(insert.names, ", "), ") OVERRIDING SYSTEM VALUE VALUES (",
                   absl::StrJoin(values, ", "), ") RETURNING ", absl::StrJoin(columns, ", "));
  return insert;
}

// A column that is declared narrower here cuts values in silence; so may a trigger.
absl::Status CheckWritten(const Result& written, const ImageInsert& insert,
                          const TableInfo& table) {
  for (size_t i = 0; i < insert.params.size(); ++i) {
    const int place = static_cast<int>(i);
    const auto& data = insert.params[i].data;
    const bool null = !data.has_value();
    if (null == written.is_null(0, place) && (null || *data == written.value(0, place))) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "column ", insert.names[i], " of table \"", table.DisplayName(),
        "\" would not show here what it shows on the other node: is it declared alike? Give it "
        "the same type on every node and repeat the repair"));
  }
  return absl::OkStatus();
}

absl::Status Insert(postgres::Connection& connection, const TableInfo& table,
                    const v1::RowImage& image) {
  ASSIGN_OR_RETURN(const ImageInsert insert, MakeInsert(table, image));
  ASSIGN_OR_RETURN(const Result written, connection.ExecParams(insert.sql, insert.params));
  RETURN_IF_ERROR(MustBeOne(written, table, "INSERT"));
  return CheckWritten(written, insert, table);
}

// Both together, each once.
std::vector<std::string> SortedOnce(std::vector<std::string> keys,
                                    const std::vector<std::string>& more) {
  keys.insert(keys.end(), more.begin(), more.end());
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace

absl::Status RowRepair::Export(postgres::Connection& connection,
                               const v1::ExportRowsRequest& request,
                               v1::ExportRowsResponse* response) {
  ASSIGN_OR_RETURN(const TableInfo table, LoadKeyed(connection, request.schema(), request.name()));
  const std::string sql = ImageSql(table);
  for (const v1::Key& key : request.keys()) {
    v1::RowImage* image = response->add_rows();
    *image->mutable_key() = key;
    ASSIGN_OR_RETURN(const auto params, KeyParams(table, key));
    ASSIGN_OR_RETURN(const Result row, connection.ExecParams(sql, params));
    if (row.rows() == 1) RETURN_IF_ERROR(FillImage(row, table, image));
    ASSIGN_OR_RETURN(const std::string version_key, VersionKeyOf(connection, table, key));
    RETURN_IF_ERROR(FillKnown(table.oid, version_key, image));
  }
  return absl::OkStatus();
}

absl::Status RowRepair::FillKnown(uint32_t table_oid, const std::string& version_key,
                                  v1::RowImage* image) const {
  ASSIGN_OR_RETURN(const auto versions, parts_.stores.versions->Get({version_key}));
  ASSIGN_OR_RETURN(const auto truncate, parts_.stores.versions->GetTruncate(table_oid));
  FillVersion(versions[0], image);
  ASSIGN_OR_RETURN(const bool unstable, HasHistory(version_key));
  image->set_has_history(unstable);
  const bool truncated_later =
      truncate.has_value() && (!versions[0].has_value() || truncate->stamp > versions[0]->stamp);
  if (!image->present() && truncated_later) FillVersion(truncate, image);
  return absl::OkStatus();
}

absl::Status RowRepair::Connect() {
  if (connection_ != nullptr && !connection_->broken() &&
      PQtransactionStatus(connection_->raw()) == PQTRANS_IDLE &&
      connection_->Exec("SELECT 1").ok()) {
    return absl::OkStatus();
  }
  connection_.reset();
  ASSIGN_OR_RETURN(auto connection,
                   postgres::Connection::Connect(
                       {.conninfo = parts_.conninfo, .application_name = "bdr repair"}));
  RETURN_IF_ERROR(connection->Exec(absl::StrCat(kWritesForOthersSql, kSessionSql)).status());
  RETURN_IF_ERROR(CreateRepairOrigin(*connection, *parts_.positions.names));
  // Refused while another session holds it: a killed agent's backend may still commit.
  RETURN_IF_ERROR(
      connection
          ->Exec(absl::StrCat("SELECT pg_replication_origin_session_setup(",
                              postgres::QuoteLiteral(parts_.positions.names->RepairOrigin()), ")"))
          .status());
  // Whatever an earlier session of ours committed was visible before it gave the origin away.
  ASSIGN_OR_RETURN(const std::string lsn,
                   connection->QueryValue("SELECT pg_current_wal_insert_lsn()"));
  ASSIGN_OR_RETURN(const Lsn now, ParseLsn(lsn));
  parts_.in_flight.keys->Settle(kHolder, now);
  connection_ = std::move(connection);
  return absl::OkStatus();
}

// The keys are in flight before anything is read that could be older than what others apply, and
// capture has passed before the store is asked, so that it knows every local write that an older
// snapshot could show. Only then row by row. At the end the keys stay known up to where the
// server's WAL stands, which is asked for last: after an error too, what was committed before it is
// visible.
absl::Status RowRepair::Repair(const v1::RepairRowsRequest& request,
                               v1::RepairRowsResponse* response) {
  if (request.rows_size() > kMostRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot repair ", request.rows_size(), " rows at once: at most ", kMostRows));
  }
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Connect());
  ASSIGN_OR_RETURN(TableInfo table, LoadKeyed(*connection_, request.schema(), request.name()));
  RETURN_IF_ERROR(postgres::LoadConstraints(*connection_, &table));
  ImageClaims claims(parts_.stores.claims, &claim_reader_);
  std::vector<const v1::RowImage*> images;
  for (const v1::RepairRowsRequest::Row& row : request.rows()) images.push_back(&row.image());
  RETURN_IF_ERROR(claims.Read(*connection_, table, images));
  std::vector<std::string> keys;
  StampRange stamps{.oldest_us = INT64_MAX, .newest_us = 0};
  for (const v1::RepairRowsRequest::Row& row : request.rows()) {
    ASSIGN_OR_RETURN(keys.emplace_back(), VersionKeyOf(*connection_, table, row.image().key()));
    stamps.oldest_us = std::min(stamps.oldest_us, row.image().stamp_us());
    stamps.newest_us = std::max(stamps.newest_us, CommitTime(row.image()));
  }
  auto [registered, registration] = parts_.in_flight.keys->Register(
      kHolder, SortedOnce(claims.InFlightKeys(), keys), stamps, kKeysTimeout);
  if (!registered) {
    return absl::UnavailableError(
        "other nodes' changes are being applied to these rows for longer "
        "than 10s; repeat the repair");
  }
  RETURN_IF_ERROR(parts_.in_flight.barrier->Pass(kBarrierTimeout));
  absl::Status status;
  for (size_t i = 0; status.ok() && i < keys.size(); ++i) {
    status = RepairRow(table, request.rows(static_cast<int>(i)), i, keys[i], &claims,
                       response->add_rows());
  }
  ASSIGN_OR_RETURN(const std::optional<Lsn> after, AskEnd());
  if (after.has_value()) {
    registration.Commit(*after);
    return status;
  }
  // The session is lost: what it committed, if anything, was so before another holds the origin.
  registration.Commit(Lsn{UINT64_MAX});
  connection_.reset();
  return absl::UnavailableError(absl::StrCat("the repair's session was lost: ", status.message(),
                                             "; run bdrctl verify again"));
}

absl::StatusOr<std::optional<Lsn>> RowRepair::AskEnd() {
  if (connection_->broken()) return std::nullopt;
  const absl::StatusOr<std::string> lsn =
      connection_->QueryValue("SELECT pg_current_wal_insert_lsn()");
  if (!lsn.ok()) return std::nullopt;
  ASSIGN_OR_RETURN(const Lsn end, ParseLsn(*lsn));
  return end;
}

absl::StatusOr<bool> RowRepair::KnowsNewer(uint32_t table_oid, const v1::RowImage& image,
                                           const std::string& version_key) {
  ASSIGN_OR_RETURN(const auto versions, parts_.stores.versions->Get({version_key}));
  ASSIGN_OR_RETURN(const auto truncate, parts_.stores.versions->GetTruncate(table_oid));
  const auto known = [](const std::optional<Version>& version) {
    return version.has_value()
               ? conflict::KnownVersion{.stamp = version->stamp, .dead = version->dead}
               : conflict::KnownVersion{};
  };
  return conflict::KnowsNewer(
      {.stamp = image.stamp_us() != 0 ? VersionOf(image).stamp : conflict::kNever,
       .commit_us = image.commit_us(),
       .present = image.present()},
      known(versions[0]), known(truncate), parts_.positions.progress->StableTime());
}

absl::StatusOr<bool> RowRepair::HasHistory(const std::string& version_key) const {
  ASSIGN_OR_RETURN(const conflict::KeyHistory history,
                   parts_.stores.fold_history->Get(version_key, {}));
  return !history.empty();
}

absl::Status RowRepair::Judge(uint32_t table_oid, const v1::RowImage& image, size_t number,
                              const std::string& version_key, ImageClaims* claims,
                              v1::RepairRowsResponse::Row* out) {
  ASSIGN_OR_RETURN(const bool has_history, HasHistory(version_key));
  if (has_history || image.has_history()) {
    out->set_outcome(v1::RepairRowsResponse::HAS_HISTORY);
    out->set_reason(
        "the table folds, and not all members have applied the row's last changes for good yet; "
        "repeat the repair");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const bool newer, KnowsNewer(table_oid, image, version_key));
  if (newer) {
    out->set_outcome(v1::RepairRowsResponse::NEWER);
    out->set_reason("this node knows a newer version of the row");
    return absl::OkStatus();
  }
  // As in KnowsNewer() where the version is not known: what is stable lost long ago if it lost.
  const conflict::Stamp stamp =
      image.stamp_us() != 0
          ? VersionOf(image).stamp
          : conflict::Stamp{
                // Another tool may have given it a commit time that is still to come.
                .time_us = std::min(
                    absl::ToUnixMicros(absl::Now()),
                    std::max(image.commit_us(), parts_.positions.progress->StableTime() - 1)),
                .node = kMaxNodeId};
  ASSIGN_OR_RETURN(const bool claimed, claims->ClaimedLater(number, version_key, stamp));
  if (claimed) {
    out->set_outcome(v1::RepairRowsResponse::NEWER);
    out->set_reason("this node knows that another row claimed one of its unique values later");
  }
  return absl::OkStatus();
}

absl::Status RowRepair::RepairRow(const TableInfo& table, const v1::RepairRowsRequest::Row& row,
                                  size_t number, const std::string& version_key,
                                  ImageClaims* claims, v1::RepairRowsResponse::Row* out) {
  RETURN_IF_ERROR(Judge(table.oid, row.image(), number, version_key, claims, out));
  if (out->outcome() != v1::RepairRowsResponse::UNKNOWN) return absl::OkStatus();
  RETURN_IF_ERROR(connection_->Exec("BEGIN").status());
  absl::Status status = postgres::LockOwnersCode(*connection_, table, /*for_users=*/false);
  if (status.ok()) status = Write(table, row, out);
  if (status.ok() && out->outcome() == v1::RepairRowsResponse::DONE) {
    if (row.image().stamp_us() != 0) {
      // Before it can be seen. Should the commit fail, the version is true all the same: it is the
      // one that other nodes have.
      rocksdb::WriteBatch batch;
      const Version version = VersionOf(row.image());
      parts_.stores.versions->Put(&batch, version_key, version);
      claims->Record(number, version_key, version.stamp, &batch);
      status = parts_.stores.database->Write(&batch, /*sync=*/false);
    }
    // The last statement before COMMIT, since an abort would move the origin on.
    if (status.ok()) {
      status = connection_
                   ->Exec(absl::StrCat("SELECT pg_replication_origin_xact_setup('0/1', ",
                                       TimestampSql(CommitTime(row.image())), "); COMMIT"))
                   .status();
    }
    if (status.ok()) {
      LogInfo("repair", {{"table", table.DisplayName()}}, "a row was made what another node has");
      return absl::OkStatus();
    }
  }
  const absl::Status ended = connection_->Exec("ROLLBACK").status();
  if (connection_->broken()) return status.ok() ? ended : status;
  if (!status.ok()) {
    out->set_outcome(v1::RepairRowsResponse::FAILED);
    out->set_reason(std::string(status.message()));
  }
  return absl::OkStatus();
}

// The clock is asked before the row is locked, and the row is looked at before it is touched: all
// that refuses comes before all that writes. Deleted and inserted rather than updated: an ALWAYS
// identity cannot be set.
absl::Status RowRepair::Write(const TableInfo& table, const v1::RepairRowsRequest::Row& row,
                              v1::RepairRowsResponse::Row* out) {
  const v1::RowImage& image = row.image();
  // As for every applied change: what is written later here must be later than it.
  RETURN_IF_ERROR(connection_
                      ->Exec(absl::StrCat(
                          "SELECT bdr.require_clock_past(",
                          TimestampSql(parts_.clocks.gate->MustHavePassed(CommitTime(image))), ")"))
                      .status());
  ASSIGN_OR_RETURN(const auto key, KeyParams(table, image.key()));
  const std::string where = absl::StrCat(" WHERE ", CompareKeySql(table, "=", 1));
  ASSIGN_OR_RETURN(
      const Result found,
      connection_->ExecParams(absl::StrCat("SELECT ", RowHashSql(table), ", t.xmin::text FROM ",
                                           FromSql(table), where, " FOR UPDATE"),
                              key));
  bool as_planned = (found.rows() == 1) == row.present();
  if (as_planned && row.present()) {
    ASSIGN_OR_RETURN(const uint64_t hash, ToUint64(found.value(0, 0)));
    as_planned = hash == row.hash() && found.value(0, 1) == row.version();
  }
  if (!as_planned) {
    out->set_outcome(v1::RepairRowsResponse::CHANGED);
    out->set_reason("the row was written since it was compared");
    return absl::OkStatus();
  }
  if (row.present()) {
    ASSIGN_OR_RETURN(
        const Result gone,
        connection_->ExecParams(absl::StrCat("DELETE FROM ", FromSql(table), where), key));
    RETURN_IF_ERROR(MustBeOne(gone, table, "DELETE"));
  }
  if (image.present()) RETURN_IF_ERROR(Insert(*connection_, table, image));
  out->set_outcome(v1::RepairRowsResponse::DONE);
  return absl::OkStatus();
}

}  // namespace bdr::agent
