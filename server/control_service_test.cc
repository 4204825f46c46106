// The service over a real store and a real channel: what a client sees, and what a restart keeps.
#include "server/control_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/grpc_security.h"
#include "base/logging.h"
#include "base/testing.h"
#include "bdr/v1/control.grpc.pb.h"
#include "server/server_metrics.h"
#include "server/store/rocksdb_store.h"
#include "tests/harness/certificates.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

class ControlServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/bdr-control-XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    Start();
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }
  void Start(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials()) {
    auto store = OpenRocksDbStore(folder_);
    ASSERT_OK(store);
    store_ = std::move(*store);
    cluster_ = std::make_unique<Cluster>(store_.get());
    statuses_ = std::make_unique<StatusCache>();
    metrics_ = std::make_unique<Metrics>(ServerMetrics());
    schemas_ = std::make_unique<SchemaCache>(store_.get());
    ASSERT_OK(schemas_->Load());
    service_ = std::make_unique<ControlService>(store_.get(), cluster_.get(), statuses_.get(),
                                                schemas_.get(), metrics_.get());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port_);
    builder.RegisterService(service_->service());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    ConnectBy(grpc::InsecureChannelCredentials());
  }
  void ConnectBy(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    stub_ = v1::ControlPlane::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), credentials));
  }
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown();
    server_->Wait();
    server_.reset();
    service_.reset();
    store_.reset();
  }

  grpc::Status Init(const std::string& name, v1::InitClusterResponse* response = nullptr) {
    grpc::ClientContext context;
    v1::InitClusterRequest request;
    v1::InitClusterResponse ignored;
    request.set_name(name);
    return stub_->InitCluster(&context, request, response ? response : &ignored);
  }
  grpc::Status Add(const std::string& name, const std::string& address, v1::Member* member) {
    grpc::ClientContext context;
    v1::AddNodeRequest request;
    v1::AddNodeResponse response;
    request.set_name(name);
    request.set_agent_address(address);
    request.set_no_copy(true);
    const grpc::Status status = stub_->AddNode(&context, request, &response);
    *member = response.member();
    return status;
  }

  grpc::Status ReportFrom(const std::string& data_dir_id, uint32_t incarnation) {
    grpc::ClientContext context;
    v1::ReportRequest report;
    v1::ReportResponse response;
    report.set_name("eu1");
    report.set_data_dir_id(data_dir_id);
    report.set_incarnation(incarnation);
    return stub_->Report(&context, report, &response);
  }

  std::string folder_;
  int port_ = 0;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<StatusCache> statuses_;
  std::unique_ptr<SchemaCache> schemas_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ControlService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ControlPlane::Stub> stub_;
};

TEST_F(ControlServiceTest, MembersAndIdentitySurviveARestart) {
  v1::InitClusterResponse before;
  ASSERT_TRUE(Init("shop", &before).ok());
  EXPECT_EQ(before.membership().cluster_id().size(), 32u);
  v1::Member member;
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  EXPECT_EQ(member.node_id(), 1u);
  EXPECT_GT(member.added_us(), 0);

  Stop();
  Start();
  grpc::ClientContext context;
  v1::GetMembershipResponse after;
  ASSERT_TRUE(stub_->GetMembership(&context, {}, &after).ok());
  EXPECT_EQ(after.membership().cluster_id(), before.membership().cluster_id());
  ASSERT_EQ(after.membership().members_size(), 1);
  EXPECT_EQ(after.membership().members(0).SerializeAsString(), member.SerializeAsString());
}

TEST_F(ControlServiceTest, ErrorsCarryTheirCodeAndWhatToDo) {
  grpc::ClientContext context;
  v1::GetMembershipResponse response;
  const grpc::Status status = stub_->GetMembership(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("bdrctl cluster init"));
  EXPECT_THAT(metrics_->Text(),
              ::testing::HasSubstr("call=\"GetMembership\",code=\"FAILED_PRECONDITION\""));
}

TEST_F(ControlServiceTest, OnlyAMembersReportsAreToldAsRefused) {
  EXPECT_EQ(ReportFrom("d1", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  const auto refused = [this] {
    grpc::ClientContext context;
    v1::ClusterStatusResponse status;
    EXPECT_TRUE(stub_->ClusterStatus(&context, {}, &status).ok());
    return status.nodes_size() == 1 ? status.nodes(0).refused() : "no such node";
  };
  EXPECT_EQ(refused(), "") << "it had only come before there was a cluster";
  ASSERT_TRUE(ReportFrom("d1", 1).ok());

  Stop();
  Start();
  EXPECT_EQ(ReportFrom("d2", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused(), ::testing::HasSubstr("known by data_dir d1"));
  EXPECT_TRUE(ReportFrom("d1", 1).ok());
}

TEST_F(ControlServiceTest, OnlyANodeItselfReportsAndOthersAreLoggedOnce) {
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  ASSERT_TRUE(Add("us2", "h:2", &member).ok());
  Stop();
  ASSERT_OK_AND_ASSIGN(const auto ca, harness::CertificateAuthority::Create(folder_));
  const auto security = [&](const std::string& name, const std::string& role) {
    EXPECT_OK(ca->Issue(name, role));
    return SecurityOptions{
        .certificate = ca->certificate_file(name), .key = ca->key_file(name), .ca = ca->ca_file()};
  };
  ASSERT_OK_AND_ASSIGN(const auto credentials,
                       MakeServerCredentials(security("server", "server"), "127.0.0.1:1"));
  Start(credentials);
  const std::string log = folder_ + "/test.log";
  ASSERT_OK(SetLogFile(log));
  const auto report_as = [&](const std::string& name, const std::string& role,
                             uint32_t incarnation) {
    const auto own = MakeChannelCredentials(security(name, role), "127.0.0.1:1");
    EXPECT_OK(own);
    ConnectBy(*own);
    return ReportFrom("d1", incarnation).error_code();
  };
  for (const uint32_t incarnation : {1, 9, 9, 9}) {
    EXPECT_EQ(report_as("us2", "node", incarnation), grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_EQ(report_as("eu1", "admin", 1), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(report_as("eu1", "node", 1), grpc::StatusCode::OK);
  EXPECT_EQ(report_as("eu1", "node", 9), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(report_as("eu1", "node", 10), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_OK(SetLogFile(""));
  ASSERT_OK_AND_ASSIGN(const std::string text, harness::ReadFile(log));
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StrContains(line, " report ")) lines.emplace_back(line);
  }
  ASSERT_EQ(lines.size(), 2u) << text;
  EXPECT_THAT(lines[0], ::testing::HasSubstr("report state=refused node=eu1 who=node:us2 peer=ip"));
  EXPECT_THAT(lines[1], ::testing::HasSubstr("who=node:eu1"));
}

TEST_F(ControlServiceTest, ReportsAreShownAndAnsweredWithTheMembers) {
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  ASSERT_TRUE(Add("us2", "h:2", &member).ok());

  grpc::ClientContext report_context;
  v1::ReportRequest report;
  v1::ReportResponse answer;
  report.set_name("eu1");
  report.set_captures(true);
  report.set_incarnation(1);
  report.mutable_status()->set_undecoded_bytes(7);
  ASSERT_TRUE(stub_->Report(&report_context, report, &answer).ok());
  EXPECT_EQ(answer.membership().members(0).state(), v1::Member::ACTIVE);

  grpc::ClientContext context;
  v1::ClusterStatusResponse status;
  ASSERT_TRUE(stub_->ClusterStatus(&context, {}, &status).ok());
  ASSERT_EQ(status.nodes_size(), 2);
  EXPECT_EQ(status.nodes(0).status().undecoded_bytes(), 7u);
  EXPECT_GT(status.nodes(0).received_us(), 0);
  EXPECT_LE(status.nodes(0).received_us(), status.now_us());
  EXPECT_FALSE(status.nodes(1).has_status());
  EXPECT_EQ(status.nodes(1).received_us(), 0);
}

TEST_F(ControlServiceTest, NodesAddedAtTheSameTimeGetDifferentIds) {
  ASSERT_TRUE(Init("shop").ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      v1::Member member;
      EXPECT_TRUE(Add(absl::StrCat("n", i), absl::StrCat("h:", i + 1), &member).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK_AND_ASSIGN(const ClusterState state, cluster_->Read());
  std::vector<NodeId> ids;
  for (const ClusterMember& member : state.members) ids.push_back(member.id);
  EXPECT_THAT(ids, ::testing::UnorderedElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

}  // namespace
}  // namespace bdr::server
