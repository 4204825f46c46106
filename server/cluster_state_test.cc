// Every change to the members, and that each may be repeated.
#include "server/cluster_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"

namespace bdr::server {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

ClusterState Initialised() { return *InitCluster({}, "shop", "id-1"); }
ClusterState With(ClusterState state, const std::string& name, const std::string& address) {
  return *AddNode(std::move(state), {.name = name, .address = address, .no_copy = true});
}

TEST(ClusterStateTest, InitialisingTwiceKeepsTheFirstIdentity) {
  const ClusterState state = Initialised();
  EXPECT_EQ(state.epoch, 1u);
  ASSERT_OK_AND_ASSIGN(const ClusterState again, InitCluster(state, "shop", "id-2"));
  EXPECT_EQ(again, state);
  EXPECT_EQ(InitCluster(state, "other", "id-2").status().code(), StatusCode::kAlreadyExists);
}

TEST(ClusterStateTest, NamesAreCheckedBeforeTheyAreKept) {
  for (const char* name : {"", "Eu", "1a", "-a", "a_b", "a b", "ä"}) {
    EXPECT_EQ(InitCluster({}, name, "id").status().code(), StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(
        AddNode(Initialised(), {.name = name, .address = "h:1", .no_copy = true}).status().code(),
        StatusCode::kInvalidArgument)
        << name;
  }
  EXPECT_OK(CheckName("node", std::string(63, 'a')));
  EXPECT_FALSE(CheckName("node", std::string(64, 'a')).ok());
}

TEST(ClusterStateTest, NodesGetRisingIdsAndEachChangeAnEpoch) {
  const ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  EXPECT_EQ(state.Find("a")->id, 1);
  EXPECT_EQ(state.Find("b")->id, 2);
  EXPECT_FALSE(state.Find("a")->active);
  EXPECT_EQ(state.epoch, 3u);
}

TEST(ClusterStateTest, AddingTheSameNodeAgainChangesNothing) {
  const ClusterState state = With(Initialised(), "a", "h:1");
  EXPECT_EQ(With(state, "a", "h:1"), state);
}

TEST(ClusterStateTest, NamesAndAddressesAreTakenOnce) {
  const ClusterState state = With(Initialised(), "a", "h:1");
  EXPECT_EQ(AddNode(state, {.name = "a", .address = "h:2", .no_copy = true}).status().code(),
            StatusCode::kAlreadyExists);
  EXPECT_EQ(AddNode(state, {.name = "b", .address = "h:1", .no_copy = true}).status().code(),
            StatusCode::kAlreadyExists);
}

TEST(ClusterStateTest, AnIdIsNeverGivenTwice) {
  ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  state.members.pop_back();
  EXPECT_EQ(With(state, "c", "h:3").Find("c")->id, 3);
}

TEST(ClusterStateTest, TheLastIdIs1023) {
  ClusterState state = Initialised();
  state.last_node_id = 1022;
  state = With(state, "last", "h:1");
  EXPECT_EQ(state.Find("last")->id, 1023);
  EXPECT_EQ(AddNode(state, {.name = "more", .address = "h:2", .no_copy = true}).status().code(),
            StatusCode::kResourceExhausted);
}

TEST(ClusterStateTest, RefusesWhatItCannotDo) {
  EXPECT_EQ(AddNode({}, {.name = "a", .address = "h:1", .no_copy = true}).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_THAT(AddNode(Initialised(), {.name = "a", .address = "h:1"}).status().message(),
              HasSubstr("--no-copy"));
  EXPECT_EQ(
      AddNode(Initialised(), {.name = "a", .address = "nowhere", .no_copy = true}).status().code(),
      StatusCode::kInvalidArgument);
}

TEST(ClusterStateTest, ANodeBecomesActiveOnceItCapturesAndStaysSo) {
  ClusterState state = With(Initialised(), "a", "h:1");
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a"}));
  EXPECT_EQ(state.epoch, 2u);
  ASSERT_OK_AND_ASSIGN(
      state,
      ApplyReport(state, {.name = "a", .cluster_id = "id-1", .incarnation = 1, .captures = true}));
  EXPECT_TRUE(state.Find("a")->active);
  EXPECT_EQ(state.Find("a")->incarnation, 1u);
  EXPECT_EQ(state.epoch, 3u);
  const ClusterState before = state;
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .incarnation = 1}));
  EXPECT_EQ(state, before);
}

TEST(ClusterStateTest, ReportsThatCannotBeOursAreRefused) {
  ClusterState state = With(Initialised(), "a", "h:1");
  EXPECT_EQ(ApplyReport(state, {.name = "b"}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ApplyReport(state, {.name = "a", .cluster_id = "id-9"}).status().code(),
            StatusCode::kFailedPrecondition);
  state.members[0].incarnation = 3;
  EXPECT_EQ(ApplyReport(state, {.name = "a", .incarnation = 2}).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_OK(ApplyReport(state, {.name = "a", .incarnation = 3}));
}

// A jump that was taken would refuse the node itself for ever, and its peers would wait for an
// origin that there is not.
TEST(ClusterStateTest, AnIncarnationDoesNotJump) {
  ClusterState state = With(Initialised(), "a", "h:1");
  for (const uint32_t incarnation : {2, 9}) {
    EXPECT_EQ(ApplyReport(state, {.name = "a", .incarnation = incarnation}).status().code(),
              StatusCode::kFailedPrecondition);
  }
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .incarnation = 1}));
  for (const uint32_t incarnation : {2, 9}) {
    EXPECT_EQ(ApplyReport(state, {.name = "a", .incarnation = incarnation}).status().code(),
              StatusCode::kFailedPrecondition);
  }
  EXPECT_OK(ApplyReport(state, {.name = "a", .incarnation = 1}));
}

TEST(ClusterStateTest, NobodyGoesBySettingsThatThereAreNot) {
  ClusterState state = With(Initialised(), "a", "h:1");
  ASSERT_OK_AND_ASSIGN(state, SetSetting(state, "policy/public.t", "x"));
  ASSERT_OK_AND_ASSIGN(
      state, ApplyReport(state, {.name = "a", .settings_ready = 9, .settings_active = 9}));
  EXPECT_EQ(state.Find("a")->settings_active, 1u);
  EXPECT_EQ(state.Find("a")->settings_ready, 1u);
}

TEST(ClusterStateTest, OfTwoDataFoldersUnderOneNameTheFirstThatHadAnIncarnationCounts) {
  ClusterState state = With(Initialised(), "a", "h:1");
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .data_dir_id = "d1"}));
  EXPECT_EQ(state.Find("a")->data_dir_id, "");
  ASSERT_OK_AND_ASSIGN(state,
                       ApplyReport(state, {.name = "a", .incarnation = 1, .data_dir_id = "d2"}));
  EXPECT_EQ(state.Find("a")->data_dir_id, "d2");
  const ClusterState before = state;
  for (const uint32_t incarnation : {0, 1, 2}) {
    const auto refused =
        ApplyReport(state, {.name = "a", .incarnation = incarnation, .data_dir_id = "d1"});
    EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(refused.status().message(), HasSubstr("d2"));
  }
  // An agent from before there were such ids.
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .incarnation = 1}));
  EXPECT_EQ(state, before);
}

TEST(ClusterStateTest, WhichEpochIsFollowedChangesNone) {
  ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "b", .incarnation = 1}));
  EXPECT_EQ(state.Find("b")->since_epoch, state.epoch);
  EXPECT_EQ(state.Find("a")->since_epoch, 0u);
  const uint64_t epoch = state.epoch;
  for (const uint64_t followed : {epoch - 1, epoch + 9, epoch - 1}) {
    ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .followed_epoch = followed}));
    EXPECT_EQ(state.epoch, epoch);
  }
  EXPECT_EQ(state.Find("a")->followed_epoch, epoch);
  ASSERT_OK_AND_ASSIGN(state,
                       ApplyReport(state, {.name = "b", .incarnation = 1, .captures = true}));
  EXPECT_EQ(state.Find("b")->since_epoch, epoch);
}

TEST(ClusterStateTest, ASettingComesIntoForceOnceEveryMemberIsReadyForIt) {
  ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  ASSERT_OK_AND_ASSIGN(state, SetSetting(state, "policy/public.t", "delta"));
  EXPECT_EQ(state.settings_version, 1u);
  EXPECT_EQ(state.settings_active, 0u);
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .settings_ready = 1}));
  EXPECT_EQ(state.settings_active, 0u);
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "b", .settings_ready = 9}));
  EXPECT_EQ(state.settings_active, 1u);
  EXPECT_EQ(state.Find("b")->settings_ready, 1u);
  // Whoever is added later learns what is in force before it begins; the next waits for it, too.
  state = With(state, "c", "h:3");
  EXPECT_EQ(state.settings_active, 1u);
  ASSERT_OK_AND_ASSIGN(state, SetSetting(state, "policy/public.t", ""));
  for (const char* node : {"a", "b"}) {
    ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = node, .settings_ready = 2}));
  }
  EXPECT_EQ(state.settings_active, 1u);
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "c", .settings_ready = 2}));
  EXPECT_EQ(state.settings_active, 2u);
  EXPECT_EQ(state.FindSetting("policy/public.t")->version, 2u);
}

TEST(ClusterStateTest, SettingWhatIsSetChangesNothing) {
  ClusterState state = Initialised();
  ASSERT_OK_AND_ASSIGN(const ClusterState same, SetSetting(state, "policy/public.t", ""));
  EXPECT_EQ(same, state);
  ASSERT_OK_AND_ASSIGN(state, SetSetting(state, "policy/public.t", "delta"));
  EXPECT_EQ(state.settings_active, 1u);  // nobody has to be waited for
  ASSERT_OK_AND_ASSIGN(const ClusterState again, SetSetting(state, "policy/public.t", "delta"));
  EXPECT_EQ(again, state);
  EXPECT_EQ(SetSetting(state, "colour", "red").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SetSetting({}, "policy/public.t", "x").status().code(),
            StatusCode::kFailedPrecondition);
}

TEST(ClusterStateTest, ANodeThatHasNotJoinedIsTakenBackAndItsIdIsNotGivenAgain) {
  ClusterState state = With(With(Initialised(), "a", "h:1"), "typo", "h:2");
  ASSERT_OK_AND_ASSIGN(state, SetSetting(state, "policy/public.t", "x"));
  ASSERT_OK_AND_ASSIGN(state, ApplyReport(state, {.name = "a", .settings_ready = 1}));
  // Also one whose agent has told that it is there; it holds back what is to come into force.
  ASSERT_OK_AND_ASSIGN(
      state,
      ApplyReport(state, {.name = "typo", .incarnation = 1, .data_dir_id = "d", .node_id = 2}));
  EXPECT_EQ(state.settings_active, 0u);
  const uint64_t epoch = state.epoch;
  ASSERT_OK_AND_ASSIGN(state, RemoveNode(state, "typo", 7));
  EXPECT_EQ(state.epoch, epoch + 1);
  EXPECT_EQ(state.Find("typo"), nullptr);
  EXPECT_EQ(state.settings_active, 1u);
  ASSERT_OK_AND_ASSIGN(const ClusterState again, RemoveNode(state, "typo", 8));
  EXPECT_EQ(again, state);
  EXPECT_EQ(RemoveNode(state, "x", 8).status().code(), StatusCode::kNotFound);
  state = With(state, "typo", "h:2");
  EXPECT_EQ(state.Find("typo")->id, 3);
  EXPECT_EQ(state.removed.size(), 1u);
}

TEST(ClusterStateTest, ANodeThatHasJoinedIsNotRemoved) {
  ClusterState state = With(Initialised(), "a", "h:1");
  ASSERT_OK_AND_ASSIGN(state,
                       ApplyReport(state, {.name = "a", .incarnation = 1, .captures = true}));
  const auto refused = RemoveNode(state, "a", 1);
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("other nodes may have changes of it"));
}

// However late it comes: with its id, without one yet, and under a name that is another node's now.
TEST(ClusterStateTest, TheAgentOfARemovedNodeIsTold) {
  ClusterState state = With(Initialised(), "typo", "h:1");
  ASSERT_OK_AND_ASSIGN(state, RemoveNode(state, "typo", 7));
  const auto expect_told = [&state](NodeId id) {
    const auto refused =
        ApplyReport(state, {.name = "typo", .incarnation = 1, .node_id = id, .captures = true});
    EXPECT_EQ(refused.status().code(), StatusCode::kNotFound);
    EXPECT_THAT(refused.status().message(), HasSubstr("node \"typo\" (id 1) was removed"));
  };
  expect_told(0);
  expect_told(1);
  state = With(state, "typo", "h:1");
  expect_told(1);
  EXPECT_OK(ApplyReport(state, {.name = "typo", .incarnation = 1, .node_id = 2}));
}

TEST(ClusterStateTest, AnAgentIsTheNodeThatItsOwnIdSays) {
  const ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  for (const char* name : {"b", "c"}) {
    const auto refused = ApplyReport(state, {.name = name, .node_id = 1});
    EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(refused.status().message(), HasSubstr("which is \"a\""));
  }
  const auto unknown = ApplyReport(state, {.name = "c", .node_id = 3});
  EXPECT_EQ(unknown.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(unknown.status().message(), HasSubstr("--from-agents"));
}

TEST(ClusterStateTest, AnAddressIsChangedUnlessItIsAnothers) {
  ClusterState state = With(With(Initialised(), "a", "h:1"), "b", "h:2");
  const uint64_t epoch = state.epoch;
  ASSERT_OK_AND_ASSIGN(state, SetNodeAddress(state, "a", "h:3"));
  EXPECT_EQ(state.Find("a")->address, "h:3");
  EXPECT_EQ(state.epoch, epoch + 1);
  ASSERT_OK_AND_ASSIGN(const ClusterState again, SetNodeAddress(state, "a", "h:3"));
  EXPECT_EQ(again, state);
  EXPECT_EQ(SetNodeAddress(state, "a", "h:2").status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(SetNodeAddress(state, "x", "h:4").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(SetNodeAddress(state, "a", "h").status().code(), StatusCode::kInvalidArgument);
}

TEST(ClusterStateTest, WhoKnowsANewerStateIsNotLedBack) {
  const ClusterState state = With(Initialised(), "a", "h:1");
  EXPECT_OK(ApplyReport(state, {.name = "a", .known_epoch = state.epoch}));
  const auto refused = ApplyReport(state, {.name = "a", .known_epoch = state.epoch + 1});
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("--from-agents"));
  EXPECT_THAT(ApplyReport({}, {.name = "a", .cluster_id = "id-1"}).status().message(),
              HasSubstr("--from-agents"));
}

TEST(ClusterStateTest, EachAcceptedStepOfAClockHasANewId) {
  ClusterState state = With(Initialised(), "a", "h:1");
  ASSERT_OK_AND_ASSIGN(state, AcceptClock(state, {.node = "a", .ceiling_us = 5, .advance_us = 1}));
  const uint64_t first = state.accepted_clock.id;
  EXPECT_GT(first, 0u);
  ASSERT_OK_AND_ASSIGN(const ClusterState same,
                       AcceptClock(state, {.node = "a", .ceiling_us = 5, .advance_us = 1}));
  EXPECT_EQ(same, state);
  ASSERT_OK_AND_ASSIGN(state, AcceptClock(state, {.node = "a", .ceiling_us = 6, .advance_us = 1}));
  EXPECT_GT(state.accepted_clock.id, first);
}

}  // namespace
}  // namespace bdr::server
