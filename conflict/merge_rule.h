// The merge rule of last-update-wins: what a node does with one change, given what it finds.
//
// Pure: no clock, no database. Every node that has merged the same changes, each origin's in order
// but otherwise in any order, ends with the same rows and tombstones; merge_rule_test.cc plays that
// out. (docs/architecture.md, "Conflicts".)
#pragma once

#include <optional>

#include "conflict/conflict_kind.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

enum class ChangeKind { kInsert, kUpdate, kDelete };

// What a node knows of a key before it merges a change of it.
struct KeyState {
  // Stamp of the row that stands there; unset if there is none.
  std::optional<Stamp> row;
  // The newest of the key's dead versions and the table's truncates; kNever if there is none.
  Stamp dead = kNever;
};

enum class Action {
  kWrite,   // put the incoming row there (insert or update, whatever the change was)
  kDelete,  // remove the row that stands there, bury the key at the incoming stamp
  kBury,    // nothing stands there; bury the key at the incoming stamp
  kDrop,    // a newer version is known: nothing changes
};

struct Decision {
  Action action = Action::kDrop;
  // Which conflict it is if the incoming transaction had not seen the version found. kNone where
  // nothing was found that could conflict.
  ConflictKind conflict_if_unseen = ConflictKind::kNone;
};

// `incoming` is the change's stamp. Equal stamps are the same transaction: the later change wins.
Decision Decide(ChangeKind kind, Stamp incoming, const KeyState& found);

}  // namespace bdr::conflict
