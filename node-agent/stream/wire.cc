#include "node-agent/stream/wire.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/stream.pb.h"

namespace bdr::agent {
namespace {

template <typename Message>
absl::StatusOr<OriginId> OriginFromWire(const Message& message) {
  if (message.node() > kMaxNodeId) {
    return absl::InvalidArgumentError(
        absl::StrCat("a peer's message names node ", message.node(), "; ids end at ", kMaxNodeId));
  }
  return OriginId{static_cast<NodeId>(message.node()), message.incarnation()};
}

template <typename Message>
void OriginToWire(OriginId origin, Message* message) {
  message->set_node(origin.node);
  message->set_incarnation(origin.incarnation);
}

}  // namespace

void ToWire(const std::vector<WantedOrigin>& wanted, v1::Subscription* message) {
  for (const WantedOrigin& one : wanted) {
    v1::Cursor* from = message->add_from();
    OriginToWire(one.origin, from);
    from->set_end_lsn(one.from.end_lsn.value);
    from->set_part(one.from.part);
    from->set_chain(one.from.chain);
  }
}

void ToWire(const HeartbeatInfo& heartbeat, v1::Heartbeat* message) {
  message->set_clock_us(heartbeat.clock_us);
  for (const HeartbeatOrigin& origin : heartbeat.origins) {
    v1::OriginProgress* progress = message->add_origins();
    OriginToWire(origin.origin, progress);
    progress->set_published_lsn(origin.published_lsn.value);
    progress->set_promise_us(origin.promise_us);
    progress->set_stable_lsn(origin.stable_lsn.value);
    progress->set_stable_us(origin.stable_us);
    progress->set_stable_held_by(origin.stable_held_by);
  }
}

void ToWire(const std::vector<AckInfo>& acks, v1::Ack* message) {
  for (const AckInfo& ack : acks) {
    v1::OriginAck* origin = message->add_origins();
    OriginToWire(ack.origin, origin);
    origin->set_received_lsn(ack.received_lsn.value);
    origin->set_durable_lsn(ack.durable_lsn.value);
    origin->set_applied_lsn(ack.applied_lsn.value);
  }
}

absl::StatusOr<std::vector<WantedOrigin>> WantedFromWire(const v1::Subscription& message) {
  std::vector<WantedOrigin> wanted;
  absl::flat_hash_set<OriginId> named;
  for (const v1::Cursor& from : message.from()) {
    ASSIGN_OR_RETURN(const OriginId origin, OriginFromWire(from));
    if (!named.insert(origin).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("a subscription names origin ", ToString(origin), " twice"));
    }
    wanted.push_back(
        {.origin = origin,
         .from = {.end_lsn = Lsn{from.end_lsn()}, .part = from.part(), .chain = from.chain()}});
  }
  return wanted;
}

absl::StatusOr<HeartbeatInfo> HeartbeatFromWire(const v1::Heartbeat& message) {
  HeartbeatInfo heartbeat;
  heartbeat.clock_us = message.clock_us();
  for (const v1::OriginProgress& progress : message.origins()) {
    ASSIGN_OR_RETURN(const OriginId origin, OriginFromWire(progress));
    heartbeat.origins.push_back(
        {.origin = origin,
         .published_lsn = Lsn{progress.published_lsn()},
         .promise_us = progress.promise_us(),
         .stable_lsn = Lsn{progress.stable_lsn()},
         .stable_us = progress.stable_us(),
         .stable_held_by = progress.stable_held_by() <= kMaxNodeId
                               ? static_cast<NodeId>(progress.stable_held_by())
                               : NodeId{0}});
  }
  return heartbeat;
}

absl::StatusOr<std::vector<AckInfo>> AcksFromWire(const v1::Ack& message) {
  std::vector<AckInfo> acks;
  for (const v1::OriginAck& ack : message.origins()) {
    ASSIGN_OR_RETURN(const OriginId origin, OriginFromWire(ack));
    acks.push_back({.origin = origin,
                    .received_lsn = Lsn{ack.received_lsn()},
                    .durable_lsn = Lsn{ack.durable_lsn()},
                    .applied_lsn = Lsn{ack.applied_lsn()}});
  }
  return acks;
}

}  // namespace bdr::agent
