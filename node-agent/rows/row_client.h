// Asks other agents for values of rows: the client of the gRPC service Rows.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/security_options.h"
#include "node-agent/apply/plan/row_source.h"
#include "node-agent/cluster/membership.h"

namespace bdr::agent {

// Thread-safe. A connection for each call: such calls are rare.
class RowClient : public RowSource {
 public:
  struct Options {
    NodeId self = 0;
    std::string cluster_id;
    SecurityOptions security;
    std::function<Membership()> membership;
    // The timeout of a call. One that was too slow makes the next to that node wait twice as long:
    // a large row on a slow line arrives in the end.
    absl::Duration timeout = absl::Minutes(2);
  };
  explicit RowClient(Options options) : options_(std::move(options)) {}

  std::vector<NodeId> Members() override;
  std::string NameOf(NodeId node) override;
  absl::StatusOr<std::vector<RowAnswer>> Fetch(NodeId node, const RowsWanted& wanted,
                                               const std::function<bool()>& stop) override;

 private:
  absl::Duration TimeoutFor(NodeId node);
  void TookTooLong(NodeId node, bool too_long);

  const Options options_;
  Mutex mu_;
  std::map<NodeId, absl::Duration> timeouts_ ABSL_GUARDED_BY(mu_);  // of those that are slow
};

}  // namespace bdr::agent
