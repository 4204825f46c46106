// Nodes that change the same rows without seeing each other end with the same rows, by the rule of
// the newest write, and tell what was lost. What can be told as a sequence of statements is in
// tests/scenarios.
#include <csignal>

#include "tests/harness/load.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ConflictsTest : public ClusterTest {};

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

}  // namespace
}  // namespace bdr::integration
