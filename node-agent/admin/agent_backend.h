// What the agent's main gives to the admin service: the answers that only the running agent knows.
#pragma once

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/origin.h"
#include "postgres/setup/check_policy.h"

namespace bdr::postgres {
class Connection;
}

namespace bdr::v1 {
class CloseGapsRequest;
class CloseGapsResponse;
class ExportRowsRequest;
class ExportRowsResponse;
class GetPositionResponse;
class NodeStatus;
class RepairRowsRequest;
class RepairRowsResponse;
class SkipUndecodableRequest;
class SkipUndecodableResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// Thread-safe.
class AgentBackend {
 public:
  virtual ~AgentBackend() = default;

  // Called on gRPC's threads: must not block.
  virtual void FillStatus(v1::NodeStatus* status) = 0;

  // Called on a thread of the admin service, with nothing held. A position that covers everything
  // committed before the call, so it may have to wait for capture. kDeadlineExceeded after
  // `deadline`, kUnavailable while nothing is captured.
  virtual absl::Status FillPosition(absl::Time deadline, v1::GetPositionResponse* position) = 0;

  // The tables that are merged by a policy other than the last update. Must not block.
  virtual std::vector<pg_setup::PolicyWish> TablePolicies() = 0;
  // What differs between this node's tables and the other nodes'. Must not block.
  virtual std::vector<pg_setup::Finding> SchemaFindings() = 0;

  // Called on gRPC's threads: must not block. Lets apply of an origin that has stopped try again;
  // 0: all that have. Gives the nodes that were stopped. kNotFound if `node` is no origin of this
  // agent.
  virtual absl::StatusOr<std::vector<NodeId>> RetryApply(NodeId node) = 0;

  // Both on a thread of the admin service. Rows with their versions, and rows made what they are
  // elsewhere: see repair/row_repair.h.
  virtual absl::Status ExportRows(postgres::Connection& connection,
                                  const v1::ExportRowsRequest& request,
                                  v1::ExportRowsResponse* response) = 0;
  virtual absl::Status RepairRows(const v1::RepairRowsRequest& request,
                                  v1::RepairRowsResponse* response) = 0;

  // Called on a thread of the admin service, with nothing held: has a transaction that was put
  // aside merged again, and waits for it.
  virtual absl::Status RetryDeadLetter(int64_t id, absl::Time deadline) = 0;
  // Both on a thread of the admin service: see capture/capture.h and capture/gaps.h.
  virtual absl::Status SkipUndecodable(absl::Time deadline, absl::FunctionRef<bool()> cancelled,
                                       const v1::SkipUndecodableRequest& request,
                                       v1::SkipUndecodableResponse* response) = 0;
  virtual absl::Status CloseGaps(const v1::CloseGapsRequest& request,
                                 v1::CloseGapsResponse* response) = 0;

  // Must not block. kUnavailable before the database is known to be this node's: nothing is
  // written to it before.
  virtual absl::Status OwnsDatabase() = 0;
  // It was removed from the database.
  virtual void DeadLetterDropped(int64_t id) = 0;
};

}  // namespace bdr::agent
