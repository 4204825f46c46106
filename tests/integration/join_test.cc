// A node begins only where every member keeps what it will need; and until it has begun it can be
// taken back.
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "bdr/v1/rows.grpc.pb.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "tests/harness/http.h"
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

  // Another start of it, after it has ended.
  void RestartAgent() {
    ASSERT_OK_AND_ASSIGN(
        agent_, harness::ChildProcess::Start(
                    {.name = "bdr-agent of n3",
                     .argv = {harness::ProgramFolder() + "/bdr-agent", "--config", Config()},
                     .log_file = folder_->path() + "/agent.log"}));
  }
  // n2 goes to bdr-server through this.
  void PutProxyBeforeServerOfN2() {
    ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
    ASSERT_OK_AND_ASSIGN(
        proxy_,
        harness::TcpProxy::Start({.listen_port = port, .server_port = cluster_->server_port()}));
    const std::string config = cluster_->folder() + "/n2/agent.yaml";
    ASSERT_OK_AND_ASSIGN(const std::string before, harness::ReadFile(config));
    ASSERT_OK(harness::WriteFile(
        config, absl::StrReplaceAll(before, {{absl::StrCat(":", cluster_->server_port(), "\"]"),
                                              absl::StrCat(":", port, "\"]")}})));
    ASSERT_OK(cluster_->agent("n2").Terminate());
    ASSERT_OK(cluster_->StartAgent("n2"));
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  }
  void WaitForStatus(const std::string& text) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("status says \"", text, "\""), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
                                 last = status.out + status.err;
                                 return absl::StrContains(last, text);
                               }))
        << last;
  }
  // What n1 tells of itself.
  absl::StatusOr<nlohmann::json> StatusOfN1() {
    ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status", "-o", "json"}));
    return nlohmann::json::parse(status.out).at("nodes").at(0);
  }
  // Exit code and all that it says.
  std::string Bdrctl(std::vector<std::string> arguments, int exit_code) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    EXPECT_OK(result);
    EXPECT_EQ(result->exit_code, exit_code) << result->out << result->err;
    return result->out + result->err;
  }

  std::unique_ptr<harness::TcpProxy> proxy_;
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
  ASSERT_NO_FATAL_FAILURE(PutProxyBeforeServerOfN2());
  proxy_->Cut("");

  ASSERT_NO_FATAL_FAILURE(StartAgent());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("node \"n2\" does not know yet that this node joins"));
  BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (2)");
  BDR_CONVERGE();
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM t", "app"), "0");
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (1), (2)", "app"));

  proxy_->Heal();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_EXEC("n2", "INSERT INTO t VALUES (3)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (4)");
  ASSERT_OK(harness::WaitFor("they arrive", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string count, server_->QueryValue("SELECT count(*) FROM t", "app"));
    return count == "4";
  }));
}

// Added by mistake: all others keep everything for it, it cannot join, and nobody has its changes.
TEST_F(JoinTest, ANodeThatHasNotJoinedIsTakenBackAndNobodyWaitsForIt) {
  constexpr char kTable[] = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(MakeServer(kTable));
  EXPECT_THAT(Bdrctl({"node", "remove", "n2"}, 4),
              ::testing::HasSubstr("other nodes may have changes of it"));
  ASSERT_NO_FATAL_FAILURE(PutProxyBeforeServerOfN2());
  proxy_->Cut("");
  ASSERT_NO_FATAL_FAILURE(StartAgent());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("node \"n2\" does not know yet that this node joins"));
  // Written while it joins: only its own agent has it.
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (1)", "app"));
  ASSERT_OK(
      harness::WaitFor("n1 waits for n3 and says so", kDeadline, [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const auto n1, StatusOfN1());
        return n1.at("stable_held_by") == "n3";
      }));
  ASSERT_OK(harness::WaitFor("its row says so", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
    const size_t row = status.out.find("\nn1 ");
    const size_t end = status.out.find('\n', row + 1);
    return absl::StrContains(status.out.substr(row, end - row) + " ", " n3 ");
  }));
  ASSERT_OK_AND_ASSIGN(const auto held, StatusOfN1());

  EXPECT_THAT(Bdrctl({"node", "remove", "n3"}, 0), ::testing::HasSubstr("(id 3) is removed"));
  Bdrctl({"node", "remove", "n3"}, 0);
  ASSERT_OK(harness::WaitFor("n1 forgets again", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto n1, StatusOfN1());
    return n1.at("stable_us") > held.at("clock_us");
  }));
  ASSERT_OK(agent_->WaitForExit(kDeadline));
  const auto log = harness::ReadFile(folder_->path() + "/agent.log");
  ASSERT_OK(log);
  EXPECT_THAT(*log, ::testing::HasSubstr("node \"n3\" (id 3) was removed"));
  proxy_->Heal();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ExpectEverywhere("SELECT count(*) FROM t", "0");

  // Started again it captures nothing, also where its name is a node's once more.
  ASSERT_OK(server_->Exec(
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
      "app"));
  EXPECT_THAT(Bdrctl({"node", "add", "n3", "--address", address_, "--no-copy"}, 0),
              ::testing::HasSubstr("has id 4"));
  ASSERT_NO_FATAL_FAILURE(RestartAgent());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("node \"n3\" (id 3) was removed"));
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM pg_replication_slots", "app"), "0");
  ASSERT_OK(agent_->Terminate());

  // With a new data_dir it becomes a member.
  ASSERT_OK(server_->Exec("DELETE FROM bdr.node; DELETE FROM t", "app"));
  ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(Config()));
  ASSERT_OK(
      harness::WriteFile(Config(), absl::StrReplaceAll(config, {{"/agent\n", "/agent-new\n"}})));
  ASSERT_NO_FATAL_FAILURE(RestartAgent());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (2)", "app"));
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(
        cluster_->WaitForValue(node, "SELECT string_agg(id::text, ' ') FROM t", "2", kDeadline));
  }
}

// A typo in the name: no agent ever comes.
TEST_F(JoinTest, ANameWithoutAnAgentIsTakenBack) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  EXPECT_THAT(Bdrctl({"node", "add", "typo", "--address", "127.0.0.1:1", "--no-copy"}, 0),
              ::testing::HasSubstr("has id 3"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("its agent has not reported yet"));
  Bdrctl({"node", "remove", "typo"}, 0);
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_THAT(Bdrctl({"node", "remove", "nobody"}, 4), ::testing::HasSubstr("has no node"));
  EXPECT_THAT(Bdrctl({"node", "add", "n3", "--address", "127.0.0.1:1", "--no-copy"}, 0),
              ::testing::HasSubstr("has id 4"));
}

// Found later it would have left a slot behind, for which the server keeps WAL, and a database that
// is this node's.
TEST_F(JoinTest, APortInUseEndsTheStartBeforeAnythingIsMade) {
  constexpr char kTable[] = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(MakeServer(kTable));
  ASSERT_OK_AND_ASSIGN(const int metrics_port, harness::FreePort());
  const std::string metrics_address = absl::StrCat("127.0.0.1:", metrics_port);
  ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(Config()));
  ASSERT_OK(harness::WriteFile(Config(),
                               absl::StrCat(config, "metrics_listen: ", metrics_address, "\n")));
  Bdrctl({"node", "add", "n3", "--address", address_, "--no-copy"}, 0);

  for (const auto& [key, address] :
       {std::pair("listen", address_), std::pair("metrics_listen", metrics_address)}) {
    SCOPED_TRACE(key);
    int port = 0;
    ASSERT_TRUE(absl::SimpleAtoi(address.substr(address.find(':') + 1), &port));
    ASSERT_OK_AND_ASSIGN(const auto other,
                         harness::TcpProxy::Start({.listen_port = port, .server_port = port}));
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult started,
                         harness::RunProgram({.argv = {harness::ProgramFolder() + "/bdr-agent",
                                                       "--config", Config()}}));
    EXPECT_EQ(started.exit_code, 1);
    EXPECT_THAT(started.err, ::testing::HasSubstr(address));
    EXPECT_THAT(started.err, ::testing::HasSubstr(key));
    EXPECT_THAT(started.err, ::testing::HasSubstr("already in use"));
    EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM pg_replication_slots", "app"), "0");
    EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM pg_replication_origin", "app"), "0");
    EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM bdr.node", "app"), "0");
    EXPECT_FALSE(std::filesystem::exists(folder_->path() + "/agent"));
  }

  // Both are free again.
  ASSERT_NO_FATAL_FAILURE(RestartAgent());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// What "bdr-agent --check" is for above all: nothing is there yet, and nothing is made.
TEST_F(JoinTest, ANewNodeIsCheckedBeforeItIsAdded) {
  constexpr char kTable[] = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(MakeServer(kTable));
  const auto check = [this] {
    const auto checked = harness::RunProgram(
        {.argv = {harness::ProgramFolder() + "/bdr-agent", "--check", "--config", Config()}});
    EXPECT_OK(checked);
    EXPECT_LE(checked->exit_code, 1) << checked->out;
    EXPECT_THAT(checked->out, ::testing::HasSubstr("/agent\" is not there yet and can be made"));
    EXPECT_THAT(checked->out, ::testing::HasSubstr("the database is no node's yet"));
    EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM pg_replication_slots", "app"), "0");
    EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM bdr.node", "app"), "0");
    EXPECT_FALSE(std::filesystem::exists(folder_->path() + "/agent"));
    return checked->out;
  };
  EXPECT_THAT(check(), ::testing::HasSubstr("node \"n3\" is not a member of cluster \"test\""));
  Bdrctl({"node", "add", "n3", "--address", address_, "--no-copy"}, 0);
  EXPECT_THAT(check(), ::testing::HasSubstr("knows node \"n3\" (id 3) at " + address_));
  ASSERT_NO_FATAL_FAILURE(RestartAgent());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// It listens long before it can serve: who asks must not take it for ready.
TEST_F(JoinTest, AnAgentThatWaitsIsNotReadyAndSaysWhy) {
  constexpr char kTable[] = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(2, kTable);
  ASSERT_NO_FATAL_FAILURE(MakeServer(kTable));
  ASSERT_OK_AND_ASSIGN(const int metrics_port, harness::FreePort());
  ASSERT_OK_AND_ASSIGN(const std::string config, harness::ReadFile(Config()));
  ASSERT_OK(harness::WriteFile(
      Config(), absl::StrCat(config, "metrics_listen: 127.0.0.1:", metrics_port, "\n")));
  ASSERT_NO_FATAL_FAILURE(RestartAgent());  // before it is added
  ASSERT_OK(harness::WaitFor("/readyz says why", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto ready, harness::HttpGet(metrics_port, "/readyz"));
    EXPECT_EQ(ready.code, 503) << ready.body;
    return absl::StrContains(ready.body, "bdrctl node add n3");
  }));

  const auto replication =
      v1::Replication::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext subscribing;
  const auto stream = replication->Subscribe(&subscribing);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  const auto rows =
      v1::Rows::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext fetching;
  v1::FetchRowsResponse fetched;
  EXPECT_EQ(rows->FetchRows(&fetching, {}, &fetched).error_code(), grpc::StatusCode::UNAVAILABLE);

  Bdrctl({"node", "add", "n3", "--address", address_, "--no-copy"}, 0);
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (2)", "app"));
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM t", "2", kDeadline));
}

TEST_F(JoinTest, AnAddressIsChangedWithoutARestart) {
  BDR_START_CLUSTER(3, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
  ASSERT_OK_AND_ASSIGN(
      proxy_,
      harness::TcpProxy::Start({.listen_port = port, .server_port = cluster_->agent_port("n2")}));
  const std::string address = absl::StrCat("127.0.0.1:", port);
  EXPECT_THAT(Bdrctl({"node", "add", "n2", "--address", address, "--no-copy"}, 4),
              ::testing::HasSubstr("bdrctl node set-address n2"));
  const std::string of_n1 = absl::StrCat("127.0.0.1:", cluster_->agent_port("n1"));
  EXPECT_THAT(Bdrctl({"node", "set-address", "n2", "--address", of_n1}, 4),
              ::testing::HasSubstr("belongs to node"));
  Bdrctl({"node", "set-address", "n2", "--address", address}, 0);
  // Both peers come through the proxy: what it cuts neither of them gets.
  ASSERT_OK(
      harness::WaitFor("both peers have gone there", kDeadline, [&]() -> absl::StatusOr<bool> {
        for (const char* node : {"n1", "n3"}) {
          ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster_->agent_log(node)));
          if (!absl::StrContains(log, absl::StrCat("->", address))) return false;
        }
        return true;
      }));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  proxy_->Cut("");
  std::string last;
  const auto links_to_n2 = [this, &last](bool streaming) {
    return [this, &last, streaming]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status", "-o", "json"}));
      last = status.out;
      const auto document = nlohmann::json::parse(status.out);
      int links = 0;
      for (const auto& node : document.at("nodes")) {
        for (const auto& origin : node.at("origins")) {
          if (origin.at("name") != "n2") continue;
          links += (origin.at("link").at("state") == "streaming") == streaming ? 1 : 0;
        }
      }
      return links == 2;
    };
  };
  ASSERT_OK(harness::WaitFor("neither reaches n2", kDeadline, links_to_n2(false))) << last;
  proxy_->Heal();
  ASSERT_OK(harness::WaitFor("both reach n2", kDeadline, links_to_n2(true))) << last;
  BDR_EXEC("n2", "INSERT INTO t VALUES (2)");
  BDR_CONVERGE();
}

}  // namespace
}  // namespace bdr::integration
