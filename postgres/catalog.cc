#include "postgres/catalog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "postgres/builtin_types.h"
#include "postgres/type_info.h"
#include "postgres/value_form.h"

namespace bdr::postgres {
namespace {

// The key's index: the one named by REPLICA IDENTITY USING INDEX, else the primary key. Not one
// that is deferrable or not valid (being built, or partitions lack it): PostgreSQL does not take
// it as replica identity either.
//
// Unique indexes of partitions that do not belong to one of the root count as well: rows are
// written through the root and meet them all the same.
// pg_partition_tree() would wait for locks of users on the partitions, and pg_publication_tables
// would list all that is published, for each table that is looked up. OFFSET 0: PostgreSQL takes
// every table for one with many partitions, and would read all indexes of the database.
constexpr char kTableSql[] = R"(
SELECT c.oid, c.reltype, COALESCE(y.typarray, 0::pg_catalog.oid), c.relkind, c.relreplident,
       pg_catalog.row_security_active(c.oid),
       EXISTS (SELECT FROM pg_catalog.pg_publication_rel l
                WHERE l.prrelid = c.oid
                  AND (SELECT p.pubname FROM pg_catalog.pg_publication p WHERE p.oid = l.prpubid)
                      IN ('bdr_keyed', 'bdr_insert_only')),
       COALESCE(k.indexrelid, 0::pg_catalog.oid),
       u.other, u.deferrable, c.relnatts,
       EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '2'),
       COALESCE((SELECT pg_catalog.min(r.rulename) FROM pg_catalog.pg_rewrite r
                  WHERE r.ev_class = c.oid AND r.ev_type = '3' AND r.ev_enabled IN ('A', 'R')), '')
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type y ON y.oid = c.reltype
  LEFT JOIN pg_catalog.pg_index k
         ON k.indrelid = c.oid AND k.indisvalid AND k.indimmediate AND NOT k.indisexclusion
        AND CASE WHEN c.relreplident = 'i' THEN k.indisreplident ELSE k.indisprimary END
  CROSS JOIN LATERAL (
       SELECT pg_catalog.count(*) FILTER (WHERE i.indexrelid IS DISTINCT FROM k.indexrelid)
                AS other,
              COALESCE(pg_catalog.bool_or(NOT i.indimmediate), false) AS deferrable
         FROM (WITH RECURSIVE tree AS (
                      SELECT c.oid AS relid
                       UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h
                               JOIN tree ON tree.relid = h.inhparent
                               JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid
                              WHERE p.relispartition)
               SELECT tree.relid FROM tree) part
        CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_index o WHERE o.indrelid = part.relid
                            OFFSET 0) i
         JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        WHERE (i.indisunique OR i.indisexclusion) AND i.indislive
          AND (i.indrelid = c.oid OR NOT x.relispartition)) u
 WHERE n.nspname = $1 AND c.relname = $2)";

constexpr char kColumnsSql[] = R"(
WITH RECURSIVE tree AS MATERIALIZED (
       SELECT $1::pg_catalog.oid AS relid
        UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h
                JOIN tree ON tree.relid = h.inhparent
                JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid
               WHERE p.relispartition)
SELECT a.attname, a.attnum, a.atttypid, a.attgenerated <> '', a.attidentity = 'a', a.attnotnull,
       COALESCE(k.place, 0),
       COALESCE(l.collisdeterministic, true) AND COALESCE(k.plain, true),
       COALESCE((SELECT pg_catalog.quote_ident(s.nspname) FROM pg_catalog.pg_namespace s
                  WHERE s.oid = l.collnamespace) || '.' || pg_catalog.quote_ident(l.collname), ''),
       a.atttypmod, a.atthasdef OR a.attidentity <> '' OR y.typdefault IS NOT NULL,
       (SELECT (m.attmissingval::pg_catalog.text::pg_catalog.text[])[1]
          FROM tree
          JOIN pg_catalog.pg_attribute m ON m.attrelid = tree.relid AND m.attname = a.attname
         WHERE m.atthasmissing ORDER BY m.attrelid LIMIT 1),
       (SELECT pg_catalog.pg_get_expr(d.adbin, 0)
          FROM pg_catalog.pg_attrdef d
         WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
           AND d.adbin::pg_catalog.text !~ '\{(?!(CONST|FUNCEXPR|OPEXPR|RELABELTYPE)\M)[A-Z]'
           AND NOT EXISTS (
               SELECT FROM pg_catalog.regexp_matches(d.adbin::pg_catalog.text,
                                                     ':(?:op)?funcid (\d+)', 'g') AS f (ids)
                 LEFT JOIN pg_catalog.pg_proc p ON p.oid = f.ids[1]::pg_catalog.oid
                WHERE p.oid IS NULL OR p.provolatile <> 'i' OR p.oid >= 16384::pg_catalog.oid)),
       COALESCE(k.operator, '')
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
  LEFT JOIN LATERAL (
       SELECT e.place, e.key_collation,
              o.opcdefault OR o.opcname LIKE '%\_pattern\_ops' AS plain,
              (SELECT 'OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || q.oprname || ')'
                 FROM pg_catalog.pg_amop m
                 JOIN pg_catalog.pg_operator q ON q.oid = m.amopopr
                 JOIN pg_catalog.pg_namespace s ON s.oid = q.oprnamespace
                WHERE m.amopfamily = o.opcfamily AND m.amopstrategy = 3
                  AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype) AS operator
         FROM pg_catalog.pg_index i,
              unnest(i.indkey::pg_catalog.int2[], i.indcollation::pg_catalog.oid[],
                     i.indclass::pg_catalog.oid[])
                WITH ORDINALITY AS e (attnum, key_collation, opclass, place)
         JOIN pg_catalog.pg_opclass o ON o.oid = e.opclass
        WHERE i.indexrelid = $2::pg_catalog.oid AND e.place <= i.indnkeyatts
          AND e.attnum = a.attnum) k ON true
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = COALESCE(k.key_collation, a.attcollation)
 WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum)";

constexpr char kPublishedSql[] = R"(
SELECT DISTINCT schemaname, tablename
  FROM pg_catalog.pg_publication_tables
 WHERE pubname IN ('bdr_keyed', 'bdr_insert_only')
 ORDER BY 1, 2)";

template <typename Int>
absl::StatusOr<Int> ParseNumber(const Result& result, int row, int column) {
  Int number = 0;
  if (!absl::SimpleAtoi(result.value(row, column), &number)) {
    return absl::InternalError(absl::StrCat("the catalog gave \"", result.value(row, column),
                                            "\" where a number belongs"));
  }
  return number;
}

bool ParseBool(const Result& result, int row, int column) {
  return result.value(row, column) == "t";
}

struct FoundTable {
  TableInfo table;
  uint32_t key_index_oid = 0;
};

absl::StatusOr<FoundTable> FindTable(Connection& connection, absl::string_view schema,
                                     absl::string_view name) {
  ASSIGN_OR_RETURN(const Result result,
                   connection.ExecKept(kTableSql, {Param{.data = schema}, Param{.data = name}}));
  if (result.rows() == 0) {
    return absl::NotFoundError(absl::StrCat("there is no table \"", schema, ".", name, "\""));
  }
  FoundTable found;
  TableInfo& table = found.table;
  table.schema = std::string(schema);
  table.name = std::string(name);
  ASSIGN_OR_RETURN(table.oid, ParseNumber<uint32_t>(result, 0, 0));
  ASSIGN_OR_RETURN(table.row_type_oid, ParseNumber<uint32_t>(result, 0, 1));
  ASSIGN_OR_RETURN(table.row_array_type_oid, ParseNumber<uint32_t>(result, 0, 2));
  table.kind = result.value(0, 3)[0];
  table.replica_identity = result.value(0, 4)[0];
  table.row_security = ParseBool(result, 0, 5);
  table.published = ParseBool(result, 0, 6);
  ASSIGN_OR_RETURN(found.key_index_oid, ParseNumber<uint32_t>(result, 0, 7));
  ASSIGN_OR_RETURN(table.other_unique_constraints, ParseNumber<int>(result, 0, 8));
  table.deferrable_unique = ParseBool(result, 0, 9);
  ASSIGN_OR_RETURN(table.natts, ParseNumber<int>(result, 0, 10));
  table.has_update_rule = ParseBool(result, 0, 11);
  table.insert_rule = std::string(result.value(0, 12));
  table.has_key = found.key_index_oid != 0;
  if (table.kind != 'r' && table.kind != 'p') {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", schema, ".", name, "\" is not a table (relkind ",
                     absl::string_view(&table.kind, 1), "); only tables are replicated"));
  }
  return found;
}

// A value given as text, as pgoutput would send it.
absl::StatusOr<std::string> ToWireForm(Connection& connection, const ColumnInfo& column,
                                       absl::string_view text) {
  if (!column.binary) return std::string(text);
  const TypeInfo& type = *column.type;
  ASSIGN_OR_RETURN(const Result result,
                   connection.ExecParams(
                       absl::StrCat("SELECT $1::pg_catalog.text::", QuoteIdentifier(type.schema),
                                    ".", QuoteIdentifier(type.name)),
                       {Param{.data = text}}, /*binary_result=*/true));
  return std::string(result.value(0, 0));
}

// Which of the expressions are to be evaluated: by column, "" for none.
absl::Status AddDefaults(Connection& connection, const std::vector<std::string>& expressions,
                         TableInfo* table) {
  std::vector<size_t> wanted;
  for (size_t i = 0; i < expressions.size(); ++i) {
    if (!expressions[i].empty()) wanted.push_back(i);
  }
  const auto evaluate = [&](const std::vector<size_t>& columns) -> absl::Status {
    std::vector<std::string> values;
    for (const size_t i : columns) {
      const TypeInfo& type = *table->columns[i].type;
      const std::string value =
          absl::StrCat("(", expressions[i], ")::", QuoteIdentifier(type.base_schema), ".",
                       QuoteIdentifier(type.base_name));
      values.push_back(table->columns[i].binary ? value : TextOfSql(type, value));
    }
    ASSIGN_OR_RETURN(const Result result,
                     connection.ExecParams(absl::StrCat("SELECT ", absl::StrJoin(values, ", ")), {},
                                           /*binary_result=*/true));
    for (size_t i = 0; i < columns.size(); ++i) {
      if (result.is_null(0, static_cast<int>(i))) continue;
      table->columns[columns[i]].constant_default =
          std::string(result.value(0, static_cast<int>(i)));
    }
    return absl::OkStatus();
  };
  if (wanted.empty() || evaluate(wanted).ok()) return absl::OkStatus();
  if (connection.broken()) return absl::UnavailableError("the connection was lost");
  // One of them raises: what can be told of the others is.
  for (const size_t column : wanted) {
    if (!evaluate({column}).ok() && connection.broken()) {
      return absl::UnavailableError("the connection was lost");
    }
  }
  return absl::OkStatus();
}

absl::Status AddColumns(Connection& connection, uint32_t key_index_oid, TableInfo* table) {
  const std::string table_oid = absl::StrCat(table->oid);
  const std::string index_oid = absl::StrCat(key_index_oid);
  ASSIGN_OR_RETURN(
      const Result result,
      connection.ExecKept(kColumnsSql, {Param{.data = table_oid}, Param{.data = index_oid}}));
  std::vector<uint32_t> type_oids;
  for (int row = 0; row < result.rows(); ++row) {
    ASSIGN_OR_RETURN(const uint32_t type_oid, ParseNumber<uint32_t>(result, row, 2));
    type_oids.push_back(type_oid);
  }
  ASSIGN_OR_RETURN(const TypeMap types, LoadTypes(connection, type_oids));

  std::vector<std::string> defaults;
  for (int row = 0; row < result.rows(); ++row) {
    ColumnInfo column;
    column.name = std::string(result.value(row, 0));
    ASSIGN_OR_RETURN(column.attnum, ParseNumber<int>(result, row, 1));
    column.type = types.at(type_oids[static_cast<size_t>(row)]);
    column.generated = ParseBool(result, row, 3);
    column.identity_always = ParseBool(result, row, 4);
    column.not_null = ParseBool(result, row, 5);
    ASSIGN_OR_RETURN(const int place, ParseNumber<int>(result, row, 6));
    column.key_position = place - 1;
    // Arrays are equal if their parts are, but a key travels as an array for each of its columns,
    // and there are no arrays of arrays (but of domains over them).
    const bool is_array =
        column.type->kind == TypeInfo::Kind::kArray && column.type->oid == column.type->base_oid;
    // unnest() takes an array of composites apart into their attributes.
    const bool is_composite = column.type->kind == TypeInfo::Kind::kComposite;
    column.key_canonical =
        HasCanonicalForm(*column.type) && ParseBool(result, row, 7) && !is_array && !is_composite;
    column.collation = std::string(result.value(row, 8));
    ASSIGN_OR_RETURN(column.type_modifier, ParseNumber<int32_t>(result, row, 9));
    column.has_default = ParseBool(result, row, 10);
    defaults.push_back(result.is_null(row, 11) ? std::string(result.value(row, 12)) : "");
    column.key_operator = std::string(result.value(row, 13));
    table->columns.push_back(std::move(column));
  }
  std::vector<const TypeInfo*> sent;
  for (const ColumnInfo& column : table->columns) {
    if (!column.generated) sent.push_back(column.type.get());
  }
  const bool by_column = TravelsByColumn(sent);
  for (int row = 0; row < result.rows(); ++row) {
    ColumnInfo& column = table->columns[static_cast<size_t>(row)];
    column.binary = TravelsInBinary(*column.type, by_column);
    column.key_canonical = column.key_canonical && column.binary;
    if (result.is_null(row, 11)) continue;
    ASSIGN_OR_RETURN(column.missing, ToWireForm(connection, column, result.value(row, 11)));
  }
  return AddDefaults(connection, defaults, table);
}

// Indexes of the key's columns, in the order of the key.
std::vector<int> KeyOf(const std::vector<ColumnInfo>& columns) {
  std::vector<int> key;
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].key_position >= 0) key.push_back(static_cast<int>(i));
  }
  std::sort(key.begin(), key.end(), [&columns](int a, int b) {
    return columns[static_cast<size_t>(a)].key_position <
           columns[static_cast<size_t>(b)].key_position;
  });
  return key;
}

}  // namespace

std::string TableInfo::QualifiedName() const {
  return absl::StrCat(QuoteIdentifier(schema), ".", QuoteIdentifier(name));
}

std::string TableInfo::DisplayName() const { return absl::StrCat(schema, ".", name); }

absl::StatusOr<TableInfo> LoadTable(Connection& connection, absl::string_view schema,
                                    absl::string_view name) {
  ASSIGN_OR_RETURN(FoundTable found, FindTable(connection, schema, name));
  RETURN_IF_ERROR(AddColumns(connection, found.key_index_oid, &found.table));
  found.table.key = KeyOf(found.table.columns);
  return std::move(found.table);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> PublishedTables(
    Connection& connection) {
  ASSIGN_OR_RETURN(const Result result, connection.Exec(kPublishedSql));
  std::vector<std::pair<std::string, std::string>> tables;
  for (int row = 0; row < result.rows(); ++row) {
    tables.emplace_back(result.value(row, 0), result.value(row, 1));
  }
  return tables;
}

}  // namespace bdr::postgres
