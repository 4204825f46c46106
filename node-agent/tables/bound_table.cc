#include "node-agent/tables/bound_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/big_endian.h"
#include "base/status_macros.h"
#include "conflict/row_filter.h"
#include "node-agent/clocks/stable_xid.h"
#include "node-agent/tables/found_rows.h"
#include "postgres/connection.h"
#include "postgres/type_names.h"
#include "postgres/value_form.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::QualifiedTypeName;
using postgres::QuoteIdentifier;

constexpr uint32_t kTextOid = 25;
constexpr int64_t kPostgresEpochUs = 946'684'800'000'000;  // 2000-01-01 in µs since 1970

// Whether an UPDATE sets the column.
bool Writable(const postgres::ColumnInfo& column) {
  if (column.identity_always) return false;
  return column.key_position < 0 || postgres::EqualMayLookDifferent(*column.type);
}

// One column of a row for the conflict log; many make bdr.columns_as_jsonb(ARRAY[...]).
std::string AsJsonbSql(const std::string& name, absl::string_view value) {
  return absl::StrCat("bdr.column_as_jsonb(", postgres::QuoteLiteral(name), ", ", value, ")");
}

// What an update or delete must know of the row found.
std::string Check(absl::string_view older_than, absl::string_view seen) {
  return conflict::SqlFilter(
      {.older_than = older_than, .seen = seen, .long_stable = WrittenByStableXidSql()});
}

void AppendInt32(std::string* out, uint32_t value) { AppendBigEndian(out, value, 4); }

void AppendInt64(std::string* out, uint64_t value) { AppendBigEndian(out, value, 8); }

// PostgreSQL's array_send: dimensions, whether there are nulls, element type, then the one
// dimension's size and lower bound.
std::string ArrayHeader(uint32_t element_oid, size_t size, bool has_nulls) {
  std::string out;
  AppendInt32(&out, size == 0 ? 0 : 1);
  AppendInt32(&out, has_nulls ? 1 : 0);
  AppendInt32(&out, element_oid);
  if (size == 0) return out;
  AppendInt32(&out, static_cast<uint32_t>(size));
  AppendInt32(&out, 1);
  return out;
}

void AppendSized(std::string* out, absl::string_view data) {
  AppendInt32(out, static_cast<uint32_t>(data.size()));
  out->append(data.data(), data.size());
}

// A column of the row t, as it travels.
std::string Shown(const postgres::ColumnInfo& column) {
  const std::string value = absl::StrCat("t.", QuoteIdentifier(column.name));
  return column.binary ? value : postgres::TextOfSql(*column.type, value);
}

// Of an INSERT. SQL has no empty list; without any, what is selected names the columns, which may
// be none: a table without columns, or where each has its default.
std::string Columns(const std::vector<std::string>& names) {
  return names.empty() ? "" : absl::StrCat(" (", absl::StrJoin(names, ", "), ")");
}

std::atomic<uint64_t> next_id{1};

}  // namespace

absl::StatusOr<std::shared_ptr<const BoundTable>> BoundTable::Make(
    const RemoteRelation& relation, std::shared_ptr<const postgres::TableInfo> table,
    std::shared_ptr<const PolicyHistory> policies, uint64_t settings_active) {
  ASSIGN_OR_RETURN(ColumnMap columns, ColumnMap::Make(relation.message, std::move(table),
                                                      /*every_column=*/true, relation.types));
  auto bound = std::shared_ptr<BoundTable>(new BoundTable(std::move(columns)));
  RETURN_IF_ERROR(bound->CheckGenerated());
  bound->id_ = next_id++;
  bound->fold_ = FoldBinding(std::move(policies), settings_active, bound->table());
  if (!bound->fold_.folds()) bound->FindUnspoken();
  std::vector<int> columns_written =
      bound->fold_.folds() ? bound->fold_columns() : bound->columns_.local_of_remote();
  for (const auto& [column, value] : bound->unspoken_) columns_written.push_back(column);
  for (const int local : columns_written) {
    if (local < 0) continue;  // left out
    const postgres::ColumnInfo& column = bound->table().columns[local];
    if (column.generated) continue;
    bound->written_.push_back(local);
    if (column.identity_always && column.key_position < 0) bound->identities_.push_back(local);
  }
  bool domains = false;
  bool arrays = false;
  for (const int local : bound->written_) {
    const postgres::TypeInfo& type = *bound->table().columns[local].type;
    domains |= type.oid != type.base_oid;
    arrays |= type.kind == postgres::TypeInfo::Kind::kArray;
  }
  std::vector<const postgres::TypeInfo*> types;
  for (const postgres::ColumnInfo& column : bound->table().columns) {
    types.push_back(column.type.get());
  }
  bound->by_column_ = postgres::TravelsByColumn(types);
  // A domain that takes no null would refuse the place of a value that does not come along.
  if (domains && !arrays) bound->by_column_ = true;
  for (const int local : bound->written_) {
    if (bound->by_column_ || !bound->table().columns[local].binary) {
      bound->columns_beside_.push_back(local);
    }
  }
  std::vector<std::string> shape;
  bool cuts = bound->by_column_;  // nor would a new column be noticed then
  for (const postgres::ColumnInfo& column : bound->table().columns) {
    cuts |= postgres::CutsInSilence(*column.type);
    shape.push_back(absl::StrCat(column.attnum, " ", column.type->oid, " ", column.type_modifier));
  }
  if (cuts) bound->shape_ = absl::StrJoin(shape, ",");
  return bound;
}

// The columns were added here first, or dropped there first. A change from there cannot have seen
// anything in them but what rows have that nobody wrote since; and once the others have added them
// their rows show that too. So it is part of the version, on every node alike, however late the
// change arrives there. What cannot be told (a default that differs from row to row, an identity)
// stays as it is.
void BoundTable::FindUnspoken() {
  const std::vector<postgres::ColumnInfo>& columns = table().columns;
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns_.remote_of_local()[i] >= 0 || !columns[i].before_known()) continue;
    postgres::ColumnValue value;
    if (const std::optional<std::string>& before = columns[i].before(); before.has_value()) {
      value = {.kind = columns[i].binary ? ColumnKind::kBinary : ColumnKind::kText,
               .data = *before};
    }
    unspoken_.emplace_back(static_cast<int>(i), value);
  }
}

// What comes for a generated column cannot be written: it would be lost in silence.
absl::Status BoundTable::CheckGenerated() const {
  for (const int local : columns_.local_of_remote()) {
    if (local < 0 || !table().columns[local].generated) continue;
    const std::string& name = table().columns[local].name;
    return absl::FailedPreconditionError(absl::StrCat(
        "column \"", name, "\" of table \"", table().DisplayName(),
        "\" is generated here and a plain one where the change comes from, so its values would be "
        "lost; make it the same on every node (ALTER TABLE ",
        table().QualifiedName(), " ALTER COLUMN ", QuoteIdentifier(name),
        " DROP EXPRESSION, say) and run \"bdrctl apply retry\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<LocalRow> BoundTable::ToLocal(const postgres::Tuple& tuple,
                                             std::deque<std::string>* kept) const {
  const std::vector<int>& local_of_remote = columns_.local_of_remote();
  if (tuple.columns.size() != local_of_remote.size()) {
    return absl::DataLossError(
        absl::StrCat("a row of table \"", table().DisplayName(), "\" has ", tuple.columns.size(),
                     " columns where its relation has ", local_of_remote.size()));
  }
  LocalRow row(table().columns.size());
  for (size_t remote = 0; remote < tuple.columns.size(); ++remote) {
    if (local_of_remote[remote] < 0) continue;  // left out
    postgres::ColumnValue& value = row[local_of_remote[remote]];
    value = tuple.columns[remote];
    if (!columns_.converts()) continue;
    std::string converted;
    ASSIGN_OR_RETURN(value, columns_.Convert(remote, value, &converted));
    if (value.data.data() != converted.data()) continue;
    kept->push_back(std::move(converted));
    value.data = kept->back();
  }
  for (const auto& [column, value] : unspoken_) row[column] = value;
  return row;
}

std::vector<bool> BoundTable::Settable(const LocalRow& row) const {
  std::vector<bool> set(row.size(), false);
  for (const int column : written_) {
    const postgres::ColumnInfo& info = table().columns[column];
    set[column] = row[column].kind != ColumnKind::kUnchangedToast && Writable(info);
  }
  return set;
}

std::vector<bool> BoundTable::Given(const LocalRow& row) const {
  std::vector<bool> given(row.size(), false);
  for (const int column : written_) {
    given[column] = row[column].kind != ColumnKind::kUnchangedToast;
  }
  return given;
}

std::string BoundTable::Only() const {
  return absl::StrCat(table().kind == 'r' ? "ONLY " : "", table().QualifiedName());
}

bool BoundTable::IsWritten(int column) const {
  return std::find(written_.begin(), written_.end(), column) != written_.end();
}

// Of a written column; of another one null.
std::string BoundTable::Value(int column) const {
  const postgres::ColumnInfo& info = table().columns[column];
  if (info.binary) return absl::StrCat("r.c", column);
  if (!IsWritten(column)) return absl::StrCat("NULL::", QualifiedTypeName(*info.type));
  return postgres::FromTextSql(*info.type, absl::StrCat("r.x", column));
}

// FROM unnest(...) AS r(c0, c1, ..., [s,] [x3, ...,] n), or with an array for each column
// AS r(given, [s,] c0, x1, ..., n); x are texts.
std::string BoundTable::RowsFrom(bool with_times, int first_beside) const {
  std::vector<std::string> arrays;
  std::vector<std::string> names;
  if (by_column_) {
    arrays.push_back("pg_catalog.unnest($1::pg_catalog.int4[])");
    names.push_back("given");
  } else {
    arrays.push_back(absl::StrCat("pg_catalog.unnest($1::", table().QualifiedName(), "[])"));
    for (size_t i = 0; i < table().columns.size(); ++i) names.push_back(absl::StrCat("c", i));
  }
  if (with_times) {
    arrays.push_back("pg_catalog.unnest($2::pg_catalog.timestamptz[])");
    names.push_back("s");
  }
  AppendBeside(first_beside, &arrays, &names);
  names.push_back("n");
  return absl::StrCat("ROWS FROM (", absl::StrJoin(arrays, ", "), ") WITH ORDINALITY AS r(",
                      absl::StrJoin(names, ", "), ")");
}

// Parameters from $first on: an array for each of columns_beside().
void BoundTable::AppendBeside(int first, std::vector<std::string>* arrays,
                              std::vector<std::string>* names) const {
  for (size_t i = 0; i < columns_beside_.size(); ++i) {
    const postgres::ColumnInfo& info = table().columns[columns_beside_[i]];
    const std::string name = info.binary ? absl::StrCat(QuoteIdentifier(info.type->base_schema),
                                                        ".", QuoteIdentifier(info.type->base_name))
                                         : "pg_catalog.text";
    arrays->push_back(
        absl::StrCat("pg_catalog.unnest($", first + static_cast<int>(i), "::", name, "[])"));
    names->push_back(absl::StrCat(info.binary ? "c" : "x", columns_beside_[i]));
  }
}

std::string BoundTable::KeysFrom(bool with_times) const {
  std::vector<std::string> arrays;
  std::vector<std::string> names;
  for (size_t i = 0; i < table().key.size(); ++i) {
    const int column = table().key[i];
    arrays.push_back(absl::StrCat("pg_catalog.unnest($", i + 1,
                                  "::", QualifiedTypeName(*table().columns[column].type), "[])"));
    names.push_back(absl::StrCat("c", column));
  }
  if (with_times) {
    arrays.push_back(
        absl::StrCat("pg_catalog.unnest($", table().key.size() + 1, "::pg_catalog.timestamptz[])"));
    names.push_back("s");
  }
  names.push_back("n");
  return absl::StrCat("ROWS FROM (", absl::StrJoin(arrays, ", "), ") WITH ORDINALITY AS r(",
                      absl::StrJoin(names, ", "), ")");
}

std::string BoundTable::KeyEquals() const {
  std::vector<std::string> terms;
  for (const int column : table().key) {
    const postgres::ColumnInfo& info = table().columns[column];
    terms.push_back(absl::StrCat("t.", QuoteIdentifier(info.name), " ", KeyOperator(info), " r.c",
                                 column, info.collation.empty() ? "" : " COLLATE ",
                                 info.collation));
  }
  return absl::StrJoin(terms, " AND ");
}

std::string BoundTable::UpdateSql(const std::vector<bool>& set, bool checked) const {
  std::vector<std::string> terms;
  for (size_t i = 0; i < set.size(); ++i) {
    if (!set[i]) continue;
    terms.push_back(
        absl::StrCat(QuoteIdentifier(table().columns[i].name), " = ", Value(static_cast<int>(i))));
  }
  const std::string where =
      absl::StrCat(RowsFrom(/*with_times=*/true, 4), " WHERE ", KeyEquals(), " AND ",
                   checked ? Check("r.s", "$3::pg_catalog.timestamptz[]")
                           : "$3::pg_catalog.timestamptz[] IS NOT NULL");
  if (terms.empty()) terms.push_back(Touch());
  if (terms.front().empty()) {
    const std::string key = QuoteIdentifier(table().columns[table().key.front()].name);
    return absl::StrCat("WITH gone AS (DELETE FROM ", Only(), " AS t USING ", where,
                        " RETURNING r.n, t.", key, " AS k), again AS (INSERT INTO ",
                        table().QualifiedName(), " (", key,
                        ") OVERRIDING SYSTEM VALUE SELECT k FROM gone RETURNING ", key,
                        " AS k) SELECT gone.n FROM gone JOIN again ON again.k = gone.k");
  }
  return absl::StrCat("UPDATE ", Only(), " AS t SET ", absl::StrJoin(terms, ", "), " FROM ", where,
                      " RETURNING r.n");
}

// What writes a row although nothing of it changes, so that it carries this commit's time. Empty if
// there is no such thing: an ALWAYS identity cannot be set to itself, and the table has only that.
std::string BoundTable::Touch() const {
  const postgres::ColumnInfo& key = table().columns[table().key.front()];
  const postgres::ColumnInfo* touched = key.identity_always ? nullptr : &key;
  for (const postgres::ColumnInfo& column : table().columns) {
    if (touched == nullptr && !column.identity_always) touched = &column;
  }
  if (touched == nullptr) return "";
  const std::string name = QuoteIdentifier(touched->name);
  return absl::StrCat(name, " = ", touched->generated ? "DEFAULT" : absl::StrCat("t.", name));
}

std::string BoundTable::ReplaceSql(const std::vector<bool>& set, bool checked) const {
  std::vector<std::string> names;
  std::vector<std::string> values;
  std::vector<std::string> places;
  for (size_t i = 0; i < table().columns.size(); ++i) {
    const postgres::ColumnInfo& column = table().columns[i];
    if (column.generated) continue;
    const int index = static_cast<int>(i);
    const std::string name = QuoteIdentifier(column.name);
    std::string value = absl::StrCat("t.", name);
    if (std::find(identities_.begin(), identities_.end(), index) != identities_.end()) {
      value = absl::StrCat("COALESCE(", Value(index), ", ", value, ")");
    } else if (set[i] || column.key_position >= 0) {
      value = Value(index);
    }
    places.push_back(absl::StrCat("w", i));
    values.push_back(absl::StrCat(value, " AS ", places.back()));
    names.push_back(name);
  }
  std::vector<std::string> differs;
  for (const int column : identities_) {
    // Never null but where nothing is known of it: it was added after the row.
    differs.push_back(
        absl::StrCat("t.", QuoteIdentifier(table().columns[column].name), " <> ", Value(column)));
  }
  const std::string where =
      absl::StrCat(" WHERE ", KeyEquals(), " AND (", absl::StrJoin(differs, " OR "), ") AND ",
                   checked ? Check("r.s", "$3::pg_catalog.timestamptz[]")
                           : "$3::pg_catalog.timestamptz[] IS NOT NULL");
  const std::string rows = RowsFrom(/*with_times=*/true, 4);
  // The update that follows would pass over what was not replaced, so that is counted here.
  return absl::StrCat("WITH due AS (SELECT FROM ", Only(), " AS t, ", rows, where,
                      "), gone AS (DELETE FROM ", Only(), " AS t USING ", rows, where,
                      " RETURNING ", absl::StrJoin(values, ", "), "), put AS (INSERT INTO ",
                      table().QualifiedName(), " (", absl::StrJoin(names, ", "),
                      ") OVERRIDING SYSTEM VALUE SELECT ", absl::StrJoin(places, ", "),
                      " FROM gone RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM due) = "
                      "(SELECT pg_catalog.count(*) FROM put)");
}

// An upsert that takes the row found only where Check() allows it. Where PostgreSQL has no upsert
// (a rule ON UPDATE) or there is nothing to set, it inserts what stands nowhere.
std::string BoundTable::InsertSql(bool checked) const {
  std::vector<std::string> names;
  std::vector<std::string> values;
  std::vector<std::string> sets;
  std::vector<std::string> keys;
  for (const int column : written_) {
    const postgres::ColumnInfo& info = table().columns[column];
    const std::string name = QuoteIdentifier(info.name);
    names.push_back(name);
    values.push_back(Value(column));
    if (Writable(info)) {
      sets.push_back(absl::StrCat(name, " = EXCLUDED.", name));
    }
  }
  for (const int column : table().key) {
    keys.push_back(QuoteIdentifier(table().columns[column].name));
  }
  if (sets.empty()) sets.push_back(Touch());
  const bool refuses = table().has_update_rule;
  if (refuses || sets.front().empty()) {
    // What stands there is found and written anew by UpdateSql(). What comes to stand there just
    // now is a unique violation where it cannot be a conflict.
    return absl::StrCat("INSERT INTO ", table().QualifiedName(), Columns(names),
                        " OVERRIDING SYSTEM VALUE SELECT ", absl::StrJoin(values, ", "), " FROM ",
                        RowsFrom(/*with_times=*/false, 4),
                        " WHERE $2::pg_catalog.timestamptz IS NOT NULL AND "
                        "$3::pg_catalog.timestamptz[] IS NOT NULL",
                        refuses ? absl::StrCat(" AND NOT EXISTS (SELECT FROM ", Only(),
                                               " AS t WHERE ", KeyEquals(), ")")
                                : " ON CONFLICT DO NOTHING");
  }
  // $2 and $3 are named also where they are not used, so that every variant takes the same.
  return absl::StrCat("INSERT INTO ", table().QualifiedName(), " AS t (",
                      absl::StrJoin(names, ", "), ") OVERRIDING SYSTEM VALUE SELECT ",
                      absl::StrJoin(values, ", "), " FROM ", RowsFrom(/*with_times=*/false, 4),
                      " ON CONFLICT (", absl::StrJoin(keys, ", "), ") DO UPDATE SET ",
                      absl::StrJoin(sets, ", "), " WHERE ",
                      checked ? Check("$2::pg_catalog.timestamptz", "$3::pg_catalog.timestamptz[]")
                              : std::string("$2::pg_catalog.timestamptz IS NOT NULL AND "
                                            "$3::pg_catalog.timestamptz[] IS NOT NULL"));
}

std::string BoundTable::PlainInsertSql(const std::vector<bool>& given) const {
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (const int column : written_) {
    if (!given[column]) continue;
    names.push_back(QuoteIdentifier(table().columns[column].name));
    values.push_back(Value(column));
  }
  return absl::StrCat("INSERT INTO ", table().QualifiedName(), Columns(names),
                      " OVERRIDING SYSTEM VALUE SELECT ", absl::StrJoin(values, ", "), " FROM ",
                      RowsFrom(/*with_times=*/false, 2));
}

std::string BoundTable::RewriteSql(const std::vector<bool>& kept) const {
  std::vector<std::string> names;
  std::vector<std::string> values;
  std::vector<std::string> places;
  size_t mask = 2 + columns_beside_.size();
  for (size_t i = 0; i < table().columns.size(); ++i) {
    const postgres::ColumnInfo& column = table().columns[i];
    const std::string keeps =
        kept[i] ? absl::StrCat("($", mask++, "::pg_catalog.int4[])[r.n] = 1") : "";
    if (column.generated) continue;
    const int index = static_cast<int>(i);
    const std::string name = QuoteIdentifier(column.name);
    const bool comes = std::find(written_.begin(), written_.end(), index) != written_.end();
    std::string value = comes ? Value(index) : absl::StrCat("t.", name);
    if (comes && kept[i]) {
      value = absl::StrCat("CASE WHEN ", keeps, " THEN t.", name, " ELSE ", value, " END");
    }
    places.push_back(absl::StrCat("w", i));
    values.push_back(absl::StrCat(value, " AS ", places.back()));
    names.push_back(name);
  }
  // Sorting needs all rows before it gives the first.
  return absl::StrCat("WITH gone AS (DELETE FROM ", Only(), " AS t USING ",
                      RowsFrom(/*with_times=*/false, 2), " WHERE ", KeyEquals(),
                      " RETURNING r.n AS place, ", absl::StrJoin(values, ", "), ") INSERT INTO ",
                      table().QualifiedName(), " (", absl::StrJoin(names, ", "),
                      ") OVERRIDING SYSTEM VALUE SELECT ", absl::StrJoin(places, ", "),
                      " FROM gone ORDER BY place");
}

std::string BoundTable::RowsSql() const {
  std::vector<std::string> plain = {absl::StrCat("r.n AS ", kPlaceColumn)};
  std::vector<std::string> generated = {"u.*"};
  for (size_t i = 0; i < table().columns.size(); ++i) {
    const postgres::ColumnInfo& column = table().columns[i];
    const int index = static_cast<int>(i);
    const std::string name = QuoteIdentifier(column.name);
    if (column.generated) {
      generated.push_back(absl::StrCat(
          "(", column.generated_as.empty() ? "NULL" : column.generated_as, ") AS ", name));
    } else if (by_column_ && !IsWritten(index)) {
      plain.push_back(absl::StrCat("NULL::", QualifiedTypeName(*column.type), " AS ", name));
    } else {
      plain.push_back(absl::StrCat(Value(index), " AS ", name));
    }
  }
  return absl::StrCat("SELECT ", absl::StrJoin(generated, ", "), " FROM (SELECT ",
                      absl::StrJoin(plain, ", "), " FROM ", RowsFrom(/*with_times=*/false, 2),
                      ") AS u");
}

std::string BoundTable::DeleteSql(bool checked) const {
  return absl::StrCat(
      "DELETE FROM ", Only(), " AS t USING ", KeysFrom(checked), " WHERE ", KeyEquals(),
      checked ? " AND " : "",
      checked ? Check("r.s", absl::StrCat("$", key_columns() + 2, "::pg_catalog.timestamptz[]"))
              : "",
      " RETURNING r.n");
}

std::string BoundTable::FindSql(bool lock, bool with_rows) const {
  return FindShowingSql(lock, with_rows ? "bdr.row_as_jsonb(t.*)" : "NULL");
}

std::string BoundTable::FindShowingSql(bool lock, absl::string_view shown) const {
  return absl::StrCat("SELECT ", FoundSql(), ", ", shown, " FROM ", KeysFrom(/*with_times=*/false),
                      " JOIN ", Only(), " AS t ON ", KeyEquals(), lock ? " FOR UPDATE OF t" : "");
}

std::vector<int> BoundTable::fold_columns() const {
  std::vector<int> columns;
  for (size_t i = 0; i < table().columns.size(); ++i) {
    if (!table().columns[i].generated) columns.push_back(static_cast<int>(i));
  }
  return columns;
}

std::string BoundTable::FindWholeSql() const {
  std::vector<std::string> columns;
  for (const int column : fold_columns()) {
    const postgres::ColumnInfo& info = table().columns[column];
    columns.push_back(Shown(info));
  }
  return FindShowingSql(/*lock=*/true, absl::StrCat("bdr.row_as_jsonb(t.*)::pg_catalog.text, ",
                                                    absl::StrJoin(columns, ", ")));
}

std::string BoundTable::FetchColumnsSql(const std::vector<int>& columns) const {
  std::vector<std::string> names;
  for (const int column : columns) {
    const postgres::ColumnInfo& info = table().columns[column];
    names.push_back(Shown(info));
  }
  return absl::StrCat("SELECT ", FoundSql({.tells_long_stable = false}), ", ",
                      absl::StrJoin(names, ", "), " FROM ", KeysFrom(/*with_times=*/false),
                      " JOIN ", Only(), " AS t ON ", KeyEquals());
}

RowSources BoundTable::KeySources() const {
  RowSources sources;
  std::vector<std::string> pairs;
  for (size_t i = 0; i < table().key.size(); ++i) {
    const postgres::ColumnInfo& info = table().columns[table().key[i]];
    sources.arrays.push_back(
        absl::StrCat("pg_catalog.unnest($", i + 1, "::", QualifiedTypeName(*info.type), "[])"));
    sources.names.push_back(absl::StrCat("k", i));
    pairs.push_back(AsJsonbSql(info.name, absl::StrCat("r.k", i)));
  }
  sources.json = absl::StrCat("bdr.columns_as_jsonb(ARRAY[", absl::StrJoin(pairs, ", "),
                              "]::pg_catalog.jsonb[])");
  return sources;
}

void BoundTable::AddRowSources(size_t rows, size_t first_beside, RowSources* sources) const {
  const std::string whole =
      absl::StrCat("bdr.row_as_jsonb(($", rows, "::", table().QualifiedName(), "[])[r.n])");
  if (by_column_) {
    sources->arrays.push_back(absl::StrCat("pg_catalog.unnest($", rows, "::pg_catalog.int4[])"));
    sources->names.push_back("given");
  }
  AppendBeside(static_cast<int>(first_beside), &sources->arrays, &sources->names);
  std::vector<std::string> values;
  for (const int column : columns_beside_) {
    values.push_back(AsJsonbSql(table().columns[column].name, Value(column)));
  }
  const std::string beside = absl::StrCat("bdr.columns_as_jsonb(ARRAY[",
                                          absl::StrJoin(values, ", "), "]::pg_catalog.jsonb[])");
  if (by_column_) {
    sources->json = absl::StrCat("CASE WHEN r.given = 1 THEN ", beside, " END");
  } else {
    sources->json = columns_beside_.empty()
                        ? whole
                        : absl::StrCat("pg_catalog.jsonb_concat(", whole, ", ", beside, ")");
  }
}

std::string BoundTable::AbsentColumns(const LocalRow& row) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i].kind != ColumnKind::kUnchangedToast) continue;
    names.push_back(absl::StrCat(
        "\"", absl::StrReplaceAll(table().columns[i].name, {{"\\", "\\\\"}, {"\"", "\\\""}}),
        "\""));
  }
  return names.empty() ? "" : absl::StrCat("{", absl::StrJoin(names, ","), "}");
}

// Whether there is a value to send. Never null in place of a value: capture gives each in the form
// that its column's type has everywhere, and one in the other form comes from a node that sees the
// type otherwise.
absl::StatusOr<bool> BoundTable::IsSent(const postgres::ColumnInfo& column,
                                        const postgres::ColumnValue& value) const {
  if (value.kind == ColumnKind::kNull) return false;
  // A filler comes in the form that belongs here: it was read here.
  if (value.kind == ColumnKind::kUnchangedToast) return !value.data.empty();
  if (value.kind == (column.binary ? ColumnKind::kBinary : ColumnKind::kText)) return true;
  return absl::FailedPreconditionError(
      absl::StrCat("a value of column \"", column.name, "\" of table \"", table().DisplayName(),
                   "\" comes ", column.binary ? "as text" : "in binary form", ", and type ",
                   postgres::TypeNameForPeople(*column.type), " travels ",
                   column.binary ? "in binary form" : "as text",
                   " here; give the table the same columns and types on every node"));
}

// An array of the table's row type in PostgreSQL's binary form: array_send() around record_send(),
// a length before each row that is known only behind it. Columns that travel beside the rows are
// null in them.
absl::StatusOr<std::string> BoundTable::EncodeRows(absl::Span<const LocalRow* const> rows) const {
  if (by_column_) {
    std::vector<int32_t> given;
    for (const LocalRow* row : rows) given.push_back(row == nullptr ? 0 : 1);
    return EncodeInt4Array(given);
  }
  const std::vector<postgres::ColumnInfo>& columns = table().columns;
  bool has_nulls = false;
  for (const LocalRow* row : rows) has_nulls |= row == nullptr;
  std::string out = ArrayHeader(table().row_type_oid, rows.size(), has_nulls);
  for (const LocalRow* row : rows) {
    if (row == nullptr) {
      AppendInt32(&out, UINT32_MAX);
      continue;
    }
    const size_t size_at = out.size();
    AppendInt32(&out, 0);  // filled in below
    AppendInt32(&out, static_cast<uint32_t>(columns.size()));
    for (size_t i = 0; i < columns.size(); ++i) {
      AppendInt32(&out, columns[i].type->oid);
      const postgres::ColumnValue& value = (*row)[i];
      if (columns[i].generated || !columns[i].binary) {  // computed, or sent beside
        AppendInt32(&out, UINT32_MAX);
        continue;
      }
      ASSIGN_OR_RETURN(const bool sent, IsSent(columns[i], value));
      if (!sent) {
        AppendInt32(&out, UINT32_MAX);
      } else if (columns[i].type->carries_user_oids()) {
        ASSIGN_OR_RETURN(const std::string translated,
                         postgres::TranslateBinary(*columns[i].type, value.data));
        AppendSized(&out, translated);
      } else {
        AppendSized(&out, value.data);
      }
    }
    const uint32_t size = static_cast<uint32_t>(out.size() - size_at - 4);
    for (int i = 0; i < 4; ++i) out[size_at + i] = static_cast<char>(size >> (24 - 8 * i));
  }
  return out;
}

absl::StatusOr<std::string> BoundTable::EncodeColumn(int column,
                                                     absl::Span<const LocalRow* const> rows) const {
  const postgres::ColumnInfo& info = table().columns[column];
  const postgres::TypeInfo& type = *info.type;
  std::string out =
      ArrayHeader(info.binary ? type.base_oid : kTextOid, rows.size(), /*has_nulls=*/true);
  for (const LocalRow* row : rows) {
    const postgres::ColumnValue value = row == nullptr ? postgres::ColumnValue{} : (*row)[column];
    ASSIGN_OR_RETURN(const bool sent, IsSent(info, value));
    if (!sent) {
      AppendInt32(&out, UINT32_MAX);
    } else if (info.binary && type.carries_user_oids()) {
      ASSIGN_OR_RETURN(const std::string translated, postgres::TranslateBinary(type, value.data));
      AppendSized(&out, translated);
    } else {
      AppendSized(&out, value.data);
    }
  }
  return out;
}

bool BoundTable::RefusesNulls(const LocalRow& row) const {
  if (by_column_) return false;
  for (size_t i = 0; i < row.size(); ++i) {
    const postgres::TypeInfo& type = *table().columns[i].type;
    if (row[i].kind == ColumnKind::kUnchangedToast && row[i].data.empty() &&
        type.oid != type.base_oid) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<std::string> BoundTable::EncodeKeyColumn(
    size_t key_column, absl::Span<const LocalRow* const> rows) const {
  const int column = table().key[key_column];
  const postgres::ColumnInfo& info = table().columns[column];
  std::string out = ArrayHeader(info.type->oid, rows.size(), /*has_nulls=*/false);
  for (const LocalRow* row : rows) {
    const postgres::ColumnValue& value = (*row)[column];
    if (value.kind != ColumnKind::kBinary) {
      return absl::FailedPreconditionError(absl::StrCat("key column \"", info.name,
                                                        "\" of table \"", table().DisplayName(),
                                                        "\" comes without a value in binary form"));
    }
    if (info.type->carries_user_oids()) {
      ASSIGN_OR_RETURN(const std::string translated,
                       postgres::TranslateBinary(*info.type, value.data));
      AppendSized(&out, translated);
    } else {
      AppendSized(&out, value.data);
    }
  }
  return out;
}

std::string EncodeInt4(int32_t value) {
  std::string out;
  AppendInt32(&out, static_cast<uint32_t>(value));
  return out;
}

std::string EncodeInt8(int64_t value) {
  std::string out;
  AppendInt64(&out, static_cast<uint64_t>(value));
  return out;
}

std::string EncodeTextArray(absl::Span<const std::string> values) {
  std::string out = ArrayHeader(kTextOid, values.size(), /*has_nulls=*/false);
  for (const std::string& value : values) AppendSized(&out, value);
  return out;
}

std::string EncodeInt4Array(absl::Span<const int32_t> values) {
  std::string out = ArrayHeader(23, values.size(), /*has_nulls=*/false);
  for (const int32_t value : values) {
    AppendInt32(&out, 4);
    AppendInt32(&out, static_cast<uint32_t>(value));
  }
  return out;
}

std::string EncodeInt8Array(absl::Span<const int64_t> values) {
  std::string out = ArrayHeader(20, values.size(), /*has_nulls=*/false);
  for (const int64_t value : values) {
    AppendInt32(&out, 8);
    AppendInt64(&out, static_cast<uint64_t>(value));
  }
  return out;
}

std::string EncodeTimestamptz(int64_t time_us) {
  std::string out;
  AppendInt64(&out,
              static_cast<uint64_t>(time_us == INT64_MAX ? time_us : time_us - kPostgresEpochUs));
  return out;
}

std::string EncodeTimestamptzArray(absl::Span<const int64_t> times_us) {
  std::string out = ArrayHeader(kTimestamptzOid, times_us.size(), /*has_nulls=*/true);
  for (const int64_t time_us : times_us) {
    if (time_us == INT64_MIN) {
      AppendInt32(&out, UINT32_MAX);
    } else {
      AppendSized(&out, EncodeTimestamptz(time_us));
    }
  }
  return out;
}

}  // namespace bdr::agent
