#include "node-agent/capture/explicit_values.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/capture/tuple_bytes.h"
#include "postgres/value_form.h"

namespace bdr::agent {

using postgres::ColumnKind;
using postgres::ColumnValue;

absl::StatusOr<std::optional<std::string>> ExplicitValues::Rewrite(
    const ColumnMap& columns, const postgres::UpdateMessage& update, absl::string_view change) {
  const std::optional<std::string> as_it_is;
  const bool leaves_out =
      std::any_of(update.row.columns.begin(), update.row.columns.end(),
                  [](const ColumnValue& v) { return v.kind == ColumnKind::kUnchangedToast; });
  if (!leaves_out || update.old_kind == 'O') return as_it_is;
  // What stands there now has another type than the change has: it was altered since.
  for (size_t remote = 0; remote < update.row.columns.size(); ++remote) {
    if (update.row.columns[remote].kind == ColumnKind::kUnchangedToast &&
        columns.local_of_remote()[remote] >= 0 && !columns.SameType(remote)) {
      return as_it_is;
    }
  }
  ASSIGN_OR_RETURN(const bool disputed, IsDisputed(columns, update));
  if (!disputed) return as_it_is;
  ASSIGN_OR_RETURN(const postgres::Result result, Read(columns, update));
  // Deleted since, or moved: that will reach everybody after this.
  if (result.rows() != 1) return as_it_is;

  postgres::Tuple row = update.row;
  int place = 0;
  for (size_t remote = 0; remote < row.columns.size(); ++remote) {
    const int local = columns.local_of_remote()[remote];
    if (row.columns[remote].kind != ColumnKind::kUnchangedToast || local < 0) continue;
    ColumnValue& value = row.columns[remote];
    const bool binary = columns.table().columns[local].binary;
    value = {};
    if (!result.is_null(0, place)) {
      value = {.kind = binary ? ColumnKind::kBinary : ColumnKind::kText,
               .data = result.value(0, place)};
    }
    ++place;
  }
  std::string whole(change.substr(0, change.size() - update.row_bytes));
  AppendTuple(&whole, row);
  return std::optional<std::string>(std::move(whole));
}

absl::StatusOr<bool> ExplicitValues::IsDisputed(const ColumnMap& columns,
                                                const postgres::UpdateMessage& update) {
  std::vector<std::string> keys;
  ASSIGN_OR_RETURN(const std::string key, columns.Key(update.row));
  keys.push_back(conflict::VersionKey(columns.table().oid, key));
  if (update.old_kind != 0) {
    ASSIGN_OR_RETURN(const std::string old_key, columns.Key(update.old_row));
    keys.push_back(conflict::VersionKey(columns.table().oid, old_key));
  }
  ASSIGN_OR_RETURN(const std::vector<std::optional<conflict::Version>> disputed,
                   versions_->GetDisputed(keys));
  return std::any_of(disputed.begin(), disputed.end(),
                     [](const auto& version) { return version.has_value(); });
}

absl::StatusOr<postgres::Result> ExplicitValues::Read(const ColumnMap& columns,
                                                      const postgres::UpdateMessage& update) {
  if (connection_ == nullptr || connection_->broken()) {
    ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
    RETURN_IF_ERROR(connection_->Exec("SET row_security = off; SET lock_timeout = '10s'").status());
  }
  const postgres::TableInfo& table = columns.table();
  std::vector<std::string> names;
  for (size_t remote = 0; remote < update.row.columns.size(); ++remote) {
    const int local = columns.local_of_remote()[remote];
    if (update.row.columns[remote].kind != ColumnKind::kUnchangedToast || local < 0) continue;
    const postgres::ColumnInfo& info = table.columns[local];
    const std::string value = absl::StrCat("t.", postgres::QuoteIdentifier(info.name));
    names.push_back(info.binary ? value : postgres::TextOfSql(*info.type, value));
  }
  std::string sql = "SELECT ";
  for (const std::string& name : names) absl::StrAppend(&sql, &name == &names[0] ? "" : ", ", name);
  absl::StrAppend(&sql, " FROM ", table.kind == 'r' ? "ONLY " : "", table.QualifiedName(),
                  " AS t WHERE ", KeyCondition(table, table.key));
  std::vector<std::string> bytes(table.key.size());
  std::vector<postgres::Param> params;
  for (size_t i = 0; i < table.key.size(); ++i) {
    const int local = table.key[i];
    const auto remote = static_cast<size_t>(columns.remote_of_local()[local]);
    std::string kept;
    ASSIGN_OR_RETURN(const ColumnValue value,
                     columns.Convert(remote, update.row.columns[remote], &kept));
    ASSIGN_OR_RETURN(const postgres::Param param, KeyParam(table.columns[local], value, &bytes[i]));
    params.push_back(param);
  }
  return connection_->ExecParams(sql, params, /*binary_result=*/true);
}

}  // namespace bdr::agent
