// A node begins only where every member keeps what it will need.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/harness/ports.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class JoinTest : public ClusterTest {
 protected:
  // Another node beside the cluster's: its own server, and an agent that is not started yet.
  void MakeServer(const std::string& schema) {
    ASSERT_OK_AND_ASSIGN(server_, harness::PostgresServer::Create());
    ASSERT_OK(server_->Exec("CREATE DATABASE app"));
    // As the harness has made it on the others.
    ASSERT_OK(server_->Exec(absl::StrCat(schema,
                                         "; CREATE SCHEMA harness; CREATE TABLE harness.marker "
                                         "(node text, n bigint, PRIMARY KEY (node, n))"),
                            "app"));
    ASSERT_OK_AND_ASSIGN(const auto sql, cluster_->Bdrctl({"node", "setup-sql", "--role", "bdr"}));
    ASSERT_OK(server_->RunScript(sql.out, "app"));
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
    address_ = absl::StrCat("127.0.0.1:", port);
    ASSERT_OK(harness::WriteFile(
        Config(), absl::StrCat("node: n3\ndatabase: host=127.0.0.1 port=", server_->port(),
                               " user=bdr dbname=app\ndata_dir: ", folder_->path(),
                               "/agent\nlisten: ", address_, "\ncontrol: [\"127.0.0.1:",
                               cluster_->server_port(), "\"]\ninsecure: true\n")));
  }
  std::string Config() const { return folder_->path() + "/agent.yaml"; }
  void StartAgent() {
    ASSERT_EQ(
        cluster_->Bdrctl({"node", "add", "n3", "--address", address_, "--no-copy"})->exit_code, 0);
    ASSERT_OK_AND_ASSIGN(
        agent_, harness::ChildProcess::Start(
                    {.name = "bdr-agent of n3",
                     .argv = {harness::ProgramFolder() + "/bdr-agent", "--config", Config()},
                     .log_file = folder_->path() + "/agent.log"}));
  }

  std::unique_ptr<harness::PostgresServer> server_;
  std::unique_ptr<harness::TempFolder> folder_;
  std::string address_;
  std::unique_ptr<harness::ChildProcess> agent_;
};

// n2 lives and answers, but bdr-server cannot tell it of n3: what it drops meanwhile n3 would need.
TEST_F(JoinTest, ANodeWaitsUntilAllMembersKnowOfIt) {
  constexpr char kTable[] = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(MakeServer(kTable));
  ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
  auto proxy =
      harness::TcpProxy::Start({.listen_port = port, .server_port = cluster_->server_port()});
  ASSERT_OK(proxy.status());
  const std::string config = cluster_->folder() + "/n2/agent.yaml";
  ASSERT_OK_AND_ASSIGN(const std::string before, harness::ReadFile(config));
  ASSERT_OK(harness::WriteFile(
      config, absl::StrReplaceAll(before, {{absl::StrCat(":", cluster_->server_port(), "\"]"),
                                            absl::StrCat(":", port, "\"]")}})));
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  (*proxy)->Cut("");

  ASSERT_NO_FATAL_FAILURE(StartAgent());
  std::string last;
  ASSERT_OK(harness::WaitFor("n3 says whom it waits for", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
    last = status.out;
    return absl::StrContains(last, "node \"n2\" does not know yet that this node joins");
  })) << last;
  BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (2)");
  BDR_CONVERGE();
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM t", "app"), "0");
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (1), (2)", "app"));

  (*proxy)->Heal();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_EXEC("n2", "INSERT INTO t VALUES (3)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (4)");
  ASSERT_OK(harness::WaitFor("they arrive", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string count, server_->QueryValue("SELECT count(*) FROM t", "app"));
    return count == "4";
  }));
}

}  // namespace
}  // namespace bdr::integration
