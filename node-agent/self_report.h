// What the agent tells of itself: to bdr-server, to administrators, at /readyz and at /metrics. All
// of them hear the same, whatever state it is in.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/metrics.h"
#include "base/origin.h"
#include "node-agent/agent_state.h"
#include "node-agent/cluster/known_membership.h"
#include "node-agent/config/agent_config.h"
#include "node-agent/data_path.h"
#include "node-agent/sync/data_folder.h"

namespace bdr::v1 {
class NodeStatus;
class ReportRequest;
class ReportResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// Thread-safe; no call waits. The agent's thread tells it how far the agent is, any thread asks.
class SelfReport {
 public:
  struct Options {  // all outlive it
    const AgentConfig* config = nullptr;
    const AgentHealth* health = nullptr;
    const KnownMembership* known = nullptr;
    Metrics* metrics = nullptr;
    // The data path while others may use its parts, else null.
    const std::atomic<DataPath*>* running = nullptr;
  };
  // `now`: while the stable time is not known, that is so since then.
  SelfReport(const Options& options, absl::Time now);

  // --- how far the agent is ---
  // Before the first FillReport(). `folder` outlives the reports.
  void SetFolder(const DataFolder* folder);
  void SetNode(NodeId node) { node_ = node; }
  // The peers of this epoch are waited for.
  void SetFollowed(uint64_t epoch) { followed_epoch_ = epoch; }
  void SetJoined() { joined_ = true; }

  // --- who asks ---
  void FillStatus(v1::NodeStatus* status);
  // A report to bdr-server; what its answer has to say of sequences, and whose tables' shapes are
  // wanted then.
  void FillReport(v1::ReportRequest* report);
  std::vector<std::string> TakeAnswer(const v1::ReportResponse& response);
  // For /readyz: why the node is not ready; empty if it is.
  std::vector<std::string> NotReady();
  // For Metrics::OnScrape.
  void ShowMetrics();

 private:
  const AgentConfig& config_;
  const AgentHealth& health_;
  const KnownMembership& known_;
  Metrics* const metrics_;
  const std::atomic<DataPath*>& running_;

  std::atomic<const DataFolder*> folder_{nullptr};
  std::atomic<uint32_t> node_{0};  // 0 until there is an identity
  std::atomic<uint64_t> followed_epoch_{0};
  std::atomic<bool> joined_{false};
  std::atomic<int64_t> stable_known_us_;  // see bdr.v1.NodeStatus
};

}  // namespace bdr::agent
