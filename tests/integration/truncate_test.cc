// TRUNCATE kills what is older than it, on every node, whatever came first there, and nothing else.
#include <csignal>

#include "absl/strings/numbers.h"
#include "tests/harness/load.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class TruncateTest : public ClusterTest {
 protected:
  void Start(int nodes, const std::string& schema_sql) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.proxies = true;
    options.schema_sql = schema_sql;
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
    ASSERT_EQ(kill(process, signal), 0);
  }

  void CutLink(const std::string& from, const std::string& to) {
    cluster_->SetFault(from, to, {.cut = true});
  }
};

// An applier that writes an older row after the local TRUNCATE, and before capture has read it,
// cannot know better. Capture must notice, and the truncate is merged again.
TEST_F(TruncateTest, RowsThatAppliersWroteBehindAnOwnTruncateDie) {
  Start(2,
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "CREATE TABLE log (v text);"
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i;");
  if (HasFatalFailure()) return;
  CutLink("n2", "n1");
  BDR_EXEC("n2", "INSERT INTO t VALUES (100, 'older'); INSERT INTO log VALUES ('older')");
  ASSERT_NO_FATAL_FAILURE(SignalCapture("n1", SIGSTOP));
  BDR_EXEC("n1", "TRUNCATE t; TRUNCATE log");
  cluster_->Heal();
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM t WHERE id = 100", "1", kDeadline));
  ASSERT_NO_FATAL_FAILURE(SignalCapture("n1", SIGCONT));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM log)", "0");
}

// PostgreSQL 15 streams a large transaction while it runs, with the origin that its first change
// carries; what a TRUNCATE does to the catalogs comes first, and carries none. Whoever applied such
// a transaction must not take it for its own and send it on, or it would go round for ever.
TEST_F(TruncateTest, ALargeTransactionBehindATruncateIsNotSentOnByWhoAppliedIt) {
  Start(2,
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i;");
  if (HasFatalFailure()) return;
  // More than logical_decoding_work_mem of capture's session.
  BDR_EXEC("n1",
           "BEGIN; TRUNCATE t;"
           "INSERT INTO t SELECT i, repeat('v', 1000) FROM generate_series(1, 15000) i; COMMIT");
  BDR_CONVERGE();
  BDR_EXEC("n2", "UPDATE t SET v = 'after' WHERE id = 1");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) || ' ' || min(v) FROM t", "15000 after");
  EXPECT_EQ(Value("n1",
                  "SELECT count(*) FROM t WHERE id > 1 AND"
                  " (pg_xact_commit_timestamp_origin(xmin)).roident <> 0"),
            "0")
      << "rows came back to where they were written";
}

// ALTER TABLE that rewrites a table gives its rows a commit time that is not theirs.
TEST_F(TruncateTest, ARowThatIsOlderDiesThoughItsTableWasRewrittenSince) {
  Start(2, "CREATE TABLE t (id int PRIMARY KEY, v int);");
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO t SELECT i, i FROM generate_series(1, 10) i");
  BDR_EXEC("n2", "TRUNCATE t");
  BDR_EXEC("n1", "ALTER TABLE t ALTER COLUMN v TYPE int USING v + 0");
  BDR_EXEC("n1", "INSERT INTO t VALUES (100, 100)");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id::text, ' ') FROM t", "100");
}

// A large transaction is applied block by block, and none of its rows stands where it arrives. What
// is not known of them has to be waited for: once, not for each block from the beginning.
TEST_F(TruncateTest, ALargeTransactionThatMeetsNoRowIsNotBegunAnewForEachBlock) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE t (id int PRIMARY KEY, v text);"
      "INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 4000) i;";
  options.agent_config = "block_max_bytes: 16KiB\n";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "TRUNCATE t");
  BDR_EXEC("n1", "UPDATE t SET v = repeat('w', 100)");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t WHERE v LIKE 'w%'", "4000");
  ExpectFewRetries("n2");
}

// Two nodes write on while they are cut off, and one truncates in between: what lies before the
// truncate dies everywhere, what lies behind it stays, in tables with a key and without one.
TEST_F(TruncateTest, WhatIsOlderDiesAndWhatIsNewerStaysOnEveryNode) {
  Start(2,
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "CREATE TABLE log (v text);"
        "CREATE TABLE parent (id int PRIMARY KEY);"
        "CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent);"
        "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);"
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i;"
        "INSERT INTO log VALUES ('old');"
        "INSERT INTO parent VALUES (1), (2);"
        "INSERT INTO child (parent) SELECT 1 FROM generate_series(1, 5);"
        "INSERT INTO part VALUES (1), (101);");
  if (HasFatalFailure()) return;
  // Refers to a replicated table on one node only, where TRUNCATE is refused for it.
  BDR_EXEC("n2", "CREATE UNLOGGED TABLE here_only (parent int REFERENCES parent)");
  cluster_->Partition("n1", "n2");
  // Three transactions in a row, so that they are applied as a group where they may be.
  BDR_EXEC("n2", "INSERT INTO t VALUES (20, 'older'), (21, 'older')");
  BDR_EXEC("n2", "INSERT INTO log VALUES ('older')");
  BDR_EXEC("n2", "INSERT INTO part VALUES (2), (102)");
  BDR_EXEC("n1",
           "BEGIN; INSERT INTO t VALUES (30, 'same transaction, before');"
           "INSERT INTO log VALUES ('same transaction, before'); TRUNCATE t, log;"
           "INSERT INTO t VALUES (31, 'same transaction, after');"
           "INSERT INTO log VALUES ('same transaction, after'); COMMIT");
  BDR_EXEC("n1", "TRUNCATE parent RESTART IDENTITY CASCADE");
  BDR_EXEC("n1", "TRUNCATE part");
  BDR_EXEC("n2", "INSERT INTO log VALUES ('newer')");
  BDR_EXEC("n2", "INSERT INTO t VALUES (40, 'newer'); UPDATE t SET v = 'newer' WHERE id = 21");
  BDR_EXEC("n2", "UPDATE t SET v = 'newer' WHERE id = 3");
  BDR_EXEC("n2", "INSERT INTO part VALUES (103)");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM t",
                   "3 newer, 21 newer, 31 same transaction, after, 40 newer");
  ExpectEverywhere("SELECT string_agg(v, ', ' ORDER BY v) FROM log",
                   "newer, same transaction, after");
  ExpectEverywhere("SELECT string_agg(id::text, ', ') FROM part", "103");
  ExpectEverywhere("SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child)", "0");
  ExpectEverywhere("SELECT last_value || ' ' || is_called FROM child_id_seq", "1 false");
  // One entry for each table, whatever the number of rows.
  ASSERT_OK(cluster_->WaitForValue(
      "n2",
      "SELECT count(*) FROM bdr.conflict_log WHERE kind = 'truncate_origin_differs' AND relation = "
      "'public.t' AND (local_row->>'rows_kept')::int = 3",
      "1", kDeadline));

  // The TRUNCATE of one partition stays where it ran (node check says so); DELETE travels.
  BDR_EXEC("n1", "INSERT INTO part VALUES (5)");
  BDR_CONVERGE();
  BDR_EXEC("n1", "TRUNCATE part_1");
  BDR_EXEC("n1", "INSERT INTO t VALUES (50, 'a sign')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM t WHERE id = 50", "1", kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM part_1"), "1");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult check,
                       cluster_->Bdrctl({"node", "check", "n1"}));
  EXPECT_THAT(check.out, ::testing::HasSubstr("TRUNCATE of one of its partitions"));
}

// Everybody truncates while everybody writes, in tables with and without a key. In-core logical
// replication and PGD apply a TRUNCATE whenever it arrives: it takes newer rows with it on some
// nodes only.
TEST_F(TruncateTest, TablesThatAreTruncatedUnderLoadConverge) {
  BDR_START_CLUSTER(3, harness::Load::Schema());
  for (int round = 0; round < 3; ++round) {
    harness::Load load(cluster_.get(), {.nodes = {}, .workers_per_node = 2, .hot_rows = 5});
    for (int i = 0; i < 4; ++i) {
      ASSERT_OK(load.WaitForMore(kSanitized ? 40 : 150, kDeadline));
      // Users of the table may be the victims of a deadlock with it, and so may it.
      ASSERT_OK(harness::WaitFor("TRUNCATE", kDeadline, [&]() -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(cluster_->Exec(cluster_->names()[static_cast<size_t>((round + i) % 3)],
                                       "TRUNCATE load_keyed, load_events, load_hot"));
        return true;
      }));
    }
    load.Stop();
    BDR_CONVERGE();
  }
}

// After a start an agent merges again what it captures of its own, in groups. Of a transaction that
// filled a table and then truncated it, the rows must not come back.
TEST_F(TruncateTest, RowsOfATransactionThatTruncatedThemStayAway) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)");
  ASSERT_OK(cluster_->agent("n1").Terminate(kDeadline));
  BDR_EXEC("n1",
           "BEGIN; INSERT INTO t SELECT i, i FROM generate_series(1, 1700) AS i; TRUNCATE t;"
           "INSERT INTO t SELECT i, i FROM generate_series(1, 300) AS i; COMMIT");
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM t", "300", kDeadline));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "300");
}

}  // namespace
}  // namespace bdr::integration
