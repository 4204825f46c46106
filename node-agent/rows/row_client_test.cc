#include "node-agent/rows/row_client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "bdr/v1/rows.grpc.pb.h"

namespace bdr::agent {
namespace {

// A peer whose answers need so long, as large ones do on a slow line.
class SlowPeer final : public v1::Rows::Service {
 public:
  explicit SlowPeer(absl::Duration needs) : needs_(needs) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    server_ = builder.BuildAndStart();
  }
  ~SlowPeer() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  grpc::Status FetchRows(grpc::ServerContext* context, const v1::FetchRowsRequest* request,
                         v1::FetchRowsResponse* response) override {
    const absl::Time ready = absl::Now() + needs_;
    while (!context->IsCancelled() && absl::Now() < ready) absl::SleepFor(absl::Milliseconds(1));
    for (int i = 0; i < request->rows_size(); ++i) response->add_rows();
    return grpc::Status::OK;
  }

 private:
  const absl::Duration needs_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST(RowClientTest, ACallThatWasTooSlowIsGivenMoreTimeTheNextTime) {
  const SlowPeer peer(absl::Milliseconds(300));
  const Membership membership{.members = {{.id = 2, .name = "n2", .address = peer.address()}}};
  RowClient client({.self = 1,
                    .cluster_id = "c",
                    .security = {.insecure = true},
                    .membership = [&] { return membership; },
                    .timeout = absl::Milliseconds(100)});
  RowsWanted wanted;
  wanted.rows.resize(1);
  const auto never = [] { return false; };
  EXPECT_EQ(client.Fetch(2, wanted, never).status().code(), absl::StatusCode::kDeadlineExceeded);
  int attempts = 1;
  while (!client.Fetch(2, wanted, never).ok()) ASSERT_LT(++attempts, 20);
}

// One that was added by mistake is away for good, and apply must not wait for what it could know.
TEST(RowClientTest, OnlyMembersThatHaveJoinedAreAsked) {
  const Membership membership{.members = {{.id = 1, .name = "n1", .incarnation = 1, .active = true},
                                          {.id = 2, .name = "n2", .incarnation = 1, .active = true},
                                          {.id = 3, .name = "joining", .incarnation = 1},
                                          {.id = 4, .name = "typo"}}};
  RowClient client(
      {.self = 1, .cluster_id = "c", .security = {.insecure = true}, .membership = [&] {
         return membership;
       }});
  EXPECT_EQ(client.Members(), std::vector<NodeId>{2});
}

}  // namespace
}  // namespace bdr::agent
