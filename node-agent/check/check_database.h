// What --check looks at in PostgreSQL: all that "bdrctl node check" does, and whose database it is.
#pragma once

#include <optional>
#include <string>

#include "node-agent/check/clocks.h"
#include "node-agent/config/agent_config.h"
#include "postgres/setup/findings_text.h"

namespace bdr::agent {

struct AskedDatabase {
  pg_setup::Checked checked;
  std::optional<ClockReading> clock;  // if it answered
};

// `cluster_id` is "" while it is not known.
AskedDatabase AskDatabase(const AgentConfig& config, const std::string& cluster_id);

}  // namespace bdr::agent
