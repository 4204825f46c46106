// Turns committed local transactions into blocks of the change log.
//
// One block holds many small transactions, or a part of a large one. With each goes a batch of what
// its changes leave in the stores (own_versions.h). Both are written at once, durably, and only
// then it is looked which of the changes an applier may have decided without (touched_changes.h).
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/captured_state.h"
#include "node-agent/capture/explicit_values.h"
#include "node-agent/capture/own_relations.h"
#include "node-agent/capture/own_transaction.h"
#include "node-agent/capture/own_versions.h"
#include "node-agent/capture/touched_changes.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/progress.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture. After an error it must be thrown away.
class BlockWriter {
 public:
  struct Options {
    OriginId own;
    std::string conninfo;  // where it asks for values, and which unique ones a row claims
    // Own changes that end at or before were committed before this agent knew which rows appliers
    // touch: all of them count as touched.
    Lsn touched_through = {};
    CapturedState captured;  // as loaded, or where a new slot begins
    size_t block_max_bytes = 1 << 20;
  };
  // All that is pointed to outlives it.
  BlockWriter(const Options& options, const Stores& stores, const InFlight& in_flight,
              const Settings* settings, const Progress* progress, const OwnRelations* relations);

  // One transaction at a time: Begin, its changes, End. `expected_bytes` (0: not known) keeps a
  // transaction that will not fit from sharing a block.
  absl::Status Begin(const TransactionHeader& header, const CapturedCommit& commit,
                     size_t expected_bytes);
  absl::Status Add(const std::shared_ptr<const CapturedRelation>& relation,
                   absl::string_view change);
  absl::Status AddTruncate(absl::Span<const std::shared_ptr<const CapturedRelation>> relations,
                           absl::string_view change);
  absl::Status End();

  // Makes everything up to the last End() durable and visible, and `through` with it.
  absl::Status Flush(Lsn through);
  bool has_unpublished() const { return unpublished_; }
  size_t unpublished_bytes() const { return builder_.payload_bytes() + sealed_bytes_; }
  int64_t last_stamp_us() const { return last_stamp_us_; }
  // Since the last call.
  struct Counts {
    uint64_t transactions = 0;
    uint64_t changes = 0;
  };
  Counts TakeCounts() { return std::exchange(counts_, {}); }

 private:
  void IncludeRelation(const std::shared_ptr<const CapturedRelation>& relation);
  void Seal(bool more_parts);
  absl::Status SplitIfFull();
  void PutState(Lsn through, int64_t last_stamp_us);

  const Options options_;
  const Stores stores_;
  const OwnRelations* const relations_;
  ExplicitValues explicit_values_;
  TouchedChanges touched_;
  OwnVersions versions_;

  BlockBuilder builder_;
  // Which announcement of a relation the block that is being built carries. Owned, so that a later
  // one cannot have the address of one that is gone.
  absl::flat_hash_map<uint32_t, std::shared_ptr<const CapturedRelation>> in_block_;
  std::vector<EncodedBlock> sealed_;
  size_t sealed_bytes_ = 0;
  uint64_t chain_;
  Lsn through_;
  rocksdb::WriteBatch batch_;
  OwnTransaction current_;
  uint32_t part_ = 0;
  bool together_ = false;  // the transaction is not to be split yet
  bool unpublished_ = false;
  int64_t last_stamp_us_;
  CapturedCommit last_commit_;
  Counts counts_;
};

}  // namespace bdr::agent
