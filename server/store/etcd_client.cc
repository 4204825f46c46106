#include "server/store/etcd_client.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/config.h"
#include "base/grpc_status.h"
#include "base/private_files.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"

namespace bdr::server {
namespace {

// After all endpoints failed at once: etcd is being started, or elects a leader.
constexpr absl::Duration kPauseAfterRound = absl::Milliseconds(50);
constexpr absl::Duration kImpatience = absl::Milliseconds(200);
constexpr absl::Duration kPatientEvery = absl::Seconds(1);

absl::StatusOr<std::string> ReadWhole(absl::string_view what, const std::string& path,
                                      bool secret) {
  if (secret) RETURN_IF_ERROR(CheckPrivate(path));
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (file && !text.str().empty()) return text.str();
  return absl::FailedPreconditionError(
      absl::StrCat(what, " \"", path, "\" cannot be read, or is empty"));
}

absl::StatusOr<std::string> ReadPassword(const EtcdSecurity& security) {
  if (security.user.empty() != security.password_file.empty()) {
    return absl::InvalidArgumentError(
        "\"etcd.user\" and \"etcd.password_file\" go together: set both or none");
  }
  if (security.user.empty()) return std::string();
  ASSIGN_OR_RETURN(const std::string text,
                   ReadWhole("etcd.password_file", security.password_file, true));
  return text.substr(0, text.find_first_of("\r\n"));
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const EtcdSecurity& security, const std::vector<std::string>& endpoints) {
  if (security.certificate.empty() != security.key.empty()) {
    return absl::InvalidArgumentError(
        "\"etcd.certificate\" and \"etcd.key\" go together: set both or none");
  }
  if (security.ca.empty()) {
    if (!security.certificate.empty()) {
      return absl::InvalidArgumentError(
          "\"etcd.certificate\" needs \"etcd.ca\": without it the connection is plaintext");
    }
    for (const std::string& address : endpoints) {
      ASSIGN_OR_RETURN(const config::HostPort parsed, config::ParseHostPort(address));
      if (config::IsLoopback(parsed.host)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "plaintext to etcd at \"", address,
          "\" refused: it is not a loopback address; set \"etcd.ca\", and let etcd serve TLS"));
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, ReadWhole("etcd.ca", security.ca, false));
  if (!security.certificate.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain,
                     ReadWhole("etcd.certificate", security.certificate, false));
    ASSIGN_OR_RETURN(options.pem_private_key, ReadWhole("etcd.key", security.key, true));
  }
  return grpc::SslCredentials(options);
}

// Tokens end by themselves after a while, and whenever users or roles of etcd are changed.
bool IsStaleToken(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         absl::StrContains(status.error_message(), "invalid auth token") ||
         absl::StrContains(status.error_message(), "revision of auth store is old");
}

void SetDeadline(grpc::ClientContext* context, absl::Time until) {
  const absl::Duration left = std::max(until - SteadyNow(), absl::ZeroDuration());
  context->set_deadline(absl::ToChronoTime(absl::Now() + left));
}

void Authorize(grpc::ClientContext* context, const std::string& token) {
  context->AddMetadata("hasleader", "true");
  if (!token.empty()) context->AddMetadata("token", token);
}

}  // namespace

absl::Status ExplainEtcd(const EtcdEndpoint& endpoint, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string message =
      absl::StrCat("etcd at \"", endpoint.address, "\": ", status.error_message());
  if (absl::StrContains(status.error_message(), "database space exceeded")) {
    return absl::FailedPreconditionError(absl::StrCat(
        message, "; it takes no writes: compact and defragment it, then \"etcdctl alarm disarm\""));
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return absl::UnavailableError(message);
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::OUT_OF_RANGE:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), message);
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::FailedPreconditionError(
          absl::StrCat(message, "; it does not speak etcd's v3 API: is \"store\" right?"));
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::FailedPreconditionError(
          absl::StrCat(message, "; check \"etcd.user\", its password and the rights of its role"));
    default:
      return absl::FailedPreconditionError(message);
  }
}

absl::StatusOr<std::unique_ptr<EtcdClient>> EtcdClient::Open(EtcdOptions options) {
  if (options.endpoints.empty()) {
    return absl::InvalidArgumentError("no endpoint of etcd is named");
  }
  ASSIGN_OR_RETURN(std::string password, ReadPassword(options.security));
  ASSIGN_OR_RETURN(const auto credentials, Credentials(options.security, options.endpoints));
  std::vector<EtcdEndpoint> endpoints;
  for (const std::string& address : options.endpoints) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    // A member that is gone without a word: streams must end. etcd allows a ping every 5 s.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3'000);
    arguments.SetMaxReceiveMessageSize(-1);
    // Each store has connections of its own, or one that is closed would count for all.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    EtcdEndpoint endpoint{.address = address,
                          .channel = grpc::CreateCustomChannel(address, credentials, arguments),
                          .kv = nullptr,
                          .watch = nullptr,
                          .lease = nullptr,
                          .auth = nullptr,
                          .maintenance = nullptr};
    endpoint.kv = etcdserverpb::KV::NewStub(endpoint.channel);
    endpoint.watch = etcdserverpb::Watch::NewStub(endpoint.channel);
    endpoint.lease = etcdserverpb::Lease::NewStub(endpoint.channel);
    endpoint.auth = etcdserverpb::Auth::NewStub(endpoint.channel);
    endpoint.maintenance = etcdserverpb::Maintenance::NewStub(endpoint.channel);
    endpoints.push_back(std::move(endpoint));
  }
  return std::unique_ptr<EtcdClient>(
      new EtcdClient(std::move(options), std::move(endpoints), std::move(password)));
}

absl::Time EtcdClient::Deadline() {
  const absl::Time now = SteadyNow();
  MutexLock lock(&mu_);
  if (silent_ && now < next_patient_) return now + std::min(options_.timeout, kImpatience);
  next_patient_ = now + kPatientEvery;
  return now + options_.timeout;
}

void EtcdClient::NoteEnd(bool answered) {
  MutexLock lock(&mu_);
  silent_ = !answered;
}

absl::Status EtcdClient::Connected(EtcdEndpoint& endpoint, absl::Time until) const {
  while (true) {
    const grpc_connectivity_state state = endpoint.channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return absl::OkStatus();
    const absl::Duration left = until - SteadyNow();
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || left <= absl::ZeroDuration()) {
      return absl::UnavailableError(
          absl::StrCat("etcd at \"", endpoint.address, "\" cannot be connected to"));
    }
    endpoint.channel->WaitForStateChange(state, absl::ToChronoTime(absl::Now() + left));
  }
}

absl::StatusOr<std::string> EtcdClient::Token(EtcdEndpoint& endpoint, absl::Time until) {
  if (options_.security.user.empty()) return std::string();
  {
    MutexLock lock(&mu_);
    if (!token_.empty()) return token_;
  }
  etcdserverpb::AuthenticateRequest request;
  request.set_name(options_.security.user);
  request.set_password(password_);
  etcdserverpb::AuthenticateResponse response;
  grpc::ClientContext context;
  SetDeadline(&context, until);
  RETURN_IF_ERROR(ExplainEtcd(endpoint, endpoint.auth->Authenticate(&context, request, &response)));
  MutexLock lock(&mu_);
  token_ = response.token();
  return token_;
}

void EtcdClient::ForgetToken() {
  MutexLock lock(&mu_);
  token_.clear();
}

void EtcdClient::MoveOn(const EtcdEndpoint* from) {
  size_t present = present_;
  // Of many who failed at the same endpoint only the first moves on.
  if (&endpoints_[present % endpoints_.size()] == from) {
    present_.compare_exchange_strong(present, present + 1);
  }
}

absl::Status EtcdClient::Try(const Request& request, absl::Time until, bool* sent) {
  *sent = false;
  until = std::min(until, SteadyNow() + options_.try_timeout);
  EtcdEndpoint& endpoint = endpoints_[present_ % endpoints_.size()];
  absl::Status status;
  for (const bool last : {false, true}) {
    status = Connected(endpoint, until);
    if (!status.ok()) break;
    const absl::StatusOr<std::string> token = Token(endpoint, until);
    status = token.status();
    if (!status.ok()) break;
    grpc::ClientContext context;
    SetDeadline(&context, until);
    Authorize(&context, *token);
    const grpc::Status answer = request(endpoint, &context);
    const bool stale = !token->empty() && IsStaleToken(answer);
    if (stale) ForgetToken();
    status = ExplainEtcd(endpoint, answer);
    *sent = *sent || absl::IsUnavailable(status);
    if (!stale || last) break;
  }
  if (absl::IsUnavailable(status)) MoveOn(&endpoint);
  return status;
}

absl::Status EtcdClient::Call(const Request& request) {
  const absl::Time until = Deadline();
  for (size_t attempt = 1;; ++attempt) {
    bool sent = false;
    const absl::Status status = Try(request, until, &sent);
    const bool answered = !absl::IsUnavailable(status);
    if (answered || SteadyNow() >= until) {
      NoteEnd(answered);
      return status;
    }
    if (attempt % endpoints_.size() == 0) absl::SleepFor(kPauseAfterRound);
  }
}

absl::StatusOr<EtcdEndpoint*> EtcdClient::Prepare(grpc::ClientContext* context) {
  const absl::Time until = SteadyNow() + options_.try_timeout;
  EtcdEndpoint& endpoint = endpoints_[present_ % endpoints_.size()];
  absl::Status status = Connected(endpoint, until);
  absl::StatusOr<std::string> token = std::string();
  if (status.ok()) {
    token = Token(endpoint, until);
    status = token.status();
  }
  if (!status.ok()) {
    MoveOn(&endpoint);
    return status;
  }
  Authorize(context, *token);
  return &endpoint;
}

}  // namespace bdr::server
