// What a TRUNCATE does to one row: it kills what is older than its stamp, on every node alike,
// whenever it arrives there.
//
// Pure: no clock, no database.
#pragma once

#include <cstdint>

#include "base/origin.h"
#include "conflict/row_rule.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

enum class TruncateVerdict {
  kDies,
  kStays,
  kWait,  // hold no locks, wait until capture has passed this moment, look again
};

struct TruncateChange {
  Stamp stamp;
  NodeId own_node = 0;
  // It is this node's own, and merged once more: it has really run here.
  bool merged_again = false;
  // A local row's commit time may be this much below its stamp.
  int64_t largest_raise_us = 0;
};

struct TruncateKnown {
  // The newest version of the row's key in the store; kNever if it has none.
  Stamp newest = kNever;
  // Capture has passed a moment at which the row stood there already: if it is local, the version
  // store knows it, or it is older than anything that can still arrive.
  bool captured = false;
  // Capture was waited for since the TRUNCATE first met the table.
  bool waited = false;
};

// The filter in front of it: whether the store has to be asked. If not, the row dies. Whatever
// users of this node have left in the table of an own TRUNCATE was written behind it, whatever the
// commit times say: they may lie below the stamps.
bool MaybeNewer(const TruncateChange& truncate, const FoundRow& found);

TruncateVerdict JudgeTruncated(const TruncateChange& truncate, const FoundRow& found,
                               const TruncateKnown& known);

}  // namespace bdr::conflict
