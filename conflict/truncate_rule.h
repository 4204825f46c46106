// What a TRUNCATE does to one row that commit times do not settle: it kills what is older than its
// stamp, on every node alike, whenever it arrives there.
//
// Pure: no clock, no database.
#pragma once

#include <cstdint>
#include <optional>

#include "base/origin.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

enum class TruncateVerdict {
  kDies,
  kStays,
  kWait,  // hold no locks, wait until capture has passed this moment, look again
};

// A row of the table, as PostgreSQL shows it.
struct RowMet {
  bool local_writer = false;            // no origin of the cluster wrote it last, or none is known
  std::optional<int64_t> time_us = {};  // its commit time; unset where PostgreSQL has lost it
  // Capture has passed a moment at which the row stood there already: if it is local, the version
  // store knows it, or it is older than anything that can still arrive.
  bool captured = false;
  // Capture was waited for since the TRUNCATE first met the table.
  bool waited = false;
  // An applier wrote it last, or own changes that were merged again did. So it is nothing that the
  // TRUNCATE's own transaction has left behind it: such rows stand as users wrote them where the
  // TRUNCATE is an own one that is merged again, and are yet to come where it is another's.
  bool applied = false;
};

// `newest`: the newest version of the row's key in the store; unset if it has none.
TruncateVerdict JudgeTruncated(Stamp truncate, const RowMet& row, NodeId own_node,
                               const std::optional<Stamp>& newest);

}  // namespace bdr::conflict
