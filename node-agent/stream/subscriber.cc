#include "node-agent/stream/subscriber.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "base/status_macros.h"
#include "base/thread_name.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "node-agent/stream/backoff.h"
#include "node-agent/stream/clock_skew.h"
#include "node-agent/stream/idle.h"
#include "node-agent/stream/steady_time.h"
#include "node-agent/stream/tsan_order.h"
#include "node-agent/stream/wire.h"

namespace bdr::agent {
namespace {

// The largest row that PostgreSQL can send (1 GiB), what else a block may hold, and some room.
constexpr int kMaxMessageBytes = (1 << 30) + (128 << 20);
constexpr absl::Duration kShortestStallTimeout = absl::Seconds(3);
constexpr absl::Duration kLongestStallTimeout = absl::Minutes(5);
constexpr absl::Duration kSettled = absl::Minutes(1);  // a stream that stood so long is a good one
// Acknowledgements are repeated that often though nothing has changed.
constexpr absl::Duration kAckRepeat = absl::Seconds(1);
// Where nothing has come and nothing changed for a while, it is looked at less often.
constexpr absl::Duration kIdleAckInterval = absl::Seconds(1);
constexpr absl::Duration kPeersStatusTimeout = absl::Seconds(2);

// What gRPC's threads and ours tell each other.
struct Mailbox {
  Mutex mu;
  CondVar changed;
};

// The reactor of one attempt. gRPC's threads call the On... methods, which only note what happened;
// the subscriber's thread starts every operation. It holds the call (AddHold) until it is through.
class Call final : public grpc::ClientBidiReactor<v1::SubscriberMessage, v1::PublisherMessage> {
 public:
  explicit Call(Mailbox* mailbox) : mailbox_(mailbox), heard_(SteadyNow()) {}

  void OnReadDone(bool ok) override {
    TakeFromGrpc(this);
    MutexLock lock(&mailbox_->mu);
    (ok ? arrived_ : broken_) = true;
    if (ok) heard_ = SteadyNow();
    mailbox_->changed.NotifyAll();
  }
  void OnWriteDone(bool ok) override {
    TakeFromGrpc(this);
    MutexLock lock(&mailbox_->mu);
    writing_ = false;
    if (!ok) broken_ = true;
    mailbox_->changed.NotifyAll();
  }
  // The last that happens here: the subscriber's thread then destroys the call.
  void OnDone(const grpc::Status& status) override {
    TakeFromGrpc(this);
    Mailbox* const mailbox = mailbox_;
    MutexLock lock(&mailbox->mu);
    end_ = FromGrpcStatus(status);
    mailbox->changed.NotifyAll();
  }

  // What follows is for the subscriber's thread.

  void Start(grpc::ClientContext* context, v1::Replication::Stub* stub,
             const v1::Subscription& subscription) {
    stub->async()->Subscribe(context, this);
    AddHold();
    held_ = true;
    *outgoing_.mutable_subscription() = subscription;
    writing_ = true;
    StartWrite(&outgoing_);
    StartRead(&incoming_);
    HandToGrpc(this);
    StartCall();
  }

  // Takes the message that has arrived, and reads on.
  v1::PublisherMessage Take() {
    v1::PublisherMessage message;
    {
      MutexLock lock(&mailbox_->mu);
      arrived_ = false;
    }
    message.Swap(&incoming_);
    StartRead(&incoming_);
    return message;
  }

  // Only while no write is under way.
  void Send(const v1::Ack& ack) {
    *outgoing_.mutable_ack() = ack;
    {
      MutexLock lock(&mailbox_->mu);
      writing_ = true;
    }
    StartWrite(&outgoing_);
  }

  // No operation is started from now on. OnDone() comes once those under way have ended.
  void Release() {
    if (std::exchange(held_, false)) RemoveHold();
  }

  bool arrived() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mu) { return arrived_; }
  bool broken() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mu) { return broken_; }
  bool writing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mu) { return writing_; }
  // When the last message came, or the call began.
  absl::Duration heard() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mu) { return heard_; }
  const std::optional<absl::Status>& end() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mu) {
    return end_;
  }

 private:
  Mailbox* const mailbox_;
  bool held_ = false;
  v1::PublisherMessage incoming_;   // gRPC's from StartRead() to OnReadDone()
  v1::SubscriberMessage outgoing_;  // gRPC's from StartWrite() to OnWriteDone()

  bool arrived_ ABSL_GUARDED_BY(mailbox_->mu) = false;
  bool broken_ ABSL_GUARDED_BY(mailbox_->mu) = false;
  bool writing_ ABSL_GUARDED_BY(mailbox_->mu) = false;
  absl::Duration heard_ ABSL_GUARDED_BY(mailbox_->mu);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mailbox_->mu);
};

grpc::ChannelArguments ChannelSettings() {
  grpc::ChannelArguments settings;
  settings.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // Each attempt makes a connection of its own: no backoff of gRPC's on top of ours.
  settings.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  settings.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  settings.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
  settings.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Peers are reached as they are addressed, whatever http_proxy is for.
  settings.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return settings;
}

bool IsRefusal(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDataLoss ||
         status.code() == absl::StatusCode::kFailedPrecondition ||
         status.code() == absl::StatusCode::kPermissionDenied;
}

// A node that was just added is not known everywhere yet, which is over soon.
bool IsLasting(const absl::Status& refusal) {
  return refusal.code() != absl::StatusCode::kPermissionDenied;
}

bool Equal(const std::vector<AckInfo>& a, const std::vector<AckInfo>& b) {
  const auto values = [](const AckInfo& ack) {
    return std::tie(ack.origin, ack.received_lsn, ack.durable_lsn, ack.applied_lsn);
  };
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(),
      [&](const AckInfo& one, const AckInfo& other) { return values(one) == values(other); });
}

}  // namespace

class Subscriber::Impl {
 public:
  Impl(SubscriberOptions options, ChangeLog* log, StreamBackend* backend)
      : options_(std::move(options)),
        log_(log),
        backend_(backend),
        backoff_(options_.shortest_backoff, options_.longest_backoff),
        origins_(options_.origins) {
    link_.since_us = absl::ToUnixMicros(absl::Now());
    thread_ = std::thread([this] {
      NameThread(absl::StrCat("bdr-receive-", options_.peer));
      Run();
    });
  }

  void SetOrigins(std::vector<OriginId> origins) {
    MutexLock lock(&mailbox_.mu);
    if (origins == origins_) return;
    origins_ = std::move(origins);
    ++origins_version_;
    mailbox_.changed.NotifyAll();
  }

  LinkStatus Status() const {
    MutexLock lock(&mailbox_.mu);
    return link_;
  }

  void Stop() {
    std::thread thread;
    {
      MutexLock lock(&mailbox_.mu);
      stopping_ = true;
      mailbox_.changed.NotifyAll();
      thread = std::move(thread_);
    }
    if (thread.joinable()) thread.join();
  }

 private:
  // One attempt, as far as it came.
  struct Attempt {
    std::vector<OriginId> origins = {};
    uint64_t origins_version = 0;
    absl::Duration began = SteadyNow();
    bool streaming = false;
    bool stalled = false;
    std::string part = {};  // of the block that is coming
    uint64_t consumed_bytes = 0;
    uint64_t acknowledged_bytes = 0;
    absl::Duration ack_due = absl::InfiniteDuration();  // set by the first message
    absl::Duration ack_sent = absl::ZeroDuration();
    absl::Duration changed = SteadyNow();  // what is acknowledged, or a block came
    std::vector<AckInfo> acks = {};
  };
  enum class Event { kMessage, kAckDue, kBroken, kStalled, kUnwanted };

  void Run();
  absl::Status Stream(Attempt* attempt);
  absl::Status Explain(const Attempt& attempt, const absl::Status& why);
  absl::Status Exchange(Attempt* attempt, Call* call);
  Event NextEvent(const Attempt& attempt, const Call& call);
  absl::Status Handle(Attempt* attempt, v1::PublisherMessage message);
  absl::Status HandleBlock(Attempt* attempt, std::string bytes);
  absl::Status HandleHeartbeat(const v1::Heartbeat& message);
  void Acknowledge(Attempt* attempt, Call* call);
  bool HasRoom(const Attempt& attempt);
  absl::Status PeersWord(Call* call);
  void Close(Call* call);

  void Streaming(Attempt* attempt);
  void SayStreaming();
  void Failed(const Attempt& attempt, const absl::Status& why);
  LinkState Enter(LinkState state, std::string reason);
  bool Stopping() const {
    MutexLock lock(&mailbox_.mu);
    return stopping_;
  }
  v1::Subscription MakeSubscription(const Attempt& attempt) const;

  const SubscriberOptions options_;
  ChangeLog* const log_;
  StreamBackend* const backend_;
  std::thread thread_;

  // The thread only.
  Backoff backoff_;
  bool ever_streamed_ = false;
  Repetition repetition_;
  LinkState came_from_ = LinkState::kConnecting;         // to streaming
  absl::Duration stall_timeout_ = absl::ZeroDuration();  // set by Run()

  mutable Mailbox mailbox_;
  std::vector<OriginId> origins_ ABSL_GUARDED_BY(mailbox_.mu);
  uint64_t origins_version_ ABSL_GUARDED_BY(mailbox_.mu) = 0;
  bool stopping_ ABSL_GUARDED_BY(mailbox_.mu) = false;
  LinkStatus link_ ABSL_GUARDED_BY(mailbox_.mu);
  ClockSkew skew_ ABSL_GUARDED_BY(mailbox_.mu);
};

void Subscriber::Impl::Run() {
  const absl::Duration base = std::max(kShortestStallTimeout, options_.heartbeat_interval * 10);
  stall_timeout_ = base;
  while (!Stopping()) {
    Attempt attempt;
    {
      MutexLock lock(&mailbox_.mu);
      attempt.origins = origins_;
      attempt.origins_version = origins_version_;
      ++link_.attempts;
    }
    const absl::Status why = Explain(attempt, Stream(&attempt));
    // A stream that stood for a while owes its end to something new.
    if (attempt.streaming && SteadyNow() - attempt.began > 2 * options_.longest_backoff) {
      backoff_.Reset();
    }
    // A part of a block on a very slow line looks like a stall, and so does a peer that is
    // overloaded. Waiting longer each time lets it through in the end. Without one less long: a
    // line that was cut for a while is to be tried again soon.
    const bool settled = attempt.streaming && SteadyNow() - attempt.began > kSettled;
    const bool may_be_block =
        attempt.streaming && (attempt.consumed_bytes == 0 || !attempt.part.empty());
    const absl::Duration longest = may_be_block ? kLongestStallTimeout : 4 * base;
    stall_timeout_ = attempt.stalled && !settled ? std::min(longest, stall_timeout_ * 2) : base;
    if (why.ok()) {
      // Stop(), or other origins.
      Enter(LinkState::kConnecting, "");
    } else {
      Failed(attempt, why);
    }
  }
}

// An address or a configuration that is wrong is so from the first attempt on.
absl::Status Subscriber::Impl::Explain(const Attempt& attempt, const absl::Status& why) {
  ever_streamed_ = ever_streamed_ || attempt.streaming;
  if (why.ok() || ever_streamed_ || options_.explain == nullptr || Stopping()) return why;
  return options_.explain(why);
}

// Returns why the stream ended; OK if we wanted it to (Stop(), other origins).
absl::Status Subscriber::Impl::Stream(Attempt* attempt) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   options_.credentials());
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(options_.address, credentials, ChannelSettings());
  const std::unique_ptr<v1::Replication::Stub> stub = v1::Replication::NewStub(channel);
  grpc::ClientContext context;
  Call call(&mailbox_);
  call.Start(&context, stub.get(), MakeSubscription(*attempt));
  const absl::Status why = Exchange(attempt, &call);
  // What is still under way fails at once after this, so that the wait in Close() is short,
  // whatever the peer does.
  context.TryCancel();
  Close(&call);
  return why;
}

v1::Subscription Subscriber::Impl::MakeSubscription(const Attempt& attempt) const {
  v1::Subscription subscription;
  subscription.set_cluster_id(options_.cluster_id);
  subscription.set_subscriber_node(options_.self);
  subscription.set_data_dir_id(options_.data_dir_id);
  subscription.set_window_bytes(options_.window_bytes);
  subscription.set_takes_parts(true);
  std::vector<WantedOrigin> wanted;
  for (const OriginId origin : attempt.origins) {
    wanted.push_back({.origin = origin, .from = log_->End(origin)});
  }
  ToWire(wanted, &subscription);
  return subscription;
}

absl::Status Subscriber::Impl::Exchange(Attempt* attempt, Call* call) {
  while (true) {
    switch (NextEvent(*attempt, *call)) {
      case Event::kMessage: {
        v1::PublisherMessage message = call->Take();
        if (!attempt->streaming) Streaming(attempt);
        RETURN_IF_ERROR(Handle(attempt, std::move(message)));
        Acknowledge(attempt, call);
        break;
      }
      case Event::kAckDue:
        Acknowledge(attempt, call);
        break;
      case Event::kBroken:
        return PeersWord(call);
      case Event::kStalled:
        attempt->stalled = true;
        return absl::UnavailableError(absl::StrCat(
            attempt->streaming ? "nothing came from the peer for " : "no answer from the peer in ",
            absl::FormatDuration(stall_timeout_)));
      case Event::kUnwanted:
        return absl::OkStatus();
    }
  }
}

Subscriber::Impl::Event Subscriber::Impl::NextEvent(const Attempt& attempt, const Call& call) {
  MutexLock lock(&mailbox_.mu);
  while (true) {
    if (stopping_ || origins_version_ != attempt.origins_version) return Event::kUnwanted;
    // A message that has arrived counts before anything that happened to the stream since.
    if (call.arrived()) return Event::kMessage;
    if (call.broken()) return Event::kBroken;
    const absl::Duration now = SteadyNow();
    const absl::Duration stalled = call.heard() + stall_timeout_;
    if (now >= stalled) return Event::kStalled;
    const absl::Duration ack_due = call.writing() ? absl::InfiniteDuration() : attempt.ack_due;
    if (now >= ack_due) return Event::kAckDue;
    mailbox_.changed.WaitFor(&mailbox_.mu, std::min(stalled, ack_due) - now);
  }
}

absl::Status Subscriber::Impl::Handle(Attempt* attempt, v1::PublisherMessage message) {
  if (message.has_heartbeat()) return HandleHeartbeat(message.heartbeat());
  if (message.kind_case() == v1::PublisherMessage::kBlockPart) {
    if (attempt->part.size() + message.block_part().size() > kMaxMessageBytes) {
      return absl::InternalError("the peer sent a block that is larger than any can be");
    }
    attempt->part.append(message.block_part());
    return absl::OkStatus();
  }
  if (message.kind_case() == v1::PublisherMessage::kBlock) {
    if (attempt->part.empty()) return HandleBlock(attempt, std::move(*message.mutable_block()));
    attempt->part.append(message.block());
    return HandleBlock(attempt, std::exchange(attempt->part, {}));
  }
  return absl::OkStatus();  // a kind that a later version may send
}

absl::Status Subscriber::Impl::HandleBlock(Attempt* attempt, std::string bytes) {
  const uint64_t size = bytes.size();
  EncodedBlock block;
  ASSIGN_OR_RETURN(block.info, ParseBlock(bytes));
  const auto& origins = attempt->origins;
  if (std::find(origins.begin(), origins.end(), block.info.origin) == origins.end()) {
    return absl::InternalError(absl::StrCat("the peer sent a block of origin ",
                                            ToString(block.info.origin),
                                            ", which was not asked for"));
  }
  block.bytes = std::move(bytes);
  RETURN_IF_ERROR(log_->AppendReceived(block));
  attempt->consumed_bytes += size;
  attempt->changed = SteadyNow();
  attempt->ack_due = std::min(attempt->ack_due, attempt->changed + options_.heartbeat_interval);
  MutexLock lock(&mailbox_.mu);
  link_.received_bytes += size;
  ++link_.received_blocks;
  return absl::OkStatus();
}

absl::Status Subscriber::Impl::HandleHeartbeat(const v1::Heartbeat& message) {
  ASSIGN_OR_RETURN(HeartbeatInfo heartbeat, HeartbeatFromWire(message));
  // Only an origin itself may promise what it will do.
  for (HeartbeatOrigin& origin : heartbeat.origins) {
    if (origin.origin.node != options_.peer) origin.promise_us = 0;
  }
  backend_->OnHeartbeat(options_.peer, heartbeat);
  std::optional<int64_t> round_trip_us;
  if (message.answers_us() != 0) {
    const int64_t answered_us = static_cast<int64_t>(message.answers_us()) +
                                static_cast<int64_t>(message.answers_after_us());
    round_trip_us = std::max<int64_t>(0, absl::ToInt64Microseconds(SteadyNow()) - answered_us);
  }
  MutexLock lock(&mailbox_.mu);
  link_.last_heartbeat_us = absl::ToUnixMicros(absl::Now());
  const int64_t own_us = backend_->ServerClock();
  if (heartbeat.clock_us != 0 && own_us != 0) {
    skew_.Add(heartbeat.clock_us, own_us, round_trip_us);
    link_.clock_skew_us = skew_.skew_us();
    link_.clock_doubt_us = skew_.doubt_us();
  }
  return absl::OkStatus();
}

// Sends an acknowledgement if it is time for one: when much of the window is used up, else once in
// a heartbeat interval if something has changed, and now and then in any case.
void Subscriber::Impl::Acknowledge(Attempt* attempt, Call* call) {
  // What is not said to be consumed is not replaced by more.
  const uint64_t unacknowledged =
      HasRoom(*attempt) ? attempt->consumed_bytes - attempt->acknowledged_bytes : 0;
  SayStreaming();
  const bool much = unacknowledged > 0 && unacknowledged >= options_.window_bytes / 4;
  const absl::Duration now = SteadyNow();
  if (!much && now < attempt->ack_due) return;
  {
    MutexLock lock(&mailbox_.mu);
    if (call->writing()) return;
  }
  std::vector<AckInfo> acks = backend_->MakeAcks();
  const bool changed = unacknowledged > 0 || !Equal(acks, attempt->acks);
  if (changed) attempt->changed = now;
  attempt->ack_due = now + (now - attempt->changed < kIdleAfter
                                ? options_.heartbeat_interval
                                : std::max(options_.heartbeat_interval, kIdleAckInterval));
  if (!changed && now < attempt->ack_sent + kAckRepeat) return;

  v1::Ack message;
  ToWire(acks, &message);
  attempt->acknowledged_bytes += unacknowledged;
  message.set_consumed_bytes(attempt->acknowledged_bytes);
  message.set_sent_us(static_cast<uint64_t>(absl::ToInt64Microseconds(SteadyNow())));
  call->Send(message);
  attempt->ack_sent = now;
  attempt->acks = std::move(acks);
}

// One origin that may go on lets all through that come by the same stream: what the full one waits
// for may be among them.
bool Subscriber::Impl::HasRoom(const Attempt& attempt) {
  if (options_.has_room == nullptr || attempt.origins.empty()) return true;
  const bool full = std::none_of(attempt.origins.begin(), attempt.origins.end(), options_.has_room);
  bool was_full = false;
  {
    MutexLock lock(&mailbox_.mu);
    was_full = std::exchange(link_.full, full);
  }
  if (full != was_full) {
    LogWarning("stream",
               {{"state", full ? "streaming->full" : "full->streaming"},
                {"node", options_.self},
                {"peer", options_.peer}},
               full ? "no room for more: it goes on once apply has caught up" : "");
  }
  return !full;
}

// The peer ended the stream, or the connection broke: its last word on that.
absl::Status Subscriber::Impl::PeersWord(Call* call) {
  call->Release();
  const absl::Duration until = SteadyNow() + kPeersStatusTimeout;
  MutexLock lock(&mailbox_.mu);
  while (!call->end().has_value() && !stopping_ && SteadyNow() < until) {
    mailbox_.changed.WaitFor(&mailbox_.mu, until - SteadyNow());
  }
  if (stopping_) return absl::OkStatus();
  if (!call->end().has_value()) return absl::UnavailableError("the connection broke");
  return call->end()->ok() ? absl::UnavailableError("the peer ended the stream") : *call->end();
}

void Subscriber::Impl::Close(Call* call) {
  call->Release();
  MutexLock lock(&mailbox_.mu);
  while (!call->end().has_value()) mailbox_.changed.Wait(&mailbox_.mu);
}

void Subscriber::Impl::Streaming(Attempt* attempt) {
  attempt->streaming = true;
  attempt->ack_due = SteadyNow();
  came_from_ = Enter(LinkState::kStreaming, "");
  SayStreaming();
}

// One that breaks as soon as it stands, again and again, is not said to stand each time.
void Subscriber::Impl::SayStreaming() {
  if (!repetition_.Works(absl::UnixEpoch() + SteadyNow())) return;
  LogInfo("stream",
          {{"state", absl::StrCat(ToString(came_from_), "->streaming")},
           {"node", options_.self},
           {"peer", options_.peer},
           {"address", options_.address}},
          repetition_.LineText(""));
}

void Subscriber::Impl::Failed(const Attempt& attempt, const absl::Status& why) {
  const LinkState state = IsRefusal(why) ? LinkState::kRefused : LinkState::kBackoff;
  const absl::Duration retry = IsRefusal(why) && IsLasting(why)
                                   ? backoff_.WithJitter(options_.refused_backoff)
                                   : backoff_.Next();
  const std::string reason(why.message());
  const LinkState before = Enter(state, reason);
  // One line for each cause, not for each attempt.
  if (repetition_.Failed(absl::StrCat(ToString(state), " ", reason),
                         absl::UnixEpoch() + SteadyNow())) {
    LogWarning("stream",
               {{"state", absl::StrCat(ToString(before), "->", ToString(state))},
                {"node", options_.self},
                {"peer", options_.peer},
                {"address", options_.address},
                {"retry_ms", absl::ToInt64Milliseconds(retry)}},
               repetition_.LineText(why.ToString()));
  }
  const absl::Duration until = SteadyNow() + retry;
  MutexLock lock(&mailbox_.mu);
  ++link_.failures;
  while (!stopping_ && origins_version_ == attempt.origins_version && SteadyNow() < until) {
    mailbox_.changed.WaitFor(&mailbox_.mu, until - SteadyNow());
  }
}

LinkState Subscriber::Impl::Enter(LinkState state, std::string reason) {
  MutexLock lock(&mailbox_.mu);
  const LinkState before = std::exchange(link_.state, state);
  link_.full = false;
  if (before != state) link_.since_us = absl::ToUnixMicros(absl::Now());
  link_.reason = std::move(reason);
  return before;
}

const char* ToString(LinkState state) {
  switch (state) {
    case LinkState::kConnecting:
      return "connecting";
    case LinkState::kStreaming:
      return "streaming";
    case LinkState::kBackoff:
      return "backoff";
    case LinkState::kRefused:
      return "refused";
  }
  return "unknown";
}

Subscriber::Subscriber(SubscriberOptions options, ChangeLog* log, StreamBackend* backend)
    : impl_(std::make_unique<Impl>(std::move(options), log, backend)) {}

Subscriber::~Subscriber() { Stop(); }

void Subscriber::SetOrigins(std::vector<OriginId> origins) {
  impl_->SetOrigins(std::move(origins));
}

LinkStatus Subscriber::Status() const { return impl_->Status(); }

void Subscriber::Stop() { impl_->Stop(); }

}  // namespace bdr::agent
