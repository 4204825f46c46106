// Tables that nobody draws on a whiteboard and that exist all the same: without columns, with none
// that travels, with nothing but a key, with a key too long to stay in its row.
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class OddTablesTest : public ClusterTest {};

TEST_F(OddTablesTest, TablesWithoutAColumnThatTravelsReplicate) {
  BDR_START_CLUSTER(
      2,
      "CREATE TABLE bare ();"
      "CREATE TABLE emptied (a int, b text); ALTER TABLE emptied DROP a; ALTER TABLE emptied DROP "
      "b;"
      "CREATE TABLE computed (g int GENERATED ALWAYS AS (1 + 1) STORED);"
      "CREATE TABLE keyed (id int PRIMARY KEY);"
      "CREATE TABLE keyed_computed (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);"
      "CREATE TABLE identity (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY);"
      "CREATE TABLE unique_computed (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id % 50) STORED"
      " UNIQUE);"
      "CREATE TABLE ruled (id int PRIMARY KEY, v text);"
      "CREATE RULE seen AS ON UPDATE TO ruled DO ALSO NOTHING;");
  for (const char* table : {"bare", "emptied", "computed"}) {
    BDR_EXEC("n1", absl::StrCat("INSERT INTO ", table, " DEFAULT VALUES"));
    BDR_EXEC("n2", absl::StrCat("INSERT INTO ", table, " SELECT FROM generate_series(1, 1500)"));
  }
  BDR_EXEC("n1", "INSERT INTO keyed SELECT generate_series(1, 10)");
  BDR_EXEC("n1", "INSERT INTO keyed_computed SELECT generate_series(1, 10)");
  BDR_EXEC("n1", "INSERT INTO identity DEFAULT VALUES");
  BDR_EXEC("n1", "INSERT INTO unique_computed SELECT generate_series(1, 10)");
  // PostgreSQL refuses INSERT ... ON CONFLICT where there is such a rule.
  BDR_EXEC("n1", "INSERT INTO ruled SELECT i, 'n1' FROM generate_series(1, 100) i");
  BDR_EXEC("n2", "INSERT INTO ruled SELECT i, 'n2' FROM generate_series(50, 150) i");
  BDR_CONVERGE();
  for (const char* table : {"bare", "emptied", "computed"}) {
    ExpectEverywhere(absl::StrCat("SELECT count(*) FROM ", table), "1501");
  }
  ExpectEverywhere("SELECT count(*) FROM ruled", "150");
  ExpectEverywhere("SELECT sum(g) FROM computed", "3002");
  ExpectEverywhere("SELECT sum(g) FROM keyed_computed", "110");

  // Updates that say nothing but the key, and some that change it.
  BDR_EXEC("n2", "UPDATE keyed SET id = id WHERE id = 1; UPDATE keyed SET id = 100 WHERE id = 2;");
  BDR_EXEC("n2",
           "UPDATE keyed_computed SET id = id WHERE id = 1;"
           "UPDATE keyed_computed SET id = 100 WHERE id = 2");
  BDR_EXEC("n2",
           "UPDATE unique_computed SET id = id WHERE id = 1;"
           "UPDATE unique_computed SET id = 100 WHERE id = 2");
  BDR_EXEC("n2", "DELETE FROM keyed WHERE id = 3");
  BDR_EXEC("n1", "UPDATE ruled SET v = 'new'; DELETE FROM ruled WHERE id % 2 = 0");
  // The update of a row which is its identity alone, as nobody can write it: deleted and inserted
  // on both nodes at once, it meets a row that is the same.
  BDR_EXEC("n1", "DELETE FROM identity; INSERT INTO identity OVERRIDING SYSTEM VALUE VALUES (1)");
  BDR_EXEC("n2", "DELETE FROM identity; INSERT INTO identity OVERRIDING SYSTEM VALUE VALUES (1)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) || ' ' || max(id) FROM keyed", "9 100");
  ExpectEverywhere("SELECT count(*) || ' ' || max(g) FROM keyed_computed", "10 200");
  ExpectEverywhere("SELECT max(id) || ' ' || min(g) FROM unique_computed", "100 0");
  ExpectEverywhere("SELECT count(*) FROM identity", "1");
  ExpectEverywhere("SELECT count(*) || ' ' || max(v) || ' ' || min(v) FROM ruled", "75 new new");

  ASSERT_OK_AND_ASSIGN(const auto verified, cluster_->Bdrctl({"verify"}));
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;

  // A rule that fires for apply as well: what an insert is to do there is for a person to say.
  BDR_EXEC(
      "n2",
      "CREATE RULE inserted AS ON INSERT TO keyed DO ALSO INSERT INTO ruled VALUES (-1, 'new');"
      "ALTER TABLE keyed ENABLE ALWAYS RULE inserted");
  BDR_EXEC("n1", "INSERT INTO keyed VALUES (500)");
  std::string told;
  EXPECT_OK(harness::WaitFor("status names the rule", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    told = status.out;
    return absl::StrContains(told, "rule \\\"inserted\\\" of table \\\"public.keyed\\\"");
  })) << told;
  BDR_EXEC("n2", "ALTER TABLE keyed ENABLE RULE inserted");
  ASSERT_OK_AND_ASSIGN(const auto retried, cluster_->Bdrctl({"apply", "retry", "n2"}));
  EXPECT_EQ(retried.exit_code, 0) << retried.out << retried.err;
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM ruled", "75");

  BDR_EXEC("n1", "TRUNCATE bare, emptied, computed");
  BDR_CONVERGE();
  BDR_EXEC("n2", "INSERT INTO bare DEFAULT VALUES");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM bare", "1");
  ExpectEverywhere("SELECT count(*) FROM computed", "0");
}

// An update that leaves a key alone which is stored out of line does not carry it in the new row.
TEST_F(OddTablesTest, KeysThatAreStoredOutOfLineReplicate) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  for (harness::NodeOptions& node : options.nodes) {
    node.settings.emplace_back("logical_decoding_work_mem", "64kB");
  }
  // Each of these is a key in another way. The second column is one of those that may be left out.
  options.schema_sql =
      "CREATE TABLE plain (k text PRIMARY KEY, body text, n int DEFAULT 0);"
      "CREATE TABLE several (k text, body text, n int DEFAULT 0, a int DEFAULT 1, k2 bytea NOT NULL"
      " DEFAULT decode(repeat('0f', 100), 'hex'), PRIMARY KEY (a, k, k2));"
      "ALTER TABLE several ALTER k2 SET STORAGE EXTERNAL;"
      "CREATE TABLE whole (k text PRIMARY KEY, body text, n int DEFAULT 0);"
      "ALTER TABLE whole REPLICA IDENTITY FULL;"
      "CREATE TABLE by_index (id int GENERATED BY DEFAULT AS IDENTITY, k text NOT NULL UNIQUE,"
      " body text, n int DEFAULT 0);"
      "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_k_key;"
      "CREATE TABLE claims (k text PRIMARY KEY, body text, n int DEFAULT 0,"
      " u text GENERATED ALWAYS AS (md5(k)) STORED UNIQUE);";
  const std::vector<std::string> tables = {"plain", "several", "whole", "by_index", "claims"};
  for (const std::string& table : tables) {
    absl::StrAppend(&options.schema_sql, "ALTER TABLE ", table, " ALTER k SET STORAGE EXTERNAL;",
                    "ALTER TABLE ", table, " ALTER body SET STORAGE EXTERNAL;");
  }
  BDR_START_CLUSTER(std::move(options));
  const auto all = [&](const std::string& node, absl::string_view sql) {
    for (const std::string& table : tables) {
      BDR_EXEC(node, absl::StrReplaceAll(sql, {{"@", table}}));
    }
  };
  const auto expect_all = [&](absl::string_view sql, const std::string& value) {
    for (const std::string& table : tables) {
      ExpectEverywhere(absl::StrReplaceAll(sql, {{"@", table}}), value);
    }
  };
  // Key "i" is i and then as many other letters as make 2.3 kB.
  all("n1",
      "INSERT INTO @ (k, body) SELECT i || repeat('k', 2300), repeat('old', 1500)"
      " FROM generate_series(1, 300) i");
  BDR_CONVERGE();
  ASSERT_NE(Value("n1",
                  "SELECT pg_relation_size(reltoastrelid) FROM pg_class"
                  " WHERE relname = 'plain'"),
            "0");

  // One row, then many at once, so that the transaction is streamed while it runs.
  all("n2", "UPDATE @ SET n = n + 1 WHERE k LIKE '1k%'");
  all("n2", "UPDATE @ SET n = n + 1 WHERE k LIKE '1k%'; UPDATE @ SET n = n + 10");
  BDR_CONVERGE();  // or n1 writes rows that it has not seen the other's changes of
  // Back to the key it had, to another, and away.
  all("n1", "UPDATE @ SET k = k WHERE k LIKE '2k%'");
  BDR_CONVERGE();
  expect_all("SELECT sum(n) FROM @", "3002");
  all("n1", "UPDATE @ SET k = '1000' || k, n = 7 WHERE k LIKE '3k%'");
  all("n2", "DELETE FROM @ WHERE k LIKE '4k%'");
  all("n1",
      "BEGIN; UPDATE @ SET n = 50 WHERE k LIKE '5k%'; DELETE FROM @ WHERE k LIKE '5k%';"
      "INSERT INTO @ (k, n) VALUES ('5' || repeat('k', 2300), 51);"
      "UPDATE @ SET n = n + 1 WHERE k LIKE '5k%'; COMMIT");
  BDR_CONVERGE();
  expect_all("SELECT count(*) || ' ' || sum(n) FROM @", "299 3031");
  expect_all("SELECT n FROM @ WHERE k LIKE '5k%'", "52");

  // Both at once: the later one wins, and what neither carries is that of its version.
  cluster_->Partition("n1", "n2");
  all("n1", "UPDATE @ SET n = 100, body = repeat('n_1', 1500) WHERE k LIKE '1k%'");
  all("n2", "UPDATE @ SET n = 200 WHERE k LIKE '1k%'");
  all("n1", "DELETE FROM @ WHERE k LIKE '2k%'");
  all("n2", "UPDATE @ SET n = 200 WHERE k LIKE '2k%'");
  all("n2", "DELETE FROM @ WHERE k LIKE '6k%'");
  all("n1", "UPDATE @ SET n = 100 WHERE k LIKE '6k%'");
  all("n1", "UPDATE @ SET k = 'moved' || k WHERE k LIKE '7k%'");
  all("n2", "UPDATE @ SET n = 200 WHERE k LIKE '7k%'");
  cluster_->Heal();
  BDR_CONVERGE();
  expect_all("SELECT n || left(body, 3) FROM @ WHERE k LIKE '1k%'", "200old");
  expect_all("SELECT n || left(body, 3) FROM @ WHERE k LIKE '2k%'", "200old");
  expect_all("SELECT n || left(body, 3) FROM @ WHERE k LIKE '6k%'", "100old");
  expect_all("SELECT count(*) FROM @ WHERE k LIKE '7k%'", "1");
  all("n1", "UPDATE @ SET n = 0");
  BDR_CONVERGE();
  expect_all("SELECT sum(n) FROM @", "0");
}

}  // namespace
}  // namespace bdr::integration
