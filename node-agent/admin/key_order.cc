#include "node-agent/admin/key_order.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

// A collation by what it does, not by its name. C is bytes everywhere. Others are an operating
// system's or ICU's, in a version; where they have none, only the very same build counts as same.
// Column names of the catalogs have changed between versions, so they are looked up by name.
constexpr char kCollationSql[] =
    "SELECT CASE WHEN locale IN ('C', 'POSIX') THEN 'C' ELSE concat_ws('/', provider, locale,"
    " rules, coalesce(version, version())) END FROM ("
    "SELECT CASE WHEN c.collprovider = 'd' THEN d.datlocprovider ELSE c.collprovider END AS "
    "provider,"
    " CASE WHEN c.collprovider = 'd' THEN coalesce(to_jsonb(d)->>'daticulocale',"
    " to_jsonb(d)->>'datlocale', d.datcollate) ELSE coalesce(to_jsonb(c)->>'colliculocale',"
    " to_jsonb(c)->>'colllocale', c.collcollate) END AS locale,"
    " CASE WHEN c.collprovider = 'd' THEN to_jsonb(d)->>'daticurules'"
    " ELSE to_jsonb(c)->>'collicurules' END AS rules,"
    " CASE WHEN c.collprovider = 'd' THEN pg_database_collation_actual_version(d.oid)"
    " ELSE pg_collation_actual_version(c.oid) END AS version"
    " FROM pg_collation c, pg_database d WHERE c.oid = to_regcollation($1::text)"
    " AND d.datname = current_database()) AS known";

constexpr char kEnumSql[] =
    "SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum"
    " WHERE enumtypid = $1::oid";

}  // namespace

absl::StatusOr<std::string> KeyOrder(postgres::Connection& connection,
                                     const postgres::TableInfo& table) {
  std::vector<std::string> parts;
  for (const int index : table.key) {
    const postgres::ColumnInfo& column = table.columns[index];
    const postgres::TypeInfo& type = *column.type;
    if (!column.key_canonical || !postgres::HasCanonicalForm(type)) return std::string();
    // What orders the parts of a value, and an extension's values, is not looked into.
    const bool plain = type.kind == postgres::TypeInfo::Kind::kPlain ||
                       type.kind == postgres::TypeInfo::Kind::kEnum;
    if (!plain || !type.extension.empty()) return std::string();
    std::string part = absl::StrCat(type.base_schema, ".", type.base_name);
    if (type.kind == postgres::TypeInfo::Kind::kEnum) {
      const std::string oid = absl::StrCat(type.base_oid);
      const postgres::Param params[] = {{.data = oid}};
      ASSIGN_OR_RETURN(const std::string labels, connection.QueryValue(kEnumSql, params));
      absl::StrAppend(&part, "(", labels, ")");
    }
    if (!column.collation.empty()) {
      const postgres::Param params[] = {{.data = column.collation}};
      ASSIGN_OR_RETURN(const std::string collation, connection.QueryValue(kCollationSql, params));
      absl::StrAppend(&part, " ", collation);
    }
    parts.push_back(std::move(part));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace bdr::agent
