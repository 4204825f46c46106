// What the tests of the stream share: a node without PostgreSQL. Only tests include this.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/testing.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/stream/publisher.h"
#include "node-agent/stream/subscriber.h"

namespace bdr::agent {

// Waits for a condition, for far longer than it takes on any machine.
inline bool Eventually(const std::function<bool()>& condition) {
  const absl::Time until = absl::Now() + absl::Seconds(60);
  while (!condition()) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

inline std::string Noise(size_t bytes, uint32_t seed) {
  std::minstd_rand random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random() >> 8);
  return text;
}

// Remembers what it is told.
class FakeBackend : public StreamBackend {
 public:
  explicit FakeBackend(OriginId own) : own_(own) {}
  void SetLog(const ChangeLog* log) {
    MutexLock lock(&mu_);
    log_ = log;
  }

  int64_t ServerClock() const override { return absl::ToUnixMicros(absl::Now()); }
  HeartbeatInfo MakeHeartbeat() override {
    MutexLock lock(&mu_);
    HeartbeatInfo heartbeat{.clock_us = absl::ToUnixMicros(absl::Now()), .origins = {}};
    for (const OriginId origin : log_->Origins()) {
      heartbeat.origins.push_back(
          {.origin = origin, .published_lsn = log_->End(origin).end_lsn, .promise_us = 42});
    }
    return heartbeat;
  }
  void OnHeartbeat(NodeId peer, const HeartbeatInfo& heartbeat) override {
    MutexLock lock(&mu_);
    ++heartbeats_[peer];
    last_[peer] = heartbeat;
  }
  std::vector<AckInfo> MakeAcks() override {
    MutexLock lock(&mu_);
    std::vector<AckInfo> acks;
    for (const OriginId origin : log_->Origins()) {
      if (origin != own_)
        acks.push_back({.origin = origin, .received_lsn = log_->End(origin).end_lsn});
    }
    return acks;
  }
  void OnAcks(NodeId subscriber, const std::vector<AckInfo>& acks) override {
    MutexLock lock(&mu_);
    for (const AckInfo& ack : acks) acks_[{subscriber, ack.origin}] = ack.received_lsn;
  }

  int Heartbeats(NodeId peer) {
    MutexLock lock(&mu_);
    return heartbeats_[peer];
  }
  HeartbeatInfo LastHeartbeat(NodeId peer) {
    MutexLock lock(&mu_);
    return last_[peer];
  }
  Lsn Acknowledged(NodeId subscriber, OriginId origin) {
    MutexLock lock(&mu_);
    return acks_[{subscriber, origin}];
  }

 private:
  const OriginId own_;
  Mutex mu_;
  const ChangeLog* log_ = nullptr;
  std::map<NodeId, int> heartbeats_;
  std::map<NodeId, HeartbeatInfo> last_;
  std::map<std::pair<NodeId, OriginId>, Lsn> acks_;
};

// One node: a change log in a folder of its own, and whatever of publisher and subscribers a test
// starts.
class TestNode {
 public:
  explicit TestNode(NodeId id) : id_(id), backend_(origin()) {
    std::string folder = (std::filesystem::temp_directory_path() / "bdr-stream-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) std::abort();
    folder_ = folder;
    OpenLog();
  }
  ~TestNode() {
    subscribers_.clear();
    StopPublisher();
    CloseLog();
    std::filesystem::remove_all(folder_);
  }

  NodeId id() const { return id_; }
  OriginId origin() const { return {.node = id_, .incarnation = 1}; }
  ChangeLog& log() { return *log_; }
  FakeBackend& backend() { return backend_; }
  Publisher& publisher() { return *publisher_; }
  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  void OpenLog() {
    auto database = Database::Open({.directory = absl::StrCat(folder_, "/db")});
    if (!database.ok()) Die(database.status());
    database_ = *std::move(database);
    auto log = ChangeLog::Open(database_.get());
    if (!log.ok()) Die(log.status());
    log_ = *std::move(log);
    backend_.SetLog(log_.get());
  }
  void CloseLog() {
    log_.reset();
    database_.reset();
  }

  // A block of one transaction that follows `after`.
  static EncodedBlock MakeBlock(OriginId origin, const Cursor& after, absl::string_view change) {
    BlockBuilder builder(origin);
    const Lsn end{after.end_lsn.value + 0x100};
    builder.BeginTransaction(
        {.end_lsn = end,
         .stamp = {.time_us = static_cast<int64_t>(end.value), .node = origin.node}});
    builder.AddChange(change);
    return builder.Seal(after.chain, /*more_parts=*/false);
  }

  // Commits transactions here, each in a block of its own.
  void Commit(int transactions, size_t bytes = 20) {
    rocksdb::WriteBatch batch;
    std::vector<EncodedBlock> blocks;
    Cursor end = log_->End(origin());
    for (int i = 0; i < transactions; ++i) {
      blocks.push_back(MakeBlock(origin(), end, Noise(bytes, ++seed_)));
      end = blocks.back().info.cursor();
    }
    const absl::Status status = log_->AppendOwn(blocks, &batch);
    if (!status.ok()) Die(status);
  }

  // Listens on a port that stays the same from the first start on.
  void StartPublisher() {
    publisher_ = std::make_unique<Publisher>(
        PublisherOptions{.self = id_,
                         .cluster_id = "c1",
                         .is_member =
                             [this](NodeId node) {
                               MutexLock lock(&mu_);
                               return strangers_.count(node) == 0;
                             },
                         .name_of = [](NodeId node) { return absl::StrCat("n", node); },
                         .data_dir_of = [](NodeId node) { return absl::StrCat("folder ", node); }},
        log_.get(), &backend_);
    const std::string listen = address();
    // The port may need a moment to be free again after a restart.
    Eventually([&] {
      grpc::ServerBuilder builder;
      builder.RegisterService(publisher_->service());
      Publisher::KeepStreamsAlive(&builder);
      builder.AddListeningPort(listen, credentials_, &port_);
      server_ = builder.BuildAndStart();
      return server_ != nullptr;
    });
  }
  void StopPublisher() {
    if (publisher_ == nullptr) return;
    publisher_->Shutdown();
    server_->Shutdown();
    server_.reset();
    publisher_.reset();
  }
  // Before StartPublisher().
  void SetCredentials(std::shared_ptr<grpc::ServerCredentials> credentials) {
    credentials_ = std::move(credentials);
  }
  void SetMember(NodeId node, bool member) {
    MutexLock lock(&mu_);
    if (member)
      strangers_.erase(node);
    else
      strangers_.insert(node);
  }

  SubscriberOptions OptionsFor(NodeId peer, const std::string& peer_address,
                               std::vector<OriginId> origins) {
    return {.cluster_id = "c1",
            .self = id_,
            .peer = peer,
            .address = peer_address,
            .credentials = []() -> absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> {
              return grpc::InsecureChannelCredentials();
            },
            .origins = std::move(origins)};
  }
  Subscriber& Subscribe(const TestNode& peer, std::vector<OriginId> origins) {
    return Subscribe(OptionsFor(peer.id(), peer.address(), std::move(origins)));
  }
  Subscriber& Subscribe(const SubscriberOptions& options) {
    subscribers_.push_back(std::make_unique<Subscriber>(options, log_.get(), &backend_));
    return *subscribers_.back();
  }
  void StopSubscribers() { subscribers_.clear(); }

 private:
  static void Die(const absl::Status& status) {
    ADD_FAILURE() << status;
    std::abort();
  }

  const NodeId id_;
  std::string folder_;
  FakeBackend backend_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
  uint32_t seed_ = 0;
  int port_ = 0;
  std::shared_ptr<grpc::ServerCredentials> credentials_ = grpc::InsecureServerCredentials();
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  Mutex mu_;
  std::set<NodeId> strangers_;
};

// Both logs end alike.
inline bool SameEnd(TestNode& a, TestNode& b, OriginId origin) {
  return a.log().End(origin).chain == b.log().End(origin).chain;
}

// All blocks of an origin, byte for byte.
inline std::vector<std::string> AllBlocks(TestNode& node, OriginId origin) {
  std::vector<std::string> blocks;
  Cursor cursor = node.log().TrimmedThrough(origin);
  while (true) {
    auto next = node.log().Next(origin, cursor);
    if (!next.ok()) ADD_FAILURE() << next.status();
    if (!next.ok() || !next->has_value()) return blocks;
    cursor = (*next)->info.cursor();
    blocks.push_back(std::move((*next)->bytes));
  }
}

}  // namespace bdr::agent
