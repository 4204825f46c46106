#include "node-agent/stream/publisher.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/peer_identity.h"
#include "base/repetition.h"
#include "base/said_once.h"
#include "base/status_macros.h"
#include "base/thread_name.h"
#include "bdr/v1/stream.grpc.pb.h"
#include "node-agent/stream/idle.h"
#include "node-agent/stream/outgoing.h"
#include "node-agent/stream/steady_time.h"

namespace bdr::agent {
namespace {

constexpr uint64_t kDefaultWindowBytes = 16 << 20;
constexpr uint64_t kMaxWindowBytes = 1 << 30;
constexpr size_t kMaxStreams = 2 * kMaxNodeId;
constexpr int kMaxWanted = 1 << 16;
constexpr size_t kPartBytes = 128 << 10;  // a line that takes seconds for it is a slow one
constexpr absl::Duration kSubscriptionTimeout = absl::Seconds(10);
constexpr int kKeepaliveMs = 5000;
constexpr int kKeepaliveTimeoutMs = 20000;

using Reactor = grpc::ServerBidiReactor<v1::SubscriberMessage, v1::PublisherMessage>;

// Ends a call at once, and deletes itself.
class Refusal final : public Reactor {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

// What a stream needs to know of the publisher.
struct Shared {
  PublisherOptions options;
  ChangeLog* log;
  StreamBackend* backend;
  std::function<void()> wake;         // the publisher's thread
  std::atomic<int64_t> grown_ms = 0;  // when the log last grew, by SteadyNow()
  mutable SaidOnce refused = {};
  mutable std::map<NodeId, Repetition> repetitions = {};  // the publisher's thread only

  absl::Duration HeartbeatInterval() const {
    const absl::Duration busy = options.heartbeat_interval;
    return SteadyNow() - absl::Milliseconds(grown_ms.load()) < kIdleAfter
               ? busy
               : std::max(busy, options.idle_heartbeat_interval);
  }
};

// One subscriber.
//
// gRPC's threads call the On... methods, which only note what happened and wake the publisher's
// thread. That thread alone, in Step(), starts writes, cancels and finishes; so a call is finished
// once, and never while a write is under way.
//
//   waiting for the subscription -> accepted -> ended (Finish() called) -> done (OnDone())
//                                \-----------------^
class Stream final : public Reactor {
 public:
  Stream(const Shared* shared, grpc::CallbackServerContext* context,
         std::function<void(Stream*)> on_done)
      : shared_(shared),
        address_(context->peer()),
        caller_(IdentityOf(*context->auth_context())),
        on_done_(std::move(on_done)),
        started_(SteadyNow()),
        context_(context) {
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // By the publisher's thread only. Does what there is to do, and returns when to be called again
  // at the latest, unless woken before.
  absl::Duration Step();
  // The same thread; the call ends in a later Step(), without waiting for the subscriber to read.
  void Abort(const absl::Status& why);
  // 0 before the subscription is accepted and after the end. The same thread.
  NodeId subscriber() const { return ended_ ? 0 : subscriber_; }

  // Nullopt unless accepted.
  std::optional<SubscriberStatus> Status() const;

 private:
  absl::Status TakeMessage();
  absl::Status CheckAck(AckInfo* ack);
  absl::Status Accept(const v1::Subscription& subscription);
  absl::StatusOr<absl::Duration> Work();
  absl::Status SendHeartbeat();
  absl::StatusOr<bool> SendBlock();
  bool SendPart();
  void SayAccepted();
  void Send();
  // A little early, so that a busy machine still keeps the interval.
  absl::Duration NextHeartbeat() const { return heartbeat_ + shared_->HeartbeatInterval() * 0.8; }
  void End(const absl::Status& why);

  const Shared* const shared_;
  const std::string address_;
  const absl::StatusOr<PeerIdentity> caller_;
  const std::function<void(Stream*)> on_done_;
  const absl::Duration started_;

  // Owned by the read under way, else by OnReadDone().
  v1::SubscriberMessage incoming_;

  // The publisher's thread only.
  NodeId named_ = 0;  // the member in whose name it came
  NodeId subscriber_ = 0;
  std::optional<Outgoing> outgoing_;
  v1::PublisherMessage message_;  // until the write is done
  bool takes_parts_ = false;
  std::string block_;                                     // being sent
  size_t block_sent_ = 0;                                 // how much of it is
  absl::Duration heartbeat_ = -absl::InfiniteDuration();  // when the last went out
  bool ended_ = false;

  mutable Mutex mu_;
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mu_);          // null once done
  std::optional<v1::Subscription> subscription_ ABSL_GUARDED_BY(mu_);  // not looked at yet
  bool subscribed_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status closed_ ABSL_GUARDED_BY(mu_);  // not OK: why the call has to end
  SubscriberStatus summary_ ABSL_GUARDED_BY(mu_);
  // Of the newest acknowledgement: what the next heartbeat answers, and when it came.
  uint64_t unanswered_us_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration acknowledged_at_ ABSL_GUARDED_BY(mu_);
  Lsn acknowledged_ ABSL_GUARDED_BY(mu_);  // of our own origin, as durable there
  bool ahead_ ABSL_GUARDED_BY(mu_) = false;
};

void Stream::OnReadDone(bool ok) {
  const absl::Status status =
      ok ? TakeMessage() : absl::CancelledError("the subscriber closed the stream");
  if (status.ok()) {
    StartRead(&incoming_);
  } else {
    MutexLock lock(&mu_);
    closed_.Update(status);
  }
  shared_->wake();
}

absl::Status Stream::TakeMessage() {
  if (incoming_.has_subscription()) {
    MutexLock lock(&mu_);
    if (std::exchange(subscribed_, true)) {
      return absl::InvalidArgumentError("a stream takes one subscription, as its first message");
    }
    subscription_ = std::move(*incoming_.mutable_subscription());
    return absl::OkStatus();
  }
  if (!incoming_.has_ack()) return absl::OkStatus();  // a kind that a later version may send
  ASSIGN_OR_RETURN(std::vector<AckInfo> acks, AcksFromWire(incoming_.ack()));
  NodeId accepted = 0;
  {
    MutexLock lock(&mu_);
    summary_.consumed_bytes = std::max(summary_.consumed_bytes, incoming_.ack().consumed_bytes());
    unanswered_us_ = incoming_.ack().sent_us();
    acknowledged_at_ = SteadyNow();
    accepted = summary_.node;
  }
  // A subscriber acknowledges only what it got here or knows from before, after the first
  // heartbeat; so nothing is lost by not listening to one that is not accepted.
  if (accepted == 0) return absl::OkStatus();
  for (AckInfo& ack : acks) RETURN_IF_ERROR(CheckAck(&ack));
  if (!acks.empty()) shared_->backend->OnAcks(accepted, acks);
  return absl::OkStatus();
}

// What is acknowledged of our own origin is trimmed once all have it, so it has to be true. What a
// subscriber can have is what it had when it subscribed and what was sent to it since. (While a
// relay hands over to this stream it may have more for a moment: that counts once this stream has
// sent it as well.) What it says of other origins decides nothing here.
absl::Status Stream::CheckAck(AckInfo* ack) {
  if (ack->origin.node != shared_->options.self) return absl::OkStatus();
  const Lsn end = shared_->log->End(ack->origin).end_lsn;
  if (!end.valid()) {
    // Of ours there is nothing yet, or it is an incarnation of which this log knows nothing.
    *ack = {.origin = ack->origin};
    return absl::OkStatus();
  }
  const Lsn most = std::max({ack->received_lsn, ack->durable_lsn, ack->applied_lsn});
  if (most > end) {
    return absl::InvalidArgumentError(
        absl::StrCat("node ", shared_->options.self, " has published up to ", ToString(end),
                     ", and the subscriber acknowledges ", ToString(most),
                     ": this is not the history that it has, or it is not told truly"));
  }
  bool first = false;
  Lsn sent;
  {
    MutexLock lock(&mu_);
    for (const WantedOrigin& wanted : summary_.cursors) {
      if (wanted.origin == ack->origin) sent = wanted.from.end_lsn;
    }
    if (ack->durable_lsn > sent || ack->received_lsn > sent) first = !std::exchange(ahead_, true);
    const Lsn durable = std::min(ack->durable_lsn, sent);
    if (durable < acknowledged_) {
      return absl::InvalidArgumentError(
          absl::StrCat("the subscriber had acknowledged ", ToString(acknowledged_), " of node ",
                       shared_->options.self, " as durable, and now ", ToString(durable),
                       ": what is durable stays so"));
    }
    acknowledged_ = durable;
  }
  if (first) {
    LogInfo("subscriber", {{"state", "ahead"}, {"address", address_}, {"lsn", ToString(sent)}},
            "acknowledges more than was sent to it on this stream, which counts once it is sent");
  }
  ack->durable_lsn = std::min(ack->durable_lsn, sent);
  ack->received_lsn = std::min(ack->received_lsn, sent);
  return absl::OkStatus();
}

void Stream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!ok) closed_.Update(absl::CancelledError("the connection to the subscriber broke"));
  }
  shared_->wake();
}

void Stream::OnCancel() {
  {
    MutexLock lock(&mu_);
    closed_.Update(absl::CancelledError("the call was cancelled"));
  }
  shared_->wake();
}

void Stream::OnDone() {
  {
    MutexLock lock(&mu_);
    context_ = nullptr;
  }
  const std::function<void(Stream*)> on_done = on_done_;
  on_done(this);  // deletes this, as a rule
}

absl::Duration Stream::Step() {
  absl::Status closed;
  {
    MutexLock lock(&mu_);
    // OnWriteDone() wakes us again.
    if (ended_ || writing_) return absl::InfiniteDuration();
    closed = closed_;
  }
  if (closed.ok()) {
    const absl::StatusOr<absl::Duration> next = Work();
    if (next.ok()) return *next;
    closed = next.status();
  }
  End(closed);
  return absl::InfiniteDuration();
}

absl::StatusOr<absl::Duration> Stream::Work() {
  if (!outgoing_.has_value()) {
    std::optional<v1::Subscription> subscription;
    {
      MutexLock lock(&mu_);
      subscription = std::exchange(subscription_, std::nullopt);
    }
    if (!subscription.has_value()) {
      const absl::Duration until = started_ + kSubscriptionTimeout;
      if (SteadyNow() < until) return until;
      return absl::DeadlineExceededError("no subscription came on the stream");
    }
    RETURN_IF_ERROR(Accept(*subscription));
  }
  if (SteadyNow() >= NextHeartbeat()) {
    RETURN_IF_ERROR(SendHeartbeat());
    return absl::InfiniteDuration();
  }
  if (SendPart()) return absl::InfiniteDuration();
  ASSIGN_OR_RETURN(const bool sent, SendBlock());
  return sent ? absl::InfiniteDuration() : NextHeartbeat();
}

// A subscription is checked from what is named to what is asked for: the cluster, the member,
// whether the certificate speaks for it, whether the folder is that member's, and at last the
// positions. Only then is anything kept, since acknowledgements are kept by node and decide what is
// trimmed: those of a wrong subscriber would cost the right one its changes.
absl::Status Stream::Accept(const v1::Subscription& subscription) {
  if (subscription.cluster_id() != shared_->options.cluster_id) {
    return absl::FailedPreconditionError(absl::StrCat(
        "node ", shared_->options.self, " belongs to cluster \"", shared_->options.cluster_id,
        "\", the subscriber to \"", subscription.cluster_id(),
        "\": one of the two has a wrong address or was initialised anew"));
  }
  const uint32_t node = subscription.subscriber_node();
  if (node == 0 || node > kMaxNodeId || !shared_->options.is_member(static_cast<NodeId>(node))) {
    return absl::PermissionDeniedError(
        absl::StrCat("node ", shared_->options.self, " does not know node ", node,
                     " as a member of the cluster (yet): see \"bdrctl node list\""));
  }
  named_ = static_cast<NodeId>(node);
  // Acknowledgements are kept by node: what another node has, this one does not.
  RETURN_IF_ERROR(caller_.status());
  if (shared_->options.name_of) {
    RETURN_IF_ERROR(CheckSpeaksFor(*caller_, shared_->options.name_of(static_cast<NodeId>(node))));
  }
  // Neither does the node's own folder have what another one has.
  const std::string known =
      shared_->options.data_dir_of ? shared_->options.data_dir_of(static_cast<NodeId>(node)) : "";
  if (!known.empty() && !subscription.data_dir_id().empty() &&
      subscription.data_dir_id() != known) {
    return absl::PermissionDeniedError(
        absl::StrCat("node ", node, " is known by data_dir ", known,
                     ", and the subscriber comes from data_dir ", subscription.data_dir_id(),
                     ": stop the agent that is not the node's, or bring the node's "
                     "data_dir back"));
  }
  if (subscription.from_size() > kMaxWanted) {
    return absl::InvalidArgumentError("a subscription names too many origins");
  }
  ASSIGN_OR_RETURN(std::vector<WantedOrigin> wanted, WantedFromWire(subscription));
  const uint64_t window =
      subscription.window_bytes() == 0 ? kDefaultWindowBytes : subscription.window_bytes();
  Outgoing outgoing(shared_->log, {.self = shared_->options.self,
                                   .window_bytes = std::min(window, kMaxWindowBytes),
                                   .wanted = std::move(wanted)});
  RETURN_IF_ERROR(outgoing.Check());

  outgoing_.emplace(std::move(outgoing));
  takes_parts_ = subscription.takes_parts();
  subscriber_ = static_cast<NodeId>(node);
  {
    MutexLock lock(&mu_);
    summary_.node = subscriber_;
    summary_.address = address_;
    summary_.since_us = absl::ToUnixMicros(absl::Now());
    summary_.cursors = outgoing_->cursors();
  }
  SayAccepted();
  return absl::OkStatus();
}

// A subscriber that ends its stream as soon as it stands, again and again, is not said to be
// accepted each time.
void Stream::SayAccepted() {
  Repetition& repetition = shared_->repetitions[subscriber_];
  if (!repetition.Works(absl::UnixEpoch() + SteadyNow())) return;
  LogInfo("subscriber", {{"state", "accepted"}, {"peer", subscriber_}, {"address", address_}},
          repetition.LineText(""));
}

absl::Status Stream::SendHeartbeat() {
  if (!shared_->options.is_member(subscriber_)) {
    return absl::PermissionDeniedError(
        absl::StrCat("node ", subscriber_, " is no longer a member of the cluster"));
  }
  SayAccepted();
  message_.Clear();
  ToWire(shared_->backend->MakeHeartbeat(), message_.mutable_heartbeat());
  {
    MutexLock lock(&mu_);
    if (unanswered_us_ != 0) {
      message_.mutable_heartbeat()->set_answers_us(std::exchange(unanswered_us_, 0));
      message_.mutable_heartbeat()->set_answers_after_us(
          static_cast<uint64_t>(absl::ToInt64Microseconds(SteadyNow() - acknowledged_at_)));
    }
  }
  heartbeat_ = SteadyNow();
  Send();
  return absl::OkStatus();
}

absl::StatusOr<bool> Stream::SendBlock() {
  uint64_t consumed = 0;
  {
    MutexLock lock(&mu_);
    consumed = summary_.consumed_bytes;
  }
  ASSIGN_OR_RETURN(std::optional<EncodedBlock> block, outgoing_->Take(consumed));
  if (!block.has_value()) return false;
  block_ = std::move(block->bytes);
  block_sent_ = 0;
  {
    MutexLock lock(&mu_);
    summary_.sent_bytes = outgoing_->taken_bytes();
    ++summary_.sent_blocks;
    summary_.cursors = outgoing_->cursors();
  }
  return SendPart();
}

// Goes on with a block that was begun; false if none was.
bool Stream::SendPart() {
  if (block_.empty()) return false;
  const size_t left = block_.size() - block_sent_;
  if (takes_parts_ && left > kPartBytes) {
    message_.set_block_part(block_.substr(block_sent_, kPartBytes));
    block_sent_ += kPartBytes;
  } else {
    message_.set_block(block_sent_ == 0 ? std::move(block_) : block_.substr(block_sent_));
    block_.clear();
  }
  Send();
  return true;
}

void Stream::Send() {
  {
    MutexLock lock(&mu_);
    writing_ = true;
  }
  StartWrite(&message_);
}

void Stream::Abort(const absl::Status& why) {
  MutexLock lock(&mu_);
  closed_.Update(why);
  // Otherwise a write that waits for a subscriber which reads nothing would never end. gRPC calls
  // OnCancel() from another thread, never from inside this call.
  if (context_ != nullptr) context_->TryCancel();
}

void Stream::End(const absl::Status& why) {
  ended_ = true;
  outgoing_.reset();
  const std::string who = caller_.ok() ? ToString(*caller_) : "unknown";
  const bool wrong = absl::IsInvalidArgument(why) || absl::IsPermissionDenied(why);
  if (named_ != 0 && wrong &&
      shared_->refused.IsNews(absl::StrCat(who, " ", named_, " ", static_cast<int>(why.code())))) {
    LogWarning("subscriber",
               {{"state", "refused"}, {"peer", named_}, {"who", who}, {"address", address_}},
               why.message());
  }
  {
    MutexLock lock(&mu_);
    summary_ = {};
  }
  if (subscriber_ != 0) {
    Repetition& repetition = shared_->repetitions[subscriber_];
    if (repetition.Failed(std::string(why.message()), absl::UnixEpoch() + SteadyNow())) {
      LogInfo("subscriber",
              {{"state", "accepted->ended"}, {"peer", subscriber_}, {"address", address_}},
              repetition.LineText(why.message()));
    }
  } else {
    // A refused subscriber tries for ever, and logs the reason itself.
    LogDebug("subscriber", {{"state", "refused"}, {"address", address_}}, why.message());
  }
  Finish(ToGrpcStatus(why));
}

std::optional<SubscriberStatus> Stream::Status() const {
  MutexLock lock(&mu_);
  if (summary_.node == 0) return std::nullopt;
  return summary_;
}

}  // namespace

class Publisher::Impl final : public v1::Replication::CallbackService {
 public:
  Impl(PublisherOptions options, ChangeLog* log, StreamBackend* backend)
      : shared_{.options = std::move(options), .log = log, .backend = backend, .wake = [this] {
                  MutexLock lock(&mu_);
                  WakeLocked();
                }} {
    listener_ = log->AddListener([this](OriginId) {
      shared_.grown_ms = absl::ToInt64Milliseconds(SteadyNow());
      shared_.wake();
    });
    thread_ = std::thread([this] {
      NameThread("bdr-publisher");
      Run();
    });
  }

  grpc::ServerBidiReactor<v1::SubscriberMessage, v1::PublisherMessage>* Subscribe(
      grpc::CallbackServerContext* context) override;
  std::vector<SubscriberStatus> Subscribers() const;
  void Shutdown();

 private:
  using Streams = std::vector<std::shared_ptr<Stream>>;

  void Run();
  void AbortAll(const Streams& streams);
  static void AbortReplaced(const Streams& streams);
  void Sleep(absl::Duration until);
  void Remove(Stream* stream);
  void WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    woken_ = true;
    changed_.NotifyAll();
  }

  Shared shared_;
  uint64_t listener_ = 0;
  std::thread thread_;

  mutable Mutex mu_;
  CondVar changed_;
  Streams streams_ ABSL_GUARDED_BY(mu_);  // in the order of their calls
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

grpc::ServerBidiReactor<v1::SubscriberMessage, v1::PublisherMessage>* Publisher::Impl::Subscribe(
    grpc::CallbackServerContext* context) {
  MutexLock lock(&mu_);
  if (stopping_) return new Refusal(absl::UnavailableError("the agent is shutting down"));
  if (streams_.size() >= kMaxStreams) {
    return new Refusal(absl::ResourceExhaustedError("too many subscriptions"));
  }
  streams_.push_back(
      std::make_shared<Stream>(&shared_, context, [this](Stream* stream) { Remove(stream); }));
  WakeLocked();
  return streams_.back().get();
}

// The last that a stream does here: Shutdown() may return right after.
void Publisher::Impl::Remove(Stream* stream) {
  std::shared_ptr<Stream> removed;
  MutexLock lock(&mu_);
  const auto found = std::find_if(streams_.begin(), streams_.end(),
                                  [&](const auto& one) { return one.get() == stream; });
  removed = std::move(*found);
  streams_.erase(found);
  WakeLocked();
}

void Publisher::Impl::Run() {
  while (true) {
    Streams streams;
    bool stopping = false;
    {
      MutexLock lock(&mu_);
      if (stopping_ && streams_.empty()) return;
      woken_ = false;
      stopping = stopping_;
      streams = streams_;
    }
    if (stopping) AbortAll(streams);
    AbortReplaced(streams);
    absl::Duration next = absl::InfiniteDuration();
    for (const auto& stream : streams) next = std::min(next, stream->Step());
    streams.clear();
    Sleep(next);
  }
}

void Publisher::Impl::AbortAll(const Streams& streams) {
  for (const auto& stream : streams) {
    stream->Abort(absl::UnavailableError("the agent is shutting down"));
  }
}

// A node has one subscription. The older of two is a connection that broke on the subscriber's
// side only, and would keep its memory until that is noticed here.
void Publisher::Impl::AbortReplaced(const Streams& streams) {
  for (size_t older = 0; older < streams.size(); ++older) {
    const NodeId node = streams[older]->subscriber();
    for (size_t newer = older + 1; node != 0 && newer < streams.size(); ++newer) {
      if (streams[newer]->subscriber() != node) continue;
      streams[older]->Abort(absl::AbortedError("the same node subscribed again"));
      break;
    }
  }
}

void Publisher::Impl::Sleep(absl::Duration until) {
  MutexLock lock(&mu_);
  while (!woken_) {
    const absl::Duration left = until - SteadyNow();
    if (left <= absl::ZeroDuration()) return;
    changed_.WaitFor(&mu_, std::min(left, absl::Minutes(1)));
  }
}

std::vector<SubscriberStatus> Publisher::Impl::Subscribers() const {
  Streams streams;
  {
    MutexLock lock(&mu_);
    streams = streams_;
  }
  std::vector<SubscriberStatus> result;
  for (const auto& stream : streams) {
    if (std::optional<SubscriberStatus> status = stream->Status()) {
      result.push_back(*std::move(status));
    }
  }
  return result;
}

void Publisher::Impl::Shutdown() {
  std::thread thread;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    WakeLocked();
    thread = std::move(thread_);
  }
  if (!thread.joinable()) return;
  thread.join();
  shared_.log->RemoveListener(listener_);
}

Publisher::Publisher(PublisherOptions options, ChangeLog* log, StreamBackend* backend)
    : impl_(std::make_unique<Impl>(std::move(options), log, backend)) {}

Publisher::~Publisher() { Shutdown(); }

grpc::Service* Publisher::service() { return impl_.get(); }

void Publisher::KeepStreamsAlive(grpc::ServerBuilder* builder) {
  // A subscriber whose machine vanished is noticed, and may itself ask that often.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
}

std::vector<SubscriberStatus> Publisher::Subscribers() const { return impl_->Subscribers(); }

void Publisher::Shutdown() { impl_->Shutdown(); }

}  // namespace bdr::agent
