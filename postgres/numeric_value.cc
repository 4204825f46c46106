#include "postgres/numeric_value.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

constexpr int kPlaces = 4;  // decimal places of a digit
constexpr int16_t kBase = 10000;
// PostgreSQL's limits (NUMERIC_WEIGHT_MAX is wider than what it takes as text).
constexpr size_t kIntegerPlacesMax = 131072;
constexpr size_t kScaleMax = 16383;

bool AllDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
}

}  // namespace

std::optional<int32_t> NumericValue::LowestPower() const {
  for (size_t i = digits.size(); i-- > 0;) {
    if (digits[i] == 0) continue;
    int32_t power = kPlaces * (weight - static_cast<int32_t>(i));
    for (int16_t digit = digits[i]; digit % 10 == 0; digit = static_cast<int16_t>(digit / 10)) {
      ++power;
    }
    return power;
  }
  return std::nullopt;
}

std::optional<NumericValue> NumericValue::Decode(absl::string_view binary) {
  WireReader reader(binary);
  NumericValue value;
  const uint16_t count = reader.Uint16();
  value.weight = reader.Int16();
  value.kind = static_cast<Kind>(reader.Uint16());
  value.scale = reader.Uint16();
  switch (value.kind) {
    case Kind::kPositive:
    case Kind::kNegative:
    case Kind::kNan:
    case Kind::kInfinity:
    case Kind::kMinusInfinity:
      break;
    default:
      return std::nullopt;
  }
  for (uint16_t i = 0; i < count && reader.ok(); ++i) {
    value.digits.push_back(reader.Int16());
    if (value.digits.back() < 0 || value.digits.back() >= kBase) return std::nullopt;
  }
  if (!reader.done()) return std::nullopt;
  return value;
}

std::string NumericValue::Encode() const {
  std::string out;
  AppendNumber<uint16_t>(&out, static_cast<uint16_t>(digits.size()));
  AppendNumber<int16_t>(&out, static_cast<int16_t>(weight));
  AppendNumber<uint16_t>(&out, static_cast<uint16_t>(kind));
  AppendNumber<uint16_t>(&out, scale);
  for (const int16_t digit : digits) AppendNumber<int16_t>(&out, digit);
  return out;
}

std::optional<NumericValue> NumericValue::FromText(absl::string_view text) {
  NumericValue value;
  if (text == "NaN" || text == "Infinity" || text == "-Infinity") {
    value.kind = text == "NaN"        ? Kind::kNan
                 : text == "Infinity" ? Kind::kInfinity
                                      : Kind::kMinusInfinity;
    return value;
  }
  absl::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (negative) rest.remove_prefix(1);
  const size_t point = rest.find('.');
  absl::string_view whole = rest.substr(0, point);
  absl::string_view fraction;
  if (point != absl::string_view::npos) {
    fraction = rest.substr(point + 1);
    if (fraction.empty()) return std::nullopt;
  }
  if (whole.empty() || (whole.size() > 1 && whole.front() == '0')) return std::nullopt;
  if (!AllDigits(whole) || !AllDigits(fraction)) return std::nullopt;
  if (whole.size() > kIntegerPlacesMax || fraction.size() > kScaleMax) return std::nullopt;

  value.scale = static_cast<uint16_t>(fraction.size());
  std::string places((kPlaces - whole.size() % kPlaces) % kPlaces, '0');
  absl::StrAppend(&places, whole);
  value.weight = static_cast<int32_t>(places.size() / kPlaces) - 1;
  absl::StrAppend(&places, fraction);
  places.append((kPlaces - places.size() % kPlaces) % kPlaces, '0');
  for (size_t i = 0; i < places.size(); i += kPlaces) {
    int digit = 0;
    for (size_t place = 0; place < kPlaces; ++place) digit = digit * 10 + (places[i + place] - '0');
    value.digits.push_back(static_cast<int16_t>(digit));
  }
  while (!value.digits.empty() && value.digits.back() == 0) value.digits.pop_back();
  const auto first = std::find_if(value.digits.begin(), value.digits.end(),
                                  [](int16_t digit) { return digit != 0; });
  value.weight -= static_cast<int32_t>(first - value.digits.begin());
  value.digits.erase(value.digits.begin(), first);
  if (value.digits.empty()) {
    if (negative) return std::nullopt;  // PostgreSQL knows no -0
    value.weight = 0;
  }
  if (negative) value.kind = Kind::kNegative;
  return value;
}

std::string NumericValue::ToText() const {
  if (kind == Kind::kNan) return "NaN";
  if (kind == Kind::kInfinity) return "Infinity";
  if (kind == Kind::kMinusInfinity) return "-Infinity";
  const auto digit_at = [this](int32_t power) -> int {
    const int32_t place = weight - power;
    return place < 0 || place >= static_cast<int32_t>(digits.size())
               ? 0
               : digits[static_cast<size_t>(place)];
  };
  std::string out = kind == Kind::kNegative ? "-" : "";
  const size_t sign = out.size();
  for (int32_t power = std::max(weight, 0); power >= 0; --power) {
    absl::StrAppend(&out, absl::Dec(digit_at(power), absl::kZeroPad4));
  }
  const size_t first = std::min(out.find_first_not_of('0', sign), out.size() - 1);
  out.erase(sign, first - sign);
  if (scale == 0) return out;
  std::string fraction;
  for (int32_t power = -1; fraction.size() < scale; --power) {
    absl::StrAppend(&fraction, absl::Dec(digit_at(power), absl::kZeroPad4));
  }
  return absl::StrCat(out, ".", fraction.substr(0, scale));
}

NumericValue NumericValue::FromInt64(int64_t value) { return *FromText(absl::StrCat(value)); }

std::optional<int64_t> NumericValue::ToInt64() const {
  if (!finite()) return std::nullopt;
  const std::optional<int32_t> lowest = LowestPower();
  if (!lowest.has_value()) return 0;
  constexpr int32_t kWeightMax = 4;  // of 2^63
  if (*lowest < 0 || weight > kWeightMax) return std::nullopt;
  NumericValue whole = *this;
  whole.scale = 0;
  int64_t number = 0;
  if (!absl::SimpleAtoi(whole.ToText(), &number)) return std::nullopt;
  return number;
}

}  // namespace bdr::postgres
