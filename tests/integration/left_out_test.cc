// A trigger that fires for apply and returns NULL leaves the row out, and PostgreSQL calls that a
// success. Such a row counts as refused: apply stops, names table and trigger, and goes on once the
// trigger is gone. Nothing is lost, and nothing is tried for ever in silence.
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class LeftOutTest : public ClusterTest {
 protected:
  void Veto(const std::string& table, const std::string& events) {
    BDR_EXEC("n2", absl::StrCat("CREATE TRIGGER veto BEFORE ", events, " ON ", table,
                                " FOR EACH ROW EXECUTE FUNCTION leave_out();", "ALTER TABLE ",
                                table, " ENABLE ALWAYS TRIGGER veto"));
  }

  // n2 cannot apply what n1 wrote to `table`: status says so, and nothing is lost.
  void ExpectRefused(const std::string& table, const std::string& events,
                     const std::string& write_on_n1) {
    SCOPED_TRACE(absl::StrCat(events, " ", table, ": ", write_on_n1));
    ASSERT_NO_FATAL_FAILURE(Veto(table, events));
    BDR_EXEC("n1", write_on_n1);
    std::string last;
    ASSERT_OK(harness::WaitFor(
        "status names table and trigger", kDeadline,
        [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const harness::ProgramResult status,
                           cluster_->Bdrctl({"status", "-o", "json"}));
          last = status.out;
          return status.exit_code == 2 &&
                 status.out.find("trigger \\\"veto\\\"") != std::string::npos &&
                 status.out.find(absl::StrCat("public.", table)) != std::string::npos;
        }))
        << last;
    BDR_EXEC("n2", absl::StrCat("DROP TRIGGER veto ON ", table));
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult retry,
                         cluster_->Bdrctl({"apply", "retry", "n2"}));
    EXPECT_EQ(retry.exit_code, 0) << retry.out << retry.err;
    BDR_CONVERGE();
  }
};

constexpr char kLeaveOut[] =
    "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';";

TEST_F(LeftOutTest, ARowThatATriggerLeavesOutStopsApplyUntilItIsGone) {
  BDR_START_CLUSTER(
      2, absl::StrCat(
             kLeaveOut,
             "CREATE TABLE keyed (id int PRIMARY KEY, v text);"
             "CREATE TABLE claimed (id int PRIMARY KEY, v text UNIQUE);"
             "CREATE TABLE keyless (v text);"
             "CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
             "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);"
             "CREATE TABLE ids (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text);"
             "CREATE TABLE folds (id int PRIMARY KEY, v text);"
             "ALTER TABLE folds REPLICA IDENTITY FULL"));
  for (const char* table : {"keyed", "claimed"}) {
    ExpectRefused(table, "INSERT", absl::StrCat("INSERT INTO ", table, " VALUES (1, 'a')"));
    ExpectRefused(table, "UPDATE", absl::StrCat("UPDATE ", table, " SET v = 'b' WHERE id = 1"));
    ExpectRefused(table, "DELETE", absl::StrCat("DELETE FROM ", table));
  }
  ExpectRefused("parts", "INSERT", "INSERT INTO parts VALUES (1, 'a')");
  ExpectRefused("parts", "INSERT OR DELETE", "UPDATE parts SET id = 2 WHERE id = 1");
  ExpectRefused("keyless", "INSERT", "INSERT INTO keyless VALUES ('a'), ('b')");
  // A value that only a DELETE and an INSERT can give to a row.
  ExpectRefused("ids", "INSERT", "INSERT INTO ids (id, v) VALUES (1, 'a')");
  ExpectRefused("ids", "DELETE", "UPDATE ids SET n = DEFAULT WHERE id = 1");
  ExpectEverywhere("SELECT n FROM ids", "2");
  // Values that change hands.
  BDR_EXEC("n1", "INSERT INTO claimed VALUES (1, 'a'), (2, 'b')");
  BDR_CONVERGE();
  ExpectRefused("claimed", "INSERT",
                "BEGIN; UPDATE claimed SET v = 'c' WHERE id = 1;"
                "UPDATE claimed SET v = 'a' WHERE id = 2; UPDATE claimed SET v = 'b' WHERE id = 1;"
                "COMMIT");
  // A TRUNCATE that has to be a DELETE.
  BDR_EXEC("n1", "INSERT INTO keyed VALUES (1, 'a'), (2, 'b')");
  BDR_CONVERGE();
  BDR_EXEC("n2",
           "CREATE UNLOGGED TABLE refers (id int REFERENCES keyed); GRANT SELECT ON refers TO bdr");
  ExpectRefused("keyed", "DELETE", "TRUNCATE keyed");
  BDR_EXEC("n2", "DROP TABLE refers");
  ExpectEverywhere("SELECT count(*) FROM keyed", "0");
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult set,
      cluster_->Bdrctl({"table", "set-policy", "public.folds", "first_update_wins"}));
  ASSERT_EQ(set.exit_code, 0) << set.out << set.err;
  ExpectRefused("folds", "INSERT", "INSERT INTO folds VALUES (1, 'a')");
  ExpectRefused("folds", "UPDATE", "UPDATE folds SET v = 'b'");
  ExpectRefused("folds", "DELETE", "DELETE FROM folds");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// A transaction of many blocks, and one that is put aside.
TEST_F(LeftOutTest, ALargeTransactionAndADeadLetterAreRefusedAsWell) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql = absl::StrCat(kLeaveOut, "CREATE TABLE t (id int PRIMARY KEY, v text);");
  options.agent_config = "on_apply_error: dead_letter\n";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_NO_FATAL_FAILURE(Veto("t", "INSERT"));
  BDR_EXEC("n1",
           "INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 9000) i");
  BDR_EXEC("n1", "INSERT INTO t VALUES (0, 'small')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM bdr.dead_letter", "2", kDeadline));
  EXPECT_THAT(Value("n2", "SELECT string_agg(cause, ' ') FROM bdr.dead_letter"),
              ::testing::HasSubstr("trigger \"veto\""));
  const std::string small = Value("n2", "SELECT max(id) FROM bdr.dead_letter");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult refused,
                       cluster_->Bdrctl({"dead-letter", "retry", absl::StrCat("n2/", small)}));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.out + refused.err, ::testing::HasSubstr("veto"));
  BDR_EXEC("n2", "DROP TRIGGER veto ON t");
  for (const std::string& id : {Value("n2", "SELECT min(id) FROM bdr.dead_letter"), small}) {
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult retry,
                         cluster_->Bdrctl({"dead-letter", "retry", absl::StrCat("n2/", id)}));
    EXPECT_EQ(retry.exit_code, 0) << retry.out << retry.err;
  }
  BDR_CONVERGE();
}

}  // namespace
}  // namespace bdr::integration
