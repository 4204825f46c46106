#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"
#include "postgres/setup/setup_sql.h"

namespace bdr::pg_setup {
namespace {

constexpr char kSync[] = "SELECT bdr.sync_publications()";

absl::Status CheckPublication(postgres::Connection& connection, const std::string& name,
                              bool inserts_only, Findings& findings) {
  const std::string options = absl::StrCat(
      "(publish = '", inserts_only ? "insert, truncate" : "insert, update, delete, truncate",
      "', publish_via_partition_root = true)");
  const postgres::Param params[] = {{.data = name}};
  ASSIGN_OR_RETURN(const postgres::Result row,
                   connection.ExecParams(
                       "SELECT puballtables, pubinsert AND pubtruncate, pubupdate OR pubdelete,"
                       "       pubupdate AND pubdelete, pubviaroot "
                       "FROM pg_publication WHERE pubname = $1",
                       params));
  if (row.rows() == 0) {
    findings.Error(absl::StrCat("publication ", name, " does not exist"),
                   absl::StrCat("CREATE PUBLICATION ", name, " WITH ", options));
    return absl::OkStatus();
  }
  if (row.value(0, 0) == "t") {
    findings.Error(
        absl::StrCat("publication ", name,
                     " is FOR ALL TABLES: drop it, then run bdrctl node setup-sql again"),
        absl::StrCat("DROP PUBLICATION ", name));
    return absl::OkStatus();
  }
  const bool right_kinds =
      row.value(0, 1) == "t" && row.value(0, inserts_only ? 2 : 3) == (inserts_only ? "f" : "t");
  findings.Require(right_kinds && row.value(0, 4) == "t",
                   absl::StrCat("publication ", name, " publishes what it should"),
                   absl::StrCat("publication ", name, " has other options than ", options),
                   absl::StrCat("ALTER PUBLICATION ", name, " SET ", options));
  return absl::OkStatus();
}

absl::Status CheckSyncFunction(postgres::Connection& connection, const std::string& role,
                               Findings& findings) {
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(
      const postgres::Result row,
      connection.ExecParams(
          "SELECT has_function_privilege(r.oid, p.oid, 'EXECUTE'), p.prosecdef "
          "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, pg_roles r "
          "WHERE n.nspname = 'bdr' AND p.proname = 'sync_publications' AND r.rolname = $1",
          params));
  if (row.rows() == 0 || row.value(0, 1) != "t") {
    findings.Error("function bdr.sync_publications() is missing",
                   absl::StrCat("-- run the output of: bdrctl node setup-sql --role ", role));
    return absl::OkStatus();
  }
  findings.Require(row.value(0, 0) == "t",
                   absl::StrCat("role \"", role, "\" has EXECUTE on bdr.sync_publications()"),
                   absl::StrCat("role \"", role, "\" lacks EXECUTE on bdr.sync_publications()"),
                   absl::StrCat("GRANT EXECUTE ON FUNCTION bdr.sync_publications() TO ",
                                postgres::QuoteIdentifier(role)));
  return absl::OkStatus();
}

// Names of the tables that `sql` gives, after the common table expressions.
absl::StatusOr<std::vector<std::string>> Tables(postgres::Connection& connection,
                                                absl::string_view sql,
                                                absl::Span<const postgres::Param> params = {}) {
  ASSIGN_OR_RETURN(const std::string ctes, TablesCtes(connection));
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.ExecParams(absl::StrCat("WITH ", ctes, " ", sql), params));
  std::vector<std::string> names;
  for (int i = 0; i < rows.rows(); ++i) names.emplace_back(rows.value(i, 0));
  return names;
}

}  // namespace

absl::Status CheckPlaces(postgres::Connection& connection, const std::string& role,
                         Findings& findings) {
  ASSIGN_OR_RETURN(const auto missing,
                   Tables(connection,
                          "SELECT format('%I.%I', nspname, relname) FROM wanted "
                          "WHERE oid NOT IN (SELECT oid FROM present) ORDER BY 1"));
  if (missing.empty()) {
    findings.Ok("every table is published");
  } else {
    findings.TableError(
        absl::StrCat("not published, so nothing of them travels: ", NameSome(missing)), kSync);
  }
  ASSIGN_OR_RETURN(const auto misplaced,
                   Tables(connection,
                          "SELECT format('%I.%I (in %s)', nspname, relname, publication) FROM "
                          "(SELECT * FROM present EXCEPT SELECT * FROM wanted) p ORDER BY 1"));
  if (!misplaced.empty()) {
    findings.TableError(absl::StrCat("in the wrong publication: ", NameSome(misplaced)), kSync);
  }
  const postgres::Param params[] = {{.data = role}};
  ASSIGN_OR_RETURN(
      const auto no_rights,
      Tables(connection,
             "SELECT format('%I.%I', nspname, relname) FROM wanted, pg_roles r "
             "WHERE r.rolname = $1 AND wanted.oid IN (SELECT oid FROM present) "
             "AND EXISTS (SELECT FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::"
             "text[]) AS p WHERE NOT has_table_privilege(r.oid, wanted.oid, p)) "
             "ORDER BY 1",
             params));
  if (!no_rights.empty()) {
    findings.TableError(
        absl::StrCat("role \"", role, "\" lacks rights on tables: ", NameSome(no_rights)), kSync);
  }
  return absl::OkStatus();
}

absl::Status CheckPublications(postgres::Connection& connection, const std::string& role,
                               Findings& findings) {
  RETURN_IF_ERROR(CheckPublication(connection, kKeyedPublication, false, findings));
  RETURN_IF_ERROR(CheckPublication(connection, kInsertOnlyPublication, true, findings));
  return CheckSyncFunction(connection, role, findings);
}

absl::Status CheckRowSecurity(postgres::Connection& connection, const std::string& role,
                              Findings& findings) {
  const postgres::Param params[] = {{.data = role}};
  // As row_security_active() has it, which asks for who is connected alone.
  ASSIGN_OR_RETURN(
      const postgres::Result rows,
      connection.ExecParams(
          "SELECT DISTINCT c.oid::regclass::text FROM pg_publication p "
          "JOIN pg_publication_rel t ON t.prpubid = p.oid JOIN pg_class c ON c.oid = t.prrelid, "
          "pg_roles r WHERE p.pubname IN ('bdr_keyed', 'bdr_insert_only') AND r.rolname = $1 "
          "AND c.relrowsecurity AND NOT r.rolbypassrls AND NOT r.rolsuper "
          "AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) ORDER BY 1",
          params));
  std::vector<std::string> hidden;
  for (int i = 0; i < rows.rows(); ++i) hidden.emplace_back(rows.value(i, 0));
  if (hidden.empty()) return absl::OkStatus();
  findings.TableError(absl::StrCat("row security hides rows from role \"", role,
                                   "\", so that changes are not applied to: ", NameSome(hidden)),
                      absl::StrCat("ALTER ROLE ", postgres::QuoteIdentifier(role), " BYPASSRLS"));
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
