#include "node-agent/repair/image_claims.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "conflict/claim_rule.h"
#include "node-agent/tables/row_sql.h"
#include "postgres/value_form.h"

namespace bdr::agent {
namespace {

using postgres::ColumnInfo;
using postgres::ColumnKind;
using postgres::TableInfo;

// The table as if changes of it came from here.
RemoteRelation RelationOf(const TableInfo& table) {
  RemoteRelation relation;
  relation.message.schema = table.schema;
  relation.message.name = table.name;
  for (const ColumnInfo& column : table.columns) {
    if (column.generated) continue;
    const uint32_t oid = column.type->base_oid;
    relation.message.columns.push_back(
        {.name = column.name, .type_oid = oid, .type_modifier = column.modifier()});
    relation.types[oid] = {
        .type_oid = oid, .schema = column.type->base_schema, .name = column.type->base_name};
  }
  return relation;
}

// The image's values as pgoutput would send them; the row's views point into `kept`.
absl::StatusOr<LocalRow> ToLocalRow(postgres::Connection& connection, const TableInfo& table,
                                    const v1::RowImage& image, std::deque<std::string>* kept) {
  LocalRow row(table.columns.size());
  std::vector<size_t> places;
  std::vector<std::string> values;
  std::vector<postgres::Param> params;
  for (const v1::RowImage::Column& column : image.columns()) {
    const auto local =
        std::find_if(table.columns.begin(), table.columns.end(),
                     [&](const ColumnInfo& info) { return info.name == column.name(); });
    if (local == table.columns.end() || local->generated || column.null()) continue;
    places.push_back(static_cast<size_t>(local - table.columns.begin()));
    params.push_back({.data = column.text()});
    const std::string value =
        postgres::FromTextSql(*local->type, absl::StrCat("$", params.size(), "::text"));
    values.push_back(local->binary ? value : postgres::TextOfSql(*local->type, value));
  }
  ASSIGN_OR_RETURN(const postgres::Result result,
                   connection.ExecParams(absl::StrCat("SELECT ", absl::StrJoin(values, ", ")),
                                         params, /*binary_result=*/true));
  for (size_t i = 0; i < places.size(); ++i) {
    kept->push_back(std::string(result.value(0, static_cast<int>(i))));
    const bool binary = table.columns[places[i]].binary;
    row[places[i]] = {.kind = binary ? ColumnKind::kBinary : ColumnKind::kText,
                      .data = kept->back()};
  }
  return row;
}

}  // namespace

absl::Status ImageClaims::Read(postgres::Connection& connection, const TableInfo& table,
                               absl::Span<const v1::RowImage* const> images) {
  claims_.clear();
  if (!HasClaims(table)) return absl::OkStatus();
  ASSIGN_OR_RETURN(table_,
                   BoundTable::Make(RelationOf(table), std::make_shared<const TableInfo>(table)));
  claims_.resize(images.size(), RowClaims(table.constraints.size()));
  std::deque<std::string> kept;
  std::deque<LocalRow> rows;
  std::vector<const LocalRow*> pointers;
  std::vector<size_t> which;
  for (size_t i = 0; i < images.size(); ++i) {
    if (!images[i]->present()) continue;
    absl::StatusOr<LocalRow> row = ToLocalRow(connection, table, *images[i], &kept);
    if (!row.ok() && connection.broken()) return row.status();
    if (!row.ok()) continue;
    rows.push_back(*std::move(row));
    pointers.push_back(&rows.back());
    which.push_back(i);
  }
  ASSIGN_OR_RETURN(std::vector<RowClaims> claims, reader_->Read(*table_, pointers));
  for (size_t i = 0; i < which.size(); ++i) claims_[which[i]] = std::move(claims[i]);
  return absl::OkStatus();
}

std::vector<std::string> ImageClaims::InFlightKeys() const {
  std::vector<std::string> keys;
  for (const RowClaims& claims : claims_) {
    for (size_t c = 0; c < claims.size(); ++c) {
      if (!claims[c].has_value()) continue;
      keys.push_back(InFlightKey(table_->table().constraints[c], *claims[c]));
    }
  }
  return keys;
}

absl::StatusOr<bool> ImageClaims::ClaimedLater(size_t image, absl::string_view version_key,
                                               conflict::Stamp stamp) {
  if (claims_.empty()) return false;
  const RowClaims& claims = claims_[image];
  for (size_t c = 0; c < claims.size(); ++c) {
    if (!claims[c].has_value()) continue;
    ASSIGN_OR_RETURN(const auto claimants,
                     reader_->WhoClaimed(*table_, c, {*claims[c]}, {stamp}, *store_));
    if (conflict::ClaimedLater(claimants[0], version_key, stamp)) return true;
  }
  return false;
}

void ImageClaims::Record(size_t image, absl::string_view version_key, conflict::Stamp stamp,
                         rocksdb::WriteBatch* batch) const {
  if (claims_.empty()) return;
  const RowClaims& claims = claims_[image];
  for (size_t c = 0; c < claims.size(); ++c) {
    if (!claims[c].has_value()) continue;
    store_->Put(batch, StoredClaimKey(table_->table().constraints[c], *claims[c], stamp),
                version_key, stamp);
  }
}

}  // namespace bdr::agent
