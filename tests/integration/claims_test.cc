// Unique values beside the key: nodes that take the same value without seeing each other end with
// the same rows, none of them holding a value twice, and what had to go is on record. In other
// systems such a conflict stops replication, or leaves each node with a row of its own.
#include <cstdlib>
#include <random>

#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ClaimsTest : public ClusterTest {
 protected:
  void StartWithProxies(const std::string& schema) {
    harness::ClusterOptions options;
    options.nodes.assign(3, {});
    options.proxies = true;
    options.schema_sql = schema;
    BDR_START_CLUSTER(std::move(options));
  }
  absl::StatusOr<int64_t> WalEnd(const char* node) {
    ASSIGN_OR_RETURN(const std::string end,
                     cluster_->QueryValue(node, "SELECT pg_current_wal_insert_lsn() - '0/0'"));
    return std::strtoll(end.c_str(), nullptr, 10);
  }
  void CutAllOff() {
    cluster_->Isolate("n1");
    cluster_->Partition("n2", "n3");
  }
};

constexpr char kSchema[] = R"(
CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE, note text);
CREATE TABLE word (id int PRIMARY KEY, w text, note text);
CREATE UNIQUE INDEX word_lower ON word (lower(w));
CREATE TABLE ticket (id int PRIMARY KEY, seat int, state text);
CREATE UNIQUE INDEX ticket_live ON ticket (seat) WHERE state = 'live';
CREATE TABLE late (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE booking (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
CREATE TABLE single (id int PRIMARY KEY, tag int UNIQUE NULLS NOT DISTINCT);
CREATE TABLE made (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED UNIQUE);
CREATE TABLE shop (id int, region int, code int, shelf int, PRIMARY KEY (id, region),
                   UNIQUE (region, code)) PARTITION BY LIST (region);
CREATE TABLE shop_1 PARTITION OF shop FOR VALUES IN (1);
CREATE TABLE shop_2 PARTITION OF shop FOR VALUES IN (2);
CREATE UNIQUE INDEX shop_1_shelf ON shop_1 (shelf);
)";

TEST_F(ClaimsTest, OfRowsThatTookTheSameValueApartOnlyTheNewestStays) {
  StartWithProxies(kSchema);
  if (HasFatalFailure()) return;
  CutAllOff();
  // Every node in turn, so that n3's rows are the newest. Rows 10 and above do not collide.
  for (int i = 1; i <= 3; ++i) {
    const std::string node = absl::StrCat("n", i);
    BDR_EXEC(node, absl::StrCat("INSERT INTO person VALUES (", i, ", 'ann', '", node, "'), (",
                                10 + i, ", NULL, '", node,
                                "');"
                                "INSERT INTO word VALUES (",
                                i, ", '", i == 2 ? "Word" : "wORD", "', '", node,
                                "');"
                                "INSERT INTO ticket VALUES (",
                                i, ", 7, 'live'), (", 10 + i,
                                ", 7, 'void');"
                                "INSERT INTO late VALUES (",
                                i,
                                ", 5);"
                                "INSERT INTO booking VALUES (",
                                i, ", int4range(", i * 3, ", ", i * 3 + 5, ")), (", 10 + i,
                                ", int4range(", 100 * i, ", ", 100 * i + 1,
                                "));"
                                "INSERT INTO single VALUES (",
                                i, ", NULL), (", 10 + i, ", ", i,
                                ");"
                                "INSERT INTO made VALUES (",
                                i,
                                ", 4);"
                                "INSERT INTO shop VALUES (",
                                i, ", 2, 9, 1), (", 10 + i, ", 1, ", i, ", 1), (", 20 + i, ", 2, ",
                                20 + i, ", 1)"));
  }
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || note, ', ' ORDER BY id) FROM person",
                   "3 n3, 11 n1, 12 n2, 13 n3");
  ExpectEverywhere("SELECT string_agg(id || ' ' || w, ', ') FROM word", "3 wORD");
  ExpectEverywhere("SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM ticket",
                   "3 live, 11 void, 12 void, 13 void");
  ExpectEverywhere("SELECT string_agg(id::text, ', ') FROM late", "3");
  // [3,8), [6,11), [9,14): the first and the last do not meet, but the one between them has been.
  ExpectEverywhere("SELECT string_agg(id::text, ', ' ORDER BY id) FROM booking", "3, 11, 12, 13");
  ExpectEverywhere("SELECT string_agg(id::text, ', ' ORDER BY id) FROM single", "3, 11, 12, 13");
  ExpectEverywhere("SELECT string_agg(id || ' ' || twice, ', ') FROM made", "3 8");
  ExpectEverywhere("SELECT string_agg(id::text, ', ' ORDER BY id) FROM shop", "3, 13, 21, 22, 23");

  // What had to go is on record, whole, where it was seen to go.
  ASSERT_OK(cluster_->WaitForValue(
      "n1",
      "SELECT local_row ->> 'note' FROM bdr.conflict_log WHERE kind = 'unique_claimed' AND "
      "relation = 'public.person' AND key ->> 'id' = '1' AND winner = 'remote' AND "
      "local_stamp < remote_stamp LIMIT 1",
      "n1", kDeadline));
  ASSERT_OK(cluster_->WaitForValue(
      "n3",
      "SELECT remote_row ->> 'note' FROM bdr.conflict_log WHERE kind = 'unique_claimed' AND "
      "relation = 'public.person' AND key ->> 'id' = '1' AND winner = 'local' LIMIT 1",
      "n1", kDeadline));
  ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics("n1"));
  EXPECT_GE(metrics.Sum("bdr_conflicts_by_kind_total", {{"kind", "unique_claimed"}}), 8);
}

TEST_F(ClaimsTest, ValuesThatMoveOnStillCountAndRowsThatWereUnseatedMayLiveAgain) {
  StartWithProxies(
      "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE, note text);"
      "CREATE TABLE late (id int PRIMARY KEY, place int UNIQUE DEFERRABLE);"
      "INSERT INTO person SELECT i, 'p' || i, 'first' FROM generate_series(1, 20) i;"
      "INSERT INTO late SELECT i, i FROM generate_series(1, 10) i");
  if (HasFatalFailure()) return;
  CutAllOff();
  // 31 takes 'x'. Later 32 takes it elsewhere, and gives it up again: 31 is dead all the same, or
  // who it is would depend on when the nodes heard of it. 33 takes what 34 had and lost to nobody.
  BDR_EXEC("n1", "INSERT INTO person VALUES (31, 'x', 'n1')");
  BDR_EXEC("n2", "INSERT INTO person VALUES (32, 'x', 'n2')");
  BDR_EXEC("n2", "UPDATE person SET email = 'y' WHERE id = 32");
  // Of 35 an earlier version is unseated; a later one, with another value, lives.
  BDR_EXEC("n1", "INSERT INTO person VALUES (35, 'z', 'n1')");
  BDR_EXEC("n2", "INSERT INTO person VALUES (36, 'z', 'n2')");
  BDR_EXEC("n1", "UPDATE person SET email = 'free' WHERE id = 35");
  // A claim of a row that is deleted in the end.
  BDR_EXEC("n3", "INSERT INTO person VALUES (37, 'gone', 'n3')");
  BDR_EXEC("n2", "INSERT INTO person VALUES (38, 'gone', 'n2')");
  BDR_EXEC("n2", "DELETE FROM person WHERE id = 38");
  // Values change places in one transaction, while another node writes both rows, earlier.
  BDR_EXEC("n2", "UPDATE person SET note = 'n2' WHERE id IN (1, 2)");
  BDR_EXEC("n1",
           "BEGIN; UPDATE person SET email = 'p0' WHERE id = 1;"
           "UPDATE person SET email = 'p1' WHERE id = 2;"
           "UPDATE person SET email = 'p2' WHERE id = 1; COMMIT");
  // All rows move on by one.
  BDR_EXEC("n3", "UPDATE late SET place = place % 10 + 1");
  // A row changes its key, and keeps its value; another node has written it under the old one.
  BDR_EXEC("n1", "UPDATE person SET id = 103 WHERE id = 3");
  BDR_EXEC("n2", "UPDATE person SET note = 'later' WHERE id = 3");
  BDR_EXEC("n2", "UPDATE person SET note = 'earlier' WHERE id = 4");
  BDR_EXEC("n1", "UPDATE person SET id = 104 WHERE id = 4");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(id || ' ' || email, ', ' ORDER BY id) FROM person"
      " WHERE id BETWEEN 30 AND 40",
      "32 y, 35 free, 36 z");
  ExpectEverywhere(
      "SELECT string_agg(id || ' ' || email, ', ' ORDER BY id) FROM person"
      " WHERE id < 3",
      "1 p2, 2 p1");
  ExpectEverywhere(
      "SELECT string_agg(concat_ws(' ', id, email, note), ', ' ORDER BY id)"
      " FROM person WHERE email IN ('p3', 'p4')",
      "3 p3 later, 104 p4 first");
  ExpectEverywhere(
      "SELECT string_agg(id || ' ' || place, ', ' ORDER BY id) FROM late"
      " WHERE id IN (1, 2, 10)",
      "1 2, 2 3, 10 1");
  // A value whose holder was unseated or has gone can be had again.
  BDR_EXEC("n3", "INSERT INTO person VALUES (41, 'x', 'n3'), (42, 'gone', 'n3')");
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(email, ', ' ORDER BY id) FROM person WHERE id > 40 AND id < 50",
      "x, gone");
}

// Few rows, few values, two unique columns, everybody at once, with links that come and go: what
// nobody thought of.
TEST_F(ClaimsTest, ManyRandomWritesOfFewValuesConverge) {
  StartWithProxies(
      "CREATE TABLE pair (id int PRIMARY KEY, a int UNIQUE, b text, note int);"
      "CREATE UNIQUE INDEX pair_b ON pair (lower(b)) WHERE note % 3 <> 0");
  if (HasFatalFailure()) return;
  // BDR_SEED runs it with another one.
  const char* const given = std::getenv("BDR_SEED");
  const uint32_t seed =
      given == nullptr ? 20261121 : static_cast<uint32_t>(std::strtoul(given, nullptr, 10));
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto draw = [&random](int count) {
    return static_cast<int>(random() % static_cast<unsigned>(count));
  };
  const auto change = [&draw]() -> std::string {
    const int id = draw(5);
    const std::string a = draw(4) == 0 ? "NULL" : absl::StrCat(draw(4));
    const std::string b =
        draw(3) == 0 ? "NULL" : absl::StrCat("'", draw(2) == 0 ? "q" : "Q", draw(3), "'");
    switch (draw(8)) {
      case 0:
      case 1:
      case 2:
        return absl::StrCat("INSERT INTO pair VALUES (", id, ", ", a, ", ", b, ", ", draw(100),
                            ")");
      case 3:
        return absl::StrCat("UPDATE pair SET a = ", a, ", note = ", draw(100), " WHERE id = ", id);
      case 4:
        return absl::StrCat("UPDATE pair SET b = ", b, " WHERE id = ", id);
      case 5:
        return absl::StrCat("UPDATE pair SET id = ", draw(5), " WHERE id = ", id);
      case 6:
        return absl::StrCat("DELETE FROM pair WHERE id = ", id);
      default:
        return absl::StrCat("INSERT INTO pair VALUES (", id, ", ", a, ", ", b, ", ", draw(100),
                            ") ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a, b = EXCLUDED.b");
    }
  };
  std::vector<std::unique_ptr<postgres::Connection>> users;
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(auto user, cluster_->Connect(node));
    users.push_back(std::move(user));
  }
  for (int round = 0; round < (kSanitized ? 2 : 6); ++round) {
    for (int i = 0; i < 250; ++i) {
      if (i % 50 == 0 && round % 2 == 0) {
        cluster_->Heal();
        const std::vector<std::string> names = cluster_->names();
        const size_t cut = static_cast<size_t>(draw(3));
        cluster_->Partition(names[cut], names[(cut + 1) % 3]);
      }
      if (i == 125 && round % 3 == 1) {
        // In the middle of whatever it does: what it knows of claims comes back.
        const std::string node = cluster_->names()[static_cast<size_t>(draw(3))];
        cluster_->agent(node).Kill9();
        ASSERT_OK(cluster_->StartAgent(node));
      }
      std::string sql = change();
      for (int more = draw(3); more > 0; --more) absl::StrAppend(&sql, "; ", change());
      // What a node's own constraints refuse is refused.
      const absl::Status status = users[static_cast<size_t>(draw(3))]->Exec(sql).status();
      ASSERT_TRUE(status.ok() || absl::IsFailedPrecondition(status) || absl::IsAborted(status))
          << status;
    }
    cluster_->Heal();
    Converge();
    if (HasFatalFailure()) {
      // What each node decided, as far as it is on record.
      for (const std::string& node : cluster_->names()) {
        ADD_FAILURE() << node << "\n"
                      << Value(
                             node,
                             "SELECT string_agg(concat_ws(' ', detected_at::time, kind, rule, key,"
                             " winner, local_row, local_stamp::time, local_node, remote_row,"
                             " remote_stamp::time, remote_node), E'\\n' ORDER BY id) FROM (SELECT *"
                             " FROM bdr.conflict_log ORDER BY id DESC LIMIT 100) c");
      }
      return;
    }
    ExpectEverywhere(
        "SELECT count(*) FROM (SELECT a FROM pair WHERE a IS NOT NULL GROUP BY a"
        " HAVING count(*) > 1 UNION ALL SELECT NULL FROM pair WHERE note % 3 <> 0"
        " AND b IS NOT NULL GROUP BY lower(b) HAVING count(*) > 1) d",
        "0");
  }
}

// Where constraints are deferred, a row may hold for a moment what another row holds. That is no
// claim: neither on a row that stands where it was written, nor on one that is not known there yet.
TEST_F(ClaimsTest, WhatATransactionItselfTakesBackIsTakenFromNobody) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE seat (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
  options.agent_config = "block_max_bytes: 16KiB\n";
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n2", "INSERT INTO seat VALUES (2, 7)");
  BDR_CONVERGE();
  BDR_EXEC("n2",
           "BEGIN; INSERT INTO seat VALUES (3, 7); UPDATE seat SET u = 1 WHERE id = 3; COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ':' || u, ' ' ORDER BY id) FROM seat", "2:7 3:1");

  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO seat VALUES (9, 8)");
  BDR_EXEC("n2",
           "BEGIN; INSERT INTO seat VALUES (4, 8); UPDATE seat SET u = 4 WHERE id = 4; COMMIT");
  BDR_EXEC("n2", "BEGIN; INSERT INTO seat VALUES (5, 8); DELETE FROM seat WHERE id = 5; COMMIT");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ':' || u, ' ' ORDER BY id) FROM seat",
                   "2:7 3:1 4:4 9:8");

  // Also where many other changes lie between the two, more than a block holds otherwise.
  BDR_EXEC("n2",
           "BEGIN; INSERT INTO seat VALUES (6, 7);"
           "INSERT INTO seat SELECT i, i FROM generate_series(1001, 4000) AS i;"
           "UPDATE seat SET u = 6 WHERE id = 6; COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ':' || u, ' ' ORDER BY id) FROM seat WHERE id < 1000",
                   "2:7 3:1 4:4 6:6 9:8");
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
}

// A transaction of many blocks goes another way: piece by piece.
TEST_F(ClaimsTest, ALargeTransactionMeetsValuesThatOthersTook) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql = "CREATE TABLE big (id int PRIMARY KEY, code int UNIQUE, filler text)";
  options.agent_config = "block_max_bytes: 65536\n";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO big SELECT 100000 + i, i * 100, 'n1' FROM generate_series(1, 50) i");
  BDR_EXEC("n2", "INSERT INTO big SELECT i, i, repeat('x', 100) FROM generate_series(1, 6000) i");
  BDR_EXEC("n1",
           "INSERT INTO big SELECT 200000 + i, i * 100 + 1, 'n1' FROM generate_series(1, 20) i");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM big WHERE id BETWEEN 100001 AND 100050", "0");
  ExpectEverywhere("SELECT count(*) FROM big WHERE id > 200000", "20");
  ExpectEverywhere("SELECT count(*) FROM big WHERE id < 100000", "5980");
}

// A group that was recorded as a whole and then falls apart: while its first half is written, the
// versions of its second half tell nothing of the rows that stand.
TEST_F(ClaimsTest, AGroupThatFallsApartUnseatsNobody) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql =
      "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, note text);"
      "INSERT INTO t SELECT i, i, '' FROM generate_series(1, 20) AS i";
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n2", "ALTER TABLE t ADD CONSTRAINT no_bad CHECK (note <> 'bad')");
  // All that n1 does meanwhile is there for one group.
  ASSERT_OK_AND_ASSIGN(const auto user, cluster_->Connect("n2"));
  ASSERT_OK(user->Exec("BEGIN; SELECT FROM t WHERE id = 19 FOR UPDATE").status());
  BDR_EXEC("n1", "UPDATE t SET note = 'first' WHERE id = 19");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", "t",
                                   kDeadline));
  for (int i = 1; i <= 5; ++i) {
    BDR_EXEC("n1", absl::StrCat("UPDATE t SET u = ", 100 + i, " WHERE id = ", i));
    BDR_EXEC("n1", absl::StrCat("UPDATE t SET u = ", i, " WHERE id = ", 10 + i));
    BDR_EXEC("n1", absl::StrCat("UPDATE t SET note = 'x' WHERE id = ", i));
  }
  BDR_EXEC("n1", "UPDATE t SET note = 'bad' WHERE id = 20");
  ASSERT_OK_AND_ASSIGN(const int64_t end, WalEnd("n1"));
  ASSERT_OK(harness::WaitFor("all is received", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
    return metrics.Sum("bdr_received_lsn_bytes") >= static_cast<double>(end);
  }));
  ASSERT_OK(user->Exec("COMMIT").status());
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT count(*) FROM t WHERE note = 'x'", "5", kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM t WHERE id > 10 AND u <= 5"), "5");
  BDR_EXEC("n2", "ALTER TABLE t DROP CONSTRAINT no_bad");
  ASSERT_EQ(cluster_->Bdrctl({"apply", "retry"})->exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t WHERE id > 10 AND u <= 5", "5");
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
}

}  // namespace
}  // namespace bdr::integration
