// What one row becomes where its table folds: from its history, and from what stands there.
//
// Pure: no database. The caller has locked the row and gives what it read; it gets what is to stand
// there, and what is to be written to the history.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/lsn.h"
#include "conflict/fold.h"
#include "conflict/history_store.h"

namespace bdr::agent {

// The row that stands there, locked.
struct FoldFound {
  conflict::FoldRow row;
  bool own = false;                // written by this very transaction
  bool local = false;              // written by a local commit: no replication origin of ours
  std::optional<int64_t> time_us;  // its commit time, as far as PostgreSQL knows it; 0: stable
  bool foreign_time = false;       // which another tool made up: it tells nothing
};

struct FoldQuery {
  // Every change in it is committed here, or belongs to the group; others were left out.
  conflict::KeyHistory history;
  // Of those, the ones that were not applied here before this group.
  std::function<bool(const conflict::FoldChange&)> is_new;
  // The table's truncates, as deletes of the row; also of those only what is applied here.
  std::vector<conflict::FoldChange> truncates;
  std::optional<FoldFound> found;
  // Capture was waited for since the row was found as it is now.
  bool waited = false;
  // Capture was waited for since this group first looked at the key, whatever stood there then.
  bool asked = false;
  // Capture has passed the position where the base was read.
  bool base_captured = false;
  // A position of local WAL, beyond every commit that was visible when the row was read.
  Lsn local_now;
  int64_t stable_us = 0;
  // What a column is that was added after a row was written down: AddedColumns() of the table.
  conflict::FoldRow added;
  // By which a local change is merged that is not captured yet.
  const conflict::FoldPolicy* local_policy = nullptr;
  conflict::PolicyOf policy_of;
  const conflict::CustomHandler* custom = nullptr;
};

struct FoldResult {
  // A local commit that is not captured yet could change the outcome: roll back, wait for capture,
  // ask again. Nothing else is set then.
  bool must_wait = false;
  std::optional<conflict::FoldRow> target = {};  // what is to stand there
  // To be written to the history if set; durably before the group commits if it is the key's first.
  std::optional<conflict::FoldBase> base = {};
  bool first_base = false;
  std::vector<conflict::FoldChange> forget = {};  // they are part of the base now
};

absl::StatusOr<FoldResult> FoldKey(FoldQuery query);

// Of a row that stands there. Columns that `row` leaves out are as they are.
bool SameRow(const conflict::FoldRow& row, const conflict::FoldRow& found);

}  // namespace bdr::agent
