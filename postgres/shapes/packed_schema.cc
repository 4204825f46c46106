#include "postgres/shapes/packed_schema.h"

#include <openssl/sha.h>
#include <zstd.h>

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "bdr/v1/schema.pb.h"

namespace bdr::postgres {
namespace {

constexpr int kLevel = 3;
constexpr uint64_t kMaxBytes = 512u << 20;  // far beyond what gRPC would carry
constexpr size_t kHashBytes = 16;

}  // namespace

PackedSchema PackSchema(const v1::Schema& schema) {
  // The same bytes for the same schema: it holds no maps, and fields go in the order of numbers.
  const std::string plain = schema.SerializeAsString();
  PackedSchema packed;
  packed.bytes.resize(ZSTD_compressBound(plain.size()));
  const size_t size =
      ZSTD_compress(packed.bytes.data(), packed.bytes.size(), plain.data(), plain.size(), kLevel);
  // Only for want of memory.
  if (ZSTD_isError(size)) abort();
  packed.bytes.resize(size);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(packed.bytes.data()), packed.bytes.size(), digest);
  packed.hash =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), kHashBytes));
  return packed;
}

absl::Status UnpackSchema(absl::string_view bytes, v1::Schema* schema) {
  const absl::Status damaged = absl::DataLossError("what a node told of its tables is damaged");
  const uint64_t plain_bytes = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (plain_bytes > kMaxBytes) return damaged;  // the codes for errors are beyond it
  std::string plain(plain_bytes, '\0');
  const size_t size = ZSTD_decompress(plain.data(), plain.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(size) || size != plain_bytes || !schema->ParseFromString(plain)) return damaged;
  return absl::OkStatus();
}

}  // namespace bdr::postgres
