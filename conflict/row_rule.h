// The rule of last-update-wins: what a node does with one change of a row, given the row that it
// finds and what is known of the row's key; and which conflict that is.
//
// Every node that has merged the same changes, each origin's in order but otherwise in any order,
// ends with the same rows and tombstones; row_rule_test.cc plays that out. (docs/architecture.md,
// "Conflicts".)
//
// PostgreSQL's commit times are a filter in front of it (row_filter.h): they let through what is
// surely older than the change. They are a little below the stamps of local rows, get lost in a
// freeze, and say nothing of rows that are gone. What they do not settle, the version store does,
// if need be once capture has passed the moment at which the row was looked at.
//
// Pure: no clock, no database. Whoever writes rows that come from elsewhere decides by this: plain
// tables, those with further unique values, those that fold, those without a key, TRUNCATE
// (truncate_rule.h), repair, and the model of it all (tests/model).
#pragma once

#include <cstdint>
#include <optional>

#include "base/origin.h"
#include "conflict/conflict_kind.h"
#include "conflict/seen.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

enum class ChangeKind { kInsert, kUpdate, kDelete };

// Who wrote a row last, as PostgreSQL shows it.
enum class Writer {
  kThisTransaction,
  kLocal,  // no origin of the cluster, or none that is known
  kNode,   // an applier, for a node of the cluster
};

// The row at the key.
struct FoundRow {
  Writer writer = Writer::kLocal;
  NodeId node = 0;  // of kNode: which; 0: it was repaired, and only the store tells what it is
  // Its commit time. Unset where PostgreSQL has lost it, or another tool made it up; kLongStable if
  // it is lost, and the row older than anything that can still arrive.
  std::optional<int64_t> time_us = {};
};
inline constexpr int64_t kLongStable = 0;

struct RowChange {
  ChangeKind kind = ChangeKind::kUpdate;
  Stamp stamp;
  Seen seen = {};  // by its transaction
  // It makes the row: that nothing stands there is no conflict. (Of a delete: nor is it one.)
  bool whole = false;
  // A statement of it was sent first, and wrote nothing. So of a whole row: one stood there.
  bool sent = false;
  // An own change that is merged once more: it is in the database and the version store already.
  bool merged_again = false;
};

// kNever: none is known.
struct KnownVersion {
  Stamp stamp = kNever;
  bool dead = false;
};

// What is known of the version of a row that stands.
struct RowVersion {
  enum class Source {
    kNone,   // see `stamp`
    kStore,  // it is the newest version known of the key
    kTime,   // it is the commit time of a local row, which its stamp lies at or a little above
  };
  Source source = Source::kNone;
  // Of kNone: kNever, and the row is older than anything that can still arrive; but see `pending`.
  Stamp stamp = kNever;
  bool dead = false;  // kStore says so, though a row stands
  // The newest version of the key is still to be applied, so which one stands is not known. (Its
  // claims are: claim_store.h.)
  bool pending = false;
  // Its last writer was a local commit that capture has perhaps not reached: wait, ask again.
  bool must_wait = false;
};

// What is known of the key beside the row.
struct Known {
  // The newest version from before this change was recorded, TRUNCATEs of the table among them.
  KnownVersion before = {};
  // The newest in the store now.
  KnownVersion newest = {};
  // Capture has passed a moment at which the same was found: then `newest` knows what was local.
  bool capture_passed = false;
  // A local row's commit time may be this much below its stamp.
  int64_t largest_raise_us = 0;
  NodeId own_node = 0;
  // Of the row found, where it had to be found out exactly (VersionOfRow).
  std::optional<RowVersion> row = {};
};

enum class Verdict {
  kDrop,      // a newer version is known
  kNothing,   // there is nothing to be done
  kStands,    // an own change merged again: the row that it left stands there
  kWait,      // hold no locks, wait until capture has passed this moment, look again
  kVanished,  // what the upsert met is gone by now: begin again
  kWrite,     // update or delete the row
  kInsert,    // write the whole row
};

// The version that a change met.
enum class Met {
  kNothing,     // none, or one that is older than anything that somebody had not seen
  kBefore,      // Known::before
  kNewest,      // Known::newest
  kCommitTime,  // of the row found, by this node
  kRow,         // Known::row
};

struct Decision {
  Verdict verdict = Verdict::kNothing;
  // kNone: nothing to be logged. Else what the change met, which its transaction had not seen.
  ConflictKind conflict = ConflictKind::kNone;
  Met met = Met::kNothing;
  Winner winner = Winner::kRemote;
  Rule rule = Rule::kNone;
};

// `found`: null if no row stands there. Equal stamps are the same transaction: the later change
// wins.
Decision Decide(const RowChange& change, const FoundRow* found, const Known& known);

// Whether the change may be left out without looking at the row: it is older than what was known
// before. Decide() says the same, and which conflict it is.
bool IsKnownOlder(const RowChange& change, const Known& known);

// Of a table that folds, where nothing is lost: whether two changes met which did not know of each
// other.
Decision DecideFolded(const RowChange& change, const Known& known);

// Of a table without a key, whose rows have no versions: whether an insert is older than the
// table's newest TRUNCATE, and left out.
bool IsTruncated(Stamp insert, Stamp newest_truncate);

struct RowVersionQuery {
  NodeId own_node = 0;
  int64_t largest_raise_us = 0;
  // The newest version of the key, without what the caller is about to write.
  KnownVersion known = {};
  // `known` is of a transaction that is not applied here yet.
  bool known_is_pending = false;
  // As Known::capture_passed.
  bool capture_passed = false;
  // It is enough to know that the row is older than this: no wait then. kNever: must be exact.
  Stamp enough_if_older_than = kNever;
};

// Of a row that another transaction wrote.
RowVersion VersionOfRow(const FoundRow& found, const RowVersionQuery& query);

// Whether a local row is older than the change by its commit time alone.
bool SurelyOlder(const FoundRow& found, Stamp incoming, int64_t largest_raise_us);

// A row as another node has it, which is to be made this node's as well.
struct RowImage {
  Stamp stamp = kNever;   // kNever: that node's store does not know its version
  int64_t commit_us = 0;  // then this tells; 0: lost
  bool present = false;   // no row otherwise: it was deleted
};

// Whether the image would overwrite something later. `newest` of the key, `truncate` of the table;
// nobody is sure to keep versions from before `stable_us`.
bool KnowsNewer(const RowImage& image, const KnownVersion& newest, const KnownVersion& truncate,
                int64_t stable_us);

}  // namespace bdr::conflict
