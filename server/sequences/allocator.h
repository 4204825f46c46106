// The cluster's sequences, and the chunks of numbers that nodes draw from.
//
// Of each sequence the store keeps one mark: what lies below it was granted. It is raised, durably,
// before a chunk is given to anybody; an answer that is lost loses the chunk, so none is ever
// granted twice. A store that has gone back in time learns the marks from the agents, who tell how
// far they know numbers to be granted before anything is granted again.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/store/store.h"

namespace bdr::v1 {
class SequenceState;
class TakeOverSequenceRequest;
class TurnRequest;
}  // namespace bdr::v1

namespace bdr::server {

// The store's keys of sequences; their number follows, in ten digits. A bdr.v1.SequenceState each.
inline constexpr char kSequencePrefix[] = "sequence/";

struct SequenceConversion {
  std::string name = "";  // SCHEMA.NAME
  std::string method = "";
  std::string data_type = "";
  int64_t first = 0;  // no node has given out this number or one above it
  int64_t last = 0;   // the largest that there may be
};

// Thread-safe. Knows nothing that the store does not: any number of servers may share one store.
class SequenceAllocator {
 public:
  // `store` must outlive it. `patience`: how long a change of a sequence waits for others of this
  // process to be done.
  explicit SequenceAllocator(Store* store, absl::Duration patience = absl::Milliseconds(500))
      : store_(store), patience_(patience) {}

  // The sequence of this name, which gets a number if it has none; its mark is raised to `first`,
  // at least, and to what chunks begin at. kInvalidArgument for a method or type that there is not;
  // kResourceExhausted if nothing would be left.
  absl::StatusOr<v1::SequenceState> Convert(const SequenceConversion& conversion);

  // The first of `count` numbers that nobody else will ever have; `count` is a multiple of the unit
  // of the sequence's type (seqam/galloc/layout.h). kNotFound, kInvalidArgument,
  // kFailedPrecondition for a method without chunks; kResourceExhausted, with how many are left.
  absl::StatusOr<int64_t> Grant(uint32_t number, uint64_t count);

  // What a node wants of the turn of a sequence of method gapless (turns.h), and how it is
  // afterwards. kNotFound; kFailedPrecondition for another method, and if it is not known who has
  // the turn.
  absl::StatusOr<v1::SequenceState> Turn(const v1::TurnRequest& request, int64_t now_us);
  // For an administrator. kAborted if the turn is over by now; the same request again is harmless.
  absl::StatusOr<v1::SequenceState> TakeOver(const v1::TakeOverSequenceRequest& request);

  absl::StatusOr<std::vector<v1::SequenceState>> List() const;

  // What an agent knows to be granted: is from now on, whatever this store has known.
  // kInvalidArgument if some of it no bdr-server can have told it: that is passed over, and the
  // rest taken.
  absl::Status Learn(const std::vector<v1::SequenceState>& known);

  // Passes over more numbers than a node that was not heard can have been granted since the others
  // last learned how far they were granted, which they do each second. Numbers are lost by it.
  absl::Status PassOver();

 private:
  class Alone;

  // Writes what `change` makes of the sequence's state; again if another server was faster.
  absl::StatusOr<v1::SequenceState> Change(
      uint32_t number, const std::function<absl::Status(v1::SequenceState*)>& change);

  Store* const store_;
  const absl::Duration patience_;

  Mutex mu_;
  CondVar changed_;
  std::set<uint32_t> changing_ ABSL_GUARDED_BY(mu_);  // numbers of sequences; see Alone
};

}  // namespace bdr::server
