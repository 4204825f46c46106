// One connection to the slot, from where the log ends to the first error, or until it must begin
// anew in another way.
//
// What the server sends goes into the assembler; each transaction that is whole goes on into
// blocks; blocks are published together, once there are enough or nothing more comes. Published is:
// durable in the change log, visible to who sends and waits, and free to be confirmed, in that
// order.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "base/steady_clock.h"
#include "node-agent/capture/block_writer.h"
#include "node-agent/capture/capture_options.h"
#include "node-agent/capture/capture_state.h"
#include "node-agent/capture/capture_waits.h"
#include "node-agent/capture/commit_origins.h"
#include "node-agent/capture/log_room.h"
#include "node-agent/capture/own_relations.h"
#include "node-agent/capture/promises.h"
#include "node-agent/capture/skips.h"
#include "node-agent/capture/slot_feedback.h"
#include "node-agent/capture/transaction_assembler.h"
#include "postgres/replication.h"

namespace bdr::agent {

// How a session reads.
struct Reading {
  bool as_text = false;
  std::string why;                             // if so: what PostgreSQL said
  absl::Duration stay = absl::ZeroDuration();  // as text, at least
  // Whether running transactions are streamed. Without, a session meets what cannot be decoded at
  // its commit record.
  bool streaming = true;
};

// How it came to its end.
struct SessionEnd {
  enum class Why {
    kFailed,   // by `status`; or OK, and capture is stopping
    kPaused,   // there is no room in the log
    kForgets,  // it knows more relations than it should
    // The next one is to read as text; because of `status`. And: that is over.
    kNeedsText,
    kTextHasPassed,
  };
  Why why = Why::kFailed;
  absl::Status status = absl::OkStatus();
  bool failed_to_decode = false;
  std::optional<Undecodable> undecodable = {};  // where, if it is known
  Lsn decoded = {};
};

// Not thread-safe: belongs to capture's thread.
class CaptureSession {
 public:
  // What outlives a session; all of it outlives capture's thread.
  struct Surroundings {
    const CaptureOptions* options = nullptr;
    const CaptureParts* parts = nullptr;
    CaptureWaits* waits = nullptr;
    Skips* skips = nullptr;
    const LogRoom* room = nullptr;
    CaptureHealth* health = nullptr;
  };
  CaptureSession(const Surroundings& around, Reading reading);

  // Once.
  SessionEnd Run();

 private:
  using Why = SessionEnd::Why;
  // What is known of whether the server decodes.
  struct Doubt {
    bool in_doubt = false;     // capture stood at what cannot be decoded
    bool noted = false;        // that the server decodes
    bool decoded_any = false;  // a transaction, whether of this node or not
  };
  struct Times {
    absl::Time begun = SteadyNow();
    absl::Time unpublished_since;
    absl::Time last_persist;
    absl::Time last_ping;
    absl::Time last_room_check;
  };

  absl::Status Begin();
  absl::Status Stream();
  absl::StatusOr<bool> EndsHere();
  bool MustPause();
  bool MustForget() const;
  bool HasPassed() const;
  absl::Status AfterFailure(const absl::Status& failure);
  absl::StatusOr<std::string> MissingPublication();
  void NoteStreaming(bool proven);

  absl::Status Handle(const postgres::StreamItem& item);
  absl::Status Take(absl::string_view data);
  absl::Status Commit(AssembledTransaction transaction);
  absl::Status Write(const AssembledTransaction& transaction);
  TransactionHeader MakeHeader(const AssembledTransaction& transaction);
  int64_t NoEarlierThan(Lsn commit) const;
  absl::Status AfterTransaction(Lsn end_lsn);

  absl::Status Publish();
  absl::Status MakeDurable();
  absl::Status Idle();
  absl::Status Promise(const Pulse& pulse);
  absl::StatusOr<std::shared_ptr<const CapturedRelation>> Announce(
      absl::string_view raw, const postgres::RelationMessage& message);

  const Surroundings around_;
  const CaptureOptions& options_;
  const CaptureParts& parts_;
  const Reading reading_;
  OwnRelations relations_;
  CommitOrigins origins_;
  TransactionAssembler assembler_;
  Promises promises_;
  // From Begin() on.
  std::unique_ptr<postgres::ReplicationConnection> connection_;
  std::unique_ptr<SlotFeedback> feedback_;
  std::unique_ptr<BlockWriter> writer_;
  Lsn start_;

  Lsn decoded_;          // everything before was decoded
  bool awaits_ = false;  // that the server tells how far it has decoded
  // A relation with a type that has no binary form has come by: since the server describes one
  // before its first change, what could not be sent is that, or comes behind it.
  bool sighted_ = false;
  Doubt doubt_;
  Times times_;
  SessionEnd end_;
};

}  // namespace bdr::agent
