#include "node-agent/table_cache.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

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

}  // namespace

absl::Status TableCache::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  // What the catalog's functions tell of a table, they tell under a lock, for which users' ALTER
  // TABLE may let one wait: nobody else would get an answer meanwhile.
  return connection_->Exec("SET lock_timeout = '1s'").status();
}

absl::StatusOr<postgres::Result> TableCache::Ask(const std::string& sql,
                                                 const std::vector<std::string>& values) {
  MutexLock connection_lock(&connection_mu_);
  RETURN_IF_ERROR(Connect());
  std::vector<postgres::Param> params;
  for (const std::string& value : values) params.push_back({.data = value});
  return connection_->ExecParams(sql, params);
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
  ASSIGN_OR_RETURN(postgres::TableInfo loaded, postgres::LoadTable(*connection_, schema, name));
  RETURN_IF_ERROR(postgres::LoadConstraints(*connection_, &loaded));
  auto table = std::make_shared<const postgres::TableInfo>(std::move(loaded));
  MutexLock lock(&mu_);
  tables_[key] = table;
  return table;
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
