// Comparing one table across nodes by content hashes: pure functions over what the agents answered.
//
// Under load two nodes are never read at the same moment, so a difference proves nothing by itself:
// what differs is looked at again. What was equal once has settled and is not asked for again; what
// differs in the same way look after look, while nothing is under way, is different.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace bdr::ctl {

// Sum of hashes and number of rows: of a bucket, or of all rows with one key.
struct ContentHash {
  uint64_t hash = 0;
  uint64_t rows = 0;

  friend bool operator==(const ContentHash&, const ContentHash&) = default;
};

// One node's answer for a table: by bucket.
using Buckets = std::vector<ContentHash>;
// One node's answer for some buckets: by key. Tables without a key may hold one row many times.
using Rows = std::map<std::string, ContentHash>;
void AddRow(Rows& rows, std::string key, uint64_t hash);

// What differs: key (or "bucket 7") to the state on each node, in the order of the nodes; nullopt
// where there is no such row.
using Differences = std::map<std::string, std::vector<std::optional<ContentHash>>>;

// The buckets that are not the same on all nodes. All nodes must have as many buckets.
std::vector<uint32_t> DifferingBuckets(const std::vector<Buckets>& nodes);
// The same as Differences, for when there are too many to look at rows.
Differences BucketDifferences(const std::vector<Buckets>& nodes,
                              const std::vector<uint32_t>& buckets);
Differences RowDifferences(const std::vector<Rows>& nodes);

// What is left to look at in one table.
class Pending {
 public:
  // A look, made at `now`: the first says what is left, each further one keeps only what still
  // differs. `by_row` tells rows from buckets; when that changes, looking begins anew.
  void Look(Differences seen, bool by_row, absl::Time now);

  bool empty() const { return left_.empty(); }
  bool by_row() const { return by_row_; }
  const Differences& left() const { return left_; }
  // What has been the same in all looks of the last `duration`: a change that takes no longer than
  // that to arrive cannot explain it. The rest is still being written, or on its way.
  std::set<std::string> StableFor(absl::Duration duration) const;

 private:
  bool started_ = false;
  bool by_row_ = false;
  absl::Time last_look_;
  Differences left_;
  std::map<std::string, absl::Time> same_since_;  // by key of left_
};

}  // namespace bdr::ctl
