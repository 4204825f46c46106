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

  grpc::Status Remove(const std::string& name) {
    grpc::ClientContext context;
    v1::RemoveNodeRequest request;
    v1::RemoveNodeResponse response;
    request.set_name(name);
    return stub_->RemoveNode(&context, request, &response);
  }
  grpc::Status Report(const v1::ReportRequest& report, v1::ReportResponse* response = nullptr) {
    grpc::ClientContext context;
    v1::ReportResponse ignored;
    return stub_->Report(&context, report, response ? response : &ignored);
  }
  grpc::Status Rebuild(v1::RebuildClusterResponse* response) {
    grpc::ClientContext context;
    return stub_->RebuildCluster(&context, {}, response);
  }
  v1::ClusterStatusResponse Status() {
    grpc::ClientContext context;
    v1::ClusterStatusResponse status;
    EXPECT_TRUE(stub_->ClusterStatus(&context, {}, &status).ok());
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

// Either it has joined, and is not removed, or it is removed, and told so.
TEST_F(ControlServiceTest, JoiningAndRemovalAtOnceComeOneAfterTheOther) {
  ASSERT_TRUE(Init("shop").ok());
  int joined = 0;
  for (int i = 0; i < 40; ++i) {
    const std::string name = absl::StrCat("n", i);
    v1::Member member;
    ASSERT_TRUE(Add(name, absl::StrCat("h:", i + 1), &member).ok());
    v1::ReportRequest report;
    report.set_name(name);
    report.set_node_id(member.node_id());
    report.set_incarnation(1);
    report.set_captures(true);
    grpc::Status reported;
    grpc::Status removed;
    std::thread agent([&] { reported = Report(report); });
    std::thread admin([&] { removed = Remove(name); });
    agent.join();
    admin.join();
    ASSERT_OK_AND_ASSIGN(const ClusterState state, cluster_->Read());
    ASSERT_EQ(state.Find(name) != nullptr, reported.ok());
    if (reported.ok()) {
      ++joined;
      EXPECT_TRUE(state.Find(name)->active);
      EXPECT_EQ(removed.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    } else {
      EXPECT_TRUE(removed.ok()) << removed.error_message();
      EXPECT_EQ(reported.error_code(), grpc::StatusCode::NOT_FOUND);
      EXPECT_THAT(reported.error_message(), ::testing::HasSubstr("was removed"));
    }
  }
  RecordProperty("joined", joined);
}

TEST_F(ControlServiceTest, ARemovedNodeLeavesNothingToTheNextOfItsName) {
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("typo", "h:1", &member).ok());
  v1::ReportRequest report;
  report.set_name("typo");
  report.set_node_id(1);
  report.set_incarnation(1);
  report.mutable_status()->set_undecoded_bytes(7);
  report.mutable_schema()->set_hash("h");
  report.mutable_schema()->set_packed("tables");
  ASSERT_TRUE(Report(report).ok());
  ShowCluster(Status(), metrics_.get());
  ASSERT_TRUE(Remove("typo").ok());
  ASSERT_TRUE(Remove("typo").ok());
  ShowCluster(Status(), metrics_.get());
  EXPECT_THAT(metrics_->Text(), ::testing::HasSubstr("bdr_server_node_health{node=\"typo\"} 0"));

  // From a report that was still under way, or where bdr-server was killed.
  v1::NodeSchema left;
  left.set_node("typo");
  left.set_hash("h");
  ASSERT_OK(schemas_->Set(left, 1));
  Stop();
  Start();
  ASSERT_TRUE(Add("typo", "h:1", &member).ok());
  EXPECT_EQ(member.node_id(), 2u);
  EXPECT_EQ(Status().nodes(0).received_us(), 0);
  grpc::ClientContext context;
  v1::GetSchemaRequest wanted;
  wanted.set_node("typo");
  v1::GetSchemaResponse schema;
  EXPECT_EQ(stub_->GetSchema(&context, wanted, &schema).error_code(), grpc::StatusCode::NOT_FOUND);
  // The old agent is still there.
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Status().nodes(0).refused(),
              ::testing::HasSubstr("node \"typo\" (id 1) was removed"));
  report.set_node_id(2);
  v1::ReportResponse answer;
  ASSERT_TRUE(Report(report, &answer).ok());
  ASSERT_EQ(answer.schemas_size(), 1);
  EXPECT_EQ(answer.schemas(0).hash(), "h");
}

TEST_F(ControlServiceTest, WhatAgentsKnowBringsALostStateBack) {
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("typo", "h:1", &member).ok());
  ASSERT_TRUE(Remove("typo").ok());
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  v1::ReportRequest report;
  report.set_name("eu1");
  report.set_node_id(2);
  report.set_incarnation(1);
  report.set_data_dir_id("d");
  v1::ReportResponse answer;
  ASSERT_TRUE(Report(report, &answer).ok());
  v1::RebuildClusterResponse rebuilt;
  ASSERT_TRUE(Rebuild(&rebuilt).ok());
  EXPECT_EQ(rebuilt.membership().epoch(), answer.membership().epoch()) << "nothing is newer";

  Stop();
  std::filesystem::remove_all(folder_);
  Start();
  EXPECT_EQ(Rebuild(&rebuilt).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  report.set_cluster_id(answer.membership().cluster_id());
  report.set_known_epoch(answer.membership().epoch());
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(Init("shop").error_message(), ::testing::HasSubstr("--from-agents"));
  EXPECT_EQ(Rebuild(&rebuilt).error_code(), grpc::StatusCode::UNAVAILABLE)
      << "it has not told what it knows";
  *report.mutable_known() = answer.membership();
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Rebuild(&rebuilt).ok());
  EXPECT_THAT(rebuilt.reported(), ::testing::ElementsAre("eu1"));
  ASSERT_TRUE(Report(report, &answer).ok());
  EXPECT_EQ(answer.membership().cluster_id(), report.cluster_id());
  EXPECT_GT(answer.membership().epoch(), report.known_epoch());
  ASSERT_EQ(answer.membership().members_size(), 1);
  EXPECT_EQ(answer.membership().members(0).node_id(), 2u);
  EXPECT_EQ(answer.membership().members(0).added_us(), member.added_us());
  EXPECT_EQ(answer.membership().removed_size(), 1);
  // It is as durable as what was decided here.
  Stop();
  Start();
  EXPECT_TRUE(Report(report).ok());
  ASSERT_TRUE(Add("us2", "h:2", &member).ok());
  EXPECT_EQ(member.node_id(), 3u);
}

// It could name itself a member that was never added, or change what all merge by.
TEST_F(ControlServiceTest, WhatANodeSaysThatItKnowsChangesNothingByItself) {
  ASSERT_TRUE(Init("shop").ok());
  v1::Member member;
  ASSERT_TRUE(Add("eu1", "h:1", &member).ok());
  ASSERT_OK_AND_ASSIGN(const ClusterState before, cluster_->Read());
  v1::ReportRequest report;
  report.set_name("eu1");
  report.set_cluster_id(before.id);
  ToProto(before, report.mutable_known());
  report.mutable_known()->set_epoch(1'000'000'000);
  report.mutable_known()->mutable_members(0)->set_agent_address("elsewhere:1");
  report.set_known_epoch(1'000'000'000);
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(*cluster_->Read(), before);
  EXPECT_THAT(Status().nodes(0).refused(), ::testing::HasSubstr("epoch 1000000000"));
  report.mutable_known()->mutable_members(0)->set_node_id(70000);
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  report.mutable_known()->mutable_members(0)->set_node_id(1);
  report.mutable_known()->set_epoch(UINT64_MAX);
  EXPECT_EQ(Report(report).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(*cluster_->Read(), before);
}

}  // namespace
}  // namespace bdr::server
