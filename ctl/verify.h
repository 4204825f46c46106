// Comparing rows across nodes: pure functions over what the agents answered.
//
// Under load two nodes are never read at the same moment, so a difference proves nothing by itself.
// What differs is looked at again, each time after everything that was committed anywhere before
// the look has been applied everywhere. A row is different only if it differs in three such looks
// and no node has written it in between. (Two would do where every node has the row. Where one has
// not, the first look may find it not yet come, and the second find it deleted since; that delete
// has come to all others by the third, and would show there.)
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace bdr::ctl {

// Sum of hashes and number of rows: of a range, of a bucket, or of all equal rows of a table
// without a key.
struct ContentHash {
  uint64_t hash = 0;
  uint64_t rows = 0;

  friend bool operator==(const ContentHash&, const ContentHash&) = default;
};

// True if all nodes say the same.
bool AllEqual(const std::vector<ContentHash>& nodes);

// One node's answer for a table: by bucket.
using Buckets = std::vector<ContentHash>;
// The buckets that are not the same on all nodes. All nodes must have as many buckets.
std::vector<uint32_t> DifferingBuckets(const std::vector<Buckets>& nodes);

// The values of a key's columns as text; of a table without a key the one text that stands for the
// row.
using RowKey = std::vector<std::string>;

struct RowState {
  ContentHash content;
  // Changes with every write of the row on its node; "" if that cannot be told.
  std::string version;

  friend bool operator==(const RowState&, const RowState&) = default;
};
// By node; nullopt where there is no such row.
using RowStates = std::vector<std::optional<RowState>>;
bool SameContent(const RowStates& states);

// One node's rows.
using NodeRows = std::map<RowKey, RowState>;
// Adds a row; of a table without a key equal rows are counted.
void AddRow(NodeRows& rows, RowKey key, uint64_t hash, std::string version);

using RowDifferences = std::map<RowKey, RowStates>;
RowDifferences Differing(const std::vector<NodeRows>& nodes);

// Rows of one table that differ, until it is known whether they really do.
class Settling {
 public:
  static constexpr int kLooks = 3;

  // A look at the rows that are left (at first: at any). Each look must follow on a frontier:
  // everything that was committed anywhere before the look before was applied everywhere.
  void Look(const RowDifferences& seen);

  // What still differs and may yet settle.
  const RowDifferences& moving() const { return moving_; }
  // What is different beyond doubt.
  const RowDifferences& different() const { return different_; }

 private:
  bool begun_ = false;
  RowDifferences moving_;
  std::map<RowKey, int> looks_;  // alike, of moving_
  RowDifferences different_;
};

// "id='1', region='eu'", from the names of the key's columns.
std::string KeyText(const std::vector<std::string>& names, const RowKey& key);

// Names of the columns whose hashes are not the same on all nodes that have the row. `hashes`: by
// node, in the order of `columns`, empty where there is no row.
std::vector<std::string> DifferingColumns(const std::vector<std::string>& columns,
                                          const std::vector<std::vector<uint64_t>>& hashes);

}  // namespace bdr::ctl
