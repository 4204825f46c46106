// Nodes that change the same rows without seeing each other end with the same rows, by the rule of
// the newest write, and tell what was lost.
#include <csignal>

#include "absl/strings/numbers.h"
#include "tests/harness/load.h"
#include "tests/harness/process.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ConflictsTest : public ClusterTest {
 protected:
  void StartWithProxies(int nodes) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.proxies = true;
    options.schema_sql =
        "CREATE TABLE price (id int PRIMARY KEY, unit text, cents int);"
        "INSERT INTO price SELECT i, 'euro', i FROM generate_series(1, 20) i";
    BDR_START_CLUSTER(std::move(options));
  }

  // Capture of a node stands still while its walsender is stopped; all else goes on.
  void SignalCapture(const std::string& node, int signal) {
    ASSERT_OK_AND_ASSIGN(
        const std::string pid,
        cluster_->QueryValue(node,
                             "SELECT pid FROM pg_stat_replication WHERE application_name = "
                             "'bdr capture'"));
    int process = 0;
    ASSERT_TRUE(absl::SimpleAtoi(pid, &process)) << pid;
    if (signal == SIGSTOP) {
      ASSERT_OK(harness::StopProcess(process));
    } else {
      ASSERT_EQ(kill(process, signal), 0);
    }
  }
};

// Changes of keys and deletes, each by a node that had seen all before it. Where they follow upon
// another node's change of the same rows, before that was captured, they are merged again there:
// they find done what they have done themselves.
TEST_F(ConflictsTest, WhatHadSeenEverythingIsNoConflict) {
  BDR_START_CLUSTER(3,
                    "CREATE TABLE t (id int PRIMARY KEY, v int);"
                    "CREATE TABLE u (id int PRIMARY KEY, v int UNIQUE);"
                    "CREATE TABLE f (id int PRIMARY KEY, v int);"
                    "ALTER TABLE f REPLICA IDENTITY FULL;"
                    "INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;"
                    "INSERT INTO u SELECT i, i FROM generate_series(1, 20) i;"
                    "INSERT INTO f SELECT i, i FROM generate_series(1, 20) i;");
  const std::string change =
      "UPDATE t SET v = v + 100; UPDATE u SET v = v + 100; UPDATE f SET v = v + 100";
  const std::string turn = "UPDATE t SET id = -id; UPDATE u SET id = -id; UPDATE f SET id = -id";
  const std::string left =
      "SELECT sum(v) || ' ' || sum(id) FROM (TABLE t UNION ALL TABLE u UNION ALL TABLE f) AS "
      "all_rows";
  for (const auto& [first, second] :
       std::vector<std::pair<std::string, std::string>>{{change, turn}, {turn, turn}}) {
    for (const bool stopped : {true, false}) {
      BDR_EXEC("n1", first);
      ASSERT_OK(cluster_->WaitForValue("n2", left, Value("n1", left), kDeadline));
      if (stopped) {
        ASSERT_NO_FATAL_FAILURE(SignalCapture("n2", SIGSTOP));
        BDR_EXEC("n1", first);
        ASSERT_OK(cluster_->WaitForValue("n2", left, Value("n1", left), kDeadline));
      }
      BDR_EXEC("n2", second);
      BDR_EXEC("n2", second);
      BDR_EXEC("n2", second);
      if (stopped) {
        ASSERT_NO_FATAL_FAILURE(SignalCapture("n2", SIGCONT));
      }
      BDR_CONVERGE();
      ExpectEverywhere(
          "SELECT string_agg(DISTINCT kind || ' ' || rule || ' ' || relation, ', ') FROM "
          "bdr.conflict_log",
          "");
    }
  }
  BDR_EXEC("n1", change);
  ASSERT_OK(cluster_->WaitForValue("n2", left, Value("n1", left), kDeadline));
  BDR_EXEC("n2", "DELETE FROM t WHERE id % 2 = 0; DELETE FROM u; DELETE FROM f");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
}

TEST_F(ConflictsTest, ConcurrentUpdatesOfOneRowConvergeToTheLaterOneAfterAPartition) {
  StartWithProxies(2);
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE price SET unit = 'dollar' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE price SET unit = 'yen' WHERE id = 1");  // commits later
  BDR_EXEC("n2", "UPDATE price SET unit = 'yen' WHERE id = 2");
  BDR_EXEC("n1", "UPDATE price SET unit = 'dollar' WHERE id = 2");  // commits later
  EXPECT_EQ(Value("n1", "SELECT unit FROM price WHERE id = 1"), "dollar");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "yen");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 2", "dollar");

  // Both losses are on record, where they were found, with both rows.
  const std::string logged =
      "SELECT count(*) FROM bdr.conflict_log WHERE kind = 'update_origin_differs' AND "
      "relation = 'public.price' AND local_row IS NOT NULL AND remote_row IS NOT NULL "
      "AND local_stamp IS NOT NULL AND remote_stamp IS NOT NULL";
  ASSERT_OK(cluster_->WaitForValue("n1", logged, "2", kDeadline));
  ASSERT_OK(cluster_->WaitForValue("n2", logged, "2", kDeadline));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult list,
                       cluster_->Bdrctl({"conflict", "list", "-o", "json"}));
  EXPECT_THAT(list.out, ::testing::HasSubstr("update_origin_differs"));
}

TEST_F(ConflictsTest, InsertsAndDeletesOfOneKeyConverge) {
  StartWithProxies(2);
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  // 100: inserted twice. 1: deleted, then updated. 2: updated, then deleted. 3: deleted twice.
  // 4: deleted and made again against an update. 5: key moved against an update.
  BDR_EXEC("n1", "INSERT INTO price VALUES (100, 'n1', 1)");
  BDR_EXEC("n2", "INSERT INTO price VALUES (100, 'n2', 2)");
  BDR_EXEC("n1", "DELETE FROM price WHERE id = 1");
  BDR_EXEC("n2", "UPDATE price SET unit = 'late' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE price SET unit = 'early' WHERE id = 2");
  BDR_EXEC("n2", "DELETE FROM price WHERE id = 2");
  BDR_EXEC("n1", "DELETE FROM price WHERE id = 3");
  BDR_EXEC("n2", "DELETE FROM price WHERE id = 3");
  BDR_EXEC("n1", "UPDATE price SET unit = 'early' WHERE id = 4");
  BDR_EXEC("n2", "DELETE FROM price WHERE id = 4; INSERT INTO price VALUES (4, 'made again', 4)");
  BDR_EXEC("n1", "UPDATE price SET id = 500 WHERE id = 5");
  BDR_EXEC("n2", "UPDATE price SET unit = 'late' WHERE id = 5");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 100", "n2");
  ExpectEverywhere("SELECT count(*) FROM price WHERE id IN (2, 3)", "0");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "late");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 4", "made again");
  ExpectEverywhere("SELECT count(*) FROM price WHERE id = 500", "1");
}

TEST_F(ConflictsTest, ThreeNodesConvergeAfterEachWroteAlone) {
  StartWithProxies(3);
  if (HasFatalFailure()) return;
  cluster_->Isolate("n1");
  cluster_->Partition("n2", "n3");
  for (int round = 0; round < 5; ++round) {
    for (const std::string& node : cluster_->names()) {
      BDR_EXEC(node, absl::StrCat("UPDATE price SET unit = '", node, " ", round,
                                  "', cents = cents + 1 WHERE id % 5 = ", round));
      BDR_EXEC(node, absl::StrCat("DELETE FROM price WHERE id = ", 10 + round));
      BDR_EXEC(node, absl::StrCat("INSERT INTO price VALUES (", 10 + round, ", '", node,
                                  "', 0) ON CONFLICT DO NOTHING"));
    }
  }
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM price", "20");
  // n3 wrote last in every round.
  ExpectEverywhere("SELECT count(*) FROM price WHERE unit NOT LIKE 'n3%'", "0");
}

// All workers of all nodes fight over a handful of rows, deletes included: what capture learns only
// after an applier has decided must be decided once more.
TEST_F(ConflictsTest, AFewRowsThatEverybodyWritesConverge) {
  BDR_START_CLUSTER(2, harness::Load::Schema());
  for (int round = 0; round < 5; ++round) {
    harness::Load load(cluster_.get(), {.nodes = {}, .workers_per_node = 3, .hot_rows = 5});
    ASSERT_OK(load.WaitForMore(kSanitized ? 200 : 1500, kDeadline));
    load.Stop();
    BDR_CONVERGE();
    // Numbers begin again in the next round.
    BDR_EXEC("n1", "DELETE FROM load_keyed");
    BDR_CONVERGE();
  }
}

TEST_F(ConflictsTest, OneNodeCutOffFromOneOtherOnlyStillShowsCausesBeforeEffects) {
  StartWithProxies(3);
  if (HasFatalFailure()) return;
  // n3 cannot hear n1. What n2 makes of n1's row must wait there for the row itself.
  cluster_->SetFault("n1", "n3", {.cut = true});
  BDR_EXEC("n1", "INSERT INTO price VALUES (200, 'cause', 0)");
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT count(*) FROM price WHERE id = 200", "1", kDeadline));
  BDR_EXEC("n2", "UPDATE price SET unit = 'effect' WHERE id = 200");
  BDR_EXEC("n2", "INSERT INTO price VALUES (201, 'effect', 0)");
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK_AND_ASSIGN(
        const std::string broken,
        cluster_->QueryValue("n3",
                             "SELECT count(*) FROM price WHERE id = 201 AND NOT EXISTS "
                             "(SELECT FROM price WHERE id = 200 AND unit = 'effect')"));
    EXPECT_EQ(broken, "0");
  }
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 200", "effect");
}

#ifdef BDR_TEST_HOOKS
// What a group is about to overwrite is noted before it is sent, and an agent may die in between:
// the one that goes on must still know what stood there, and that it had not been seen.
TEST_F(ConflictsTest, AConflictIsLoggedThoughTheAgentDiedInTheMiddle) {
  harness::ClusterOptions options;
  options.nodes.assign(3, {});
  options.proxies = true;
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '')";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Isolate("n2");
  BDR_EXEC("n1", "UPDATE t SET v = 'n1'");
  ASSERT_OK(cluster_->WaitForValue("n3", "SELECT v FROM t", "n1", kDeadline));
  BDR_EXEC("n2", "UPDATE t SET v = 'n2'");
  ASSERT_OK(cluster_->agent("n3").Terminate(kDeadline));
  ASSERT_OK(cluster_->StartAgent("n3", {{"BDR_FAIL_POINT", "apply_after_versions"}}));
  cluster_->Heal();
  ASSERT_OK(cluster_->agent("n3").WaitForExit(kDeadline));
  ASSERT_OK(cluster_->StartAgent("n3"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM t", "n2");
  EXPECT_EQ(
      Value("n3",
            "SELECT string_agg(concat_ws(' ', kind, winner, local_node, local_row->>'v'), ';')"
            " FROM bdr.conflict_log"),
      "update_origin_differs remote 1 n1");
}
#endif

}  // namespace
}  // namespace bdr::integration
