// Equal to PostgreSQL must mean equal bytes, and different must stay different: else one row looks
// like two, or two like one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/testing.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/values_testing.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

std::string Canonical(uint32_t base_oid, absl::string_view value) {
  const absl::StatusOr<std::string> canonical = CanonicalKeyValue(PlainType(base_oid), value);
  EXPECT_OK(canonical);
  return canonical.value_or("error");
}

absl::StatusCode CodeOf(uint32_t base_oid, absl::string_view value) {
  return CanonicalKeyValue(PlainType(base_oid), value).status().code();
}

std::string Numeric(std::vector<uint16_t> digits, int16_t weight, uint16_t sign, uint16_t scale) {
  std::string out;
  AppendNumber<uint16_t>(&out, static_cast<uint16_t>(digits.size()));
  AppendNumber<int16_t>(&out, weight);
  AppendNumber<uint16_t>(&out, sign);
  AppendNumber<uint16_t>(&out, scale);
  for (const uint16_t digit : digits) AppendNumber<uint16_t>(&out, digit);
  return out;
}

TEST(CanonicalKeyTest, NumericIgnoresScaleAndOuterZeros) {
  const std::string one = Canonical(builtin::kNumeric, Numeric({1}, 0, 0, 0));
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({1}, 0, 0, 5)), one);
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({1, 0, 0}, 0, 0, 8)), one);
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({0, 0, 1}, 2, 0, 0)), one);
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({1}, 1, 0, 0)), one);       // 10000
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({1}, -1, 0, 4)), one);      // 0.0001
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({1}, 0, 0x4000, 0)), one);  // -1
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({1, 5}, 0, 0, 4)), one);    // 1.0005
}

TEST(CanonicalKeyTest, NumericZeroAndSpecialValues) {
  const std::string zero = Canonical(builtin::kNumeric, Numeric({}, 0, 0, 0));
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({}, 3, 0, 3)), zero);
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({0, 0}, 1, 0x4000, 4)), zero);
  const std::string nan = Canonical(builtin::kNumeric, Numeric({}, 0, 0xC000, 0));
  EXPECT_EQ(Canonical(builtin::kNumeric, Numeric({}, 7, 0xC000, 9)), nan);
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({}, 0, 0xD000, 0)), nan);
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({}, 0, 0xD000, 0)),
            Canonical(builtin::kNumeric, Numeric({}, 0, 0xF000, 0)));
  // The lowest weight with a leading zero must not wrap around to the highest.
  EXPECT_NE(Canonical(builtin::kNumeric, Numeric({0, 1}, -32768, 0, 0)),
            Canonical(builtin::kNumeric, Numeric({1}, 32767, 0, 0)));
}

TEST(CanonicalKeyTest, MalformedNumericsAreRefused) {
  EXPECT_EQ(CodeOf(builtin::kNumeric, ""), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(builtin::kNumeric, Numeric({10000}, 0, 0, 0)),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(builtin::kNumeric, Numeric({1}, 0, 0x1234, 0)),
            absl::StatusCode::kInvalidArgument);
  const std::string good = Numeric({1, 2}, 0, 0, 0);
  EXPECT_EQ(CodeOf(builtin::kNumeric, good.substr(0, good.size() - 1)),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(builtin::kNumeric, good + "x"), absl::StatusCode::kInvalidArgument);
}

TEST(CanonicalKeyTest, FloatsKnowOneZeroAndOneNan) {
  EXPECT_EQ(Canonical(builtin::kFloat8, BinaryFloat8(-0.0)),
            Canonical(builtin::kFloat8, BinaryFloat8(0.0)));
  EXPECT_EQ(Canonical(builtin::kFloat4, BinaryFloat4(-0.0f)),
            Canonical(builtin::kFloat4, BinaryFloat4(0.0f)));
  const double odd_nan = std::bit_cast<double>(uint64_t{0xFFF8000000000123});
  EXPECT_EQ(Canonical(builtin::kFloat8, BinaryFloat8(odd_nan)),
            Canonical(builtin::kFloat8, BinaryFloat8(NAN)));
  EXPECT_EQ(Canonical(builtin::kFloat8, BinaryFloat8(-1.5)), BinaryFloat8(-1.5));
  EXPECT_EQ(Canonical(builtin::kFloat4, BinaryFloat4(-std::numeric_limits<float>::infinity())),
            BinaryFloat4(-std::numeric_limits<float>::infinity()));
  EXPECT_EQ(CodeOf(builtin::kFloat8, "1234567"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(builtin::kFloat4, BinaryFloat8(1)), absl::StatusCode::kInvalidArgument);
}

TEST(CanonicalKeyTest, OnlyBlankPaddedCharLosesItsTrailingBlanks) {
  EXPECT_EQ(Canonical(builtin::kBpchar, "ab   "), "ab");
  EXPECT_EQ(Canonical(builtin::kBpchar, "   "), "");
  EXPECT_EQ(Canonical(builtin::kBpchar, " a\t "), " a\t");
  EXPECT_EQ(Canonical(builtin::kVarchar, "ab  "), "ab  ");
  EXPECT_EQ(Canonical(builtin::kText, ""), "");
  EXPECT_EQ(Canonical(builtin::kBytea, absl::string_view("\0 ", 2)), absl::string_view("\0 ", 2));
}

TEST(CanonicalKeyTest, BitsBehindTheLastOneDoNotCount) {
  EXPECT_EQ(Canonical(builtin::kVarbit, absl::string_view("\0\0\0\x03\xBF", 5)),
            absl::string_view("\0\0\0\x03\xA0", 5));
  EXPECT_EQ(Canonical(builtin::kBit, absl::string_view("\0\0\0\x08\xBF", 5)),
            absl::string_view("\0\0\0\x08\xBF", 5));
  EXPECT_EQ(Canonical(builtin::kVarbit, absl::string_view("\0\0\0\0", 4)),
            absl::string_view("\0\0\0\0", 4));
  EXPECT_EQ(CodeOf(builtin::kVarbit, "\xFF\xFF\xFF\xFF"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(builtin::kVarbit, "x"), absl::StatusCode::kInvalidArgument);
}

TEST(CanonicalKeyTest, FixedSizesAreChecked) {
  const std::vector<std::pair<uint32_t, size_t>> sizes = {{builtin::kInt4, 4},
                                                          {builtin::kInt8, 8},
                                                          {builtin::kUuid, 16},
                                                          {builtin::kMacaddr, 6},
                                                          {builtin::kTimestamptz, 8}};
  for (const auto& [oid, size] : sizes) {
    const std::string value(size, '\x7f');
    EXPECT_EQ(Canonical(oid, value), value);
    EXPECT_EQ(CodeOf(oid, value + "x"), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(CodeOf(oid, value.substr(1)), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Canonical(builtin::kBool, "\x02"), "\x01");
  EXPECT_EQ(CodeOf(builtin::kInet, "12345"), absl::StatusCode::kInvalidArgument);
}

// A key that was made wider is still found.
TEST(CanonicalKeyTest, AnIntegerIsTheSameOfWhateverWidth) {
  const std::string small = Canonical(builtin::kInt2, absl::string_view("\xff\xfe", 2));
  EXPECT_EQ(small, absl::string_view("\xff\xff\xff\xfe", 4));
  EXPECT_EQ(Canonical(builtin::kInt4, small), small);
  EXPECT_EQ(Canonical(builtin::kInt8, absl::string_view("\xff\xff\xff\xff\xff\xff\xff\xfe", 8)),
            small);
  const absl::string_view large("\0\0\0\0\x80\0\0\0", 8);
  EXPECT_EQ(Canonical(builtin::kInt8, large), large);
  EXPECT_EQ(CodeOf(builtin::kInt2, "xxx"), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(SameCanonicalForm(builtin::kInt2, builtin::kInt8));
  EXPECT_TRUE(SameCanonicalForm(builtin::kVarchar, builtin::kBpchar));
  EXPECT_FALSE(SameCanonicalForm(builtin::kInt4, builtin::kText));
}

TEST(CanonicalKeyTest, TypesWithoutCanonicalFormAreRefused) {
  constexpr uint32_t kTsquery = 3615;
  constexpr uint32_t kRegclass = 2205;
  constexpr uint32_t kOfAnExtension = 16999;
  for (const uint32_t oid : {kTsquery, kRegclass, kOfAnExtension}) {
    EXPECT_FALSE(HasCanonicalForm(PlainType(oid)));
    EXPECT_EQ(CodeOf(oid, "x"), absl::StatusCode::kFailedPrecondition);
  }
  // What is made of others goes by them.
  TypeInfo array = PlainType(1007);
  array.kind = TypeInfo::Kind::kArray;
  array.element = std::make_shared<const TypeInfo>(PlainType(kTsquery));
  EXPECT_FALSE(HasCanonicalForm(array));
  array.element = std::make_shared<const TypeInfo>(PlainType(builtin::kInt4));
  EXPECT_TRUE(HasCanonicalForm(array));
  array.kind = TypeInfo::Kind::kRange;
  array.parts_compare_plainly = false;
  EXPECT_FALSE(HasCanonicalForm(array));
  TypeInfo mood = PlainType(17000);
  mood.kind = TypeInfo::Kind::kEnum;
  EXPECT_TRUE(HasCanonicalForm(mood));
  EXPECT_EQ(*CanonicalKeyValue(mood, "happy"), "happy");
}

}  // namespace
}  // namespace bdr::postgres
