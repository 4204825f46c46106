// The anomalies that are known of multi-master systems for PostgreSQL, each as small as it gets.
// docs/anomalies.md names for each the systems that show it.
#include <csignal>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "tests/harness/process.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// One cluster for all tests of a run; each has a table of its own.
class AnomaliesTest : public ClusterTest {
 protected:
  static void SetUpTestSuite() {
    harness::ClusterOptions options;
    options.nodes.assign(3, {});
    options.proxies = true;
    options.start_deadline = kDeadline;
    for (const char* table : {"after_delete", "before_insert", "triangle", "moved", "anew",
                              "vacuumed", "saved", "stamped", "hidden", "kept"}) {
      absl::StrAppend(&options.schema_sql, "CREATE TABLE ", table, " (id int PRIMARY KEY, v text);",
                      "INSERT INTO ", table, " SELECT i, 'first' FROM generate_series(1, 9) AS i;");
    }
    absl::StrAppend(&options.schema_sql,
                    "CREATE TABLE scaled (id numeric PRIMARY KEY, v text);"
                    "CREATE TABLE signed (id float8 PRIMARY KEY, v text);"
                    "CREATE TABLE deferred (id int PRIMARY KEY, place int UNIQUE DEFERRABLE"
                    " INITIALLY DEFERRED);"
                    "CREATE EXTENSION citext;"
                    "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2',"
                    " deterministic = false);"
                    "CREATE TABLE spelled (id int PRIMARY KEY, number numeric UNIQUE,"
                    " name citext UNIQUE, title text COLLATE nocase UNIQUE)");
    absl::StatusOr<std::unique_ptr<harness::Cluster>> started =
        harness::Cluster::Start(std::move(options));
    ASSERT_OK(started.status());
    shared_ = started->release();
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  void SetUp() override {
    ASSERT_NE(shared_, nullptr);
    cluster_.reset(shared_);
  }
  void TearDown() override {
    if (cluster_ == nullptr) return;
    for (const std::string& node : cluster_->names()) SignalCapture(node, SIGCONT);
    cluster_->Heal();
    (void)cluster_.release();
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
  void CutLink(const std::string& from, const std::string& to) {
    cluster_->SetFault(from, to, {.cut = true});
  }
  void WaitFor(const std::string& node, const std::string& sql, const std::string& value) {
    ASSERT_OK(cluster_->WaitForValue(node, sql, value, kDeadline));
  }
  void IsolateAll() {
    cluster_->Partition("n1", "n2");
    cluster_->Partition("n1", "n3");
    cluster_->Partition("n2", "n3");
  }

 private:
  static harness::Cluster* shared_;
};

harness::Cluster* AnomaliesTest::shared_ = nullptr;

// A row is inserted on n1, deleted on n2, and n3 hears of the delete first. In-core logical
// replication and pglogical skip a delete of nothing, and keep the row for ever.
TEST_F(AnomaliesTest, InsertThatArrivesAfterItsDelete) {
  CutLink("n1", "n3");
  BDR_EXEC("n1", "INSERT INTO after_delete VALUES (100, 'gone')");
  WaitFor("n2", "SELECT count(*) FROM after_delete WHERE id = 100", "1");
  BDR_EXEC("n2", "DELETE FROM after_delete WHERE id = 100");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM after_delete WHERE id = 100", "0");
}

// The same with an update: in-core logical replication and pglogical skip it as update_missing, and
// end with the inserted row on n3 alone.
TEST_F(AnomaliesTest, UpdateThatArrivesBeforeItsInsert) {
  CutLink("n1", "n3");
  BDR_EXEC("n1", "INSERT INTO before_insert VALUES (100, 'inserted')");
  WaitFor("n2", "SELECT count(*) FROM before_insert WHERE id = 100", "1");
  BDR_EXEC("n2", "UPDATE before_insert SET v = 'updated' WHERE id = 100");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM before_insert WHERE id = 100", "updated");
}

// Three nodes that hear nothing of each other write one row, two update and one deletes it, in
// every order of time. PGD's manual names the outcome of update and delete as one that may differ
// between nodes.
TEST_F(AnomaliesTest, UpdateUpdateDeleteTriangles) {
  IsolateAll();
  const std::vector<std::string> nodes = {"n1", "n2", "n3"};
  // The row's number, the node that deletes, and which of the three writes it is.
  for (int row = 1; row <= 9; ++row) {
    const int deleter = (row - 1) % 3;
    const int place = (row - 1) / 3;
    for (int turn = 0; turn < 3; ++turn) {
      // The others take the other turns, in the order of their names.
      const int node = (deleter + 3 + turn - place) % 3;
      const std::string where = absl::StrCat(" WHERE id = ", row);
      if (node == deleter) {
        BDR_EXEC(nodes[node], "DELETE FROM triangle" + where);
      } else {
        BDR_EXEC(nodes[node], absl::StrCat("UPDATE triangle SET v = 'turn ", turn, "'", where));
      }
    }
  }
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM triangle WHERE id BETWEEN 1 AND 6 AND v = 'turn 2'", "6");
  ExpectEverywhere("SELECT count(*) FROM triangle WHERE id >= 7", "0");
}

// A key changes while another node updates the row, and while a third inserts the new key. Systems
// that look the row up by its new key only (in-core up to 15 without the old tuple, Bucardo) leave
// the old one behind.
TEST_F(AnomaliesTest, KeyChangeAgainstUpdateAndInsert) {
  IsolateAll();
  BDR_EXEC("n1", "UPDATE moved SET id = 101 WHERE id = 1");
  BDR_EXEC("n2", "UPDATE moved SET v = 'stays' WHERE id = 1");  // later: lives under the old key
  BDR_EXEC("n2", "UPDATE moved SET v = 'earlier' WHERE id = 2");
  BDR_EXEC("n1", "UPDATE moved SET id = 102 WHERE id = 2");  // later: the old key is gone
  BDR_EXEC("n3", "INSERT INTO moved VALUES (102, 'newest')");
  BDR_EXEC("n3", "UPDATE moved SET id = 103 WHERE id = 3");
  BDR_EXEC("n1", "UPDATE moved SET id = 203 WHERE id = 3");  // one row moved to two places
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM moved WHERE id < 4 OR "
      "id > 100",
      "1 stays, 101 first, 102 newest, 103 first, 203 first");
}

// An applier decides while capture has not read yet that the row was deleted and made anew in one
// transaction. Merged again by itself, the delete would take the new row, on this node alone.
// (Found by the model; ours, before it was released.)
TEST_F(AnomaliesTest, ARowDeletedAndMadeAnewBehindCapturesBack) {
  CutLink("n2", "n1");
  BDR_EXEC("n2", "UPDATE anew SET v = 'older' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE anew SET v = 'passed' WHERE id = 2");
  SignalCapture("n1", SIGSTOP);
  BDR_EXEC("n1",
           "BEGIN; DELETE FROM anew WHERE id = 1; INSERT INTO anew VALUES (1, 'anew'); COMMIT");
  BDR_EXEC("n1", "DELETE FROM anew WHERE id = 3");
  cluster_->Heal();
  // Its group waits for capture by now, or is past it.
  WaitFor("n1",
          "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'bdr apply%'",
          "t");
  SignalCapture("n1", SIGCONT);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM anew WHERE id = 1", "anew");
  ExpectEverywhere("SELECT v FROM anew WHERE id = 2", "passed");
  ExpectEverywhere("SELECT count(*) FROM anew WHERE id = 3", "0");
}

// Nothing is left of a deleted row once it is vacuumed, and capture has not told of the delete yet:
// an older update and an older insert must not bring the row back. PostgreSQL 19 keeps dead rows
// for this (retain_dead_tuples); before, in-core logical replication brings it back.
TEST_F(AnomaliesTest, RowDeletedAndVacuumedBeforeAnOlderChangeArrives) {
  CutLink("n2", "n1");
  BDR_EXEC("n2", "UPDATE vacuumed SET v = 'older' WHERE id = 1");
  BDR_EXEC("n2", "INSERT INTO vacuumed VALUES (100, 'older')");
  SignalCapture("n1", SIGSTOP);
  BDR_EXEC("n1", "INSERT INTO vacuumed VALUES (100, 'here')");
  BDR_EXEC("n1", "DELETE FROM vacuumed WHERE id IN (1, 100)");
  BDR_EXEC("n1", "VACUUM vacuumed");
  cluster_->Heal();
  SignalCapture("n1", SIGCONT);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM vacuumed WHERE id IN (1, 100)", "0");
}

// A change of one's own that has to be merged again is nowhere else: what stands in its way for a
// while, a full disk here, must not lose it.
TEST_F(AnomaliesTest, AnOwnChangeThatIsMergedAgainOutlastsWhatStandsInItsWay) {
  cluster_->Partition("n1", "n2");
  SignalCapture("n2", SIGSTOP);
  BDR_EXEC("n2", "INSERT INTO kept VALUES (100, 'older')");
  BDR_EXEC("n1", "INSERT INTO kept VALUES (100, 'between')");
  BDR_EXEC("n2", "DELETE FROM kept WHERE id = 100");
  BDR_EXEC("n2",
           "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
           " RAISE EXCEPTION 'no room, says a test' USING ERRCODE = 'disk_full'; END $$;"
           "CREATE TRIGGER disk_full BEFORE DELETE ON kept FOR EACH ROW EXECUTE FUNCTION"
           " disk_full(); ALTER TABLE kept ENABLE ALWAYS TRIGGER disk_full");
  cluster_->Heal();
  WaitFor("n2", "SELECT v FROM kept WHERE id = 100", "between");
  SignalCapture("n2", SIGCONT);
  ASSERT_OK(harness::WaitFor("status tells of it", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status, cluster_->Bdrctl({"status"}));
    return absl::StrContains(status.out, "no room, says a test");
  }));
  BDR_EXEC("n2", "DROP FUNCTION disk_full CASCADE");
  ASSERT_EQ(cluster_->Bdrctl({"apply", "retry", "n2"})->exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM kept WHERE id = 100", "0");
}

// A row written in a savepoint carries the subtransaction's xid. Who asks that xid for what became
// of the row (the trap of a commit-timestamp store by top-level xid) gets nothing.
TEST_F(AnomaliesTest, RowsWrittenInSavepoints) {
  cluster_->Partition("n1", "n2");
  cluster_->Partition("n2", "n3");
  BDR_EXEC("n2", "UPDATE saved SET v = 'older' WHERE id IN (1, 2)");
  BDR_EXEC("n1",
           "BEGIN; SAVEPOINT a; UPDATE saved SET v = 'newer' WHERE id = 1; SAVEPOINT b;"
           "UPDATE saved SET v = 'never' WHERE id = 2; ROLLBACK TO b;"
           "DELETE FROM saved WHERE id = 3; RELEASE a; COMMIT");
  BDR_EXEC("n2", "UPDATE saved SET v = 'later' WHERE id = 3");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM saved WHERE id < 4",
                   "1 newer, 2 older, 3 later");
}

// pg_replication_origin_xact_setup() sets a value of the session, which the next transaction would
// commit with again: everything an applier writes would look as old as its first group.
TEST_F(AnomaliesTest, StampsDoNotOutliveTheirTransaction) {
  const std::string time = "SELECT pg_xact_commit_timestamp(xmin) FROM stamped WHERE id = ";
  for (const char* row : {"1", "2", "3"}) {
    BDR_EXEC("n1", absl::StrCat("UPDATE stamped SET v = 'set' WHERE id = ", row));
    WaitFor("n2", absl::StrCat("SELECT v FROM stamped WHERE id = ", row), "set");
    // By itself in its group, it has its own stamp: the commit time, or that raised.
    const std::string there = Value("n1", time + row);
    EXPECT_EQ(Value("n2", absl::StrCat("SELECT pg_xact_commit_timestamp(xmin) - '", there,
                                       "' BETWEEN '0' AND '100 ms' FROM stamped WHERE id = ", row)),
              "t");
  }
}

// Row security hides rows from a role that may not pass it: an update of a hidden row writes
// nothing and says nothing. The agent's role may pass it; without that it does not start, nor apply
// (CatalogTest.RowSecurityIsThatOfTheConnectedRole).
TEST_F(AnomaliesTest, RowSecurityHidesNoRowFromApply) {
  BDR_EXEC("n2",
           "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;"
           "CREATE POLICY odd ON hidden USING (id % 2 = 1)");
  BDR_EXEC("n1",
           "UPDATE hidden SET v = 'seen' WHERE id IN (1, 2); DELETE FROM hidden WHERE id = 4");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM hidden WHERE v = 'seen'", "2");
  ExpectEverywhere("SELECT count(*) FROM hidden WHERE id = 4", "0");
}

// Equal to PostgreSQL, and other bytes: 1.0 and 1.00, 0 and -0. Systems that hash or compare keys
// as text take them for two rows. (citext and others: KeyTypesTest.)
TEST_F(AnomaliesTest, EqualKeysWithOtherBytes) {
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO scaled VALUES (1.0, 'earlier'); INSERT INTO signed VALUES (0, '')");
  BDR_EXEC("n2",
           "INSERT INTO scaled VALUES (1.00, 'later'); INSERT INTO signed VALUES ('-0', 'x')");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ') FROM scaled", "1.00 later");
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ') FROM signed", "-0 x");
  // What one calls so, all find by that.
  BDR_EXEC("n3", "UPDATE scaled SET v = 'found' WHERE id = 1");
  BDR_EXEC("n1", "DELETE FROM signed WHERE id = 0");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ') FROM scaled", "1.00 found");
  ExpectEverywhere("SELECT count(*) FROM signed", "0");
}

// The same of unique values beside the key. Who compares them as bytes sees no conflict, runs into
// the constraint, and stops there (in-core logical replication).
TEST_F(AnomaliesTest, EqualUniqueValuesWithOtherBytes) {
  IsolateAll();
  BDR_EXEC("n1", "INSERT INTO spelled VALUES (11, 1.0, 'a', 'a'), (12, 2, 'Ann', 'b')");
  BDR_EXEC("n2", "INSERT INTO spelled VALUES (21, 1.00, 'c', 'c'), (23, 3, 'd', 'Dean')");
  BDR_EXEC("n3", "INSERT INTO spelled VALUES (32, 4, 'ANN', 'e'), (33, 5, 'f', 'DEAN')");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(concat_ws(' ', id, number, name, title), ', ' ORDER BY id)"
      " FROM spelled",
      "21 1.00 c c, 32 4 ANN e, 33 5 f DEAN");
}

// Under session_replication_role = replica nobody checks a deferrable unique constraint: an applier
// that leaves it to PostgreSQL writes duplicates and says nothing (in-core logical replication).
TEST_F(AnomaliesTest, DeferrableUniqueConstraintsHoldThoughReplicasDoNotCheckThem) {
  IsolateAll();
  BDR_EXEC("n1", "INSERT INTO deferred VALUES (1, 7), (2, 8)");
  BDR_EXEC("n2", "INSERT INTO deferred VALUES (3, 7), (4, 9)");
  // Ends with other values than it goes through.
  BDR_EXEC("n3",
           "BEGIN; INSERT INTO deferred VALUES (5, 8), (6, 8); UPDATE deferred SET place = 9"
           " WHERE id = 6; COMMIT");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) - count(DISTINCT place) FROM deferred", "0");
  ExpectEverywhere("SELECT string_agg(id || ' ' || place, ', ' ORDER BY id) FROM deferred",
                   "3 7, 5 8, 6 9");
}

// Without its replication origin PostgreSQL 15 decodes a transaction as a local one, and it would
// be sent round as this node's own. Every applier keeps its origin in use, so that PostgreSQL
// refuses to drop it; ours never drop one.
TEST_F(AnomaliesTest, AnOriginThatIsAppliedCannotBeDropped) {
  BDR_EXEC("n1", "UPDATE stamped SET v = 'of n1' WHERE id = 9");
  WaitFor("n2", "SELECT v FROM stamped WHERE id = 9", "of n1");
  ASSERT_OK_AND_ASSIGN(
      const std::string origins,
      cluster_->QueryValue("n2",
                           "SELECT string_agg(roname, ' ') FROM bdr.progress JOIN"
                           " pg_replication_origin ON roname LIKE"
                           " format('bdr\\_%%\\_%s\\_%s', origin_node, origin_incarnation)"
                           " WHERE lsn <> '0/0'"));
  for (const absl::string_view origin : absl::StrSplit(origins, ' ')) {
    const absl::Status dropped =
        cluster_->Exec("n2", absl::StrCat("SELECT pg_replication_origin_drop('", origin, "')"));
    EXPECT_THAT(dropped.ToString(), ::testing::HasSubstr("in use by PID")) << origin;
  }
  EXPECT_THAT(origins, ::testing::HasSubstr("_1_1"));
  EXPECT_THAT(origins, ::testing::HasSubstr("_3_1"));
}

}  // namespace
}  // namespace bdr::integration
