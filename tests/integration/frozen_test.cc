// A freeze of all databases takes the commit times of everything before it. Rows that lost theirs
// are told apart from new ones by their xid, or every change of an old row would wait for capture.
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class FrozenTest : public ClusterTest {
 protected:
  // Whether the row's commit time is gone on n2. Commit times go once no slot needs the rows of
  // the catalogs that are as old, so it may take more than one try.
  absl::StatusOr<bool> Freeze(const std::string& row) {
    // Only what is older than the oldest xid in use is forgotten.
    RETURN_IF_ERROR(cluster_->Exec("n2", "SELECT pg_current_xact_id()"));
    harness::PostgresServer& server = cluster_->postgres("n2");
    for (const char* database : {"postgres", "template1", "template0", "app"}) {
      RETURN_IF_ERROR(server.Exec("VACUUM (FREEZE)", database));
    }
    ASSIGN_OR_RETURN(const std::string gone,
                     cluster_->QueryValue("n2",
                                          "SELECT pg_xact_commit_timestamp(xmin) IS NULL "
                                          "FROM price WHERE id = " +
                                              row));
    return gone == "t";
  }
  double Retries() {
    const absl::StatusOr<harness::Metrics> metrics = cluster_->AgentMetrics("n2");
    EXPECT_OK(metrics.status());
    return metrics.ok() ? metrics->Sum("bdr_apply_retries_total", {{"origin", "n1"}}) : -1;
  }
};

TEST_F(FrozenTest, ChangesOfOldRowsThatWereFrozenDoNotWaitForCapture) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE price (id int PRIMARY KEY, unit text);"
                    "INSERT INTO price SELECT i, 'euro' FROM generate_series(1, 10000) i");
  ASSERT_OK(cluster_->postgres("n2").Exec(
      "UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'"));
  ASSERT_OK(harness::WaitFor("the freeze to take the commit times", kDeadline,
                             [&] { return Freeze("10000"); }));
  // Each time another row: what was written once has a commit time again.
  int row = 0;
  ASSERT_OK(harness::WaitFor(
      "a frozen row to be written at once", kDeadline, [&]() -> absl::StatusOr<bool> {
        const double before = Retries();
        const std::string id = absl::StrCat(++row);
        RETURN_IF_ERROR(cluster_->Exec("n1", "UPDATE price SET unit = 'yen' WHERE id = " + id));
        RETURN_IF_ERROR(cluster_->WaitForValue("n2", "SELECT unit FROM price WHERE id = " + id,
                                               "yen", kDeadline));
        return Retries() == before;
      }));
  BDR_CONVERGE();
}

// A row that is seconds old has lost its commit time just the same, and must not pass for an old
// one: it is newer than the change that comes late.
TEST_F(FrozenTest, AFrozenRowThatIsNewerThanAChangeStays) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE price (id int PRIMARY KEY, unit text);"
      "INSERT INTO price VALUES (1, 'euro'), (2, 'euro')";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK(cluster_->postgres("n2").Exec(
      "UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'"));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE price SET unit = 'older' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE price SET unit = 'newer' WHERE id = 1");
  ASSERT_OK(harness::WaitFor("the freeze to take the commit times", kDeadline,
                             [&] { return Freeze("1"); }));
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "newer");
}

}  // namespace
}  // namespace bdr::integration
