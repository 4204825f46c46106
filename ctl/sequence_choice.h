// Which sequences a command means, of those that the nodes have.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/rpc.h"
#include "ctl/sequence_nodes.h"

namespace bdr::ctl {

// Exactly one of these is given.
struct SequenceChoice {
  std::vector<std::string> names = {};     // SCHEMA.NAME, each quoted where it must be
  std::vector<std::string> schemas = {};   // all of these schemas
  std::vector<std::string> patterns = {};  // all whose schema.name matches one, as in a shell
  bool all = false;
};

// kInvalidArgument unless it is exactly one.
absl::Status CheckChoice(const SequenceChoice& choice);

// The sequences as SCHEMA.NAME, quoted where they must be: those named in their order, others in
// the alphabet's. What is not named counts only if it is a user's own and permanent: not
// PostgreSQL's, not ours, not an extension's, neither temporary nor unlogged. With `only_converted`
// it counts only if a node has converted it, or is about to, or bdr-server has a method for it.
//
// kNotFound for a name that no node has, or if nothing matches; kFailedPrecondition for one that
// some nodes have and some lack, or that cannot be converted. All of these are in the one error.
absl::StatusOr<std::vector<std::string>> ChooseSequences(const SequenceChoice& choice,
                                                         bool only_converted, const Server& server,
                                                         std::vector<SequenceNode>& nodes);

}  // namespace bdr::ctl
