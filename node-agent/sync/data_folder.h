// The agent's data folder, opened: what it keeps for good, and what it had learnt before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/origin.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/sequences/marks.h"

namespace bdr::agent {

// Owns what stands in the folder. Once it is open it does not change; what it owns is thread-safe.
class DataFolder {
 public:
  // Of the folder `data_dir`, which is made if it is missing. `memory_limit` of the whole agent, of
  // which the database takes its part. kUnavailable if another process has it open; kDataLoss if it
  // is damaged.
  static absl::StatusOr<std::unique_ptr<DataFolder>> Open(const std::string& data_dir,
                                                          int64_t memory_limit);

  Database* database() const { return database_.get(); }
  Stores stores() const;
  SequenceMarks* sequence_marks() const { return sequence_marks_.get(); }

  // Its own, as long as it is there (bdr.v1.Member).
  const std::string& id() const { return id_; }
  // Unset until LearnIdentity() has written it down.
  const std::optional<OriginId>& kept_identity() const { return kept_identity_; }
  // The cluster as it was known when this was opened.
  const std::optional<Membership>& kept_membership() const { return kept_membership_; }

 private:
  DataFolder() = default;
  absl::Status LoadState();

  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
  std::unique_ptr<conflict::VersionStore> versions_;
  std::unique_ptr<conflict::ClaimStore> claims_;
  std::unique_ptr<conflict::HistoryStore> fold_history_;
  std::string id_;
  std::optional<OriginId> kept_identity_;
  std::optional<Membership> kept_membership_;
  std::unique_ptr<SequenceMarks> sequence_marks_;
};

}  // namespace bdr::agent
