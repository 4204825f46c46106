// The text form of scenarios: what is not understood is named with its line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "tests/harness/temp_folder.h"
#include "tests/scenarios/parse.h"
#include "tests/scenarios/play.h"

namespace bdr::scenarios {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;

template <typename T>
const T& Only(const Scenario& scenario) {
  EXPECT_EQ(scenario.steps.size(), 1u);
  return std::get<T>(scenario.steps.at(0).action);
}

std::string ErrorOf(const std::string& text) {
  return std::string(Parse("a.scenario", text).status().message());
}

TEST(ScenarioTextTest, WhatStandsBeforeTheSteps) {
  ASSERT_OK_AND_ASSIGN(const Scenario scenario, Parse("a.scenario", R"(# why
nodes 3
own clocks
agent.yaml: block_max_bytes: 16KiB
tables
  CREATE TABLE t (id int PRIMARY KEY,
      v text)
  # its rows
  INSERT INTO t VALUES (1, 'a: b');

converge
)"));
  EXPECT_EQ(scenario.nodes, 3);
  EXPECT_TRUE(scenario.own_clocks);
  EXPECT_FALSE(scenario.needs_hooks);
  EXPECT_EQ(scenario.agent_config, "block_max_bytes: 16KiB\n");
  EXPECT_EQ(scenario.tables,
            "CREATE TABLE t (id int PRIMARY KEY,\nv text);\nINSERT INTO t VALUES (1, 'a: b');\n");
  EXPECT_EQ(scenario.steps.at(0).line, 11);
}

TEST(ScenarioTextTest, EachLineBelowIsAStatementOfItsOwn) {
  ASSERT_OK_AND_ASSIGN(const Scenario scenario, Parse("a.scenario", R"(on n1, n2
  BEGIN; DELETE FROM t;
    COMMIT
  DELETE FROM u WHERE v = 'x: y'
)"));
  const auto& run = Only<RunSql>(scenario);
  EXPECT_THAT(run.nodes, ElementsAre("n1", "n2"));
  EXPECT_THAT(run.statements,
              ElementsAre("BEGIN; DELETE FROM t;\nCOMMIT", "DELETE FROM u WHERE v = 'x: y'"));
  ASSERT_OK_AND_ASSIGN(const Scenario session, Parse("a.scenario", "as ann on n2: BEGIN\n"));
  EXPECT_EQ(Only<RunSql>(session).session, "ann");
}

TEST(ScenarioTextTest, WhatAQueryGivesStandsBehindArrows) {
  ASSERT_OK_AND_ASSIGN(const Scenario one,
                       Parse("a.scenario", "wait n2: SELECT f(a => 1) => 7 | x\n"));
  EXPECT_TRUE(Only<Look>(one).wait);
  EXPECT_EQ(Only<Look>(one).sql, "SELECT f(a => 1)");
  EXPECT_THAT(Only<Look>(one).rows, ElementsAre("7 | x"));

  ASSERT_OK_AND_ASSIGN(const Scenario more, Parse("a.scenario", R"(expect everywhere 20 times
  SELECT id, v
    FROM t ORDER BY id
  => 1 | a
  =>
  => 2 | null
)"));
  EXPECT_THAT(Only<Look>(more).nodes, ElementsAre("n1", "n2"));
  EXPECT_EQ(Only<Look>(more).times, 20);
  EXPECT_EQ(Only<Look>(more).sql, "SELECT id, v\nFROM t ORDER BY id");
  EXPECT_THAT(Only<Look>(more).rows, ElementsAre("1 | a", "", "2 | null"));

  ASSERT_OK_AND_ASSIGN(const Scenario none, Parse("a.scenario", "expect n1: TABLE t => no rows\n"));
  EXPECT_THAT(Only<Look>(none).rows, IsEmpty());
}

TEST(ScenarioTextTest, Links) {
  ASSERT_OK_AND_ASSIGN(const Scenario one, Parse("a.scenario", "stall n1 -> n2\n"));
  EXPECT_EQ(Only<Link>(one).fault, Link::Fault::kStall);
  EXPECT_THAT(Only<Link>(one).ways, ElementsAre(Pair("n1", "n2")));
  ASSERT_OK_AND_ASSIGN(const Scenario both, Parse("a.scenario", "cut n1 n2\n"));
  EXPECT_THAT(Only<Link>(both).ways, ElementsAre(Pair("n1", "n2"), Pair("n2", "n1")));
  ASSERT_OK_AND_ASSIGN(const Scenario alone, Parse("a.scenario", "nodes 3\nisolate n2\n"));
  EXPECT_THAT(Only<Link>(alone).ways,
              ElementsAre(Pair("n2", "n1"), Pair("n1", "n2"), Pair("n2", "n3"), Pair("n3", "n2")));
}

TEST(ScenarioTextTest, AgentsCaptureAndClocks) {
  ASSERT_OK_AND_ASSIGN(const Scenario dies,
                       Parse("a.scenario", "start agent n1 to die at apply_before_commit\n"));
  EXPECT_EQ(Only<Agent>(dies).deed, Agent::Deed::kStart);
  EXPECT_EQ(Only<Agent>(dies).fail_point, "apply_before_commit");
  EXPECT_TRUE(dies.needs_hooks);
  ASSERT_OK_AND_ASSIGN(const Scenario release, Parse("a.scenario", "release capture n2\n"));
  EXPECT_FALSE(Only<HoldCapture>(release).hold);
  ASSERT_OK_AND_ASSIGN(const Scenario clock, Parse("a.scenario", "own clocks\nclock n1: -500ms\n"));
  EXPECT_EQ(Only<SetClock>(clock).ahead, -absl::Milliseconds(500));
}

TEST(ScenarioTextTest, CallsOfBdrctl) {
  ASSERT_OK_AND_ASSIGN(const Scenario call, Parse("a.scenario", R"(wait bdrctl status -o "a b"
  says no room: none
  exits 2
)"));
  EXPECT_TRUE(Only<Bdrctl>(call).wait);
  EXPECT_THAT(Only<Bdrctl>(call).arguments, ElementsAre("status", "-o", "a b"));
  EXPECT_THAT(Only<Bdrctl>(call).says, ElementsAre("no room: none"));
  EXPECT_EQ(Only<Bdrctl>(call).exit_code, 2);
  ASSERT_OK_AND_ASSIGN(const Scenario policy,
                       Parse("a.scenario", "policy public.t delta --columns n\n"));
  EXPECT_THAT(Only<Bdrctl>(policy).arguments,
              ElementsAre("table", "set-policy", "public.t", "delta", "--columns", "n", "--wait",
                          "60", "-o", "json"));
}

TEST(ScenarioTextTest, EntriesOfTheConflictLog) {
  ASSERT_OK_AND_ASSIGN(const Scenario scenario, Parse("a.scenario", R"(logged n1, n2
  update_missing public.t winner=local local_row.v="it's" has=remote_row lacks=key older=remote
)"));
  EXPECT_EQ(CountLoggedSql(Only<Logged>(scenario)),
            "SELECT count(*) FROM bdr.conflict_log WHERE kind = 'update_missing' AND relation = "
            "'public.t' AND winner::text = 'local' AND local_row ->> 'v' = 'it''s' AND "
            "remote_row::text IS NOT NULL AND key::text IS NULL AND remote_stamp < local_stamp");
  ASSERT_OK_AND_ASSIGN(const Scenario nothing, Parse("a.scenario", "logged everywhere: nothing\n"));
  EXPECT_TRUE(Only<Logged>(nothing).nothing);
}

TEST(ScenarioTextTest, AMetricWithItsLabels) {
  ASSERT_OK_AND_ASSIGN(const Scenario scenario,
                       Parse("a.scenario", "metric n1: bdr_x_total{kind=a,of=b} >= 8\n"));
  EXPECT_EQ(Only<Metric>(scenario).name, "bdr_x_total");
  EXPECT_THAT(Only<Metric>(scenario).labels, ElementsAre(Pair("kind", "a"), Pair("of", "b")));
  EXPECT_EQ(Only<Metric>(scenario).comparison, ">=");
  EXPECT_EQ(Only<Metric>(scenario).value, 8);
}

TEST(ScenarioTextTest, ErrorsNameTheLine) {
  EXPECT_THAT(
      ErrorOf("# why\n\nnods 3\n"),
      StartsWith("a.scenario:3: no line begins with \"nods\"; there are: agent, agent.yaml,"));
  EXPECT_EQ(ErrorOf("nodes 3\non n4: DELETE FROM t\n"),
            "a.scenario:2: there is no node \"n4\": the scenario has n1 to n3");
  EXPECT_EQ(ErrorOf("converge\nnodes 3\n"), "a.scenario:2: \"nodes\" stands before all steps");
  EXPECT_EQ(ErrorOf("nodes ten\n"),
            "a.scenario:1: \"nodes ten\" is not of the form \"nodes 1..9\"");
  EXPECT_EQ(ErrorOf("  on n1: x\n"), "a.scenario:1: an indented line that belongs to nothing");
  EXPECT_EQ(ErrorOf("on n1\n    a\n  b\n"),
            "a.scenario:3: indented by 2 blanks, and what stands above it by 4");
  EXPECT_THAT(ErrorOf("on n1\n\ta\n"), StartsWith("a.scenario:2: a tab"));
  EXPECT_THAT(ErrorOf("on n1\n"), StartsWith("a.scenario:1: nothing stands behind a colon"));
  EXPECT_EQ(ErrorOf("on: DELETE FROM t\n"),
            "a.scenario:1: no node is named: name some, or say \"everywhere\"");
  EXPECT_EQ(ErrorOf("expect n1: SELECT 1\n"),
            "a.scenario:1: there is no \"=>\" with what it gives");
  EXPECT_THAT(ErrorOf("expect n1\n  => 1\n  SELECT 1\n"), HasSubstr("a.scenario:1: SQL behind"));
  EXPECT_THAT(ErrorOf("wait n1 3 times: SELECT 1 => 1\n"), HasSubstr("\"times\" needs a number"));
  EXPECT_EQ(ErrorOf("cut n1\n"),
            "a.scenario:1: \"cut n1\" is not of the form \"cut NODE NODE\" or "
            "\"cut NODE -> NODE\"");
  EXPECT_EQ(ErrorOf("converge\nheal n1\n"),
            "a.scenario:2: \"heal n1\" is not of the form \"heal\"");
  EXPECT_EQ(ErrorOf("heal\n  n1\n"), "a.scenario:1: nothing may stand behind or below \"heal\"");
  EXPECT_EQ(ErrorOf("clock n1: 5s\n"),
            "a.scenario:1: a clock is set, and no line says \"own clocks\"");
  EXPECT_THAT(ErrorOf("start agent n1 to live\n"), HasSubstr("[to die at FAIL_POINT]"));
  EXPECT_THAT(ErrorOf("bdrctl status\n  says a\n  shouts b\n"), StartsWith("a.scenario:3: below"));
  EXPECT_EQ(ErrorOf("bdrctl \"status\n"), "a.scenario:1: a double quote is not closed");
  EXPECT_THAT(ErrorOf("logged n1\n  update_missing public.t\n  public.t\n"),
              StartsWith("a.scenario:3: an entry is"));
  EXPECT_THAT(ErrorOf("logged n1: update_missing public.t winner\n"),
              HasSubstr("\"winner\" is not of the form COLUMN=VALUE"));
  EXPECT_THAT(ErrorOf("logged n1: update_missing public.t older=both\n"),
              HasSubstr("older= is local or remote"));
  EXPECT_THAT(ErrorOf("metric n1: bdr_x > 8\n"),
              HasSubstr("a.scenario:1: \"metric n1: bdr_x > 8\""));
  EXPECT_EQ(ErrorOf("nodes 2\n"), "a.scenario: nothing is done in it");
}

// A file that is broken is found by the quick tests already.
TEST(ScenarioTextTest, EveryFileIsUnderstoodAndSaysWhy) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BDR_SCENARIOS)) {
    if (entry.path().extension() != ".scenario") continue;
    ++files;
    ASSERT_OK_AND_ASSIGN(const std::string text, harness::ReadFile(entry.path()));
    EXPECT_OK(Parse(entry.path(), text));
    EXPECT_THAT(text, StartsWith("# ")) << entry.path();
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace bdr::scenarios
