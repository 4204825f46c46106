#include "node-agent/tables/claim_reader.h"

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "postgres/wire.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::ConstraintInfo;
using postgres::Result;
using Form = ConstraintInfo::Form;

constexpr size_t kRowsPerStatement = 1000;
// Claims in the store that are compared with new ones at a time, so that memory stays bounded.
constexpr size_t kKnownPerStatement = 20'000;
constexpr uint32_t kNullPart = UINT32_MAX;

void AppendPart(std::string* value, absl::string_view part) {
  postgres::AppendNumber(value, static_cast<uint32_t>(part.size()));
  value->append(part.data(), part.size());
}

std::string Collated(const ConstraintInfo::Part& part) {
  return absl::StrCat("(", part.expression, ")", part.collation.empty() ? "" : " COLLATE ",
                      part.collation);
}

// True of rows that hold anything at all by this constraint.
std::string Holds(const ConstraintInfo& constraint) {
  std::vector<std::string> conditions;
  if (!constraint.predicate.empty()) {
    conditions.push_back(absl::StrCat("(", constraint.predicate, ")"));
  }
  if (!constraint.nulls_not_distinct) {
    std::vector<std::string> parts;
    for (const ConstraintInfo::Part& part : constraint.parts) parts.push_back(Collated(part));
    // Unlike IS NULL it does not look into rows.
    conditions.push_back(
        absl::StrCat("pg_catalog.num_nulls(", absl::StrJoin(parts, ", "), ") = 0"));
  }
  return conditions.empty() ? "true" : absl::StrJoin(conditions, " AND ");
}

std::string SamePart(const ConstraintInfo& constraint, const ConstraintInfo::Part& part,
                     absl::string_view one, absl::string_view other) {
  const std::string same = absl::StrCat(one, " ", part.op, " ", other);
  if (!constraint.nulls_not_distinct) return same;
  return absl::StrCat("(", same, " OR ", one, " IS NULL AND ", other, " IS NULL)");
}

// Whether some column of the constraint is missing in the row.
bool Incomplete(const BoundTable& table, const ConstraintInfo& constraint, const LocalRow& row) {
  const auto unchanged = [](const postgres::ColumnValue& value) {
    return value.kind == ColumnKind::kUnchangedToast;
  };
  return std::any_of(constraint.columns.begin(), constraint.columns.end(), [&](const int column) {
    // A generated column is made of others.
    return table.table().columns[column].generated ? std::any_of(row.begin(), row.end(), unchanged)
                                                   : unchanged(row[column]);
  });
}

absl::StatusOr<std::optional<std::string>> CanonicalValue(const BoundTable& table,
                                                          const ConstraintInfo& constraint,
                                                          const LocalRow& row) {
  std::string value;
  for (const ConstraintInfo::Part& part : constraint.parts) {
    const postgres::ColumnValue& column = row[part.column];
    switch (column.kind) {
      case ColumnKind::kBinary: {
        ASSIGN_OR_RETURN(
            const std::string canonical,
            postgres::CanonicalKeyValue(*table.table().columns[part.column].type, column.data));
        AppendPart(&value, canonical);
        break;
      }
      case ColumnKind::kText:
        AppendPart(&value, column.data);
        break;
      case ColumnKind::kNull:
        if (!constraint.nulls_not_distinct) return std::optional<std::string>();
        postgres::AppendNumber(&value, kNullPart);
        break;
      case ColumnKind::kUnchangedToast:
        return std::optional<std::string>();
    }
  }
  return std::optional<std::string>(std::move(value));
}

// What begins a value that only PostgreSQL can compare: the same number for all that may be the
// same.
std::string BucketSql(const ConstraintInfo& constraint) {
  std::vector<std::string> hashed;
  for (const ConstraintInfo::Part& part : constraint.parts) {
    if (part.hashed) hashed.push_back(Collated(part));
  }
  if (hashed.empty()) return "0";
  return absl::StrCat("hash_record_extended(ROW(", absl::StrJoin(hashed, ", "), "), 0)");
}

// The inverse of AppendPart(), for one column of all values that PostgreSQL is to compare: a
// text[].
std::string EncodeParts(absl::Span<const std::string> values, size_t place) {
  std::vector<absl::string_view> parts;
  bool has_nulls = false;
  std::string out;
  postgres::AppendNumber<uint32_t>(&out, values.empty() ? 0 : 1);
  std::string elements;
  for (const std::string& value : values) {
    postgres::WireReader reader(value);
    reader.Bytes(conflict::kBucketBytes);
    uint32_t size = 0;
    absl::string_view part;
    for (size_t i = 0; i <= place; ++i) {
      size = reader.Uint32();
      part = size == kNullPart ? absl::string_view() : reader.Bytes(size);
    }
    has_nulls |= size == kNullPart;
    postgres::AppendNumber(&elements, size);
    elements.append(part.data(), part.size());
  }
  postgres::AppendNumber<uint32_t>(&out, has_nulls ? 1 : 0);
  postgres::AppendNumber<uint32_t>(&out, 25);  // text
  if (!values.empty()) {
    postgres::AppendNumber(&out, static_cast<uint32_t>(values.size()));
    postgres::AppendNumber<uint32_t>(&out, 1);
  }
  return out + elements;
}

std::string PartsSql(const ConstraintInfo& constraint, int first_param, absl::string_view name) {
  std::vector<std::string> arrays;
  std::vector<std::string> texts;
  std::vector<std::string> values = {"x.n"};
  for (size_t i = 0; i < constraint.parts.size(); ++i) {
    const ConstraintInfo::Part& part = constraint.parts[i];
    arrays.push_back(absl::StrCat("unnest($", first_param + static_cast<int>(i), "::text[])"));
    texts.push_back(absl::StrCat("e", i));
    values.push_back(absl::StrCat("x.e", i, "::", part.type,
                                  part.collation.empty() ? "" : " COLLATE ", part.collation,
                                  " AS e", i));
  }
  return absl::StrCat("(SELECT ", absl::StrJoin(values, ", "), " FROM ROWS FROM (",
                      absl::StrJoin(arrays, ", "), ") WITH ORDINALITY AS x(",
                      absl::StrJoin(texts, ", "), ", n) OFFSET 0) AS ", name);
}

absl::StatusOr<size_t> Place(const Result& result, int row, int column, size_t size) {
  size_t place = 0;
  if (!absl::SimpleAtoi(result.value(row, column), &place) || place == 0 || place > size) {
    return absl::InternalError("a statement returned a place that it was not given");
  }
  return place - 1;
}

}  // namespace

bool HasClaims(const postgres::TableInfo& table) {
  return table.has_key && !table.constraints.empty();
}

std::string StoredClaimKey(const ConstraintInfo& constraint, absl::string_view value,
                           const conflict::Stamp& stamp) {
  return constraint.form == Form::kPairwise
             ? conflict::TimedClaimKey(constraint.fingerprint, value, stamp.time_us)
             : conflict::ClaimKey(constraint.fingerprint, value);
}

std::string InFlightKey(const ConstraintInfo& constraint, absl::string_view value) {
  return conflict::ClaimKey(constraint.fingerprint, constraint.form == Form::kPairwise
                                                        ? value.substr(0, conflict::kBucketBytes)
                                                        : value);
}

absl::Status ClaimReader::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  // Rows are of the table's own type, which PostgreSQL looks up under a lock on the table.
  return connection_->Exec("SET default_transaction_read_only = on; SET lock_timeout = '1s'")
      .status();
}

absl::StatusOr<std::vector<RowClaims>> ClaimReader::Read(const BoundTable& table,
                                                         absl::Span<const LocalRow* const> rows) {
  const std::vector<ConstraintInfo>& constraints = table.table().constraints;
  std::vector<RowClaims> claims(rows.size(), RowClaims(constraints.size()));
  bool by_sql = false;
  for (size_t c = 0; c < constraints.size(); ++c) {
    if (constraints[c].form != Form::kCanonical) {
      by_sql = true;
      continue;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSIGN_OR_RETURN(claims[i][c], CanonicalValue(table, constraints[c], *rows[i]));
    }
  }
  if (!by_sql) return claims;
  RETURN_IF_ERROR(Connect());
  for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
    RETURN_IF_ERROR(ReadBySql(table, rows.subspan(from, kRowsPerStatement),
                              absl::MakeSpan(claims).subspan(from, kRowsPerStatement)));
  }
  return claims;
}

// One SELECT over all rows: for each constraint that only PostgreSQL can tell, whether it holds for
// the row, and then what the value comes to: two hashes, or, where values can only be compared by
// pairs, their bucket and the values themselves as text. The answer is read back in that order.
absl::Status ClaimReader::ReadBySql(const BoundTable& table, absl::Span<const LocalRow* const> rows,
                                    absl::Span<RowClaims> claims) {
  const std::vector<ConstraintInfo>& constraints = table.table().constraints;
  std::vector<std::string> outputs = {std::string(BoundTable::kPlaceColumn)};
  struct Field {
    size_t constraint;
    int first;
  };
  std::vector<Field> fields;
  for (size_t c = 0; c < constraints.size(); ++c) {
    const ConstraintInfo& constraint = constraints[c];
    if (constraint.form == Form::kCanonical) continue;
    fields.push_back({.constraint = c, .first = static_cast<int>(outputs.size())});
    const std::string holds = Holds(constraint);
    std::vector<std::string> parts;
    for (const ConstraintInfo::Part& part : constraint.parts) parts.push_back(Collated(part));
    outputs.push_back(absl::StrCat("(", holds, ")"));
    if (constraint.form == Form::kHash) {
      for (const int seed : {0, 1}) {
        outputs.push_back(absl::StrCat("CASE WHEN ", holds, " THEN hash_record_extended(ROW(",
                                       absl::StrJoin(parts, ", "), "), ", seed, ") END"));
      }
    } else {
      outputs.push_back(absl::StrCat("CASE WHEN ", holds, " THEN ", BucketSql(constraint), " END"));
      for (const std::string& part : parts) {
        outputs.push_back(absl::StrCat("CASE WHEN ", holds, " THEN ", part, "::text END"));
      }
    }
  }
  ASSIGN_OR_RETURN(const std::string encoded, table.EncodeRows(rows));
  std::vector<std::string> beside;
  for (const int column : table.columns_beside()) {
    ASSIGN_OR_RETURN(std::string values, table.EncodeColumn(column, rows));
    beside.push_back(std::move(values));
  }
  std::vector<postgres::Param> params = {{.data = encoded, .binary = true}};
  for (const std::string& values : beside) params.push_back({.data = values, .binary = true});
  ASSIGN_OR_RETURN(const Result result,
                   connection_->ExecParams(absl::StrCat("SELECT ", absl::StrJoin(outputs, ", "),
                                                        " FROM (", table.RowsSql(), ") AS t"),
                                           params));
  for (int row = 0; row < result.rows(); ++row) {
    ASSIGN_OR_RETURN(const size_t place, Place(result, row, 0, rows.size()));
    for (const Field& field : fields) {
      const ConstraintInfo& constraint = constraints[field.constraint];
      if (result.value(row, field.first) != "t" || Incomplete(table, constraint, *rows[place])) {
        continue;
      }
      int part = field.first + 1;
      int end = part + 2;
      std::string value;
      if (constraint.form == Form::kPairwise) {
        int64_t bucket = 0;
        if (!absl::SimpleAtoi(result.value(row, part), &bucket)) {
          return absl::InternalError("a hash is no number");
        }
        postgres::AppendNumber(&value, static_cast<uint64_t>(bucket));
        end = ++part + static_cast<int>(constraint.parts.size());
      }
      for (int i = part; i < end; ++i) {
        if (result.is_null(row, i)) {
          postgres::AppendNumber(&value, kNullPart);
        } else {
          AppendPart(&value, result.value(row, i));
        }
      }
      claims[place][field.constraint] = std::move(value);
    }
  }
  return absl::OkStatus();
}

// Values that have a canonical form or a hash are looked up by it. Of others only those are read
// that lie in the same bucket and were claimed since the oldest that asks, some hundreds at a time,
// and PostgreSQL compares them.
absl::StatusOr<std::vector<conflict::Claimants>> ClaimReader::WhoClaimed(
    const BoundTable& table, size_t constraint, absl::Span<const std::string> values,
    absl::Span<const conflict::Stamp> stamps, const conflict::ClaimStore& store) {
  const ConstraintInfo& info = table.table().constraints[constraint];
  if (info.form != Form::kPairwise) {
    std::vector<std::string> keys;
    for (const std::string& value : values) {
      keys.push_back(conflict::ClaimKey(info.fingerprint, value));
    }
    return store.Get(keys);
  }
  std::vector<conflict::Claimants> claimants(values.size());
  std::vector<std::string> known;
  std::vector<conflict::Claimants> known_claimants;
  const auto compare = [&]() -> absl::Status {
    if (known.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto pairs, Same(info, values, known));
    for (const auto& [one, other] : pairs) {
      claimants[one] = conflict::Merge(claimants[one], known_claimants[other]);
    }
    known.clear();
    known_claimants.clear();
    return absl::OkStatus();
  };
  std::map<absl::string_view, int64_t> oldest_us;  // by bucket
  for (size_t i = 0; i < values.size(); ++i) {
    const absl::string_view bucket = absl::string_view(values[i]).substr(0, conflict::kBucketBytes);
    const auto [at, is_new] = oldest_us.try_emplace(bucket, stamps[i].time_us);
    at->second = std::min(at->second, stamps[i].time_us);
  }
  for (const auto& [bucket, since_us] : oldest_us) {
    RETURN_IF_ERROR(store.Since(
        info.fingerprint, bucket, since_us, [&](absl::string_view value, conflict::Claimants who) {
          known.emplace_back(value);
          known_claimants.push_back(std::move(who));
          return known.size() < kKnownPerStatement ? absl::OkStatus() : compare();
        }));
  }
  RETURN_IF_ERROR(compare());
  return claimants;
}

absl::StatusOr<std::vector<std::pair<size_t, size_t>>> ClaimReader::Same(
    const ConstraintInfo& constraint, absl::Span<const std::string> one,
    absl::Span<const std::string> other) {
  RETURN_IF_ERROR(Connect());
  std::vector<std::string> encoded;
  std::vector<std::string> conditions;
  const size_t parts = constraint.parts.size();
  for (const auto& values : {one, other}) {
    for (size_t i = 0; i < parts; ++i) encoded.push_back(EncodeParts(values, i));
  }
  for (size_t i = 0; i < parts; ++i) {
    conditions.push_back(
        SamePart(constraint, constraint.parts[i], absl::StrCat("a.e", i), absl::StrCat("b.e", i)));
  }
  std::vector<postgres::Param> params;
  for (const std::string& values : encoded) params.push_back({.data = values, .binary = true});
  ASSIGN_OR_RETURN(const Result result,
                   connection_->ExecParams(
                       absl::StrCat("SELECT a.n, b.n FROM ", PartsSql(constraint, 1, "a"), " JOIN ",
                                    PartsSql(constraint, 1 + static_cast<int>(parts), "b"), " ON ",
                                    absl::StrJoin(conditions, " AND ")),
                       params));
  std::vector<std::pair<size_t, size_t>> pairs;
  for (int row = 0; row < result.rows(); ++row) {
    ASSIGN_OR_RETURN(const size_t a, Place(result, row, 0, one.size()));
    ASSIGN_OR_RETURN(const size_t b, Place(result, row, 1, other.size()));
    pairs.emplace_back(a, b);
  }
  return pairs;
}

// The index's own expressions stand on the side of the table, so that the index finds the rows.
std::string HoldersSql(const BoundTable& table, const ConstraintInfo& constraint) {
  std::vector<std::string> given = {absl::StrCat(BoundTable::kPlaceColumn)};
  std::vector<std::string> conditions;
  for (size_t i = 0; i < constraint.parts.size(); ++i) {
    const ConstraintInfo::Part& part = constraint.parts[i];
    const std::string name = absl::StrCat("\"bdr part ", i, "\"");
    given.push_back(absl::StrCat(Collated(part), " AS ", name));
    conditions.push_back(SamePart(constraint, part, Collated(part), absl::StrCat("r.", name)));
  }
  if (!constraint.predicate.empty()) {
    conditions.push_back(absl::StrCat("(", constraint.predicate, ")"));
  }
  std::vector<std::string> outputs = {absl::StrCat("r.", BoundTable::kPlaceColumn)};
  for (const int column : table.table().key) {
    outputs.push_back(
        absl::StrCat("t.", postgres::QuoteIdentifier(table.table().columns[column].name)));
  }
  outputs.push_back("t.xmin::pg_catalog.text");
  return absl::StrCat("SELECT ", absl::StrJoin(outputs, ", "), " FROM (SELECT ",
                      absl::StrJoin(given, ", "), " FROM (", table.RowsSql(), ") AS t WHERE ",
                      Holds(constraint), " OFFSET 0) AS r JOIN ",
                      constraint.partition.empty() ? table.Only() : constraint.partition,
                      " AS t ON ", absl::StrJoin(conditions, " AND "));
}

}  // namespace bdr::agent
