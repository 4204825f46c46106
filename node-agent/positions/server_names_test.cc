#include "node-agent/positions/server_names.h"

#include <gtest/gtest.h>

namespace bdr::agent {
namespace {

constexpr OriginId kOrigin = {.node = 7, .incarnation = 2};

TEST(ServerNamesTest, NamesTellClustersAndNodesApart) {
  const ServerNames names = ServerNames::Of("5f0c12ab77777777", 3, "eu-1");
  EXPECT_EQ(names.slot(), "bdr_5f0c12ab_3_eu_1");
  EXPECT_EQ(names.Origin(kOrigin), "bdr_5f0c12ab_3_7_2");
  EXPECT_EQ(names.RepairOrigin(), "bdr_5f0c12ab_3_repair");
  EXPECT_EQ(names.Parse("bdr_5f0c12ab_3_7_2"), kOrigin);
  for (const char* other : {"bdr_5f0c12ab_4_7_2", "bdr_60000000_3_7_2", "bdr_7_2", "pg_16400",
                            "bdr_5f0c12ab_3_repair", "bdr_5f0c12ab_3_0_2", "bdr_5f0c12ab_3_1024_2",
                            "bdr_5f0c12ab_3_7_x", "bdr_5f0c12ab_3_7_2_1", "bdr_5f0c12ab_3_7"}) {
    EXPECT_EQ(names.Parse(other), std::nullopt) << other;
  }
}

TEST(ServerNamesTest, ALongNameOfANodeIsNotTooLongForItsSlot) {
  const std::string longest(63, 'a');
  const ServerNames names = ServerNames::Of("5f0c12ab77777777", 1023, longest);
  EXPECT_EQ(names.slot().size(), 63);
  EXPECT_NE(names.slot(), ServerNames::Of("5f0c12ab77777777", 1022, longest).slot());
}

TEST(ServerNamesTest, AnOlderFolderKeepsItsNames) {
  const ServerNames names = ServerNames::Older("eu-1");
  EXPECT_EQ(names.slot(), "bdr_eu_1");
  EXPECT_EQ(names.Origin(kOrigin), "bdr_7_2");
  EXPECT_EQ(names.RepairOrigin(), "bdr_repair");
  EXPECT_EQ(names.Parse("bdr_7_2"), kOrigin);
  EXPECT_EQ(names.Parse("bdr_5f0c12ab_3_7_2"), std::nullopt);
}

}  // namespace
}  // namespace bdr::agent
