// Those of the anomalies known of multi-master systems for PostgreSQL that a scenario cannot tell,
// since they ask for what another answer was. docs/anomalies.md names for each the systems that
// show it, and tests/scenarios has the others.
#include "absl/strings/str_split.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class AnomaliesTest : public ClusterTest {
 protected:
  void Start() {
    BDR_START_CLUSTER(3,
                      "CREATE TABLE t (id int PRIMARY KEY, v text);"
                      "INSERT INTO t SELECT i, 'first' FROM generate_series(1, 9) AS i");
  }
  void WaitFor(const std::string& node, const std::string& sql, const std::string& value) {
    ASSERT_OK(cluster_->WaitForValue(node, sql, value, kDeadline));
  }
};

// pg_replication_origin_xact_setup() sets a value of the session, which the next transaction would
// commit with again: everything an applier writes would look as old as its first group.
TEST_F(AnomaliesTest, StampsDoNotOutliveTheirTransaction) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const std::string time = "SELECT pg_xact_commit_timestamp(xmin) FROM t WHERE id = ";
  for (const char* row : {"1", "2", "3"}) {
    BDR_EXEC("n1", absl::StrCat("UPDATE t SET v = 'set' WHERE id = ", row));
    WaitFor("n2", absl::StrCat("SELECT v FROM t WHERE id = ", row), "set");
    // By itself in its group, it has its own stamp: the commit time, or that raised.
    const std::string there = Value("n1", time + row);
    EXPECT_EQ(Value("n2", absl::StrCat("SELECT pg_xact_commit_timestamp(xmin) - '", there,
                                       "' BETWEEN '0' AND '100 ms' FROM t WHERE id = ", row)),
              "t");
  }
}

// Without its replication origin PostgreSQL 15 decodes a transaction as a local one, and it would
// be sent round as this node's own. Every applier keeps its origin in use, so that PostgreSQL
// refuses to drop it; ours never drop one.
TEST_F(AnomaliesTest, AnOriginThatIsAppliedCannotBeDropped) {
  ASSERT_NO_FATAL_FAILURE(Start());
  BDR_EXEC("n1", "UPDATE t SET v = 'of n1' WHERE id = 9");
  WaitFor("n2", "SELECT v FROM t WHERE id = 9", "of n1");
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
