// Several bdr-servers on one etcd: any of them answers, each may die, and so may a member of etcd.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

TEST_F(ServersTest, AnotherServerLeadsWhenTheLeaderIsKilledAndStatusSaysSo) {
  ASSERT_NO_FATAL_FAILURE(StartOnEtcd(2));
  const auto wait_for_leader = [this](size_t servers, std::string* address) {
    std::string last;
    ASSERT_OK(harness::WaitFor("one leads", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const auto result, cluster_->Bdrctl({"server", "status", "-o", "json"}));
      last = result.out + result.err;
      if (result.exit_code == 4) return false;
      const Json status = Json::parse(result.out);
      std::vector<std::string> leaders;
      for (const Json& server : status.at("servers")) {
        if (server.at("leads")) leaders.push_back(server.at("address"));
      }
      EXPECT_LE(leaders.size(), 1u);
      if (leaders.size() != 1 || status.at("servers").size() != servers) return false;
      *address = leaders[0];
      return true;
    })) << last;
  };
  std::string first;
  ASSERT_NO_FATAL_FAILURE(wait_for_leader(2, &first));
  const std::string text = Bdrctl({"server", "status"}, 0);
  EXPECT_THAT(text, HasSubstr(etcd_->Url()));
  EXPECT_THAT(text, HasSubstr("3.4"));
  EXPECT_THAT(Bdrctl({"server", "migrate", "--to", "embedded"}, 4), HasSubstr("name the one"));
  const int killed = absl::EndsWith(first, absl::StrCat(":", cluster_->server_port(0))) ? 0 : 1;
  cluster_->server(killed).Kill9();
  std::string second;
  ASSERT_NO_FATAL_FAILURE(wait_for_leader(1, &second));
  EXPECT_NE(first, second);
  etcd_->member(0).Kill9();
  EXPECT_THAT(Bdrctl({"server", "status"}, 1), HasSubstr("Connection refused"));
}

TEST_F(ServersTest, WhatAgentsTellOneServerCountsForAnotherThatRebuildsTheCluster) {
  ASSERT_NO_FATAL_FAILURE(StartOnEtcd(2));
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
  // All agents are with the first server; the state is lost, and the second one is asked.
  for (const int server : {0, 1}) {
    ASSERT_OK(cluster_->server(server).Terminate());
    const std::string file = cluster_->server_config_file(server);
    ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(file));
    ASSERT_OK(harness::WriteFile(
        file, absl::StrReplaceAll(config, {{etcd_->Url(), etcd_->Url("empty")}})));
  }
  // A refusal is an answer, so that they stay there.
  std::string last;
  for (const int server : {0, 1}) {
    ASSERT_OK(cluster_->StartServer(server));
    ASSERT_OK(harness::WaitFor("both agents were heard", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const auto result, Ask(server, {"status"}));
      last = result.out + result.err;
      return absl::StrContains(last, "\"n1\", \"n2\"");
    })) << last;
  }
  EXPECT_EQ(Ask(1, {"cluster", "init", "other"})->exit_code, 4);
  ASSERT_OK(harness::WaitFor("it is rebuilt", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto result, Ask(1, {"cluster", "init", "--from-agents"}));
    last = result.out + result.err;
    return result.exit_code == 0;
  })) << last;
  EXPECT_THAT(last, HasSubstr("has 2 nodes"));
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(0));
  ASSERT_NO_FATAL_FAILURE(WaitUntilAllIsWell(1));
  EXPECT_THAT(Bdrctl({"table", "show-policy", "public.t"}, 0), HasSubstr("first_update_wins"));
  ASSERT_NO_FATAL_FAILURE(Write());
}

TEST_F(ServersTest, LocksAreTakenQueuedForAndReleasedByScripts) {
  ASSERT_NO_FATAL_FAILURE(StartOnEtcd(2));
  EXPECT_THAT(Bdrctl({"lock", "list"}, 0), HasSubstr("no lock is held"));
  const Json held = Json::parse(Bdrctl(
      {"lock", "acquire", "load", "--owner", "anna", "--reason", "prices", "-o", "json"}, 0));
  EXPECT_THAT(Bdrctl({"lock", "acquire", "load", "--owner", "bert"}, 4),
              HasSubstr("held by \"anna\" (prices)"));
  EXPECT_THAT(Bdrctl({"lock", "acquire", "load", "--owner", "bert", "--wait", "1s"}, 4),
              HasSubstr("still held by \"anna\""));
  // Whichever server is asked.
  cluster_->server(0).Kill9();
  const Json listed = Json::parse(Bdrctl({"lock", "list", "-o", "json"}, 0));
  ASSERT_EQ(listed.size(), 1u) << listed;
  EXPECT_EQ(listed.at(0), held);
  const std::string ticket = held.at("ticket");
  Bdrctl({"lock", "acquire", "load", "--owner", "anna", "--ticket", ticket, "--token",
          held.at("token").dump()},
         0);
  Bdrctl({"lock", "release", "load", "--ticket", ticket}, 0);
  EXPECT_THAT(Bdrctl({"lock", "acquire", "load", "--owner", "anna", "--ticket", ticket, "--token",
                      held.at("token").dump()},
                     4),
              HasSubstr("lost"));
  const Json next =
      Json::parse(Bdrctl({"lock", "acquire", "load", "--owner", "bert", "-o", "json"}, 0));
  EXPECT_GT(next.at("token").get<uint64_t>(), held.at("token").get<uint64_t>());
}

TEST_F(ServersTest, TheStateMovesToEtcdAndBackWhileTheNodesWrite) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
  const auto nodes = [this] {
    const Json list = Json::parse(Bdrctl({"node", "list", "-o", "json"}, 0));
    return std::pair(list.at("cluster_id"), list.at("nodes"));
  };
  const auto before = nodes();
  EXPECT_THAT(Bdrctl({"server", "migrate", "--to", "somewhere"}, 4), HasSubstr("etcd://"));
  EXPECT_THAT(Bdrctl({"server", "migrate", "--to", "embedded"}, 4), HasSubstr("already"));
  ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(cluster_->server_config_file()));

  EXPECT_THAT(Bdrctl({"server", "migrate", "--to", etcd_->Url()}, 0), HasSubstr("start it again"));
  EXPECT_THAT(Bdrctl({"status"}, 4), HasSubstr("was moved"));
  EXPECT_THAT(Bdrctl({"server", "status"}, 2), HasSubstr("not used any more"));
  ASSERT_NO_FATAL_FAILURE(Write());
  // Also when it is started again as it was.
  cluster_->server().Kill9();
  ASSERT_OK(cluster_->StartServer());
  EXPECT_THAT(Bdrctl({"node", "list"}, 4), HasSubstr("was moved"));
  ASSERT_OK(cluster_->server().Terminate());
  ASSERT_OK(harness::WriteFile(cluster_->server_config_file(),
                               absl::StrCat(config, "store: ", etcd_->Url(), "\n")));
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(nodes(), before);
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("last_update_wins"));
  ASSERT_NO_FATAL_FAILURE(Write());
  // A backup that is made on one store comes back on the other.
  const std::string file = cluster_->folder() + "/backup";
  Bdrctl({"cluster", "backup", file}, 0);

  Bdrctl({"server", "migrate", "--to", "embedded"}, 0);
  ASSERT_OK(cluster_->server().Terminate());
  ASSERT_OK(harness::WriteFile(cluster_->server_config_file(), config));
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(nodes(), before);
  ASSERT_NO_FATAL_FAILURE(ExpectDecisions("first_update_wins"));
  ASSERT_NO_FATAL_FAILURE(Write());

  ASSERT_OK(harness::WriteFile(cluster_->server_config_file(),
                               absl::StrCat(config, "store: ", etcd_->Url("restored"), "\n")));
  ASSERT_OK_AND_ASSIGN(
      const auto restored,
      harness::RunProgram({.argv = {harness::ProgramFolder() + "/bdr-server", "--config",
                                    cluster_->server_config_file(), "restore", file}},
                          kDeadline));
  EXPECT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr(etcd_->Url("restored")));
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
