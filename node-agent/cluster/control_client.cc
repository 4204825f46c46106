#include "node-agent/cluster/control_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/port_probe.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "bdr/v1/control.grpc.pb.h"
#include "node-agent/cluster/servers.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(200);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);
constexpr absl::Duration kLongestProbe = absl::Seconds(1);

}  // namespace

struct ControlClient::Impl {
  Impl(ControlOptions o, std::vector<Server> s, FillReport fill, OnMembership on)
      : options(std::move(o)),
        servers(std::move(s)),
        fill_report(std::move(fill)),
        on_membership(std::move(on)) {
    if (options.metrics != nullptr) {
      errors = options.metrics->GetCounter("bdr_errors_total", {{"part", "control"}});
    }
  }

  void Run() {
    absl::Duration backoff = kFirstBackoff;
    while (!Stopped()) {
      const absl::StatusOr<Membership> membership = ReportToAny();
      if (Stopped()) return;
      NoteOutcome(membership.status());
      if (membership.ok()) HandOver(*membership);
      const bool ok = membership.ok();
      Pause(ok ? options.interval : backoff);
      backoff = ok ? kFirstBackoff : std::min(backoff * 2, kLongestBackoff);
    }
  }

  // Asks the server that answered last, then the others. An answer that is a refusal stands: the
  // servers share one state, so another would say the same.
  absl::StatusOr<Membership> ReportToAny() {
    v1::ReportRequest request;
    request.set_name(options.node);
    fill_report(&request);
    if (options.fill_known != nullptr && !LastReport().ok()) {
      options.fill_known(request.mutable_known());
    }
    absl::Status last = absl::CancelledError("stopping");
    for (size_t i = 0; i < servers.size() && !Stopped(); ++i) {
      Server& server = servers[present % servers.size()];
      auto membership = Report(server, request);
      if (!IsSilence(membership.status())) return membership;
      last = membership.status();
      ++present;
    }
    return last;
  }

  absl::StatusOr<Membership> Report(Server& server, const v1::ReportRequest& request) {
    v1::ReportResponse response;
    RETURN_IF_ERROR(Call(server, &v1::ControlPlane::Stub::Report, request, &response));
    FetchSchemas(server, response);
    return ParseMembership(response.membership().SerializeAsString());
  }

  // What cannot be had now is asked for again after the next report.
  void FetchSchemas(Server& server, const v1::ReportResponse& response) {
    if (options.wanted_schemas == nullptr) return;
    for (const std::string& node : options.wanted_schemas(response)) {
      v1::GetSchemaRequest wanted;
      wanted.set_node(node);
      v1::GetSchemaResponse schema;
      if (!Call(server, &v1::ControlPlane::Stub::GetSchema, wanted, &schema).ok()) return;
      options.on_schema(schema.schema());
    }
  }

  template <typename Request, typename Response>
  absl::Status Call(Server& server,
                    grpc::Status (v1::ControlPlane::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options.call_timeout));
    {
      MutexLock lock(&mu);
      if (stop) return absl::CancelledError("stopping");
      call = &context;
    }
    const grpc::Status status = (server.stub.get()->*method)(&context, request, response);
    {
      MutexLock lock(&mu);
      call = nullptr;
    }
    if (status.ok()) return absl::OkStatus();
    const absl::Status error = Explain(server, FromGrpcStatus(status));
    return absl::Status(error.code(),
                        absl::StrCat("bdr-server \"", server.address, "\": ", error.message()));
  }

  // An address or a configuration that is wrong is so from the first call on.
  absl::Status Explain(const Server& server, const absl::Status& error) {
    if (absl::IsUnimplemented(error)) {
      return absl::UnimplementedError(
          "it does not know what agents ask of a bdr-server: it is an older one, or \"control\" "
          "names another port");
    }
    if (ever_answered || Stopped()) return error;
    return ExplainUnavailable(error, server.address, options.security.insecure, kLongestProbe);
  }

  // Says what has changed, once; errors that stay the same are only counted.
  void NoteOutcome(const absl::Status& outcome) {
    if (!outcome.ok()) errors.Increment();
    ever_answered = ever_answered || !IsSilence(outcome);
    absl::Status before;
    {
      MutexLock lock(&mu);
      before = last_report;
      last_report = outcome;
    }
    if (before.code() == outcome.code() || (IsSilence(before) && IsSilence(outcome))) return;
    if (outcome.ok()) {
      LogInfo("control", {{"state", "connecting->connected"},
                          {"node", options.node},
                          {"server", servers[present % servers.size()].address}});
    } else {
      // A node that was not added yet waits for somebody to do so: that is how a cluster begins.
      (absl::IsNotFound(outcome) ? LogInfo : LogWarning)(
          "control",
          {{"state", before.ok() ? "connected->connecting" : "connecting"},
           {"node", options.node},
           {"code", absl::StatusCodeToString(outcome.code())}},
          outcome.message());
    }
  }

  absl::Status LastReport() {
    MutexLock lock(&mu);
    return last_report;
  }

  void HandOver(const Membership& membership) {
    if (membership == handed_over) return;
    handed_over = membership;
    on_membership(membership);
  }

  bool Stopped() {
    MutexLock lock(&mu);
    return stop;
  }

  void Pause(absl::Duration duration) {
    const absl::Time until = SteadyNow() + duration;
    MutexLock lock(&mu);
    while (!stop && !kicked) {
      const absl::Duration left = until - SteadyNow();
      if (left <= absl::ZeroDuration()) break;
      wake.WaitFor(&mu, left);
    }
    kicked = false;
  }

  const ControlOptions options;
  // Used by the thread alone.
  std::vector<Server> servers;
  const FillReport fill_report;
  const OnMembership on_membership;
  Counter errors;
  bool ever_answered = false;
  size_t present = 0;      // counts up; modulo the number of servers, the one to ask
  Membership handed_over;  // epoch 0: none yet

  Mutex mu;
  CondVar wake;
  bool stop ABSL_GUARDED_BY(mu) = false;
  bool kicked ABSL_GUARDED_BY(mu) = false;
  grpc::ClientContext* call ABSL_GUARDED_BY(mu) = nullptr;  // the one under way
  absl::Status last_report ABSL_GUARDED_BY(mu) =
      absl::UnknownError("bdr-server has not answered yet");

  std::thread thread;  // last: uses all of the above
};

absl::StatusOr<std::unique_ptr<ControlClient>> ControlClient::Start(ControlOptions options,
                                                                    FillReport fill_report,
                                                                    OnMembership on_membership) {
  ASSIGN_OR_RETURN(std::vector<Server> servers, MakeServers(options.servers, options.security));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(servers), std::move(fill_report),
                                     std::move(on_membership));
  impl->thread = std::thread([raw = impl.get()] {
    NameThread("bdr-control");
    raw->Run();
  });
  return std::unique_ptr<ControlClient>(new ControlClient(std::move(impl)));
}

ControlClient::ControlClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlClient::~ControlClient() {
  {
    MutexLock lock(&impl_->mu);
    impl_->stop = true;
    if (impl_->call != nullptr) impl_->call->TryCancel();
    impl_->wake.NotifyAll();
  }
  impl_->thread.join();
}

void ControlClient::Kick() {
  MutexLock lock(&impl_->mu);
  impl_->kicked = true;
  impl_->wake.NotifyAll();
}

absl::Status ControlClient::LastReport() const { return impl_->LastReport(); }

}  // namespace bdr::agent
