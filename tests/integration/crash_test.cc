// Anything may be killed at any time: nothing acknowledged is lost, nothing is applied twice, and
// all nodes end equal.
#include <sys/wait.h>

#include <thread>

#include "tests/harness/load.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using harness::Load;

class CrashTest : public ClusterTest {
 protected:
  // The end of every test here.
  void ExpectNothingLostNorTwice(Load* load) {
    load->Stop();
    EXPECT_THAT(load->errors(), ::testing::IsEmpty());
    BDR_CONVERGE();
    EXPECT_OK(load->CheckNothingLostNorTwice());
  }
};

TEST_F(CrashTest, AgentsKilledUnderLoad) {
  BDR_START_CLUSTER(2, Load::Schema());
  Load load(cluster_.get(), {});
  for (const char* node : {"n1", "n2", "n1", "n2"}) {
    ASSERT_OK(load.WaitForMore(300, kDeadline));
    cluster_->agent(node).Kill9();
    ASSERT_OK(load.WaitForMore(100, kDeadline));
    ASSERT_OK(cluster_->StartAgent(node));
  }
  ASSERT_OK(load.WaitForMore(300, kDeadline));
  ExpectNothingLostNorTwice(&load);
}

TEST_F(CrashTest, PostgresKilledUnderLoad) {
  BDR_START_CLUSTER(2, Load::Schema());
  Load load(cluster_.get(), {});
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(load.WaitForMore(500, kDeadline));
    ASSERT_OK(cluster_->postgres(node).Kill9());
    ASSERT_OK(load.WaitForMore(100, kDeadline));  // on the other node
    ASSERT_OK(cluster_->postgres(node).Start());
  }
  ASSERT_OK(load.WaitForMore(500, kDeadline));
  ExpectNothingLostNorTwice(&load);
}

// What was applied is durable, and its versions may be forgotten, without another transaction that
// would say so.
TEST_F(CrashTest, AnIdleClusterGoesOnForgettingWhenPostgresWasRestarted) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  for (const bool crash : {false, true}) {
    SCOPED_TRACE(crash);
    BDR_EXEC("n1", absl::StrCat("INSERT INTO t VALUES (", crash ? 2 : 1, ")"));
    BDR_CONVERGE();
    if (crash) {
      ASSERT_OK(cluster_->postgres("n2").Kill9());
      ASSERT_OK(cluster_->postgres("n2").Start());
    } else {
      ASSERT_OK(cluster_->postgres("n2").Restart());
    }
    const double restarted = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
    for (const char* node : {"n1", "n2"}) {
      EXPECT_OK(harness::WaitFor(absl::StrCat("the stable time moves on at ", node), kDeadline,
                                 [&]() -> absl::StatusOr<bool> {
                                   ASSIGN_OR_RETURN(const harness::Metrics metrics,
                                                    cluster_->AgentMetrics(node));
                                   return metrics.Sum("bdr_stable_timestamp_seconds") > restarted;
                                 }));
    }
  }
}

TEST_F(CrashTest, ServerKilledUnderLoad) {
  BDR_START_CLUSTER(2, Load::Schema());
  Load load(cluster_.get(), {});
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  cluster_->server().Kill9();
  ASSERT_OK(load.WaitForMore(500, kDeadline));
  // Without any server, also with an agent that starts meanwhile, the data path goes on.
  cluster_->agent("n2").Kill9();
  ASSERT_OK(cluster_->StartAgent("n2"));
  ExpectNothingLostNorTwice(&load);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(CrashTest, ThreeNodesWithEverythingKilledInTurn) {
  BDR_START_CLUSTER(3, Load::Schema());
  Load load(cluster_.get(), {.nodes = {}, .workers_per_node = 1});
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  cluster_->agent("n1").Kill9();
  ASSERT_OK(cluster_->postgres("n2").Kill9());
  cluster_->server().Kill9();
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  ASSERT_OK(cluster_->postgres("n2").Start());
  cluster_->agent("n3").Kill9();
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(cluster_->StartAgent("n3"));
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  ExpectNothingLostNorTwice(&load);
}

// The agent dies while its group waits for a user's row lock. The group's backend lives on and
// commits when the lock is free, which may be after the next agent has asked how far it came.
TEST_F(CrashTest, AGroupThatCommitsAfterItsAgentDiedIsNeitherLostNorAppliedTwice) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE hot (id int PRIMARY KEY, v int);"
                    "CREATE TABLE event (what text);"
                    "INSERT INTO hot VALUES (1, 0), (2, 0)");
  for (int round = 1; round <= 3; ++round) {
    ASSERT_OK_AND_ASSIGN(const auto user, cluster_->Connect("n2"));
    ASSERT_OK(user->Exec("BEGIN; SELECT FROM hot WHERE id = 1 FOR UPDATE"));
    BDR_EXEC("n1", absl::StrCat("BEGIN; INSERT INTO event VALUES ('round ", round,
                                "'); UPDATE hot SET v = ", round, "; COMMIT"));
    ASSERT_OK(cluster_->WaitForValue("n2",
                                     "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = "
                                     "'bdr' AND wait_event_type = 'Lock'",
                                     "t", kDeadline));
    cluster_->agent("n2").Kill9();
    ASSERT_OK(cluster_->StartAgent("n2"));
    ASSERT_OK(harness::WaitFor("the new agent answers", kDeadline, [&]() -> absl::StatusOr<bool> {
      return cluster_->AgentMetrics("n2").ok();
    }));
    ASSERT_OK(user->Exec("ROLLBACK"));
    BDR_CONVERGE();
    ExpectEverywhere("SELECT count(*) FROM event", absl::StrCat(round));
    ExpectEverywhere("SELECT string_agg(DISTINCT v::text, ' ') FROM hot", absl::StrCat(round));
  }
}

// The machine of an agent crashes: its data folder falls back to what was synced. What peers have
// acted on must be what the agent decides again.
TEST_F(CrashTest, MachinesOfAgentsCrashUnderLoad) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's run-time library must be the first one loaded";
  harness::ClusterOptions options;
  options.nodes.assign(3, {});
  options.schema_sql = Load::Schema();
  options.machine_crash = true;
  BDR_START_CLUSTER(std::move(options));
  Load load(cluster_.get(), {.nodes = {}, .workers_per_node = 1, .hot_rows = 10});
  int64_t lost_bytes = 0;
  for (const char* node : {"n1", "n2", "n3", "n1"}) {
    ASSERT_OK(load.WaitForMore(250, kDeadline));
    ASSERT_OK_AND_ASSIGN(const int64_t lost, cluster_->CrashAgentMachine(node));
    lost_bytes += lost;
    ASSERT_OK(cluster_->StartAgent(node));
  }
  EXPECT_GT(lost_bytes, 0) << "the test did not test anything";
  ASSERT_OK(load.WaitForMore(250, kDeadline));
  ExpectNothingLostNorTwice(&load);
}

TEST_F(CrashTest, EverythingStopsWithinSecondsOfSigterm) {
  BDR_START_CLUSTER(2, Load::Schema());
  {
    Load load(cluster_.get(), {});
    ASSERT_OK(load.WaitForMore(300, kDeadline));
    EXPECT_OK(cluster_->agent("n1").Terminate(absl::Seconds(kSanitized ? 30 : 10)));
    EXPECT_OK(cluster_->server().Terminate(absl::Seconds(kSanitized ? 30 : 10)));
    ASSERT_OK(cluster_->StartServer());
    ASSERT_OK(cluster_->StartAgent("n1"));
    ASSERT_OK(load.WaitForMore(300, kDeadline));
    ExpectNothingLostNorTwice(&load);
  }
  // Idle, and with a database that is gone.
  ASSERT_OK(cluster_->postgres("n2").Stop());
  EXPECT_OK(cluster_->agent("n2").Terminate(absl::Seconds(kSanitized ? 30 : 10)));
  EXPECT_OK(cluster_->agent("n1").Terminate(absl::Seconds(kSanitized ? 30 : 10)));
}

TEST_F(CrashTest, AnAgentThatWasPausedGoesOn) {
  BDR_START_CLUSTER(2, Load::Schema());
  Load load(cluster_.get(), {});
  ASSERT_OK(load.WaitForMore(100, kDeadline));
  ASSERT_OK(cluster_->agent("n1").Pause());
  ASSERT_OK(load.WaitForMore(500, kDeadline));
  ASSERT_OK(cluster_->agent("n1").Resume());
  ASSERT_OK(load.WaitForMore(100, kDeadline));
  ExpectNothingLostNorTwice(&load);
}

}  // namespace
}  // namespace bdr::integration
