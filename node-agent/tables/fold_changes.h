// Changes of tables that fold, as the history keeps them: from pgoutput's messages, and back to
// rows that can be written.
//
// Capture makes them of own changes, appliers of received ones: for one change both make the same,
// or nodes would fold differently.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/origin.h"
#include "conflict/fold.h"
#include "conflict/history_store.h"
#include "node-agent/changelog/block.h"
#include "node-agent/tables/column_map.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

struct KeyedChange {
  std::string version_key;
  conflict::FoldChange change;
};

// An insert, update or delete as one change, or as two where it moves a row to another key: a
// delete there, an insert here. `number` is the change's place within its transaction. Other
// messages give nothing.
absl::StatusOr<std::vector<KeyedChange>> FoldChangesOf(const postgres::Message& message,
                                                       const ColumnMap& columns,
                                                       const TransactionHeader& header,
                                                       OriginId origin, uint32_t number);

// A truncate, as the delete of any row of its table. It is kept under the version key of the table
// with an empty key.
conflict::FoldChange TruncateOf(const TransactionHeader& header, OriginId origin, uint32_t number);

conflict::Attnums AttnumsOf(const postgres::TableInfo& table);

// By column, what it is in rows from before it was added; kUnchanged where that cannot be told: the
// row keeps what it has, or gets the column's default.
conflict::FoldRow AddedColumns(const postgres::TableInfo& table);

// By the table's columns; the views point into `row`.
std::vector<postgres::ColumnValue> ToColumnValues(const conflict::FoldRow& row,
                                                  const postgres::TableInfo& table);

}  // namespace bdr::agent
