#include "seqam/galloc/layout.h"

namespace bdr::seqam {
namespace {

constexpr GallocKind kKinds[] = {{.number = 0, .unit = 2, .id_bits = 14},
                                 {.number = 1, .unit = 6, .id_bits = 26},
                                 {.number = 2, .unit = 10, .id_bits = 36}};
constexpr uint64_t kNear = uint64_t{1} << 33;

constexpr uint64_t LowBits(int bits) { return (uint64_t{1} << bits) - 1; }

}  // namespace

const GallocKind* FindGallocKind(absl::string_view data_type) {
  if (data_type == "smallint") return &kKinds[0];
  if (data_type == "integer") return &kKinds[1];
  if (data_type == "bigint") return &kKinds[2];
  return nullptr;
}

int64_t PackPiece(const GallocKind& kind, const Piece& piece) {
  const uint64_t number = piece.ordinal >> (kind.unit + 2 * piece.size);
  const uint64_t chunk = static_cast<uint64_t>(piece.id) >> kind.unit;
  return static_cast<int64_t>(static_cast<uint64_t>(piece.size) << kSizeShift |
                              (number & LowBits(kSizeShift - kind.id_bits)) << kind.id_bits |
                              chunk);
}

std::optional<Piece> UnpackPiece(const GallocKind& kind, int64_t packed, uint64_t end) {
  const auto bits = static_cast<uint64_t>(packed);
  Piece piece{.size = static_cast<int>(bits >> kSizeShift),
              .id = static_cast<int64_t>((bits & LowBits(kind.id_bits)) << kind.unit)};
  const int shift = kind.unit + 2 * piece.size;
  const int number_bits = kSizeShift - kind.id_bits;
  // The largest number with these low bits whose piece ends at or before `end`.
  const uint64_t last = end >> shift;
  if (last == 0) return std::nullopt;
  const uint64_t kept = bits >> kind.id_bits & LowBits(number_bits);
  const uint64_t back = (last - 1 - kept) & LowBits(number_bits);
  if (back > last - 1) return std::nullopt;
  piece.ordinal = (last - 1 - back) << shift;
  if (end - piece.end(kind) > kNear) return std::nullopt;
  return piece;
}

}  // namespace bdr::seqam
