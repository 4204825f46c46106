// A wrong address or the wrong TLS options are said in words, with what to do.
#include "ctl/wrong_port.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/grpc_security.h"
#include "base/http_server.h"
#include "base/testing.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "bdr/v1/control.grpc.pb.h"
#include "ctl/certificates.h"
#include "ctl/files.h"
#include "ctl/rpc.h"

namespace bdr::ctl {
namespace {

using ::testing::HasSubstr;

class FakeServer final : public v1::ControlPlane::Service {
  grpc::Status GetMembership(grpc::ServerContext*, const v1::GetMembershipRequest*,
                             v1::GetMembershipResponse*) override {
    return grpc::Status::OK;
  }
};
class FakeAgent final : public v1::AgentAdmin::Service {
  grpc::Status GetNodeStatus(grpc::ServerContext*, const v1::GetNodeStatusRequest*,
                             v1::GetNodeStatusResponse*) override {
    return grpc::Status::OK;
  }
};

// One of the two on a port of its own, plaintext if `security` is.
template <typename Service>
class Daemon {
 public:
  explicit Daemon(const SecurityOptions& security = {.insecure = true}) {
    auto credentials = MakeServerCredentials(security, "127.0.0.1:1");
    EXPECT_OK(credentials);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", *credentials, &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~Daemon() { server_->Shutdown(); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

std::string ErrorOfServer(const std::string& address, Globals globals = {.insecure = true}) {
  globals.server = address;
  return std::string(FetchMembership(globals).status().message());
}

std::string ErrorOfAgent(const std::string& address) {
  v1::Member member;
  member.set_name("eu1");
  member.set_agent_address(address);
  const auto agent = ConnectAgent({.insecure = true}, member);
  EXPECT_OK(agent);
  return std::string(agent->Call(&v1::AgentAdmin::Stub::GetNodeStatus, v1::GetNodeStatusRequest())
                         .status()
                         .message());
}

TEST(WrongPortTest, AnAgentsPortIsNoServers) {
  const Daemon<FakeAgent> agent;
  EXPECT_EQ(ErrorOfAgent(agent.address()), "");
  EXPECT_THAT(ErrorOfServer(agent.address()),
              HasSubstr(absl::StrCat("bdr-server \"", agent.address(),
                                     "\": this is the port of a bdr-agent: give bdr-server's with "
                                     "--server")));
}

TEST(WrongPortTest, AServersPortIsNoAgents) {
  const Daemon<FakeServer> server;
  EXPECT_EQ(ErrorOfServer(server.address()), "");
  EXPECT_THAT(ErrorOfAgent(server.address()),
              HasSubstr("this is the port of a bdr-server: give the agent's with \"bdrctl node "
                        "set-address\""));
}

// Its own kind, but older than the call.
TEST(WrongPortTest, ACallThatIsNotKnownYetIsSaidToBe) {
  const Daemon<FakeServer> server;
  Globals globals{.insecure = true};
  globals.server = server.address();
  ASSERT_OK_AND_ASSIGN(const Server connected, ConnectServer(globals));
  const auto answer =
      connected.Call(&v1::ControlPlane::Stub::InitCluster, v1::InitClusterRequest());
  EXPECT_THAT(answer.status().message(), HasSubstr("does not know this call"));
}

TEST(WrongPortTest, ThePortOfMetricsIsSaidToBeOne) {
  Metrics metrics({{.name = "bdr_log_bytes", .type = MetricType::kGauge, .help = "size"}});
  const auto http =
      HttpServer::Start({.address = {.host = "127.0.0.1", .port = 0}, .metrics = &metrics});
  ASSERT_OK(http);
  EXPECT_THAT(ErrorOfServer(absl::StrCat("127.0.0.1:", (*http)->port())),
              HasSubstr("it speaks HTTP, as the \"metrics_listen\" of a daemon does"));
}

TEST(WrongPortTest, AnAddressNeedsAPort) {
  for (const char* address : {"127.0.0.1", "ctl1.example.com", "127.0.0.1:", ":7400", "fd00::5"}) {
    EXPECT_THAT(ErrorOfServer(address), HasSubstr("is not host:port, such as \"127.0.0.1:7400\""))
        << address;
    // gRPC would take port 443.
    EXPECT_THAT(ErrorOfServer(address, {.ca = "ca", .cert = "cert", .key = "key"}),
                HasSubstr("is not host:port"));
  }
}

TEST(WrongPortTest, NobodyThereIsSaidByGrpc) {
  EXPECT_THAT(ErrorOfServer("127.0.0.1:9"), HasSubstr("Connection refused"));
}

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/bdr-tls-XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ASSERT_OK_AND_ASSIGN(const KeyPair ca, MakeAuthority(2));
    ASSERT_OK_AND_ASSIGN(
        const KeyPair own,
        IssueCertificate(
            ca, {.name = "ctl1", .role = Role::kServer, .hosts = {"127.0.0.1"}, .days = 1}));
    ASSERT_OK(WriteNew(folder_ + "/ca.crt", ca.certificate, 0644));
    ASSERT_OK(WriteNew(folder_ + "/own.crt", own.certificate, 0644));
    ASSERT_OK(WriteNew(folder_ + "/own.key", own.key, 0600));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

TEST_F(TlsTest, PlaintextAgainstTlsIsSaid) {
  const Daemon<FakeServer> server({.certificate = folder_ + "/own.crt",
                                   .key = folder_ + "/own.key",
                                   .ca = folder_ + "/ca.crt"});
  EXPECT_THAT(ErrorOfServer(server.address()),
              HasSubstr("it speaks TLS, and this side plaintext: give --ca, --cert and --key "
                        "instead of --insecure"));
}

TEST_F(TlsTest, AnotherCaIsSaid) {
  const Daemon<FakeServer> server({.certificate = folder_ + "/own.crt",
                                   .key = folder_ + "/own.key",
                                   .ca = folder_ + "/ca.crt"});
  ASSERT_OK_AND_ASSIGN(const KeyPair other, MakeAuthority(2));
  ASSERT_OK_AND_ASSIGN(const KeyPair anna,
                       IssueCertificate(other, {.name = "anna", .role = Role::kAdmin, .days = 1}));
  ASSERT_OK(WriteNew(folder_ + "/other.crt", other.certificate, 0644));
  ASSERT_OK(WriteNew(folder_ + "/anna.crt", anna.certificate, 0644));
  ASSERT_OK(WriteNew(folder_ + "/anna.key", anna.key, 0600));
  EXPECT_THAT(ErrorOfServer(server.address(), {.ca = folder_ + "/other.crt",
                                               .cert = folder_ + "/anna.crt",
                                               .key = folder_ + "/anna.key"}),
              HasSubstr("one of the two does not trust the other's certificate"));
}

TEST_F(TlsTest, TlsAgainstPlaintextIsSaid) {
  const Daemon<FakeServer> server;
  EXPECT_THAT(ErrorOfServer(server.address(), {.ca = folder_ + "/ca.crt",
                                               .cert = folder_ + "/own.crt",
                                               .key = folder_ + "/own.key"}),
              HasSubstr("it speaks plaintext, and this side TLS: say --insecure instead of --ca, "
                        "--cert and --key"));
}

}  // namespace
}  // namespace bdr::ctl
