// What is done after an attempt at a group has failed and was rolled back.
//
// Pure: it is told the error and gives a step. It counts, since what is a race at first is none
// when it goes on.
#pragma once

#include <cstddef>

#include "absl/status/status.h"

namespace bdr::agent {

// Of one applier. Not thread-safe.
class Recovery {
 public:
  enum class Step {
    // Somebody holds a lock: it is waited for, and a smaller group comes next. What comes before
    // the row that somebody has locked need not wait for him.
    kWaitForLock,
    // A deadlock, or settings that have changed: a smaller group, at once.
    kSmaller,
    // A row was not written that should have been: somebody made it in between, which the next
    // attempt sees; or, if it goes on, the table's own doing. Smaller; with one transaction left
    // after a short wait.
    kLeftOut,
    // As before, too often: the cause is looked for in the table first.
    kExplainLeftOut,
    // A user's transaction has just taken a unique value, or one that is checked was added: both
    // show once all is looked up again. Smaller, after a short wait.
    kLookAgain,
    // A table may have changed since it was looked up: one transaction alone, all looked up again.
    kAlone,
    // Nothing helps: it lies in this transaction, or in what it meets here.
    kGiveUp,
  };
  static constexpr int kMostCollisions = 20;
  // Users may write a row all the time; a table that leaves it out does so each time.
  static constexpr int kMostLeftOut = 500;

  // Something else is pending, perhaps in another session: shapes of tables that were looked up
  // again before do not count.
  void BeginPending() { looked_again_ = false; }
  // After a failure of a group of `size`.
  Step After(const absl::Status& failed, size_t size);
  // After kExplainLeftOut: by what was found.
  Step AfterExplanation(const absl::Status& explained, size_t size);
  // Something was applied, or given up.
  void Reset();

 private:
  Step Otherwise(const absl::Status& failed, size_t size);

  int collisions_ = 0;         // attempts in a row that met a value which somebody holds
  int left_out_ = 0;           // ... after which a row was not written that should have been
  bool looked_again_ = false;  // for this one transaction, alone
};

// Whether the change will be refused whenever it is tried: what it names is gone, or has become
// another thing. Not a full disk, a right that was taken away, or whatever else lies in the server.
bool IsForGood(const absl::Status& failed);

}  // namespace bdr::agent
