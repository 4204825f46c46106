// The key of a row in canonical form, from a tuple as pgoutput sends it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Adds one column's value in canonical form (postgres::CanonicalKeyValue) to a key.
void AppendKeyValue(std::string* key, absl::string_view canonical);

// Which column of a relation message is which column of the local table. Made once for each pair.
class ColumnMap {
 public:
  // kFailedPrecondition if the relation lacks a column of the table's key, or (with
  // `every_column`) has a column that the table lacks and that is not left out; the message names
  // it.
  static absl::StatusOr<ColumnMap> Make(const postgres::RelationMessage& relation,
                                        std::shared_ptr<const postgres::TableInfo> table,
                                        bool every_column);

  const postgres::TableInfo& table() const { return *table_; }
  const std::shared_ptr<const postgres::TableInfo>& shared_table() const { return table_; }
  // For each column of the message, its index in table().columns, or -1.
  const std::vector<int>& local_of_remote() const { return local_of_remote_; }
  // For each column of the table, its index in the message, or -1.
  const std::vector<int>& remote_of_local() const { return remote_of_local_; }

  // Equal keys give equal bytes, on every node. kInvalidArgument if the tuple lacks a key column.
  absl::StatusOr<std::string> Key(const postgres::Tuple& tuple) const;

 private:
  std::shared_ptr<const postgres::TableInfo> table_;
  std::vector<int> local_of_remote_;
  std::vector<int> remote_of_local_;
};

// The same for a row by the local table's columns, its key in binary form.
absl::StatusOr<std::string> LocalKey(const postgres::TableInfo& table,
                                     const std::vector<postgres::ColumnValue>& row);
// "t.a = $1::type AND ...": the row of alias t whose key columns (indexes into `table.columns`)
// have the values of the parameters.
std::string KeyCondition(const postgres::TableInfo& table, const std::vector<int>& key);
// A key value as a parameter of it; `data` owns the bytes. kInvalidArgument if it is null.
absl::StatusOr<postgres::Param> KeyParam(const postgres::ColumnInfo& column,
                                         const postgres::ColumnValue& value, std::string* data);

}  // namespace bdr::agent
