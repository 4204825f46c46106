// What users were promised: every transaction that they tried, what it wrote and what it had seen.
//
// A transaction's first statement writes its number into table chaos_txn, so afterwards the
// database itself tells which ones were committed, also those whose client lost its connection at
// COMMIT. Each write has a number, and knows the number of the write that it replaced, since the
// database told (prev). So after all is over three things can be said of each:
//   - acknowledged, and not there at all: lost
//   - replaced by a write that saw it, and yet there: an older version came back
//   - replaced by nobody who saw it, and not there: somebody else's won, which the conflict log of
//     some node must name
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace bdr::chaos {

struct Write {
  int table = 0;
  int64_t number = 0;
  int64_t saw = 0;  // the number of the write that it replaced; 0: none
  bool deletes = false;
};

// To a counter (policies.h).
struct Added {
  int table = 0;
  int64_t key = 0;
  int64_t amount = 0;
};

struct JournaledTransaction {
  int64_t number = 0;
  int node = 0;
  bool acknowledged = false;
  absl::Time begun;
  absl::Time ended;
  std::vector<Write> writes;
  std::vector<int> truncated;  // tables
  std::vector<Added> added;
};

// Thread-safe.
class Journal {
 public:
  // Numbers of writes, `count` in a row; the first.
  int64_t TakeNumbers(int64_t count);
  int64_t TakeTransaction();
  // Unless it was surely rolled back.
  void Add(JournaledTransaction transaction);

  std::vector<JournaledTransaction> transactions() const;
  int64_t acknowledged() const;

 private:
  mutable Mutex mu_;
  int64_t next_number_ ABSL_GUARDED_BY(mu_) = 1;
  int64_t next_transaction_ ABSL_GUARDED_BY(mu_) = 1;
  int64_t acknowledged_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<JournaledTransaction> transactions_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::chaos
