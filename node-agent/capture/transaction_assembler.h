// Puts transactions together from what the server sends, until they are whole.
//
// The server sends most transactions in one piece once they are committed: these wait in memory.
// One too large for its decoding memory it streams in segments while it runs, among others, and
// before it knows how it ends: these wait in the spool. And one that began before the slot's
// position comes whole, whatever its size: it begins in memory and goes on in the spool. Whoever
// writes a transaction down need not know which it was: it is committed, and gives out its changes
// in order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/lsn.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/described_relations.h"
#include "node-agent/capture/spool.h"
#include "node-agent/changelog/database.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// A transaction that has committed. Its changes are with the assembler.
struct AssembledTransaction {
  uint32_t xid = 0;
  postgres::CommitMessage commit;
  // It came in segments: then the server may not have said whose it is, see CommitOrigins.
  bool streamed = false;
  bool spooled = false;     // too large for memory; then `bytes` is 0
  size_t bytes = 0;         // of all its changes; if not spooled, 0 means that it has none
  bool stays_here = false;  // of an origin whose transactions are not sent on
  bool foreign = false;     // of another tool's origin, and sent on
};

struct AssembledChange {
  // One, or those of a truncate that travel. None: it does not travel.
  absl::Span<const std::shared_ptr<const CapturedRelation>> relations;
  bool truncate = false;
  absl::string_view bytes;  // pgoutput's message, outside of a stream
};

// Not thread-safe: belongs to a session of capture. After an error it must be thrown away.
class TransactionAssembler {
 public:
  struct Surroundings {
    DescribedRelations::Announce announce;
    std::function<void(uint32_t oid, absl::string_view raw)> announce_type;
    // Whether what this replication origin has written is not to be sent on.
    std::function<bool(absl::string_view origin)> stays_here;
  };
  // `memory_bytes`: a transaction that has more goes to the spool.
  TransactionAssembler(Database* database, size_t memory_bytes, Surroundings surroundings)
      : memory_bytes_(memory_bytes),
        surroundings_(std::move(surroundings)),
        relations_(surroundings_.announce),
        spool_(database) {}

  // Forgets what an earlier session has spooled: the server begins anew. To be called first.
  absl::Status Clear() { return spool_.Clear(); }

  // Takes a pgoutput message in. Gives the transaction that it ends, which is to be followed by
  // Done() before the next message. kInternal if the server breaks the protocol; errors of the
  // spool and of the surroundings.
  absl::StatusOr<std::optional<AssembledTransaction>> Add(absl::string_view data);

  // Hands out the changes in order; also those that do not travel of what was spooled. Views live
  // during the call of `visit`, whose errors end it.
  absl::Status ForEachChange(const AssembledTransaction& transaction,
                             const std::function<absl::Status(const AssembledChange&)>& visit);
  // Lets go of the transaction. What it described counts for later ones from now on.
  absl::Status Done(const AssembledTransaction& transaction);

  // An administrator has said what tables are: relations are looked up again, also those of the
  // transaction that Add() has just given.
  absl::Status LookUpRelationsAgain();

  // The next message is not within a transaction or a segment: what was decoded before is whole.
  bool between_transactions() const { return !open_ && stream_xid_ == 0; }
  // It is within a transaction that comes in one piece.
  bool in_transaction() const { return open_; }
  // Of that one, if it is of an origin whose transactions stay here: where its commit record is.
  std::optional<Lsn> open_that_stays() const;
  // No transaction has begun and not ended, not even a streamed one.
  bool empty() const { return between_transactions() && spool_.open_transactions() == 0; }
  size_t relations() const { return relations_.size(); }
  // Streamed transactions that were rolled back.
  uint64_t rolled_back() const { return rolled_back_; }

 private:
  using Relation = DescribedRelations::Relation;
  struct Change {                      // in memory
    std::vector<Relation> relations;   // one, or those of a truncate
    std::vector<Relation> left_alone;  // of a truncate: it names them as well
    bool truncate = false;
    size_t offset = 0;
    size_t length = 0;
  };
  using Ended = std::optional<AssembledTransaction>;

  void Begin(const postgres::BeginMessage& begin);
  absl::Status AddChange(absl::string_view data, const std::vector<uint32_t>& oids, bool truncate);
  Ended Commit(const postgres::CommitMessage& commit);
  absl::Status Spill();
  absl::StatusOr<Ended> AddStreamed(absl::string_view data, const postgres::Message& message);
  absl::Status SpoolStreamed(absl::string_view data, const postgres::Message& message);

  const size_t memory_bytes_;
  const Surroundings surroundings_;
  DescribedRelations relations_;
  Spool spool_;

  // The transaction that comes in one piece: between Begin and Commit, and until Done().
  bool open_ = false;
  postgres::BeginMessage begin_;
  bool stays_here_ = false;
  bool foreign_ = false;
  std::string bytes_;
  std::vector<Change> changes_;
  // Of what is in the spool of it: the last description of each relation.
  std::map<uint32_t, Relation> spilled_;
  // The streamed transaction between Stream Start and Stream Stop; 0 outside.
  uint32_t stream_xid_ = 0;
  uint64_t rolled_back_ = 0;
};

}  // namespace bdr::agent
