// What must hold once a run is over, everything is healed, and the nodes have converged.
#pragma once

#include "absl/status/status.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/journal.h"
#include "tests/chaos/plan.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {

// Every acknowledged transaction is there, and every write of it stands, was replaced by one that
// saw it, or is named in a node's conflict log as the one that lost; nothing that was replaced came
// back (in tables where the last update wins). No key and no unique value is there twice, whatever
// the indexes say. An error if something could not be looked at.
absl::Status CheckJournal(const Plan& plan, const harness::Cluster& cluster, const Journal& journal,
                          Findings* findings);
// Every row that references nothing is named in a node's conflict log.
absl::Status CheckOrphans(const Plan& plan, const harness::Cluster& cluster, Findings* findings);
absl::Status CheckUnique(const harness::Cluster& cluster, Findings* findings);

}  // namespace bdr::chaos
