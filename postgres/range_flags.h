// The first byte of a range in binary form (src/include/utils/rangetypes.h).
#pragma once

#include <cstdint>

namespace bdr::postgres::range {

inline constexpr uint8_t kEmpty = 0x01;
inline constexpr uint8_t kLowerInfinite = 0x08;
inline constexpr uint8_t kUpperInfinite = 0x10;
inline constexpr uint8_t kLowerNull = 0x20;
inline constexpr uint8_t kUpperNull = 0x40;

// Whether a bound follows.
inline constexpr bool HasLower(uint8_t flags) {
  return (flags & (kEmpty | kLowerInfinite | kLowerNull)) == 0;
}
inline constexpr bool HasUpper(uint8_t flags) {
  return (flags & (kEmpty | kUpperInfinite | kUpperNull)) == 0;
}

}  // namespace bdr::postgres::range
