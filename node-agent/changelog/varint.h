// Numbers of variable length, as protobuf writes them: seven bits a byte, lowest first.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace bdr::agent {

inline void AppendVarint(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Takes a number from the front of `in`. False, leaving `in` anywhere, if it ends too early or does
// not fit 64 bits.
inline bool TakeVarint(absl::string_view* in, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !in->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// Takes `length` bytes from the front of `in`; false if there are fewer.
inline bool TakeBytes(absl::string_view* in, uint64_t length, absl::string_view* bytes) {
  if (length > in->size()) return false;
  *bytes = in->substr(0, length);
  in->remove_prefix(length);
  return true;
}

// Differences modulo 2^64, small for both small steps up and small steps down.
inline uint64_t EncodeDifference(uint64_t value, uint64_t before) {
  const uint64_t difference = value - before;
  return (difference << 1) ^ (~(difference >> 63) + 1);
}
inline uint64_t DecodeDifference(uint64_t encoded, uint64_t before) {
  return before + ((encoded >> 1) ^ (~(encoded & 1) + 1));
}

}  // namespace bdr::agent
