// The outside of a block: bdr.v1.Block, written and read by hand.
//
// By hand for two reasons. The payload is not copied on the way. And there is exactly one way to
// write a block: other encodings that protobuf would take for the same block (longer numbers,
// fields it does not know) are refused, since a block's bytes are what nodes store and compare.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "node-agent/changelog/block.h"

namespace bdr::agent {

// The chain value that belongs to a block: the first eight bytes of SHA-256 over the previous chain
// value, all other fields of `info` but `chain`, and the compressed payload.
uint64_t ComputeChain(const BlockInfo& info, absl::string_view compressed);

std::string WriteBlock(const BlockInfo& info, absl::string_view compressed);

struct RawBlock {
  BlockInfo info;
  absl::string_view compressed;  // into the bytes that were read
};

// kDataLoss if the bytes are not what WriteBlock() writes. Does not look at the chain value.
absl::StatusOr<RawBlock> ReadBlock(absl::string_view bytes);

}  // namespace bdr::agent
