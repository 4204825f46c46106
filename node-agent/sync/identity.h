// Who this node is: told by bdr-server once, and written down for good.
//
// What a node has captured and applied is kept under its number. So a data folder belongs to one
// node for ever, and one that comes with an empty folder must have no past (first_start.h).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/origin.h"
#include "node-agent/changelog/database.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/positions/server_names.h"

namespace bdr::agent {

struct Identity {
  OriginId own;
  ServerNames names;
};

// The identity of the node named `node`: as it was written down, else as bdr-server has given it
// out, which is then written down, durably. `last_report` says what became of the last report to
// bdr-server, `known` what it told of the members before. All errors may pass: kNotFound while the
// node is not a member, kUnavailable while that is not known, kFailedPrecondition if a person has
// to do something (another node's folder, a folder that was lost); kDataLoss does not.
absl::StatusOr<Identity> LearnIdentity(const std::string& node, const Membership& known,
                                       const absl::Status& last_report, Database* database);

}  // namespace bdr::agent
