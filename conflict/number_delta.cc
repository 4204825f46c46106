#include "conflict/number_delta.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace bdr::conflict {
namespace {

uint64_t ReadBits(absl::string_view data) {
  uint64_t bits = 0;
  for (const char byte : data) bits = bits << 8 | static_cast<uint8_t>(byte);
  return bits;
}

void AppendBits(std::string* out, uint64_t bits, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(bits >> shift));
  }
}

template <typename Int>
std::optional<std::string> AddIntegers(absl::string_view state, absl::string_view from,
                                       absl::string_view to) {
  if (state.size() != sizeof(Int) || from.size() != sizeof(Int) || to.size() != sizeof(Int)) {
    return std::nullopt;
  }
  const auto value = [](absl::string_view data) {
    return static_cast<__int128>(static_cast<Int>(ReadBits(data)));
  };
  const __int128 sum =
      std::clamp<__int128>(value(state) + value(to) - value(from), std::numeric_limits<Int>::min(),
                           std::numeric_limits<Int>::max());
  std::string out;
  AppendBits(&out, static_cast<uint64_t>(sum), sizeof(Int));
  return out;
}

template <typename Float, typename Bits>
std::optional<std::string> AddFloats(absl::string_view state, absl::string_view from,
                                     absl::string_view to) {
  if (state.size() != sizeof(Bits) || from.size() != sizeof(Bits) || to.size() != sizeof(Bits)) {
    return std::nullopt;
  }
  const auto value = [](absl::string_view data) {
    return std::bit_cast<Float>(static_cast<Bits>(ReadBits(data)));
  };
  Float sum = value(state) + (value(to) - value(from));
  // Processors differ in the sign of a NaN that they make.
  if (std::isnan(sum)) sum = std::copysign(std::numeric_limits<Float>::quiet_NaN(), Float{1});
  std::string out;
  AppendBits(&out, std::bit_cast<Bits>(sum), sizeof(Bits));
  return out;
}

// A numeric: digits of base 10000, the first of which stands for 10000^weight.
constexpr int kBase = 10000;
constexpr int kDigitDecimals = 4;
constexpr uint16_t kPositive = 0x0000;
constexpr uint16_t kNegative = 0x4000;
constexpr int kTypeModifierHeader = 4;  // VARHDRSZ

struct Numeric {
  int weight = 0;
  bool negative = false;
  int scale = 0;  // decimals that are shown
  std::vector<int> digits;
};

std::optional<Numeric> ParseNumeric(absl::string_view data) {
  if (data.size() < 8) return std::nullopt;
  const auto word = [&](size_t at) {
    return static_cast<uint16_t>(ReadBits(data.substr(at * 2, 2)));
  };
  Numeric number;
  const size_t count = word(0);
  number.weight = static_cast<int16_t>(word(1));
  const uint16_t sign = word(2);
  if (sign != kPositive && sign != kNegative) return std::nullopt;  // NaN, infinity
  number.negative = sign == kNegative;
  number.scale = word(3);
  if (data.size() != 8 + count * 2) return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    const int digit = word(4 + i);
    if (digit >= kBase) return std::nullopt;
    number.digits.push_back(digit);
  }
  return number;
}

std::string EncodeNumeric(const Numeric& number) {
  std::string out;
  AppendBits(&out, number.digits.size(), 2);
  AppendBits(&out, static_cast<uint16_t>(number.weight), 2);
  AppendBits(&out, number.negative ? kNegative : kPositive, 2);
  AppendBits(&out, static_cast<uint16_t>(number.scale), 2);
  for (const int digit : number.digits) AppendBits(&out, static_cast<uint16_t>(digit), 2);
  return out;
}

void Strip(Numeric* number) {
  std::vector<int>& digits = number->digits;
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
  const auto first = std::find_if(digits.begin(), digits.end(), [](int d) { return d != 0; });
  number->weight -= static_cast<int>(first - digits.begin());
  digits.erase(digits.begin(), first);
  if (!digits.empty()) return;
  number->weight = 0;
  number->negative = false;
}

// Carries until every digit is within [0, base); what is left beyond the first digit.
int Carry(std::vector<int>* digits) {
  int carry = 0;
  for (auto digit = digits->rbegin(); digit != digits->rend(); ++digit) {
    int value = *digit + carry;
    carry = value / kBase;
    value %= kBase;
    if (value < 0) {
      value += kBase;
      --carry;
    }
    *digit = value;
  }
  return carry;
}

Numeric Sum(const Numeric& a, const Numeric& b, const Numeric& minus) {
  Numeric sum;
  int lowest = 0;
  for (const Numeric* number : {&a, &b, &minus}) {
    sum.weight = std::max(sum.weight, number->weight);
    lowest = std::min(lowest, number->weight - static_cast<int>(number->digits.size()) + 1);
    sum.scale = std::max(sum.scale, number->scale);
  }
  ++sum.weight;  // room for what is carried
  sum.digits.assign(static_cast<size_t>(sum.weight - lowest + 1), 0);
  for (const Numeric* number : {&a, &b, &minus}) {
    const int sign = number->negative != (number == &minus) ? -1 : 1;
    for (size_t i = 0; i < number->digits.size(); ++i) {
      sum.digits[static_cast<size_t>(sum.weight - number->weight) + i] += sign * number->digits[i];
    }
  }
  if (Carry(&sum.digits) < 0) {
    // Below zero: what is there is its complement.
    sum.negative = true;
    for (int& digit : sum.digits) digit = kBase - 1 - digit;
    ++sum.digits.back();
    (void)Carry(&sum.digits);
  }
  Strip(&sum);
  return sum;
}

int DecimalsOf(int digit) { return digit >= 1000 ? 4 : digit >= 100 ? 3 : digit >= 10 ? 2 : 1; }

// All nines, as many as numeric(p, s) takes, where the number has more before its point.
void KeepWithin(int32_t type_modifier, Numeric* number) {
  if (type_modifier < kTypeModifierHeader || number->digits.empty()) return;
  const int precision = ((type_modifier - kTypeModifierHeader) >> 16) & 0xffff;
  // The scale has eleven bits, signed.
  const int scale = (((type_modifier - kTypeModifierHeader) & 0x7ff) ^ 1024) - 1024;
  const int before_point = number->weight * kDigitDecimals + DecimalsOf(number->digits.front());
  if (before_point <= precision - scale) return;
  // Nines stand at the decimal places [-scale, precision - scale).
  const int from = -scale;
  const int to = precision - scale;
  const auto floor_digit = [](int place) {
    return place >= 0 ? place / kDigitDecimals : -((-place + kDigitDecimals - 1) / kDigitDecimals);
  };
  const int lowest = floor_digit(from);
  number->weight = floor_digit(to - 1);
  number->digits.assign(static_cast<size_t>(number->weight - lowest + 1), 0);
  for (int place = from; place < to; ++place) {
    const int at = floor_digit(place);
    int nine = 9;
    for (int i = at * kDigitDecimals; i < place; ++i) nine *= 10;
    number->digits[static_cast<size_t>(number->weight - at)] += nine;
  }
  number->scale = std::max(scale, 0);
  Strip(number);
}

std::optional<std::string> AddNumerics(int32_t type_modifier, absl::string_view state,
                                       absl::string_view from, absl::string_view to) {
  const std::optional<Numeric> a = ParseNumeric(state);
  const std::optional<Numeric> b = ParseNumeric(to);
  const std::optional<Numeric> minus = ParseNumeric(from);
  if (!a.has_value() || !b.has_value() || !minus.has_value()) return std::nullopt;
  Numeric sum = Sum(*a, *b, *minus);
  KeepWithin(type_modifier, &sum);
  if (sum.weight > INT16_MAX) return std::nullopt;
  return EncodeNumeric(sum);
}

std::optional<std::string> Add(NumberType type, int32_t type_modifier, absl::string_view state,
                               absl::string_view from, absl::string_view to) {
  switch (type) {
    case NumberType::kInt2:
      return AddIntegers<int16_t>(state, from, to);
    case NumberType::kInt4:
      return AddIntegers<int32_t>(state, from, to);
    case NumberType::kInt8:
      return AddIntegers<int64_t>(state, from, to);
    case NumberType::kFloat4:
      return AddFloats<float, uint32_t>(state, from, to);
    case NumberType::kFloat8:
      return AddFloats<double, uint64_t>(state, from, to);
    case NumberType::kNumeric:
      return AddNumerics(type_modifier, state, from, to);
  }
  return std::nullopt;
}

}  // namespace

std::optional<NumberType> NumberTypeOf(uint32_t type_oid) {
  switch (type_oid) {
    case 21:
      return NumberType::kInt2;
    case 23:
      return NumberType::kInt4;
    case 20:
      return NumberType::kInt8;
    case 700:
      return NumberType::kFloat4;
    case 701:
      return NumberType::kFloat8;
    case 1700:
      return NumberType::kNumeric;
    default:
      return std::nullopt;
  }
}

std::string AddDelta(NumberType type, int32_t type_modifier, absl::string_view state,
                     absl::string_view from, absl::string_view to) {
  if (state == from) return std::string(to);
  return Add(type, type_modifier, state, from, to).value_or(std::string(to));
}

}  // namespace bdr::conflict
