#include "node-agent/agent_state.h"

namespace bdr::agent {

absl::string_view ToString(AgentState state) {
  switch (state) {
    case AgentState::kStarting:
      return "starting";
    case AgentState::kWaitingForIdentity:
      return "waiting_for_identity";
    case AgentState::kChecking:
      return "checking";
    case AgentState::kFencing:
      return "fencing";
    case AgentState::kJoining:
      return "joining";
    case AgentState::kRunning:
      return "running";
  }
  return "unknown";
}

}  // namespace bdr::agent
