// Reads what unique indexes and exclusion constraints a table has beside its key, in a form in
// which their values can be compared outside of the index.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "postgres/catalog.h"
#include "postgres/constraint_parts.h"

namespace bdr::postgres {
namespace {

// pg_partition_tree() would wait for locks of users on the partitions. OFFSET 0: PostgreSQL takes
// every table for one with many partitions, and would read all indexes of the database.
std::string ConstraintsSql() {
  return absl::StrCat(R"(
WITH RECURSIVE tree AS (
       SELECT $1::oid AS relid
        UNION SELECT h.inhrelid FROM pg_inherits h
                JOIN tree ON tree.relid = h.inhparent
                JOIN pg_class p ON p.oid = h.inhrelid
               WHERE p.relispartition)
SELECT)",
                      kConstraintPartColumns, R"(,
       (SELECT array_to_string(array_agg(DISTINCT u.attname), E'\n') FROM pg_attribute u
         WHERE u.attrelid = i.indrelid
           AND (u.attnum = ANY (i.indkey::int2[])
                OR EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                              AND d.refclassid = 'pg_class'::regclass
                              AND d.refobjid = i.indrelid AND d.refobjsubid = u.attnum)))
  FROM (SELECT $1::oid AS oid, $2::oid AS key) t
  CROSS JOIN tree
  CROSS JOIN LATERAL (SELECT * FROM pg_index o WHERE o.indrelid = tree.relid
                         AND o.indexrelid <> t.key AND (o.indisunique OR o.indisexclusion)
                         AND o.indislive OFFSET 0) i
  JOIN pg_class x ON x.oid = i.indexrelid AND (i.indrelid = t.oid OR NOT x.relispartition)
)",
                      kConstraintPartJoins, " ORDER BY x.relname, i.indexrelid, e.place");
}

constexpr char kKeyIndexSql[] = R"(
SELECT COALESCE((SELECT k.indexrelid FROM pg_catalog.pg_index k
                  WHERE k.indrelid = c.oid AND k.indisvalid AND k.indimmediate
                    AND CASE WHEN c.relreplident = 'i' THEN k.indisreplident
                             ELSE k.indisprimary END), 0::pg_catalog.oid)
  FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.oid)";

constexpr char kGeneratedSql[] = R"(
SELECT a.attname, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::oid AND a.attgenerated <> '' AND NOT a.attisdropped)";

// FNV-1a: the same on every start, which absl::Hash is not.
uint64_t Fingerprint(absl::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

std::string Collated(const ConstraintInfo::Part& part) {
  return absl::StrCat("(", part.expression, ")", part.collation.empty() ? "" : " COLLATE ",
                      part.collation);
}

// Runs statements that lean on the search path with nothing but pg_catalog in it.
class PlainSearchPath {
 public:
  explicit PlainSearchPath(Connection* connection) : connection_(connection) {}
  absl::Status Set() {
    ASSIGN_OR_RETURN(before_, connection_->QueryValue("SELECT current_setting('search_path')"));
    return connection_->Exec("SET search_path = pg_catalog").status();
  }
  ~PlainSearchPath() {
    if (connection_->broken()) return;
    const Param before{.data = before_};
    // Who cannot set it back has lost the connection, and notices by himself.
    (void)connection_->ExecKept("SELECT pg_catalog.set_config('search_path', $1, false)", {before});
  }

 private:
  Connection* const connection_;
  std::string before_;
};

// Whether PostgreSQL can hash all the parts. Asked of a row of nulls, since types are resolved
// before values are looked at.
absl::StatusOr<bool> CanHash(Connection& connection, const TableInfo& table,
                             absl::Span<const ConstraintInfo::Part> of) {
  std::vector<std::string> parts;
  for (const ConstraintInfo::Part& part : of) parts.push_back(Collated(part));
  const absl::Status status =
      connection
          .Exec(absl::StrCat("SELECT hash_record_extended(ROW(", absl::StrJoin(parts, ", "),
                             "), 0) FROM (SELECT (NULL::", table.QualifiedName(), ").*) AS t"))
          .status();
  if (status.ok()) return true;
  if (connection.broken() || absl::IsUnavailable(status)) return status;
  return false;
}

absl::Status AddTypes(Connection& connection, const TableInfo& table, ConstraintInfo* constraint) {
  std::vector<std::string> parts;
  for (const ConstraintInfo::Part& part : constraint->parts) parts.push_back(Collated(part));
  ASSIGN_OR_RETURN(const Result shape,
                   connection.Exec(absl::StrCat("SELECT ", absl::StrJoin(parts, ", "),
                                                " FROM (SELECT (NULL::", table.QualifiedName(),
                                                ").*) AS t LIMIT 0")));
  for (size_t i = 0; i < parts.size(); ++i) {
    const int field = static_cast<int>(i);
    // -1: of any length. Without, "bit" would be bit(1).
    ASSIGN_OR_RETURN(constraint->parts[i].type,
                     connection.QueryValue(absl::StrCat("SELECT format_type(",
                                                        PQftype(shape.get(), field), ", -1)")));
  }
  return absl::OkStatus();
}

// Whether telling if a row is under it, and by which value, evaluates an expression.
bool HasExpressions(const TableInfo& table, const ConstraintInfo& constraint) {
  return !constraint.predicate.empty() || !constraint.partition.empty() ||
         std::any_of(constraint.parts.begin(), constraint.parts.end(),
                     [&table](const ConstraintInfo::Part& part) {
                       return part.column < 0 || table.columns[part.column].generated;
                     });
}

bool IsCanonical(const TableInfo& table, const ConstraintInfo& constraint) {
  if (constraint.exclusion || !constraint.predicate.empty() || !constraint.partition.empty()) {
    return false;
  }
  return std::all_of(constraint.parts.begin(), constraint.parts.end(),
                     [&table](const ConstraintInfo::Part& part) {
                       if (part.column < 0) return false;
                       const ColumnInfo& column = table.columns[static_cast<size_t>(part.column)];
                       return !column.generated && column.binary && HasCanonicalForm(*column.type);
                     });
}

}  // namespace

ConstraintInfo ReadConstraint(const Result& result, int row) {
  const auto is_true = [&](int column) { return result.value(row, column) == "t"; };
  ConstraintInfo constraint;
  constraint.name = std::string(result.value(row, kConstraintName));
  constraint.exclusion = is_true(kConstraintExclusion);
  constraint.deferrable = is_true(kConstraintDeferrable);
  constraint.nulls_not_distinct = is_true(kConstraintNullsNotDistinct);
  constraint.partition = std::string(result.value(row, kConstraintPartition));
  std::vector<std::string> conditions;
  for (const int column : {kConstraintPredicate, kConstraintPartitionPredicate}) {
    if (result.value(row, column).empty()) continue;
    conditions.push_back(absl::StrCat("(", result.value(row, column), ")"));
  }
  constraint.predicate = absl::StrJoin(conditions, " AND ");
  constraint.own_predicate = std::string(result.value(row, kConstraintPredicate));
  return constraint;
}

ConstraintInfo::Part ReadPart(const Result& result, int row) {
  ConstraintInfo::Part part;
  part.expression = std::string(result.value(row, kPartExpression));
  part.collation = std::string(result.value(row, kPartCollation));
  part.op = std::string(result.value(row, kPartOperator));
  return part;
}

std::string ConstraintInfo::Meaning() const {
  std::vector<std::string> all;
  for (const Part& part : parts) {
    std::string text = part.expression;
    if (!part.collation.empty() && part.collation != "pg_catalog.\"default\"") {
      absl::StrAppend(&text, " COLLATE ", part.collation);
    }
    if (part.op != "OPERATOR(pg_catalog.=)") absl::StrAppend(&text, " WITH ", part.op);
    all.push_back(std::move(text));
  }
  return absl::StrCat(exclusion ? "EXCLUDE (" : "UNIQUE (", absl::StrJoin(all, ", "), ")",
                      nulls_not_distinct ? " NULLS NOT DISTINCT" : "",
                      partition.empty() ? "" : absl::StrCat(" of partition ", partition),
                      own_predicate.empty() ? "" : absl::StrCat(" WHERE ", own_predicate));
}

absl::Status LoadConstraints(Connection& connection, TableInfo* table) {
  table->constraints.clear();
  if (table->other_unique_constraints == 0) return absl::OkStatus();
  PlainSearchPath path(&connection);
  RETURN_IF_ERROR(path.Set());
  const std::string oid = absl::StrCat(table->oid);
  ASSIGN_OR_RETURN(const std::string key_index,
                   connection.QueryValue(kKeyIndexSql, {Param{.data = oid}}));
  ASSIGN_OR_RETURN(const Result generated,
                   connection.ExecKept(kGeneratedSql, {Param{.data = oid}}));
  for (int row = 0; row < generated.rows(); ++row) {
    for (ColumnInfo& column : table->columns) {
      if (column.name == generated.value(row, 0)) {
        column.generated_as = std::string(generated.value(row, 1));
      }
    }
  }
  ASSIGN_OR_RETURN(
      const Result result,
      connection.ExecKept(ConstraintsSql(), {Param{.data = oid}, Param{.data = key_index}}));

  std::string last;
  // Of each part: it is equal as its type's default says.
  std::vector<std::vector<bool>> plain_parts;
  // Of each constraint: so are all its parts, and under collations by which equal strings have
  // equal bytes.
  std::vector<bool> plain;
  std::vector<bool> deterministic;
  for (int row = 0; row < result.rows(); ++row) {
    const auto is_true = [&](int column) { return result.value(row, column) == "t"; };
    if (result.value(row, 0) != last) {
      last = std::string(result.value(row, 0));
      ConstraintInfo& constraint = table->constraints.emplace_back(ReadConstraint(result, row));
      plain_parts.emplace_back();
      plain.push_back(true);
      deterministic.push_back(true);
      const std::vector<absl::string_view> used =
          absl::StrSplit(result.value(row, kConstraintFields), '\n');
      for (size_t i = 0; i < table->columns.size(); ++i) {
        if (std::find(used.begin(), used.end(), table->columns[i].name) == used.end()) continue;
        constraint.columns.push_back(static_cast<int>(i));
      }
    }
    ConstraintInfo& constraint = table->constraints.back();
    ConstraintInfo::Part part = ReadPart(result, row);
    for (size_t i = 0; i < table->columns.size(); ++i) {
      if (table->columns[i].name == result.value(row, kPartColumn)) {
        part.column = static_cast<int>(i);
      }
    }
    if (part.op.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("index \"", constraint.name, "\" of table \"", table->DisplayName(),
                       "\" has no operator that says when two rows are the same"));
    }
    plain_parts.back().push_back(is_true(kPartPlain) && part.op == "OPERATOR(pg_catalog.=)");
    plain.back() = plain.back() && is_true(kPartPlain);
    deterministic.back() = deterministic.back() && is_true(kPartDeterministic);
    constraint.parts.push_back(std::move(part));
  }

  for (size_t i = 0; i < table->constraints.size(); ++i) {
    ConstraintInfo& constraint = table->constraints[i];
    // Not even planned: PostgreSQL evaluates what it can by then.
    if (!table->untrusted_code.empty() && HasExpressions(*table, constraint)) continue;
    std::string text = absl::StrCat(table->DisplayName(), "\n", constraint.exclusion, "\n",
                                    constraint.partition, "\n", constraint.predicate);
    for (const ConstraintInfo::Part& part : constraint.parts) {
      absl::StrAppend(&text, "\n", Collated(part), " ", part.op);
    }
    constraint.fingerprint = Fingerprint(text);
    constraint.form = ConstraintInfo::Form::kPairwise;
    if (!constraint.exclusion && plain[i]) {
      if (deterministic[i] && IsCanonical(*table, constraint)) {
        constraint.form = ConstraintInfo::Form::kCanonical;
      } else {
        ASSIGN_OR_RETURN(const bool can_hash, CanHash(connection, *table, constraint.parts));
        if (can_hash) constraint.form = ConstraintInfo::Form::kHash;
      }
    }
    if (constraint.form == ConstraintInfo::Form::kPairwise) {
      RETURN_IF_ERROR(AddTypes(connection, *table, &constraint));
      for (size_t part = 0; part < constraint.parts.size(); ++part) {
        if (!plain_parts[i][part]) continue;
        ASSIGN_OR_RETURN(
            constraint.parts[part].hashed,
            CanHash(connection, *table, absl::MakeConstSpan(&constraint.parts[part], 1)));
      }
    }
  }
  if (!table->untrusted_code.empty()) {
    std::erase_if(table->constraints, [table](const ConstraintInfo& constraint) {
      return HasExpressions(*table, constraint);
    });
  }
  return absl::OkStatus();
}

}  // namespace bdr::postgres
