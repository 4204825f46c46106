// Turns committed local transactions into blocks of the change log and versions of their rows.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/repetition.h"
#include "conflict/claim_store.h"
#include "conflict/history_store.h"
#include "conflict/version_store.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/explicit_values.h"
#include "node-agent/capture/own_claims.h"
#include "node-agent/capture/wire_forms.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/keys_in_flight.h"
#include "node-agent/inflight/own_changes.h"
#include "node-agent/positions/progress.h"
#include "node-agent/positions/server_past.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/table_cache.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// What capture must know after a restart, in the state under "captured".
struct CapturedState {
  Lsn through;                // everything before was captured
  int64_t last_stamp_us = 0;  // of the last transaction
  CapturedCommit last = {};   // likewise

  static absl::StatusOr<std::optional<CapturedState>> Load(Database* database);
  std::string Encode() const;
};

// Not thread-safe: belongs to capture. After an error it must be thrown away.
class BlockWriter {
 public:
  struct Options {
    OriginId own;
    postgres::ConnectOptions connect;  // where it asks which unique values a row claims
    // Own changes that end at or before were committed before this agent knew which rows appliers
    // touch: all of them count as touched.
    Lsn touched_through = {};
    CapturedState captured;  // as loaded, or where a new slot begins
    size_t block_max_bytes = 1 << 20;
  };
  struct Folding {  // all outlive it
    const conflict::HistoryStore* history;
    const Settings* settings;
    const Progress* progress;
  };
  BlockWriter(Options options, Database* database, ChangeLog* log,
              const conflict::VersionStore* versions, const conflict::ClaimStore* claims,
              TableCache* tables, const KeysInFlight* keys, OwnChanges* own_changes,
              Folding folding);

  // Looks the relation's table up, so that changes of it can be added.
  absl::StatusOr<std::shared_ptr<const CapturedRelation>> Announce(
      absl::string_view raw, postgres::RelationMessage message);
  void AnnounceType(uint32_t oid, absl::string_view raw);

  // Gives values the forms in which they travel; to be done before they are added.
  WireForms& forms() { return forms_; }

  // One transaction at a time: Begin, its changes, End. `expected_bytes` (0: not known) keeps a
  // transaction that will not fit from sharing a block.
  absl::Status Begin(const TransactionHeader& header, const CapturedCommit& commit,
                     size_t expected_bytes);
  absl::Status Add(const std::shared_ptr<const CapturedRelation>& relation,
                   absl::string_view change);
  absl::Status AddTruncate(const std::vector<std::shared_ptr<const CapturedRelation>>& relations,
                           absl::string_view change);
  absl::Status End();

  // Makes everything up to the last End() durable and visible, and `through` with it.
  absl::Status Flush(Lsn through);
  bool has_unpublished() const { return unpublished_; }
  size_t unpublished_bytes() const { return builder_.payload_bytes() + sealed_bytes_; }
  int64_t last_stamp_us() const { return last_stamp_us_; }
  uint64_t transactions() const { return transactions_; }
  uint64_t changes() const { return changes_; }

 private:
  struct Suspect {
    bool truncate = false;
    std::string version_key;  // of a row
    bool gone = false;
    // Its version may have misled an applier; else only its claims may have, or its place in the
    // history of a table that folds.
    bool misleads = true;
    bool claims = false;              // whether it claims anything is still to be read
    std::vector<std::string> values;  // what it claims, as named among the keys in flight
    int64_t commit_us = 0;
    std::shared_ptr<const TransactionHeader> header;
    std::shared_ptr<const CapturedRelation> relation;
    std::string change;
    std::shared_ptr<const PolicyHistory> policies = nullptr;
  };

  void IncludeRelation(const std::shared_ptr<const CapturedRelation>& relation);
  void Seal(bool more_parts);
  absl::Status SplitIfFull();
  void PutState(Lsn through, int64_t last_stamp_us);
  TypeNames TypesOf(const postgres::RelationMessage& relation) const;
  absl::Status AddVersions(const std::shared_ptr<const CapturedRelation>& relation,
                           const postgres::Message& message, absl::string_view change);
  void PutRaised(uint32_t table_oid);
  void PutVersion(const std::shared_ptr<const CapturedRelation>& relation, absl::string_view key,
                  bool dead, absl::string_view change);
  // Adds the claims of what was added since to the batch, which must not be written before.
  absl::Status RecordClaims();
  void DropReplaced();
  absl::Status PutHistory(const CapturedRelation& relation, const postgres::Message& message);
  bool IsTouched(const Suspect& suspect) const;
  // Tells own_changes_ of what appliers may have decided without. To be called once the versions
  // can be read from the store, and not before.
  void LookForTouched();

  const Options options_;
  Database* const database_;
  ChangeLog* const log_;
  const conflict::VersionStore* const versions_;
  TableCache* const tables_;
  const KeysInFlight* const keys_;
  OwnChanges* const own_changes_;
  ExplicitValues explicit_values_;
  WireForms forms_;

  OwnClaims own_claims_;
  const Folding folding_;
  BlockBuilder builder_;
  absl::flat_hash_map<uint32_t, std::string> types_;
  std::pair<Lsn, uint32_t> raised_;  // transaction and table that PutRaised() was last called for
  // Which announcement of a relation the block that is being built carries. Owned, so that a later
  // one cannot have the address of one that is gone.
  absl::flat_hash_map<uint32_t, std::shared_ptr<const CapturedRelation>> in_block_;
  std::vector<EncodedBlock> sealed_;
  size_t sealed_bytes_ = 0;
  uint64_t chain_;
  Lsn through_;
  rocksdb::WriteBatch batch_;
  TransactionHeader current_;
  CapturedCommit commit_;  // of the transaction that is being written
  uint32_t number_ = 0;    // of its changes so far
  // Of the change that is being added: its table folds, or will.
  std::shared_ptr<const PolicyHistory> policies_;
  // Changes since the last look that could have misled an applier.
  std::vector<Suspect> suspects_;
  std::shared_ptr<const TransactionHeader> suspect_header_;
  uint32_t part_ = 0;
  Repetition lost_versions_;  // of what is logged of them
  bool together_ = false;     // the transaction is not to be split yet
  bool unpublished_ = false;
  int64_t last_stamp_us_;
  CapturedCommit last_commit_;
  uint64_t transactions_ = 0;
  uint64_t changes_ = 0;
};

}  // namespace bdr::agent
