// What --check looks at of the node's certificate.
#pragma once

#include "node-agent/cluster/membership.h"
#include "node-agent/config/agent_config.h"
#include "postgres/setup/findings_text.h"

namespace bdr::agent {

// `self`: as the cluster knows this node, and so where others go; null if that is not known.
pg_setup::Checked CheckCertificate(const AgentConfig& config, const Member* self);

}  // namespace bdr::agent
