#include "node-agent/sync/identity.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/changelog/state.h"
#include "node-agent/sync/first_start.h"

namespace bdr::agent {
namespace {

constexpr uint32_t kFirstIncarnation = 1;

// The node has been here before, as `own`.
absl::StatusOr<Identity> KnownIdentity(OriginId own, const std::string& node,
                                       const Membership& known, const absl::Status& last_report,
                                       const State& state) {
  const Member* self = known.FindByName(node);
  if (self != nullptr && self->id != own.node) {
    return absl::FailedPreconditionError(absl::StrCat("data_dir belongs to node ", own.node,
                                                      ", but \"", node, "\" is node ", self->id,
                                                      " in the cluster; use the right data_dir"));
  }
  const Member* joined = known.Find(own.node);
  if (joined == nullptr || !joined->active) {
    // It may have been removed. Nothing is captured before bdr-server has said that it was not: for
    // a node that will never be a member PostgreSQL would keep its WAL.
    if (absl::IsUnknown(last_report)) return absl::UnavailableError(last_report.message());
    if (!last_report.ok()) return absl::FailedPreconditionError(last_report.message());
  }
  ASSIGN_OR_RETURN(const auto tell_nodes, state.Get(kStateServerNames));
  return Identity{.own = own,
                  .names = tell_nodes.has_value()
                               ? ServerNames::Of(known.cluster_id, own.node, node)
                               : ServerNames::Older(node)};
}

absl::Status NoMember(const std::string& node, const absl::Status& last_report) {
  // It says whether the node was never added or was removed, or that there is no cluster.
  if (absl::IsFailedPrecondition(last_report) || absl::IsNotFound(last_report)) return last_report;
  if (!last_report.ok()) {
    return absl::UnavailableError(absl::StrCat("cannot learn whether node \"", node,
                                               "\" is a member: ", last_report.message()));
  }
  return absl::NotFoundError(absl::StrCat("node \"", node,
                                          "\" is not a member yet; run \"bdrctl node add ", node,
                                          " --address HOST:PORT --no-copy\""));
}

}  // namespace

absl::StatusOr<Identity> LearnIdentity(const std::string& node, const Membership& known,
                                       const absl::Status& last_report, Database* database) {
  State state(database);
  ASSIGN_OR_RETURN(const auto kept, state.Get(kStateIdentity));
  if (kept.has_value()) {
    ASSIGN_OR_RETURN(const OriginId own, DecodeOrigin(*kept));
    return KnownIdentity(own, node, known, last_report, state);
  }
  const Member* self = known.FindByName(node);
  if (self == nullptr) return NoMember(node, last_report);
  RETURN_IF_ERROR(CheckNoPastOf(*self));
  const OriginId own{.node = self->id, .incarnation = kFirstIncarnation};
  // The identity comes last, and takes the others to the disk with it: where it stands, they do.
  RETURN_IF_ERROR(state.Put(kStateServerNames, "", /*sync=*/false));
  RETURN_IF_ERROR(state.Put(kStateMembership, Serialize(known), /*sync=*/false));
  RETURN_IF_ERROR(state.Put(kStateIdentity, EncodeOrigin(own), /*sync=*/true));
  return Identity{.own = own, .names = ServerNames::Of(known.cluster_id, own.node, node)};
}

}  // namespace bdr::agent
