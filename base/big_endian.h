// Integers in network order: as PostgreSQL sends them, and as keys that sort like their numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace bdr {

// The lowest `bytes` bytes of `value`.
inline void AppendBigEndian(std::string* out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

// The number that all of `data` is; at most 8 bytes.
inline uint64_t ReadBigEndian(absl::string_view data) {
  uint64_t value = 0;
  for (const char byte : data) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

}  // namespace bdr
