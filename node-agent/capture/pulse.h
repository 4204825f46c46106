// What the watcher reads of the local server, for all who go by its clock and its WAL.
#pragma once
#include <cstdint>

#include "base/lsn.h"

namespace bdr::agent {

// The local server's clock and WAL, read together, the clock first: what commits later than
// `insert_lsn` has a later time, but for commits that are under way.
struct Pulse {
  int64_t clock_us = 0;
  Lsn insert_lsn;
  Lsn flush_lsn;
};

}  // namespace bdr::agent
