#include "base/access.h"

#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/auth_metadata_processor.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/said_once.h"

namespace bdr {
namespace {

constexpr absl::string_view kPackage = "/bdr.v1.";

// What shows users' values, their keys, or hashes by which both can be guessed is for admins alone.
constexpr AccessRule kRules[] = {
    // What agents ask of bdr-server.
    {.method = "/bdr.v1.ControlPlane/Report", .node = true},
    {.method = "/bdr.v1.ControlPlane/GetSchema", .node = true, .admin = true, .viewer = true},
    {.method = "/bdr.v1.ControlPlane/GrantChunk", .node = true},
    {.method = "/bdr.v1.ControlPlane/Turn", .node = true},
    // What people ask of it.
    {.method = "/bdr.v1.ControlPlane/GetMembership", .admin = true, .viewer = true},
    // Agents that are only to check what they would meet ("bdr-agent --check").
    {.method = "/bdr.v1.ControlPlane/ClusterStatus", .node = true, .admin = true, .viewer = true},
    {.method = "/bdr.v1.ControlPlane/InitCluster", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/AddNode", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/RemoveNode", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/SetNodeAddress", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/RebuildCluster", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/BackUp", .admin = true},
    {.method = "/bdr.v1.ControlPlane/SetSetting", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/AcceptClock", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/ConvertSequence", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/TakeOverSequence", .admin = true, .audited = true},
    {.method = "/bdr.v1.ControlPlane/ListSequences", .node = true, .admin = true, .viewer = true},
    {.method = "/bdr.v1.Servers/GetServerStatus", .admin = true, .viewer = true},
    {.method = "/bdr.v1.Servers/MigrateStore", .admin = true, .audited = true},
    // A node asks for locks in its own name alone. Renewing is asking again, so only what takes a
    // lock away is written down.
    {.method = "/bdr.v1.Locks/AcquireLock", .node = true, .admin = true},
    {.method = "/bdr.v1.Locks/ReleaseLock", .node = true, .admin = true, .audited = true},
    {.method = "/bdr.v1.Locks/ListLocks", .node = true, .admin = true, .viewer = true},
    // What agents ask of each other.
    {.method = "/bdr.v1.Replication/Subscribe", .node = true},
    {.method = "/bdr.v1.Rows/FetchRows", .node = true},
    {.method = "/bdr.v1.AgentAdmin/GetPosition", .node = true, .admin = true},
    // What people ask of an agent.
    {.method = "/bdr.v1.AgentAdmin/GetNodeStatus", .admin = true, .viewer = true},
    {.method = "/bdr.v1.AgentAdmin/ListTables", .admin = true, .viewer = true},
    {.method = "/bdr.v1.AgentAdmin/CheckNode", .admin = true, .viewer = true},
    {.method = "/bdr.v1.AgentAdmin/CheckPolicy", .admin = true, .viewer = true},
    {.method = "/bdr.v1.AgentAdmin/ListDeadLetters", .admin = true, .viewer = true},
    {.method = "/bdr.v1.AgentAdmin/ListConflicts", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/GetConflict", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/HashTable", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/HashRows", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/FindKey", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/HashRange", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/ReadRows", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/ExportRows", .admin = true},
    {.method = "/bdr.v1.AgentAdmin/RepairRows", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/RetryApply", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/UndoConflict", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/RetryDeadLetter", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/DropDeadLetter", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/SkipUndecodable", .admin = true, .audited = true},
    {.method = "/bdr.v1.AgentAdmin/CloseGaps", .admin = true, .audited = true},
};

std::string AllowedRoles(const AccessRule& rule) {
  std::vector<absl::string_view> names;
  for (const Role role : kRoles) {
    if (rule.Allows(role)) names.push_back(ToString(role));
  }
  return absl::StrJoin(names, " or ");
}

class AccessCheck final : public grpc::AuthMetadataProcessor {
 public:
  // It reads memory only, so it need not have a thread of its own for each call.
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata*,
                       OutputMetadata*) override {
    const auto path = metadata.find(":path");
    const std::string method =
        path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
    const absl::StatusOr<PeerIdentity> identity = IdentityOf(*context);
    const absl::Status status = identity.ok() ? CheckAccess(*identity, method) : identity.status();
    if (status.ok()) return grpc::Status::OK;
    // Callers choose the names of calls that there are not.
    const bool known = !identity.ok() || FindAccessRule(method) != nullptr;
    if (refused_.IsNews(known ? std::string(status.message()) : ToString(*identity))) {
      LogWarning("access",
                 {{"state", "refused"},
                  {"who", identity.ok() ? ToString(*identity) : "unknown"},
                  {"rpc", method}},
                 status.message());
    }
    return ToGrpcStatus(status);
  }

 private:
  SaidOnce refused_;
};

}  // namespace

bool AccessRule::Allows(Role role) const {
  switch (role) {
    case Role::kNode:
      return node;
    case Role::kServer:
      return server;
    case Role::kAdmin:
      return admin;
    case Role::kViewer:
      return viewer;
  }
  return false;
}

absl::Span<const AccessRule> AccessRules() { return kRules; }

const AccessRule* FindAccessRule(absl::string_view method) {
  for (const AccessRule& rule : kRules) {
    if (rule.method == method) return &rule;
  }
  return nullptr;
}

absl::Status CheckAccess(const PeerIdentity& identity, absl::string_view method) {
  const AccessRule* rule = FindAccessRule(method);
  if (rule == nullptr) {
    return absl::PermissionDeniedError(
        absl::StrCat("there is no call \"", method, "\" here; is the caller a newer version?"));
  }
  if (identity.insecure || rule->Allows(identity.role)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("certificate ", ToString(identity),
                                                  " may not call ", method.substr(kPackage.size()),
                                                  ": that takes the role ", AllowedRoles(*rule)));
}

std::shared_ptr<grpc::AuthMetadataProcessor> MakeAccessCheck() {
  return std::make_shared<AccessCheck>();
}

std::string AccessMarkdownTable() {
  std::string table =
      "| call | node | server | admin | viewer | audited |\n|---|---|---|---|---|---|\n";
  for (const AccessRule& rule : kRules) {
    absl::StrAppend(&table, "| `", rule.method.substr(kPackage.size()), "` |");
    for (const Role role : kRoles) absl::StrAppend(&table, rule.Allows(role) ? " yes |" : " |");
    absl::StrAppend(&table, rule.audited ? " yes |\n" : " |\n");
  }
  return table;
}

}  // namespace bdr
