// What cannot be applied stops, says why, and goes on when the cause is gone; what differs is
// found.
#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "tests/harness/small_disk.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// Before there is any thread: processes are started from one that lives as long as this program.
const absl::Status own_mounts = harness::LeaveMounts();

class ErrorsTest : public ClusterTest {
 protected:
  // n2 cannot apply what n1 did. `bdrctl status` names the cause; once it is mended and apply is
  // told to retry, everything arrives.
  void ExpectStopsAndGoesOn(const std::string& write_on_n1, const std::string& named,
                            const std::string& mend_on_n2) {
    BDR_EXEC("n1", write_on_n1);
    std::string last;
    ASSERT_OK(harness::WaitFor("status tells that apply has stopped", kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const harness::ProgramResult status,
                                                  cluster_->Bdrctl({"status", "-o", "json"}));
                                 last = status.out;
                                 return status.exit_code == 2 &&
                                        status.out.find(named) != std::string::npos;
                               }))
        << last;
    // What comes after it waits: skipping the one in front would show effects without causes.
    BDR_EXEC("n1", "INSERT INTO free VALUES ('after the error')");
    EXPECT_EQ(Value("n2", "SELECT count(*) FROM free"), "0");
    // The other direction is not concerned, as long as it does not depend on what stopped.
    BDR_EXEC("n2", "INSERT INTO free VALUES ('the other way')");
    ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM free WHERE what = 'the other way'",
                                     "1", kDeadline));

    BDR_EXEC("n2", mend_on_n2);
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult retry,
                         cluster_->Bdrctl({"apply", "retry", "n2"}));
    EXPECT_EQ(retry.exit_code, 0) << retry.out << retry.err;
    BDR_CONVERGE();
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  }
};

constexpr char kFree[] = "CREATE TABLE free (what text);";

TEST_F(ErrorsTest, AMissingColumnStopsApplyUntilItIsThere) {
  BDR_START_CLUSTER(2, absl::StrCat(kFree, "CREATE TABLE t (id int PRIMARY KEY, extra text)"));
  BDR_EXEC("n2", "ALTER TABLE t DROP COLUMN extra");
  ExpectStopsAndGoesOn("INSERT INTO t VALUES (1, 'x')", "extra",
                       "ALTER TABLE t ADD COLUMN extra text");
  ExpectEverywhere("SELECT extra FROM t", "x");
}

TEST_F(ErrorsTest, AMissingTableStopsApplyUntilItIsThere) {
  BDR_START_CLUSTER(2, absl::StrCat(kFree, "CREATE TABLE lost (id int PRIMARY KEY, v text)"));
  BDR_EXEC("n2", "DROP TABLE lost");
  ExpectStopsAndGoesOn("INSERT INTO lost VALUES (1, 'x')", "lost",
                       "CREATE TABLE lost (id int PRIMARY KEY, v text);"
                       "SELECT bdr.sync_publications()");
  ExpectEverywhere("SELECT v FROM lost", "x");
}

TEST_F(ErrorsTest, AViolatedCheckStopsApplyUntilItIsGone) {
  BDR_START_CLUSTER(2, absl::StrCat(kFree, "CREATE TABLE t (id int PRIMARY KEY, v int)"));
  BDR_EXEC("n2", "ALTER TABLE t ADD CONSTRAINT small CHECK (v < 10)");
  ExpectStopsAndGoesOn("INSERT INTO t VALUES (1, 100)", "small",
                       "ALTER TABLE t DROP CONSTRAINT small");
  ExpectEverywhere("SELECT v FROM t", "100");
}

TEST_F(ErrorsTest, AnotherTypeStopsApplyUntilItFits) {
  BDR_START_CLUSTER(2, absl::StrCat(kFree, "CREATE TABLE t (id int PRIMARY KEY, v text)"));
  BDR_EXEC("n2", "ALTER TABLE t ALTER v TYPE int USING v::int");
  ExpectStopsAndGoesOn("INSERT INTO t VALUES (1, 'no number')", "public.t",
                       "ALTER TABLE t ALTER v TYPE text");
  ExpectEverywhere("SELECT v FROM t", "no number");
}

// An origin that stopped holds back no other. n3 is kept from hearing n1, so that its transactions
// do not depend on what n2 cannot apply.
TEST_F(ErrorsTest, AnOriginThatStoppedHoldsBackOnlyWhatDependsOnIt) {
  harness::ClusterOptions options;
  options.nodes.assign(3, {});
  options.schema_sql = absl::StrCat(kFree, "CREATE TABLE t (id int PRIMARY KEY, v int)");
  options.proxies = true;
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n2", "ALTER TABLE t ADD CONSTRAINT small CHECK (v < 10)");
  cluster_->Partition("n1", "n3");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 100)");
  ASSERT_OK(harness::WaitFor("n2 stops", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    return status.exit_code == 2 && status.out.find("small") != std::string::npos;
  }));
  BDR_EXEC("n3", "INSERT INTO free VALUES ('independent')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM free WHERE what = 'independent'",
                                   "1", kDeadline));
  cluster_->Heal();
  // Now n3 hears n1, and what it writes then waits on n2 for n1.
  ASSERT_OK(cluster_->WaitForValue("n3", "SELECT count(*) FROM t", "1", kDeadline));
  BDR_EXEC("n3", "INSERT INTO free VALUES ('dependent')");
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM free WHERE what = 'dependent'", "1",
                                   kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM free WHERE what = 'dependent'"), "0");
  BDR_EXEC("n2", "ALTER TABLE t DROP CONSTRAINT small");
  ASSERT_OK(cluster_->Bdrctl({"apply", "retry", "n2"}));
  BDR_CONVERGE();
}

// What the agent must write down of the cluster waits for room as all else does.
TEST_F(ErrorsTest, AFullDiskEndsNoAgentThatHearsOfNewSettings) {
  if (!own_mounts.ok()) GTEST_SKIP() << "a disk of its own needs root: " << own_mounts;
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  const std::string disk = folder->path() + "/n2/agent";
  ASSERT_OK(harness::MountSmallDisk(disk, "64m"));
  const absl::Cleanup unmount = [&disk] { harness::UnmountSmallDisk(disk); };
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.folder = folder->path();
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK(harness::FillDisk(disk));
  const auto set_policy = [this](const std::string& wait) {
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult set,
                         cluster_->Bdrctl({"table", "set-policy", "public.t", "first_update_wins",
                                           "--wait", wait, "-o", "json"}));
    EXPECT_EQ(set.exit_code, 0) << set.out << set.err;
  };
  ASSERT_NO_FATAL_FAILURE(set_policy("0"));
  ASSERT_OK(
      harness::WaitFor("the agent cannot write it down", kDeadline, [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster_->agent_log("n2")));
        return absl::StrContains(log, "cannot take up a change of the cluster");
      }));
  ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
  EXPECT_EQ(metrics.Sum("bdr_postgres_up"), 1) << "a full disk of the agent's is not the server's";
  ASSERT_OK(harness::MakeRoom(disk));
  ASSERT_NO_FATAL_FAILURE(set_policy("60"));
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  cluster_.reset();
}

TEST_F(ErrorsTest, VerifyFindsARowThatDiffers) {
  BDR_START_CLUSTER(3,
                    "CREATE TABLE same (id int PRIMARY KEY);"
                    "CREATE TABLE planted (id int PRIMARY KEY, v text);"
                    "INSERT INTO planted SELECT i, 'v' || i FROM generate_series(1, 5000) i");
  BDR_EXEC("n1", "INSERT INTO same SELECT generate_series(1, 1000)");
  BDR_CONVERGE();
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult good, cluster_->Bdrctl({"verify"}));
  EXPECT_EQ(good.exit_code, 0) << good.out << good.err;

  // Changed behind the back of capture.
  BDR_EXEC("n2", "ALTER PUBLICATION bdr_keyed DROP TABLE planted");
  BDR_EXEC("n2", "UPDATE planted SET v = 'planted' WHERE id = 4321");
  BDR_EXEC("n2", "DELETE FROM planted WHERE id = 17");
  BDR_EXEC("n2", "ALTER PUBLICATION bdr_keyed ADD TABLE planted");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult bad,
                       cluster_->Bdrctl({"verify", "-o", "json"}));
  EXPECT_NE(bad.exit_code, 0) << bad.out;
  EXPECT_THAT(bad.out, ::testing::HasSubstr("planted"));
  EXPECT_THAT(bad.out, ::testing::HasSubstr("4321"));
  EXPECT_THAT(bad.out, ::testing::HasSubstr("17"));
}

TEST_F(ErrorsTest, NodeCheckNamesWhatDoesNotReplicateAndWhatIsMissing) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE good (id int PRIMARY KEY);"
                    "CREATE TABLE keyless_table (what text);"
                    "CREATE TABLE deferred_table (id int PRIMARY KEY, v int UNIQUE DEFERRABLE)");
  // All this works without a superuser.
  ExpectEverywhere("SELECT rolsuper FROM pg_roles WHERE rolname = 'bdr'", "f");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult check,
                       cluster_->Bdrctl({"node", "check", "n1"}));
  EXPECT_THAT(check.out, ::testing::HasSubstr("keyless_table"));
  EXPECT_THAT(check.out, ::testing::HasSubstr("deferred_table"));
  EXPECT_NE(check.exit_code, 2) << check.out << check.err;
  // A right that was taken away is found, with the statement that gives it back.
  BDR_EXEC("n1", "REVOKE pg_monitor FROM bdr");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult refused,
                       cluster_->Bdrctl({"node", "check", "n1"}));
  EXPECT_EQ(refused.exit_code, 2) << refused.out << refused.err;
  EXPECT_THAT(refused.out, ::testing::HasSubstr("GRANT pg_monitor TO"));
}

TEST_F(ErrorsTest, StatusChecksAndMetricsOfAGoodCluster) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  for (const char* format : {"table", "json", "yaml"}) {
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult status,
                         cluster_->Bdrctl({"status", "-o", format}));
    EXPECT_EQ(status.exit_code, 0) << status.out << status.err;
    EXPECT_THAT(status.out, ::testing::HasSubstr("n1"));
    EXPECT_THAT(status.out, ::testing::HasSubstr("n2"));
  }
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult nodes,
                       cluster_->Bdrctl({"node", "list", "-o", "json"}));
  EXPECT_EQ(nodes.exit_code, 0) << nodes.err;
  EXPECT_THAT(nodes.out, ::testing::HasSubstr("n2"));
  ASSERT_OK_AND_ASSIGN(const harness::HttpResponse live,
                       harness::HttpGet(cluster_->metrics_port("n1"), "/livez"));
  EXPECT_EQ(live.code, 200) << live.body;
  EXPECT_OK(harness::WaitFor("ready", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::HttpResponse ready,
                     harness::HttpGet(cluster_->metrics_port("n1"), "/readyz"));
    return ready.code == 200;
  }));
  // The database goes away: not ready, with the reason; and ready again after it is back.
  ASSERT_OK(cluster_->postgres("n1").Stop());
  EXPECT_OK(harness::WaitFor("not ready", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::HttpResponse ready,
                     harness::HttpGet(cluster_->metrics_port("n1"), "/readyz"));
    return ready.code == 503 && !ready.body.empty();
  }));
  ASSERT_OK(cluster_->postgres("n1").Start());
  EXPECT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
