// What a server that has lost its folder, or has an older one, makes of what the agents know.
#include "server/rebuild.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"

namespace bdr::server {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr char kId[] = "id-1";

ClusterState Added(ClusterState state, const std::string& name) {
  const std::string address = absl::StrCat("h:", state.members.size() + 1);
  return *AddNode(std::move(state), {.name = name, .address = address, .no_copy = true});
}

ClusterState Joined(ClusterState state, const std::string& name) {
  return *ApplyReport(std::move(state), {.name = name,
                                         .cluster_id = kId,
                                         .incarnation = 1,
                                         .data_dir_id = absl::StrCat("dir-", name),
                                         .captures = true});
}

// Nodes a and b, which have joined, and a policy that is in force.
ClusterState Shop() {
  ClusterState state = *InitCluster({}, "shop", kId);
  state = Joined(Added(std::move(state), "a"), "a");
  state = Joined(Added(std::move(state), "b"), "b");
  state = *SetSetting(std::move(state), "policy/public.t", "delta");
  for (const char* node : {"a", "b"}) {
    state =
        *ApplyReport(std::move(state), {.name = node, .settings_ready = 1, .settings_active = 1});
  }
  return state;
}

Witness Of(const std::string& node, const ClusterState& known) {
  const ClusterMember* self = known.Find(node);
  return {.node = node,
          .node_id = self == nullptr ? NodeId{0} : self->id,
          .data_dir_id = absl::StrCat("dir-", node),
          .cluster_id = known.id,
          .known_epoch = known.epoch,
          .known = known};
}

TEST(RebuildTest, AllThatTheNewestKnowsComesBackAboveWhatAnybodyMayKnow) {
  const ClusterState before = Shop();
  ClusterState newer = *SetNodeAddress(before, "a", "elsewhere:1");
  ASSERT_OK_AND_ASSIGN(const ClusterState rebuilt,
                       RebuildCluster({}, {.heard = {Of("a", before), Of("b", newer)}}));
  EXPECT_EQ(rebuilt.epoch, newer.epoch + kRebuiltAbove);
  EXPECT_EQ(rebuilt.settings_version, newer.settings_version + kRebuiltAbove);
  newer.epoch = rebuilt.epoch;
  newer.settings_version = rebuilt.settings_version;
  EXPECT_EQ(rebuilt, newer);
  EXPECT_EQ(rebuilt.settings_active, 1u);
  // Whoever knows the lost state goes on with this one.
  EXPECT_OK(ApplyReport(rebuilt, {.name = "a",
                                  .cluster_id = kId,
                                  .incarnation = 1,
                                  .data_dir_id = "dir-a",
                                  .node_id = 1,
                                  .known_epoch = before.epoch,
                                  .captures = true}));
}

TEST(RebuildTest, IdsThatWereGivenOutAreNotGivenAgain) {
  ClusterState before = Added(Shop(), "typo");
  before = *RemoveNode(std::move(before), "typo", 7);
  ASSERT_OK_AND_ASSIGN(ClusterState rebuilt,
                       RebuildCluster({}, {.heard = {Of("a", before), Of("b", before)}}));
  EXPECT_EQ(Added(rebuilt, "c").Find("c")->id, 4);
  // An agent that knows its own id alone, and memberships of before they told the last id.
  ClusterState older = before;
  older.last_node_id = 0;
  ASSERT_OK_AND_ASSIGN(rebuilt, RebuildCluster({}, {.heard = {Of("a", older), Of("b", older)}}));
  EXPECT_EQ(rebuilt.last_node_id, 3);
}

TEST(RebuildTest, AHalfHeardClusterIsNotRebuiltInSilence) {
  const ClusterState before = Added(Shop(), "never-started");
  const auto refused = RebuildCluster({}, {.heard = {Of("a", before)}});
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("no agent of \"b\" has reported"));
  ASSERT_OK_AND_ASSIGN(const ClusterState rebuilt,
                       RebuildCluster({}, {.nodes = {"a"}, .heard = {Of("a", before)}}));
  // Those that nobody reports for are kept.
  EXPECT_EQ(rebuilt.members.size(), 3u);
  EXPECT_EQ(rebuilt.Find("b")->data_dir_id, "dir-b");
  EXPECT_EQ(RebuildCluster({}, {.nodes = {"x"}, .heard = {Of("a", before)}}).status().code(),
            StatusCode::kNotFound);
  EXPECT_EQ(RebuildCluster({}, {}).status().code(), StatusCode::kFailedPrecondition);
}

// It may have joined since the newest state that is known, and others have its changes then.
TEST(RebuildTest, AMemberThatHasHadAnAgentIsNotRemovedAfterwards) {
  ClusterState before = Added(Shop(), "c");
  before = *ApplyReport(std::move(before), {.name = "c", .incarnation = 1});
  ASSERT_OK(RemoveNode(before, "c", 1));
  ASSERT_OK_AND_ASSIGN(
      const ClusterState rebuilt,
      RebuildCluster({}, {.nodes = {"a", "b"}, .heard = {Of("a", before), Of("b", before)}}));
  EXPECT_EQ(RemoveNode(rebuilt, "c", 1).status().code(), StatusCode::kFailedPrecondition);
}

TEST(RebuildTest, ContradictionsAreRefused) {
  const ClusterState before = Shop();
  const auto refused = [&](const ClusterState& other, const std::string& about) {
    const auto rebuilt = RebuildCluster({}, {.heard = {Of("a", before), Of("b", other)}});
    EXPECT_EQ(rebuilt.status().code(), StatusCode::kFailedPrecondition) << about;
    EXPECT_THAT(rebuilt.status().message(), HasSubstr(about));
  };
  ClusterState other = before;
  other.id = "id-2";
  refused(other, "belongs to cluster");
  other = before;
  other.settings[0].value = "first_update_wins";
  refused(other, "setting \"policy/public.t\"");
  other = before;
  other.members[0].address = "elsewhere:1";  // of the same epoch
  refused(other, "node 1 (\"a\"");
  other = Added(before, "c");
  std::swap(other.members[0].name, other.members[1].name);
  refused(other, "node 1 (\"a\", \"b\")");
  other = Added(before, "c");
  other.members[0].incarnation = 0;
  refused(other, "incarnation");
  other = Added(before, "c");
  other.members[0].data_dir_id = "dir-z";
  refused(other, "data_dir");
  // Each of two histories has what the other lacks.
  const ClusterState without = *SetNodeAddress(before, "a", "h:9");
  const auto lost = RebuildCluster(
      {}, {.heard = {Of("a", *SetNodeAddress(without, "a", "h:8")), Of("b", Added(before, "c"))}});
  EXPECT_THAT(lost.status().message(), HasSubstr("node 3 (\"c\")"));
}

TEST(RebuildTest, AnAgentWithAnotherNodesFolderIsRefused) {
  const ClusterState before = Shop();
  Witness clone = Of("b", before);
  clone.data_dir_id = "dir-clone";
  EXPECT_THAT(RebuildCluster({}, {.heard = {Of("a", before), clone}}).status().message(),
              HasSubstr("dir-clone"));
  clone = Of("b", before);
  clone.node = "renamed";
  EXPECT_THAT(
      RebuildCluster({}, {.nodes = {"a"}, .heard = {Of("a", before), clone}}).status().message(),
      HasSubstr("agent of node \"renamed\" has id 2"));
}

TEST(RebuildTest, WhoIsHeardKeepsAnEmptyServerFromBeginningAnotherCluster) {
  EXPECT_OK(CheckNoneBelongs({}));
  EXPECT_OK(CheckNoneBelongs({{.node = "fresh"}}));
  const absl::Status refused = CheckNoneBelongs({{.node = "fresh"}, Of("a", Shop())});
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("cluster \"shop\" (id-1)"));
  EXPECT_THAT(refused.message(), HasSubstr("\"a\""));
  EXPECT_THAT(refused.message(), HasSubstr("--from-agents"));
}

TEST(RebuildTest, AClusterThatNobodyJoinedGivesWayToThatOfTheAgents) {
  const ClusterState before = Shop();
  const RebuildRequest request{.heard = {Of("a", before), Of("b", before)}};
  const ClusterState begun = Added(*InitCluster({}, "shop", "id-2"), "b");
  ASSERT_OK_AND_ASSIGN(const ClusterState rebuilt, RebuildCluster(begun, request));
  EXPECT_EQ(rebuilt.id, kId);
  EXPECT_EQ(rebuilt.Find("b")->id, 2);
  // One that has been joined does not.
  ClusterState joined = begun;
  joined.members[0].incarnation = 1;
  EXPECT_EQ(RebuildCluster(joined, request).status().code(), StatusCode::kOk);
  EXPECT_EQ(*RebuildCluster(joined, request), joined);
  RebuildRequest named = request;
  named.name = "other";
  EXPECT_EQ(RebuildCluster({}, named).status().code(), StatusCode::kAlreadyExists);
}

TEST(RebuildTest, AnOlderServerCatchesUpOnceAndStaysThen) {
  const ClusterState older = Shop();
  const ClusterState newer = Added(older, "c");
  const RebuildRequest request{.heard = {Of("a", newer), Of("b", older)}};
  ASSERT_OK_AND_ASSIGN(const ClusterState rebuilt, RebuildCluster(older, request));
  EXPECT_EQ(rebuilt.Find("c")->id, 3);
  EXPECT_EQ(*RebuildCluster(rebuilt, request), rebuilt);
}

TEST(RebuildTest, ARestoredStateIsInForceOnceAllWereHeardAndNoneKnowsMore) {
  ClusterState restored = Shop();
  const ClusterState before = restored;
  restored.restored = true;
  EXPECT_EQ(AddNode(restored, {.name = "c", .address = "h:3", .no_copy = true}).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(RemoveNode(restored, "a", 1).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(SetSetting(restored, "policy/public.t", "").status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(ApplyReport(restored, {.name = "a"}).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(InitCluster(restored, "shop", "x").status().code(), StatusCode::kFailedPrecondition);

  EXPECT_THAT(ConfirmRestored(restored, {Of("a", before)}).status().message(),
              HasSubstr("no agent of \"b\""));
  const ClusterState newer = Added(before, "c");
  EXPECT_THAT(ConfirmRestored(restored, {Of("a", before), Of("b", newer)}).status().message(),
              HasSubstr("node \"b\" knows epoch"));
  ASSERT_OK_AND_ASSIGN(const ClusterState taken,
                       RebuildCluster(restored, {.heard = {Of("a", before), Of("b", newer)}}));
  EXPECT_EQ(taken.Find("c")->id, 3);
  EXPECT_FALSE(taken.restored);

  ASSERT_OK_AND_ASSIGN(const ClusterState confirmed,
                       ConfirmRestored(restored, {Of("a", before), Of("b", before)}));
  EXPECT_FALSE(confirmed.restored);
  EXPECT_EQ(confirmed.epoch, before.epoch + kRebuiltAbove);
  EXPECT_EQ(confirmed.members, before.members);
}

// The first report after an answer tells the epoch alone.
TEST(RebuildTest, WhoHasNotToldWhatItKnowsIsWaitedFor) {
  const ClusterState older = Shop();
  const ClusterState newer = Added(older, "c");
  Witness silent = Of("b", newer);
  silent.known = {};
  EXPECT_EQ(RebuildCluster({}, {.heard = {Of("a", older), silent}}).status().code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(RebuildCluster(older, {.heard = {silent}}).status().code(), StatusCode::kUnavailable);
  silent.known_epoch = older.epoch;
  EXPECT_THAT(RebuildCluster({}, {.heard = {Of("a", older), silent}}).status().message(),
              HasSubstr("no agent of \"b\""));
  // To an answer that it was given there is nothing to add.
  EXPECT_OK(RebuildCluster(older, {.heard = {Of("a", newer), silent}}));
}

// Rebuilt from too few: who knows more must not be led away from it.
TEST(RebuildTest, WhoKnowsWhatARebuiltServerLacksIsNotFollowedByIt) {
  const ClusterState older = Shop();
  const ClusterState newer = Joined(Added(older, "c"), "c");
  ASSERT_OK_AND_ASSIGN(const ClusterState rebuilt,
                       RebuildCluster({}, {.nodes = {"a"}, .heard = {Of("a", older)}}));
  EXPECT_OK(CheckKnown(rebuilt, Of("a", older)));
  EXPECT_THAT(CheckKnown(rebuilt, Of("b", newer)).message(), HasSubstr("node 3 (\"c\")"));
  EXPECT_OK(CheckKnown(newer, Of("a", older)));
}

}  // namespace
}  // namespace bdr::server
