// A lock that a user holds keeps apply from nobody else's rows: others read, write and replicate as
// if nothing were waited for, status says who is in the way, and it goes on by itself.
#include "absl/strings/match.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class LocksTest : public ClusterTest {
 protected:
  // A session of a user of n2, and its process id.
  void Open(std::unique_ptr<postgres::Connection>* session, std::string* pid) {
    ASSERT_OK_AND_ASSIGN(*session, cluster_->Connect("n2"));
    ASSERT_OK_AND_ASSIGN(*pid, (*session)->QueryValue("SELECT pg_backend_pid()"));
  }

  // Until status tells all of this, users of n2 run the statement, and none of them has to wait.
  void ExpectToldWhile(const std::vector<std::string>& told, const std::string& statement) {
    std::string out;
    EXPECT_OK(harness::WaitFor("status tells of the lock", kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 EXPECT_OK(cluster_->Exec(
                                     "n2", "SET statement_timeout = '3s'; " + statement));
                                 ASSIGN_OR_RETURN(const harness::ProgramResult status,
                                                  cluster_->Bdrctl({"status", "-o", "json"}));
                                 out = status.out;
                                 for (const std::string& part : told) {
                                   if (!absl::StrContains(out, part)) return false;
                                 }
                                 return true;
                               }))
        << out;
  }

  // n1 runs `sql`, and n3 writes without having seen it: that does not depend on what is held up.
  void Write(const std::string& sql) {
    // While they reach each other: else n2 passes on at once what n1 writes.
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
    cluster_->Partition("n1", "n3");
    BDR_EXEC("n1", sql);
    BDR_EXEC("n3", "INSERT INTO other SELECT count(*) FROM other");
  }

  void ExpectOthersGoOn() {
    const std::string rows = Value("n3", "SELECT count(*) FROM other");
    EXPECT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM other", rows, kDeadline));
    cluster_->Heal();
  }
};

TEST_F(LocksTest, LocksThatUsersHoldAreNamedAndHoldUpNothingElse) {
  harness::ClusterOptions options;
  options.nodes = {{}, {.settings = {{"max_prepared_transactions", "4"}}}, {}};
  options.proxies = true;
  options.agent_config = "block_max_bytes: 16KiB\n";
  options.schema_sql =
      "CREATE TABLE t (id int PRIMARY KEY, v text, u int UNIQUE DEFERRABLE);"
      "CREATE TABLE plain (id int PRIMARY KEY, v text);"
      "CREATE TABLE claimed (id int PRIMARY KEY, v text);"
      "CREATE UNIQUE INDEX ON claimed (lower(v));"
      "CREATE TABLE other (id int PRIMARY KEY);"
      "INSERT INTO plain SELECT i, 'old' FROM generate_series(1, 500) i;"
      "INSERT INTO t VALUES (1, 'old', 1);";
  BDR_START_CLUSTER(std::move(options));
  std::unique_ptr<postgres::Connection> user;
  std::string pid;
  ASSERT_NO_FATAL_FAILURE(Open(&user, &pid));

  // A reader, as a dump is one, keeps a TRUNCATE from its table.
  ASSERT_OK(user->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t").status());
  ASSERT_NO_FATAL_FAILURE(Write("TRUNCATE t"));
  ASSERT_NO_FATAL_FAILURE(
      ExpectToldWhile({"ACCESS EXCLUSIVE on table \\\"public.t\\\"", "process " + pid},
                      "SELECT count(*) FROM t; INSERT INTO t VALUES (100, 'new', 100) ON CONFLICT "
                      "(id) DO NOTHING"));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM t WHERE id = 1"), "1");
  ASSERT_OK(user->Exec("COMMIT").status());
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(v, ' ') FROM t", "new");

  // An idle session has locked one of the rows that a transaction changes: the others of them are
  // not locked while it is waited for.
  ASSERT_OK(user->Exec("BEGIN; SELECT FROM plain WHERE id = 400 FOR UPDATE").status());
  ASSERT_NO_FATAL_FAILURE(Write("UPDATE plain SET v = 'new'"));
  ASSERT_NO_FATAL_FAILURE(ExpectToldWhile(
      {"row of table \\\"public.plain\\\"", "process " + pid, "idle in transaction"},
      "BEGIN; SELECT FROM plain WHERE id < 400 FOR UPDATE; COMMIT"));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
  ASSERT_OK(user->Exec("COMMIT").status());
  BDR_CONVERGE();

  // The same for a transaction of many blocks, beside which nobody else is applied: its attempts
  // stay few.
  ASSERT_OK(user->Exec("BEGIN; SELECT FROM plain WHERE id = 400 FOR UPDATE").status());
  ASSERT_NO_FATAL_FAILURE(Write("UPDATE plain SET v = repeat(md5(id::text), 10)"));
  ASSERT_NO_FATAL_FAILURE(
      ExpectToldWhile({"row of table \\\"public.plain\\\"", "process " + pid},
                      "BEGIN; SELECT FROM plain WHERE id < 400 FOR UPDATE; COMMIT"));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
  ASSERT_OK(user->Exec("COMMIT").status());
  BDR_CONVERGE();

  // Other sessions of the agent want to look at a table: the one that reads its shape, and then,
  // once that is known, the one that reads what its rows claim and has to look at its type anew.
  for (int round = 0; round < 2; ++round) {
    ASSERT_OK(user->Exec("BEGIN; LOCK TABLE claimed").status());
    ASSERT_NO_FATAL_FAILURE(
        Write(absl::StrCat("INSERT INTO claimed SELECT i, repeat(md5(i::text), 10) FROM "
                           "generate_series(",
                           1000 * round, ", ", 1000 * round + 300, ") i")));
    ASSERT_NO_FATAL_FAILURE(ExpectToldWhile({"table \\\"public.claimed\\\"", "process " + pid},
                                            "SELECT FROM plain WHERE id = 1 FOR UPDATE"));
    ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
    ASSERT_OK(user->Exec("COMMIT").status());
    BDR_CONVERGE();
    BDR_EXEC("n2", "ALTER TABLE claimed SET (fillfactor = 90)");
  }

  // A writer of a table whose constraints apply has to check by itself, with the table locked.
  ASSERT_OK(user->Exec("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE").status());
  ASSERT_NO_FATAL_FAILURE(Write("INSERT INTO t VALUES (2, 'two', 2)"));
  ASSERT_NO_FATAL_FAILURE(
      ExpectToldWhile({"SHARE ROW EXCLUSIVE on table \\\"public.t\\\"", "process " + pid},
                      "SELECT FROM t WHERE id = 100 FOR UPDATE"));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
  ASSERT_OK(user->Exec("COMMIT").status());
  BDR_CONVERGE();

  // A prepared transaction has no process. It inserts a key that is on its way from elsewhere.
  ASSERT_OK(user->Exec("BEGIN; INSERT INTO plain VALUES (1000, 'prepared')").status());
  ASSERT_OK(user->Exec("PREPARE TRANSACTION 'held'").status());
  ASSERT_NO_FATAL_FAILURE(Write("INSERT INTO plain VALUES (1000, 'one')"));
  ASSERT_NO_FATAL_FAILURE(
      ExpectToldWhile({"of table \\\"public.plain\\\"", "prepared transaction \\\"held\\\""},
                      "SELECT FROM plain WHERE id = 400 FOR UPDATE"));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersGoOn());
  ASSERT_OK(user->Exec("ROLLBACK PREPARED 'held'").status());
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM plain WHERE id = 1000", "one");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
