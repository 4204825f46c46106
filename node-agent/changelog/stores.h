// What a data path keeps on disk, as one thing to hand on. Whoever is given it owns nothing of it;
// everything in it outlives him.
#pragma once

#include "conflict/claim_store.h"
#include "conflict/history_store.h"
#include "conflict/version_store.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

struct Stores {
  Database* database = nullptr;
  ChangeLog* log = nullptr;
  const conflict::VersionStore* versions = nullptr;
  const conflict::ClaimStore* claims = nullptr;
  const conflict::HistoryStore* fold_history = nullptr;  // of tables that fold
};

}  // namespace bdr::agent
