#include "base/audit.h"

#include <google/protobuf/message.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/access.h"
#include "base/log_always.h"
#include "base/lsn.h"
#include "base/mutex.h"
#include "base/peer_identity.h"
#include "bdr/v1/admin.pb.h"
#include "bdr/v1/control.pb.h"
#include "bdr/v1/locks.pb.h"
#include "bdr/v1/servers.pb.h"

namespace bdr {
namespace {

using google::protobuf::DynamicCastToGenerated;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

// Of settings as proto/bdr/v1/control.proto lists them.
std::string SettingText(const std::string& key, const std::string& value) {
  if (value.empty()) return "default";
  if (absl::StartsWith(key, "policy/")) {
    v1::TablePolicy policy;
    if (policy.ParseFromString(value)) return policy.ShortDebugString();
  }
  if (absl::StartsWith(key, "table_change/")) {
    v1::TableChange change;
    if (change.ParseFromString(value)) return change.ShortDebugString();
  }
  return value.size() <= 256 ? value : absl::StrCat(value.size(), " bytes");
}

// One call. gRPC hands it each step, in order, from whatever thread takes it.
class AuditedCall final : public grpc::experimental::Interceptor {
 public:
  explicit AuditedCall(ServerRpcInfo* info) : info_(info) {}
  ~AuditedCall() override {
    // gRPC orders the steps by locks that ThreadSanitizer does not see; this one it does.
    MutexLock lock(&mu_);
  }

  void Intercept(InterceptorBatchMethods* step) override {
    {
      MutexLock lock(&mu_);
      if (step->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
        TakeRequestLocked(step->GetRecvMessage());
      }
      if (step->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
        WriteLocked(step->GetSendStatus());
      }
    }
    step->Proceed();
  }

 private:
  void TakeRequestLocked(void* message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (message == nullptr) return;  // it could not be read
    // All our messages are generated, and begin with their base.
    object_ = AuditedObject(*static_cast<const google::protobuf::Message*>(message));
    changes_ = !object_.empty();
  }

  void WriteLocked(const grpc::Status& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!changes_) return;
    grpc::ServerContextBase* const context = info_->server_context();
    const std::shared_ptr<const grpc::AuthContext> caller = context->auth_context();
    const absl::StatusOr<PeerIdentity> who =
        caller == nullptr ? PeerIdentity{.role = Role::kAdmin, .insecure = true}
                          : IdentityOf(*caller);
    const absl::string_view method = info_->method();
    LogAlways(
        "audit",
        {{"who", who.ok() ? ToString(*who) : "unknown"},
         {"peer", context->peer()},
         {"rpc", method.substr(method.rfind('/') + 1)},
         {"object", object_},
         {"result", absl::StatusCodeToString(static_cast<absl::StatusCode>(result.error_code()))}});
  }

  ServerRpcInfo* const info_;
  Mutex mu_;
  std::string object_ ABSL_GUARDED_BY(mu_);
  bool changes_ ABSL_GUARDED_BY(mu_) = true;
};

class AuditFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const AccessRule* rule = FindAccessRule(info->method());
    return rule != nullptr && rule->audited ? new AuditedCall(info) : nullptr;
  }
};

}  // namespace

std::string AuditedObject(const google::protobuf::Message& request) {
  if (const auto* init = DynamicCastToGenerated<v1::InitClusterRequest>(&request)) {
    return absl::StrCat("cluster ", init->name());
  }
  if (const auto* add = DynamicCastToGenerated<v1::AddNodeRequest>(&request)) {
    return absl::StrCat("node ", add->name(), " at ", add->agent_address());
  }
  if (const auto* remove = DynamicCastToGenerated<v1::RemoveNodeRequest>(&request)) {
    return absl::StrCat("node ", remove->name());
  }
  if (const auto* address = DynamicCastToGenerated<v1::SetNodeAddressRequest>(&request)) {
    return absl::StrCat("node ", address->name(), " at ", address->agent_address());
  }
  if (const auto* rebuild = DynamicCastToGenerated<v1::RebuildClusterRequest>(&request)) {
    return absl::StrCat("cluster ", rebuild->name().empty() ? "as agents know it" : rebuild->name(),
                        rebuild->nodes().empty()
                            ? ""
                            : absl::StrCat(" by ", absl::StrJoin(rebuild->nodes(), ", ")));
  }
  if (const auto* set = DynamicCastToGenerated<v1::SetSettingRequest>(&request)) {
    return absl::StrCat("setting ", set->key(), " to ", SettingText(set->key(), set->value()));
  }
  if (const auto* clock = DynamicCastToGenerated<v1::AcceptClockRequest>(&request)) {
    return absl::StrCat("clock of node ", clock->node(), " by ", clock->advance_us(), " us");
  }
  if (const auto* convert = DynamicCastToGenerated<v1::ConvertSequenceRequest>(&request)) {
    return absl::StrCat("sequence ", convert->name(), " to ", convert->method());
  }
  if (const auto* turn = DynamicCastToGenerated<v1::TakeOverSequenceRequest>(&request)) {
    return absl::StrCat("turn ", turn->turn(), " of sequence ", turn->name(), " to ", turn->node());
  }
  if (const auto* move = DynamicCastToGenerated<v1::MigrateStoreRequest>(&request)) {
    return absl::StrCat("store to ", absl::StrContains(move->to(), '@') ? "?" : move->to());
  }
  if (const auto* release = DynamicCastToGenerated<v1::ReleaseLockRequest>(&request)) {
    return absl::StrCat("lock ", release->name(), " of ticket ", release->ticket());
  }
  if (const auto* repair = DynamicCastToGenerated<v1::RepairRowsRequest>(&request)) {
    return absl::StrCat(repair->rows_size(), " rows of table ", repair->schema(), ".",
                        repair->name());
  }
  if (const auto* retry = DynamicCastToGenerated<v1::RetryApplyRequest>(&request)) {
    return retry->node() == 0 ? "all origins" : absl::StrCat("origin of node ", retry->node());
  }
  if (const auto* undo = DynamicCastToGenerated<v1::UndoConflictRequest>(&request)) {
    return undo->apply() ? absl::StrCat("conflict ", undo->id()) : "";
  }
  if (const auto* letter = DynamicCastToGenerated<v1::DeadLetterRequest>(&request)) {
    return absl::StrCat("dead letter ", letter->id());
  }
  if (const auto* skip = DynamicCastToGenerated<v1::SkipUndecodableRequest>(&request)) {
    return absl::StrCat("transaction at ", ToString(Lsn{skip->lsn()}),
                        skip->until_decodable() ? " and those behind it" : "");
  }
  if (const auto* close = DynamicCastToGenerated<v1::CloseGapsRequest>(&request)) {
    return close->first_lsn() == 0 ? "all gaps"
                                   : absl::StrCat("gap at ", ToString(Lsn{close->first_lsn()}));
  }
  return "unknown";
}

void AddAudit(grpc::ServerBuilder* builder) {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<AuditFactory>());
  builder->experimental().SetInterceptorCreators(std::move(factories));
}

}  // namespace bdr
