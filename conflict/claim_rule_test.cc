#include "conflict/claim_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace bdr::conflict {
namespace {

// Few keys, times and nodes, so that keys claim twice and stamps are equal, at every size of case.
std::vector<Claim> ArbitraryClaims() {
  return *rc::gen::resize(rc::kNominalSize,
                          rc::gen::container<std::vector<Claim>>(rc::gen::apply(
                              [](char key, int64_t time, NodeId node) {
                                return Claim{.stamp = {.time_us = time, .node = node},
                                             .key = std::string(1, key)};
                              },
                              rc::gen::element('a', 'b', 'c', 'd'), rc::gen::inRange<int64_t>(1, 8),
                              rc::gen::element<NodeId>(1, 2))));
}

Claimants Fold(const std::vector<Claim>& claims) {
  Claimants all;
  for (const Claim& claim : claims) all = Merge(all, ClaimOf(claim.key, claim.stamp));
  return all;
}

// The full list of claims and the rule's own words: what the two kept claims must answer for.
bool EverClaimedLater(const std::vector<Claim>& claims, const std::string& key, Stamp stamp) {
  for (const Claim& claim : claims) {
    if (claim.key != key && claim.stamp > stamp) return true;
  }
  return false;
}

RC_GTEST_PROP(ClaimRuleTest, TwoClaimsAnswerAsTheFullListDoes, ()) {
  const std::vector<Claim> claims = ArbitraryClaims();
  const Claimants kept = Fold(claims);
  for (const char* key : {"a", "b", "c", "d", "e"}) {
    for (int64_t time = 0; time <= 8; ++time) {
      for (const NodeId node : {1, 2}) {
        const Stamp stamp{.time_us = time, .node = static_cast<NodeId>(node)};
        RC_ASSERT(ClaimedLater(kept, key, stamp) == EverClaimedLater(claims, key, stamp));
      }
    }
  }
}

RC_GTEST_PROP(ClaimRuleTest, MergeIsAssociativeCommutativeAndIdempotent, ()) {
  const Claimants a = Fold(ArbitraryClaims());
  const Claimants b = Fold(ArbitraryClaims());
  const Claimants c = Fold(ArbitraryClaims());
  RC_ASSERT(Merge(a, b) == Merge(b, a));
  RC_ASSERT(Merge(a, Merge(b, c)) == Merge(Merge(a, b), c));
  RC_ASSERT(Merge(a, a) == a);
  RC_ASSERT(Merge(Merge(a, b), b) == Merge(a, b));
  RC_ASSERT(Merge(a, Claimants{}) == a);
}

RC_GTEST_PROP(ClaimRuleTest, ClaimantsComeBackAsTheyWereEncoded, ()) {
  const Claimants claimants = Fold(ArbitraryClaims());
  RC_ASSERT(DecodeClaimants(Encode(claimants)) == claimants);
}

RC_GTEST_PROP(ClaimRuleTest, BytesThatAreNoClaimantsAreRefusedOrComeBackAlike, ()) {
  std::string bytes = Encode(Fold(ArbitraryClaims()));
  if (bytes.empty()) return;
  const size_t place = *rc::gen::inRange<size_t>(0, bytes.size());
  switch (*rc::gen::inRange(0, 3)) {
    case 0:
      bytes[place] = *rc::gen::arbitrary<char>();
      break;
    case 1:
      bytes.resize(place);
      break;
    default:
      bytes.push_back(*rc::gen::arbitrary<char>());
      break;
  }
  const std::optional<Claimants> decoded = DecodeClaimants(bytes);
  if (decoded.has_value()) RC_ASSERT(Encode(*decoded) == bytes);
}

constexpr Stamp kEarly{.time_us = 5, .node = 1};
constexpr Stamp kLate{.time_us = 7, .node = 1};

TEST(ClaimRuleTest, AKeyDoesNotStandInItsOwnWay) {
  const Claimants claimants = ClaimOf("a", kLate);
  EXPECT_FALSE(ClaimedLater(claimants, "a", kEarly));
  EXPECT_TRUE(ClaimedLater(claimants, "b", kEarly));
}

// a claims, b claims later and a once more: b must still be found by a's older version.
TEST(ClaimRuleTest, TheSecondNewestIsFoundBehindTheKeysOwnClaim) {
  const Stamp last{.time_us = 9, .node = 1};
  const Claimants claimants =
      Merge(Merge(ClaimOf("a", kEarly), ClaimOf("b", kLate)), ClaimOf("a", last));
  ASSERT_TRUE(claimants.second.has_value());
  EXPECT_TRUE(ClaimedLater(claimants, "a", kEarly));
  EXPECT_EQ(LaterClaim(claimants, "a", kEarly)->key, "b");
  EXPECT_TRUE(ClaimedLater(claimants, "b", kLate));
  EXPECT_FALSE(ClaimedLater(claimants, "a", last));
}

// One transaction that gives a value from row to row.
TEST(ClaimRuleTest, EqualStampsAreNotLater) {
  const Claimants claimants = Merge(ClaimOf("a", kLate), ClaimOf("b", kLate));
  EXPECT_FALSE(ClaimedLater(claimants, "a", kLate));
  EXPECT_FALSE(ClaimedLater(claimants, "b", kLate));
}

TEST(ClaimRuleTest, EqualTimesFallToTheHigherNode) {
  const Stamp other{.time_us = kLate.time_us, .node = 2};
  const Claimants claimants = Merge(ClaimOf("a", kLate), ClaimOf("b", other));
  EXPECT_TRUE(ClaimedLater(claimants, "a", kLate));
  EXPECT_FALSE(ClaimedLater(claimants, "b", other));
}

TEST(ClaimRuleTest, NobodyHasClaimedAnUnknownValue) {
  EXPECT_FALSE(ClaimedLater(Claimants{}, "a", kNever));
  EXPECT_EQ(Encode(Claimants{}), "");
}

// What is on disk must be read by every later release.
TEST(ClaimRuleTest, TheStoredFormIsFixed) {
  const Claimants claimants = Merge(ClaimOf("k", kEarly), ClaimOf("xy", kLate));
  const std::string expected("\0\0\0\0\0\0\0\7\0\1\0\0\0\2xy\0\0\0\0\0\0\0\5\0\1\0\0\0\1k", 31);
  EXPECT_EQ(Encode(claimants), expected);
}

}  // namespace
}  // namespace bdr::conflict
