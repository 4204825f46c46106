// What a person is told of a conflict.
#include "ctl/conflict_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "ctl/format.h"

namespace bdr::ctl {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

v1::Membership TwoNodes() {
  v1::Membership membership;
  for (const char* name : {"eu1", "us2"}) {
    v1::Member* member = membership.add_members();
    member->set_node_id(static_cast<uint32_t>(membership.members_size()));
    member->set_name(name);
  }
  return membership;
}

FoundConflict Update() {
  FoundConflict found{.node = "eu1", .conflict = {}};
  v1::Conflict& c = found.conflict;
  c.set_id(42);
  c.set_detected_us(1'700'000'000'500'000);
  c.set_table("public.price");
  c.set_kind("update_origin_differs");
  c.set_key("{\"id\": 1}");
  c.set_local_row("{\"id\": 1, \"unit\": \"euro\", \"cents\": 5, \"note\": \"long\"}");
  c.set_remote_row("{\"id\": 1, \"unit\": \"yen\", \"cents\": 5, \"note\": null}");
  c.add_remote_absent("note");
  c.set_local_node(1);
  c.set_local_stamp_us(1'700'000'000'000'000);
  c.set_remote_node(2);
  c.set_remote_stamp_us(1'700'000'000'250'000);
  c.set_remote_seen_us(1'699'999'999'000'000);
  c.set_winner("remote");
  c.set_rule("older_version_known");
  return found;
}

TEST(ConflictViewTest, WhatDiffersIsMarkedAndWhatDidNotTravelIsNoNull) {
  const std::string text = ViewConflict(TwoNodes(), Update()).text;
  EXPECT_THAT(text, ContainsRegex("\\* +unit +euro +yen"));
  EXPECT_THAT(text, Not(ContainsRegex("\\* +cents")));
  EXPECT_THAT(text, Not(ContainsRegex("\\* +note")));
  EXPECT_THAT(text, ContainsRegex("note +long +\\(unchanged\\)"));
  EXPECT_THAT(text, HasSubstr("REMOTE (us2), wins"));
}

TEST(ConflictViewTest, AnExplanationTellsStampsWhatWasSeenAndTheRule) {
  const std::string text = ExplainConflict(TwoNodes(), Update()).text;
  EXPECT_THAT(text, HasSubstr("the remote one is 250.000 ms later"));
  EXPECT_THAT(text, HasSubstr("not the local version, which is 1.000 s later"));
  EXPECT_THAT(text, HasSubstr("the version store says that the local version is older"));
  EXPECT_THAT(text, HasSubstr("250.000 ms after the remote stamp"));
}

// A list is read for when something was; what decided is told as exactly as it decided.
TEST(ConflictViewTest, TimesAreLocalAndToTheSecondButForStamps) {
  const FoundConflict found = Update();
  const Output list = ViewConflicts(TwoNodes(), {found});
  EXPECT_THAT(list.text, HasSubstr(LocalTime(1'700'000'000'500'000)));
  EXPECT_EQ(list.document[0]["detected"], "2023-11-14T22:13:20.500000Z");
  EXPECT_THAT(ExplainConflict(TwoNodes(), found).text,
              HasSubstr(LocalStamp(1'700'000'000'250'000)));
}

TEST(ConflictViewTest, ValuesThatAreNoJsonAreTextAndTheReasonStandsBelow) {
  FoundConflict found = Update();
  found.conflict.set_local_row(
      R"({"id": 1, "j": "{\"a\": \"\\u0000\"}", "": {"j": "held as text: no such escape"}})");
  const std::string text = ViewConflict(TwoNodes(), found).text;
  EXPECT_THAT(text, HasSubstr(R"({"a": "\u0000"})"));
  EXPECT_THAT(text, HasSubstr("LOCAL (eu1): column j: held as text: no such escape"));
  EXPECT_EQ(ViewConflicts(TwoNodes(), {found}).document[0]["local_row"][""]["j"],
            "held as text: no such escape");
}

// Other parts of the program add kinds and rules.
TEST(ConflictViewTest, UnknownKindsAndRulesAreShownAsTheyCome) {
  FoundConflict found = Update();
  found.conflict.set_kind("unique_claimed");
  found.conflict.set_rule("claimed_later");
  found.conflict.clear_local_row();
  found.conflict.set_local_stamp_us(0);
  found.conflict.set_local_node(0);
  const std::string text = ExplainConflict(TwoNodes(), found).text;
  EXPECT_THAT(text, HasSubstr("unique_claimed"));
  EXPECT_THAT(text, HasSubstr("rule claimed_later"));
  EXPECT_THAT(text, HasSubstr("no row stood there"));
  EXPECT_EQ(ViewConflicts(TwoNodes(), {found}).document[0]["kind"], "unique_claimed");
}

TEST(ConflictViewTest, AnUndoShowsWhatStandsAndWhatWill) {
  v1::UndoConflictResponse undo;
  *undo.mutable_conflict() = Update().conflict;
  undo.set_action(v1::UndoConflictResponse::UPDATE);
  undo.set_current_row("{\"id\": 1, \"unit\": \"yen\"}");
  undo.set_target_row("{\"id\": 1, \"unit\": \"euro\"}");
  undo.set_changed_since(true);
  const Output output = ViewUndo("eu1", undo);
  EXPECT_THAT(output.text, ContainsRegex("\\* +unit +yen +euro"));
  EXPECT_THAT(output.text, HasSubstr("written since"));
  EXPECT_EQ(output.document["action"], "update");
  EXPECT_EQ(output.document["target_row"]["unit"], "euro");

  undo.set_action(v1::UndoConflictResponse::DELETE);
  undo.clear_target_row();
  EXPECT_THAT(ViewUndo("eu1", undo).text, HasSubstr("THEN (no row)"));
}

}  // namespace
}  // namespace bdr::ctl
