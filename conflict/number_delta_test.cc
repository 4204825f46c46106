#include "conflict/number_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace bdr::conflict {
namespace {

std::string Bits(uint64_t bits, int bytes) {
  std::string out;
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(bits >> shift));
  }
  return out;
}
std::string Int4(int32_t value) { return Bits(static_cast<uint32_t>(value), 4); }
std::string Float8(double value) { return Bits(std::bit_cast<uint64_t>(value), 8); }

// PostgreSQL's binary form of a decimal text, made another way than the code under test does it:
// digit by digit from the text.
std::string Numeric(std::string text) {
  const bool negative = text[0] == '-';
  if (negative) text.erase(0, 1);
  const size_t point = text.find('.');
  std::string whole = text.substr(0, point);
  std::string part = point == std::string::npos ? "" : text.substr(point + 1);
  const size_t scale = part.size();
  while (whole.size() % 4 != 0) whole.insert(0, "0");
  while (part.size() % 4 != 0) part += "0";
  int weight = static_cast<int>(whole.size() / 4) - 1;
  std::vector<int> digits;
  const std::string all = whole + part;
  for (size_t i = 0; i < all.size(); i += 4) digits.push_back(std::stoi(all.substr(i, 4)));
  while (!digits.empty() && digits.front() == 0) {
    digits.erase(digits.begin());
    --weight;
  }
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
  if (digits.empty()) weight = 0;
  std::string out = Bits(digits.size(), 2) + Bits(static_cast<uint16_t>(weight), 2) +
                    Bits(negative && !digits.empty() ? 0x4000 : 0, 2) + Bits(scale, 2);
  for (const int digit : digits) out += Bits(static_cast<uint64_t>(digit), 2);
  return out;
}

std::string Decimal(int64_t scaled, size_t scale) {
  std::string digits = std::to_string(std::llabs(scaled));
  while (digits.size() <= scale) digits.insert(0, "0");
  if (scale > 0) digits.insert(digits.size() - scale, ".");
  return (scaled < 0 ? "-" : "") + digits;
}

int32_t TypeModifier(int precision, int scale) { return (precision << 16 | scale) + 4; }

RC_GTEST_PROP(NumberDeltaProperty, NumericIsExact, ()) {
  const size_t scale = *rc::gen::inRange<size_t>(0, 10);
  const auto number = [] {
    const int64_t magnitude = *rc::gen::element<int64_t>(10, 10'000, 100'000'000, int64_t{1} << 60);
    return *rc::gen::inRange<int64_t>(-magnitude, magnitude);
  };
  const int64_t state = number();
  const int64_t from = number();
  const int64_t to = number();
  RC_ASSERT(AddDelta(NumberType::kNumeric, -1, Numeric(Decimal(state, scale)),
                     Numeric(Decimal(from, scale)),
                     Numeric(Decimal(to, scale))) == Numeric(Decimal(state + to - from, scale)));
}

RC_GTEST_PROP(NumberDeltaProperty, IntegersAreExactAndOrderDoesNotMatter, ()) {
  const auto small = [] { return *rc::gen::inRange<int32_t>(-1'000'000, 1'000'000); };
  const int32_t base = small(), a = small(), b = small();
  const auto add = [](const std::string& state, int32_t from, int32_t to) {
    return AddDelta(NumberType::kInt4, -1, state, Int4(from), Int4(to));
  };
  RC_ASSERT(add(add(Int4(base), base, a), base, b) == add(add(Int4(base), base, b), base, a));
  RC_ASSERT(add(Int4(base), a, b) == Int4(base + b - a));
}

TEST(NumberDeltaTest, NumericsOfDifferentScaleAndSign) {
  const auto add = [](const char* state, const char* from, const char* to) {
    return AddDelta(NumberType::kNumeric, -1, Numeric(state), Numeric(from), Numeric(to));
  };
  EXPECT_EQ(add("1.5", "1.00", "0.25"), Numeric("0.75"));
  EXPECT_EQ(add("0.01", "5", "4.99"), Numeric("0.00"));
  EXPECT_EQ(add("-1", "100000000", "99999999.0001"), Numeric("-1.9999"));
  EXPECT_EQ(add("9999.9999", "0", "0.0001"), Numeric("10000.0000"));
  EXPECT_EQ(add("1", "10000", "0"), Numeric("-9999"));
}

TEST(NumberDeltaTest, WhoIsAloneGetsWhatItWrote) {
  EXPECT_EQ(AddDelta(NumberType::kFloat8, -1, Float8(0.1), Float8(0.1), Float8(0.3)), Float8(0.3));
  EXPECT_EQ(AddDelta(NumberType::kNumeric, -1, Numeric("1.0000"), Numeric("1.0000"), Numeric("2")),
            Numeric("2"));
}

TEST(NumberDeltaTest, RangesEndWhereTheTypeEnds) {
  EXPECT_EQ(AddDelta(NumberType::kInt4, -1, Int4(INT32_MAX), Int4(0), Int4(5)), Int4(INT32_MAX));
  EXPECT_EQ(AddDelta(NumberType::kInt4, -1, Int4(INT32_MIN), Int4(0), Int4(-5)), Int4(INT32_MIN));
  const auto within = [](int precision, int scale, const char* state, const char* to) {
    return AddDelta(NumberType::kNumeric, TypeModifier(precision, scale), Numeric(state),
                    Numeric("0"), Numeric(to));
  };
  EXPECT_EQ(within(5, 2, "999.00", "1.00"), Numeric("999.99"));
  EXPECT_EQ(within(5, 2, "-999.00", "-1.00"), Numeric("-999.99"));
  EXPECT_EQ(within(5, 2, "998.00", "1.00"), Numeric("999.00"));
  EXPECT_EQ(within(4, 0, "9999", "1"), Numeric("9999"));
  EXPECT_EQ(within(9, 3, "999999.999", "0.001"), Numeric("999999.999"));
}

TEST(NumberDeltaTest, WhatIsNoFiniteNumberIsTakenAsItIs) {
  const std::string nan = Bits(0, 4) + Bits(0xC000, 2) + Bits(0, 2);
  EXPECT_EQ(AddDelta(NumberType::kNumeric, -1, Numeric("1"), Numeric("2"), nan), nan);
  EXPECT_EQ(AddDelta(NumberType::kNumeric, -1, nan, Numeric("2"), Numeric("3")), Numeric("3"));
  EXPECT_EQ(AddDelta(NumberType::kInt4, -1, "x", Int4(2), Int4(3)), Int4(3));
  // One NaN, the same on every processor.
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(AddDelta(NumberType::kFloat8, -1, Float8(-infinity), Float8(1), Float8(infinity)),
            Bits(0x7FF8000000000000, 8));
}

}  // namespace
}  // namespace bdr::conflict
