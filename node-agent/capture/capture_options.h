// What capture is given, by the agent, and hands on to its parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/lsn.h"
#include "base/origin.h"
#include "node-agent/capture/foreign_origins.h"
#include "node-agent/capture/gaps.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/tables/table_cache.h"

namespace bdr::agent {

struct CaptureOptions {
  OriginId own;
  std::string conninfo;
  size_t block_max_bytes = 1 << 20;
  uint64_t log_cap_bytes = 10ull << 30;
  // Large transactions are streamed to the spool beyond this, so it bounds capture's memory.
  size_t decoding_memory_bytes = 8 << 20;
  // What other tools' replication origins write is sent on as this node's own.
  bool forward_foreign_origins = false;
  // Local WAL as it was before any applier of this agent began.
  Lsn touched_through = {};
};

struct CaptureParts {  // what they point to outlives capture
  Stores stores;
  Positions positions;
  Clocks clocks;       // of them the stamps
  InFlight in_flight;  // no barrier: that one waits for capture
  TableCache* tables = nullptr;
  Settings* settings = nullptr;
  CaptureGaps* gaps = nullptr;
  ForeignOrigins* foreign_origins = nullptr;
};

}  // namespace bdr::agent
