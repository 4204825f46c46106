// What to do with a change, given what PostgreSQL shows at its key and what the version store
// knows.
//
// PostgreSQL's commit times are a filter: they let through what is surely older than the change.
// They are a little below the stamps of local rows, get lost in a freeze, and say nothing of rows
// that are gone. What they do not settle, the version store does, if need be once capture has
// passed the moment at which the row was looked at.
//
// Pure: the agent and the model of it (tests/model) decide by this same code.
#pragma once

#include <cstdint>
#include <optional>

#include "conflict/merge_rule.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// The row at the key, as PostgreSQL shows it.
struct FoundRow {
  bool own = false;           // written by this very transaction
  bool local_writer = false;  // its last writer was no origin of the cluster, or is not known
  std::optional<int64_t> time_us = {};  // its commit time; unset where PostgreSQL has lost it
};

struct IncomingChange {
  ChangeKind kind = ChangeKind::kUpdate;
  bool whole = false;  // it was sent as an upsert or delete of whatever stands there
  Stamp stamp = kNever;
  // An own change that is merged once more: it is in the database and the version store already.
  bool merged_again = false;
};

// What is known of the key beside the row.
struct Known {
  // The newest version in the store now; kNever if it has none.
  Stamp newest = kNever;
  bool newest_dead = false;
  // The key's tombstone from before this change was recorded; kNever if there was none.
  Stamp dead_before = kNever;
  // Capture has passed a moment at which the same was found: then `newest` knows what was local.
  bool capture_passed = false;
  // A local row's commit time may be this much below its stamp.
  int64_t largest_raise_us = 0;
};

enum class Verdict {
  kDrop,      // a newer version is known
  kNothing,   // there is nothing to be done
  kWait,      // hold no locks, wait until capture has passed this moment, look again
  kVanished,  // what the upsert met is gone by now: begin again
  kWrite,     // update or delete the row
  kInsert,    // write the whole row
};

// The filter: whether the row found may be overwritten without asking the store. `seen_us`: up to
// when the change's origin had seen the row's writer; it only finds conflicts to log.
bool PassesFilter(const FoundRow& found, Stamp incoming, int64_t largest_raise_us, int64_t seen_us);

// `found`: null if no row stands there. What the store knew to be newer before anything was sent
// must have been dropped already.
Verdict Judge(const IncomingChange& incoming, const FoundRow* found, const Known& known);

// Whether a local row is older than the change by its commit time alone.
bool SurelyOlder(const FoundRow& found, Stamp incoming, int64_t largest_raise_us);

}  // namespace bdr::conflict
