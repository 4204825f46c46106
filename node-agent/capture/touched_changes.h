// Which of this node's own changes must be merged once more.
//
// A local change is in the database before capture sees it. An applier may have decided about the
// same row meanwhile: it met no row where a newer delete had been, a commit time below the row's
// stamp, or a unique value whose claim was not written down yet. What can have misled one is
// a suspect until its version can be read from the store. Then the keys in flight tell whether an
// applier was there: one that comes later finds the version.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "conflict/history_store.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/own_relations.h"
#include "node-agent/capture/own_transaction.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/inflight/in_flight.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture.
class TouchedChanges {
 public:
  struct Row {
    std::shared_ptr<const CapturedRelation> relation;
    std::string version_key;
    bool dead = false;
    // Whether its table has unique constraints beside the key: what it claims is still to be read.
    bool claims = false;
    absl::string_view change;                                 // pgoutput's, whole
    std::shared_ptr<const PolicyHistory> policies = nullptr;  // set: the table folds, or will
  };
  // What a suspect that stands may claim.
  struct Claiming {
    std::shared_ptr<const CapturedRelation> relation;
    absl::string_view change;
    absl::string_view version_key;
    conflict::Stamp stamp;
    std::vector<std::string>* in_flight = nullptr;  // where the names of its claims go
  };

  // Own changes that end at or before `touched_through` were committed before this agent knew which
  // rows appliers touch: all of them count as touched. Of `in_flight` keys and own changes.
  // `fold_history` and `settings` are asked about tables that fold. All outlive it.
  TouchedChanges(Lsn touched_through, const InFlight& in_flight,
                 const conflict::HistoryStore* fold_history, const Settings* settings)
      : touched_through_(touched_through),
        keys_(in_flight.keys),
        own_changes_(in_flight.own_changes),
        fold_history_(fold_history),
        settings_(settings) {}

  // To be called before the first change of each transaction.
  void Begin() { header_ = nullptr; }
  void AddRow(const OwnTransaction& transaction, Row row);
  // Rows that came in between cannot be named; the truncate itself is merged once more.
  void AddTruncate(const OwnTransaction& transaction,
                   const std::shared_ptr<const CapturedRelation>& relation,
                   absl::string_view change);

  // Of all that was added since the last Look(), those whose claims are still to be written down,
  // each once. What it returns holds until the next call of another method.
  std::vector<Claiming> TakeClaiming();

  // Hands to the own changes what must be merged once more, and forgets the rest. To be called once
  // versions and claims can be read from the store, and not before.
  void Look(const OwnRelations::Types& types);
  // All was looked at that ends at or before `through`, and nothing of it is left.
  void LookedThrough(Lsn through) { own_changes_->Looked(through); }

 private:
  struct Suspect {
    Row row;             // its `change` points nowhere
    std::string change;  // a copy of it
    bool truncate = false;
    // Its version may have misled an applier; else only its claims may have, or its place in the
    // history of a table that folds.
    bool misleads = true;
    bool replaced = false;
    std::vector<std::string> values;  // what it claims, as named among the keys in flight
    int64_t commit_us = 0;
    std::shared_ptr<const TransactionHeader> header;
  };
  void Add(const OwnTransaction& transaction, Suspect suspect, absl::string_view change);
  void DropReplaced();
  bool IsTouched(const Suspect& suspect) const;

  const Lsn touched_through_;
  const KeysInFlight* const keys_;
  OwnChanges* const own_changes_;
  const conflict::HistoryStore* const fold_history_;
  const Settings* const settings_;
  std::vector<Suspect> suspects_;
  std::shared_ptr<const TransactionHeader> header_;  // of the transaction, once it has a suspect
};

}  // namespace bdr::agent
