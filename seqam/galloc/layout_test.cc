#include "seqam/galloc/layout.h"

#include <gmock/gmock.h>

#include <random>

namespace bdr::seqam {
namespace {

using ::testing::Eq;

// The pieces of a sequence follow each other; whatever was packed comes back, near its end.
TEST(GallocLayoutTest, WhatIsPackedComesBack) {
  std::mt19937_64 random(7);
  for (const char* type : {"smallint", "integer", "bigint"}) {
    const GallocKind& kind = *FindGallocKind(type);
    for (int i = 0; i < 20000; ++i) {
      Piece piece{.size = static_cast<int>(random() % kSizes)};
      const uint64_t count = piece.count(kind);
      piece.ordinal = random() % (uint64_t{1} << (random() % kCountBits)) / count * count;
      piece.id = static_cast<int64_t>(random() % (uint64_t{1} << (kind.id_bits + kind.unit)) >>
                                      kind.unit << kind.unit);
      const uint64_t end = piece.end(kind) + random() % (uint64_t{1} << 32);
      EXPECT_THAT(UnpackPiece(kind, PackPiece(kind, piece), end), Eq(piece)) << type;
    }
  }
}

// A register that was left behind must not be taken for a piece of today.
TEST(GallocLayoutTest, WhatLiesFarBehindIsNoPiece) {
  const GallocKind& kind = *FindGallocKind("bigint");
  const Piece piece{.ordinal = 1024, .size = 0, .id = 4096};
  EXPECT_EQ(UnpackPiece(kind, PackPiece(kind, piece), uint64_t{1} << 34), std::nullopt);
  EXPECT_EQ(UnpackPiece(kind, PackPiece(kind, piece), 1024), std::nullopt) << "begins at the end";
}

TEST(GallocLayoutTest, OnlyIntegersHaveAKind) {
  EXPECT_EQ(FindGallocKind("numeric"), nullptr);
  EXPECT_EQ(FindGallocKind("smallint")->unit, 2);
}

}  // namespace
}  // namespace bdr::seqam
