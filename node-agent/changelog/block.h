// Blocks: what the change log stores and agents ship to each other, byte for byte the same.
//
// A block holds whole transactions of one origin in commit order, or one part of a transaction too
// large for a block. It stands for itself: every relation and type that its changes name travels in
// it, so that a reader needs nothing but the block. Blocks of one origin form a chain: each carries
// a checksum over itself and over the one before.
//
// The payload, after zstd: records of one byte for the kind, a varint for the length, and the body.
//   'R'  a relation, as pgoutput's Relation message    (before the first change that names it)
//   'Y'  a type, as pgoutput's Type message            (before the first relation that names it)
//   'T'  begins a transaction: TransactionHeader
//   'C'  a change: pgoutput's Insert, Update, Delete or Truncate, in the form outside of a stream
// In part 1 and later of a large transaction there is no 'T': the one of part 0 goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "conflict/seen.h"
#include "conflict/stamp.h"

namespace bdr::agent {

// A block's place in its origin's history. Ordered by (end_lsn, part).
struct Cursor {
  Lsn end_lsn;        // commit end LSN of the block's last transaction, in the origin's WAL
  uint32_t part = 0;  // within a large transaction
  uint64_t chain = 0;

  // Whether the cursor stands before all that the origin has ever written.
  bool at_beginning() const { return !end_lsn.valid(); }
};

struct OriginLsn {
  OriginId origin;
  Lsn lsn;  // in the origin's WAL
  friend bool operator==(const OriginLsn&, const OriginLsn&) = default;
};

using SeenUntil = conflict::SeenTime;

// A reader gets both lists sorted, each origin or node at most once.
struct TransactionHeader {
  Lsn end_lsn;
  conflict::Stamp stamp;
  // Transactions that the origin may have applied by then, rounded up: a subscriber waits for them.
  std::vector<OriginLsn> waits_for = {};
  // Stamps that the origin had surely seen then, rounded down: tells a conflict from a successor.
  std::vector<SeenUntil> seen = {};
  // Which settings of the cluster were in force at the origin (settings_active): what the change is
  // merged by, on every node alike.
  uint64_t settings_version = 0;
};

// A block without its payload.
struct BlockInfo {
  OriginId origin;
  Lsn end_lsn;
  uint32_t part = 0;
  bool more_parts = false;
  uint64_t previous_chain = 0;
  uint64_t chain = 0;
  uint32_t transactions = 0;
  uint64_t payload_bytes = 0;  // before compression
  int64_t last_stamp_us = 0;
  bool no_truncate = false;  // none of its changes is a TRUNCATE; else there may be one

  Cursor cursor() const { return {.end_lsn = end_lsn, .part = part, .chain = chain}; }
};

struct EncodedBlock {
  BlockInfo info;
  std::string bytes = {};  // serialized bdr.v1.Block
};

// Collects transactions of one origin. Not thread-safe.
class BlockBuilder {
 public:
  explicit BlockBuilder(OriginId origin) : origin_(origin) {}

  void BeginTransaction(const TransactionHeader& header);
  // Goes on with a transaction whose earlier part was sealed; `header` as in part 0.
  void ContinueTransaction(const TransactionHeader& header, uint32_t part);
  bool HasRelation(uint32_t oid) const { return relations_.contains(oid); }
  void AddRelation(uint32_t oid, absl::string_view pgoutput_relation);
  bool HasType(uint32_t oid) const { return types_.contains(oid); }
  void AddType(uint32_t oid, absl::string_view pgoutput_type);
  void AddChange(absl::string_view pgoutput_change);

  bool empty() const { return payload_.empty(); }
  size_t payload_bytes() const { return payload_.size(); }
  // Compresses, chains to `previous_chain`, and starts an empty block.
  EncodedBlock Seal(uint64_t previous_chain, bool more_parts);

 private:
  void AddRecord(char kind, absl::string_view body);

  const OriginId origin_;
  std::string payload_;
  absl::flat_hash_set<uint32_t> relations_;
  absl::flat_hash_set<uint32_t> types_;
  TransactionHeader last_;  // as given, to be written as a difference
  bool has_last_ = false;
  uint32_t transactions_ = 0;
  uint32_t part_ = 0;
  bool truncates_ = false;
};

// Reads the outside of a block. kDataLoss if the bytes are no block, or its checksum is wrong.
absl::StatusOr<BlockInfo> ParseBlock(absl::string_view bytes);

struct BlockVisitor {
  std::function<absl::Status(absl::string_view)> relation;
  std::function<absl::Status(absl::string_view)> type;
  std::function<absl::Status(const TransactionHeader&)> begin;
  std::function<absl::Status(absl::string_view)> change;
};

// A block's payload, decompressed. The views that ForEach() hands out live as long as it does.
class BlockPayload {
 public:
  // kDataLoss if it cannot be decompressed; kResourceExhausted if it claims more than 64 MiB plus
  // the largest row that PostgreSQL can send (1 GiB).
  static absl::StatusOr<BlockPayload> Open(absl::string_view block_bytes);

  // Calls the visitor for every record in order; stops at the first error. kDataLoss if the
  // payload is malformed.
  absl::Status ForEach(const BlockVisitor& visitor) const;
  size_t size() const { return payload_.size(); }

 private:
  std::string payload_;
  OriginId origin_;
};

}  // namespace bdr::agent
