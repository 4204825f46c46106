// One form for all values of a key that are equal to PostgreSQL.
//
// The version store and the keys in flight find a row by these bytes. Two forms for one key would
// make one row look like two, and a change would miss the version that it has to lose against.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "absl/numeric/int128.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/letter_case.h"
#include "postgres/range_flags.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

absl::Status MalformedKey(const TypeInfo& type, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("a key value of type \"", type.schema, ".",
                                                 type.name, "\" is malformed: ", why));
}

// Types of a fixed size whose binary form is canonical as it is; 0 for all others.
size_t FixedSize(uint32_t base_oid) {
  switch (base_oid) {
    case builtin::kChar:
      return 1;
    case builtin::kOid:
    case builtin::kDate:
      return 4;
    case builtin::kMacaddr:
    case builtin::kTid:
      return 6;
    case builtin::kMacaddr8:
    case builtin::kMoney:
    case builtin::kTime:
    case builtin::kTimestamp:
    case builtin::kTimestamptz:
    case builtin::kPgLsn:
    case builtin::kXid8:
      return 8;
    case builtin::kTimetz:  // equal if both the moment and the zone are
      return 12;
    case builtin::kUuid:
      return 16;
    default:
      return 0;
  }
}

absl::StatusOr<std::string> CanonicalBool(const TypeInfo& type, absl::string_view value) {
  if (value.size() != 1) return MalformedKey(type, "not one byte");
  return std::string(1, value[0] == 0 ? '\0' : '\1');
}

bool IsString(uint32_t base_oid) {
  return base_oid == builtin::kText || base_oid == builtin::kVarchar ||
         base_oid == builtin::kName || base_oid == builtin::kBpchar;
}

// The same for one number of whatever width: a serial key outgrows its type, and what the store
// knows of a row must be found when the column has been made wider.
absl::StatusOr<std::string> CanonicalInteger(const TypeInfo& type, absl::string_view value) {
  const size_t size = type.base_oid == builtin::kInt2 ? 2 : type.base_oid == builtin::kInt4 ? 4 : 8;
  if (value.size() != size) return MalformedKey(type, absl::StrCat("not ", size, " bytes"));
  WireReader reader(value);
  const int64_t number = size == 2 ? reader.Int16() : size == 4 ? reader.Int32() : reader.Int64();
  std::string out;
  if (number >= std::numeric_limits<int32_t>::min() &&
      number <= std::numeric_limits<int32_t>::max()) {
    AppendNumber<int32_t>(&out, static_cast<int32_t>(number));
  } else {
    AppendNumber<int64_t>(&out, number);
  }
  return out;
}

// -0.0 equals 0.0, and every NaN every other.
template <typename Float, typename Bits>
absl::StatusOr<std::string> CanonicalFloat(const TypeInfo& type, absl::string_view value) {
  if (value.size() != sizeof(Bits)) return MalformedKey(type, "wrong size");
  WireReader reader(value);
  Float number = std::bit_cast<Float>(reader.Number<Bits>());
  if (number == 0) number = 0;
  if (std::isnan(number)) number = std::numeric_limits<Float>::quiet_NaN();
  std::string out;
  AppendNumber<Bits>(&out, std::bit_cast<Bits>(number));
  return out;
}

// Digits to the base 10000 with a weight; PostgreSQL sends the display scale along, and keeps none
// of the zeros at either end, but a sender that does must not make another key.
absl::StatusOr<std::string> CanonicalNumeric(const TypeInfo& type, absl::string_view value) {
  constexpr uint16_t kPositive = 0x0000;
  constexpr uint16_t kNegative = 0x4000;
  constexpr int16_t kDigitMax = 9999;
  WireReader reader(value);
  const uint16_t count = reader.Uint16();
  int32_t weight = reader.Int16();
  uint16_t sign = reader.Uint16();
  reader.Uint16();  // display scale
  absl::string_view digits = reader.Bytes(size_t{2} * count);
  if (!reader.done()) return MalformedKey(type, "wrong size");
  for (WireReader check(digits); check.remaining() != 0;) {
    const int16_t digit = check.Int16();
    if (digit < 0 || digit > kDigitMax) return MalformedKey(type, "a digit out of range");
  }

  std::string out;
  if (sign != kPositive && sign != kNegative) {
    // NaN, Infinity, -Infinity: the sign says it all.
    if (sign != 0xC000 && sign != 0xD000 && sign != 0xF000) {
      return MalformedKey(type, "an unknown sign");
    }
    digits = {};
    weight = 0;
  }
  const absl::string_view zero("\0\0", 2);
  while (digits.substr(0, 2) == zero) {
    digits.remove_prefix(2);
    --weight;
  }
  while (digits.size() >= 2 && digits.substr(digits.size() - 2) == zero) digits.remove_suffix(2);
  if (digits.empty()) {
    weight = 0;
    if (sign == kNegative) sign = kPositive;
  }
  AppendNumber<uint16_t>(&out, sign);
  AppendNumber<int32_t>(&out, weight);  // wider than sent: stripping zeros may leave 16 bits
  out.append(digits.data(), digits.size());
  return out;
}

// Family, prefix length, a flag which the type already tells, address size, address.
absl::StatusOr<std::string> CanonicalInet(const TypeInfo& type, absl::string_view value) {
  constexpr size_t kHeader = 4;
  constexpr size_t kIpv4 = 4;
  constexpr size_t kIpv6 = 16;
  if (value.size() != kHeader + kIpv4 && value.size() != kHeader + kIpv6) {
    return MalformedKey(type, "wrong size");
  }
  std::string out(value);
  out[2] = 0;
  return out;
}

// The bits behind the last one do not count.
absl::StatusOr<std::string> CanonicalBits(const TypeInfo& type, absl::string_view value) {
  WireReader reader(value);
  const uint32_t bits = reader.Uint32();
  const size_t bytes = (size_t{bits} + 7) / 8;
  reader.Bytes(bytes);
  if (!reader.done()) return MalformedKey(type, "wrong size");
  std::string out(value);
  if (const uint32_t used = bits % 8; used != 0) {
    out.back() = static_cast<char>(static_cast<unsigned char>(out.back()) & (0xff00u >> used));
  }
  return out;
}

// An interval counts as its whole length, a month as 30 days and a day as 24 hours.
absl::StatusOr<std::string> CanonicalInterval(const TypeInfo& type, absl::string_view value) {
  constexpr int64_t kDaysPerMonth = 30;
  constexpr int64_t kMicrosecondsPerDay = int64_t{24} * 60 * 60 * 1000 * 1000;
  WireReader reader(value);
  const int64_t time_us = reader.Int64();
  const int64_t days = reader.Int32();
  const int64_t months = reader.Int32();
  if (!reader.done()) return MalformedKey(type, "wrong size");
  const absl::int128 length =
      absl::int128(time_us) + absl::int128(months * kDaysPerMonth + days) * kMicrosecondsPerDay;
  std::string out;
  AppendNumber<int64_t>(&out, absl::Int128High64(length));
  AppendNumber<uint64_t>(&out, absl::Int128Low64(length));
  return out;
}

// A version, then text in which PostgreSQL has put everything into one form but for the zeros at
// the end of a number's fraction. It writes no exponents.
absl::StatusOr<std::string> CanonicalJsonb(const TypeInfo& type, absl::string_view value) {
  if (value.empty() || value[0] != 1) return MalformedKey(type, "an unknown version of jsonb");
  const absl::string_view text = value.substr(1);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    if (text[i] == '"') {
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      if (end >= text.size()) return MalformedKey(type, "a string has no end");
      ++end;
      out.append(text.data() + i, end - i);
    } else if (absl::ascii_isdigit(static_cast<unsigned char>(text[i]))) {
      end = std::min(text.find_first_not_of("0123456789.", i), text.size());
      absl::string_view number = text.substr(i, end - i);
      if (number.find('.') != absl::string_view::npos) {
        number = number.substr(0, number.find_last_not_of('0') + 1);
        absl::ConsumeSuffix(&number, ".");
      }
      out.append(number.data(), number.size());
    } else {
      out.push_back(text[i]);
    }
    i = end;
  }
  return out;
}

std::string WithoutTrailingBlanks(absl::string_view value) {
  const size_t last = value.find_last_not_of(' ');
  return std::string(value.substr(0, last == absl::string_view::npos ? 0 : last + 1));
}

// Extensions whose one type of the same name is equal only if its bytes are: its own form is the
// canonical one.
bool IsPlainExtensionType(const TypeInfo& type) {
  return type.extension == type.base_name &&
         (type.extension == "hstore" || type.extension == "ltree");
}

bool HasPlainCanonicalForm(const TypeInfo& type) {
  if (type.letter_case != nullptr || IsPlainExtensionType(type)) return true;
  if (FixedSize(type.base_oid) != 0 || builtin::IsInteger(type.base_oid)) return true;
  switch (type.base_oid) {
    case builtin::kBool:
    case builtin::kFloat4:
    case builtin::kFloat8:
    case builtin::kNumeric:
    case builtin::kInet:
    case builtin::kCidr:
    case builtin::kBit:
    case builtin::kVarbit:
    case builtin::kBpchar:
    case builtin::kText:
    case builtin::kVarchar:
    case builtin::kName:
    case builtin::kBytea:
    case builtin::kInterval:
    case builtin::kJsonb:
    case builtin::kTsvector:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<std::string> CanonicalPlain(const TypeInfo& type, absl::string_view value) {
  if (type.letter_case != nullptr) {
    std::optional<std::string> lower = type.letter_case->Lower(value);
    if (!lower.has_value()) return MalformedKey(type, "not UTF-8");
    return *std::move(lower);
  }
  if (const size_t size = FixedSize(type.base_oid); size != 0) {
    if (value.size() != size) return MalformedKey(type, absl::StrCat("not ", size, " bytes"));
    return std::string(value);
  }
  if (builtin::IsInteger(type.base_oid)) return CanonicalInteger(type, value);
  switch (type.base_oid) {
    case builtin::kBool:
      return CanonicalBool(type, value);
    case builtin::kFloat4:
      return CanonicalFloat<float, uint32_t>(type, value);
    case builtin::kFloat8:
      return CanonicalFloat<double, uint64_t>(type, value);
    case builtin::kNumeric:
      return CanonicalNumeric(type, value);
    case builtin::kInet:
    case builtin::kCidr:
      return CanonicalInet(type, value);
    case builtin::kBit:
    case builtin::kVarbit:
      return CanonicalBits(type, value);
    case builtin::kInterval:
      return CanonicalInterval(type, value);
    case builtin::kJsonb:
      return CanonicalJsonb(type, value);
    case builtin::kBpchar:
      return WithoutTrailingBlanks(value);
    default:
      // Strings under a deterministic collation are equal if their bytes are; an enum is sent as
      // its label.
      return std::string(value);
  }
}

// --- What is made of other values: equal if its parts are, nulls being equal to each other. ---

// A length (-1: null) and that many bytes, as they stand in the value; canonical in `out`.
absl::Status AppendPart(const TypeInfo& whole, const TypeInfo& part, WireReader* reader,
                        std::string* out) {
  const int32_t length = reader->Int32();
  if (length == -1 && reader->ok()) {
    AppendNumber(out, kNullLength);
    return absl::OkStatus();
  }
  if (length < 0) return MalformedKey(whole, "a part of negative length");
  const absl::string_view bytes = reader->Bytes(static_cast<size_t>(length));
  if (!reader->ok()) return MalformedKey(whole, "cut off");
  ASSIGN_OR_RETURN(const std::string canonical, CanonicalKeyValue(part, bytes));
  AppendNumber(out, static_cast<uint32_t>(canonical.size()));
  out->append(canonical);
  return absl::OkStatus();
}

// Dimensions and lower bounds count as well.
absl::StatusOr<std::string> CanonicalArray(const TypeInfo& type, absl::string_view value) {
  constexpr int32_t kDimensionsMax = 6;  // MAXDIM in PostgreSQL
  WireReader reader(value);
  const int32_t dimensions = reader.Int32();
  reader.Int32();   // flags: whether there are nulls
  reader.Uint32();  // the elements' type
  if (dimensions < 0 || dimensions > kDimensionsMax) {
    return MalformedKey(type, absl::StrCat(dimensions, " dimensions"));
  }
  std::string out;
  AppendNumber(&out, dimensions);
  uint64_t count = dimensions == 0 ? 0 : 1;
  for (int32_t i = 0; i < dimensions; ++i) {
    const int32_t extent = reader.Int32();
    AppendNumber(&out, extent);
    AppendNumber(&out, reader.Int32());
    // Every element takes at least the four bytes of its length.
    if (extent < 0 || (extent > 0 && count > value.size() / static_cast<uint64_t>(extent))) {
      return MalformedKey(type, "more elements than fit");
    }
    count *= static_cast<uint64_t>(extent);
  }
  for (uint64_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(AppendPart(type, *type.element, &reader, &out));
  }
  if (!reader.done()) return MalformedKey(type, "wrong size");
  return out;
}

// Attributes that were added later are null in older values, whether these say so or not.
absl::StatusOr<std::string> CanonicalComposite(const TypeInfo& type, absl::string_view value) {
  WireReader reader(value);
  const uint32_t count = reader.Uint32();
  std::string out;
  size_t end = 0;  // behind the last part that is not null
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    reader.Uint32();  // the attribute's type
    const size_t at = out.size();
    // What was added since the type was looked up counts as it is.
    TypeInfo bytes;
    bytes.base_oid = builtin::kBytea;
    const TypeInfo& part = i < type.fields.size() ? *type.fields[i] : bytes;
    RETURN_IF_ERROR(AppendPart(type, part, &reader, &out));
    const bool is_null = out.size() == at + 4 && static_cast<unsigned char>(out[at]) == 0xff;
    if (!is_null) end = out.size();
  }
  if (!reader.done()) return MalformedKey(type, "wrong size");
  out.resize(end);
  return out;
}

absl::StatusOr<std::string> CanonicalRange(const TypeInfo& type, absl::string_view value) {
  WireReader reader(value);
  const uint8_t flags = reader.Uint8();
  std::string out(1, static_cast<char>(flags));
  if (range::HasLower(flags)) RETURN_IF_ERROR(AppendPart(type, *type.element, &reader, &out));
  if (range::HasUpper(flags)) RETURN_IF_ERROR(AppendPart(type, *type.element, &reader, &out));
  if (!reader.done()) return MalformedKey(type, "wrong size");
  return out;
}

absl::StatusOr<std::string> CanonicalMultirange(const TypeInfo& type, absl::string_view value) {
  WireReader reader(value);
  const uint32_t count = reader.Uint32();
  std::string out;
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    RETURN_IF_ERROR(AppendPart(type, *type.element, &reader, &out));
  }
  if (!reader.done()) return MalformedKey(type, "wrong size");
  return out;
}

bool PlainLooksDiffer(const TypeInfo& type) {
  switch (type.base_oid) {
    case builtin::kFloat4:
    case builtin::kFloat8:
    case builtin::kNumeric:
    case builtin::kBpchar:
    case builtin::kInterval:
    case builtin::kJsonb:
      return true;
    default:
      return type.letter_case != nullptr;
  }
}

}  // namespace

bool HasCanonicalForm(const TypeInfo& type) {
  switch (type.kind) {
    case TypeInfo::Kind::kEnum:
      return true;
    case TypeInfo::Kind::kPlain:
      return HasPlainCanonicalForm(type);
    default:
      break;
  }
  if (!type.parts_compare_plainly) return false;
  // Arrays to the catalog, but they travel as text.
  if (type.base_oid == builtin::kInt2vector || type.base_oid == builtin::kOidvector) return false;
  if (type.element != nullptr) return HasCanonicalForm(*type.element);
  return std::all_of(type.fields.begin(), type.fields.end(),
                     [](const auto& field) { return HasCanonicalForm(*field); });
}

bool SameCanonicalForm(uint32_t base_oid, uint32_t other_base_oid) {
  return base_oid == other_base_oid ||
         (builtin::IsInteger(base_oid) && builtin::IsInteger(other_base_oid)) ||
         (IsString(base_oid) && IsString(other_base_oid));
}

bool EqualMayLookDifferent(const TypeInfo& type) {
  if (type.kind == TypeInfo::Kind::kPlain) return PlainLooksDiffer(type);
  return (type.element != nullptr && EqualMayLookDifferent(*type.element)) ||
         std::any_of(type.fields.begin(), type.fields.end(),
                     [](const auto& field) { return EqualMayLookDifferent(*field); });
}

absl::StatusOr<std::string> CanonicalKeyValue(const TypeInfo& type, absl::string_view value) {
  if (!HasCanonicalForm(type)) {
    return absl::FailedPreconditionError(
        absl::StrCat("values of type \"", type.schema, ".", type.name,
                     "\" have no canonical form: a key cannot contain them; run \"bdrctl node "
                     "check\" for the tables concerned"));
  }
  switch (type.kind) {
    case TypeInfo::Kind::kArray:
      return CanonicalArray(type, value);
    case TypeInfo::Kind::kComposite:
      return CanonicalComposite(type, value);
    case TypeInfo::Kind::kRange:
      return CanonicalRange(type, value);
    case TypeInfo::Kind::kMultirange:
      return CanonicalMultirange(type, value);
    default:
      return CanonicalPlain(type, value);
  }
}

}  // namespace bdr::postgres
