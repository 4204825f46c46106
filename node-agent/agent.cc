#include "node-agent/agent.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_security.h"
#include "base/logging.h"
#include "base/process_metrics.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/changelog/state.h"
#include "node-agent/report/agent_metrics.h"
#include "node-agent/sync/start_at_present.h"
#include "node-agent/sync/take_database.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kRepeat = absl::Milliseconds(500);
// What is missing at a start for less is no alarm.
constexpr absl::Duration kStartPatience = absl::Seconds(10);
constexpr absl::Duration kDrainTime = absl::Seconds(2);

// Paused is as good as streaming: what makes room is that the others' acknowledgements count again.
bool Captures(CaptureState state) {
  return state == CaptureState::kStreaming || state == CaptureState::kPaused;
}

}  // namespace

Agent::Agent(AgentConfig config)
    : config_(std::move(config)),
      metrics_(AgentMetrics()),
      report_({.config = &config_,
               .health = &health_,
               .known = &known_,
               .metrics = &metrics_,
               .running = &running_},
              absl::Now()),
      answers_(&report_, &running_) {}

Agent::~Agent() { ShutDown(); }

absl::Status Agent::Repeat(AgentState state, absl::Status (Agent::*step)()) {
  const absl::Time begun = SteadyNow();
  while (true) {
    const absl::Status status = (this->*step)();
    if (status.ok()) return status;
    if (absl::IsDataLoss(status) || absl::IsInvalidArgument(status)) return status;
    if (!waker_.GoOn()) return absl::CancelledError("stopped");
    // Nobody has to do anything about what a start waits for as a rule, unless it takes long.
    const bool alarm = !absl::IsNotFound(status) &&
                       (!absl::IsUnavailable(status) || SteadyNow() - begun >= kStartPatience);
    if (health_.Set(alarm ? Health::Level::kCritical : Health::Level::kWarning, state,
                    status.message())) {
      (alarm ? LogWarning : LogInfo)("agent", {{"state", ToString(state)}, {"node", config_.node}},
                                     status.message());
    }
    waker_.Wait(kRepeat);
  }
}

absl::Status Agent::Run() {
  RETURN_IF_ERROR(Listen());
  RETURN_IF_ERROR(Open());
  RETURN_IF_ERROR(StartControl());
  absl::Status status = Repeat(AgentState::kWaitingForIdentity, &Agent::LearnIdentity);
  if (status.ok()) status = Repeat(AgentState::kChecking, &Agent::CheckPostgres);
  if (status.ok()) status = Repeat(AgentState::kFencing, &Agent::Fence);
  if (status.ok()) status = Repeat(AgentState::kStarting, &Agent::KeepMembership);
  if (status.ok()) status = CheckNotRemoved();
  if (status.ok()) status = StartDataPath();
  if (status.ok()) status = Repeat(AgentState::kJoining, &Agent::Join);
  if (status.ok()) {
    health_.Set(Health::Level::kOk, AgentState::kRunning);
    LogInfo("agent", {{"state", ToString(AgentState::kRunning)},
                      {"node", config_.node},
                      {"origin", ToString(identity_->own)}});
    status = Follow();
  }
  ShutDown();
  return absl::IsCancelled(status) ? absl::OkStatus() : status;
}

// Before anything is made, on disk or in the database: what is wrong here would be found too late
// else.
absl::Status Agent::Listen() {
  // Probes are answered from here on.
  health_.Set(Health::Level::kWarning, AgentState::kStarting,
              "the agent has not joined its peers yet");
  RETURN_IF_ERROR(CheckOwnIdentity(config_.security, Role::kNode, config_.node));
  ASSIGN_OR_RETURN(const auto expiries, CertificateExpiries(config_.security));
  ShowCertificates(expiries, &metrics_);
  metrics_.GetGauge("bdr_memory_limit_bytes").Set(static_cast<double>(config_.memory_limit));
  metrics_.OnScrape([this] { report_.ShowMetrics(); });
  if (!config_.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(const auto address, config::ParseHostPort(config_.metrics_listen));
    ASSIGN_OR_RETURN(
        http_, HttpServer::Start({.address = address, .metrics = &metrics_, .not_ready = [this] {
                                    return report_.NotReady();
                                  }}));
  }
  admin_ = std::make_unique<AdminService>(&answers_, AdminOptions{.database = config_.database});
  ASSIGN_OR_RETURN(listener_, Listener::Start({.address = config_.listen,
                                               .security = config_.security,
                                               .admin = admin_->service()}));
  return absl::OkStatus();
}

absl::Status Agent::Open() {
  ASSIGN_OR_RETURN(folder_, DataFolder::Open(config_.data_dir, config_.memory_limit));
  if (folder_->kept_membership().has_value()) known_.Load(*folder_->kept_membership());
  report_.SetFolder(folder_.get());
  return absl::OkStatus();
}

absl::Status Agent::StartControl() {
  ASSIGN_OR_RETURN(
      control_,
      ControlClient::Start(
          {.node = config_.node,
           .servers = config_.control,
           .security = config_.security,
           .metrics = &metrics_,
           .wanted_schemas =
               [this](const v1::ReportResponse& response) { return report_.TakeAnswer(response); },
           .on_schema =
               [this](const v1::NodeSchema& told) { running_.load()->parts().schema->Take(told); },
           .fill_known =
               [this](v1::Membership* known) { known->ParseFromString(Serialize(known_.Get())); }},
          [this](v1::ReportRequest* report) { report_.FillReport(report); },
          [this](const Membership& told) {
            if (known_.Take(told)) waker_.Changed();
          }));
  return absl::OkStatus();
}

absl::Status Agent::LearnIdentity() {
  const Membership known = known_.Get();
  ASSIGN_OR_RETURN(
      Identity identity,
      agent::LearnIdentity(config_.node, known, control_->LastReport(), folder_->database()));
  identity_ = std::make_unique<const Identity>(std::move(identity));
  report_.SetNode(identity_->own.node);
  return absl::OkStatus();
}

absl::Status Agent::CheckPostgres() {
  return TakeDatabase({.conninfo = config_.database,
                       .cluster_id = known_.Get().cluster_id,
                       .id = identity_->own.node,
                       .name = config_.node},
                      folder_->database(), *folder_->stores().log);
}

absl::Status Agent::Fence() {
  return agent::Fence(config_.database, identity_->names, folder_->database(), &fenced_);
}

// Written down before it is followed: what is kept for its settings from now on must still be kept
// after a crash.
absl::Status Agent::KeepMembership() {
  const Membership known = known_.Get();
  RETURN_IF_ERROR(
      State(folder_->database()).Put(kStateMembership, Serialize(known), /*sync=*/true));
  taken_ = known;
  return absl::OkStatus();
}

absl::Status Agent::CheckNotRemoved() const {
  const absl::Status report = control_->LastReport();
  if (!absl::IsNotFound(report)) return absl::OkStatus();
  const Membership known = known_.Get();
  const Member* self = known.Find(identity_->own.node);
  // One that has joined is never removed: its name was changed, and an older bdr-server only looks
  // at that.
  if (self != nullptr && self->active) return absl::OkStatus();
  return absl::InvalidArgumentError(report.message());
}

absl::Status Agent::StartDataPath() {
  data_path_ = std::make_unique<DataPath>(DataPath::Options{.config = &config_,
                                                            .folder = folder_.get(),
                                                            .known = &known_,
                                                            .metrics = &metrics_,
                                                            .identity = *identity_,
                                                            .fenced = std::move(fenced_)});
  RETURN_IF_ERROR(data_path_->Start(taken_));
  following_ = std::make_unique<Following>(data_path_.get(), [this] { control_->Kick(); });
  running_ = data_path_.get();
  data_path_->Serve();
  listener_->Open(data_path_->parts().publisher->service(),
                  data_path_->parts().row_service->service());
  return absl::OkStatus();
}

absl::Status Agent::Join() {
  RETURN_IF_ERROR(CheckNotRemoved());
  if (!Captures(data_path_->parts().capture->state())) {
    const Health capture = data_path_->parts().capture->health();
    return absl::UnavailableError(
        absl::StrCat("capture does not stream yet: ", capture.state,
                     capture.reason.empty() ? "" : absl::StrCat(" (", capture.reason, ")")));
  }
  RETURN_IF_ERROR(
      StartAtPresent({.self = identity_->own.node,
                      .security = config_.security,
                      .database = {.conninfo = config_.database, .application_name = "bdr join"}},
                     known_.Get(), folder_->database(), folder_->stores().log));
  RETURN_IF_ERROR(KeepMembership());
  RETURN_IF_ERROR(data_path_->parts().peers->Set(taken_));
  report_.SetFollowed(taken_.epoch);
  report_.SetJoined();
  control_->Kick();
  return absl::OkStatus();
}

// Takes up every change of the cluster until the agent is told to stop.
absl::Status Agent::Follow() {
  Membership followed;
  std::string logged;
  while (true) {
    // Removed at the moment when it told that it had joined.
    RETURN_IF_ERROR(CheckNotRemoved());
    absl::Status status = known_.Get() == followed ? absl::OkStatus() : TakeChange(&followed);
    if (status.ok()) status = following_->GoOn(taken_);
    if (absl::IsDataLoss(status)) return status;
    if (status.message() != logged) {
      logged = std::string(status.message());
      if (!status.ok()) {
        LogWarning("agent", {{"node", config_.node}},
                   absl::StrCat("cannot take up a change of the cluster yet: ", logged));
      }
    }
    data_path_->parts().peers->Relay();
    following_->LookAtClocks();
    waker_.Wait(kRepeat);
    if (!waker_.GoOn()) return absl::OkStatus();
  }
}

absl::Status Agent::TakeChange(Membership* followed) {
  RETURN_IF_ERROR(KeepMembership());
  RETURN_IF_ERROR(data_path_->parts().peers->Set(taken_));
  report_.SetFollowed(taken_.epoch);
  RETURN_IF_ERROR(following_->Take(taken_));
  *followed = taken_;
  // The cluster waits to hear that its settings are followed.
  control_->Kick();
  return absl::OkStatus();
}

// In the order opposite to coming to life: first nobody asks any more, then nothing comes in, then
// what was captured is published.
void Agent::ShutDown() {
  control_.reset();
  http_.reset();
  running_ = nullptr;
  if (admin_ != nullptr) admin_->Stop();
  if (data_path_ != nullptr) data_path_->StopServing();
  if (listener_ != nullptr) listener_->Shutdown(kDrainTime);
  if (data_path_ != nullptr) data_path_->Stop();
  admin_.reset();
  following_.reset();
  data_path_.reset();
}

}  // namespace bdr::agent
