// Requests are answered on gRPC's own threads: they read memory and a small store, and only a
// change of the members waits for the disk, once. With etcd each waits for a few calls of it, none
// longer than the seconds of etcd_store.h.
#include "server/control_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/peer_identity.h"
#include "base/random_id.h"
#include "base/repetition.h"
#include "base/said_once.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "bdr/v1/control.grpc.pb.h"
#include "server/backup.h"
#include "server/finish_call.h"
#include "server/rebuild.h"
#include "server/sequences/allocator.h"
#include "server/sequences/turns.h"
#include "server/witnesses.h"

namespace bdr::server {
namespace {

int64_t NowUs() { return absl::ToUnixMicros(absl::Now()); }

void LogChange(const ClusterState& before, const ClusterState& after) {
  if (before.settings.size() < after.settings.size() && before.id == after.id) {
    LogInfo("settings", {{"state", "set"},
                         {"key", after.settings.back().key},
                         {"version", after.settings_version}});
  }
  if (before.settings_active != after.settings_active) {
    LogInfo("settings", {{"state", "in_force"}, {"version", after.settings_active}});
  }
  if (before.epoch == after.epoch) return;
  for (const ClusterMember& member : after.members) {
    const ClusterMember* old = before.Find(member.name);
    if (old != nullptr && *old == member) continue;
    const char* from = old == nullptr ? "none" : old->active ? "active" : "joining";
    LogInfo("member", {{"state", absl::StrCat(from, "->", member.active ? "active" : "joining")},
                       {"node", member.name},
                       {"id", member.id},
                       {"incarnation", member.incarnation},
                       {"address", member.address},
                       {"epoch", after.epoch}});
  }
  for (const ClusterMember& old : before.members) {
    if (after.Find(old.id) != nullptr) continue;
    LogInfo("member", {{"state", old.active ? "active->none" : "joining->none"},
                       {"node", old.name},
                       {"id", old.id},
                       {"epoch", after.epoch}});
  }
}

// An error's text without the words that hold a number: positions and ids differ between attempts.
std::string CauseOf(absl::string_view message) {
  std::string cause;
  std::string word;
  const auto end_word = [&] {
    if (std::none_of(word.begin(), word.end(), absl::ascii_isdigit)) cause += word;
    word.clear();
  };
  for (const char c : message) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      word += c;
    } else {
      end_word();
      cause += c;
    }
  }
  end_word();
  return cause;
}

}  // namespace

class ControlService::Impl : public v1::ControlPlane::CallbackService {
 public:
  Impl(Store* store, Cluster* cluster, StatusCache* statuses, SchemaCache* schemas,
       Metrics* metrics)
      : store_(store),
        sequences_(store),
        cluster_(cluster),
        statuses_(statuses),
        schemas_(schemas),
        metrics_(metrics),
        witnesses_(store) {}

  grpc::ServerUnaryReactor* InitCluster(grpc::CallbackServerContext* context,
                                        const v1::InitClusterRequest* request,
                                        v1::InitClusterResponse* response) override {
    const auto state = Change([&](ClusterState present) -> absl::StatusOr<ClusterState> {
      if (present.id.empty()) {
        ASSIGN_OR_RETURN(const std::vector<Witness> heard, Heard());
        RETURN_IF_ERROR(CheckNoneBelongs(heard));
      }
      return server::InitCluster(std::move(present), request->name(), RandomId());
    });
    if (state.ok()) ToProto(*state, response->mutable_membership());
    return Finish(context, "InitCluster", state.status());
  }

  grpc::ServerUnaryReactor* AddNode(grpc::CallbackServerContext* context,
                                    const v1::AddNodeRequest* request,
                                    v1::AddNodeResponse* response) override {
    const absl::Status forgotten = ForgetLastOfName(request->name());
    if (!forgotten.ok()) return Finish(context, "AddNode", forgotten);
    const auto state = Change([request](ClusterState present) {
      return server::AddNode(std::move(present), {.name = request->name(),
                                                  .address = request->agent_address(),
                                                  .no_copy = request->no_copy(),
                                                  .now_us = NowUs()});
    });
    if (state.ok()) ToProto(*state->Find(request->name()), response->mutable_member());
    return Finish(context, "AddNode", state.status());
  }

  grpc::ServerUnaryReactor* RemoveNode(grpc::CallbackServerContext* context,
                                       const v1::RemoveNodeRequest* request,
                                       v1::RemoveNodeResponse* response) override {
    const auto state = Change([request](ClusterState present) {
      return server::RemoveNode(std::move(present), request->name(), NowUs());
    });
    if (!state.ok()) return Finish(context, "RemoveNode", state.status());
    ToProto(*state, response->mutable_membership());
    for (const v1::RemovedMember& removed : response->membership().removed()) {
      if (removed.name() == request->name()) *response->mutable_removed() = removed;
    }
    return Finish(context, "RemoveNode", absl::OkStatus());
  }

  grpc::ServerUnaryReactor* SetNodeAddress(grpc::CallbackServerContext* context,
                                           const v1::SetNodeAddressRequest* request,
                                           v1::SetNodeAddressResponse* response) override {
    const auto state = Change([request](ClusterState present) {
      return server::SetNodeAddress(std::move(present), request->name(), request->agent_address());
    });
    if (state.ok()) ToProto(*state->Find(request->name()), response->mutable_member());
    return Finish(context, "SetNodeAddress", state.status());
  }

  grpc::ServerUnaryReactor* RebuildCluster(grpc::CallbackServerContext* context,
                                           const v1::RebuildClusterRequest* request,
                                           v1::RebuildClusterResponse* response) override {
    const absl::StatusOr<std::vector<Witness>> told = Heard();
    if (!told.ok()) return Finish(context, "RebuildCluster", told.status());
    const std::vector<Witness>& heard = *told;
    uint64_t epoch_before = 0;
    bool passed_over = false;
    const auto state = Change([&](ClusterState present) -> absl::StatusOr<ClusterState> {
      epoch_before = present.epoch;
      ASSIGN_OR_RETURN(
          ClusterState rebuilt,
          server::RebuildCluster(std::move(present),
                                 {.name = request->name(),
                                  .nodes = {request->nodes().begin(), request->nodes().end()},
                                  .heard = heard}));
      // Before it is in force, so that nothing is granted in between. Not each time that somebody
      // tries: numbers are lost by it.
      if (!request->nodes().empty() && rebuilt.epoch != epoch_before && !passed_over) {
        RETURN_IF_ERROR(sequences_.PassOver());
        passed_over = true;
      }
      return rebuilt;
    });
    if (state.ok()) {
      for (const Witness& witness : heard) {
        if (witness.cluster_id == state->id) response->add_reported(witness.node);
      }
      if (state->epoch != epoch_before) {
        LogWarning("cluster", {{"state", "rebuilt"},
                               {"name", state->name},
                               {"id", state->id},
                               {"epoch", absl::StrCat(epoch_before, "->", state->epoch)},
                               {"heard", response->reported_size()}});
      }
      ToProto(*state, response->mutable_membership());
    }
    return Finish(context, "RebuildCluster", state.status());
  }

  grpc::ServerUnaryReactor* BackUp(grpc::CallbackServerContext* context, const v1::BackUpRequest*,
                                   v1::BackUpResponse* response) override {
    return Finish(context, "BackUp", FillBackup(response));
  }

  grpc::ServerUnaryReactor* GetMembership(grpc::CallbackServerContext* context,
                                          const v1::GetMembershipRequest*,
                                          v1::GetMembershipResponse* response) override {
    return Finish(context, "GetMembership", ReadMembership(response->mutable_membership()));
  }

  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReportRequest* request,
                                   v1::ReportResponse* response) override {
    const absl::StatusOr<PeerIdentity> caller = IdentityOf(*context->auth_context());
    const absl::Status own =
        caller.ok() ? CheckSpeaksFor(*caller, request->name()) : caller.status();
    Witness witness{.node = request->name(),
                    .node_id = static_cast<NodeId>(request->node_id()),
                    .data_dir_id = request->data_dir_id(),
                    .cluster_id = request->cluster_id(),
                    .known_epoch = request->known_epoch()};
    absl::StatusOr<ClusterState> known = ClusterState();
    if (request->has_known()) known = FromProto(request->known());
    absl::Status learned;
    const auto state = Change([&](ClusterState present) -> absl::StatusOr<ClusterState> {
      RETURN_IF_ERROR(own);
      RETURN_IF_ERROR(known.status());
      witness.known = *known;
      const ClusterMember* member = present.Find(request->name());
      const bool is_member = member != nullptr && present.id == witness.cluster_id &&
                             (witness.node_id == 0 || member->id == witness.node_id);
      if (present.id.empty() || is_member) {
        // First: once all were heard, numbers are granted again.
        learned = sequences_.Learn(
            {request->known_sequences().begin(), request->known_sequences().end()});
        if (!absl::IsInvalidArgument(learned)) RETURN_IF_ERROR(learned);
      }
      witnesses_.Set(witness, NowUs());
      if (TellsMore(witness, present)) RETURN_IF_ERROR(witnesses_.Share(witness));
      if (present.restored && present.id == witness.cluster_id) {
        ASSIGN_OR_RETURN(const std::vector<Witness> heard, Heard());
        ASSIGN_OR_RETURN(present, ConfirmRestored(std::move(present), heard));
      }
      RETURN_IF_ERROR(CheckKnown(present, witness));
      return ApplyReport(std::move(present), {.name = request->name(),
                                              .cluster_id = request->cluster_id(),
                                              .incarnation = request->incarnation(),
                                              .data_dir_id = request->data_dir_id(),
                                              .node_id = witness.node_id,
                                              .known_epoch = request->known_epoch(),
                                              .followed_epoch = request->followed_epoch(),
                                              .captures = request->captures(),
                                              .settings_ready = request->settings_ready(),
                                              .settings_active = request->settings_active()});
    });
    if (state.ok()) {
      TellOfStatus(statuses_->Set(request->name(),
                                  request->has_status()
                                      ? std::make_shared<const v1::NodeStatus>(request->status())
                                      : nullptr,
                                  NowUs()));
      ToProto(*state, response->mutable_membership());
      TakeSchema(*request, *state, response);
      TellOfSequences(response);
      if (!learned.ok() && refused_.IsNews(absl::StrCat(request->name(), learned.message()))) {
        LogWarning("sequence", {{"state", "not_learned"}, {"node", request->name()}},
                   learned.message());
      }
    } else if ((absl::IsFailedPrecondition(state.status()) ||
                absl::IsPermissionDenied(state.status()) || absl::IsNotFound(state.status())) &&
               IsMember(request->name())) {
      // Its own status can tell nobody. One that is not found is that of a removed node, whose name
      // another has now.
      TellOfStatus(
          statuses_->Refuse(request->name(), std::string(state.status().message()), NowUs()));
      const std::string who = caller.ok() ? ToString(*caller) : "unknown";
      if (refused_.IsNews(
              absl::StrCat(request->name(), " ", who, " ", CauseOf(state.status().message())))) {
        LogWarning("report",
                   {{"state", "refused"},
                    {"node", request->name()},
                    {"who", who},
                    {"peer", context->peer()}},
                   state.status().message());
      }
    }
    return Finish(context, "Report", state.status());
  }

  grpc::ServerUnaryReactor* GetSchema(grpc::CallbackServerContext* context,
                                      const v1::GetSchemaRequest* request,
                                      v1::GetSchemaResponse* response) override {
    const std::shared_ptr<const v1::NodeSchema> schema = schemas_->Find(request->node());
    if (schema == nullptr) {
      return Finish(
          context, "GetSchema",
          absl::NotFoundError(absl::StrCat("node \"", request->node(),
                                           "\" has told nothing of its tables yet: is its "
                                           "agent running?")));
    }
    *response->mutable_schema() = *schema;
    return Finish(context, "GetSchema", absl::OkStatus());
  }

  grpc::ServerUnaryReactor* SetSetting(grpc::CallbackServerContext* context,
                                       const v1::SetSettingRequest* request,
                                       v1::SetSettingResponse* response) override {
    const auto state = Change([request](ClusterState present) {
      return server::SetSetting(std::move(present), request->key(), request->value());
    });
    if (state.ok()) ToProto(*state, response->mutable_membership());
    return Finish(context, "SetSetting", state.status());
  }

  grpc::ServerUnaryReactor* AcceptClock(grpc::CallbackServerContext* context,
                                        const v1::AcceptClockRequest* request,
                                        v1::AcceptClockResponse* response) override {
    const auto state = Change([request](ClusterState present) {
      return server::AcceptClock(std::move(present), {.node = request->node(),
                                                      .ceiling_us = request->ceiling_us(),
                                                      .advance_us = request->advance_us(),
                                                      .now_us = NowUs()});
    });
    if (state.ok()) {
      LogWarning("clock", {{"state", "accepted"},
                           {"node", request->node()},
                           {"id", state->accepted_clock.id},
                           {"advance_us", request->advance_us()}});
      ToProto(state->accepted_clock, response->mutable_accepted());
    }
    return Finish(context, "AcceptClock", state.status());
  }

  grpc::ServerUnaryReactor* ClusterStatus(grpc::CallbackServerContext* context,
                                          const v1::ClusterStatusRequest*,
                                          v1::ClusterStatusResponse* response) override {
    return Finish(context, "ClusterStatus", Fill(response));
  }

  grpc::ServerUnaryReactor* ConvertSequence(grpc::CallbackServerContext* context,
                                            const v1::ConvertSequenceRequest* request,
                                            v1::ConvertSequenceResponse* response) override {
    const absl::Status in_force = CheckInForce();
    if (!in_force.ok()) return Finish(context, "ConvertSequence", in_force);
    absl::StatusOr<v1::SequenceState> state = sequences_.Convert({.name = request->name(),
                                                                  .method = request->method(),
                                                                  .data_type = request->data_type(),
                                                                  .first = request->first(),
                                                                  .last = request->last()});
    if (state.ok()) {
      LogInfo("sequence", {{"state", "converted"},
                           {"name", state->name()},
                           {"number", state->number()},
                           {"method", state->method()},
                           {"next", state->next()}});
      *response->mutable_sequence() = *std::move(state);
    }
    return Finish(context, "ConvertSequence", state.status());
  }

  grpc::ServerUnaryReactor* ListSequences(grpc::CallbackServerContext* context,
                                          const v1::ListSequencesRequest*,
                                          v1::ListSequencesResponse* response) override {
    const auto sequences = sequences_.List();
    if (sequences.ok()) {
      for (const v1::SequenceState& state : *sequences) *response->add_sequences() = state;
    }
    return Finish(context, "ListSequences", sequences.status());
  }

  grpc::ServerUnaryReactor* GrantChunk(grpc::CallbackServerContext* context,
                                       const v1::GrantChunkRequest* request,
                                       v1::GrantChunkResponse* response) override {
    return Finish(context, "GrantChunk", Grant(context, *request, response));
  }

  grpc::ServerUnaryReactor* Turn(grpc::CallbackServerContext* context,
                                 const v1::TurnRequest* request,
                                 v1::TurnResponse* response) override {
    return Finish(context, "Turn", AnswerTurn(context, *request, response));
  }

  grpc::ServerUnaryReactor* TakeOverSequence(grpc::CallbackServerContext* context,
                                             const v1::TakeOverSequenceRequest* request,
                                             v1::TakeOverSequenceResponse* response) override {
    return Finish(context, "TakeOverSequence", TakeOver(*request, response));
  }

  absl::Status Fill(v1::ClusterStatusResponse* response) const {
    RETURN_IF_ERROR(ReadMembership(response->mutable_membership()));
    ASSIGN_OR_RETURN(const auto statuses, statuses_->All());
    for (const v1::Member& member : response->membership().members()) {
      v1::ReportedStatus* node = response->add_nodes();
      *node->mutable_member() = member;
      const auto reported = statuses.find(member.name());
      if (reported == statuses.end()) continue;
      node->set_received_us(reported->second.received_us);
      node->set_refused(reported->second.refused);
      node->set_refused_us(reported->second.refused_us);
      if (reported->second.status != nullptr) *node->mutable_status() = *reported->second.status;
    }
    response->set_now_us(NowUs());
    return absl::OkStatus();
  }

 private:
  // Not before the cluster is there: agents that are started first only wait for it.
  bool IsMember(const std::string& name) const {
    const absl::StatusOr<ClusterState> state = cluster_->Read();
    return state.ok() && state->Find(name) != nullptr;
  }
  // What a removed node has told is not for the next of its name. Not when it is removed: a report
  // may be under way then, or bdr-server be killed.
  absl::Status ForgetLastOfName(const std::string& name) {
    ASSIGN_OR_RETURN(const ClusterState state, cluster_->Read());
    if (state.Find(name) != nullptr) return absl::OkStatus();
    RETURN_IF_ERROR(statuses_->Forget(name));
    return schemas_->Forget(name);
  }
  // It is told again with the next report.
  void TellOfStatus(const absl::Status& shared) {
    MutexLock lock(&kept_mu_);
    if (shared.ok()) {
      (void)shared_.Works(SteadyNow());
    } else if (shared_.Failed(std::string(absl::StatusCodeToString(shared.code())), SteadyNow())) {
      LogWarning("status", {{"state", "not_shared"}}, shared_.LineText(shared.message()));
    }
  }
  void TellOfSchema(const std::string& node, const absl::Status& kept) {
    MutexLock lock(&kept_mu_);
    Repetition& repetition = kept_[node];
    if (kept.ok()) {
      (void)repetition.Works(SteadyNow());
    } else if (repetition.Failed(std::string(kept.message()), SteadyNow())) {
      LogWarning("schema", {{"node", node}}, repetition.LineText(kept.message()));
    }
  }
  // A schema that cannot be kept is sent again with the next report.
  void TakeSchema(const v1::ReportRequest& request, const ClusterState& state,
                  v1::ReportResponse* response) {
    if (request.has_schema() && !request.schema().packed().empty()) {
      v1::NodeSchema schema = request.schema();
      schema.set_node(request.name());
      const absl::Status kept = schemas_->Set(schema, NowUs());
      TellOfSchema(request.name(), kept);
    }
    for (const std::shared_ptr<const v1::NodeSchema>& schema : schemas_->All()) {
      if (state.Find(schema->node()) == nullptr) continue;
      v1::NodeSchema* told = response->add_schemas();
      told->set_node(schema->node());
      told->set_hash(schema->hash());
      told->set_received_us(schema->received_us());
    }
  }

  // So that no agent but all of them have to be heard if this is lost.
  void TellOfSequences(v1::ReportResponse* response) const {
    const auto sequences = sequences_.List();
    if (!sequences.ok()) return;  // the next answer has them
    for (const v1::SequenceState& state : *sequences) *response->add_sequences() = state;
  }

  absl::StatusOr<std::vector<Witness>> Heard() const { return witnesses_.Recent(NowUs()); }

  // Whether what an agent says may have to be known to whichever server is asked to rebuild.
  static bool TellsMore(const Witness& witness, const ClusterState& present) {
    return present.id.empty() || present.restored || witness.known_epoch > present.epoch;
  }

  absl::Status FillBackup(v1::BackUpResponse* response) const {
    // First: a backup may have more than what is said of it, but not less.
    ASSIGN_OR_RETURN(const ClusterState state, cluster_->Read());
    ToProto(state, response->mutable_membership());
    ASSIGN_OR_RETURN(*response->mutable_backup(), MakeBackup(store_, NowUs()));
    return absl::OkStatus();
  }

  absl::StatusOr<ClusterState> Change(const Cluster::ChangeFunction& change) {
    ClusterState before;
    auto after = cluster_->Change([&](ClusterState present) {
      before = present;
      return change(std::move(present));
    });
    if (after.ok()) LogChange(before, *after);
    return after;
  }

  absl::Status Grant(grpc::CallbackServerContext* context, const v1::GrantChunkRequest& request,
                     v1::GrantChunkResponse* response) {
    ASSIGN_OR_RETURN(const PeerIdentity caller, IdentityOf(*context->auth_context()));
    RETURN_IF_ERROR(CheckSpeaksFor(caller, request.node()));
    RETURN_IF_ERROR(CheckInForce());
    ASSIGN_OR_RETURN(const int64_t first, sequences_.Grant(request.number(), request.count()));
    response->set_first(first);
    LogDebug("sequence", {{"state", "granted"},
                          {"number", request.number()},
                          {"first", first},
                          {"count", request.count()},
                          {"node", request.node()}});
    return absl::OkStatus();
  }

  absl::Status AnswerTurn(grpc::CallbackServerContext* context, const v1::TurnRequest& request,
                          v1::TurnResponse* response) {
    ASSIGN_OR_RETURN(const PeerIdentity caller, IdentityOf(*context->auth_context()));
    RETURN_IF_ERROR(CheckSpeaksFor(caller, request.node()));
    RETURN_IF_ERROR(CheckInForce());
    RETURN_IF_ERROR(CheckIsMember(request.node()));
    const int64_t now_us = NowUs();
    ASSIGN_OR_RETURN(*response->mutable_sequence(), sequences_.Turn(request, now_us));
    response->set_wanted(IsTurnWanted(response->sequence(), now_us));
    return absl::OkStatus();
  }

  absl::Status TakeOver(const v1::TakeOverSequenceRequest& request,
                        v1::TakeOverSequenceResponse* response) {
    RETURN_IF_ERROR(CheckInForce());
    RETURN_IF_ERROR(CheckIsMember(request.node()));
    ASSIGN_OR_RETURN(*response->mutable_sequence(), sequences_.TakeOver(request));
    LogInfo("sequence", {{"state", "taken_over"},
                         {"name", request.name()},
                         {"node", request.node()},
                         {"turn", response->sequence().turn().number()},
                         {"next", response->sequence().next()}});
    return absl::OkStatus();
  }

  absl::Status CheckIsMember(const std::string& name) const {
    ASSIGN_OR_RETURN(const ClusterState state, cluster_->Read());
    if (state.Find(name) != nullptr) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("there is no node \"", name, "\""));
  }

  // As long as agents may know more than the store no number is given to anybody.
  absl::Status CheckInForce() const {
    v1::Membership membership;
    RETURN_IF_ERROR(ReadMembership(&membership));
    ASSIGN_OR_RETURN(const ClusterState state, cluster_->Read());
    if (!state.restored) return absl::OkStatus();
    return absl::FailedPreconditionError(
        "bdr-server was restored from a backup, and not every agent has said yet how far numbers "
        "were granted: see \"bdrctl status\"");
  }

  absl::Status ReadMembership(v1::Membership* out) const {
    ASSIGN_OR_RETURN(const ClusterState state, cluster_->Read());
    if (state.id.empty()) {
      ASSIGN_OR_RETURN(const std::vector<Witness> heard, Heard());
      RETURN_IF_ERROR(CheckNoneBelongs(heard));
      return absl::FailedPreconditionError(
          "there is no cluster yet: run \"bdrctl cluster init NAME\" first");
    }
    // The next report of an agent brings it into force.
    if (state.restored) {
      ASSIGN_OR_RETURN(const std::vector<Witness> heard, Heard());
      RETURN_IF_ERROR(ConfirmRestored(state, heard).status());
    }
    ToProto(state, out);
    return absl::OkStatus();
  }

  grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context, const char* call,
                                   const absl::Status& status) {
    return FinishCall(context, call, status, metrics_);
  }

  Store* const store_;
  SequenceAllocator sequences_;
  Cluster* const cluster_;
  StatusCache* const statuses_;
  SchemaCache* const schemas_;
  Metrics* const metrics_;
  Witnesses witnesses_;
  SaidOnce refused_;  // reports
  Mutex kept_mu_;
  std::map<std::string, Repetition> kept_ ABSL_GUARDED_BY(kept_mu_);  // schemas, by node
  Repetition shared_ ABSL_GUARDED_BY(kept_mu_);                       // statuses
};

ControlService::ControlService(Store* store, Cluster* cluster, StatusCache* statuses,
                               SchemaCache* schemas, Metrics* metrics)
    : impl_(std::make_unique<Impl>(store, cluster, statuses, schemas, metrics)) {}
ControlService::~ControlService() = default;
absl::Status ControlService::FillClusterStatus(v1::ClusterStatusResponse* response) const {
  return impl_->Fill(response);
}

grpc::Service* ControlService::service() { return impl_.get(); }

}  // namespace bdr::server
