// The key of a row in canonical form, from a tuple as pgoutput sends it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/catalog.h"
#include "postgres/convert_value.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Adds one column's value in canonical form (postgres::CanonicalKeyValue) to a key.
void AppendKeyValue(std::string* key, absl::string_view canonical);

// The names of user types that a relation uses, by the OIDs that they have where it comes from.
using TypeNames = absl::flat_hash_map<uint32_t, postgres::TypeMessage>;

// Which column of a relation message is which column of the local table, and how the values of the
// one become values of the other where they are not of the same type. Made once for each pair.
class ColumnMap {
 public:
  // kFailedPrecondition if the relation lacks a column of the table's key or has it of a type that
  // has nothing in common with the one here, or (with `every_column`) has any such column, or one
  // that the table lacks and that is not left out; the message names it. A column without a type
  // is of the local one.
  static absl::StatusOr<ColumnMap> Make(const postgres::RelationMessage& relation,
                                        std::shared_ptr<const postgres::TableInfo> table,
                                        bool every_column, const TypeNames& types = {});

  const postgres::TableInfo& table() const { return *table_; }
  const std::shared_ptr<const postgres::TableInfo>& shared_table() const { return table_; }
  // For each column of the message, its index in table().columns, or -1.
  const std::vector<int>& local_of_remote() const { return local_of_remote_; }
  // For each column of the table, its index in the message, or -1.
  const std::vector<int>& remote_of_local() const { return remote_of_local_; }

  // The column has the type that it has here, whatever its modifier.
  bool SameType(size_t remote) const { return same_type_[remote]; }
  // Values of some columns have to be converted.
  bool converts() const { return converts_; }
  // A value of a column of the message as one of the local column: the same, or in `*kept`.
  // kFailedPrecondition, naming both types, if it would lose something here.
  absl::StatusOr<postgres::ColumnValue> Convert(size_t remote, const postgres::ColumnValue& value,
                                                std::string* kept) const;

  // Equal keys give equal bytes, on every node. The tuple is of the message.
  // kInvalidArgument if it lacks a key column; kFailedPrecondition as of Convert().
  absl::StatusOr<std::string> Key(const postgres::Tuple& tuple) const;

 private:
  absl::Status CompareTypes(const postgres::RelationMessage& relation, const TypeNames& types,
                            bool every_column);
  std::string TypesDiffer(size_t remote) const;

  std::shared_ptr<const postgres::TableInfo> table_;
  std::vector<int> local_of_remote_;
  std::vector<int> remote_of_local_;
  // By column of the message; null: values are taken as they are.
  std::vector<std::shared_ptr<const postgres::ValueConversion>> conversions_;
  std::vector<bool> same_type_;            // likewise
  std::vector<bool> same_name_;            // likewise: of the user's type of the same name
  std::vector<std::string> remote_types_;  // likewise, for people
  bool converts_ = false;
};

// The same for a row by the local table's columns.
absl::StatusOr<std::string> LocalKey(const postgres::TableInfo& table,
                                     const std::vector<postgres::ColumnValue>& row);
// The operator by which the key's index compares the column.
std::string KeyOperator(const postgres::ColumnInfo& column);
// "t.a = $1::type AND ...": the row of alias t whose key columns (indexes into `table.columns`)
// have the values of the parameters.
std::string KeyCondition(const postgres::TableInfo& table, const std::vector<int>& key);
// A key value as a parameter of it; `data` owns the bytes. kInvalidArgument if it is null.
absl::StatusOr<postgres::Param> KeyParam(const postgres::ColumnInfo& column,
                                         const postgres::ColumnValue& value, std::string* data);

}  // namespace bdr::agent
