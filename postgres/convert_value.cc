#include "postgres/convert_value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "postgres/builtin_types.h"
#include "postgres/numeric_value.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

using MaybeValue = std::optional<std::string>;
using Function = std::function<MaybeValue(absl::string_view)>;

constexpr uint32_t kJson = 114;
constexpr uint32_t kJsonb = 3802;
constexpr uint32_t kTimetz = 1266;
constexpr uint32_t kInterval = 1186;
constexpr int32_t kHeader = 4;  // VARHDRSZ, which modifiers of lengths and of numeric include
constexpr int64_t kDayUs = int64_t{24} * 3600 * 1000 * 1000;

struct TypeName {
  uint32_t oid;
  uint32_t array_oid;
  const char* name;  // in pg_catalog
  const char* sql;
};
constexpr TypeName kTypes[] = {
    {builtin::kBool, 1000, "bool", "boolean"},
    {builtin::kName, 1003, "name", "name"},
    {builtin::kInt2, 1005, "int2", "smallint"},
    {builtin::kInt4, 1007, "int4", "integer"},
    {builtin::kInt8, 1016, "int8", "bigint"},
    {builtin::kText, 1009, "text", "text"},
    {builtin::kFloat4, 1021, "float4", "real"},
    {builtin::kFloat8, 1022, "float8", "double precision"},
    {builtin::kBpchar, 1014, "bpchar", "character"},
    {builtin::kVarchar, 1015, "varchar", "character varying"},
    {builtin::kDate, 1182, "date", "date"},
    {builtin::kTime, 1183, "time", "time without time zone"},
    {builtin::kTimestamp, 1115, "timestamp", "timestamp without time zone"},
    {builtin::kTimestamptz, 1185, "timestamptz", "timestamp with time zone"},
    {kTimetz, 1270, "timetz", "time with time zone"},
    {kInterval, 1187, "interval", "interval"},
    {builtin::kNumeric, 1231, "numeric", "numeric"},
    {builtin::kUuid, 2951, "uuid", "uuid"},
    {kJson, 199, "json", "json"},
    {kJsonb, 3807, "jsonb", "jsonb"},
    {builtin::kBit, 1561, "bit", "bit"},
    {builtin::kVarbit, 1563, "varbit", "bit varying"},
};

uint32_t ElementOf(uint32_t array_oid) {
  for (const TypeName& type : kTypes) {
    if (type.array_oid == array_oid) return type.oid;
  }
  return 0;
}

bool IsFloat(uint32_t oid) { return oid == builtin::kFloat4 || oid == builtin::kFloat8; }

bool IsText(uint32_t oid) { return oid == builtin::kText || oid == builtin::kVarchar; }

bool IsTime(uint32_t oid) {
  return oid == builtin::kTime || oid == kTimetz || oid == builtin::kTimestamp ||
         oid == builtin::kTimestamptz;
}

// --- numbers ---

std::optional<int64_t> ReadInteger(absl::string_view value) {
  WireReader reader(value);
  switch (value.size()) {
    case 2:
      return reader.Int16();
    case 4:
      return reader.Int32();
    case 8:
      return reader.Int64();
    default:
      return std::nullopt;
  }
}

template <typename Int>
MaybeValue FitInteger(int64_t value) {
  if (value < std::numeric_limits<Int>::min() || value > std::numeric_limits<Int>::max()) {
    return std::nullopt;
  }
  std::string out;
  AppendNumber<Int>(&out, static_cast<Int>(value));
  return out;
}

MaybeValue WriteInteger(uint32_t oid, int64_t value) {
  if (oid == builtin::kInt2) return FitInteger<int16_t>(value);
  if (oid == builtin::kInt4) return FitInteger<int32_t>(value);
  return FitInteger<int64_t>(value);
}

std::optional<double> ReadFloat(absl::string_view value) {
  WireReader reader(value);
  if (value.size() == sizeof(float)) return std::bit_cast<float>(reader.Uint32());
  if (value.size() == sizeof(double)) return std::bit_cast<double>(reader.Uint64());
  return std::nullopt;
}

MaybeValue WriteFloat(uint32_t oid, double value) {
  std::string out;
  if (oid == builtin::kFloat8) {
    AppendNumber<uint64_t>(&out, std::bit_cast<uint64_t>(value));
    return out;
  }
  if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max()) {
    return std::nullopt;
  }
  const auto narrow = static_cast<float>(value);
  if (!std::isnan(value) && static_cast<double>(narrow) != value) return std::nullopt;
  AppendNumber<uint32_t>(&out, std::bit_cast<uint32_t>(narrow));
  return out;
}

// Whole numbers up to here have a form of their own.
int64_t ExactUpTo(uint32_t float_oid) {
  return int64_t{1} << (float_oid == builtin::kFloat4 ? 24 : 53);
}

struct NumericModifier {
  int32_t scale = 0;
};

// As in PostgreSQL's numeric.c: the scale has eleven bits and a sign.
NumericModifier Unpack(int32_t modifier) {
  const int32_t scale = (modifier - kHeader) & 0x7ff;
  return {.scale = (scale ^ 0x400) - 0x400};
}

// `alike`: it must also look the same, with as many decimal places as a value gets here.
MaybeValue FitNumeric(const NumericValue& value, int32_t modifier, bool alike) {
  if (modifier < 0 || !value.finite()) return value.Encode();
  const NumericModifier to = Unpack(modifier);
  const std::optional<int32_t> lowest = value.LowestPower();
  if (lowest.has_value() && *lowest < -to.scale) return std::nullopt;
  if (alike && value.scale != std::max(to.scale, 0)) return std::nullopt;
  return value.Encode();
}

// --- text ---

absl::string_view WithoutBlanks(absl::string_view text) {
  const size_t last = text.find_last_not_of(' ');
  return text.substr(0, last == absl::string_view::npos ? 0 : last + 1);
}

size_t Characters(absl::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  }));
}

// `padded`: blanks at its end count for nothing.
MaybeValue FitText(uint32_t oid, int32_t modifier, absl::string_view text, bool padded) {
  constexpr size_t kNameBytesMax = 63;
  if (padded) text = WithoutBlanks(text);
  if (oid == builtin::kName && text.size() > kNameBytesMax) return std::nullopt;
  if (oid == builtin::kBpchar && text.size() != WithoutBlanks(text).size()) return std::nullopt;
  if (modifier >= kHeader && Characters(text) > static_cast<size_t>(modifier - kHeader)) {
    return std::nullopt;
  }
  return std::string(text);
}

std::string WriteUuid(absl::string_view bytes) {
  std::string hex = absl::BytesToHexString(bytes);
  for (const size_t at : {8, 13, 18, 23}) hex.insert(at, "-");
  return hex;
}

MaybeValue ReadUuid(absl::string_view text) {
  std::string hex;
  for (const char c : text) {
    if (c == '-') continue;
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c)) && (c < 'a' || c > 'f')) {
      return std::nullopt;
    }
    hex.push_back(c);
  }
  if (hex.size() != 32) return std::nullopt;
  std::string bytes = absl::HexStringToBytes(hex);
  if (WriteUuid(bytes) != text) return std::nullopt;
  return bytes;
}

// The text that a value becomes when its column's type is changed to text.
std::optional<Function> ToText(uint32_t remote) {
  if (builtin::IsInteger(remote)) {
    return [](absl::string_view value) -> MaybeValue {
      const std::optional<int64_t> number = ReadInteger(value);
      if (!number.has_value()) return std::nullopt;
      return absl::StrCat(*number);
    };
  }
  switch (remote) {
    case builtin::kNumeric:
      return [](absl::string_view value) -> MaybeValue {
        const std::optional<NumericValue> number = NumericValue::Decode(value);
        if (!number.has_value()) return std::nullopt;
        return number->ToText();
      };
    case builtin::kBool:
      return [](absl::string_view value) -> MaybeValue {
        if (value.size() != 1) return std::nullopt;
        return value[0] == 0 ? "false" : "true";
      };
    case builtin::kUuid:
      return [](absl::string_view value) -> MaybeValue {
        if (value.size() != 16) return std::nullopt;
        return WriteUuid(value);
      };
    case builtin::kText:
    case builtin::kVarchar:
    case builtin::kName:
    case kJson:
      return [](absl::string_view value) -> MaybeValue { return std::string(value); };
    case builtin::kBpchar:
      return
          [](absl::string_view value) -> MaybeValue { return std::string(WithoutBlanks(value)); };
    case kJsonb:
      return [](absl::string_view value) -> MaybeValue {  // its version in front
        if (value.empty() || value[0] != 1) return std::nullopt;
        return std::string(value.substr(1));
      };
    default:
      return std::nullopt;
  }
}

// A value from the very text that it would become as text again.
std::optional<Function> FromText(uint32_t local, int32_t modifier) {
  if (builtin::IsInteger(local)) {
    return [local](absl::string_view text) -> MaybeValue {
      int64_t number = 0;
      if (!absl::SimpleAtoi(text, &number) || absl::StrCat(number) != text) return std::nullopt;
      return WriteInteger(local, number);
    };
  }
  switch (local) {
    case builtin::kNumeric:
      return [modifier](absl::string_view text) -> MaybeValue {
        const std::optional<NumericValue> number = NumericValue::FromText(text);
        if (!number.has_value()) return std::nullopt;
        return FitNumeric(*number, modifier, /*alike=*/true);
      };
    case builtin::kBool:
      return [](absl::string_view text) -> MaybeValue {
        if (text != "true" && text != "false") return std::nullopt;
        return std::string(1, text == "true" ? '\1' : '\0');
      };
    case builtin::kUuid:
      return ReadUuid;
    case kJson:
      return [](absl::string_view text) -> MaybeValue { return std::string(text); };
    default:
      return std::nullopt;
  }
}

// --- times ---

// Whether microseconds have no more decimal places than `precision`.
bool FitsPrecision(int64_t us, int32_t precision) {
  if (us == std::numeric_limits<int64_t>::min() || us == std::numeric_limits<int64_t>::max()) {
    return true;  // infinity
  }
  int64_t unit = 1;
  for (int32_t place = 6; place > precision; --place) unit *= 10;
  return us % unit == 0;
}

MaybeValue FitTime(absl::string_view value, int32_t precision) {
  WireReader reader(value);
  const int64_t us = reader.Int64();
  if (!reader.ok() || !FitsPrecision(us, precision)) return std::nullopt;
  return std::string(value);
}

// As AdjustIntervalForTypmod() does: what lies below the last field is cut off.
MaybeValue FitInterval(absl::string_view value, int32_t modifier) {
  constexpr int32_t kMonth = 1 << 1, kYear = 1 << 2, kDay = 1 << 3, kHour = 1 << 10,
                    kMinute = 1 << 11, kSecond = 1 << 12;
  constexpr int32_t kFullRange = 0x7FFF, kFullPrecision = 0xFFFF;
  constexpr int64_t kMinuteUs = int64_t{60} * 1000 * 1000;
  const int32_t fields = (modifier >> 16) & 0x7FFF;
  const int32_t precision = modifier & 0xFFFF;
  WireReader reader(value);
  const int64_t us = reader.Int64();
  const int32_t days = reader.Int32();
  const int32_t months = reader.Int32();
  if (!reader.done()) return std::nullopt;
  bool fits = true;
  if (fields != kFullRange && (fields & kSecond) == 0) {
    if ((fields & kMinute) != 0) {
      fits = us % kMinuteUs == 0;
    } else if ((fields & kHour) != 0) {
      fits = us % (60 * kMinuteUs) == 0;
    } else if ((fields & kDay) != 0) {
      fits = us == 0;
    } else if ((fields & kMonth) != 0) {
      fits = us == 0 && days == 0;
    } else if ((fields & kYear) != 0) {
      fits = us == 0 && days == 0 && months % 12 == 0;
    }
  }
  if (precision != kFullPrecision) fits = fits && FitsPrecision(us, precision);
  if (!fits) return std::nullopt;
  return std::string(value);
}

MaybeValue DateToTimestamp(absl::string_view value) {
  if (value.size() != 4) return std::nullopt;
  const int64_t days = WireReader(value).Int32();
  std::string out;
  if (days == std::numeric_limits<int32_t>::min() || days == std::numeric_limits<int32_t>::max()) {
    AppendNumber<int64_t>(
        &out, days < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max());
    return out;
  }
  if (std::abs(days) > std::numeric_limits<int64_t>::max() / kDayUs) return std::nullopt;
  AppendNumber<int64_t>(&out, days * kDayUs);
  return out;
}

MaybeValue TimestampToDate(absl::string_view value) {
  if (value.size() != 8) return std::nullopt;
  const int64_t us = WireReader(value).Int64();
  std::string out;
  if (us == std::numeric_limits<int64_t>::min() || us == std::numeric_limits<int64_t>::max()) {
    AppendNumber<int32_t>(
        &out, us < 0 ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int32_t>::max());
    return out;
  }
  if (us % kDayUs != 0) return std::nullopt;
  AppendNumber<int32_t>(&out, static_cast<int32_t>(us / kDayUs));
  return out;
}

// --- what becomes of what ---

// Unset: as it is.
std::optional<Function> WithinType(uint32_t oid, std::optional<int32_t> remote, int32_t local) {
  if (local < 0 || remote == local) return std::nullopt;
  if (oid == builtin::kNumeric) {
    const bool bounded = remote.has_value() && *remote >= 0;
    if (bounded && Unpack(*remote).scale <= Unpack(local).scale) return std::nullopt;
    return [local, bounded](absl::string_view value) -> MaybeValue {
      const std::optional<NumericValue> number = NumericValue::Decode(value);
      if (!number.has_value()) return std::nullopt;
      return FitNumeric(*number, local, /*alike=*/!bounded);
    };
  }
  if (IsTime(oid)) {
    if (remote.has_value() && *remote >= 0 && *remote <= local) return std::nullopt;
    return [local](absl::string_view value) { return FitTime(value, local); };
  }
  if (oid == kInterval) {
    return [local](absl::string_view value) { return FitInterval(value, local); };
  }
  if (oid == builtin::kVarchar || oid == builtin::kBpchar) {
    if (remote.has_value() && *remote >= 0 && *remote <= local) return std::nullopt;
    return [oid, local](absl::string_view value) {
      return FitText(oid, local, value, /*padded=*/oid == builtin::kBpchar);
    };
  }
  return std::nullopt;  // PostgreSQL refuses what does not fit (bits)
}

std::optional<Function> BetweenNumbers(uint32_t remote, uint32_t local, int32_t modifier) {
  if (builtin::IsInteger(remote) && builtin::IsInteger(local)) {
    return [local](absl::string_view value) -> MaybeValue {
      const std::optional<int64_t> number = ReadInteger(value);
      if (!number.has_value()) return std::nullopt;
      return WriteInteger(local, *number);
    };
  }
  if (builtin::IsInteger(remote) && local == builtin::kNumeric) {
    return [modifier](absl::string_view value) -> MaybeValue {
      const std::optional<int64_t> number = ReadInteger(value);
      if (!number.has_value()) return std::nullopt;
      return FitNumeric(NumericValue::FromInt64(*number), modifier, /*alike=*/false);
    };
  }
  if (remote == builtin::kNumeric && builtin::IsInteger(local)) {
    return [local](absl::string_view value) -> MaybeValue {
      const std::optional<NumericValue> number = NumericValue::Decode(value);
      const std::optional<int64_t> whole =
          number.has_value() ? number->ToInt64() : std::optional<int64_t>();
      if (!whole.has_value()) return std::nullopt;
      return WriteInteger(local, *whole);
    };
  }
  if (builtin::IsInteger(remote) && IsFloat(local)) {
    return [local](absl::string_view value) -> MaybeValue {
      const std::optional<int64_t> number = ReadInteger(value);
      if (!number.has_value()) return std::nullopt;
      if (*number > ExactUpTo(local) || *number < -ExactUpTo(local)) return std::nullopt;
      return WriteFloat(local, static_cast<double>(*number));
    };
  }
  if (IsFloat(remote) && IsFloat(local)) {
    return [local](absl::string_view value) -> MaybeValue {
      const std::optional<double> number = ReadFloat(value);
      if (!number.has_value()) return std::nullopt;
      return WriteFloat(local, *number);
    };
  }
  return std::nullopt;
}

std::optional<Function> BetweenTypes(uint32_t remote, uint32_t local, int32_t modifier) {
  if (auto numbers = BetweenNumbers(remote, local, modifier); numbers.has_value()) return numbers;
  if (remote == builtin::kDate && local == builtin::kTimestamp) return DateToTimestamp;
  if (remote == builtin::kTimestamp && local == builtin::kDate) return TimestampToDate;
  if (remote == kJsonb && local == kJson) return ToText(kJsonb);
  if (IsText(remote) || remote == builtin::kName || remote == builtin::kBpchar) {
    const bool text_here = IsText(local) || local == builtin::kName || local == builtin::kBpchar;
    if (text_here) {
      return [local, modifier, padded = remote == builtin::kBpchar](absl::string_view value) {
        return FitText(local, modifier, value, padded);
      };
    }
    return IsText(remote) ? FromText(local, modifier) : std::nullopt;
  }
  if (!IsText(local)) return std::nullopt;
  const std::optional<Function> text = ToText(remote);
  if (!text.has_value()) return std::nullopt;
  return [text = *text, local, modifier](absl::string_view value) -> MaybeValue {
    const MaybeValue whole = text(value);
    if (!whole.has_value()) return std::nullopt;
    return FitText(local, modifier, *whole, /*padded=*/false);
  };
}

// Elements one by one, and the OID of their type.
MaybeValue ConvertArray(absl::string_view value, uint32_t element_oid, const Function* element) {
  constexpr int32_t kDimensionsMax = 6;
  WireReader reader(value);
  const int32_t dimensions = reader.Int32();
  const int32_t flags = reader.Int32();
  reader.Uint32();
  if (!reader.ok() || dimensions < 0 || dimensions > kDimensionsMax) return std::nullopt;
  std::string out;
  AppendNumber<int32_t>(&out, dimensions);
  AppendNumber<int32_t>(&out, flags);
  AppendNumber<uint32_t>(&out, element_oid);
  for (int32_t i = 0; i < 2 * dimensions; ++i) AppendNumber<int32_t>(&out, reader.Int32());
  while (reader.ok() && reader.remaining() > 0) {
    const int32_t size = reader.Int32();
    if (size < 0) {
      AppendNumber<int32_t>(&out, -1);
      continue;
    }
    const absl::string_view bytes = reader.Bytes(static_cast<size_t>(size));
    if (!reader.ok()) return std::nullopt;
    const MaybeValue converted = element == nullptr ? std::string(bytes) : (*element)(bytes);
    if (!converted.has_value()) return std::nullopt;
    AppendNumber<int32_t>(&out, static_cast<int32_t>(converted->size()));
    out += *converted;
  }
  if (!reader.ok()) return std::nullopt;
  return out;
}

}  // namespace

uint32_t ConvertibleType(absl::string_view name) {
  for (const TypeName& type : kTypes) {
    if (type.name == name) return type.oid;
  }
  return 0;
}

bool CutsInSilence(const TypeInfo& type) {
  if (type.kind == TypeInfo::Kind::kArray) return CutsInSilence(*type.element);
  return type.base_oid == builtin::kNumeric || type.base_oid == builtin::kVarchar ||
         type.base_oid == builtin::kBpchar || type.base_oid == kInterval || IsTime(type.base_oid);
}

std::optional<std::string> SpellType(uint32_t oid, int32_t modifier) {
  if (const uint32_t element = ElementOf(oid); element != 0) {
    return absl::StrCat(*SpellType(element, modifier), "[]");
  }
  for (const TypeName& type : kTypes) {
    if (type.oid != oid) continue;
    const std::string name = type.sql;
    if (modifier < 0) return name;
    switch (oid) {
      case builtin::kNumeric:
        return absl::StrCat(name, "(", ((modifier - kHeader) >> 16) & 0xffff, ",",
                            Unpack(modifier).scale, ")");
      case builtin::kVarchar:
      case builtin::kBpchar:
        return absl::StrCat(name, "(", modifier - kHeader, ")");
      case builtin::kBit:
      case builtin::kVarbit:
        return absl::StrCat(name, "(", modifier, ")");
      case builtin::kTime:
      case builtin::kTimestamp:
      case builtin::kTimestamptz:
      case kTimetz: {
        const size_t word = name.find(' ');
        return absl::StrCat(name.substr(0, word), "(", modifier, ")", name.substr(word));
      }
      case kInterval: {
        const int32_t precision = modifier & 0xFFFF;
        const bool all_fields = ((modifier >> 16) & 0x7FFF) == 0x7FFF;
        return absl::StrCat(name, all_fields ? "" : " with fewer fields",
                            precision == 0xFFFF ? "" : absl::StrCat("(", precision, ")"));
      }
      default:
        return name;
    }
  }
  return std::nullopt;
}

ValueConversion::Found ValueConversion::Find(const RemoteType& remote, const TypeInfo& local,
                                             int32_t local_modifier) {
  const auto found = [](Function convert) {
    return Found{.way = Way::kConverted,
                 .conversion = std::shared_ptr<const ValueConversion>(
                     new ValueConversion(std::move(convert)))};
  };
  if (local.oid != local.base_oid) local_modifier = local.base_modifier;  // a domain
  if (local.kind == TypeInfo::Kind::kArray) {
    const TypeInfo& element = *local.element;
    // Of the same type by its name, else.
    const bool known = remote.oid != 0;
    const uint32_t from = known ? ElementOf(remote.oid) : element.base_oid;
    if (known && remote.oid != local.base_oid && from == 0) return {.way = Way::kNone};
    if (from == 0) return {};
    const Found inner = Find({.oid = from, .modifier = known ? remote.modifier : std::nullopt},
                             element, local_modifier);
    if (inner.way == Way::kNone) return inner;
    if (inner.way == Way::kAsItIs && from == element.base_oid) return {};
    return found([oid = element.oid, inner](absl::string_view value) {
      return ConvertArray(value, oid,
                          inner.conversion == nullptr ? nullptr : &inner.conversion->convert_);
    });
  }
  if (remote.oid == 0 && local.base_oid >= builtin::kFirstUnstableOid) return {};
  const uint32_t from = remote.oid == 0 ? local.base_oid : remote.oid;
  if (from == local.base_oid) {
    std::optional<Function> within = WithinType(from, remote.modifier, local_modifier);
    return within.has_value() ? found(*std::move(within)) : Found{};
  }
  if (local.kind != TypeInfo::Kind::kPlain) return {.way = Way::kNone};
  const bool bits = (from == builtin::kBit || from == builtin::kVarbit) &&
                    (local.base_oid == builtin::kBit || local.base_oid == builtin::kVarbit);
  if (bits) return {};
  if (IsText(from) && IsText(local.base_oid) && local_modifier < 0) return {};
  std::optional<Function> between = BetweenTypes(from, local.base_oid, local_modifier);
  return between.has_value() ? found(*std::move(between)) : Found{.way = Way::kNone};
}

}  // namespace bdr::postgres
