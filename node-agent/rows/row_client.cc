#include "node-agent/rows/row_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_security.h"
#include "base/grpc_status.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "bdr/v1/rows.grpc.pb.h"
#include "node-agent/stream/tsan_order.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;

// The largest row that PostgreSQL can send (1 GiB), and some room.
constexpr int kMaxMessageBytes = (1 << 30) + (128 << 20);
constexpr absl::Duration kConnectTimeout = absl::Seconds(3);
constexpr absl::Duration kLongestTimeout = absl::Hours(1);
constexpr absl::Duration kLook = absl::Milliseconds(50);

void ToWire(const OwnedValue& value, v1::ColumnData* out) {
  if (value.kind == ColumnKind::kBinary) {
    out->set_binary(value.data);
  } else if (value.kind == ColumnKind::kText) {
    out->set_text(value.data);
  } else {
    out->set_null(true);
  }
}

OwnedValue FromWire(v1::ColumnData& value) {
  if (value.kind_case() == v1::ColumnData::kBinary) {
    return {.kind = ColumnKind::kBinary, .data = std::move(*value.mutable_binary())};
  }
  if (value.kind_case() == v1::ColumnData::kText) {
    return {.kind = ColumnKind::kText, .data = std::move(*value.mutable_text())};
  }
  return {};
}

absl::StatusOr<RowAnswer> FromWire(v1::FetchedRow& row, size_t columns) {
  RowAnswer answer;
  if (row.stamp_node() > kMaxNodeId || row.origin_node() > kMaxNodeId) {
    return absl::InvalidArgumentError("an answer names an impossible node");
  }
  answer.version = {
      .stamp = {.time_us = row.stamp_us(), .node = static_cast<NodeId>(row.stamp_node())},
      .origin = {.node = static_cast<NodeId>(row.origin_node()),
                 .incarnation = row.origin_incarnation()},
      .end_lsn = Lsn{row.end_lsn()},
      .dead = row.state() == v1::FetchedRow::GONE};
  if (row.state() == v1::FetchedRow::GONE) answer.state = RowAnswer::State::kGone;
  if (row.state() == v1::FetchedRow::FOUND) {
    answer.state = RowAnswer::State::kFound;
    if (static_cast<size_t>(row.values_size()) != columns) {
      return absl::InvalidArgumentError("an answer has another number of values than asked for");
    }
    for (v1::ColumnData& value : *row.mutable_values()) answer.values.push_back(FromWire(value));
  }
  return answer;
}

// One call, which ends when gRPC says so.
struct Call {
  grpc::ClientContext context;
  v1::FetchRowsRequest request;
  v1::FetchRowsResponse response;
  Mutex mu;
  CondVar changed;
  std::optional<absl::Status> status ABSL_GUARDED_BY(mu);
};

// A channel that is connected. kUnavailable if the member cannot be reached; kCancelled once `stop`
// says so, which is asked several times a second.
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const Member& member,
                                                         const SecurityOptions& security,
                                                         const std::function<bool()>& stop) {
  ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(security, member.address));
  grpc::ChannelArguments settings;
  settings.SetMaxReceiveMessageSize(kMaxMessageBytes);
  settings.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  settings.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  settings.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
  settings.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel = grpc::CreateCustomChannel(member.address, credentials, settings);
  const absl::Time connect_until = absl::Now() + kConnectTimeout;
  while (!channel->WaitForConnected(absl::ToChronoTime(absl::Now() + kLook))) {
    if (stop()) return absl::CancelledError("the agent is shutting down");
    const bool failed = channel->GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE;
    if (failed || absl::Now() > connect_until) {
      return absl::UnavailableError(
          absl::StrCat("node \"", member.name, "\" cannot be reached at ", member.address));
    }
  }
  return channel;
}

void AskFor(const RowsWanted& wanted, v1::FetchRowsRequest* request) {
  request->set_schema(wanted.schema);
  request->set_table(wanted.table);
  request->mutable_key_columns()->Assign(wanted.key_columns.begin(), wanted.key_columns.end());
  for (const ColumnType& type : wanted.key_types) {
    v1::ColumnType* out = request->add_key_types();
    out->set_oid(type.oid);
    out->set_modifier(type.modifier);
    out->set_schema(type.schema);
    out->set_name(type.name);
  }
  request->mutable_columns()->Assign(wanted.columns.begin(), wanted.columns.end());
  request->set_exact_only(wanted.exact_only);
  for (const RowsWanted::Row& row : wanted.rows) {
    v1::FetchRowsRequest::Row* out = request->add_rows();
    for (const OwnedValue& value : row.key) ToWire(value, out->add_key());
    out->set_stamp_us(row.stamp.time_us);
    out->set_stamp_node(row.stamp.node);
  }
}

// The answers to the first of the rows wanted, at least one. kInternal if it is none or too many.
absl::StatusOr<std::vector<RowAnswer>> AnswersOf(const std::string& node, const RowsWanted& wanted,
                                                 v1::FetchRowsResponse* response) {
  const int answered = response->rows_size();
  if (answered == 0 || static_cast<size_t>(answered) > wanted.rows.size()) {
    return absl::InternalError(absl::StrCat("node \"", node, "\" answered for ", answered, " of ",
                                            wanted.rows.size(), " rows"));
  }
  std::vector<ColumnType> types;
  for (const v1::ColumnType& type : response->types()) {
    types.push_back({.oid = type.oid(),
                     .modifier = type.modifier(),
                     .schema = type.schema(),
                     .name = type.name()});
  }
  std::vector<RowAnswer> answers;
  for (v1::FetchedRow& row : *response->mutable_rows()) {
    ASSIGN_OR_RETURN(RowAnswer answer, FromWire(row, wanted.columns.size()));
    answer.types = types;
    answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace

std::vector<NodeId> RowClient::Members() {
  std::vector<NodeId> nodes;
  for (const Member& member : options_.membership().members) {
    // One that has not joined has applied nothing, and must not be waited for if it is away.
    if (member.id != options_.self && member.active) nodes.push_back(member.id);
  }
  return nodes;
}

std::string RowClient::NameOf(NodeId node) {
  const Membership membership = options_.membership();
  const Member* member = membership.Find(node);
  return member == nullptr ? absl::StrCat(node) : member->name;
}

absl::Duration RowClient::TimeoutFor(NodeId node) {
  MutexLock lock(&mu_);
  const auto slow = timeouts_.find(node);
  return slow == timeouts_.end() ? options_.timeout : slow->second;
}

void RowClient::TookTooLong(NodeId node, bool too_long) {
  MutexLock lock(&mu_);
  if (!too_long) {
    timeouts_.erase(node);
    return;
  }
  absl::Duration& timeout = timeouts_.try_emplace(node, options_.timeout).first->second;
  timeout = std::min(timeout * 2, kLongestTimeout);
}

absl::StatusOr<std::vector<RowAnswer>> RowClient::Fetch(NodeId node, const RowsWanted& wanted,
                                                        const std::function<bool()>& stop) {
  const Membership membership = options_.membership();
  const Member* member = membership.Find(node);
  if (member == nullptr || member->address.empty()) {
    return absl::UnavailableError(absl::StrCat("node ", node, " is no member with an address"));
  }
  ASSIGN_OR_RETURN(const auto channel, ConnectTo(*member, options_.security, stop));
  const auto stub = v1::Rows::NewStub(channel);
  Call call;
  call.context.set_deadline(absl::ToChronoTime(absl::Now() + TimeoutFor(node)));
  call.request.set_cluster_id(options_.cluster_id);
  call.request.set_asking_node(options_.self);
  AskFor(wanted, &call.request);
  HandToGrpc(&call);
  stub->async()->FetchRows(&call.context, &call.request, &call.response,
                           [&call](const grpc::Status& status) {
                             TakeFromGrpc(&call);
                             MutexLock lock(&call.mu);
                             call.status = FromGrpcStatus(status);
                             call.changed.NotifyAll();
                           });
  {
    MutexLock lock(&call.mu);
    while (!call.status.has_value()) {
      if (stop()) call.context.TryCancel();
      call.changed.WaitFor(&call.mu, kLook);
    }
    TookTooLong(node, absl::IsDeadlineExceeded(*call.status));
    RETURN_IF_ERROR(*call.status);
  }
  return AnswersOf(member->name, wanted, &call.response);
}

}  // namespace bdr::agent
