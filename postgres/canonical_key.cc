// One form for all values of a key that are equal to PostgreSQL.
//
// The version store and the keys in flight find a row by these bytes. Two forms for one key would
// make one row look like two, and a change would miss the version that it has to lose against.
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
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
      return 6;
    case builtin::kMacaddr8:
    case builtin::kMoney:
    case builtin::kTime:
    case builtin::kTimestamp:
    case builtin::kTimestamptz:
    case builtin::kPgLsn:
      return 8;
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

bool IsInteger(uint32_t base_oid) {
  return base_oid == builtin::kInt2 || base_oid == builtin::kInt4 || base_oid == builtin::kInt8;
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

std::string WithoutTrailingBlanks(absl::string_view value) {
  const size_t last = value.find_last_not_of(' ');
  return std::string(value.substr(0, last == absl::string_view::npos ? 0 : last + 1));
}

}  // namespace

bool HasCanonicalForm(const TypeInfo& type) {
  if (type.kind == TypeInfo::Kind::kEnum) return true;
  if (type.kind != TypeInfo::Kind::kPlain) return false;
  if (FixedSize(type.base_oid) != 0 || IsInteger(type.base_oid)) return true;
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
      return true;
    default:
      return false;
  }
}

bool SameCanonicalForm(uint32_t base_oid, uint32_t other_base_oid) {
  return base_oid == other_base_oid || (IsInteger(base_oid) && IsInteger(other_base_oid)) ||
         (IsString(base_oid) && IsString(other_base_oid));
}

absl::StatusOr<std::string> CanonicalKeyValue(const TypeInfo& type, absl::string_view value) {
  if (!HasCanonicalForm(type)) {
    return absl::FailedPreconditionError(
        absl::StrCat("values of type \"", type.schema, ".", type.name,
                     "\" have no canonical form: a key cannot contain them; run \"bdrctl node "
                     "check\" for the tables concerned"));
  }
  if (const size_t size = FixedSize(type.base_oid); size != 0) {
    if (value.size() != size) return MalformedKey(type, absl::StrCat("not ", size, " bytes"));
    return std::string(value);
  }
  if (IsInteger(type.base_oid)) return CanonicalInteger(type, value);
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
    case builtin::kBpchar:
      return WithoutTrailingBlanks(value);
    default:
      // Strings under a deterministic collation are equal if their bytes are; an enum is sent as
      // its label.
      return std::string(value);
  }
}

}  // namespace bdr::postgres
