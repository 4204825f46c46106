#include "node-agent/tables/table_cache.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "node-agent/tables/lock_holders.h"
#include "postgres/owners_code.h"

namespace bdr::agent {
namespace {

// The commit that wrote a row of pg_attribute; every table has a ctid, and nobody alters it.
constexpr absl::string_view kMadeSql =
    "SELECT pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.pg_xact_commit_timestamp(a.xmin))"
    " * 1000000)::pg_catalog.int8"
    " FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped";

constexpr absl::string_view kLockNotAvailable = "55P03";

// Locks that keep everybody out of a table, its partitions or their indexes.
constexpr char kKeptOutSql[] = R"(
WITH RECURSIVE tree AS (
       SELECT c.oid AS relid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2
        UNION SELECT p.inhrelid FROM pg_inherits p JOIN tree ON tree.relid = p.inhparent),
     h AS (
       SELECT l.virtualtransaction, l.pid FROM pg_locks l
        WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock'
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (l.relation IN (SELECT relid FROM tree)
               OR l.relation IN (SELECT i.indexrelid FROM pg_index i
                                   JOIN tree ON tree.relid = i.indrelid))))";

}  // namespace

absl::Status TableCache::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  // What the catalog's functions tell of expressions and predicates, they tell under a lock on the
  // table, for which users' ALTER TABLE may let one wait: nobody else would get an answer
  // meanwhile. Every table is asked about in the same words: planning them takes far longer than
  // the answer.
  return connection_->Exec("SET lock_timeout = '1s'; SET plan_cache_mode = force_generic_plan")
      .status();
}

absl::StatusOr<postgres::Result> TableCache::Ask(const std::string& sql,
                                                 const std::vector<std::string>& values) {
  MutexLock connection_lock(&connection_mu_);
  RETURN_IF_ERROR(Connect());
  std::vector<postgres::Param> params;
  for (const std::string& value : values) params.push_back({.data = value});
  return connection_->ExecKept(sql, params);
}

absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> TableCache::FindByOid(uint32_t oid,
                                                                                 bool anew) {
  // Renamed between the two questions, perhaps.
  for (int attempt = 0; attempt < 3; ++attempt) {
    ASSIGN_OR_RETURN(const postgres::Result named,
                     Ask("SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN "
                         "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
                         {absl::StrCat(oid)}));
    if (named.rows() == 0) break;
    if (anew && attempt == 0) Forget(named.value(0, 0), named.value(0, 1));
    const auto table = Find(named.value(0, 0), named.value(0, 1));
    if (!table.ok() && !absl::IsNotFound(table.status())) return table.status();
    if (table.ok() && (*table)->oid == oid) return table;
    Forget(named.value(0, 0), named.value(0, 1));
  }
  return absl::NotFoundError(absl::StrCat("there is no table with OID ", oid, " any more"));
}

absl::StatusOr<int64_t> TableCache::TableMadeUs(absl::string_view schema, absl::string_view name) {
  return ColumnMadeUs(schema, name, "ctid");
}

absl::StatusOr<int64_t> TableCache::ColumnMadeUs(absl::string_view schema, absl::string_view name,
                                                 absl::string_view column) {
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      Ask(std::string(kMadeSql), {std::string(schema), std::string(name), std::string(column)}));
  if (result.rows() == 0) {
    return absl::NotFoundError(
        absl::StrCat("there is no column \"", column, "\" of table \"", schema, ".", name, "\""));
  }
  int64_t made_us = 0;
  if (!result.is_null(0, 0) && !absl::SimpleAtoi(result.value(0, 0), &made_us)) {
    return absl::InternalError("a commit time is no number");
  }
  return made_us;
}

absl::StatusOr<int64_t> TableCache::ClockUs() {
  ASSIGN_OR_RETURN(const postgres::Result result,
                   Ask("SELECT pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp())"
                       " * 1000000)::pg_catalog.int8",
                       {}));
  int64_t clock_us = 0;
  if (absl::SimpleAtoi(result.value(0, 0), &clock_us)) return clock_us;
  return absl::InternalError("the server's clock is no number");
}

absl::StatusOr<bool> TableCache::HasSchema(absl::string_view schema) {
  ASSIGN_OR_RETURN(
      const postgres::Result result,
      Ask("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", {std::string(schema)}));
  return result.rows() > 0;
}

absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> TableCache::Find(
    absl::string_view schema, absl::string_view name) {
  const std::pair<std::string, std::string> key(schema, name);
  {
    MutexLock lock(&mu_);
    if (const auto found = tables_.find(key); found != tables_.end()) return found->second;
  }
  MutexLock connection_lock(&connection_mu_);
  RETURN_IF_ERROR(Connect());
  absl::StatusOr<postgres::TableInfo> loaded = Load(schema, name);
  if (postgres::Sqlstate(loaded.status()) == kLockNotAvailable) {
    return NameHolders(schema, name, loaded.status());
  }
  RETURN_IF_ERROR(loaded.status());
  auto table = std::make_shared<const postgres::TableInfo>(*std::move(loaded));
  MutexLock lock(&mu_);
  tables_[key] = table;
  return table;
}

absl::StatusOr<postgres::TableInfo> TableCache::Load(absl::string_view schema,
                                                     absl::string_view name) {
  ASSIGN_OR_RETURN(postgres::TableInfo loaded, postgres::LoadTable(*connection_, schema, name));
  RETURN_IF_ERROR(postgres::LoadOwnersCode(*connection_, &loaded));
  RETURN_IF_ERROR(postgres::LoadConstraints(*connection_, &loaded));
  return loaded;
}

// The same error, saying who is in the way as far as that can still be told.
absl::Status TableCache::NameHolders(absl::string_view schema, absl::string_view name,
                                     const absl::Status& timed_out) {
  ASSIGN_OR_RETURN(const postgres::Result holders,
                   connection_->ExecParams(absl::StrCat(kKeptOutSql, kLockHoldersSql),
                                           {{.data = schema}, {.data = name}}));
  std::vector<std::string> told;
  for (int row = 0; row < holders.rows(); ++row) told.emplace_back(holders.value(row, 1));
  absl::Status named(
      timed_out.code(),
      absl::StrCat("cannot look up table \"", schema, ".", name, "\", or a part of it, while ",
                   told.empty() ? "somebody" : absl::StrJoin(told, " and "),
                   " keeps everybody out of it (ACCESS EXCLUSIVE); it goes on once that "
                   "transaction has ended"));
  timed_out.ForEachPayload([&named](absl::string_view type, const absl::Cord& payload) {
    named.SetPayload(type, payload);
  });
  return named;
}

void TableCache::Forget(absl::string_view schema, absl::string_view name) {
  MutexLock lock(&mu_);
  tables_.erase(std::pair<std::string, std::string>(schema, name));
}

void TableCache::ForgetAll() {
  MutexLock lock(&mu_);
  tables_.clear();
}

}  // namespace bdr::agent
