// What the admin service asks of the agent (admin/agent_backend.h), answered out of the running
// data path. While there is none each says kUnavailable, or that there is nothing.
#pragma once

#include <atomic>
#include <vector>

#include "node-agent/admin/agent_backend.h"
#include "node-agent/data_path.h"
#include "node-agent/self_report.h"

namespace bdr::agent {

// Thread-safe.
class AdminAnswers final : public AgentBackend {
 public:
  // Both outlive it. `running`: the data path while others may use its parts, else null.
  AdminAnswers(SelfReport* report, const std::atomic<DataPath*>* running)
      : report_(report), running_(*running) {}

  void FillStatus(v1::NodeStatus* status) override { report_->FillStatus(status); }
  absl::Status FillPosition(absl::Time deadline, v1::GetPositionResponse* position) override;
  absl::StatusOr<std::vector<NodeId>> RetryApply(NodeId node) override;
  absl::Status ExportRows(postgres::Connection& connection, const v1::ExportRowsRequest& request,
                          v1::ExportRowsResponse* response) override;
  absl::Status RepairRows(const v1::RepairRowsRequest& request,
                          v1::RepairRowsResponse* response) override;
  absl::Status OwnsDatabase() override;
  absl::Status RetryDeadLetter(int64_t id, absl::Time deadline) override;
  void DeadLetterDropped(int64_t id) override;
  absl::Status SkipUndecodable(absl::Time deadline, absl::FunctionRef<bool()> cancelled,
                               const v1::SkipUndecodableRequest& request,
                               v1::SkipUndecodableResponse* response) override;
  absl::Status CloseGaps(const v1::CloseGapsRequest& request,
                         v1::CloseGapsResponse* response) override;
  std::vector<pg_setup::PolicyWish> TablePolicies() override;
  std::vector<pg_setup::Finding> SchemaFindings() override;

 private:
  SelfReport* const report_;
  const std::atomic<DataPath*>& running_;
};

}  // namespace bdr::agent
