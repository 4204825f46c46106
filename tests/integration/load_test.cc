// All nodes written to at once.
#include "tests/harness/load.h"

#include <sys/wait.h>

#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using harness::Load;

class LoadTest : public ClusterTest {
 protected:
  // Agents count since their start; the counts are shown with a small delay.
  void ExpectAppliedEqualsCaptured() {
    EXPECT_OK(harness::WaitFor(
        "every node has applied as many transactions of each origin as it captured", kDeadline,
        [&]() -> absl::StatusOr<bool> {
          for (const std::string& origin : cluster_->names()) {
            ASSIGN_OR_RETURN(const harness::Metrics own, cluster_->AgentMetrics(origin));
            const double captured = own.Sum("bdr_transactions_captured_total");
            if (captured == 0) return absl::InternalError(absl::StrCat(origin, " captured none"));
            for (const std::string& node : cluster_->names()) {
              if (node == origin) continue;
              ASSIGN_OR_RETURN(const harness::Metrics other, cluster_->AgentMetrics(node));
              const double applied =
                  other.Sum("bdr_transactions_applied_total", {{"origin", origin}});
              if (applied != captured) {
                return absl::InternalError(
                    absl::StrCat(node, " applied ", applied, " of the ", captured, " of ", origin));
              }
            }
          }
          return true;
        }));
  }
};

// Run under the sanitizers too.
TEST_F(LoadTest, ThreeNodesUnderLoadConvergeWithoutLoops) {
  BDR_START_CLUSTER(3, Load::Schema());
  Load load(cluster_.get(), {});
  ASSERT_OK(load.WaitForMore(kSanitized ? 600 : 3000, kDeadline));
  load.Stop();
  EXPECT_THAT(load.errors(), ::testing::IsEmpty());
  BDR_CONVERGE();
  EXPECT_OK(load.CheckNothingLostNorTwice());
  ExpectAppliedEqualsCaptured();
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult verify, cluster_->Bdrctl({"verify"}));
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

// pgbench's own script on both nodes: hundreds of remote transactions an apply group, on the rows
// that its clients fight over.
TEST_F(LoadTest, UsersSeeNoDeadlocksWhileGroupsArrive) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.prepare = [](harness::Cluster& cluster, const std::string& node) -> absl::Status {
    ASSIGN_OR_RETURN(const harness::ProgramResult loaded,
                     harness::RunProgram({.argv = {cluster.postgres(node).bin_folder() + "/pgbench",
                                                   "-i", "-q", "-s", "4", cluster.conninfo(node)}},
                                         kDeadline));
    if (loaded.exit_code != 0) return absl::InternalError(loaded.err);
    return absl::OkStatus();
  };
  BDR_START_CLUSTER(std::move(options));
  std::vector<std::unique_ptr<harness::ChildProcess>> running;
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(
        auto pgbench,
        harness::ChildProcess::Start(
            {.name = absl::StrCat("pgbench on ", node),
             .argv = {cluster_->postgres(node).bin_folder() + "/pgbench", "-n", "-c", "8", "-j",
                      "1", "-T", "8", cluster_->conninfo(node)},
             .log_file = absl::StrCat(cluster_->folder(), "/", node, "/pgbench.log")}));
    running.push_back(std::move(pgbench));
  }
  for (const auto& pgbench : running) {
    ASSERT_OK(pgbench->WaitForExit(kDeadline));
    ASSERT_OK_AND_ASSIGN(const std::string log, harness::ReadFile(pgbench->options().log_file));
    EXPECT_EQ(*pgbench->wait_status(), 0) << log;
    EXPECT_THAT(log, ::testing::Not(::testing::HasSubstr("deadlock"))) << log;
    EXPECT_THAT(log, ::testing::Not(::testing::HasSubstr("aborted"))) << log;
  }
  BDR_CONVERGE();
  for (const std::string& node : cluster_->names()) {
    EXPECT_NE(Value(node, "SELECT count(*) FROM pgbench_history"), "0");
  }
}

TEST_F(LoadTest, ATransactionOfAMillionRowsKeepsToTheMemoryLimit) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql =
      "CREATE TABLE big (id int PRIMARY KEY, body text, n bigint);"
      "CREATE TABLE small (id int PRIMARY KEY)";
  options.agent_config = "memory_limit: 256MiB\n";
  BDR_START_CLUSTER(std::move(options));
  const int rows = kSanitized ? 50000 : 1000000;
  BDR_EXEC("n1", absl::StrCat("INSERT INTO big SELECT i, repeat(md5(i::text), 4), i "
                              "FROM generate_series(1, ",
                              rows, ") i"));
  // Others are not shut out for good by the large one.
  BDR_EXEC("n2", "INSERT INTO small SELECT generate_series(1, 10)");
  // Visible all at once.
  ASSERT_OK(harness::WaitFor(
      "the large transaction arrives", absl::Seconds(150), [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const std::string count,
                         cluster_->QueryValue("n2", "SELECT count(*) FROM big"));
        EXPECT_THAT(count, ::testing::AnyOf("0", absl::StrCat(rows))) << "visible in part";
        return count != "0";
      }));
  ASSERT_OK(cluster_->WaitUntilConverged(absl::Seconds(150)));
  ExpectEverywhere("SELECT count(*) FROM small", "10");
  // One that is rolled back leaves nothing behind.
  BDR_EXEC("n1", "BEGIN; UPDATE big SET n = n + 1 WHERE id <= 200000; ROLLBACK");
  BDR_EXEC("n1", "UPDATE big SET n = -n WHERE id <= 100000");
  ASSERT_OK(cluster_->WaitUntilConverged(absl::Seconds(150)));
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(const int64_t peak, cluster_->agent(node).PeakMemoryBytes());
    RecordProperty("peak_memory_mib_" + node, static_cast<int>(peak >> 20));
    if (!kSanitized) {
      EXPECT_LT(peak, 256 << 20) << "peak memory of the agent of " << node;
    }
  }
}

}  // namespace
}  // namespace bdr::integration
