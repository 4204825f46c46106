// The publisher against clients that misbehave: they read nothing, acknowledge nothing, come twice.
#include "node-agent/stream/publisher.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "base/grpc_security.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "node-agent/stream/stream_testing.h"
#include "tests/harness/certificates.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;

// A subscriber by hand.
class RawClient {
 public:
  explicit RawClient(const TestNode& node, std::shared_ptr<grpc::ChannelCredentials> credentials =
                                               grpc::InsecureChannelCredentials())
      : stub_(v1::Replication::NewStub(grpc::CreateChannel(node.address(), credentials))),
        stream_(stub_->Subscribe(&context_)) {}
  ~RawClient() { context_.TryCancel(); }

  void Subscribe(NodeId self, const std::vector<WantedOrigin>& wanted, uint64_t window_bytes,
                 const std::string& cluster_id = "c1", const std::string& data_dir_id = "") {
    v1::SubscriberMessage message;
    message.mutable_subscription()->set_data_dir_id(data_dir_id);
    message.mutable_subscription()->set_cluster_id(cluster_id);
    message.mutable_subscription()->set_subscriber_node(self);
    message.mutable_subscription()->set_window_bytes(window_bytes);
    ToWire(wanted, message.mutable_subscription());
    stream_->Write(message);
  }
  void Consume(uint64_t bytes) {
    v1::SubscriberMessage message;
    message.mutable_ack()->set_consumed_bytes(bytes);
    stream_->Write(message);
  }
  // As received and durable.
  void Acknowledge(OriginId origin, uint64_t lsn) {
    v1::SubscriberMessage message;
    ToWire({{.origin = origin, .received_lsn = Lsn{lsn}, .durable_lsn = Lsn{lsn}}},
           message.mutable_ack());
    stream_->Write(message);
  }
  bool Read(v1::PublisherMessage* message) { return stream_->Read(message); }
  // Reads that many heartbeats, and returns the bytes of the blocks between them.
  uint64_t ReadHeartbeats(int count) {
    uint64_t bytes = 0;
    v1::PublisherMessage message;
    while (count > 0 && Read(&message)) {
      if (message.has_heartbeat()) --count;
      bytes += message.block().size();
    }
    EXPECT_EQ(count, 0);
    return bytes;
  }
  grpc::Status End() {
    v1::PublisherMessage message;
    while (stream_->Read(&message)) {
    }
    return stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::Replication::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SubscriberMessage, v1::PublisherMessage>> stream_;
};

TEST(PublisherTest, ASubscriberThatConsumesNothingIsSentNoMoreThanItsWindow) {
  TestNode node(1);
  node.Commit(20, 10'000);
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), {}}}, 45'000);
  const uint64_t first = client.ReadHeartbeats(10);
  EXPECT_GT(first, 0u);
  EXPECT_LE(first, 45'000u);
  ASSERT_EQ(node.publisher().Subscribers().size(), 1u);
  const SubscriberStatus status = node.publisher().Subscribers()[0];
  EXPECT_EQ(status.node, 2);
  EXPECT_EQ(status.sent_bytes, first);
  EXPECT_EQ(status.consumed_bytes, 0u);
  EXPECT_EQ(status.cursors[0].from.end_lsn.value, status.sent_blocks * 0x100);

  client.Consume(first);
  EXPECT_TRUE(
      Eventually([&] { return node.publisher().Subscribers()[0].consumed_bytes == first; }));
  const uint64_t second = client.ReadHeartbeats(10);
  EXPECT_GT(second, 0u);
  EXPECT_LE(second, 45'000u);
}

TEST(PublisherTest, AHeartbeatComesFirstAndOthersWhileBlocksFlow) {
  TestNode node(1);
  node.Commit(5000, 20);
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), {}}}, 1 << 30);
  v1::PublisherMessage message;
  ASSERT_TRUE(client.Read(&message));
  EXPECT_TRUE(message.has_heartbeat());  // the sign that the subscription was accepted
  client.ReadHeartbeats(3);
}

TEST(PublisherTest, RefusalsSayWhatToDo) {
  TestNode node(1);
  node.StartPublisher();
  {
    RawClient client(node);
    client.Subscribe(2, {}, 0, "another");
    const grpc::Status end = client.End();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(end.error_message(), HasSubstr("\"c1\""));
  }
  node.SetMember(2, false);
  {
    RawClient client(node);
    client.Subscribe(2, {}, 0);
    EXPECT_EQ(client.End().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  {
    RawClient client(node);
    client.Subscribe(5000, {}, 0);
    EXPECT_EQ(client.End().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  {
    RawClient client(node);
    client.Subscribe(3, {}, 0, "c1", "folder 2");
    const grpc::Status end = client.End();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(end.error_message(), HasSubstr("known by data_dir folder 3"));
  }
  {
    RawClient client(node);
    client.Subscribe(3, {}, 0, "c1", "folder 3");
    client.ReadHeartbeats(1);
  }
  {
    RawClient client(node);
    client.Subscribe(3, {{node.origin(), {}}, {node.origin(), {}}}, 0);
    EXPECT_EQ(client.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    RawClient client(node);
    client.Subscribe(3, {}, 0);
    client.Subscribe(3, {}, 0);
    EXPECT_EQ(client.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  // A client may hear of its end before the publisher has forgotten it.
  EXPECT_TRUE(Eventually([&] { return node.publisher().Subscribers().empty(); }));
}

TEST(PublisherTest, AMemberThatIsRemovedGetsNoMore) {
  TestNode node(1);
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {}, 0);
  client.ReadHeartbeats(2);
  node.SetMember(2, false);
  EXPECT_EQ(client.End().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

// Else whoever has a certificate could acknowledge in the name of a node that is down, and what it
// still needs would be trimmed.
TEST(PublisherTest, ANodeSubscribesWithItsOwnCertificateAlone) {
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  ASSERT_OK_AND_ASSIGN(const auto ca, harness::CertificateAuthority::Create(folder->path()));
  const auto security = [&](const std::string& name, const std::string& role) {
    EXPECT_OK(ca->Issue(name, role));
    return SecurityOptions{
        .certificate = ca->certificate_file(name), .key = ca->key_file(name), .ca = ca->ca_file()};
  };
  TestNode node(1);
  ASSERT_OK_AND_ASSIGN(const auto server,
                       MakeServerCredentials(security("n1", "node"), "127.0.0.1:1"));
  node.SetCredentials(server);
  node.StartPublisher();
  const auto end_of = [&](const std::string& name, const std::string& role) {
    const auto credentials = MakeChannelCredentials(security(name, role), node.address());
    EXPECT_OK(credentials);
    RawClient client(node, *credentials);
    client.Subscribe(2, {{node.origin(), {}}}, 0);
    return client.End();
  };
  const grpc::Status other = end_of("n3", "node");
  EXPECT_EQ(other.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(other.error_message(), HasSubstr("node:n3 does not speak for node \"n2\""));
  for (const char* role : {"admin", "viewer", "server"}) {
    EXPECT_EQ(end_of("n2", role).error_code(), grpc::StatusCode::PERMISSION_DENIED) << role;
  }
  EXPECT_EQ(node.publisher().Subscribers().size(), 0u);

  ASSERT_OK_AND_ASSIGN(const auto own,
                       MakeChannelCredentials(security("n2", "node"), node.address()));
  RawClient client(node, own);
  client.Subscribe(2, {{node.origin(), {}}}, 0);
  client.ReadHeartbeats(2);
}

TEST(PublisherTest, MoreThanThereIsCannotBeAcknowledged) {
  TestNode node(1);
  node.Commit(3);
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), {}}}, 0);
  client.ReadHeartbeats(1);
  client.Acknowledge(node.origin(), 0x301);
  const grpc::Status end = client.End();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(end.error_message(), HasSubstr("has published up to 0/300"));
  EXPECT_EQ(node.backend().Acknowledged(2, node.origin()), Lsn{});
}

// A window of one byte lets one block through at a time.
TEST(PublisherTest, WhatWasNotSentYetDoesNotCountAsAcknowledged) {
  TestNode node(1);
  node.Commit(3);
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), {}}}, 1);
  const uint64_t one = client.ReadHeartbeats(3);
  client.Acknowledge(node.origin(), 0x300);
  EXPECT_TRUE(
      Eventually([&] { return node.backend().Acknowledged(2, node.origin()) == Lsn{0x100}; }));
  // A relay may have brought it: it counts once it was sent here too.
  client.Consume(one);
  EXPECT_GT(client.ReadHeartbeats(3), 0u);
  client.Acknowledge(node.origin(), 0x300);
  EXPECT_TRUE(
      Eventually([&] { return node.backend().Acknowledged(2, node.origin()) == Lsn{0x200}; }));
}

TEST(PublisherTest, WhatASubscriberHasFromBeforeMayBeAcknowledged) {
  TestNode node(1);
  node.Commit(3);
  const Cursor end = node.log().End(node.origin());
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), end}}, 0);
  client.ReadHeartbeats(1);
  client.Acknowledge(node.origin(), end.end_lsn.value);
  EXPECT_TRUE(
      Eventually([&] { return node.backend().Acknowledged(2, node.origin()) == end.end_lsn; }));
  // Of another incarnation there is nothing here, and nothing to be said.
  const OriginId before{.node = 1, .incarnation = 7};
  client.Acknowledge(before, 0x900);
  // Of other origins it says what it has from others.
  const OriginId other{.node = 3, .incarnation = 1};
  client.Acknowledge(other, 0x900);
  EXPECT_TRUE(Eventually([&] { return node.backend().Acknowledged(2, other) == Lsn{0x900}; }));
  EXPECT_EQ(node.backend().Acknowledged(2, before), Lsn{});
}

TEST(PublisherTest, WhatIsDurableStaysSo) {
  TestNode node(1);
  node.Commit(3);
  const Cursor end = node.log().End(node.origin());
  node.StartPublisher();
  RawClient client(node);
  client.Subscribe(2, {{node.origin(), end}}, 0);
  client.ReadHeartbeats(1);
  client.Acknowledge(node.origin(), 0x300);
  client.Acknowledge(node.origin(), 0x200);
  EXPECT_EQ(client.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  // After a crash it may have less: a new stream says so.
  RawClient again(node);
  again.Subscribe(2, {{node.origin(), {}}}, 0);
  again.Acknowledge(node.origin(), 0);
  again.ReadHeartbeats(2);
}

TEST(PublisherTest, TheSecondSubscriptionOfANodeEndsTheFirst) {
  TestNode node(1);
  node.StartPublisher();
  RawClient first(node);
  first.Subscribe(2, {}, 0);
  first.ReadHeartbeats(1);
  RawClient second(node);
  second.Subscribe(2, {}, 0);
  EXPECT_FALSE(first.End().ok());
  second.ReadHeartbeats(3);
  EXPECT_EQ(node.publisher().Subscribers().size(), 1u);
}

TEST(PublisherTest, ShutdownEndsStreamsWhoseClientsReadNothing) {
  TestNode node(1);
  node.Commit(30, 1'000'000);
  node.StartPublisher();
  RawClient reads_nothing(node);
  reads_nothing.Subscribe(2, {{node.origin(), {}}}, 1 << 30);
  RawClient says_nothing(node);
  RawClient reads(node);
  reads.Subscribe(3, {}, 0);
  reads.ReadHeartbeats(1);
  EXPECT_TRUE(Eventually([&] { return node.publisher().Subscribers().size() == 2; }));
  node.publisher().Shutdown();
  EXPECT_FALSE(reads.End().ok());
  RawClient late(node);
  late.Subscribe(4, {}, 0);
  EXPECT_EQ(late.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  node.StopPublisher();
}

TEST(PublisherTest, AClientThatGoesAwayIsForgotten) {
  TestNode node(1);
  node.StartPublisher();
  {
    RawClient client(node);
    client.Subscribe(2, {}, 0);
    client.ReadHeartbeats(1);
  }
  EXPECT_TRUE(Eventually([&] { return node.publisher().Subscribers().empty(); }));
}

}  // namespace
}  // namespace bdr::agent
