// Tables that are not declared alike on all nodes for a while, as in every change of schema that is
// made node after node: nothing is rounded or cut in silence, what fits goes on, and once all nodes
// are alike again everything has arrived and is the same.
#include <algorithm>

#include "absl/strings/match.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class DriftTest : public ClusterTest {
 protected:
  // `bdrctl status` is critical and says all of this.
  void ExpectStopped(const std::vector<std::string>& named) {
    std::string last;
    ASSERT_OK(harness::WaitFor(
        "status tells why apply has stopped", kDeadline,
        [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const harness::ProgramResult status, cluster_->Bdrctl({"status"}));
          last = status.out;
          return status.exit_code == 2 &&
                 std::all_of(named.begin(), named.end(), [&](const std::string& part) {
                   return absl::StrContains(last, part);
                 });
        }))
        << last;
  }
  void RetryApply(const std::string& node) {
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult retry,
                         cluster_->Bdrctl({"apply", "retry", node}));
    EXPECT_EQ(retry.exit_code, 0) << retry.out << retry.err;
  }
};

// What would be rounded or cut here stops, names both types, and arrives whole once they agree.
TEST_F(DriftTest, ANarrowerColumnStopsWhatItWouldCut) {
  struct Case {
    const char* table;
    const char* narrow;  // on n2
    const char* fits;    // both
    const char* value;   // written on n1
    const char* here;
    const char* there;
    const char* wide;
  };
  const std::vector<Case> cases = {
      {"a_numeric", "numeric(5,1)", "0.5", "1.25", "type numeric(5,1) here", "type numeric where",
       "numeric"},
      {"a_time", "timestamp(0)", "NULL", "2024-01-01 00:00:00.5",
       "timestamp(0) without time zone here", "timestamp without time zone where", "timestamp"},
      {"an_array", "numeric(5,1)[]", "NULL", "{1.5,1.25}", "numeric(5,1)[] here", "numeric[] where",
       "numeric[]"},
      {"a_domain", "narrow", "0.5", "1.25", "numeric(5,1) here", "numeric where", "numeric"},
      {"a_text", "varchar(3)", "NULL", "ab  ", "character varying(3) here", "text where", "text"},
      {"a_key", "numeric(5,1)", "0.5", "1.25", "numeric(5,1) here", "numeric where", "numeric"},
  };
  BDR_START_CLUSTER(2,
                    "CREATE DOMAIN narrow AS numeric(5,1);"
                    "CREATE TABLE a_numeric (v numeric, id int PRIMARY KEY);"
                    "CREATE TABLE a_time (v timestamp, id int PRIMARY KEY);"
                    "CREATE TABLE an_array (v numeric[], id int PRIMARY KEY);"
                    "CREATE TABLE a_domain (v numeric, id int PRIMARY KEY);"
                    "CREATE TABLE a_text (v text, id int PRIMARY KEY);"
                    "CREATE TABLE a_key (v numeric PRIMARY KEY, id int)");
  for (const Case& each : cases) {
    SCOPED_TRACE(each.table);
    // Whoever applies has looked at the table before it is altered.
    BDR_EXEC("n1", absl::StrCat("INSERT INTO ", each.table, " VALUES (", each.fits, ", 0)"));
    ASSERT_OK(cluster_->WaitForValue("n2", absl::StrCat("SELECT count(*) FROM ", each.table), "1",
                                     kDeadline));
    BDR_EXEC("n2", absl::StrCat("DELETE FROM ", each.table));
    ASSERT_OK(cluster_->WaitForValue("n1", absl::StrCat("SELECT count(*) FROM ", each.table), "0",
                                     kDeadline));
    BDR_EXEC("n2", absl::StrCat("ALTER TABLE ", each.table, " ALTER v TYPE ", each.narrow));
    BDR_EXEC("n1", absl::StrCat("INSERT INTO ", each.table, " VALUES ('", each.value, "', 1)"));
    ASSERT_NO_FATAL_FAILURE(ExpectStopped({each.table, each.here, each.there, "apply retry"}));
    EXPECT_EQ(Value("n2", absl::StrCat("SELECT count(*) FROM ", each.table)), "0");
    BDR_EXEC("n2", absl::StrCat("ALTER TABLE ", each.table, " ALTER v TYPE ", each.wide));
    ASSERT_NO_FATAL_FAILURE(RetryApply("n2"));
    ASSERT_OK(cluster_->WaitForValue("n2", absl::StrCat("SELECT v FROM ", each.table), each.value,
                                     kDeadline));
  }
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// A repair writes values as text, and a column that is narrower here would cut them too.
TEST_F(DriftTest, ARepairDoesNotCutEither) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, v numeric)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 1.25)");
  BDR_CONVERGE();
  BDR_EXEC("n2", "ALTER TABLE t ALTER v TYPE numeric(5,1)");
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult refused,
      cluster_->Bdrctl({"verify", "--table", "public.t", "--repair", "n1", "--yes"}));
  EXPECT_NE(refused.exit_code, 0) << refused.out;
  EXPECT_TRUE(absl::StrContains(absl::StrCat(refused.out, refused.err), "declared alike"))
      << refused.out << refused.err;
  EXPECT_EQ(Value("n2", "SELECT v FROM t"), "1.3");
}

// Both ways where the value fits: while the types differ, nobody waits for anybody.
TEST_F(DriftTest, ATypeChangedOnOneNodeFirstStopsOnlyWhatDoesNotFit) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE t (id int PRIMARY KEY, v int);"
                    "CREATE TABLE k (id int PRIMARY KEY, v text)");
  BDR_EXEC("n1", "ALTER TABLE t ALTER v TYPE text; ALTER TABLE k ALTER id TYPE bigint");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, '5'); INSERT INTO k VALUES (1, 'small')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT v FROM t", "5", kDeadline));
  BDR_EXEC("n2", "INSERT INTO t VALUES (2, -6); UPDATE k SET v = 'of n2'");
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT v FROM t WHERE id = 2", "-6", kDeadline));
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT v FROM k", "of n2", kDeadline));

  BDR_EXEC("n1", "INSERT INTO t VALUES (3, 'seven')");
  ASSERT_NO_FATAL_FAILURE(ExpectStopped(
      {"column \"v\" of table \"public.t\"", "type integer here", "type text where", "TYPE text"}));
  BDR_EXEC("n2", "ALTER TABLE t ALTER v TYPE text");
  ASSERT_NO_FATAL_FAILURE(RetryApply("n2"));
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT v FROM t WHERE id = 3", "seven", kDeadline));

  BDR_EXEC("n1", "INSERT INTO k VALUES (5000000000, 'big')");
  ASSERT_NO_FATAL_FAILURE(ExpectStopped(
      {"column \"id\" of table \"public.k\"", "type integer here", "type bigint where"}));
  BDR_EXEC("n2", "ALTER TABLE k ALTER id TYPE bigint");
  ASSERT_NO_FATAL_FAILURE(RetryApply("n2"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM k",
                   "1 of n2, 5000000000 big");
}

// Changes that were captured with the old types arrive after everybody has the new ones. What the
// store knows of a row is found under its key of the new type.
TEST_F(DriftTest, ChangesFromBeforeATypeWasChangedEverywhereArrive) {
  BDR_START_CLUSTER(
      3,
      "CREATE TABLE k (id int PRIMARY KEY, v text);"
      "INSERT INTO k VALUES (1, 'old'), (2, 'old'), (3, 'old');"
      "CREATE TABLE w (id int PRIMARY KEY, a int, b varchar(10), c int, d text, e real,"
      "                n numeric(6,2), s int[], u int UNIQUE);"
      "CREATE TABLE f (id smallint, v int); ALTER TABLE f ADD PRIMARY KEY (id);"
      "ALTER TABLE f REPLICA IDENTITY FULL; INSERT INTO f VALUES (1, 0)");
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult policy,
      cluster_->Bdrctl({"table", "set-policy", "public.f", "column_merge", "--wait", "60"}));
  ASSERT_EQ(policy.exit_code, 0) << policy.out << policy.err;
  ASSERT_OK(cluster_->agent("n3").Pause());
  BDR_EXEC("n3", "UPDATE k SET v = 'of n3' WHERE id IN (1, 2)");
  BDR_EXEC("n3", "INSERT INTO k VALUES (10, 'of n3')");
  BDR_EXEC("n3", "INSERT INTO w VALUES (1, 1, 'one', 1, '7', 0.1, 1.50, '{1,2}', 100)");
  BDR_EXEC("n3", "UPDATE f SET v = 3");
  BDR_EXEC("n1", "DELETE FROM k WHERE id = 1");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM k WHERE id = 1", "0", kDeadline));
  ASSERT_OK(cluster_->ExecEverywhere(
      "ALTER TABLE k ALTER id TYPE bigint;"
      "ALTER TABLE w ALTER a TYPE bigint, ALTER b TYPE text, ALTER c TYPE text,"
      "  ALTER d TYPE int USING d::int, ALTER e TYPE double precision, ALTER n TYPE numeric,"
      "  ALTER s TYPE bigint[], ALTER u TYPE bigint;"
      "ALTER TABLE f ALTER id TYPE int, ALTER v TYPE bigint"));
  BDR_EXEC("n1", "INSERT INTO k VALUES (5000000000, 'big')");
  BDR_EXEC("n1", "INSERT INTO w VALUES (2, 5000000000, 'longer than ten', 'c', 8, 2, 3, '{}', 2)");
  ASSERT_OK(cluster_->agent("n3").Resume());
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM k",
                   "2 of n3, 3 old, 10 of n3, 5000000000 big");
  ExpectEverywhere("SELECT concat_ws(' ', a, b, c, d, e, n, s, u) FROM w WHERE id = 1",
                   "1 one 1 7 0.10000000149011612 1.50 {1,2} 100");
  ExpectEverywhere("SELECT v FROM f", "3");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// n1 adds columns first, and writes them. Who has not got them yet means by an update the row as it
// shows there later, with the columns' defaults; so it is everywhere, in whatever order the changes
// come and the columns are added.
TEST_F(DriftTest, AColumnAddedOnOneNodeFirstEndsAlike) {
  BDR_START_CLUSTER(3,
                    "CREATE TABLE t (id int PRIMARY KEY, a int);"
                    "INSERT INTO t SELECT i, 0 FROM generate_series(1, 8) i;"
                    "CREATE TABLE rewritten (id int PRIMARY KEY, a int);"
                    "INSERT INTO rewritten VALUES (1, 0), (2, 0)");
  const std::string add = "ADD COLUMN c int NOT NULL DEFAULT 5, ADD COLUMN d text";
  const std::string rows = "SELECT string_agg(concat_ws(' ', id, a, c, d), ', ' ORDER BY id) FROM ";
  BDR_EXEC("n1", absl::StrCat("ALTER TABLE t ", add, "; ALTER TABLE t ALTER c SET DEFAULT 7"));
  BDR_EXEC("n1", absl::StrCat("ALTER TABLE rewritten ", add));
  BDR_EXEC("n1", "VACUUM FULL rewritten");  // which makes PostgreSQL forget what older rows show
  BDR_EXEC("n1", "UPDATE t SET c = 6, d = 'x' WHERE id IN (1, 2, 5)");
  BDR_EXEC("n1", "UPDATE rewritten SET c = 6, d = 'x'");
  BDR_EXEC("n1", "INSERT INTO t VALUES (10, 0, 6, 'x')");
  // Later, and without the columns.
  BDR_EXEC("n2", "UPDATE t SET a = 2 WHERE id = 1; INSERT INTO t VALUES (20, 0)");
  BDR_EXEC("n2", "BEGIN; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES (5, 2); COMMIT");
  BDR_EXEC("n2", "UPDATE rewritten SET a = 2 WHERE id = 1");
  BDR_EXEC("n3", "UPDATE t SET a = 3 WHERE id = 3; INSERT INTO t VALUES (30, 0)");
  ASSERT_OK(cluster_->WaitForValue(
      "n1", absl::StrCat(rows, "t"),
      "1 2 5, 2 0 6 x, 3 3 5, 4 0 5, 5 2 5, 6 0 5, 7 0 5, 8 0 5, 10 0 6 x, 20 0 5, 30 0 5",
      kDeadline));
  ASSERT_OK(
      cluster_->WaitForValue("n1", absl::StrCat(rows, "rewritten"), "1 2 5, 2 0 6 x", kDeadline));
  // What n1 had written is not lost without a word.
  EXPECT_EQ(Value("n1",
                  "SELECT string_agg(local_row->>'d', ' ') FROM bdr.conflict_log"
                  " WHERE relation = 'public.t' AND kind LIKE 'update%' AND winner = 'remote'"),
            "x");
  ASSERT_NO_FATAL_FAILURE(ExpectStopped({"has no column \"c\" here"}));

  // Without them, and then with them, in one group; and n1's later write of a row that n2 wrote
  // before.
  ASSERT_OK(cluster_->agent("n1").Pause());
  BDR_EXEC("n2", "UPDATE t SET a = 4 WHERE id IN (6, 7)");
  // Captured only after its agent was killed, it would be stamped later than what follows.
  ASSERT_OK(cluster_->WaitForValue(
      "n2",
      absl::StrCat("SELECT confirmed_flush_lsn >= '", Value("n2", "SELECT pg_current_wal_lsn()"),
                   "' FROM pg_replication_slots"),
      "t", kDeadline));
  BDR_EXEC("n1", "UPDATE t SET c = 8 WHERE id = 7");
  BDR_EXEC("n2", absl::StrCat("ALTER TABLE t ", add, "; ALTER TABLE rewritten ", add));
  BDR_EXEC("n2", "UPDATE t SET c = 9 WHERE id = 6");
  ASSERT_OK(cluster_->agent("n1").Resume());
  cluster_->agent("n2").Kill9();  // nothing of it is only in memory
  ASSERT_OK(cluster_->StartAgent("n2"));
  BDR_EXEC("n3", "UPDATE t SET a = 5 WHERE id = 2");
  BDR_EXEC("n3", absl::StrCat("ALTER TABLE t ", add, "; ALTER TABLE rewritten ", add));
  ASSERT_NO_FATAL_FAILURE(RetryApply("n3"));
  ASSERT_OK(cluster_->ExecEverywhere("ALTER TABLE t ALTER c SET DEFAULT 5"));
  BDR_CONVERGE();
  ExpectEverywhere(
      absl::StrCat(rows, "t"),
      "1 2 5, 2 5 5, 3 3 5, 4 0 5, 5 2 5, 6 4 9, 7 0 8, 8 0 5, 10 0 6 x, 20 0 5, 30 0 5");
  ExpectEverywhere(absl::StrCat(rows, "rewritten"), "1 2 5, 2 0 6 x");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
