// The binary form of PostgreSQL's numeric, taken apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace bdr::postgres {

// Digits to the base 10000, of which the first has the weight 10000^weight, and how many decimal
// places are shown.
struct NumericValue {
  enum class Kind : uint16_t {
    kPositive = 0x0000,
    kNegative = 0x4000,
    kNan = 0xC000,
    kInfinity = 0xD000,
    kMinusInfinity = 0xF000,
  };
  Kind kind = Kind::kPositive;
  int32_t weight = 0;
  uint16_t scale = 0;
  std::vector<int16_t> digits;

  bool finite() const { return kind == Kind::kPositive || kind == Kind::kNegative; }
  // The power of ten of the last digit that is not zero; unset if there is none.
  std::optional<int32_t> LowestPower() const;

  // Unset if `binary` has not the structure of a numeric.
  static std::optional<NumericValue> Decode(absl::string_view binary);
  std::string Encode() const;

  // As PostgreSQL writes it. FromText() takes that form alone: unset for "+1", " 1", "1e3", "01".
  static std::optional<NumericValue> FromText(absl::string_view text);
  std::string ToText() const;

  static NumericValue FromInt64(int64_t value);
  // Unset unless it is a whole number in range.
  std::optional<int64_t> ToInt64() const;
};

}  // namespace bdr::postgres
