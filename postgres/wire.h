// Reading and writing PostgreSQL's binary formats: big-endian numbers, strings ended by NUL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace bdr::postgres {

// PostgreSQL counts microseconds from 2000-01-01, we from 1970-01-01.
inline constexpr int64_t kPostgresEpochUs = 946684800LL * 1000 * 1000;

// Wraps around instead of overflowing: the number comes from a peer.
inline int64_t FromWireTime(uint64_t wire) {
  return static_cast<int64_t>(wire + static_cast<uint64_t>(kPostgresEpochUs));
}
inline uint64_t ToWireTime(int64_t unix_us) {
  return static_cast<uint64_t>(unix_us) - static_cast<uint64_t>(kPostgresEpochUs);
}

// Reads from the front of a buffer, never past its end: once something was asked for that is not
// there, every read gives zero or "" and ok() is false, so that a caller may check once at the end.
class WireReader {
 public:
  explicit WireReader(absl::string_view buffer) : buffer_(buffer) {}

  bool ok() const { return ok_; }
  size_t offset() const { return offset_; }
  size_t remaining() const { return buffer_.size() - offset_; }
  bool done() const { return ok_ && remaining() == 0; }
  void Fail() { ok_ = false; }

  template <typename T>
  T Number() {
    static_assert(std::is_integral_v<T>);
    using Unsigned = std::make_unsigned_t<T>;
    const absl::string_view bytes = Bytes(sizeof(T));
    uint64_t value = 0;
    for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
    return static_cast<T>(static_cast<Unsigned>(value));
  }
  uint8_t Uint8() { return Number<uint8_t>(); }
  uint16_t Uint16() { return Number<uint16_t>(); }
  uint32_t Uint32() { return Number<uint32_t>(); }
  uint64_t Uint64() { return Number<uint64_t>(); }
  int16_t Int16() { return Number<int16_t>(); }
  int32_t Int32() { return Number<int32_t>(); }
  int64_t Int64() { return Number<int64_t>(); }

  absl::string_view Bytes(size_t count) {
    if (!ok_ || count > remaining()) {
      ok_ = false;
      return {};
    }
    const absl::string_view bytes = buffer_.substr(offset_, count);
    offset_ += count;
    return bytes;
  }

  // Up to a NUL, which is taken too.
  absl::string_view CString() {
    const size_t end = ok_ ? buffer_.find('\0', offset_) : absl::string_view::npos;
    if (end == absl::string_view::npos) {
      ok_ = false;
      return {};
    }
    const absl::string_view text = buffer_.substr(offset_, end - offset_);
    offset_ = end + 1;
    return text;
  }

 private:
  absl::string_view buffer_;
  size_t offset_ = 0;
  bool ok_ = true;
};

// Stands where a length would, for a value that is null.
inline constexpr uint32_t kNullLength = UINT32_MAX;

template <typename T>
void AppendNumber(std::string* out, T value) {
  static_assert(std::is_integral_v<T>);
  const auto bits = static_cast<std::make_unsigned_t<T>>(value);
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(static_cast<uint64_t>(bits) >> shift & 0xff));
  }
}

// Text must hold no NUL.
inline void AppendCString(std::string* out, absl::string_view text) {
  out->append(text.data(), text.size());
  out->push_back('\0');
}

}  // namespace bdr::postgres
