// How large the next group may be.
//
// Pure: times and counts come in. A group holds its row locks until it commits, and users wait for
// them meanwhile. So the time that this may take decides how many transactions it takes next. What
// a group waits for before (capture, keys of another group) holds no locks, and smaller groups
// would only wait for it more often. A group that failed comes again in halves, so that what is in
// order is applied beside what is not.
#pragma once

#include <algorithm>
#include <cstddef>

#include "absl/time/time.h"

namespace bdr::agent {

// Of one applier. Not thread-safe.
class GroupSizer {
 public:
  struct Limits {
    size_t transactions = 500;
    size_t bytes = 4 << 20;
    absl::Duration time = absl::Milliseconds(200);  // from BEGIN to COMMIT
  };
  explicit GroupSizer(const Limits& limits) : limits_(limits), most_(limits.transactions) {}

  // Whether a group of so many transactions and bytes may take one more.
  bool HasRoom(size_t transactions, size_t bytes) const {
    return transactions < most_ && bytes < limits_.bytes;
  }
  size_t most_transactions() const { return most_; }
  const Limits& limits() const { return limits_; }

  // A group of so many transactions has held its locks for so long.
  void Took(size_t transactions, absl::Duration time) {
    if (time > limits_.time) {
      const double fits = static_cast<double>(transactions) *
                          absl::FDivDuration(limits_.time, std::max(time, absl::Microseconds(1)));
      most_ = std::max<size_t>(1, static_cast<size_t>(fits));
    } else {
      // Grows slowly: what was small because of a lock that somebody held may be quick again.
      most_ = std::min(limits_.transactions, most_ + std::max<size_t>(1, most_ / 4));
    }
  }

  // What is tried after a group of this size has failed.
  static size_t Smaller(size_t size) { return std::max<size_t>(1, size / 2); }

 private:
  const Limits limits_;
  size_t most_;  // transactions of a group, so that it takes no longer than it may
};

}  // namespace bdr::agent
