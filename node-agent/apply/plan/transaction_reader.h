// Reads an origin's transactions out of the change log, a block at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/tables/remote_relation.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

struct RemoteChange {
  std::shared_ptr<const RemoteRelation> relation;  // null for a truncate
  // Insert, Update, Delete or Truncate; its views point into the piece's payload.
  postgres::Message message;
  std::vector<std::shared_ptr<const RemoteRelation>> truncated;
  uint32_t number = 0;  // its place within its transaction
};

// The changes of one transaction within one block: all of them, or a part of a large transaction.
struct Piece {
  TransactionHeader header;
  bool first = true;
  bool last = true;
  std::vector<RemoteChange> changes;
  size_t bytes = 0;
  // What the changes point into: the one or the other.
  std::shared_ptr<const BlockPayload> payload;
  std::shared_ptr<const std::string> bytes_owned = nullptr;
};

// An own change as a piece by itself. kDataLoss if its bytes are malformed.
absl::StatusOr<Piece> MakePiece(OwnChange own);

// A transaction that goes on in the next block.
struct OpenTransaction {
  TransactionHeader header;
  uint32_t changes = 0;  // that it had so far
};

// The pieces of a block that lie beyond `applied`. `open`: the transaction that goes on from the
// block before, and then that which goes on in the next. kDataLoss if the block is damaged.
absl::StatusOr<std::vector<Piece>> PiecesOf(const EncodedBlock& block, Lsn applied,
                                            std::optional<OpenTransaction>* open);

// Not thread-safe.
class TransactionReader {
 public:
  TransactionReader(const ChangeLog* log, OriginId origin) : log_(log), origin_(origin) {}

  // Begins with the first transaction that ends beyond `applied`.
  void Seek(Lsn applied);

  // The next piece, without taking it; null if none came within `timeout`. Stays valid until
  // Pop(). kDataLoss if a block is damaged.
  absl::StatusOr<const Piece*> Peek(absl::Duration timeout);
  Piece Pop();

 private:
  absl::Status Load(const EncodedBlock& block);

  const ChangeLog* const log_;
  const OriginId origin_;
  Lsn applied_;
  Cursor at_;
  std::optional<OpenTransaction> open_;
  std::deque<Piece> pieces_;
};

}  // namespace bdr::agent
