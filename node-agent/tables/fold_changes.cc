#include "node-agent/tables/fold_changes.h"

#include <utility>
#include <variant>

#include "base/status_macros.h"
#include "conflict/version_store.h"

namespace bdr::agent {
namespace {

using conflict::ChangeKind;
using conflict::FoldRow;
using conflict::FoldValue;
using postgres::ColumnKind;

absl::StatusOr<FoldRow> ToFoldRow(const postgres::Tuple& tuple, const ColumnMap& columns) {
  const std::vector<int>& remote_of_local = columns.remote_of_local();
  FoldRow row(remote_of_local.size());
  for (size_t local = 0; local < row.size(); ++local) {
    const auto remote = static_cast<size_t>(remote_of_local[local]);
    if (remote_of_local[local] < 0 || remote >= tuple.columns.size()) {
      row[local].kind = FoldValue::Kind::kUnknown;
      continue;
    }
    std::string kept;
    ASSIGN_OR_RETURN(const postgres::ColumnValue value,
                     columns.Convert(remote, tuple.columns[remote], &kept));
    switch (value.kind) {
      case ColumnKind::kNull:
        break;
      case ColumnKind::kUnchangedToast:
        row[local].kind = FoldValue::Kind::kUnchanged;
        break;
      case ColumnKind::kText:
      case ColumnKind::kBinary:
        row[local] = {.kind = FoldValue::Kind::kValue, .data = std::string(value.data)};
        break;
    }
  }
  return row;
}

}  // namespace

absl::StatusOr<std::vector<KeyedChange>> FoldChangesOf(const postgres::Message& message,
                                                       const ColumnMap& columns,
                                                       const TransactionHeader& header,
                                                       OriginId origin, uint32_t number) {
  std::vector<KeyedChange> changes;
  const auto add = [&](ChangeKind kind,
                       const postgres::Tuple& keyed) -> absl::StatusOr<conflict::FoldChange*> {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(keyed));
    KeyedChange& added = changes.emplace_back();
    added.version_key = conflict::VersionKey(columns.table().oid, key);
    added.change.kind = kind;
    added.change.stamp = header.stamp;
    added.change.number = number;
    added.change.settings_version = header.settings_version;
    added.change.origin = origin;
    added.change.end_lsn = header.end_lsn;
    added.change.seen = header.seen;
    return &added.change;
  };
  if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) {
    ASSIGN_OR_RETURN(conflict::FoldChange * change, add(ChangeKind::kInsert, insert->row));
    ASSIGN_OR_RETURN(change->new_row, ToFoldRow(insert->row, columns));
    return changes;
  }
  if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) {
    ASSIGN_OR_RETURN(conflict::FoldChange * change, add(ChangeKind::kDelete, erase->old_row));
    if (erase->old_kind == 'O') {
      ASSIGN_OR_RETURN(change->old_row, ToFoldRow(erase->old_row, columns));
    }
    return changes;
  }
  const auto* update = std::get_if<postgres::UpdateMessage>(&message);
  if (update == nullptr) return changes;
  ASSIGN_OR_RETURN(FoldRow newer, ToFoldRow(update->row, columns));
  std::optional<FoldRow> older;
  if (update->old_kind == 'O') {
    ASSIGN_OR_RETURN(older, ToFoldRow(update->old_row, columns));
    for (size_t i = 0; i < newer.size(); ++i) {
      if (newer[i].kind == FoldValue::Kind::kUnchanged) newer[i] = (*older)[i];
    }
  }
  ChangeKind kind = ChangeKind::kUpdate;
  if (update->old_kind != 0) {
    ASSIGN_OR_RETURN(const std::string old_key, columns.Key(update->old_row));
    ASSIGN_OR_RETURN(const std::string key, columns.Key(update->row));
    if (old_key != key) {
      ASSIGN_OR_RETURN(conflict::FoldChange * change, add(ChangeKind::kDelete, update->old_row));
      change->old_row = std::exchange(older, std::nullopt);
      kind = ChangeKind::kInsert;
    }
  }
  ASSIGN_OR_RETURN(conflict::FoldChange * change, add(kind, update->row));
  change->old_row = std::move(older);
  change->new_row = std::move(newer);
  return changes;
}

conflict::FoldChange TruncateOf(const TransactionHeader& header, OriginId origin, uint32_t number) {
  conflict::FoldChange change;
  change.kind = ChangeKind::kDelete;
  change.stamp = header.stamp;
  change.number = number;
  change.settings_version = header.settings_version;
  change.origin = origin;
  change.end_lsn = header.end_lsn;
  return change;
}

conflict::Attnums AttnumsOf(const postgres::TableInfo& table) {
  conflict::Attnums attnums;
  for (const postgres::ColumnInfo& column : table.columns) attnums.push_back(column.attnum);
  return attnums;
}

FoldRow AddedColumns(const postgres::TableInfo& table) {
  FoldRow row;
  for (const postgres::ColumnInfo& column : table.columns) {
    FoldValue& value = row.emplace_back();
    if (column.missing.has_value()) {
      value = {.kind = FoldValue::Kind::kValue, .data = *column.missing};
    } else if (column.has_default) {
      value.kind = FoldValue::Kind::kUnchanged;
    }
  }
  return row;
}

std::vector<postgres::ColumnValue> ToColumnValues(const conflict::FoldRow& row,
                                                  const postgres::TableInfo& table) {
  std::vector<postgres::ColumnValue> values(table.columns.size());
  for (size_t i = 0; i < values.size() && i < row.size(); ++i) {
    switch (row[i].kind) {
      case FoldValue::Kind::kNull:
        break;
      case FoldValue::Kind::kValue:
        values[i] = {.kind = table.columns[i].binary ? ColumnKind::kBinary : ColumnKind::kText,
                     .data = row[i].data};
        break;
      case FoldValue::Kind::kUnchanged:
      case FoldValue::Kind::kUnknown:
        values[i].kind = ColumnKind::kUnchangedToast;
        break;
    }
  }
  return values;
}

}  // namespace bdr::agent
