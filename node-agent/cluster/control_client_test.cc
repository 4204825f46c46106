// The agent's line to the control plane: it finds a server that answers, and outlives all of them.
#include "node-agent/cluster/control_client.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/testing.h"
#include "bdr/v1/control.grpc.pb.h"

namespace bdr::agent {
namespace {

// A bdr-server that answers what it is told to.
class FakeServer : public v1::ControlPlane::Service {
 public:
  explicit FakeServer(int port = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  grpc::Status Report(grpc::ServerContext*, const v1::ReportRequest* request,
                      v1::ReportResponse* response) override {
    MutexLock lock(&mu_);
    reports_.push_back(*request);
    changed_.NotifyAll();
    if (!answer_.ok()) return answer_;
    *response->mutable_membership() = membership_;
    return grpc::Status::OK;
  }

  void SetEpoch(uint64_t epoch) {
    MutexLock lock(&mu_);
    membership_.set_cluster_id("c");
    membership_.set_epoch(epoch);
  }
  void SetAnswer(grpc::Status status) {
    MutexLock lock(&mu_);
    answer_ = std::move(status);
  }
  // False if there were fewer within half a minute.
  bool WaitForReports(size_t count) {
    const absl::Time until = absl::Now() + absl::Seconds(30);
    MutexLock lock(&mu_);
    while (reports_.size() < count && absl::Now() < until) {
      changed_.WaitFor(&mu_, absl::Seconds(1));
    }
    return reports_.size() >= count;
  }
  bool HasReports() {
    MutexLock lock(&mu_);
    return !reports_.empty();
  }
  size_t Reports() {
    MutexLock lock(&mu_);
    return reports_.size();
  }
  v1::ReportRequest LastReport() {
    MutexLock lock(&mu_);
    return reports_.back();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int port() const { return port_; }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  Mutex mu_;
  CondVar changed_;
  grpc::Status answer_ ABSL_GUARDED_BY(mu_);
  v1::Membership membership_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::ReportRequest> reports_ ABSL_GUARDED_BY(mu_);
};

// Collects what the client hands over.
class Epochs {
 public:
  void Add(const Membership& membership) {
    MutexLock lock(&mu_);
    list_.push_back(membership.epoch);
    changed_.NotifyAll();
  }
  bool WaitFor(uint64_t epoch) {
    const absl::Time until = absl::Now() + absl::Seconds(30);
    MutexLock lock(&mu_);
    while ((list_.empty() || list_.back() != epoch) && absl::Now() < until) {
      changed_.WaitFor(&mu_, absl::Seconds(1));
    }
    return !list_.empty() && list_.back() == epoch;
  }
  std::vector<uint64_t> list() {
    MutexLock lock(&mu_);
    return list_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<uint64_t> list_ ABSL_GUARDED_BY(mu_);
};

std::unique_ptr<ControlClient> StartClient(std::vector<std::string> servers, Epochs* epochs,
                                           absl::Duration interval = absl::Milliseconds(20)) {
  auto client = ControlClient::Start(
      {.node = "eu1",
       .servers = std::move(servers),
       .security = {.insecure = true},
       .interval = interval},
      [](v1::ReportRequest* request) { request->set_captures(true); },
      [epochs](const Membership& membership) { epochs->Add(membership); });
  EXPECT_OK(client);
  return *std::move(client);
}

TEST(ControlClientTest, HandsOverEachMembershipOnce) {
  FakeServer server;
  server.SetEpoch(1);
  Epochs epochs;
  auto client = StartClient({server.address()}, &epochs);
  ASSERT_TRUE(server.WaitForReports(5));
  server.SetEpoch(2);
  ASSERT_TRUE(epochs.WaitFor(2));
  client.reset();
  EXPECT_THAT(epochs.list(), ::testing::ElementsAre(1, 2));
  EXPECT_EQ(server.LastReport().name(), "eu1");
  EXPECT_TRUE(server.LastReport().captures());
}

TEST(ControlClientTest, KickReportsAtOnce) {
  FakeServer server;
  server.SetEpoch(1);
  Epochs epochs;
  auto client = StartClient({server.address()}, &epochs, absl::Hours(1));
  ASSERT_TRUE(server.WaitForReports(1));
  ASSERT_TRUE(epochs.WaitFor(1));
  client->Kick();
  EXPECT_TRUE(server.WaitForReports(2));
}

TEST(ControlClientTest, FindsTheServerThatAnswers) {
  auto dead = std::make_unique<FakeServer>();
  const std::string nobody = dead->address();
  dead.reset();
  FakeServer server;
  server.SetEpoch(7);
  Epochs epochs;
  auto client = StartClient({nobody, server.address()}, &epochs);
  EXPECT_TRUE(epochs.WaitFor(7));
  EXPECT_OK(client->LastReport());
}

TEST(ControlClientTest, GoesOnOnceAServerIsBack) {
  auto server = std::make_unique<FakeServer>();
  const int port = server->port();
  server->SetEpoch(1);
  Epochs epochs;
  auto client = StartClient({server->address()}, &epochs);
  ASSERT_TRUE(epochs.WaitFor(1));
  server.reset();
  const absl::Time until = absl::Now() + absl::Seconds(30);
  while (client->LastReport().ok() && absl::Now() < until) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(client->LastReport().code(), absl::StatusCode::kUnavailable);
  server = std::make_unique<FakeServer>(port);
  server->SetEpoch(2);
  EXPECT_TRUE(epochs.WaitFor(2));
}

// An agent's, say: it knows none of what agents ask of bdr-server.
TEST(ControlClientTest, APortThatIsNoServersIsNamed) {
  grpc::CallbackGenericService knows_nothing;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&knows_nothing);
  const std::unique_ptr<grpc::Server> other = builder.BuildAndStart();
  Epochs epochs;
  auto client = StartClient({absl::StrCat("127.0.0.1:", port)}, &epochs);
  const absl::Time until = absl::Now() + absl::Seconds(30);
  while (absl::IsUnknown(client->LastReport()) && absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_THAT(client->LastReport().message(),
              ::testing::HasSubstr("\"control\" names another port"));
  client.reset();
  other->Shutdown();
}

TEST(ControlClientTest, ARefusalIsKeptForWhoAsks) {
  FakeServer server;
  server.SetAnswer({grpc::StatusCode::NOT_FOUND, "no node \"eu1\""});
  Epochs epochs;
  auto client = StartClient({server.address()}, &epochs);
  ASSERT_TRUE(server.WaitForReports(2));
  EXPECT_EQ(client->LastReport().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(epochs.list().empty());
}

// A server that has lost its folder is to learn from the agents what it was.
TEST(ControlClientTest, TellsWhatItKnowsUntilAServerAnswers) {
  FakeServer server;
  server.SetEpoch(3);
  server.SetAnswer({grpc::StatusCode::FAILED_PRECONDITION, "there is no cluster"});
  Epochs epochs;
  auto client = ControlClient::Start(
      {.node = "eu1",
       .servers = {server.address()},
       .security = {.insecure = true},
       .interval = absl::Milliseconds(20),
       .fill_known = [](v1::Membership* known) { known->set_epoch(7); }},
      [](v1::ReportRequest*) {},
      [&epochs](const Membership& membership) { epochs.Add(membership); });
  ASSERT_OK(client);
  ASSERT_TRUE(server.WaitForReports(2));
  EXPECT_EQ(server.LastReport().known().epoch(), 7u);
  server.SetAnswer(grpc::Status::OK);
  ASSERT_TRUE(epochs.WaitFor(3));
  const size_t answered = server.Reports();
  ASSERT_TRUE(server.WaitForReports(answered + 2));
  EXPECT_FALSE(server.LastReport().has_known());
  server.SetAnswer({grpc::StatusCode::FAILED_PRECONDITION, "there is no cluster"});
  const size_t refused = server.Reports();
  ASSERT_TRUE(server.WaitForReports(refused + 3));
  EXPECT_EQ(server.LastReport().known().epoch(), 7u);
}

// Nobody was asked then, and nobody has answered.
TEST(ControlClientTest, MayBeStoppedWhileAReportIsFilled) {
  FakeServer server;
  Mutex mu;
  CondVar changed;
  bool filling = false;
  bool stopping = false;
  auto client = ControlClient::Start(
      {.node = "eu1", .servers = {server.address()}, .security = {.insecure = true}},
      [&](v1::ReportRequest*) {
        MutexLock lock(&mu);
        filling = true;
        changed.NotifyAll();
        while (!stopping) changed.Wait(&mu);
        // The destructor, which has just been called, is given time to say so; nothing else shows.
        const absl::Time until = absl::Now() + absl::Milliseconds(200);
        while (absl::Now() < until) changed.WaitFor(&mu, until - absl::Now());
      },
      [](const Membership&) {});
  ASSERT_OK(client);
  {
    MutexLock lock(&mu);
    while (!filling) changed.Wait(&mu);
    stopping = true;
    changed.NotifyAll();
  }
  client->reset();
  EXPECT_FALSE(server.HasReports());
}

TEST(ControlClientTest, WithoutServersItDoesNotStart) {
  EXPECT_EQ(ControlClient::Start({.node = "eu1", .servers = {}}, nullptr, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MembershipTest, SurvivesItsBytes) {
  const Membership membership{
      .cluster_id = "c",
      .cluster_name = "shop",
      .epoch = 3,
      .members = {{.id = 1,
                   .name = "eu1",
                   .address = "h:1",
                   .incarnation = 2,
                   .active = true,
                   .data_dir_id = "d",
                   .added_us = 11,
                   .settings_active = 4},
                  {.id = 1023, .name = "us2", .address = "h:2"}},
      .accepted_clock = {.id = 5, .ceiling_us = 6, .advance_us = 7, .node = 1, .accepted_us = 8},
      .last_node_id = 1023,
      .removed = {{.id = 9, .name = "typo", .removed_us = 10}}};
  ASSERT_OK_AND_ASSIGN(const Membership parsed, ParseMembership(Serialize(membership)));
  EXPECT_EQ(parsed, membership);
  EXPECT_EQ(parsed.FindByName("us2")->id, 1023);
  EXPECT_EQ(parsed.Find(7), nullptr);
  EXPECT_EQ(ParseMembership("\xff\xff").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace bdr::agent
