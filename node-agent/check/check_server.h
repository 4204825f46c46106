// What --check asks of bdr-server: nothing but what "bdrctl status" does.
#pragma once

#include <optional>

#include "node-agent/check/clocks.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/config/agent_config.h"
#include "postgres/setup/findings_text.h"

namespace bdr::agent {

struct AskedServer {
  pg_setup::Checked checked;
  // As far as one answered.
  std::optional<Membership> membership;
  std::optional<ClockReading> clock;

  // This node as the cluster knows it; null if it does not.
  const Member* Self(const AgentConfig& config) const {
    return membership.has_value() ? membership->FindByName(config.node) : nullptr;
  }
};

AskedServer AskServer(const AgentConfig& config);

}  // namespace bdr::agent
