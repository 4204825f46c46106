// What --check looks at on disk: the data folder, the log file, the room there is.
#pragma once

#include "node-agent/config/agent_config.h"
#include "postgres/setup/findings_text.h"

namespace bdr::agent {

// Whether the agent has been there before: its folder holds a store.
bool HasStore(const AgentConfig& config);

pg_setup::Checked CheckFiles(const AgentConfig& config);

}  // namespace bdr::agent
