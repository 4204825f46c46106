// The conversion of sequences as a script, for a superuser to run where bdrctl gets no superuser's
// connection.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/output.h"
#include "ctl/rpc.h"
#include "ctl/sequence_conversion.h"
#include "ctl/sequence_nodes.h"

namespace bdr::ctl {

struct SequenceScript {
  std::string text;  // for psql, the same for every node
  Json document;     // an entry for each sequence
};

// Changes nothing on any node. With `reserve` bdr-server is told of the conversions, by which each
// sequence gets its number; without, the script ends before its first statement. kNotFound and
// kFailedPrecondition as SequenceConversion::Look(); the latter also for what takes more than two
// steps.
absl::StatusOr<SequenceScript> WriteSequenceScript(const Server& server, const SequenceWish& wish,
                                                   bool reserve, const std::string& cluster_id,
                                                   const std::vector<std::string>& sequences,
                                                   std::vector<SequenceNode>& nodes);

}  // namespace bdr::ctl
