#include "node-agent/cluster/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

using conflict::PolicyKind;

std::string Policy(const std::string& name) {
  v1::TablePolicy policy;
  policy.set_policy(name);
  policy.add_columns("amount");
  policy.add_priority(2);
  policy.set_function("public.mix");
  return policy.SerializeAsString();
}

Membership With(std::vector<Setting> settings, uint64_t active) {
  Membership membership{.cluster_id = "c", .epoch = 1};
  membership.settings_version = settings.size();
  membership.settings_active = active;
  membership.settings = std::move(settings);
  return membership;
}

TEST(SettingsTest, AChangeIsMergedByThePolicyOfItsOwnVersion) {
  Settings settings;
  settings.Take(With({{"policy/public.t", Policy("delta"), 1},
                      {"policy/public.u", Policy("custom"), 2},
                      {"policy/public.t", "", 3}},
                     2),
                0);
  const auto policies = settings.Policies("public", "t");
  ASSERT_NE(policies, nullptr);
  EXPECT_EQ(policies->At(0).kind, PolicyKind::kLastUpdateWins);
  EXPECT_EQ(policies->At(1).kind, PolicyKind::kDelta);
  EXPECT_EQ(policies->At(2).kind, PolicyKind::kDelta);
  EXPECT_EQ(policies->At(2).columns, std::vector<std::string>{"amount"});
  EXPECT_EQ(policies->At(3).kind, PolicyKind::kLastUpdateWins);
  EXPECT_FALSE(policies->Folds(0));
  EXPECT_TRUE(policies->Folds(3));  // rows of other nodes may still have been made under delta
  EXPECT_EQ(settings.Policies("public", "v"), nullptr);
  EXPECT_EQ(settings.active(), 2u);
  EXPECT_EQ(settings.Value("policy/public.t", 2), Policy("delta"));
  EXPECT_EQ(settings.Value("policy/public.t", 3), "");
}

TEST(SettingsTest, IsReadyOnceAllThatCameBeforeIsStable) {
  Settings settings;
  settings.Take(With({{"policy/public.t", Policy("delta"), 1}}, 0), /*unstable_until_us=*/500);
  EXPECT_EQ(settings.Ready(500), 0u);
  EXPECT_EQ(settings.Ready(501), 1u);
  EXPECT_EQ(settings.active(), 0u);
  settings.Take(With({{"policy/public.t", Policy("delta"), 1}}, 1), 900);
  EXPECT_EQ(settings.active(), 1u);
  EXPECT_EQ(settings.Ready(501), 1u);
}

TEST(SettingsTest, WhatIsInForceIsNeverTakenBack) {
  Settings settings;
  settings.Take(With({{"policy/public.t", Policy("delta"), 1}}, 0), 0);
  const uint64_t before = settings.generation();
  settings.RaiseActive(1);
  EXPECT_NE(settings.generation(), before);
  settings.Take(With({{"policy/public.t", Policy("delta"), 1}}, 0), 0);
  EXPECT_EQ(settings.active(), 1u);
  settings.Take(With({}, 0), 0);  // older
  EXPECT_NE(settings.Policies("public", "t"), nullptr);
}

std::string ColumnDropped() {
  v1::TableChange change;
  change.set_kind("column-dropped");
  change.set_schema("public");
  change.set_table("t");
  change.set_column("c");
  return change.SerializeAsString();
}

TEST(SettingsTest, WhatIsSaidOfTablesCountsAtOnceAndIsReadyForOnceItIsDoneHere) {
  Settings settings;
  settings.Take(With({{"policy/public.u", Policy("delta"), 1},
                      {"table_change/a", ColumnDropped(), 2},
                      {"policy/public.v", Policy("delta"), 3}},
                     0),
                100);
  ASSERT_EQ(settings.TableChanges()->size(), 1u);
  EXPECT_EQ(settings.Ready(500), 1u);
  ASSERT_EQ(settings.NotDone().size(), 1u);
  settings.MarkDone(2, 600);
  EXPECT_THAT(settings.NotDone(), ::testing::IsEmpty());
  EXPECT_EQ(settings.Ready(600), 1u);
  EXPECT_EQ(settings.Ready(601), 3u);
}

TEST(SettingsTest, WhatIsTakenBackIsWaitedForNoMore) {
  Settings settings;
  settings.Take(With({{"table_change/a", ColumnDropped(), 1}}, 0), 100);
  EXPECT_EQ(settings.Ready(500), 0u);
  settings.Take(With({{"table_change/a", ColumnDropped(), 1}, {"table_change/a", "", 2}}, 0), 100);
  EXPECT_THAT(*settings.TableChanges(), ::testing::IsEmpty());
  EXPECT_EQ(settings.Ready(500), 2u);
}

TEST(SettingsTest, WhatIsInForceWasDone) {
  Settings settings;
  settings.Take(With({{"table_change/a", ColumnDropped(), 1}}, 1), 100);
  EXPECT_THAT(settings.NotDone(), ::testing::IsEmpty());
  EXPECT_EQ(settings.Ready(101), 1u);
}

TEST(SettingsTest, AnUnknownPolicyNeverComesIntoForce) {
  Settings settings;
  settings.Take(With({{"policy/public.t", Policy("delta"), 1},
                      {"policy/public.u", Policy("from_the_future"), 2}},
                     1),
                0);
  EXPECT_EQ(settings.taken(), 1u);
  EXPECT_EQ(settings.Ready(1), 1u);
  EXPECT_EQ(ParseTablePolicy(Policy("from_the_future")).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace bdr::agent
