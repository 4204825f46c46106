// Rows of two numbers, and policies for them, for tests of what folds.
#pragma once

#include <cstdint>

#include "conflict/fold.h"

namespace bdr::conflict {

inline FoldValue Int8(int64_t number) {
  FoldValue value{.kind = FoldValue::Kind::kValue};
  for (int shift = 56; shift >= 0; shift -= 8) {
    value.data.push_back(static_cast<char>(static_cast<uint64_t>(number) >> shift));
  }
  return value;
}

inline int64_t ToInt(const FoldValue& value) {
  uint64_t number = 0;
  for (const char byte : value.data) number = number << 8 | static_cast<uint8_t>(byte);
  return static_cast<int64_t>(number);
}

inline FoldRow Row(int64_t amount, int64_t note) { return {Int8(amount), Int8(note)}; }

// The amount is what `delta` adds up.
inline FoldPolicy Policy(PolicyKind kind) {
  return {.kind = kind, .priority = {2, 1}, .delta = {{.column = 0, .type = NumberType::kInt8}}};
}

// Deliberately neither commutative nor associative.
inline const CustomHandler kMix = [](const FoldState& older, const FoldChange&,
                                     const FoldRow& newer) -> absl::StatusOr<FoldRow> {
  return Row((ToInt((*older.row)[0]) * 2 - ToInt(newer[0])) % 97,
             ToInt(newer[1]) + ToInt((*older.row)[1]));
};

}  // namespace bdr::conflict
