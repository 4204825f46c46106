// The store of claims: for every unique value of every constraint beside the keys, who has claimed
// it since the stable time (claim_rule.h), own versions and remote ones, winners and losers.
//
// A claim that is not in it is older than anything that can still arrive, so no version can lose to
// it any more. It belongs to one node: nobody else reads its bytes.
#pragma once

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "conflict/claim_rule.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// A value's name in the store, and among the keys in flight, where no row's name equals it:
// `constraint` is ConstraintInfo::fingerprint, `value` the same for the same value.
std::string ClaimKey(uint64_t constraint, absl::string_view value);
// The same of a value that only PostgreSQL can compare, claimed at `time_us`. Values that may be
// the same share their first kBucketBytes: they stand together, in the order of time, since a
// version asks only for what was claimed later than it was made.
std::string TimedClaimKey(uint64_t constraint, absl::string_view value, int64_t time_us);
inline constexpr size_t kBucketBytes = 8;

// Thread-safe.
class ClaimStore {
 public:
  // `db` and `family` outlive it; the family must have been opened with MergeOperator() and, to
  // forget what is stable, with NewStableClaimFilter().
  ClaimStore(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  static std::shared_ptr<rocksdb::MergeOperator> MergeOperator();

  // Only ever adds: whoever writes first, and however often.
  void Put(rocksdb::WriteBatch* batch, absl::string_view claim_key, absl::string_view version_key,
           Stamp stamp) const;

  // Who has claimed each value, in the order given. kDataLoss if the store is damaged.
  absl::StatusOr<std::vector<Claimants>> Get(absl::Span<const std::string> claim_keys) const;
  // Gives `take` every value under a TimedClaimKey() with this bucket that was claimed at
  // `since_us` or later, with who claimed it then. A value may come more than once. Ends with the
  // first error of `take`.
  absl::Status Since(
      uint64_t constraint, absl::string_view bucket, int64_t since_us,
      absl::FunctionRef<absl::Status(absl::string_view value, Claimants claimants)> take) const;

 private:
  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const family_;
};

// Drops values whose newest claim lies before `*stable_us` when RocksDB compacts. `stable_us` (0:
// keep everything) outlives the database.
const rocksdb::CompactionFilter* NewStableClaimFilter(const std::atomic<int64_t>* stable_us);

}  // namespace bdr::conflict
