// How far, to this agent's knowledge, numbers of each sequence were granted: for a bdr-server that
// has lost its own memory of it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "node-agent/changelog/database.h"

namespace bdr::v1 {
class SequenceState;
}

namespace bdr::agent {

// Thread-safe.
class SequenceMarks {
 public:
  // The marks that were kept. `database` must outlive the result. kDataLoss if it is damaged.
  static absl::StatusOr<std::unique_ptr<SequenceMarks>> Load(Database* database);
  ~SequenceMarks();

  // Takes the state, with `next` beyond all that this node was granted. Durable once it returns: to
  // be called before any of these numbers can be drawn. `next` never falls.
  absl::Status Raise(const v1::SequenceState& state);

  // The marks of all nodes, as bdr-server says. Durable sooner or later.
  absl::Status Learn(const std::vector<v1::SequenceState>& states);

  std::vector<v1::SequenceState> All() const;
  // Numbers below it were granted; 0 if the sequence is not known.
  int64_t GrantedBelow(uint32_t number) const;

 private:
  explicit SequenceMarks(Database* database);
  // False if nothing is new.
  bool TakeLocked(const v1::SequenceState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string SerializedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Database* const database_;
  Mutex write_mu_;  // before mu_
  mutable Mutex mu_;
  std::map<uint32_t, std::unique_ptr<v1::SequenceState>> by_number_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
