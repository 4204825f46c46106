// Keeps chunks of numbers in reserve for every sequence of method galloc, so that whoever draws
// from one waits for nobody; and has the turns of those of method gapless kept (turn_keeper.h).
//
// What is to be done is decided in reserve.h; here it is carried out: chunks are asked of
// bdr-server, written down (marks.h), and put into the registers that bdr.nextval() reads. Each
// step is safe to be the last: what was granted and is in no register is lost, a gap.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "node-agent/cluster/chunk_client.h"
#include "node-agent/sequences/marks.h"
#include "node-agent/sequences/reserve.h"
#include "node-agent/sequences/turn_keeper.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class NodeStatus;
}

namespace bdr::agent {

// Thread-safe. Owns one thread with one connection.
class ChunkKeeper {
 public:
  struct Options {
    std::string conninfo;
    std::string node;      // this node's name
    uint32_t node_id = 0;  // and its id
    // Whether its database was found to be older than what the agent knows.
    std::function<bool()> was_set_back;
  };
  // Both outlive it; `chunks` is its alone, and cancelled when it ends.
  ChunkKeeper(Options options, ChunkClient* chunks, SequenceMarks* marks);
  ~ChunkKeeper();
  ChunkKeeper(const ChunkKeeper&) = delete;
  ChunkKeeper& operator=(const ChunkKeeper&) = delete;

  // Warns of a reserve that cannot be filled, critical once it is used up; of a sequence that is
  // used up soon; and of one that only other nodes have converted.
  Health health() const;
  // The reserve of each sequence.
  void FillStatus(v1::NodeStatus* status) const;

 private:
  struct Sequence {
    std::string name = "";             // SCHEMA.NAME, quoted
    std::string register_prefix = "";  // "bdr.sequence_7"
    std::string register_oid = "";     // another one's after it was converted away and back
    bool read = false;                 // what the registers have
    std::string data_type = "";
    int64_t last = 0;  // no number above it
    std::unique_ptr<Reserve> reserve = nullptr;
    uint64_t most = uint64_t{1} << 40;  // what a chunk may hold: less once few numbers are left
    std::string failing = "";           // why it cannot be filled; empty: it can
    absl::Time again = absl::InfinitePast();  // not before that
  };

  void Run();
  // How long until the next pass.
  absl::StatusOr<absl::Duration> Pass();
  absl::StatusOr<bool> LookAtSequences();
  // How many of its ordinals were drawn; nullopt if it gives out its numbers itself.
  absl::StatusOr<std::optional<uint64_t>> AskDrawn(const std::string& relation);
  absl::StatusOr<int64_t> AskChunk(uint32_t number, uint64_t count);
  absl::Status ReadRegisters(Sequence* sequence, uint64_t drawn);
  // Sequences that draw by themselves here, while other nodes have converted them.
  absl::Status LookForUnconverted();
  absl::Status Fill(uint32_t number, Sequence* sequence);
  absl::Status CarryOut(uint32_t number, Sequence* sequence, ReserveStep* step);
  absl::Status Set(const std::string& name, int64_t value);
  void Tell(const absl::Status& pass);
  bool Stopping() const;
  void Wait(absl::Duration pause);

  const Options options_;
  ChunkClient* const chunks_;
  SequenceMarks* const marks_;
  std::unique_ptr<postgres::Connection> connection_;  // the thread's, as what follows
  std::map<uint32_t, Sequence> sequences_;            // by number
  std::vector<std::string> unconverted_;              // names
  absl::Time unconverted_looked_ = absl::InfinitePast();
  Repetition asking_;
  TurnKeeper turns_;  // on the same thread and connection
  bool has_turns_ = false;
  bool looks_at_turns_ = false;  // there are some, or were

  struct Told {
    std::string name = "";
    uint64_t left = 0;
    double per_second = 0;
    double used = 0;  // of all its numbers
    int64_t chunk_first = 0;
    int64_t chunk_last = 0;
    std::string failing = "";
  };
  mutable Mutex mu_;
  CondVar woken_;
  std::map<uint32_t, Told> told_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> told_unconverted_ ABSL_GUARDED_BY(mu_);
  std::string broken_ ABSL_GUARDED_BY(mu_);  // why none can be looked at; empty: they can
  absl::Time failing_since_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace bdr::agent
