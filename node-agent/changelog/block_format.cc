#include "node-agent/changelog/block_format.h"

#include <openssl/evp.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "node-agent/changelog/varint.h"

namespace bdr::agent {
namespace {

// Field numbers and wire types of bdr.v1.Block.
constexpr uint64_t kVarint = 0;
constexpr uint64_t kFixed64 = 1;
constexpr uint64_t kBytes = 2;
constexpr uint64_t Tag(uint64_t field, uint64_t wire_type) { return field << 3 | wire_type; }
constexpr uint64_t kNode = Tag(1, kVarint);
constexpr uint64_t kIncarnation = Tag(2, kVarint);
constexpr uint64_t kEndLsn = Tag(3, kVarint);
constexpr uint64_t kPart = Tag(4, kVarint);
constexpr uint64_t kMoreParts = Tag(5, kVarint);
constexpr uint64_t kPreviousChain = Tag(6, kFixed64);
constexpr uint64_t kChain = Tag(7, kFixed64);
constexpr uint64_t kTransactions = Tag(8, kVarint);
constexpr uint64_t kPayloadBytes = Tag(9, kVarint);
constexpr uint64_t kPayload = Tag(10, kBytes);
constexpr uint64_t kLastStamp = Tag(11, kVarint);
constexpr uint64_t kNoTruncate = Tag(12, kVarint);

// Proto3 leaves out what has its default value.
void AppendNumber(std::string* out, uint64_t tag, uint64_t value) {
  if (value == 0) return;
  AppendVarint(out, tag);
  if ((tag & 7) == kVarint) {
    AppendVarint(out, value);
    return;
  }
  for (int shift = 0; shift < 64; shift += 8) out->push_back(static_cast<char>(value >> shift));
}

std::string BeforePayload(const BlockInfo& info, size_t compressed_bytes) {
  std::string out;
  AppendNumber(&out, kNode, info.origin.node);
  AppendNumber(&out, kIncarnation, info.origin.incarnation);
  AppendNumber(&out, kEndLsn, info.end_lsn.value);
  AppendNumber(&out, kPart, info.part);
  AppendNumber(&out, kMoreParts, info.more_parts ? 1 : 0);
  AppendNumber(&out, kPreviousChain, info.previous_chain);
  AppendNumber(&out, kChain, info.chain);
  AppendNumber(&out, kTransactions, info.transactions);
  AppendNumber(&out, kPayloadBytes, info.payload_bytes);
  if (compressed_bytes > 0) {
    AppendVarint(&out, kPayload);
    AppendVarint(&out, compressed_bytes);
  }
  return out;
}

std::string AfterPayload(const BlockInfo& info) {
  std::string out;
  AppendNumber(&out, kLastStamp, static_cast<uint64_t>(info.last_stamp_us));
  AppendNumber(&out, kNoTruncate, info.no_truncate ? 1 : 0);
  return out;
}

bool TakeFixed64(absl::string_view* in, uint64_t* value) {
  absl::string_view bytes;
  if (!TakeBytes(in, 8, &bytes)) return false;
  *value = 0;
  for (int i = 7; i >= 0; --i) *value = *value << 8 | static_cast<uint8_t>(bytes[i]);
  return true;
}

// Takes one field. Values too large for their field are cut here and found out by the comparison
// that ReadBlock() ends with, as is everything else that WriteBlock() would not write.
bool TakeField(absl::string_view* in, RawBlock* block) {
  uint64_t tag = 0;
  uint64_t value = 0;
  if (!TakeVarint(in, &tag)) return false;
  if ((tag & 7) == kFixed64) {
    if (!TakeFixed64(in, &value)) return false;
  } else if (!TakeVarint(in, &value)) {
    return false;
  }
  BlockInfo& info = block->info;
  switch (tag) {
    case kNode:
      info.origin.node = static_cast<NodeId>(value);
      return true;
    case kIncarnation:
      info.origin.incarnation = static_cast<uint32_t>(value);
      return true;
    case kEndLsn:
      info.end_lsn.value = value;
      return true;
    case kPart:
      info.part = static_cast<uint32_t>(value);
      return true;
    case kMoreParts:
      info.more_parts = value != 0;
      return true;
    case kPreviousChain:
      info.previous_chain = value;
      return true;
    case kChain:
      info.chain = value;
      return true;
    case kTransactions:
      info.transactions = static_cast<uint32_t>(value);
      return true;
    case kPayloadBytes:
      info.payload_bytes = value;
      return true;
    case kPayload:
      return TakeBytes(in, value, &block->compressed);
    case kLastStamp:
      info.last_stamp_us = static_cast<int64_t>(value);
      return true;
    case kNoTruncate:
      info.no_truncate = value != 0;
      return true;
    default:
      return false;
  }
}

void AppendBigEndian(std::string* out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

struct DigestContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

uint64_t ComputeChain(const BlockInfo& info, absl::string_view compressed) {
  std::string fields;
  AppendBigEndian(&fields, info.previous_chain, 8);
  AppendBigEndian(&fields, info.origin.node, 4);
  AppendBigEndian(&fields, info.origin.incarnation, 4);
  AppendBigEndian(&fields, info.end_lsn.value, 8);
  AppendBigEndian(&fields, info.part, 4);
  AppendBigEndian(&fields, info.more_parts ? 1 : 0, 1);
  AppendBigEndian(&fields, info.transactions, 4);
  AppendBigEndian(&fields, info.payload_bytes, 8);
  AppendBigEndian(&fields, static_cast<uint64_t>(info.last_stamp_us), 8);
  if (info.no_truncate) AppendBigEndian(&fields, 1, 1);

  thread_local const std::unique_ptr<EVP_MD_CTX, DigestContextDeleter> context(EVP_MD_CTX_new());
  unsigned char digest[EVP_MAX_MD_SIZE];
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), fields.data(), fields.size()) != 1 ||
      EVP_DigestUpdate(context.get(), compressed.data(), compressed.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest, nullptr) != 1) {
    // Without checksums no history can be told from another: nothing can go on.
    std::fprintf(stderr, "bug or no memory: OpenSSL cannot compute SHA-256\n");
    std::abort();
  }
  uint64_t chain = 0;
  for (int i = 0; i < 8; ++i) chain = chain << 8 | digest[i];
  return chain;
}

std::string WriteBlock(const BlockInfo& info, absl::string_view compressed) {
  std::string out = BeforePayload(info, compressed.size());
  const std::string after = AfterPayload(info);
  out.reserve(out.size() + compressed.size() + after.size());
  out.append(compressed.data(), compressed.size());
  out.append(after);
  return out;
}

absl::StatusOr<RawBlock> ReadBlock(absl::string_view bytes) {
  RawBlock block;
  absl::string_view rest = bytes;
  while (!rest.empty()) {
    if (!TakeField(&rest, &block)) return absl::DataLossError("not a block: malformed fields");
  }
  const std::string before = BeforePayload(block.info, block.compressed.size());
  const std::string after = AfterPayload(block.info);
  if (block.info.origin.node > kMaxNodeId ||
      bytes.size() != before.size() + block.compressed.size() + after.size() ||
      bytes.substr(0, before.size()) != before ||
      bytes.substr(before.size() + block.compressed.size()) != after) {
    return absl::DataLossError("not a block: fields are not in their one form");
  }
  return block;
}

}  // namespace bdr::agent
