// From when on a unique constraint counts, whatever node makes it first or last.
#include "node-agent/schema/unsettled.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/testing.h"
#include "bdr/v1/schema.pb.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

v1::Schema Schema(const std::vector<std::string>& meanings) {
  v1::Schema schema;
  v1::TableShape* table = schema.add_tables();
  table->set_schema("public");
  table->set_name("t");
  table->set_published(true);
  for (const std::string& meaning : meanings) table->add_unique()->set_meaning(meaning);
  return schema;
}

const std::tuple<std::string, std::string, std::string> kKey("public", "t", "UNIQUE (v)");

class UnsettledTest : public ::testing::Test {
 protected:
  // What is known once n2 and n3 are known with these, read at 20 and 30, and this node at 10.
  UnsettledConstraints See(const UnsettledConstraints& before, const v1::Schema* own_before,
                           const v1::Schema& own, const v1::Schema* n2, const v1::Schema* n3) {
    std::vector<KnownSchema> others;
    if (n2 != nullptr) others.push_back({.node = "n2", .schema = n2, .read_us = 20});
    if (n3 != nullptr) others.push_back({.node = "n3", .schema = n3, .read_us = 30});
    return Settle(before, own_before, {.node = "n1", .schema = &own, .read_us = 10}, others,
                  others.size() == 2);
  }

  const v1::Schema with_ = Schema({"UNIQUE (v)"});
  const v1::Schema without_ = Schema({});
  const v1::Schema empty_;
};

TEST_F(UnsettledTest, WhatAllHaveFromTheBeginningCounts) {
  EXPECT_THAT(See({}, nullptr, with_, &with_, &with_), IsEmpty());
  EXPECT_THAT(See({}, &empty_, with_, &with_, &with_), IsEmpty()) << "a new table";
}

TEST_F(UnsettledTest, ANodeThatIsNotKnownOrHasNoSuchTableIsNoReason) {
  EXPECT_THAT(See({}, nullptr, with_, nullptr, nullptr), IsEmpty());
  EXPECT_THAT(See({}, nullptr, with_, &empty_, nullptr), IsEmpty());
  EXPECT_THAT(See({}, &without_, with_, &empty_, &empty_), IsEmpty());
}

TEST_F(UnsettledTest, WhatOneNodeLacksDoesNotCountUntilAllWereSeenWithIt) {
  UnsettledConstraints known = See({}, nullptr, with_, &with_, &without_);
  EXPECT_THAT(known, ElementsAre(Pair(kKey, Unsettled{.lacked_by = "n3", .until_us = 10})));
  // Nothing was heard since the agent began again.
  EXPECT_EQ(See(known, nullptr, with_, &with_, nullptr), known);
  known = See(known, &with_, with_, &with_, &with_);
  EXPECT_THAT(known, ElementsAre(Pair(kKey, Unsettled{.until_us = 30})));
  EXPECT_EQ(See(known, &with_, with_, &with_, &with_), known);
  EXPECT_THAT(See(known, &with_, with_, &without_, &with_),
              ElementsAre(Pair(kKey, Unsettled{.lacked_by = "n2", .until_us = 30})));
}

// It reads its tables anew, and later than they became what they are.
TEST_F(UnsettledTest, AnAgentThatBeginsAgainTakesNoLaterMoment) {
  const UnsettledConstraints known = See({}, nullptr, with_, &with_, &without_);
  const std::vector<KnownSchema> others = {{.node = "n2", .schema = &with_, .read_us = 20},
                                           {.node = "n3", .schema = &with_, .read_us = 30}};
  const KnownSchema own{.node = "n1", .schema = &with_, .read_us = 90};
  EXPECT_THAT(Settle(known, &with_, own, others, true),
              ElementsAre(Pair(kKey, Unsettled{.until_us = 30})));
  // Of what an older agent has written down that moment is not known.
  EXPECT_THAT(Settle({{kKey, {.lacked_by = "n3"}}}, &with_, own, others, true),
              ElementsAre(Pair(kKey, Unsettled{.until_us = 90})));
}

TEST_F(UnsettledTest, TheLastOneToMakeItCountsFromThere) {
  EXPECT_THAT(See({}, &without_, with_, &with_, &with_),
              ElementsAre(Pair(kKey, Unsettled{.until_us = 10})));
}

TEST_F(UnsettledTest, WhatIsDroppedHereIsForgotten) {
  const UnsettledConstraints known = See({}, nullptr, with_, &without_, &with_);
  EXPECT_THAT(See(known, &with_, without_, &without_, &with_), IsEmpty());
}

TEST_F(UnsettledTest, ComesBackFromItsBytes) {
  const UnsettledConstraints known = {{kKey, {.lacked_by = "n2", .until_us = 7}}};
  ASSERT_OK_AND_ASSIGN(const UnsettledConstraints back, ParseUnsettled(Serialize(known)));
  EXPECT_EQ(back, known);
  EXPECT_TRUE(absl::IsDataLoss(ParseUnsettled("nonsense").status()));
}

}  // namespace
}  // namespace bdr::agent
