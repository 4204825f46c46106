#include "node-agent/sync/start_at_present.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/grpc_security.h"
#include "base/grpc_status.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "node-agent/sync/first_start.h"

namespace bdr::agent {
namespace {

constexpr absl::string_view kStateJoined = "joined";
constexpr std::chrono::seconds kCallTimeout(10);

absl::StatusOr<v1::GetPositionResponse> AskPosition(const JoinOptions& options,
                                                    const Member& member) {
  ASSIGN_OR_RETURN(const auto credentials,
                   MakeChannelCredentials(options.security, member.address));
  const auto stub = v1::AgentAdmin::NewStub(grpc::CreateChannel(member.address, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::GetPositionResponse response;
  const grpc::Status status = stub->GetPosition(&context, {}, &response);
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat("cannot ask node \"", member.name, "\" at ",
                                               member.address,
                                               " where it is: ", FromGrpcStatus(status).message()));
  }
  if (response.node() != member.id) {
    return absl::FailedPreconditionError(absl::StrCat("the agent at ", member.address, " is node ",
                                                      response.node(), " and not \"", member.name,
                                                      "\" (", member.id, "); correct its address"));
  }
  return response;
}

}  // namespace

absl::StatusOr<bool> HasJoined(Database* database) {
  ASSIGN_OR_RETURN(const auto joined, State(database).Get(kStateJoined));
  return joined.has_value();
}

absl::Status CheckNeverJoined(postgres::Connection& connection, Database* database,
                              const ChangeLog& log) {
  ASSIGN_OR_RETURN(const bool joined, HasJoined(database));
  if (joined) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<AppliedPosition> applied, ReadApplied(connection));
  for (const AppliedPosition& position : applied) {
    // What StartAtPresent() had begun to write down is in the log first.
    if (position.lsn == Lsn{} || !log.End(position.origin).at_beginning()) continue;
    return DatabaseHasAPast(position);
  }
  return absl::OkStatus();
}

namespace {

struct StartOfOrigin {
  OriginId origin;
  Cursor at;
};

// Where each active member stands now. Nothing is written down before all have answered.
absl::StatusOr<std::vector<StartOfOrigin>> AskAll(const JoinOptions& options, const Member& self,
                                                  const Membership& membership) {
  std::vector<StartOfOrigin> starts;
  for (const Member& member : membership.members) {
    if (member.id == options.self || !member.active) continue;
    if (member.followed_epoch < self.since_epoch) {
      return absl::UnavailableError(
          absl::StrCat("node \"", member.name,
                       "\" does not know yet that this node joins, and could drop what it "
                       "will need: is its agent running and no older than this one, and does it "
                       "reach bdr-server?"));
    }
    ASSIGN_OR_RETURN(const v1::GetPositionResponse position, AskPosition(options, member));
    starts.push_back({.origin = {.node = member.id, .incarnation = position.incarnation()},
                      .at = {.end_lsn = Lsn{position.published_lsn()},
                             .part = position.part(),
                             .chain = position.chain()}});
  }
  return starts;
}

// The log first: CheckNeverJoined() tells by it what this has begun to write from a past.
absl::Status WriteDown(const StartOfOrigin& start, postgres::Connection& connection, State* state,
                       ChangeLog* log) {
  const Lsn end_lsn = start.at.end_lsn;
  RETURN_IF_ERROR(log->StartAt(start.origin, start.at));
  RETURN_IF_ERROR(state->Put(absl::StrCat(kStateVersions, EncodeOrigin(start.origin)),
                             EncodeU64(end_lsn.value), /*sync=*/true));
  RETURN_IF_ERROR(
      connection
          .Exec(absl::StrCat(
              "INSERT INTO bdr.progress (origin_node, origin_incarnation, lsn) VALUES (",
              start.origin.node, ", ", start.origin.incarnation, ", '", ToString(end_lsn),
              "') ON CONFLICT (origin_node, origin_incarnation) DO UPDATE SET lsn = "
              "excluded.lsn WHERE progress.lsn < excluded.lsn"))
          .status());
  LogInfo("join", {{"origin", ToString(start.origin)}, {"lsn", ToString(end_lsn)}});
  return absl::OkStatus();
}

}  // namespace

absl::Status StartAtPresent(const JoinOptions& options, const Membership& membership,
                            Database* database, ChangeLog* log) {
  ASSIGN_OR_RETURN(const bool joined, HasJoined(database));
  if (joined) return absl::OkStatus();
  const Member* self = membership.Find(options.self);
  if (self == nullptr || self->incarnation == 0) {
    return absl::UnavailableError("bdr-server has not taken up this node's report yet");
  }
  ASSIGN_OR_RETURN(const std::vector<StartOfOrigin> starts, AskAll(options, *self, membership));
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> connection,
                   postgres::Connection::Connect(options.database));
  State state(database);
  for (const StartOfOrigin& start : starts) {
    if (start.at.at_beginning()) continue;
    RETURN_IF_ERROR(WriteDown(start, *connection, &state, log));
  }
  return state.Put(kStateJoined, "1", /*sync=*/true);
}

}  // namespace bdr::agent
