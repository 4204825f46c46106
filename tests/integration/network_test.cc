// Links that are slow, cut in the middle of a message or gone; peers that are away for a while.
#include "tests/harness/load.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using harness::Load;

class NetworkTest : public ClusterTest {};

TEST_F(NetworkTest, LinksThatBreakInsideMessagesLoseNothing) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql = Load::Schema();
  options.proxies = true;
  BDR_START_CLUSTER(std::move(options));
  Load load(cluster_.get(), {});
  for (int64_t bytes : {1, 1000, 7777, 30000}) {
    const harness::Fault fault = {.cut = true, .cut_after_bytes = bytes};
    cluster_->SetFault("n1", "n2", fault);
    cluster_->SetFault("n2", "n1", fault);
    ASSERT_OK(load.WaitForMore(200, kDeadline));
    cluster_->Heal();
    ASSERT_OK(load.WaitForMore(200, kDeadline));
  }
  // One-way loss and a stall: nobody is told that the link is dead.
  cluster_->SetFault("n1", "n2", {.lose = true});
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  cluster_->Heal();
  cluster_->SetFault("n2", "n1", {.stall = true});
  ASSERT_OK(load.WaitForMore(200, kDeadline));
  cluster_->Heal();
  // Slow, then far away.
  cluster_->SetFault("n1", "n2", {.bytes_per_second = 50000});
  cluster_->SetFault("n2", "n1", {.delay = absl::Milliseconds(50)});
  ASSERT_OK(load.WaitForMore(500, kDeadline));
  load.Stop();
  cluster_->Heal();
  EXPECT_THAT(load.errors(), ::testing::IsEmpty());
  BDR_CONVERGE();
  EXPECT_OK(load.CheckNothingLostNorTwice());
}

TEST_F(NetworkTest, APeerThatIsDownHoldsBackNoWalAndCatchesUpFromTheChangeLog) {
  BDR_START_CLUSTER(3, Load::Schema());
  ASSERT_OK(cluster_->agent("n3").Terminate());
  ASSERT_OK(cluster_->postgres("n3").Stop());
  Load load(cluster_.get(), {.nodes = {"n1", "n2"}});
  ASSERT_OK(load.WaitForMore(2000, kDeadline));
  load.Stop();
  for (const char* node : {"n1", "n2"}) {
    const std::string end = Value(node, "SELECT pg_current_wal_flush_lsn()");
    EXPECT_EQ(Value(node, "SELECT count(*) FROM pg_replication_slots"), "1")
        << "one slot, whatever the number of peers";
    EXPECT_OK(cluster_->WaitForValue(node,
                                     absl::StrCat("SELECT bool_and(confirmed_flush_lsn >= '", end,
                                                  "') FROM pg_replication_slots"),
                                     "t", kDeadline))
        << "the peer that is down makes PostgreSQL keep WAL";
    // restart_lsn follows with the next snapshot record.
    BDR_EXEC(node, "CHECKPOINT");
    EXPECT_OK(
        cluster_->WaitForValue(node,
                               absl::StrCat("SELECT bool_and(pg_wal_lsn_diff('", end,
                                            "', restart_lsn) < 1000000) FROM pg_replication_slots"),
                               "t", kDeadline));
  }
  EXPECT_OK(cluster_->WaitUntilConverged(kDeadline, {"n1", "n2"}));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult status, cluster_->Bdrctl({"status"}));
  EXPECT_NE(status.exit_code, 0) << status.out;

  ASSERT_OK(cluster_->postgres("n3").Start());
  ASSERT_OK(cluster_->StartAgent("n3"));
  BDR_CONVERGE();
  EXPECT_OK(load.CheckNothingLostNorTwice());
  EXPECT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(NetworkTest, ReplicationGoesOnWithoutTheServer) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_OK(cluster_->server().Terminate());
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  // An agent that starts now knows from its disk who its peers are.
  ASSERT_OK(cluster_->agent("n1").Terminate());
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_EXEC("n1", "INSERT INTO t VALUES (2)");
  BDR_EXEC("n2", "INSERT INTO t VALUES (3)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "3");
  ASSERT_OK(cluster_->StartServer());
  EXPECT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(NetworkTest, CertificatesAreAskedFor) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY)";
  options.tls = true;
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "1");
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult plaintext,
      harness::RunProgram(
          {.argv = {harness::ProgramFolder() + "/bdrctl", "--server",
                    absl::StrCat("127.0.0.1:", cluster_->server_port()), "--insecure", "status"}}));
  EXPECT_NE(plaintext.exit_code, 0);
  // A certificate of another authority is nobody's.
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  ASSERT_OK_AND_ASSIGN(const auto stranger, harness::CertificateAuthority::Create(folder->path()));
  ASSERT_OK(stranger->Issue("admin", "admin"));
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult refused,
      harness::RunProgram({.argv = {harness::ProgramFolder() + "/bdrctl", "--server",
                                    absl::StrCat("127.0.0.1:", cluster_->server_port()), "--ca",
                                    cluster_->folder() + "/tls/ca.crt", "--cert",
                                    stranger->certificate_file("admin"), "--key",
                                    stranger->key_file("admin"), "status"}}));
  EXPECT_NE(refused.exit_code, 0);
}

}  // namespace
}  // namespace bdr::integration
