// Asks other agents for values of rows: the client of the gRPC service Rows.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/security_options.h"
#include "node-agent/apply/row_source.h"
#include "node-agent/membership.h"

namespace bdr::agent {

// Thread-safe. A connection for each call: such calls are rare.
class RowClient : public RowSource {
 public:
  struct Options {
    NodeId self = 0;
    std::string cluster_id;
    SecurityOptions security;
    std::function<Membership()> membership;
  };
  explicit RowClient(Options options) : options_(std::move(options)) {}

  std::vector<NodeId> Members() override;
  std::string NameOf(NodeId node) override;
  absl::StatusOr<std::vector<RowAnswer>> Fetch(NodeId node, const RowsWanted& wanted,
                                               const std::function<bool()>& stop) override;

 private:
  const Options options_;
};

}  // namespace bdr::agent
