// How a register of galloc holds that a piece of ordinals maps to a chunk of ids. galloc.sql is the
// other half: it reads what is written here, and a test holds the two together.
//
//     bits of an ordinal    49..: tag and node     48..46: kind   45..0: count
//     bits of a register    63..61: size   60..id_bits: piece     id_bits-1..0: chunk
//
// A piece has 2^(unit + 2 * size) ordinals and begins at a multiple of that; a chunk has as many
// ids and begins at a multiple of 2^unit. Of the piece's number the low bits are kept: registers
// hold the last few pieces alone, so a number that comes again after 2^35 ordinals is never there
// as well.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace bdr::seqam {

inline constexpr int kCountBits = 46;
inline constexpr int kSizes = 8;
inline constexpr int kSizeShift = 61;

// By the type of the column, as the sequence has it.
struct GallocKind {
  int number;   // in the ordinals
  int unit;     // log2
  int id_bits;  // of a chunk's number
};
// "smallint", "integer" or "bigint"; nullptr for another.
const GallocKind* FindGallocKind(absl::string_view data_type);

// `count` ordinals from `ordinal` on (the bits that count, of one node) are the ids from `id` on.
struct Piece {
  uint64_t ordinal = 0;
  int size = 0;  // 0..7
  int64_t id = 0;

  uint64_t count(const GallocKind& kind) const { return uint64_t{1} << (kind.unit + 2 * size); }
  uint64_t end(const GallocKind& kind) const { return ordinal + count(kind); }

  friend bool operator==(const Piece&, const Piece&) = default;
};

// What its register holds. `piece` must be one: aligned, with ids that the kind has.
int64_t PackPiece(const GallocKind& kind, const Piece& piece);

// The piece that a register holds, as the one whose end lies at or less than 2^33 before `end`;
// nullopt if it can be none of those.
std::optional<Piece> UnpackPiece(const GallocKind& kind, int64_t packed, uint64_t end);

}  // namespace bdr::seqam
