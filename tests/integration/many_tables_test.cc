// Databases of many tables: what is looked up of each must not cost a look at all of them.
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ManyTablesTest : public ClusterTest {
 protected:
  // For each of the numbers: in transactions of their own, as each takes as many locks.
  static std::string ForEach(int tables, const std::string& sql) {
    constexpr int kAtOnce = 500;
    std::string script;
    for (int from = 1; from <= tables; from += kAtOnce) {
      absl::StrAppend(&script, "DO $$ BEGIN FOR i IN ", from, "..",
                      std::min(tables, from + kAtOnce - 1), " LOOP EXECUTE format(", sql,
                      "); END LOOP; END $$;\n");
    }
    return script;
  }

  // Each with a key, a further unique column, and a foreign key to the one before it.
  void StartTables(int tables) {
    harness::ClusterOptions options;
    options.nodes.assign(2, {.settings = {{"max_locks_per_transaction", "2000"}}});
    options.schema_sql = ForEach(
        tables,
        "'CREATE TABLE t%s (id int PRIMARY KEY, u int UNIQUE, v text, r int REFERENCES t%s)', i, "
        "greatest(i - 1, 1)");
    options.start_deadline = absl::Minutes(20);
    const absl::Time begun = absl::Now();
    ASSERT_OK_AND_ASSIGN(cluster_, harness::Cluster::Start(std::move(options)));
    std::cerr << "started: " << (absl::Now() - begun) << "\n";
  }
};

// A session of capture that has come to know many tables ends, so that what it knows of those that
// are gone does not stay for ever; also while a large transaction is open.
TEST_F(ManyTablesTest, CaptureForgetsTablesThatComeAndGo) {
  harness::ClusterOptions options;
  options.schema_sql = ForEach(8, "'CREATE TABLE t%s (id int PRIMARY KEY, v text)', i");
  options.agent_environment = {{"BDR_STRESS", "few_relations"}};
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK_AND_ASSIGN(const auto large, cluster_->Connect("n1"));
  ASSERT_OK(
      large->Exec("BEGIN; INSERT INTO t1 SELECT 1000 + i, repeat('x', 1000) FROM "
                  "generate_series(1, 12000) AS i"));
  for (int round = 1; round <= 3; ++round) {
    for (int table = 1; table <= 8; ++table) {
      BDR_EXEC("n1", absl::StrCat("INSERT INTO t", table, " VALUES (", round, ", 'n1')"));
      BDR_EXEC("n2", absl::StrCat("INSERT INTO t", table, " VALUES (", round,
                                  ", 'n2')"
                                  " ON CONFLICT (id) DO UPDATE SET v = excluded.v"));
    }
  }
  ASSERT_OK(large->Exec("INSERT INTO t2 VALUES (1000, 'large'); COMMIT"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t1", "12003");
  ASSERT_OK_AND_ASSIGN(const std::string log, harness::ReadFile(cluster_->agent_log("n1")));
  EXPECT_THAT(log, testing::HasSubstr("forgetting_relations"));
}

// Takes minutes, so it runs only where BDR_LONG_TESTS is set; there with that many tables if it is
// a number above 1.
TEST_F(ManyTablesTest, AnAgentOfManyTablesStreamsWithinSeconds) {
  const char* const given = std::getenv("BDR_LONG_TESTS");
  if (given == nullptr) GTEST_SKIP() << "BDR_LONG_TESTS is not set";
  int tables = 0;
  if (!absl::SimpleAtoi(given, &tables) || tables <= 1) tables = 10'000;
  ASSERT_NO_FATAL_FAILURE(StartTables(tables));
  ASSERT_OK(cluster_->agent("n1").Terminate());
  const absl::Time begun = absl::Now();
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_EXEC("n1", "INSERT INTO t1 VALUES (1, 1, 'first', NULL)");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM t1", "1", absl::Minutes(10)));
  ASSERT_OK(cluster_->WaitUntilHealthy(absl::Minutes(10)));
  const absl::Duration streaming = absl::Now() - begun;
  std::cerr << "streaming with " << tables << " tables after " << streaming << "\n";
  EXPECT_LT(streaming, absl::Seconds(10));

  // Each is looked up once on both nodes.
  const absl::Time written = absl::Now();
  BDR_EXEC("n1", ForEach(tables, "'INSERT INTO t%s VALUES (2, 2, ''second'', NULL)', i"));
  ASSERT_OK(cluster_->WaitForValue("n2", absl::StrCat("SELECT count(*) FROM t", tables), "1",
                                   absl::Minutes(20)));
  const absl::Duration first = absl::Now() - written;
  std::cerr << "a first change of each took " << first << "\n";
  EXPECT_LT(first, tables * absl::Milliseconds(100));
}

}  // namespace
}  // namespace bdr::integration
