#include "node-agent/apply/drive/versions_only.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

// The log tells once in a while for each cause, and not of more causes than a person can read.
constexpr absl::Duration kTellAgain = absl::Minutes(1);
constexpr size_t kMostTold = 100;
constexpr absl::Duration kLogWait = absl::Milliseconds(500);

}  // namespace

absl::Status VersionsOnly::RecordOne(const PiecePtr& piece, bool applied) {
  GroupPlan plan(origin_);
  RETURN_IF_ERROR(plan.Add(piece, tables_->QuietResolver()));
  GroupClaims claims;
  RETURN_IF_ERROR(claims.Read(plan, claim_reader_));
  GroupVersions::Versions before;
  return versions_->Record(plan, claims, &before,
                           {.ends_here = piece->last, .with_history = applied});
}

absl::Status VersionsOnly::Record(const PiecePtr& piece, bool applied) {
  tables_->RefreshSettings();
  const absl::Status whole = RecordOne(piece, applied);
  if (!IsOfTheTable(whole)) return whole;
  for (const RemoteChange& change : piece->changes) {
    auto single = std::make_shared<Piece>();
    single->header = piece->header;
    single->first = piece->first;
    single->last = false;
    single->changes.push_back(change);
    single->payload = piece->payload;
    const absl::Status one = RecordOne(single, applied);
    if (one.ok()) continue;
    if (!IsOfTheTable(one)) return one;
    Tell(*piece, one);
  }
  return absl::OkStatus();
}

void VersionsOnly::Tell(const Piece& piece, const absl::Status& cause) {
  const absl::Time now = SteadyNow();
  absl::erase_if(told_, [now](const auto& told) { return now - told.second >= kTellAgain; });
  if (told_.size() >= kMostTold || !told_.try_emplace(std::string(cause.message()), now).second) {
    return;
  }
  LogWarning("apply", {{"origin", ToString(origin_)}, {"lsn", ToString(piece.header.end_lsn)}},
             absl::StrCat("no version is kept of changes: ", cause.message()));
}

absl::Status VersionsOnly::Rebuild(const ApplyParts& parts, Lsn committed, ApplyControl* control) {
  State state(parts.stores.database);
  const std::string name = absl::StrCat(kStateVersions, EncodeOrigin(origin_));
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, state.Get(name));
  Lsn known;
  if (bytes.has_value()) {
    ASSIGN_OR_RETURN(known.value, DecodeU64(*bytes));
  }
  // What was trimmed is stable: no version of it is needed.
  known = std::max(known, parts.stores.log->TrimmedThrough(origin_).end_lsn);
  TransactionReader reader(parts.stores.log, origin_);
  reader.Seek(known);
  while (known < committed) {
    if (control->stopping()) return absl::CancelledError("the agent is shutting down");
    control->Set(Health::Level::kWarning, ApplierState::kRebuilding,
                 "row versions since the last sync come back from the change log");
    ASSIGN_OR_RETURN(const Piece* next, reader.Peek(kLogWait));
    if (next == nullptr) continue;
    if (next->header.end_lsn > committed) break;
    const PiecePtr piece = std::make_shared<const Piece>(reader.Pop());
    // It may have been put aside, because its table is missing, say.
    RETURN_IF_ERROR(Record(piece, !parts.dead_letters->Holds(origin_, piece->header.end_lsn)));
    if (piece->last) known = piece->header.end_lsn;
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
