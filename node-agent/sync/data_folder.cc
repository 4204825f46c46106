#include "node-agent/sync/data_folder.h"

#include "base/random_id.h"
#include "base/status_macros.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Open(const std::string& data_dir,
                                                             int64_t memory_limit) {
  std::unique_ptr<DataFolder> folder(new DataFolder);
  ASSIGN_OR_RETURN(folder->database_,
                   Database::Open({.directory = data_dir + "/log",
                                   .memory_bytes = static_cast<uint64_t>(memory_limit) / 4}));
  Database* const database = folder->database_.get();
  ASSIGN_OR_RETURN(folder->log_, ChangeLog::Open(database));
  folder->versions_ =
      std::make_unique<conflict::VersionStore>(database->db(), database->versions());
  folder->claims_ = std::make_unique<conflict::ClaimStore>(database->db(), database->claims());
  folder->fold_history_ =
      std::make_unique<conflict::HistoryStore>(database->db(), database->history());
  RETURN_IF_ERROR(folder->LoadState());
  return folder;
}

absl::Status DataFolder::LoadState() {
  State state(database_.get());
  ASSIGN_OR_RETURN(const auto id, state.Get(kStateDataDirId));
  id_ = id.value_or(RandomId());
  if (!id.has_value()) RETURN_IF_ERROR(state.Put(kStateDataDirId, id_, /*sync=*/true));
  ASSIGN_OR_RETURN(const auto identity, state.Get(kStateIdentity));
  if (identity.has_value()) {
    ASSIGN_OR_RETURN(kept_identity_, DecodeOrigin(*identity));
  }
  ASSIGN_OR_RETURN(const auto membership, state.Get(kStateMembership));
  if (membership.has_value()) {
    ASSIGN_OR_RETURN(kept_membership_, ParseMembership(*membership));
  }
  ASSIGN_OR_RETURN(sequence_marks_, SequenceMarks::Load(database_.get()));
  return absl::OkStatus();
}

Stores DataFolder::stores() const {
  return {.database = database_.get(),
          .log = log_.get(),
          .versions = versions_.get(),
          .claims = claims_.get(),
          .fold_history = fold_history_.get()};
}

}  // namespace bdr::agent
