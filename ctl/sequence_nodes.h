// Sessions in every node's database, for what is done with sequences on all nodes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/rpc.h"
#include "postgres/connection.h"

namespace bdr::ctl {

struct SequenceNode {
  std::string name = "";
  uint32_t id = 0;
  std::unique_ptr<postgres::Connection> connection = nullptr;
};

// Connects to every member's database, whose libpq connection string is in `databases` under its
// name. No statement waits for a lock for longer than 200 ms there, since users who draw wait
// behind it. kFailedPrecondition with what to do if a database is not that node's;
// kPermissionDenied for a role that is no superuser, unless it is `to_read` only. A role that may
// not see whose database it is gets the benefit of the doubt then. Unless it is `to_read` only,
// nobody else gets sessions by this while these live; kFailedPrecondition, with the node, where
// somebody has them already, after some seconds.
absl::StatusOr<std::vector<SequenceNode>> OpenSequenceNodes(
    const v1::Membership& membership, const std::map<std::string, std::string>& databases,
    bool to_read);

// The same status, with the node in front.
absl::Status OnNode(const SequenceNode& node, const absl::Status& status);

}  // namespace bdr::ctl
