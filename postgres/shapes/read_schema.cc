#include "postgres/shapes/read_schema.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "bdr/v1/schema.pb.h"
#include "postgres/constraint_parts.h"
#include "postgres/letter_case.h"

namespace bdr::postgres {
namespace {

// Of pg_class r and pg_namespace n: what bdr.sync_publications() would publish.
constexpr char kWanted[] = R"(
       r.relkind IN ('r', 'p') AND NOT r.relispartition AND r.relpersistence = 'p'
   AND n.nspname NOT IN ('bdr', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid
                      AND d.objsubid = 0 AND d.deptype = 'e'))";

// The index by whose columns a table's rows are known to other nodes, as LoadTable() has it.
constexpr char kKeyIndex[] = R"(
  LEFT JOIN pg_index k
         ON k.indrelid = r.oid AND k.indisvalid AND k.indimmediate
        AND CASE WHEN r.relreplident = 'i' THEN k.indisreplident ELSE k.indisprimary END)";

std::string TablesSql() {
  return absl::StrCat(R"(
SELECT r.oid, n.nspname, r.relname,
       EXISTS (SELECT FROM pg_publication_rel l JOIN pg_publication p ON p.oid = l.prpubid
                WHERE l.prrelid = r.oid AND p.pubname IN ('bdr_keyed', 'bdr_insert_only')),
       CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) ELSE '' END,
       CASE r.relreplident WHEN 'd' THEN 'DEFAULT' WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
            ELSE COALESCE((SELECT 'USING INDEX ' || quote_ident(x.relname)
                             FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                            WHERE i.indrelid = r.oid AND i.indisreplident), 'NOTHING') END,
       COALESCE((SELECT array_to_string(array_agg(a.attname ORDER BY e.place), E'\n')
                   FROM unnest(k.indkey::int2[]) WITH ORDINALITY AS e (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = e.attnum
                  WHERE e.place <= k.indnkeyatts), ''),
       COALESCE(c.conname, ''), COALESCE(pg_get_constraintdef(c.oid), '')
  FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace)",
                      kKeyIndex, R"(
  LEFT JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype = 'p'
 WHERE)",
                      kWanted, " ORDER BY n.nspname, r.relname");
}

std::string ColumnsSql() {
  return absl::StrCat(R"(
SELECT r.oid, a.attname, format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attcollation NOT IN (0, y.typcollation)
            THEN (SELECT quote_ident(s.nspname) || '.' || quote_ident(l.collname)
                    FROM pg_collation l JOIN pg_namespace s ON s.oid = l.collnamespace
                   WHERE l.oid = a.attcollation) ELSE '' END,
       a.attnotnull,
       CASE WHEN a.attgenerated = '' THEN COALESCE(pg_get_expr(d.adbin, d.adrelid), '')
            ELSE '' END,
       CASE WHEN a.attgenerated <> '' THEN COALESCE(pg_get_expr(d.adbin, d.adrelid), '')
            ELSE '' END,
       CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' ELSE '' END,
       COALESCE(CASE z.typtype
         WHEN 'c' THEN (SELECT '(' || string_agg(quote_ident(f.attname) || ' '
                                                 || format_type(f.atttypid, f.atttypmod), ', '
                                                 ORDER BY f.attnum) || ')'
                          FROM pg_attribute f
                         WHERE f.attrelid = z.typrelid AND f.attnum > 0 AND NOT f.attisdropped)
         WHEN 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', '
                                          ORDER BY e.enumsortorder)
                          FROM pg_enum e WHERE e.enumtypid = z.oid)
         WHEN 'd' THEN format_type(z.typbasetype, z.typtypmod) END, ''),
       EXISTS (SELECT FROM pg_type b WHERE b.oid IN (z.oid, z.typbasetype) AND b.typname = 'citext')
  FROM pg_class r
  JOIN pg_namespace n ON n.oid = r.relnamespace
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type y ON y.oid = a.atttypid
  JOIN pg_type z ON z.oid = CASE WHEN y.typsubscript = 'array_subscript_handler'::regproc
                                 THEN y.typelem ELSE y.oid END
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE)",
                      kWanted, " ORDER BY r.oid, a.attnum");
}

std::string ChecksSql() {
  return absl::StrCat(R"(
SELECT r.oid, c.conname, pg_get_expr(c.conbin, c.conrelid), pg_get_constraintdef(c.oid)
  FROM pg_class r
  JOIN pg_namespace n ON n.oid = r.relnamespace
  JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype = 'c'
 WHERE)",
                      kWanted, " ORDER BY r.oid, c.conname");
}

// One that is not valid (being built, or it failed) says nothing of the rows that stand.
std::string UniqueSql() {
  return absl::StrCat("SELECT", kConstraintPartColumns, R"(,
       t.oid,
       COALESCE((SELECT 'ALTER TABLE ' || quote_ident(n.nspname) || '.' || quote_ident(h.relname)
                        || ' ADD CONSTRAINT ' || quote_ident(o.conname) || ' '
                        || pg_get_constraintdef(o.oid)
                   FROM pg_constraint o JOIN pg_namespace n ON n.oid = h.relnamespace
                  WHERE o.conindid = i.indexrelid AND o.conrelid = i.indrelid
                    AND o.contype IN ('p', 'u', 'x')),
                pg_get_indexdef(i.indexrelid))
  FROM pg_index i
  JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_class h ON h.oid = i.indrelid
  JOIN (SELECT r.oid, k.indexrelid AS key
          FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace)",
                      kKeyIndex, " WHERE", kWanted, R"() t
    ON t.oid = CASE WHEN h.relispartition THEN pg_partition_root(h.oid)::oid ELSE h.oid END
   AND (i.indisunique OR i.indisexclusion) AND i.indislive AND i.indisvalid
   AND i.indexrelid IS DISTINCT FROM t.key AND (i.indrelid = t.oid OR NOT x.relispartition))",
                      kConstraintPartJoins, " ORDER BY t.oid, x.relname, i.indexrelid, e.place");
}

using TablesByOid = std::map<std::string, v1::TableShape*, std::less<>>;

// Null for a table that came into being between two queries.
v1::TableShape* Find(const TablesByOid& tables, absl::string_view oid) {
  const auto found = tables.find(oid);
  return found == tables.end() ? nullptr : found->second;
}

absl::StatusOr<TablesByOid> AddTables(Connection& connection, v1::Schema* schema) {
  ASSIGN_OR_RETURN(const Result result, connection.Exec(TablesSql()));
  schema->mutable_tables()->Reserve(result.rows());
  TablesByOid by_oid;
  for (int row = 0; row < result.rows(); ++row) {
    const auto text = [&](int column) { return std::string(result.value(row, column)); };
    v1::TableShape* table = schema->add_tables();
    by_oid[text(0)] = table;
    table->set_schema(text(1));
    table->set_name(text(2));
    table->set_published(text(3) == "t");
    table->set_partition_by(text(4));
    table->set_replica_identity(text(5));
    for (const absl::string_view column : absl::StrSplit(text(6), '\n', absl::SkipEmpty())) {
      table->add_key(std::string(column));
    }
    if (text(7).empty()) continue;
    table->mutable_primary_key()->set_name(text(7));
    table->mutable_primary_key()->set_meaning(text(8));
  }
  return by_oid;
}

absl::Status AddColumns(Connection& connection, const TablesByOid& tables) {
  ASSIGN_OR_RETURN(const Result result, connection.Exec(ColumnsSql()));
  for (int row = 0; row < result.rows(); ++row) {
    const auto text = [&](int column) { return std::string(result.value(row, column)); };
    v1::TableShape* table = Find(tables, result.value(row, 0));
    if (table == nullptr) continue;
    v1::ColumnShape* column = table->add_columns();
    column->set_name(text(1));
    column->set_type(text(2));
    column->set_collation(text(3));
    column->set_not_null(text(4) == "t");
    column->set_default_as(text(5));
    column->set_generated_as(text(6));
    column->set_identity(text(7));
    column->set_made_of(text(8));
    if (result.value(row, 9) != "t") continue;
    ASSIGN_OR_RETURN(const std::shared_ptr<const LetterCase> letters, LoadLetterCase(connection));
    absl::StrAppend(
        column->mutable_made_of(), column->made_of().empty() ? "" : ", ", "letters ",
        letters == nullptr ? "of an ICU locale" : absl::StrCat(absl::Hex(letters->Fingerprint())));
  }
  return absl::OkStatus();
}

absl::Status AddChecks(Connection& connection, const TablesByOid& tables) {
  ASSIGN_OR_RETURN(const Result result, connection.Exec(ChecksSql()));
  for (int row = 0; row < result.rows(); ++row) {
    v1::TableShape* table = Find(tables, result.value(row, 0));
    if (table == nullptr) continue;
    v1::ConstraintShape* check = table->add_checks();
    check->set_name(std::string(result.value(row, 1)));
    check->set_meaning(std::string(result.value(row, 2)));
    check->set_statement(absl::StrCat("ALTER TABLE ", QuoteIdentifier(table->schema()), ".",
                                      QuoteIdentifier(table->name()), " ADD CONSTRAINT ",
                                      QuoteIdentifier(check->name()), " ", result.value(row, 3)));
  }
  return absl::OkStatus();
}

absl::Status AddUnique(Connection& connection, const TablesByOid& tables) {
  ASSIGN_OR_RETURN(const Result result, connection.Exec(UniqueSql()));
  for (int row = 0; row < result.rows();) {
    const absl::string_view oid = result.value(row, kConstraintOid);
    ConstraintInfo constraint = ReadConstraint(result, row);
    v1::TableShape* table = Find(tables, result.value(row, kConstraintFields));
    const std::string statement(result.value(row, kConstraintFields + 1));
    for (; row < result.rows() && result.value(row, kConstraintOid) == oid; ++row) {
      constraint.parts.push_back(ReadPart(result, row));
    }
    if (table == nullptr) continue;
    v1::ConstraintShape* unique = table->add_unique();
    unique->set_name(constraint.name);
    unique->set_meaning(constraint.Meaning());
    unique->set_statement(statement);
  }
  return absl::OkStatus();
}

absl::Status ReadAll(Connection& connection, v1::Schema* schema) {
  RETURN_IF_ERROR(connection.Exec("SET LOCAL search_path = pg_catalog").status());
  ASSIGN_OR_RETURN(const TablesByOid tables, AddTables(connection, schema));
  RETURN_IF_ERROR(AddColumns(connection, tables));
  RETURN_IF_ERROR(AddChecks(connection, tables));
  return AddUnique(connection, tables);
}

}  // namespace

absl::Status ReadSchema(Connection& connection, v1::Schema* schema) {
  RETURN_IF_ERROR(
      connection.Exec("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").status());
  const absl::Status status = ReadAll(connection, schema);
  if (!status.ok()) {
    // Who cannot roll back has lost the connection, and notices by himself.
    (void)connection.Exec("ROLLBACK");
    return status;
  }
  return connection.Exec("COMMIT").status();
}

absl::StatusOr<std::string> CatalogFingerprint(Connection& connection) {
  // Every change writes a new version of a catalog's row, with the xid of who wrote it. Objects of
  // users have OIDs from 16384 on (FirstNormalObjectId).
  constexpr const char* kCatalogs[][2] = {
      {"pg_class", "oid"},         {"pg_attribute", "attrelid"},
      {"pg_attrdef", "oid"},       {"pg_index", "indexrelid"},
      {"pg_constraint", "oid"},    {"pg_type", "oid"},
      {"pg_collation", "oid"},     {"pg_namespace", "oid"},
      {"pg_inherits", "inhrelid"}, {"pg_publication_rel", "oid"},
      {"pg_enum", "oid"}};
  std::string sql;
  for (const auto& [catalog, oid] : kCatalogs) {
    absl::StrAppend(&sql, sql.empty() ? "SELECT " : " || ' ' || ",
                    "(SELECT pg_catalog.count(*) || ':' || COALESCE(pg_catalog.sum("
                    "pg_catalog.hash_record_extended(ROW(",
                    oid, ", xmin), 0)), 0) FROM pg_catalog.", catalog, " WHERE ", oid,
                    " >= '16384'::pg_catalog.oid)");
  }
  return connection.QueryValue(sql);
}

absl::StatusOr<std::string> PresentSnapshot(Connection& connection) {
  return connection.QueryValue("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text");
}

}  // namespace bdr::postgres
