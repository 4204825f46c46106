#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "postgres/catalog.h"
#include "postgres/setup/checks.h"
#include "postgres/type_info.h"
#include "postgres/type_names.h"

namespace bdr::pg_setup {
namespace {

// Of the tables that are to be published, with their types. A look at each table by itself would
// take too long where there are thousands: an agent that starts waits for this.
constexpr char kTypes[] = R"sql(
    SELECT DISTINCT a.atttypid FROM wanted w
    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped)sql";

constexpr char kColumns[] = R"sql(
    SELECT w.nspname, w.relname, a.attname, a.atttypid FROM wanted w
    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid = ANY ($1::oid[]) ORDER BY 1, 2, a.attnum)sql";

absl::StatusOr<uint32_t> Oid(absl::string_view text) {
  uint32_t oid = 0;
  if (absl::SimpleAtoi(text, &oid)) return oid;
  return absl::InternalError(absl::StrCat("\"", text, "\" is no OID"));
}

}  // namespace

absl::Status CheckColumns(postgres::Connection& connection, Findings& findings) {
  ASSIGN_OR_RETURN(const std::string ctes, TablesCtes(connection));
  ASSIGN_OR_RETURN(const postgres::Result used,
                   connection.Exec(absl::StrCat("WITH ", ctes, kTypes)));
  std::vector<uint32_t> oids;
  for (int i = 0; i < used.rows(); ++i) {
    ASSIGN_OR_RETURN(oids.emplace_back(), Oid(used.value(i, 0)));
  }
  ASSIGN_OR_RETURN(const postgres::TypeMap types, postgres::LoadTypes(connection, oids));
  std::vector<uint32_t> unfit;
  for (const uint32_t oid : oids) {
    if (!types.at(oid)->receives) unfit.push_back(oid);
  }
  if (unfit.empty()) return absl::OkStatus();
  const std::string wanted = absl::StrCat("{", absl::StrJoin(unfit, ","), "}");
  ASSIGN_OR_RETURN(const postgres::Result columns,
                   connection.ExecParams(absl::StrCat("WITH ", ctes, kColumns),
                                         {postgres::Param{.data = wanted}}));
  for (int i = 0; i < columns.rows(); ++i) {
    ASSIGN_OR_RETURN(const uint32_t oid, Oid(columns.value(i, 3)));
    const postgres::TypeInfo& type = *types.at(oid);
    findings.Warning(absl::StrCat(
        "column \"", columns.value(i, 2), "\" of table ",
        postgres::QuoteIdentifier(columns.value(i, 0)), ".",
        postgres::QuoteIdentifier(columns.value(i, 1)), " has type ",
        postgres::TypeNameForPeople(type), " without a binary form: ",
        type.kind != postgres::TypeInfo::Kind::kPlain
            ? "PostgreSQL cannot send such values in binary, so for each transaction that has one "
              "the stream is started anew, and all values are read as text"
            : "rows of the table are written more slowly"));
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
