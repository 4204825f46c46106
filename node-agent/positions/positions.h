// How far every origin has come, as one thing to hand on. Whoever is given it owns nothing of it;
// everything in it outlives him and is thread-safe.
#pragma once

#include "node-agent/positions/applied_history.h"
#include "node-agent/positions/progress.h"
#include "node-agent/positions/server_names.h"
#include "node-agent/positions/server_past.h"

namespace bdr::agent {

struct Positions {
  Progress* progress = nullptr;
  AppliedHistory* applied = nullptr;
  ServerPast* server_past = nullptr;
  const ServerNames* names = nullptr;
};

}  // namespace bdr::agent
