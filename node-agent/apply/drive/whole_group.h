// The first transactions of what is pending, as one local transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "node-agent/apply/drive/apply_tools.h"
#include "node-agent/apply/drive/group_body.h"

namespace bdr::agent {

// As GroupBody.
class WholeGroup : public GroupBody {
 public:
  // At most `wanted` of what is pending. `tools` outlives it.
  WholeGroup(ApplyTools* tools, size_t wanted)
      : tools_(*tools), wanted_(wanted), plan_(tools->origin, /*keyed_only=*/tools->own()) {}

  absl::Status Prepare() override;
  absl::Status Write(Needs* needs) override;
  absl::Status Commit() override;
  absl::Status Meet(const Needs& needs) override;
  absl::Status Recover(const absl::Status& failed) override;
  // Keys and values are asked for by what is found, which costs one round trip.
  bool CountsAsRetry(const Needs& needs) const override {
    return needs.empty() || !needs.capture.empty();
  }
  int64_t newest_us() const override { return plan_.last().stamp.time_us; }

 private:
  absl::StatusOr<size_t> Size() const;
  absl::Status ReadClaims();
  absl::Status Register();
  absl::Status RecordVersions();
  absl::Status Finish();

  ApplyTools& tools_;
  const size_t wanted_;
  size_t pieces_ = 0;
  GroupPlan plan_;
  GroupClaims claims_;
  KeysInFlight::Registration registration_;
  absl::flat_hash_set<std::string> registered_;
  std::vector<std::string> further_;  // keys of rows that hold what the group claims
  FoundBefore found_before_;
  ExecutorOptions options_;
  std::optional<GroupExecutor> executor_;  // of this attempt
  ConflictCounts conflicts_;               // likewise
};

}  // namespace bdr::agent
