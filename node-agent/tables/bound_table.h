// A relation of an origin bound to the local table of the same name: which column is which, and the
// SQL that writes to it.
//
// Rows travel to the server as one array of the table's own row type, in binary, so that columns of
// any type (arrays too) go through their type's receive function and nothing is parsed or formatted
// on the way. Columns whose values travel as text (postgres/value_form.h) are null in these rows
// and come beside them, as one array of texts for each. Keys travel as one array for each key
// column. So do whole rows where a column's type has no receive function: the row type has none
// then either, even for rows in which it is null.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/fold_binding.h"
#include "node-agent/tables/remote_relation.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// A row by the local table's columns. A column that the origin does not send is what it is in rows
// from before it was added; kNull where that cannot be told, and it is not written then.
using LocalRow = std::vector<postgres::ColumnValue>;

// Of a statement over rows that are sent: what stands in ROWS FROM (...) WITH ORDINALITY AS r(...),
// whose last name, n, is the caller's to add; and an expression over r.
struct RowSources {
  std::vector<std::string> arrays;
  std::vector<std::string> names;
  std::string json;
};

class BoundTable {
 public:
  // kFailedPrecondition, naming table and column, if a column is missing or generated here, or its
  // type differs.
  static absl::StatusOr<std::shared_ptr<const BoundTable>> Make(
      const RemoteRelation& relation, std::shared_ptr<const postgres::TableInfo> table,
      std::shared_ptr<const PolicyHistory> policies = nullptr, uint64_t settings_active = 0);

  const postgres::TableInfo& table() const { return columns_.table(); }
  const ColumnMap& columns() const { return columns_; }
  // Unique among all ever made: prepared statements are named by it.
  uint64_t id() const { return id_; }

  // The live columns with their types and modifiers, as pg_attribute has them, where a change of
  // these would make nothing fail that is written as it is bound now; else empty.
  const std::string& shape() const { return shape_; }

  // Its policies; what folds is written as conflict/fold.h says and not by these statements alone.
  const FoldBinding& fold() const { return fold_; }

  // kDataLoss if the tuple has another number of columns than its relation; kFailedPrecondition if
  // a value does not fit into the local column. Values that had to be converted are in `kept`.
  absl::StatusOr<LocalRow> ToLocal(const postgres::Tuple& tuple,
                                   std::deque<std::string>* kept) const;

  // Which columns an UPDATE of this row can set: those that came with it. Rows of one statement
  // must have the same.
  std::vector<bool> Settable(const LocalRow& row) const;
  // Which columns an INSERT of this row can name: the others get their defaults. Likewise.
  std::vector<bool> Given(const LocalRow& row) const;

  // --- SQL. Parameters: $1 rows; $2 timestamptz[]: for each row, what must be later than the
  // commit time of the row found; $3 timestamptz[]: by replication origin (0: local commits) plus
  // one, up to when it had been seen; then an array for each of columns_beside(). With `checked` a
  // row passes only if the one found is older and was seen, or was written by this very
  // transaction. Returns the 1-based places of the rows written.
  std::string UpdateSql(const std::vector<bool>& set, bool checked) const;
  // To be run before UpdateSql() or InsertSql() of the same rows if has_identities(): writes anew
  // the rows whose ALWAYS identities are to change, which no UPDATE can set. Parameters as for
  // UpdateSql(), of which `set` is what the row brings along; returns nothing.
  std::string ReplaceSql(const std::vector<bool>& set, bool checked) const;
  bool has_identities() const { return !identities_.empty(); }
  // As UpdateSql(), but $2 is one timestamptz, and nothing is returned: compare the count.
  std::string InsertSql(bool checked) const;
  // Without any condition. `given`: Given() of the rows. $1 rows, then columns_beside().
  std::string PlainInsertSql(const std::vector<bool>& given) const;
  // Deletes the rows with these keys and inserts them anew as they are given, all deletes before
  // the first insert: values may go from any to any. $1 rows, columns_beside(), then for each
  // column in `kept` an int4[]: 1 for the rows which keep what stands there.
  std::string RewriteSql(const std::vector<bool>& kept) const;
  // The rows as a table for SQL: columns by their names, and kPlaceColumn, 1-based. $1 rows, then
  // columns_beside().
  std::string RowsSql() const;
  static constexpr absl::string_view kPlaceColumn = "\"bdr place\"";

  // Parameters: $1.. one array for each key column, then as $2 and $3 above (if checked).
  std::string DeleteSql(bool checked) const;
  // The rows with these keys, as FoundSql() tells of them, and with `with_rows` the row as
  // bdr.row_as_jsonb() gives it.
  std::string FindSql(bool lock, bool with_rows) const;
  // As FindSql() with a lock and the row, then fold_columns() of the row, to be had in binary (as
  // text where the type has no such form).
  std::string FindWholeSql() const;
  // Every column that a change can carry.
  std::vector<int> fold_columns() const;
  // For a statement that writes rows down as jsonb, NULL for an absent one. The keys as $1..; the
  // rows as $`rows` and columns_beside() from $`first_beside` on.
  RowSources KeySources() const;
  void AddRowSources(size_t rows, size_t first_beside, RowSources* sources) const;
  // The columns of a row that did not come with it (unchanged TOAST values), as the text of a
  // text[]; "" if there is none.
  std::string AbsentColumns(const LocalRow& row) const;
  // Of the row with one key ($1.. as arrays of one): as FoundSql() tells of it, but without its
  // being long stable; then the columns, to be had in binary (as text where their type has no such
  // form).
  std::string FetchColumnsSql(const std::vector<int>& columns) const;

  // Columns that are sent beside the rows: those that travel as text; all where the row type cannot
  // be received.
  const std::vector<int>& columns_beside() const { return columns_beside_; }
  // The row leaves out a value of a domain, which may take no null: it has to be filled in before
  // the row can be encoded. A value that is kUnchangedToast and has data only fills the place: it
  // is sent and not written.
  bool RefusesNulls(const LocalRow& row) const;
  // The table's name for SQL, without the tables that inherit from it: they replicate by
  // themselves.
  std::string Only() const;
  size_t key_columns() const { return table().key.size(); }

  // Parameters in binary. A null entry is an absent row. kFailedPrecondition, naming the column, if
  // a value comes in another form than the one that it has here.
  absl::StatusOr<std::string> EncodeRows(absl::Span<const LocalRow* const> rows) const;
  // One of columns_beside(): as text if its type has no binary form.
  absl::StatusOr<std::string> EncodeColumn(int column,
                                           absl::Span<const LocalRow* const> rows) const;
  absl::StatusOr<std::string> EncodeKeyColumn(size_t key_column,
                                              absl::Span<const LocalRow* const> rows) const;

 private:
  explicit BoundTable(ColumnMap columns) : columns_(std::move(columns)) {}
  void FindUnspoken();
  absl::Status CheckGenerated() const;
  std::string FindShowingSql(bool lock, absl::string_view shown) const;
  std::string RowsFrom(bool with_times, int first_beside) const;
  void AppendBeside(int first, std::vector<std::string>* arrays,
                    std::vector<std::string>* names) const;
  std::string KeysFrom(bool with_times) const;
  std::string KeyEquals() const;
  std::string Touch() const;
  std::string Value(int column) const;
  bool IsWritten(int column) const;
  absl::StatusOr<bool> IsSent(const postgres::ColumnInfo& column,
                              const postgres::ColumnValue& value) const;

  ColumnMap columns_;
  FoldBinding fold_;
  bool by_column_ = false;
  std::vector<int> columns_beside_;
  std::vector<int> identities_;  // GENERATED ALWAYS, and not part of the key
  // What the origin does not send and every change of it sets all the same: the column was added
  // here first, and a version of the row from there is one with what stands in it in older rows.
  std::vector<std::pair<int, postgres::ColumnValue>> unspoken_;
  // Columns that are written: those that come from the origin, and those. Where the table folds
  // any, since others' changes count as well.
  std::vector<int> written_;
  std::string shape_;
  uint64_t id_ = 0;
};

// --- arrays of plain values in binary, for parameters ---
std::string EncodeTextArray(absl::Span<const std::string> values);
std::string EncodeInt4Array(absl::Span<const int32_t> values);
std::string EncodeInt8Array(absl::Span<const int64_t> values);
// µs since 1970; INT64_MAX is infinity, INT64_MIN is null.
std::string EncodeTimestamptzArray(absl::Span<const int64_t> times_us);
std::string EncodeTimestamptz(int64_t time_us);
std::string EncodeInt4(int32_t value);
std::string EncodeInt8(int64_t value);

inline constexpr uint32_t kTimestamptzOid = 1184;
inline constexpr uint32_t kTimestamptzArrayOid = 1185;
inline constexpr uint32_t kTextArrayOid = 1009;
inline constexpr uint32_t kInt4ArrayOid = 1007;

}  // namespace bdr::agent
