// Several bdr-servers on one etcd: any of them answers, each may die, and so may a member of etcd.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/etcd.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class ServersTest : public ClusterTest {
 protected:
  static constexpr char kTable[] =
      "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL";

  void StartEtcd(harness::EtcdClusterOptions options = {}) {
    ASSERT_OK_AND_ASSIGN(etcd_, harness::EtcdCluster::Start(options));
  }
  void StartOnEtcd(int servers) {
    ASSERT_NO_FATAL_FAILURE(StartEtcd());
    harness::ClusterOptions options;
    options.servers = servers;
    options.server_config = absl::StrCat("store: ", etcd_->Url(), "\n");
    options.schema_sql = kTable;
    StartCluster(std::move(options));
  }

  // Exit code and all that it says.
  std::string Bdrctl(std::vector<std::string> arguments, int exit_code) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    EXPECT_OK(result);
    EXPECT_EQ(result->exit_code, exit_code) << result->out << result->err;
    return result->out + result->err;
  }
  // The same of one server alone.
  absl::StatusOr<harness::ProgramResult> Ask(int server,
                                             const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = cluster_->BdrctlCommand();
    for (std::string& word : argv) {
      if (absl::StrContains(word, ',')) {
        word = absl::StrCat("127.0.0.1:", cluster_->server_port(server));
      }
    }
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return harness::RunProgram({.argv = std::move(argv)}, kDeadline);
  }
  void WaitUntilAllIsWell(int server) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("server ", server, " finds all well"), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto result, Ask(server, {"status"}));
                                 last = result.out + result.err;
                                 return result.exit_code == 0;
                               }))
        << last;
  }
  // That what is decided now is in force on every node.
  void ExpectDecisions(const std::string& policy) {
    ASSERT_OK(harness::WaitFor("the policy is taken", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const auto result,
                       cluster_->Bdrctl({"table", "set-policy", "public.t", policy}));
      return result.exit_code == 0;
    }));
    ASSERT_OK(harness::WaitFor("the policy is in force", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const auto result, cluster_->Bdrctl({"table", "show-policy", "public.t"}));
      return absl::StrContains(result.out, policy);
    }));
  }
  void Write() {
    for (const std::string& node : cluster_->names()) {
      BDR_EXEC(node, "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t");
      BDR_CONVERGE();
    }
  }

  std::unique_ptr<harness::EtcdCluster> etcd_;
};

TEST_F(ServersTest, TheClusterGoesOnWhenAServerAndTheLeaderOfEtcdAreKilled) {
  ASSERT_NO_FATAL_FAILURE(StartOnEtcd(2));
  ASSERT_NO_FATAL_FAILURE(Write());
  // What is reported to one of them the other one knows as well.
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(0));
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(1));

  cluster_->server(0).Kill9();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
  ASSERT_NO_FATAL_FAILURE(Write());
  ASSERT_OK(cluster_->StartServer(0));
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(0));

  ASSERT_OK_AND_ASSIGN(const int leader, etcd_->Leader());
  etcd_->member(leader).Kill9();
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("last_update_wins"));
  ASSERT_NO_FATAL_FAILURE(Write());
  cluster_->server(1).Kill9();
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(0));
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
  ASSERT_OK(cluster_->StartServer(1));
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(1));
  EXPECT_EQ(Json::parse(Ask(0, {"node", "list", "-o", "json"})->out),
            Json::parse(Ask(1, {"node", "list", "-o", "json"})->out));
}

TEST_F(ServersTest, WithoutAMajorityOfEtcdTheNodesGoOnAndDecisionsWait) {
  ASSERT_NO_FATAL_FAILURE(StartOnEtcd(1));
  etcd_->member(0).Kill9();
  etcd_->member(1).Kill9();
  EXPECT_THAT(Bdrctl({"table", "set-policy", "public.t", "first_update_wins"}, 4),
              HasSubstr("etcd at"));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t");
    ASSERT_OK(cluster_->WaitForValue(node == "n1" ? "n2" : "n1", "SELECT count(*) FROM t",
                                     Value(node, "SELECT count(*) FROM t"), kDeadline));
  }
  ASSERT_OK(etcd_->StartMember(0));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
}

}  // namespace
}  // namespace bdr::integration
