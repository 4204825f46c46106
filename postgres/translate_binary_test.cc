// Values with OIDs of user types inside: patched to the local OIDs, refused if they do not have the
// type's structure. That PostgreSQL takes the result is tested in catalog_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/testing.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

constexpr uint32_t kThere = 20000;  // OIDs of the sender
constexpr uint32_t kHere = 30000;   // and ours

std::shared_ptr<TypeInfo> Make(TypeInfo::Kind kind, uint32_t oid) {
  auto type = std::make_shared<TypeInfo>();
  type->oid = type->base_oid = oid;
  type->schema = "app";
  type->name = "t" + std::to_string(oid);
  type->kind = kind;
  return type;
}

std::shared_ptr<TypeInfo> ArrayOf(std::shared_ptr<const TypeInfo> element, uint32_t oid) {
  auto type = Make(TypeInfo::Kind::kArray, oid);
  type->element = std::move(element);
  return type;
}

std::string Int(int32_t value) {
  std::string out;
  AppendNumber<int32_t>(&out, value);
  return out;
}

std::string Part(absl::string_view bytes) {
  return Int(static_cast<int32_t>(bytes.size())) + std::string(bytes);
}

std::string ArrayValue(uint32_t element_oid, const std::vector<std::string>& parts) {
  std::string out = Int(1) + Int(0) + Int(static_cast<int32_t>(element_oid)) +
                    Int(static_cast<int32_t>(parts.size())) + Int(1);
  for (const std::string& part : parts) out += part;
  return out;
}

// (int4, mood, mood[]), as the sender or we would write it.
std::string CompositeValue(uint32_t base) {
  return Int(3) + Int(23) + Part(Int(7)) + Int(static_cast<int32_t>(base)) + Part("ok") +
         Int(static_cast<int32_t>(base + 1)) + Part(ArrayValue(base, {Part("ok"), Int(-1)}));
}

std::shared_ptr<TypeInfo> CompositeHere() {
  auto composite = Make(TypeInfo::Kind::kComposite, kHere + 2);
  const auto mood = Make(TypeInfo::Kind::kEnum, kHere);
  composite->fields = {Make(TypeInfo::Kind::kPlain, builtin::kInt4), mood,
                       ArrayOf(mood, kHere + 1)};
  composite->first_fields = composite->fields.size();
  return composite;
}

TEST(TranslateBinaryTest, ValuesWithoutUserOidsStayAsTheyAre) {
  const auto mood = Make(TypeInfo::Kind::kEnum, kHere);
  EXPECT_EQ(*TranslateBinary(*mood, "ok"), "ok");
  const auto ints = ArrayOf(Make(TypeInfo::Kind::kPlain, builtin::kInt4), 1007);
  EXPECT_FALSE(ints->carries_user_oids());
  EXPECT_EQ(*TranslateBinary(*ints, "anything"), "anything");
}

TEST(TranslateBinaryTest, NestedOidsBecomeOurs) {
  const auto composites = ArrayOf(CompositeHere(), kHere + 3);
  EXPECT_TRUE(composites->carries_user_oids());
  const std::string there =
      ArrayValue(kThere + 2, {Part(CompositeValue(kThere)), Int(-1), Part(CompositeValue(kThere))});
  const std::string here =
      ArrayValue(kHere + 2, {Part(CompositeValue(kHere)), Int(-1), Part(CompositeValue(kHere))});
  EXPECT_EQ(*TranslateBinary(*composites, there), here);
}

TEST(TranslateBinaryTest, RangesOfCompositesAreEnteredByTheirFlags) {
  auto range = Make(TypeInfo::Kind::kRange, kHere + 5);
  range->element = CompositeHere();
  auto multirange = Make(TypeInfo::Kind::kMultirange, kHere + 6);
  multirange->element = range;
  const auto value = [](uint32_t base) {
    return std::string("\x02", 1) + Part(CompositeValue(base)) + Part(CompositeValue(base));
  };
  EXPECT_EQ(*TranslateBinary(*range, value(kThere)), value(kHere));
  const std::string upper_infinite = std::string("\x12", 1) + Part(CompositeValue(kThere));
  EXPECT_OK(TranslateBinary(*range, upper_infinite));
  EXPECT_EQ(*TranslateBinary(*range, "\x01"), "\x01");  // empty
  EXPECT_EQ(*TranslateBinary(*multirange, Int(2) + Part("\x01") + Part(value(kThere))),
            Int(2) + Part("\x01") + Part(value(kHere)));
}

TEST(TranslateBinaryTest, EveryCutAndEveryExtraByteIsRefused) {
  const auto composites = ArrayOf(CompositeHere(), kHere + 3);
  const std::string value = ArrayValue(kThere + 2, {Part(CompositeValue(kThere)), Int(-1)});
  ASSERT_OK(TranslateBinary(*composites, value));
  for (size_t size = 0; size < value.size(); ++size) {
    const std::vector<char> cut(value.begin(), value.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_EQ(TranslateBinary(*composites, {cut.data(), cut.size()}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
  EXPECT_FALSE(TranslateBinary(*composites, value + "x").ok());
}

TEST(TranslateBinaryTest, OtherStructureIsRefused) {
  const auto composite = CompositeHere();
  std::string other = CompositeValue(kThere);
  other.replace(4, 4, Int(20));  // int8 where we have int4
  EXPECT_FALSE(TranslateBinary(*composite, other).ok());
  const auto array = ArrayOf(composite, kHere + 3);
  const std::string header = Int(6) + Int(0) + Int(kThere);
  std::string huge = header;
  for (int i = 0; i < 6; ++i) huge += Int(0x7FFFFFFF) + Int(1);
  EXPECT_FALSE(TranslateBinary(*array, huge).ok());
  EXPECT_FALSE(TranslateBinary(*array, Int(7) + Int(0) + Int(kThere)).ok());
  EXPECT_FALSE(TranslateBinary(*array, Int(-1) + Int(0) + Int(kThere)).ok());
  EXPECT_OK(TranslateBinary(*array, Int(0) + Int(0) + Int(kThere)));
}

// A value from before its type got another attribute, also deep inside of others.
TEST(TranslateBinaryTest, AttributesThatWereAddedSinceAreNull) {
  auto grown = CompositeHere();
  grown->fields.push_back(Make(TypeInfo::Kind::kEnum, kHere));
  grown->first_fields = 3;
  auto range = Make(TypeInfo::Kind::kRange, kHere + 5);
  range->element = ArrayOf(grown, kHere + 3);
  const auto value = [](uint32_t base, const std::string& composite) {
    return std::string("\x12", 1) + Part(ArrayValue(base + 2, {Part(composite), Int(-1)}));
  };
  std::string here = CompositeValue(kHere);
  here.replace(0, 4, Int(4));
  here += Int(kHere) + Int(-1);
  EXPECT_EQ(*TranslateBinary(*range, value(kThere, CompositeValue(kThere))), value(kHere, here));
  // As it is where all have it.
  EXPECT_EQ(*TranslateBinary(*range, value(kHere, here)), value(kHere, here));
  // One that the type always had, and one that is not known here.
  grown->first_fields = 4;
  EXPECT_EQ(TranslateBinary(*grown, CompositeValue(kThere)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(TranslateBinary(*CompositeHere(), here).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(TranslateBinaryTest, DamagedValuesNeverReadPastTheEnd) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto composites = ArrayOf(CompositeHere(), kHere + 3);
  const std::string good = ArrayValue(kThere + 2, {Part(CompositeValue(kThere)), Int(-1)});
  for (int round = 0; round < 20000; ++round) {
    std::vector<char> bytes(good.begin(), good.end());
    for (int damage = 0; damage < 2; ++damage) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto result = TranslateBinary(*composites, {bytes.data(), bytes.size()});
    EXPECT_TRUE(!result.ok() || result->size() == bytes.size());
  }
}

}  // namespace
}  // namespace bdr::postgres
