// bdr-agent: its life, from taking its ports to giving them back. What it consists of is in
// data_path.h; its states are drawn in agent_state.h.
//
// Each step of a start is repeated until it succeeds; what is missing stands in /readyz and in the
// log. kill -9 is safe at any moment: what a step has made is found by the next start.
#pragma once

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "base/http_server.h"
#include "base/metrics.h"
#include "node-agent/admin/admin_service.h"
#include "node-agent/admin_answers.h"
#include "node-agent/agent_state.h"
#include "node-agent/cluster/control_client.h"
#include "node-agent/cluster/known_membership.h"
#include "node-agent/config/agent_config.h"
#include "node-agent/data_path.h"
#include "node-agent/following.h"
#include "node-agent/listener.h"
#include "node-agent/self_report.h"
#include "node-agent/sync/data_folder.h"
#include "node-agent/sync/fence.h"
#include "node-agent/sync/identity.h"
#include "node-agent/waker.h"

namespace bdr::agent {

// Run() belongs to one thread, which makes and ends all parts; Stop() is for any. Other threads
// (gRPC's, the control client's, the HTTP server's) come in through report_ and answers_ alone, and
// touch the data path only as long as running_ points to it.
class Agent {
 public:
  explicit Agent(AgentConfig config);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Runs until Stop(). The error that ends it is one that no repetition can heal.
  absl::Status Run();
  // From any thread; returns at once.
  void Stop() { waker_.Stop(); }

 private:
  // --- the steps of a start, in order ---
  absl::Status Listen();
  absl::Status Open();
  absl::Status StartControl();
  absl::Status LearnIdentity();
  absl::Status CheckPostgres();
  absl::Status Fence();
  absl::Status KeepMembership();
  // kInvalidArgument once bdr-server has taken this node back before it had joined: it will never
  // be a member.
  absl::Status CheckNotRemoved() const;
  absl::Status StartDataPath();
  absl::Status Join();

  absl::Status Follow();
  absl::Status TakeChange(Membership* followed);
  void ShutDown();

  // Repeats `step` until it succeeds (OK), cannot (the error), or the agent stops (kCancelled).
  absl::Status Repeat(AgentState state, absl::Status (Agent::*step)());

  const AgentConfig config_;
  AgentHealth health_;
  Metrics metrics_;
  KnownMembership known_;
  Waker waker_;  // known_ has changed
  // The data path while other threads may use its parts.
  std::atomic<DataPath*> running_{nullptr};
  SelfReport report_;
  AdminAnswers answers_;

  // From Listen() and Open() on.
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<const DataFolder> folder_;
  std::unique_ptr<ControlClient> control_;

  // From the identity on.
  std::unique_ptr<const Identity> identity_;
  Fenced fenced_;     // given to the data path
  Membership taken_;  // as it was written down last
  std::unique_ptr<DataPath> data_path_;
  std::unique_ptr<Following> following_;
  std::unique_ptr<Listener> listener_;  // last: serves the above
};

}  // namespace bdr::agent
