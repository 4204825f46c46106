// A certificate of the cluster's CA is not a key to the cluster: it is good for what it names.
//
// The attacker has certificates that the CA did sign: a viewer's, an admin's, that of a node which
// was never added, and that of another node. The cluster goes on as if he were not there.
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/grpc_security.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "bdr/v1/control.grpc.pb.h"
#include "bdr/v1/rows.grpc.pb.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

class SecurityTest : public ClusterTest {
 protected:
  void StartThreeNodes() {
    harness::ClusterOptions options;
    options.nodes.assign(3, {});
    options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY)";
    options.tls = true;
    BDR_START_CLUSTER(std::move(options));
    ASSERT_OK(cluster_->authority()->Issue("mallory", "viewer"));
    ASSERT_OK(cluster_->authority()->Issue("n9", "node"));
    BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
    BDR_CONVERGE();
  }

  std::shared_ptr<grpc::Channel> Channel(const std::string& certificate, int port) {
    const harness::CertificateAuthority& authority = *cluster_->authority();
    const std::string address = absl::StrCat("localhost:", port);
    const auto credentials =
        MakeChannelCredentials({.certificate = authority.certificate_file(certificate),
                                .key = authority.key_file(certificate),
                                .ca = authority.ca_file()},
                               address);
    EXPECT_OK(credentials);
    return grpc::CreateChannel(address, *credentials);
  }

  static void SetDeadline(grpc::ClientContext* context) {
    context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  }

  v1::Membership Membership() {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::GetMembershipResponse response;
    const grpc::Status status = v1::ControlPlane::NewStub(Channel("admin", cluster_->server_port()))
                                    ->GetMembership(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.membership();
  }

  grpc::Status Report(const std::string& certificate, const std::string& node,
                      uint32_t incarnation) {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::ReportRequest request;
    v1::ReportResponse response;
    request.set_name(node);
    request.set_incarnation(incarnation);
    return v1::ControlPlane::NewStub(Channel(certificate, cluster_->server_port()))
        ->Report(&context, request, &response);
  }

  // Subscribes at n1 as that node, says that it has everything up to `lsn`, and goes on until n1
  // ends it.
  grpc::Status Subscribe(const std::string& certificate, uint32_t node, uint64_t lsn) {
    grpc::ClientContext context;
    SetDeadline(&context);
    const auto stub = v1::Replication::NewStub(Channel(certificate, cluster_->agent_port("n1")));
    const auto stream = stub->Subscribe(&context);
    v1::SubscriberMessage message;
    message.mutable_subscription()->set_cluster_id(Membership().cluster_id());
    message.mutable_subscription()->set_subscriber_node(node);
    v1::PublisherMessage answer;
    if (stream->Write(message) && stream->Read(&answer)) {
      message.Clear();
      v1::OriginAck* ack = message.mutable_ack()->add_origins();
      ack->set_node(1);
      ack->set_incarnation(1);
      ack->set_received_lsn(lsn);
      ack->set_durable_lsn(lsn);
      stream->Write(message);
      while (stream->Read(&answer)) {
      }
    }
    return stream->Finish();
  }

  grpc::Status FetchRow(const std::string& certificate, uint32_t node) {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::FetchRowsRequest request;
    v1::FetchRowsResponse response;
    request.set_cluster_id(Membership().cluster_id());
    request.set_asking_node(node);
    request.set_schema("pg_catalog");
    request.set_table("pg_authid");
    request.add_key_columns("rolname");
    request.add_columns("rolpassword");
    request.add_rows()->add_key()->set_text("postgres");
    const grpc::Status status = v1::Rows::NewStub(Channel(certificate, cluster_->agent_port("n1")))
                                    ->FetchRows(&context, request, &response);
    EXPECT_EQ(response.rows_size(), 0);
    return status;
  }

  grpc::Status ReadAuthid(const std::string& certificate) {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::ReadRowsRequest request;
    v1::ReadRowsResponse response;
    request.set_schema("pg_catalog");
    request.set_name("pg_authid");
    request.set_values(true);
    const grpc::Status status =
        v1::AgentAdmin::NewStub(Channel(certificate, cluster_->agent_port("n1")))
            ->ReadRows(&context, request, &response);
    EXPECT_EQ(response.rows_size(), 0);
    return status;
  }

  // Lines of a log with that event.
  static std::vector<std::string> LinesOf(const std::string& file, const std::string& event) {
    std::vector<std::string> found;
    const absl::StatusOr<std::string> text = harness::ReadFile(file);
    EXPECT_OK(text);
    if (!text.ok()) return found;
    for (absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (absl::StrContains(line, absl::StrCat("Z ", event, " "))) found.emplace_back(line);
    }
    return found;
  }
  static int Count(const std::vector<std::string>& lines, const std::string& text) {
    int count = 0;
    for (const std::string& line : lines) count += absl::StrContains(line, text) ? 1 : 0;
    return count;
  }
};

TEST_F(SecurityTest, ACertificateOfTheCaIsGoodForNothingButWhatItNames) {
  ASSERT_NO_FATAL_FAILURE(StartThreeNodes());
  ASSERT_OK(cluster_->agent("n3").Terminate());  // who is down cannot say that it is not he
  BDR_EXEC("n1", "INSERT INTO t VALUES (2)");
  ASSERT_OK(cluster_->WaitUntilConverged(kDeadline, {"n1", "n2"}));

  // In a node's name, with an incarnation that would lock it out for ever.
  for (const char* certificate : {"mallory", "admin", "server", "n2", "n9"}) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(Report(certificate, "n1", 9).error_code(), grpc::StatusCode::PERMISSION_DENIED)
          << certificate;
    }
  }
  EXPECT_EQ(Report("n9", "n9", 1).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Report("n1", "n1", 9).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const v1::Membership membership = Membership();
  for (const v1::Member& member : membership.members()) {
    EXPECT_EQ(member.incarnation(), 1u) << member.name();
  }

  // In the name of the node that is down, which needs what would be trimmed.
  constexpr uint64_t kEverything = UINT64_MAX / 2;
  for (const char* certificate : {"mallory", "admin", "n2", "n9"}) {
    EXPECT_EQ(Subscribe(certificate, 3, kEverything).error_code(),
              grpc::StatusCode::PERMISSION_DENIED)
        << certificate;
  }
  EXPECT_EQ(Subscribe("n9", 9, kEverything).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Subscribe("n3", 3, kEverything).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  // What does not replicate is shown to nobody.
  for (const char* certificate : {"mallory", "admin", "n2", "n9"}) {
    EXPECT_EQ(FetchRow(certificate, 3).error_code(), grpc::StatusCode::PERMISSION_DENIED)
        << certificate;
  }
  const grpc::Status own = FetchRow("n2", 2);
  EXPECT_EQ(own.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << own.error_message();
  EXPECT_EQ(ReadAuthid("mallory").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReadAuthid("n2").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReadAuthid("admin").error_code(), grpc::StatusCode::FAILED_PRECONDITION);

  // Each cause is logged once, however often it was tried.
  const std::string server_log = cluster_->folder() + "/server.log";
  EXPECT_EQ(Count(LinesOf(server_log, "report"), "who=node:n2"), 1);
  EXPECT_EQ(Count(LinesOf(server_log, "report"), "who=node:n1"), 1);
  EXPECT_EQ(Count(LinesOf(server_log, "access"), "who=viewer:mallory"), 1);
  const auto refused = LinesOf(cluster_->agent_log("n1"), "subscriber");
  EXPECT_EQ(Count(refused, "state=refused peer=3 who=node:n2"), 1);
  EXPECT_EQ(Count(refused, "state=refused peer=3 who=node:n3"), 1);

  BDR_EXEC("n2", "INSERT INTO t VALUES (3)");
  ASSERT_OK(cluster_->StartAgent("n3"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "3");
  EXPECT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(SecurityTest, AViewerSeesAndChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(StartThreeNodes());
  const auto as_viewer = [this](std::vector<std::string> arguments) {
    const harness::CertificateAuthority& authority = *cluster_->authority();
    std::vector<std::string> argv = {harness::ProgramFolder() + "/bdrctl",
                                     "--server",
                                     absl::StrCat("127.0.0.1:", cluster_->server_port()),
                                     "--ca",
                                     authority.ca_file(),
                                     "--cert",
                                     authority.certificate_file("mallory"),
                                     "--key",
                                     authority.key_file("mallory")};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const auto result = harness::RunProgram({.argv = std::move(argv)});
    EXPECT_OK(result);
    return *result;
  };
  for (const auto& good : {std::vector<std::string>{"status"},
                           {"node", "list"},
                           {"node", "show", "n1"},
                           {"schema", "diff"},
                           {"table", "list"}}) {
    const harness::ProgramResult result = as_viewer(good);
    EXPECT_EQ(result.exit_code, 0) << good[0] << ": " << result.err;
  }
  for (const auto& bad :
       {std::vector<std::string>{"conflict", "list"}, {"verify"}, {"apply", "retry", "n1"}}) {
    const harness::ProgramResult result = as_viewer(bad);
    EXPECT_NE(result.exit_code, 0) << bad[0];
    EXPECT_THAT(result.err, HasSubstr("certificate viewer:mallory may not call")) << bad[0];
  }
}

TEST_F(SecurityTest, WhoChangedWhatStandsInTheLogOfWhoeverDidIt) {
  ASSERT_NO_FATAL_FAILURE(StartThreeNodes());
  ASSERT_OK_AND_ASSIGN(const auto retried, cluster_->Bdrctl({"apply", "retry", "n1"}));
  EXPECT_EQ(retried.exit_code, 0) << retried.err;
  const auto on_server = LinesOf(cluster_->folder() + "/server.log", "audit");
  EXPECT_EQ(Count(on_server, "who=admin:admin peer=ipv4:127.0.0.1:"), 4);
  EXPECT_EQ(Count(on_server, "rpc=InitCluster object=\"cluster test\" result=OK"), 1);
  EXPECT_EQ(Count(on_server, "rpc=AddNode object=\"node n2 at "), 1);
  EXPECT_EQ(on_server.size(), 4u);
  const auto on_agent = LinesOf(cluster_->agent_log("n1"), "audit");
  EXPECT_EQ(Count(on_agent, "who=admin:admin peer=ipv4:127.0.0.1:"), 1);
  EXPECT_EQ(Count(on_agent, "rpc=RetryApply object=\"all origins\" result=OK"), 1);
  EXPECT_EQ(LinesOf(cluster_->agent_log("n2"), "audit").size(), 0u);
}

// What would be refused by everybody is said at start.
TEST_F(SecurityTest, AnAgentDoesNotStartWithAnothersCertificate) {
  ASSERT_NO_FATAL_FAILURE(StartThreeNodes());
  ASSERT_OK(cluster_->agent("n1").Terminate());
  const std::string config = cluster_->folder() + "/n1/agent.yaml";
  ASSERT_OK_AND_ASSIGN(std::string text, harness::ReadFile(config));
  const size_t at = text.find("/n1.crt");
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, 7, "/n2.crt");
  text.replace(text.find("/n1.key"), 7, "/n2.key");
  ASSERT_OK(harness::WriteFile(config, text));
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult started,
      harness::RunProgram({.argv = {harness::ProgramFolder() + "/bdr-agent", "--config", config}}));
  EXPECT_NE(started.exit_code, 0);
  EXPECT_THAT(started.err, HasSubstr("is that of node:n2, and this is node:n1"));
}

}  // namespace
}  // namespace bdr::integration
