// Publisher and subscriber over real connections, and the subscriber against peers that hang, lie
// or come from another history.
#include "node-agent/stream/subscriber.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "base/testing.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "node-agent/stream/stream_testing.h"
#include "tests/harness/ports.h"
#include "tests/harness/tcp_proxy.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;

bool Streams(const Subscriber& subscriber) {
  return subscriber.Status().state == LinkState::kStreaming;
}
bool IsRefused(const Subscriber& subscriber) {
  return subscriber.Status().state == LinkState::kRefused;
}

TEST(StreamTest, BlocksArriveInOrderAndAreAcknowledged) {
  TestNode a(1), b(2);
  a.Commit(50);
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  a.Commit(50, 5000);
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  EXPECT_EQ(AllBlocks(a, a.origin()), AllBlocks(b, a.origin()));
  EXPECT_TRUE(Eventually(
      [&] { return a.backend().Acknowledged(2, a.origin()) == a.log().End(a.origin()).end_lsn; }));
  EXPECT_EQ(subscriber.Status().received_blocks, 100u);
  EXPECT_EQ(subscriber.Status().state, LinkState::kStreaming);
  EXPECT_EQ(subscriber.Status().reason, "");
  EXPECT_TRUE(Eventually([&] {
    const auto subscribers = a.publisher().Subscribers();
    return subscribers.size() == 1 &&
           subscribers[0].consumed_bytes == subscriber.Status().received_bytes;
  }));
}

TEST(StreamTest, MuchMoreThanTheWindowFlows) {
  TestNode a(1), b(2);
  a.Commit(200, 20'000);
  a.StartPublisher();
  SubscriberOptions options = b.OptionsFor(1, a.address(), {a.origin()});
  options.window_bytes = 50'000;
  b.Subscribe(options);
  EXPECT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
}

TEST(StreamTest, WithoutRoomOnlyAWindowComesAndHeartbeatsGoOn) {
  TestNode a(1), b(2);
  a.Commit(200, 20'000);
  a.StartPublisher();
  SubscriberOptions options = b.OptionsFor(1, a.address(), {a.origin()});
  options.window_bytes = 50'000;
  std::atomic<bool> room{false};
  options.has_room = [&](OriginId) { return room.load(); };
  const Subscriber& subscriber = b.Subscribe(options);
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().full; }));
  const int heard = b.backend().Heartbeats(1);
  ASSERT_TRUE(Eventually([&] { return b.backend().Heartbeats(1) > heard + 30; }));
  EXPECT_LE(subscriber.Status().received_bytes, 100'000u);
  EXPECT_EQ(subscriber.Status().failures, 0u);
  room = true;
  EXPECT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  EXPECT_TRUE(Eventually([&] { return !subscriber.Status().full; }));
}

// What the full one waits for may come by the same stream.
TEST(StreamTest, AnOriginWithRoomLetsTheOthersOfItsStreamThrough) {
  TestNode a(1), b(2);
  a.Commit(200, 20'000);
  const OriginId other{.node = 3, .incarnation = 1};
  ASSERT_OK(a.log().AppendReceived(TestNode::MakeBlock(other, {}, "x")));
  a.StartPublisher();
  SubscriberOptions options = b.OptionsFor(1, a.address(), {a.origin(), other});
  options.window_bytes = 50'000;
  options.has_room = [&](OriginId origin) { return origin == other; };
  b.Subscribe(options);
  EXPECT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()) && SameEnd(a, b, other); }));
}

TEST(StreamTest, HeartbeatsComeWhileIdleAndOnlyAnOriginItselfPromises) {
  TestNode a(1), b(2);
  a.Commit(1);
  const OriginId other{.node = 3, .incarnation = 1};
  ASSERT_OK(a.log().AppendReceived(TestNode::MakeBlock(other, {}, "x")));
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {});
  ASSERT_TRUE(Eventually([&] { return b.backend().Heartbeats(1) >= 20; }));
  const HeartbeatInfo last = b.backend().LastHeartbeat(1);
  ASSERT_EQ(last.origins.size(), 2u);
  EXPECT_EQ(last.origins[0].origin, a.origin());
  EXPECT_EQ(last.origins[0].published_lsn, a.log().End(a.origin()).end_lsn);
  EXPECT_EQ(last.origins[0].promise_us, 42);
  EXPECT_EQ(last.origins[1].promise_us, 0);
  EXPECT_NE(subscriber.Status().last_heartbeat_us, 0);
  EXPECT_LT(std::abs(subscriber.Status().clock_skew_us), 60'000'000);
}

TEST(StreamTest, GoesOnWhereItWasAfterARestartOfThePublisher) {
  TestNode a(1), b(2);
  a.Commit(10);
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  a.StopPublisher();
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().state == LinkState::kBackoff; }));
  EXPECT_NE(subscriber.Status().reason, "");
  a.CloseLog();
  a.OpenLog();
  a.Commit(10);
  a.StartPublisher();
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  EXPECT_EQ(subscriber.Status().received_blocks, 20u);  // none came twice
}

TEST(StreamTest, GoesOnWhereItWasAfterARestartOfTheSubscriber) {
  TestNode a(1), b(2);
  a.Commit(10);
  a.StartPublisher();
  b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  b.StopSubscribers();
  b.CloseLog();
  a.Commit(10);
  b.OpenLog();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  EXPECT_EQ(subscriber.Status().received_blocks, 10u);
}

TEST(StreamTest, AForkIsRefused) {
  TestNode a(1), b(2);
  a.Commit(3);
  const EncodedBlock other_history = TestNode::MakeBlock(a.origin(), {}, "other");
  ASSERT_OK(b.log().AppendReceived(other_history));
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_THAT(subscriber.Status().reason, HasSubstr("differ"));
  EXPECT_EQ(b.log().End(a.origin()).chain, other_history.info.chain);
}

TEST(StreamTest, WhatWasTrimmedIsRefused) {
  TestNode a(1), b(2);
  a.Commit(5);
  ASSERT_OK(a.log().Trim(a.origin(), Lsn{0x300}));
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_THAT(subscriber.Status().reason, HasSubstr("trimmed"));
}

TEST(StreamTest, ANodeThatIsNotYetAMemberIsLetInLater) {
  TestNode a(1), b(2);
  a.SetMember(2, false);
  a.StartPublisher();
  const Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_THAT(subscriber.Status().reason, HasSubstr("member"));
  a.SetMember(2, true);
  EXPECT_TRUE(Eventually([&] { return Streams(subscriber); }));
}

TEST(StreamTest, AnOriginIsFetchedFromAnotherNodeThatHasIt) {
  TestNode a(1), b(2), c(3);
  a.Commit(20);
  a.StartPublisher();
  b.StartPublisher();
  b.Subscribe(a, {a.origin()});
  c.Subscribe(b, {b.origin(), a.origin()});
  b.Commit(5);
  a.Commit(20);
  EXPECT_TRUE(Eventually([&] { return SameEnd(a, c, a.origin()) && SameEnd(b, c, b.origin()); }));
  EXPECT_EQ(AllBlocks(a, a.origin()), AllBlocks(c, a.origin()));
}

TEST(StreamTest, OtherOriginsCanBeAskedForAtRunTime) {
  TestNode a(1), b(2);
  const OriginId third{.node = 3, .incarnation = 1};
  ASSERT_OK(a.log().AppendReceived(TestNode::MakeBlock(third, {}, "x")));
  a.Commit(3);
  a.StartPublisher();
  Subscriber& subscriber = b.Subscribe(a, {a.origin()});
  ASSERT_TRUE(Eventually([&] { return SameEnd(a, b, a.origin()); }));
  EXPECT_TRUE(b.log().End(third).at_beginning());
  subscriber.SetOrigins({a.origin(), third});
  EXPECT_TRUE(Eventually([&] { return SameEnd(a, b, third); }));
}

TEST(StreamTest, NoPeerAtAllIsBackoffAndStopsAtOnce) {
  TestNode a(1), b(2);
  a.StartPublisher();
  const std::string address = a.address();
  a.StopPublisher();
  Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, address, {a.origin()}));
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().failures >= 3; }));
  EXPECT_EQ(subscriber.Status().state, LinkState::kBackoff);
  subscriber.Stop();
  subscriber.Stop();
}

// What makes a first attempt fail may be explained; once the address has been a peer's, it is not
// asked about.
TEST(StreamTest, AnAddressIsExplainedUntilItHasStreamed) {
  TestNode a(1), b(2);
  a.StartPublisher();
  const std::string address = a.address();
  a.StopPublisher();
  std::atomic<int> asked = 0;
  SubscriberOptions options = b.OptionsFor(1, address, {a.origin()});
  options.explain = [&asked](const absl::Status& why) {
    ++asked;
    return absl::Status(why.code(), "it speaks TLS");
  };
  const Subscriber& subscriber = b.Subscribe(options);
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().reason == "it speaks TLS"; }));
  a.StartPublisher();
  ASSERT_TRUE(Eventually([&] { return Streams(subscriber); }));
  const int before = asked;
  a.StopPublisher();
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().state == LinkState::kBackoff; }));
  EXPECT_EQ(asked, before);
  EXPECT_NE(subscriber.Status().reason, "it speaks TLS");
}

TEST(StreamTest, CredentialsThatCannotBeLoadedAreAReason) {
  TestNode b(2);
  SubscriberOptions options = b.OptionsFor(1, "127.0.0.1:1", {});
  options.credentials = []() -> absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> {
    return absl::FailedPreconditionError("cannot read \"node.key\"");
  };
  const Subscriber& subscriber = b.Subscribe(options);
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_THAT(subscriber.Status().reason, HasSubstr("node.key"));
}

// Its machine is there, its process is not (stopped, or swapping): the kernel takes the connection,
// and nobody answers.
TEST(StreamTest, APeerThatAcceptsAndNeverAnswersIsGivenUp) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(listener, 5), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  TestNode b(2);
  Subscriber& subscriber =
      b.Subscribe(b.OptionsFor(1, absl::StrCat("127.0.0.1:", ntohs(address.sin_port)), {}));
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().state == LinkState::kBackoff; }));
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().attempts >= 2; }));
  subscriber.Stop();
  close(listener);
}

// A peer that sends what it is told to, and then nothing more.
class ScriptedPeer final : public v1::Replication::Service {
 public:
  explicit ScriptedPeer(std::vector<v1::PublisherMessage> script,
                        absl::Duration hesitates = absl::ZeroDuration())
      : script_(std::move(script)), hesitates_(hesitates) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedPeer() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  grpc::Status Subscribe(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::PublisherMessage, v1::SubscriberMessage>* stream) override {
    const absl::Time begins = absl::Now() + hesitates_;
    while (!context->IsCancelled() && absl::Now() < begins) absl::SleepFor(absl::Milliseconds(5));
    for (const v1::PublisherMessage& message : script_) stream->Write(message);
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::OK;
  }

 private:
  const std::vector<v1::PublisherMessage> script_;
  const absl::Duration hesitates_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::PublisherMessage HeartbeatMessage() {
  v1::PublisherMessage message;
  message.mutable_heartbeat()->set_clock_us(1);
  return message;
}
v1::PublisherMessage BlockMessage(const std::string& bytes) {
  v1::PublisherMessage message;
  message.set_block(bytes);
  return message;
}

TEST(StreamTest, AStreamThatFallsSilentIsBrokenAndTriedAgain) {
  const ScriptedPeer peer({HeartbeatMessage()});
  TestNode b(2);
  const Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, peer.address(), {}));
  ASSERT_TRUE(Eventually([&] { return Streams(subscriber); }));
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().failures >= 1; }));
  EXPECT_TRUE(Eventually([&] { return Streams(subscriber); }));
}

// Silence is what ends a stream, not how long a block needs.
TEST(StreamTest, ABlockThatNeedsLongerThanAStallComesAtTheFirstAttempt) {
  TestNode a(1);
  TestNode b(2);
  a.StartPublisher();
  ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
  ASSERT_OK_AND_ASSIGN(const auto proxy,
                       harness::TcpProxy::Start({.listen_port = port, .server_port = a.port()}));
  proxy->SetFault("", harness::Direction::kToClient, {.bytes_per_second = 200 << 10});
  // 4.5 s of line, and 3 s without a message are a stall.
  a.Commit(1, 900 << 10);
  const Subscriber& subscriber =
      b.Subscribe(b.OptionsFor(1, absl::StrCat("127.0.0.1:", port), {a.origin()}));
  ASSERT_TRUE(Eventually(
      [&] { return b.log().End(a.origin()).end_lsn == a.log().End(a.origin()).end_lsn; }));
  EXPECT_EQ(subscriber.Status().failures, 0);
}

// On a machine or a line that is overloaded everybody needs longer than usual, and giving up early
// makes it worse.
TEST(StreamTest, APeerThatNeedsLongToAnswerIsGivenTheTime) {
  const ScriptedPeer peer({HeartbeatMessage()}, absl::Seconds(4));
  TestNode b(2);
  const Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, peer.address(), {}));
  EXPECT_TRUE(Eventually([&] { return Streams(subscriber); }));
}

TEST(StreamTest, BytesThatAreNoBlockAreRefused) {
  const ScriptedPeer peer({BlockMessage("nonsense")});
  TestNode b(2);
  const Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, peer.address(), {{1, 1}}));
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_THAT(subscriber.Status().reason, HasSubstr("not a block"));
}

TEST(StreamTest, AGapIsRefusedAndNothingBehindItIsKept) {
  const OriginId origin{.node = 1, .incarnation = 1};
  const EncodedBlock first = TestNode::MakeBlock(origin, {}, "x");
  const EncodedBlock second = TestNode::MakeBlock(origin, first.info.cursor(), "y");
  const EncodedBlock third = TestNode::MakeBlock(origin, second.info.cursor(), "z");
  const ScriptedPeer peer({BlockMessage(first.bytes), BlockMessage(third.bytes)});
  TestNode b(2);
  const Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, peer.address(), {origin}));
  ASSERT_TRUE(Eventually([&] { return IsRefused(subscriber); }));
  EXPECT_EQ(b.log().End(origin).chain, first.info.chain);
}

TEST(StreamTest, ABlockThatWasNotAskedForIsNotKept) {
  const OriginId other{.node = 3, .incarnation = 1};
  const ScriptedPeer peer({BlockMessage(TestNode::MakeBlock(other, {}, "x").bytes)});
  TestNode b(2);
  const Subscriber& subscriber = b.Subscribe(b.OptionsFor(1, peer.address(), {{1, 1}}));
  ASSERT_TRUE(Eventually([&] { return subscriber.Status().failures >= 2; }));
  EXPECT_TRUE(b.log().End(other).at_beginning());
}

TEST(StreamTest, ThreeNodesFetchFromEachOtherWhileAllWrite) {
  TestNode a(1), b(2), c(3);
  const std::vector<TestNode*> nodes = {&a, &b, &c};
  for (TestNode* node : nodes) node->StartPublisher();
  for (TestNode* to : nodes) {
    for (TestNode* from : nodes) {
      if (to != from) to->Subscribe(*from, {from->origin()});
    }
  }
  for (int round = 0; round < 50; ++round) {
    for (TestNode* node : nodes) node->Commit(4, 300);
    if (round == 25) {
      b.StopPublisher();
      b.StartPublisher();
    }
  }
  for (TestNode* to : nodes) {
    for (TestNode* from : nodes) {
      EXPECT_TRUE(Eventually([&] { return SameEnd(*from, *to, from->origin()); }));
      EXPECT_EQ(AllBlocks(*from, from->origin()), AllBlocks(*to, from->origin()));
    }
  }
}

TEST(StreamTest, EverythingStopsInAnyOrderWhileBlocksFlow) {
  for (int i = 0; i < 4; ++i) {
    TestNode a(1), b(2);
    a.Commit(300, 3000);
    a.StartPublisher();
    b.Subscribe(a, {a.origin()});
    if (i % 2 == 0) {
      ASSERT_TRUE(Eventually([&] { return !b.log().End(a.origin()).at_beginning(); }));
    }
    if (i < 2) b.StopSubscribers();
    a.StopPublisher();
    b.StopSubscribers();
  }
}

}  // namespace
}  // namespace bdr::agent
