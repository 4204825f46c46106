// Takes the turns of sequences of method gapless to this node when a session here waits for one,
// and gives them back when another node wants them.
//
// What is to be done is decided in turn.h; here it is carried out. Each step is safe to be the
// last.
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
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "node-agent/cluster/chunk_client.h"
#include "node-agent/sequences/marks.h"
#include "node-agent/sequences/turn.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class NodeStatus;
class SequenceState;
class TurnResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// Pass() and Forget() are for one thread, the rest for any.
class TurnKeeper {
 public:
  // Both outlive it.
  // `was_set_back`: whether the database was found to be older than what the agent knows.
  TurnKeeper(std::string node, uint32_t node_id, std::function<bool()> was_set_back,
             ChunkClient* chunks, SequenceMarks* marks);
  ~TurnKeeper();
  TurnKeeper(const TurnKeeper&) = delete;
  TurnKeeper& operator=(const TurnKeeper&) = delete;

  // Does what there is to do; how long until there may be more. Errors of the database alone.
  // `connection` has a short lock_timeout, and is in no transaction.
  absl::StatusOr<absl::Duration> Pass(postgres::Connection* connection);

  // A new connection begins: what was seen in memory may be gone with PostgreSQL's.
  void Forget();

  // Sentences that people have to know, one for each matter.
  std::vector<std::string> Reasons() const;
  void FillStatus(v1::NodeStatus* status) const;

 private:
  struct Sequence;

  absl::Status LookAtRows(postgres::Connection* connection);
  absl::Status Serve(postgres::Connection* connection, Sequence* sequence);
  // kNone or what could not be done now; another pass may.
  absl::Status CarryOut(postgres::Connection* connection, Sequence* sequence, TurnStep step);
  absl::Status Write(postgres::Connection* connection, Sequence* sequence);
  absl::Status End(postgres::Connection* connection, Sequence* sequence);
  absl::Status Close(postgres::Connection* connection, Sequence* sequence);
  // False if bdr-server could not be asked; why is kept in the sequence.
  bool AskServer(Sequence* sequence, int wish);
  bool MayBeOurs(const Sequence& sequence) const;
  TurnView ViewOf(const Sequence& sequence) const;
  void Tell();

  const std::string node_;
  const uint32_t node_id_;
  const std::function<bool()> was_set_back_;
  ChunkClient* const chunks_;
  SequenceMarks* const marks_;
  std::map<uint32_t, std::unique_ptr<Sequence>> sequences_;  // by number; the thread's
  Repetition asking_;

  struct Told {
    std::string name = "";
    TurnState state = TurnState::kElsewhere;
    int64_t next = 0;
    std::string reason = "";
  };
  mutable Mutex mu_;
  std::map<uint32_t, Told> told_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
