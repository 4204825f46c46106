#include "node-agent/changelog/block.h"

#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/changelog/block_format.h"
#include "node-agent/changelog/block_header.h"
#include "node-agent/changelog/varint.h"

namespace bdr::agent {
namespace {

constexpr int kCompressionLevel = 1;
constexpr uint64_t kMaxPayloadBytes = (64ull << 20) + (1ull << 30);

constexpr char kRelation = 'R';
constexpr char kType = 'Y';
constexpr char kBegin = 'T';
constexpr char kChange = 'C';

// A broken invariant of ours: to go on would write a block that nobody can read.
[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "bug: %s\n", what);
  std::abort();
}

struct ContextDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

std::string Compress(absl::string_view payload) {
  // A context holds some 500 kB of tables, so each thread keeps one.
  thread_local const std::unique_ptr<ZSTD_CCtx, ContextDeleter> context(ZSTD_createCCtx());
  if (context == nullptr) Die("no memory for a compression context");
  std::string out;
  out.resize(ZSTD_compressBound(payload.size()));
  const size_t size = ZSTD_compressCCtx(context.get(), out.data(), out.size(), payload.data(),
                                        payload.size(), kCompressionLevel);
  if (ZSTD_isError(size)) Die(ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

absl::StatusOr<std::string> Decompress(absl::string_view compressed, uint64_t payload_bytes) {
  // The frame says its size too. Compared before anything is allocated, so that a damaged block
  // costs no memory.
  if (ZSTD_getFrameContentSize(compressed.data(), compressed.size()) != payload_bytes) {
    return absl::DataLossError("payload is not of the size that the block tells");
  }
  thread_local const std::unique_ptr<ZSTD_DCtx, ContextDeleter> context(ZSTD_createDCtx());
  if (context == nullptr) Die("no memory for a decompression context");
  std::string out;
  out.resize(payload_bytes);
  const size_t size = ZSTD_decompressDCtx(context.get(), out.data(), out.size(), compressed.data(),
                                          compressed.size());
  if (ZSTD_isError(size)) {
    return absl::DataLossError(absl::StrCat("payload: ", ZSTD_getErrorName(size)));
  }
  if (size != payload_bytes) return absl::DataLossError("payload is shorter than the block tells");
  return out;
}

std::string Name(const BlockInfo& info) {
  return absl::StrCat("block of origin ", ToString(info.origin), " at ", ToString(info.end_lsn),
                      " part ", info.part);
}

absl::Status Malformed() { return absl::DataLossError("malformed record in a block's payload"); }

template <typename Function, typename Argument>
absl::Status CallIfSet(const Function& function, const Argument& argument) {
  return function ? function(argument) : absl::OkStatus();
}

}  // namespace

void BlockBuilder::AddRecord(char kind, absl::string_view body) {
  payload_.push_back(kind);
  AppendVarint(&payload_, body.size());
  payload_.append(body.data(), body.size());
}

void BlockBuilder::BeginTransaction(const TransactionHeader& header) {
  if (part_ > 0) Die("a block that goes on with a large transaction takes no other");
  TransactionHeader canonical = header;
  Canonicalize(&canonical);
  AddRecord(kBegin, EncodeHeader(canonical, last_));
  last_ = std::move(canonical);
  has_last_ = true;
  ++transactions_;
}

void BlockBuilder::ContinueTransaction(const TransactionHeader& header, uint32_t part) {
  if (has_last_ || !payload_.empty() || part == 0) {
    Die("a large transaction goes on in a block of its own, from part 1 on");
  }
  last_ = header;
  has_last_ = true;
  part_ = part;
}

void BlockBuilder::AddRelation(uint32_t oid, absl::string_view pgoutput_relation) {
  AddRecord(kRelation, pgoutput_relation);
  relations_.insert(oid);
}

void BlockBuilder::AddType(uint32_t oid, absl::string_view pgoutput_type) {
  AddRecord(kType, pgoutput_type);
  types_.insert(oid);
}

void BlockBuilder::AddChange(absl::string_view pgoutput_change) {
  if (!has_last_) Die("a change outside of a transaction");
  AddRecord(kChange, pgoutput_change);
  truncates_ = truncates_ || absl::StartsWith(pgoutput_change, "T");
}

EncodedBlock BlockBuilder::Seal(uint64_t previous_chain, bool more_parts) {
  if (!has_last_) Die("a block without a transaction");
  EncodedBlock block;
  block.info = {.origin = origin_,
                .end_lsn = last_.end_lsn,
                .part = part_,
                .more_parts = more_parts,
                .previous_chain = previous_chain,
                .transactions = transactions_,
                .payload_bytes = payload_.size(),
                .last_stamp_us = last_.stamp.time_us,
                .no_truncate = !truncates_};
  const std::string compressed = Compress(payload_);
  block.info.chain = ComputeChain(block.info, compressed);
  block.bytes = WriteBlock(block.info, compressed);

  payload_.clear();
  relations_.clear();
  types_.clear();
  last_ = {};
  has_last_ = false;
  transactions_ = 0;
  truncates_ = false;
  part_ = 0;
  return block;
}

absl::StatusOr<BlockInfo> ParseBlock(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const RawBlock block, ReadBlock(bytes));
  if (ComputeChain(block.info, block.compressed) != block.info.chain) {
    return absl::DataLossError(absl::StrCat("checksum does not match: ", Name(block.info)));
  }
  return block.info;
}

absl::StatusOr<BlockPayload> BlockPayload::Open(absl::string_view block_bytes) {
  ASSIGN_OR_RETURN(const RawBlock block, ReadBlock(block_bytes));
  if (block.info.payload_bytes > kMaxPayloadBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        Name(block.info), " claims ", block.info.payload_bytes, " bytes of payload, more than ",
        kMaxPayloadBytes, ": its writer is of another version or faulty"));
  }
  absl::StatusOr<std::string> payload = Decompress(block.compressed, block.info.payload_bytes);
  if (!payload.ok()) {
    return absl::Status(payload.status().code(),
                        absl::StrCat(Name(block.info), ": ", payload.status().message()));
  }
  BlockPayload result;
  result.payload_ = *std::move(payload);
  result.origin_ = block.info.origin;
  return result;
}

absl::Status BlockPayload::ForEach(const BlockVisitor& visitor) const {
  TransactionHeader header;
  absl::string_view rest = payload_;
  while (!rest.empty()) {
    const char kind = rest.front();
    rest.remove_prefix(1);
    uint64_t length = 0;
    absl::string_view body;
    if (!TakeVarint(&rest, &length) || !TakeBytes(&rest, length, &body)) return Malformed();
    switch (kind) {
      case kRelation:
        RETURN_IF_ERROR(CallIfSet(visitor.relation, body));
        break;
      case kType:
        RETURN_IF_ERROR(CallIfSet(visitor.type, body));
        break;
      case kBegin:
        RETURN_IF_ERROR(DecodeHeader(body, origin_.node, &header));
        RETURN_IF_ERROR(CallIfSet(visitor.begin, header));
        break;
      case kChange:
        RETURN_IF_ERROR(CallIfSet(visitor.change, body));
        break;
      default:
        return Malformed();
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
