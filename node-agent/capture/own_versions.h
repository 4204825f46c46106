// What this node's own changes leave in the stores: a version of each row, what it claims, and the
// change itself where its table folds.
//
// All of it goes into the batch that is written with the block which holds the change, so that
// neither is there without the other.
#pragma once

#include <rocksdb/write_batch.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/repetition.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/own_claims.h"
#include "node-agent/capture/own_relations.h"
#include "node-agent/capture/own_transaction.h"
#include "node-agent/capture/touched_changes.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/positions/progress.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture. What may have misled an applier it tells `touched`.
class OwnVersions {
 public:
  // `claims_connection`: where it asks which unique values a row claims. All pointers outlive it.
  OwnVersions(postgres::ConnectOptions claims_connection, const Stores& stores,
              const Settings* settings, const Progress* progress, TouchedChanges* touched)
      : stores_(stores),
        settings_(settings),
        progress_(progress),
        touched_(touched),
        claims_(std::move(claims_connection), stores.claims) {}

  // `message` is `change`, decoded; it may be empty where the relation has no columns. A row whose
  // version cannot be told for good is passed over with a warning. kUnavailable and the like if
  // something could not be asked.
  absl::Status Add(const OwnTransaction& transaction,
                   const std::shared_ptr<const CapturedRelation>& relation,
                   const postgres::Message& message, absl::string_view change,
                   rocksdb::WriteBatch* batch);
  void AddTruncate(const OwnTransaction& transaction,
                   const std::shared_ptr<const CapturedRelation>& relation,
                   absl::string_view change, rocksdb::WriteBatch* batch);

  // Adds the claims of what was added since to `batch`, which must not be written before.
  absl::Status RecordClaims(const OwnRelations::Types& types, rocksdb::WriteBatch* batch);

 private:
  // One change of a row in a table with a key.
  struct Change {
    const OwnTransaction& transaction;
    const std::shared_ptr<const CapturedRelation>& relation;
    const postgres::Message& message;
    absl::string_view bytes;
    std::shared_ptr<const PolicyHistory> policies;  // set: its table folds, or will
    rocksdb::WriteBatch* batch = nullptr;
  };
  absl::Status Put(const Change& change);
  void PutVersion(const Change& change, absl::string_view key, bool dead, absl::string_view bytes);
  absl::Status PutHistory(const Change& change);
  void PutRaised(const OwnTransaction& transaction, uint32_t table_oid, rocksdb::WriteBatch* batch);

  const Stores stores_;
  const Settings* const settings_;
  const Progress* const progress_;
  TouchedChanges* const touched_;
  OwnClaims claims_;
  std::pair<Lsn, uint32_t> raised_;  // transaction and table that PutRaised() was last called for
  Repetition lost_versions_;         // of what is logged of them
};

}  // namespace bdr::agent
