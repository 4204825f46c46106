// What the parts of capture that write a transaction down know of it in common.
#pragma once
#include <cstdint>

#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/positions/server_past.h"

namespace bdr::agent {

// The committed local transaction whose changes are being written.
struct OwnTransaction {
  OriginId origin;  // this node's
  TransactionHeader header;
  CapturedCommit commit;
  uint32_t changes = 0;  // written so far: the place of the one that comes
};

}  // namespace bdr::agent
