// What fits arrives exactly as an ALTER TABLE at its origin would make it, and what would lose
// anything is told.
#include "postgres/convert_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "postgres/builtin_types.h"
#include "postgres/numeric_value.h"
#include "postgres/values_testing.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

using ::testing::Eq;
using ::testing::Optional;
using Way = ValueConversion::Way;

constexpr uint32_t kInterval = 1186;
constexpr uint32_t kJson = 114;
constexpr uint32_t kJsonb = 3802;
constexpr uint32_t kInt4Array = 1007;
constexpr uint32_t kNumericArray = 1231;

TypeInfo ArrayOf(uint32_t oid, TypeInfo element) {
  TypeInfo type = PlainType(oid);
  type.kind = TypeInfo::Kind::kArray;
  type.element = std::make_shared<const TypeInfo>(std::move(element));
  return type;
}

int32_t NumericModifier(int32_t precision, int32_t scale) {
  return ((precision << 16) | (scale & 0x7ff)) + 4;
}
int32_t Length(int32_t characters) { return characters + 4; }

std::string Num(absl::string_view text) { return NumericValue::FromText(text)->Encode(); }

struct Column {
  uint32_t oid = 0;
  std::optional<int32_t> modifier = -1;
};

Way WayOf(Column from, Column to) {
  return ValueConversion::Find({.oid = from.oid, .modifier = from.modifier}, PlainType(to.oid),
                               to.modifier.value())
      .way;
}

std::optional<std::string> Convert(Column from, Column to, absl::string_view value) {
  const auto found = ValueConversion::Find({.oid = from.oid, .modifier = from.modifier},
                                           PlainType(to.oid), to.modifier.value());
  EXPECT_NE(found.way, Way::kNone);
  if (found.way == Way::kAsItIs) return std::string(value);
  return found.conversion->Convert(value);
}

TEST(ConvertValueTest, WhatIsTheSameOrWiderGoesAsItIs) {
  using namespace builtin;
  EXPECT_EQ(WayOf({kInt4}, {kInt4}), Way::kAsItIs);
  EXPECT_EQ(WayOf({kVarchar, Length(5)}, {kText}), Way::kAsItIs);
  EXPECT_EQ(WayOf({kVarchar, Length(5)}, {kVarchar, Length(9)}), Way::kAsItIs);
  EXPECT_EQ(WayOf({kNumeric, NumericModifier(5, 1)}, {kNumeric, NumericModifier(7, 2)}),
            Way::kAsItIs);
  EXPECT_EQ(WayOf({kNumeric, NumericModifier(5, 1)}, {kNumeric}), Way::kAsItIs);
  EXPECT_EQ(WayOf({kTimestamp, 0}, {kTimestamp, 3}), Way::kAsItIs);
  EXPECT_EQ(WayOf({kBit, 8}, {kBit, 4}), Way::kAsItIs);  // PostgreSQL refuses what does not fit
}

TEST(ConvertValueTest, WhatHasNothingInCommonIsTold) {
  using namespace builtin;
  EXPECT_EQ(WayOf({kText}, {kBytea}), Way::kNone);
  EXPECT_EQ(WayOf({kTimestamp}, {kTimestamptz}), Way::kNone);  // depends on the session
  EXPECT_EQ(WayOf({kFloat8}, {kText}), Way::kNone);
  EXPECT_EQ(WayOf({kText}, {kJsonb}), Way::kNone);  // loses how it was written
  EXPECT_EQ(ValueConversion::Find({.oid = kText}, ArrayOf(kInt4Array, PlainType(kInt4)), -1).way,
            Way::kNone);
}

TEST(ConvertValueTest, ANumericKeepsEveryDigitAndLooksTheSame) {
  using namespace builtin;
  const Column narrow{kNumeric, NumericModifier(5, 1)};
  const Column any{kNumeric};
  EXPECT_THAT(Convert(any, narrow, Num("1.5")), Optional(Num("1.5")));
  EXPECT_THAT(Convert(any, narrow, Num("NaN")), Optional(Num("NaN")));
  EXPECT_EQ(Convert(any, narrow, Num("1.25")), std::nullopt);
  EXPECT_EQ(Convert(any, narrow, Num("1")), std::nullopt) << "would be shown as 1.0";
  // Of a domain elsewhere nothing is known but its values.
  EXPECT_THAT(Convert({kNumeric, std::nullopt}, narrow, Num("1.5")), Optional(Num("1.5")));
  EXPECT_EQ(Convert({kNumeric, std::nullopt}, narrow, Num("1.55")), std::nullopt);
  // Bounded there as well: an ALTER TABLE on either side makes them look alike.
  const Column wider{kNumeric, NumericModifier(7, 2)};
  EXPECT_THAT(Convert(wider, narrow, Num("1.50")), Optional(Num("1.50")));
  EXPECT_EQ(Convert(wider, narrow, Num("1.55")), std::nullopt);
  // A scale below zero rounds before the point.
  EXPECT_THAT(Convert(wider, {kNumeric, NumericModifier(3, -2)}, Num("1200.00")),
              Optional(Num("1200.00")));
  EXPECT_EQ(Convert(wider, {kNumeric, NumericModifier(3, -2)}, Num("1210.00")), std::nullopt);
  EXPECT_EQ(Convert(any, narrow, "nonsense"), std::nullopt);
}

TEST(ConvertValueTest, TimesKeepTheirPlaces) {
  using namespace builtin;
  for (const uint32_t oid : {kTime, kTimestamp, kTimestamptz}) {
    EXPECT_THAT(Convert({oid}, {oid, 0}, BinaryInt<int64_t>(5'000'000)),
                Optional(BinaryInt<int64_t>(5'000'000)));
    EXPECT_EQ(Convert({oid}, {oid, 0}, BinaryInt<int64_t>(5'000'001)), std::nullopt);
    EXPECT_EQ(Convert({oid, 6}, {oid, 3}, BinaryInt<int64_t>(-1'500)), std::nullopt);
    EXPECT_NE(Convert({oid, 6}, {oid, 3}, BinaryInt<int64_t>(-2'000)), std::nullopt);
  }
  const auto infinity = std::numeric_limits<int64_t>::max();
  EXPECT_NE(Convert({kTimestamp}, {kTimestamp, 0}, BinaryInt(infinity)), std::nullopt);
  EXPECT_EQ(Convert({1266}, {1266, 0}, BinaryInt<int64_t>(1) + BinaryInt<int32_t>(3600)),
            std::nullopt);
}

TEST(ConvertValueTest, IntervalsKeepTheirFields) {
  const auto interval = [](int64_t us, int32_t days, int32_t months) {
    return BinaryInt(us) + BinaryInt(days) + BinaryInt(months);
  };
  const int32_t year = 1 << 2, month = 1 << 1, day = 1 << 3, hour = 1 << 10, minute = 1 << 11;
  const auto fields = [](int32_t range) { return Column{kInterval, (range << 16) | 0xFFFF}; };
  const int64_t minute_us = 60'000'000;
  EXPECT_NE(Convert({kInterval}, fields(year), interval(0, 0, 24)), std::nullopt);
  EXPECT_EQ(Convert({kInterval}, fields(year), interval(0, 0, 25)), std::nullopt);
  EXPECT_NE(Convert({kInterval}, fields(year | month), interval(0, 0, 25)), std::nullopt);
  EXPECT_EQ(Convert({kInterval}, fields(month), interval(0, 1, 1)), std::nullopt);
  EXPECT_NE(Convert({kInterval}, fields(day), interval(0, 1, 1)), std::nullopt);
  EXPECT_EQ(Convert({kInterval}, fields(day), interval(1, 1, 1)), std::nullopt);
  EXPECT_EQ(Convert({kInterval}, fields(day | hour), interval(minute_us, 0, 0)), std::nullopt);
  EXPECT_NE(Convert({kInterval}, fields(hour | minute), interval(minute_us, 0, 0)), std::nullopt);
  const Column seconds{kInterval, (0x7FFF << 16) | 0};
  EXPECT_EQ(Convert({kInterval}, seconds, interval(1, 0, 0)), std::nullopt);
  EXPECT_NE(Convert({kInterval}, seconds, interval(1'000'000, 3, 1)), std::nullopt);
}

TEST(ConvertValueTest, BlanksAtTheEndCountWhereTheyDo) {
  using namespace builtin;
  EXPECT_EQ(Convert({kText}, {kVarchar, Length(2)}, "ab "), std::nullopt);
  EXPECT_THAT(Convert({kText}, {kVarchar, Length(2)}, "\xC3\xA4\xC3\xB6"),
              Optional(Eq("\xC3\xA4\xC3\xB6")));
  EXPECT_EQ(Convert({kVarchar, Length(9)}, {kVarchar, Length(2)}, "abc"), std::nullopt);
  EXPECT_THAT(Convert({kBpchar, Length(9)}, {kBpchar, Length(2)}, "ab       "), Optional(Eq("ab")));
  EXPECT_THAT(Convert({kBpchar, Length(4)}, {kText}, "ab  "), Optional(Eq("ab")));
  EXPECT_EQ(Convert({kText}, {kBpchar, Length(4)}, "ab "), std::nullopt);
  EXPECT_EQ(Convert({kText}, {kName}, std::string(64, 'n')), std::nullopt);
}

TEST(ConvertValueTest, IntegersGoWhereTheyFit) {
  using namespace builtin;
  EXPECT_THAT(Convert({kInt4}, {kInt8}, BinaryInt<int32_t>(-7)), Optional(BinaryInt<int64_t>(-7)));
  EXPECT_THAT(Convert({kInt8}, {kInt2}, BinaryInt<int64_t>(-32768)),
              Optional(BinaryInt<int16_t>(-32768)));
  EXPECT_EQ(Convert({kInt8}, {kInt4}, BinaryInt<int64_t>(int64_t{1} << 31)), std::nullopt);
  EXPECT_THAT(Convert({kInt8}, {kNumeric}, BinaryInt(std::numeric_limits<int64_t>::min())),
              Optional(Num("-9223372036854775808")));
  EXPECT_THAT(Convert({kNumeric}, {kInt8}, Num("-9223372036854775808")),
              Optional(BinaryInt(std::numeric_limits<int64_t>::min())));
  EXPECT_EQ(Convert({kNumeric}, {kInt8}, Num("9223372036854775808")), std::nullopt);
  EXPECT_THAT(Convert({kNumeric}, {kInt4}, Num("120000.00")), Optional(BinaryInt<int32_t>(120000)));
  EXPECT_EQ(Convert({kNumeric}, {kInt4}, Num("0.5")), std::nullopt);
  EXPECT_EQ(Convert({kNumeric}, {kInt4}, Num("NaN")), std::nullopt);
  EXPECT_THAT(Convert({kInt4}, {kFloat4}, BinaryInt<int32_t>(1 << 24)),
              Optional(BinaryFloat4(1 << 24)));
  EXPECT_EQ(Convert({kInt4}, {kFloat4}, BinaryInt<int32_t>((1 << 24) + 1)), std::nullopt);
}

TEST(ConvertValueTest, FloatsAreExact) {
  using namespace builtin;
  EXPECT_THAT(Convert({kFloat4}, {kFloat8}, BinaryFloat4(0.1F)), Optional(BinaryFloat8(0.1F)));
  EXPECT_THAT(Convert({kFloat8}, {kFloat4}, BinaryFloat8(0.5)), Optional(BinaryFloat4(0.5F)));
  EXPECT_EQ(Convert({kFloat8}, {kFloat4}, BinaryFloat8(0.1)), std::nullopt);
  EXPECT_EQ(Convert({kFloat8}, {kFloat4}, BinaryFloat8(1e300)), std::nullopt);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_NE(Convert({kFloat8}, {kFloat4}, BinaryFloat8(infinity)), std::nullopt);
  EXPECT_NE(Convert({kFloat8}, {kFloat4}, BinaryFloat8(-0.0)),
            Convert({kFloat8}, {kFloat4}, BinaryFloat8(0)));
}

TEST(ConvertValueTest, TextIsWhatTheTypeWrites) {
  using namespace builtin;
  EXPECT_THAT(Convert({kInt2}, {kText}, BinaryInt<int16_t>(-5)), Optional(Eq("-5")));
  EXPECT_THAT(Convert({kBool}, {kText}, std::string(1, '\1')), Optional(Eq("true")));
  const std::string uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
  const auto bytes = Convert({kText}, {kUuid}, uuid);
  ASSERT_TRUE(bytes.has_value());
  EXPECT_THAT(Convert({kUuid}, {kText}, *bytes), Optional(uuid));
  EXPECT_EQ(Convert({kText}, {kUuid}, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), std::nullopt);
  EXPECT_THAT(Convert({kText}, {kInt4}, "42"), Optional(BinaryInt<int32_t>(42)));
  for (const char* other : {"+42", " 42", "042", "4.2", "", "-0", "99999999999"}) {
    EXPECT_EQ(Convert({kText}, {kInt4}, other), std::nullopt) << other;
  }
  EXPECT_EQ(Convert({kInt4}, {kVarchar, Length(2)}, BinaryInt<int32_t>(100)), std::nullopt);
  EXPECT_THAT(Convert({kJsonb}, {kJson}, "\x01{}"), Optional(Eq("{}")));
  EXPECT_EQ(Convert({kText}, {kNumeric, NumericModifier(5, 2)}, "1.5"), std::nullopt);
}

TEST(ConvertValueTest, NumericsAsTextComeBackTheSame) {
  for (const char* text :
       {"0", "0.0", "0.00000", "1", "-1", "10000", "10001.0001", "0.00001", "-0.5", "123456789.10",
        "99999999999999999999.99999", "100000000", "NaN", "Infinity", "-Infinity", "0.1000"}) {
    const std::optional<NumericValue> value = NumericValue::FromText(text);
    ASSERT_TRUE(value.has_value()) << text;
    EXPECT_EQ(value->ToText(), text);
    const std::optional<NumericValue> again = NumericValue::Decode(value->Encode());
    ASSERT_TRUE(again.has_value()) << text;
    EXPECT_EQ(again->ToText(), text);
  }
  for (const char* text : {"", "-", ".5", "5.", "01", "1e3", "+1", "-0", "-0.0", "nan", "1 "}) {
    EXPECT_FALSE(NumericValue::FromText(text).has_value()) << text;
  }
}

TEST(ConvertValueTest, DatesAreMidnights) {
  using namespace builtin;
  const int64_t day_us = int64_t{86400} * 1'000'000;
  EXPECT_THAT(Convert({kDate}, {kTimestamp}, BinaryInt<int32_t>(-3)),
              Optional(BinaryInt(-3 * day_us)));
  EXPECT_THAT(Convert({kTimestamp}, {kDate}, BinaryInt(-3 * day_us)),
              Optional(BinaryInt<int32_t>(-3)));
  EXPECT_EQ(Convert({kTimestamp}, {kDate}, BinaryInt(-3 * day_us + 1)), std::nullopt);
  EXPECT_THAT(Convert({kDate}, {kTimestamp}, BinaryInt(std::numeric_limits<int32_t>::max())),
              Optional(BinaryInt(std::numeric_limits<int64_t>::max())));
}

// One dimension from 1; every element with its length.
std::string Array(uint32_t element_oid, std::vector<std::string> elements) {
  std::string out = BinaryInt<int32_t>(1) + BinaryInt<int32_t>(0) +
                    BinaryInt<uint32_t>(element_oid) +
                    BinaryInt(static_cast<int32_t>(elements.size())) + BinaryInt<int32_t>(1);
  for (const std::string& element : elements) {
    out += BinaryInt(static_cast<int32_t>(element.size())) + element;
  }
  return out;
}

TEST(ConvertValueTest, ArraysElementByElement) {
  using namespace builtin;
  const auto wider =
      ValueConversion::Find({.oid = kInt4Array}, ArrayOf(1016, PlainType(kInt8)), -1);
  ASSERT_EQ(wider.way, Way::kConverted);
  EXPECT_THAT(
      wider.conversion->Convert(Array(kInt4, {BinaryInt<int32_t>(1), BinaryInt<int32_t>(-2)})),
      Optional(Array(kInt8, {BinaryInt<int64_t>(1), BinaryInt<int64_t>(-2)})));
  const std::string null = BinaryInt<int32_t>(1) + BinaryInt<int32_t>(1) +
                           BinaryInt<uint32_t>(kInt4) + BinaryInt<int32_t>(1) +
                           BinaryInt<int32_t>(1) + BinaryInt<int32_t>(-1);
  EXPECT_TRUE(wider.conversion->Convert(null).has_value());
  EXPECT_EQ(wider.conversion->Convert(null.substr(0, null.size() - 1)), std::nullopt);

  const auto narrow = ValueConversion::Find(
      {.oid = kNumericArray}, ArrayOf(kNumericArray, PlainType(kNumeric)), NumericModifier(5, 1));
  ASSERT_EQ(narrow.way, Way::kConverted);
  EXPECT_TRUE(narrow.conversion->Convert(Array(kNumeric, {Num("1.5")})).has_value());
  EXPECT_EQ(narrow.conversion->Convert(Array(kNumeric, {Num("1.5"), Num("1.55")})), std::nullopt);
}

TEST(ConvertValueTest, ADomainIsAsNarrowAsWhatItStandsOn) {
  TypeInfo domain = PlainType(builtin::kNumeric);
  domain.oid = 16400;
  domain.base_modifier = NumericModifier(5, 1);
  const auto found = ValueConversion::Find({.oid = builtin::kNumeric}, domain, -1);
  ASSERT_EQ(found.way, Way::kConverted);
  EXPECT_EQ(found.conversion->Convert(Num("1.25")), std::nullopt);
  // Of the same name elsewhere.
  const auto same = ValueConversion::Find({.oid = 0, .modifier = std::nullopt}, domain, -1);
  ASSERT_EQ(same.way, Way::kConverted);
  EXPECT_TRUE(same.conversion->Convert(Num("1.5")).has_value());
}

TEST(ConvertValueTest, TypesAreSpelledAsInSql) {
  using namespace builtin;
  EXPECT_THAT(SpellType(kNumeric, NumericModifier(5, 1)), Optional(Eq("numeric(5,1)")));
  EXPECT_THAT(SpellType(kTimestamp, 0), Optional(Eq("timestamp(0) without time zone")));
  EXPECT_THAT(SpellType(kVarchar, Length(10)), Optional(Eq("character varying(10)")));
  EXPECT_THAT(SpellType(kInt4Array, -1), Optional(Eq("integer[]")));
  EXPECT_EQ(SpellType(kBytea, -1), std::nullopt);
}

}  // namespace
}  // namespace bdr::postgres
