#include "node-agent/admin_answers.h"

#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.pb.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/report/agent_status.h"

namespace bdr::agent {

absl::Status AdminAnswers::FillPosition(absl::Time deadline, v1::GetPositionResponse* position) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not capture yet");
  RETURN_IF_ERROR(path->in_flight().barrier->Pass(deadline - absl::Now()));
  const Cursor end = path->stores().log->End(path->own());
  position->set_node(path->own().node);
  position->set_incarnation(path->own().incarnation);
  position->set_published_lsn(end.end_lsn.value);
  position->set_part(end.part);
  position->set_chain(end.chain);
  return absl::OkStatus();
}

absl::Status AdminAnswers::ExportRows(postgres::Connection& connection,
                                      const v1::ExportRowsRequest& request,
                                      v1::ExportRowsResponse* response) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent knows no row versions yet");
  return path->parts().repair->Export(connection, request, response);
}

absl::Status AdminAnswers::RepairRows(const v1::RepairRowsRequest& request,
                                      v1::RepairRowsResponse* response) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not apply yet");
  return path->parts().repair->Repair(request, response);
}

absl::Status AdminAnswers::OwnsDatabase() {
  if (running_ != nullptr) return absl::OkStatus();
  return absl::UnavailableError("the agent is starting: ask again once it runs");
}

absl::Status AdminAnswers::RetryDeadLetter(int64_t id, absl::Time deadline) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not apply yet");
  return path->parts().dead_letters->Retry(id, deadline - absl::Now());
}

void AdminAnswers::DeadLetterDropped(int64_t id) {
  if (const DataPath* const path = running_; path != nullptr)
    path->parts().dead_letters->Remove(id);
}

absl::Status AdminAnswers::SkipUndecodable(absl::Time deadline, absl::FunctionRef<bool()> cancelled,
                                           const v1::SkipUndecodableRequest& request,
                                           v1::SkipUndecodableResponse* response) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not capture yet");
  ASSIGN_OR_RETURN(const CaptureGap gap,
                   path->parts().capture->Skip(Lsn{request.lsn()}, request.until_decodable(),
                                               deadline - absl::Now(),
                                               [&] { return cancelled() || running_ == nullptr; }));
  FillGap(gap, response->mutable_gap());
  return absl::OkStatus();
}

absl::Status AdminAnswers::CloseGaps(const v1::CloseGapsRequest& request,
                                     v1::CloseGapsResponse* response) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not capture yet");
  ASSIGN_OR_RETURN(const std::vector<CaptureGap> closed,
                   path->parts().gaps->Close(Lsn{request.first_lsn()}));
  for (const CaptureGap& gap : closed) {
    LogInfo("capture", {{"state", "gap_closed"}, {"lsn", ToString(gap.first)}}, ToString(gap));
    FillGap(gap, response->add_closed());
  }
  return absl::OkStatus();
}

std::vector<pg_setup::PolicyWish> AdminAnswers::TablePolicies() {
  std::vector<pg_setup::PolicyWish> wishes;
  const DataPath* const path = running_;
  if (path == nullptr) return wishes;
  for (const auto& [name, policy] : path->parts().settings->MergedTables()) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits('.', 1));
    wishes.push_back({.schema = parts.first,
                      .table = parts.second,
                      .policy = std::string(conflict::ToString(policy.kind)),
                      .columns = policy.columns,
                      .function = policy.function});
  }
  return wishes;
}

std::vector<pg_setup::Finding> AdminAnswers::SchemaFindings() {
  std::vector<pg_setup::Finding> findings;
  const DataPath* const path = running_;
  if (path == nullptr) return findings;
  for (const SchemaWatch::Difference& difference : path->parts().schema->Differences()) {
    findings.push_back({.level = pg_setup::Finding::Level::kWarning,
                        .what = difference.text,
                        .remedy = difference.statement});
  }
  return findings;
}

absl::StatusOr<std::vector<NodeId>> AdminAnswers::RetryApply(NodeId node) {
  const DataPath* const path = running_;
  if (path == nullptr) return absl::UnavailableError("the agent does not apply yet");
  return path->parts().peers->Retry(node);
}

}  // namespace bdr::agent
