// A TransactionHeader inside a block: written as a difference to the header before it.
//
// In a busy cluster transactions follow each other by microseconds, and their dependencies differ
// in an entry or two: most headers take some ten bytes instead of ten for every member.
//
// The body of a 'T' record: differences of end_lsn and of the stamp's time, then waits_for, then
// seen. Either list is the number of entries that are new or changed (each: node, incarnation,
// difference of the value to the same entry before, or to 0), and the number of entries that
// vanished (each: node, incarnation). The stamp's node is the block's origin. At the end the
// difference of settings_version, left out where it is zero.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"

namespace bdr::agent {

// Puts both lists into their canonical order: by origin, each at most once. Of two entries for one
// origin the careful one stays: wait for more, have seen less.
void Canonicalize(TransactionHeader* header);

// Both headers are canonical; `before` is an empty one at the start of a block.
std::string EncodeHeader(const TransactionHeader& header, const TransactionHeader& before);

// Turns `header`, the one before, into the one that `body` tells of. kDataLoss if it is malformed.
absl::Status DecodeHeader(absl::string_view body, NodeId stamp_node, TransactionHeader* header);

}  // namespace bdr::agent
