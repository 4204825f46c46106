// Who a node is: its data folder and its database belong together, and nobody else speaks for it.
#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/harness/ports.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class IdentityTest : public ClusterTest {
 protected:
  void StartTwoNodes() {
    BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
    BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
    BDR_CONVERGE();
    ASSERT_OK(cluster_->agent("n1").Terminate());
  }
  void WaitForStatus(const std::string& text) {
    ASSERT_OK(harness::WaitFor(
        absl::StrCat("status says \"", text, "\""), kDeadline, [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
          return status.exit_code == 2 && absl::StrContains(status.out, text);
        }));
  }
  std::string Config() { return cluster_->folder() + "/n1/agent.yaml"; }
  // Of the agent that is started next.
  void Replace(const std::string& what, const std::string& with) {
    ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(Config()));
    ASSERT_TRUE(absl::StrContains(config, what)) << config;
    ASSERT_OK(harness::WriteFile(Config(), absl::StrReplaceAll(config, {{what, with}})));
  }

  static constexpr char kProgress[] =
      "SELECT string_agg(origin_node || ':' || lsn, ' ' ORDER BY origin_node) FROM bdr.progress";
};

// Replication origins and slots are the server's, not the database's: each node has its own.
TEST_F(IdentityTest, TwoNodesShareAServer) {
  harness::ClusterOptions options;
  options.nodes = {{}, {.server_of = "n1"}, {}};
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY, v text)";
  BDR_START_CLUSTER(std::move(options));
  for (const char* node : {"n1", "n2", "n3"}) {
    BDR_EXEC(node, absl::StrCat("INSERT INTO t SELECT i, '", node,
                                "' FROM generate_series(1, 20) i"
                                " ON CONFLICT (id) DO UPDATE SET v = excluded.v"));
  }
  BDR_CONVERGE();
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM pg_replication_slots"), "2");
  // Each begins anew beside what belongs to the other.
  cluster_->agent("n1").Kill9();
  BDR_EXEC("n2", "UPDATE t SET v = 'n2 again'");
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t WHERE v = 'n2 again'", "20");
}

// As after a base backup was restored on a new machine: the slot is gone, too.
TEST_F(IdentityTest, ANodeWithoutFolderAndSlotSkipsNothingInSilence) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  BDR_EXEC("n2", "INSERT INTO t VALUES (2)");
  const std::string progress = Value("n1", kProgress);
  std::filesystem::rename(cluster_->agent_folder("n1"), cluster_->agent_folder("n1") + "-away");
  // Once the walsender has noticed that its agent is gone.
  ASSERT_OK(harness::WaitFor("the slot can be dropped", kDeadline, [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(cluster_->Exec(
        "n1", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"));
    return true;
  }));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("node \"n1\" is known by data_dir"));
  EXPECT_EQ(Value("n1", kProgress), progress);
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM t"), "1");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM pg_replication_slots"), "0");

  // The folder is found again. What was written without a slot is lost to the others, so it says
  // so.
  ASSERT_OK(cluster_->agent("n1").Terminate());
  std::filesystem::remove_all(cluster_->agent_folder("n1"));
  std::filesystem::rename(cluster_->agent_folder("n1") + "-away", cluster_->agent_folder("n1"));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("is missing"));
}

// A configuration that was cloned with its machine, whose data is elsewhere.
TEST_F(IdentityTest, ASecondAgentUnderOneNameIsRefused) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  BDR_EXEC("n2", "INSERT INTO t VALUES (2)");
  const std::string folder = cluster_->agent_folder("n1");
  ASSERT_NO_FATAL_FAILURE(Replace(absl::StrCat("data_dir: ", folder, "\n"),
                                  absl::StrCat("data_dir: ", folder, "-clone\n")));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("if two agents run under this name"));
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM t"), "1");

  ASSERT_OK(cluster_->agent("n1").Terminate());
  ASSERT_NO_FATAL_FAILURE(Replace("-clone\n", "\n"));
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "2");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// Both would apply every change, and each would end the other's sessions.
TEST_F(IdentityTest, AnAgentOnAnotherNodesDatabaseIsRefused) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  const auto port = [this](const char* node) {
    return absl::StrCat(" port=", cluster_->postgres(node).port(), " ");
  };
  ASSERT_NO_FATAL_FAILURE(Replace(port("n1"), port("n2")));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("the database belongs to node \"n2\""));
  BDR_EXEC("n2", "INSERT INTO t VALUES (2)");
  ASSERT_OK(cluster_->agent("n1").Terminate());
  ASSERT_NO_FATAL_FAILURE(Replace(port("n2"), port("n1")));
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "2");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// Under another name bdr-server knows nothing of its past; the database does.
TEST_F(IdentityTest, ADatabaseThatWasANodeIsTakenForNoNewOne) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  BDR_EXEC("n2", "INSERT INTO t VALUES (2)");
  const std::string progress = Value("n1", kProgress);
  ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
  const std::string address = absl::StrCat("127.0.0.1:", port);
  ASSERT_NO_FATAL_FAILURE(Replace("node: n1\n", "node: n3\n"));
  ASSERT_NO_FATAL_FAILURE(Replace("/agent\n", "/agent-new\n"));
  ASSERT_NO_FATAL_FAILURE(
      Replace(absl::StrCat("listen: 127.0.0.1:", cluster_->agent_port("n1"), "\n"),
              absl::StrCat("listen: ", address, "\n")));
  ASSERT_EQ(cluster_->Bdrctl({"node", "add", "n3", "--address", address, "--no-copy"})->exit_code,
            0);
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("the database was a node before"));
  EXPECT_EQ(Value("n1", kProgress), progress);
}

}  // namespace
}  // namespace bdr::integration
