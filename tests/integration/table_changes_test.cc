// Columns and tables that are dropped, renamed or moved by hand, node after node, while others
// still write them: once an administrator has said what was done, changes from before go on, and
// what they bring for what is gone is kept.
#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TableChangesTest : public ClusterTest {
 protected:
  void Say(std::vector<std::string> words) {
    words.insert(words.begin(), "table");
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult said, cluster_->Bdrctl(words));
    ASSERT_EQ(said.exit_code, 0) << said.out << said.err;
  }

  void WaitForStatus(const std::vector<std::string>& named) {
    std::string last;
    ASSERT_OK(harness::WaitFor("status names what stopped", kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const harness::ProgramResult status,
                                                  cluster_->Bdrctl({"status", "-o", "json"}));
                                 last = status.out;
                                 return std::all_of(
                                     named.begin(), named.end(), [&](const std::string& text) {
                                       return status.out.find(text) != std::string::npos;
                                     });
                               }))
        << last;
  }

  void WaitUntilInForce() {
    std::string last;
    ASSERT_OK(harness::WaitFor("all is in force", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const harness::ProgramResult changes,
                       cluster_->Bdrctl({"table", "changes"}));
      last = changes.out;
      return changes.out.find("waits for") == std::string::npos;
    })) << last;
  }
};

TEST_F(TableChangesTest, WhatWasWrittenUnderOldNamesGoesOnOnceItIsSaidWhatBecameOfThem) {
  BDR_START_CLUSTER(2, R"(
      CREATE SCHEMA s; CREATE SCHEMA other;
      CREATE TABLE shed (id int PRIMARY KEY, keep text, gone int, more text[] DEFAULT '{x}');
      CREATE TABLE columns (id int PRIMARY KEY, a text, b text);
      CREATE TABLE keys (id int PRIMARY KEY, v text UNIQUE);
      CREATE TABLE names (id int PRIMARY KEY, v text);
      CREATE TABLE moves (id int PRIMARY KEY, v text);
      CREATE TABLE goes (id int PRIMARY KEY, v text);
      CREATE TABLE s.inner (id int PRIMARY KEY, v text);
      INSERT INTO shed VALUES (1, 'old', 1); INSERT INTO keys VALUES (1, 'old'), (2, 'old 2');
      INSERT INTO names VALUES (1, 'old'))");
  const std::string ddl = R"(
      ALTER TABLE shed DROP COLUMN gone, DROP COLUMN more;
      ALTER TABLE columns RENAME COLUMN a TO c; ALTER TABLE columns RENAME COLUMN c TO d;
      ALTER TABLE keys RENAME COLUMN id TO key;
      ALTER TABLE names RENAME TO called;
      ALTER TABLE moves SET SCHEMA other;
      DROP TABLE goes;
      ALTER SCHEMA s RENAME TO renamed)";
  BDR_EXEC("n1", ddl);
  BDR_EXEC("n2", "INSERT INTO shed VALUES (2, 'new', 22)");
  BDR_EXEC("n2", "UPDATE shed SET gone = 11, keep = 'newer' WHERE id = 1");
  BDR_EXEC("n2", "INSERT INTO columns VALUES (1, 'a', 'b')");
  BDR_EXEC("n2", "UPDATE keys SET v = 'new' WHERE id = 1; UPDATE keys SET id = 3 WHERE id = 2");
  BDR_EXEC("n2", "UPDATE names SET v = 'new' WHERE id = 1; INSERT INTO names VALUES (2, 'two')");
  BDR_EXEC("n2", "INSERT INTO moves VALUES (1, 'moved')");
  BDR_EXEC("n2", "INSERT INTO goes VALUES (1, 'never to be seen'); DELETE FROM goes");
  BDR_EXEC("n2", "INSERT INTO s.inner VALUES (1, 'inside')");
  ASSERT_NO_FATAL_FAILURE(WaitForStatus({"gone", "bdrctl table column-dropped"}));
  // Alike again, which alone does not help.
  BDR_EXEC("n2", ddl);
  for (const std::vector<std::string>& said :
       std::vector<std::vector<std::string>>{{"column-dropped", "public.shed", "gone"},
                                             {"column-dropped", "public.shed", "more"},
                                             {"column-renamed", "public.columns", "a", "c"},
                                             {"column-renamed", "public.columns", "c", "d"},
                                             {"column-renamed", "public.keys", "id", "key"},
                                             {"renamed", "public.names", "public.called"},
                                             {"renamed", "public.moves", "other.moves"},
                                             {"dropped", "public.goes"},
                                             {"schema-renamed", "s", "renamed"}}) {
    ASSERT_NO_FATAL_FAILURE(Say(said));
  }
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ExpectEverywhere("SELECT string_agg(id || keep, ',' ORDER BY id) FROM shed", "1newer,2new");
  ExpectEverywhere("SELECT d || b FROM columns", "ab");
  ExpectEverywhere("SELECT string_agg(key || v, ',' ORDER BY key) FROM keys", "1new,3old 2");
  ExpectEverywhere("SELECT string_agg(v, ',' ORDER BY id) FROM called", "new,two");
  ExpectEverywhere("SELECT v FROM other.moves", "moved");
  ExpectEverywhere("SELECT v FROM renamed.inner", "inside");
  // What was not written is kept, where it was not.
  EXPECT_EQ(Value("n1",
                  "SELECT string_agg(key->>'id' || ':' || (remote_row->>'gone') || "
                  "(remote_row->>'more'), ',' ORDER BY key->>'id') FROM bdr.conflict_log "
                  "WHERE kind = 'column_missing' AND relation = 'public.shed'"),
            "1:11{x},2:22{x}");
  EXPECT_EQ(Value("n1",
                  "SELECT string_agg(COALESCE(remote_row->>'v', 'deleted'), ',' ORDER BY id) "
                  "FROM bdr.conflict_log WHERE kind = 'table_missing'"),
            "never to be seen,deleted");
  EXPECT_THAT(Value("n1", "SELECT min(rule) FROM bdr.conflict_log WHERE kind = 'column_missing'"),
              AllOf(HasSubstr("column-dropped public.shed gone (settings version 1)"),
                    HasSubstr("column-dropped public.shed more (settings version 2)")));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM bdr.conflict_log WHERE kind LIKE '%_missing'"), "0");

  // In force, it is over: names count as they are, also one that is used again.
  ASSERT_NO_FATAL_FAILURE(WaitUntilInForce());
  ASSERT_OK(
      cluster_->ExecEverywhere("CREATE TABLE names (id int PRIMARY KEY, v text);"
                               "CREATE TABLE goes (id int PRIMARY KEY, v text);"
                               "ALTER TABLE shed ADD gone int;"
                               "SELECT bdr.sync_publications()"));
  BDR_EXEC("n2",
           "INSERT INTO names VALUES (1, 'another'); INSERT INTO goes VALUES (1, 'again');"
           "UPDATE shed SET gone = 5 WHERE id = 1; INSERT INTO renamed.inner VALUES (2, 'x')");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM names", "another");
  ExpectEverywhere("SELECT v FROM called WHERE id = 1", "new");
  ExpectEverywhere("SELECT gone FROM shed WHERE id = 1", "5");
}

// The server announces nothing when a schema is renamed, and goes on under the old name.
TEST_F(TableChangesTest, ASchemaThatIsRenamedEverywhereUnderLoadGoesOn) {
  BDR_START_CLUSTER(2, "CREATE SCHEMA s; CREATE TABLE s.t (id text PRIMARY KEY, v int)");
  std::atomic<bool> stop{false};
  std::atomic<int64_t> written{0};
  std::vector<std::thread> users;
  for (const std::string& node : cluster_->names()) {
    users.emplace_back([&, node] {
      const auto connection = cluster_->Connect(node);
      if (!connection.ok()) return;
      for (int i = 0; !stop; ++i) {
        // Whatever its name is at the moment.
        for (const char* schema : {"s", "s2"}) {
          if ((*connection)
                  ->Exec(absl::StrCat("INSERT INTO ", schema, ".t VALUES ('", node, i, "', ", i,
                                      "); UPDATE ", schema, ".t SET v = v + 1 WHERE id = '", node,
                                      i / 2, "'"))
                  .ok()) {
            ++written;
          }
        }
      }
    });
  }
  const auto more = [&](int64_t count) {
    const int64_t until = written + count;
    return harness::WaitFor("users write", kDeadline,
                            [&]() -> absl::StatusOr<bool> { return written >= until; });
  };
  EXPECT_OK(more(50));
  for (const std::string& node : cluster_->names()) {
    EXPECT_OK(cluster_->Exec(node, "ALTER SCHEMA s RENAME TO s2"));
    EXPECT_OK(more(50));
  }
  Say({"schema-renamed", "s", "s2", "--wait", "60"});
  EXPECT_OK(more(50));
  stop = true;
  for (std::thread& user : users) user.join();
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(WaitUntilInForce());
  BDR_EXEC("n1", "INSERT INTO s2.t VALUES ('last', 0)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM s2.t WHERE id = 'last'", "1");
}

TEST_F(TableChangesTest, ANameThatIsUsedAgainIsNotTakenForTheOldOne) {
  harness::ClusterOptions options;
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text);"
      "CREATE TABLE u_new (id int PRIMARY KEY, v text)";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "INSERT INTO t VALUES (1, 'before')");
  BDR_EXEC("n2", "INSERT INTO u VALUES (1, 'before')");
  // What is captured only after a table was renamed goes out under its new name.
  ASSERT_OK(cluster_->WaitForValue(
      "n2",
      absl::StrCat("SELECT confirmed_flush_lsn >= '", Value("n2", "SELECT pg_current_wal_lsn()"),
                   "' FROM pg_replication_slots"),
      "t", kDeadline));
  const std::string ddl = R"(
      ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int PRIMARY KEY, v text);
      ALTER TABLE u RENAME TO u_old; ALTER TABLE u_new RENAME TO u;
      SELECT bdr.sync_publications())";
  ASSERT_OK(cluster_->ExecEverywhere(ddl));
  Say({"renamed", "public.t", "public.t_old"});
  Say({"renamed", "public.u", "public.u_old"});
  // Until n1 has heard of it, "u" is the table that is called so.
  ASSERT_OK(harness::WaitFor("n1 knows it", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster_->agent_log("n1")));
    return absl::StrContains(log, "settings state=known version=2");
  }));
  cluster_->Heal();
  // A new table is younger than the change; of two that are older, nobody can tell.
  ASSERT_NO_FATAL_FAILURE(
      WaitForStatus({"whether table", "public.u_old", "bdrctl table forget-change 2"}));
  EXPECT_EQ(Value("n1", "SELECT v FROM t_old"), "before");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM u"), "0");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM u_old"), "0");
  BDR_EXEC("n1", "ALTER TABLE u RENAME TO u_aside");
  ASSERT_OK(cluster_->Bdrctl({"apply", "retry", "n1"}));
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT v FROM u_old", "before", kDeadline));
  BDR_EXEC("n1", "ALTER TABLE u_aside RENAME TO u");
  ASSERT_NO_FATAL_FAILURE(WaitUntilInForce());
  BDR_EXEC("n2", "INSERT INTO t VALUES (2, 'new'); INSERT INTO u VALUES (2, 'new')");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM t", "new");
  ExpectEverywhere("SELECT v FROM u", "new");
}

// What apply has prepared for a table must not meet the one that has its name next.
TEST_F(TableChangesTest, AnOlderDeleteSparesRowsOfATableThatWasMadeAnew) {
  harness::ClusterOptions options;
  options.proxies = true;
  options.agent_config = "forward_foreign_origins: true\n";
  options.schema_sql =
      "CREATE TABLE t (id int PRIMARY KEY, v text);"
      "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 9) i";
  BDR_START_CLUSTER(std::move(options));
  // Deletes are prepared there, and updates.
  BDR_EXEC("n1", "DELETE FROM t WHERE id = 8; UPDATE t SET v = 'older' WHERE id = 9");
  BDR_EXEC("n1", "DELETE FROM t WHERE id = 7");
  BDR_CONVERGE();
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "DELETE FROM t WHERE id IN (1, 3)");
  BDR_EXEC("n1", "UPDATE t SET v = 'older' WHERE id = 2");
  ASSERT_OK(cluster_->WaitForValue(
      "n1",
      absl::StrCat("SELECT confirmed_flush_lsn >= '", Value("n1", "SELECT pg_current_wal_lsn()"),
                   "' FROM pg_replication_slots"),
      "t", kDeadline));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node,
             "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text);"
             "SELECT bdr.sync_publications()");
  }
  BDR_EXEC("n2", "INSERT INTO t VALUES (1, 'new'), (2, 'new')");
  // Of this only the version under the table's own OID tells that it is newer.
  BDR_EXEC("n2",
           "SELECT pg_replication_origin_create('etl');"
           "SELECT pg_replication_origin_session_setup('etl'); BEGIN;"
           "SELECT pg_replication_origin_xact_setup('0/1', '2001-01-01');"
           "INSERT INTO t VALUES (3, 'etl'); COMMIT");
  cluster_->Heal();
  ASSERT_OK(cluster_->WaitUntilConverged(kDeadline));
  ExpectEverywhere("SELECT string_agg(id || v, ' ' ORDER BY id) FROM t", "1new 2new 3etl");
}

// An agent that was away while its table was renamed decodes what was written before under the old
// names. What it holds of those rows decides about what others send all the same.
TEST_F(TableChangesTest, OwnChangesFromBeforeARenameCountWhenTheyAreDecodedAfterIt) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'),"
                    "(2, 'x'), (3, 'x');"
                    "CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE q (LIKE p INCLUDING "
                    "ALL); INSERT INTO p VALUES (1, 'p'); INSERT INTO q VALUES (1, 'q')");
  cluster_->agent("n2").Kill9();
  BDR_EXEC("n1", "UPDATE t SET v = 'earlier' WHERE id < 3");
  BDR_EXEC("n2",
           "UPDATE t SET v = 'later' WHERE id = 1; DELETE FROM t WHERE id = 2;"
           "INSERT INTO t VALUES (4, 'four')");
  // Of two tables that have swapped their names only the OID tells which one it was.
  BDR_EXEC("n2", "UPDATE p SET v = 'of p' WHERE id = 1");
  const std::string ddl =
      "ALTER TABLE t RENAME TO renamed; ALTER TABLE renamed RENAME id TO key;"
      "ALTER TABLE p RENAME TO aside; ALTER TABLE q RENAME TO p; ALTER TABLE aside RENAME TO q";
  BDR_EXEC("n2", ddl);
  BDR_EXEC("n1", ddl);
  ASSERT_OK(cluster_->StartAgent("n2"));
  Say({"renamed", "public.t", "public.renamed"});
  Say({"column-renamed", "public.t", "id", "key"});
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(key || v, ',' ORDER BY key) FROM renamed", "1later,3x,4four");
  ExpectEverywhere("SELECT p.v || ' ' || q.v FROM p, q", "q of p");
}

TEST_F(TableChangesTest, WhatWasSaidIsListedAndTakenBack) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE t (id int PRIMARY KEY, v text);"
                    "ALTER TABLE t REPLICA IDENTITY FULL");
  Say({"column-dropped", "public.t", "v"});
  ASSERT_OK_AND_ASSIGN(harness::ProgramResult changes, cluster_->Bdrctl({"table", "changes"}));
  EXPECT_THAT(changes.out,
              AllOf(HasSubstr("column-dropped public.t v"), HasSubstr("waits for n1, n2")));
  Say({"forget-change", "1"});
  ASSERT_OK_AND_ASSIGN(changes, cluster_->Bdrctl({"table", "changes"}));
  EXPECT_THAT(changes.out, HasSubstr("nothing was said"));
  ASSERT_OK_AND_ASSIGN(changes, cluster_->Bdrctl({"table", "forget-change", "1"}));
  EXPECT_EQ(changes.exit_code, 4);
  // It holds back no setting any more.
  Say({"set-policy", "public.t", "first_update_wins", "--wait", "60"});
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult list, cluster_->Bdrctl({"table", "list"}));
  EXPECT_THAT(list.out, HasSubstr("in force"));
}

}  // namespace
}  // namespace bdr::integration
