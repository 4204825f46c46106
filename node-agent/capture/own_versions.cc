#include "node-agent/capture/own_versions.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/capture/may_pass.h"
#include "node-agent/capture/tuple_bytes.h"
#include "node-agent/tables/fold_changes.h"

namespace bdr::agent {
namespace {

// An Update is: kind, relation, 'K' or 'O', old row, 'N', new row; a Delete the same up to the old
// row. (PostgreSQL manual, "Logical Replication Message Formats".)
std::string DeleteOfOldRow(const postgres::UpdateMessage& update, absl::string_view change) {
  constexpr size_t kBeforeRow = 1 + 4 + 1;
  std::string out(change.substr(0, kBeforeRow + TupleBytes(update.old_row)));
  out[0] = 'D';
  return out;
}

conflict::Version VersionOf(const OwnTransaction& transaction, bool dead) {
  return {.stamp = transaction.header.stamp,
          .origin = transaction.origin,
          .end_lsn = transaction.header.end_lsn,
          .dead = dead};
}

}  // namespace

absl::Status OwnVersions::Add(const OwnTransaction& transaction,
                              const std::shared_ptr<const CapturedRelation>& relation,
                              const postgres::Message& message, absl::string_view change,
                              rocksdb::WriteBatch* batch) {
  if (!relation->columns.has_value()) {
    PutRaised(transaction, relation->message.relation_oid, batch);
    return absl::OkStatus();
  }
  const absl::Status status =
      Put({.transaction = transaction,
           .relation = relation,
           .message = message,
           .bytes = change,
           .policies = settings_->Policies(relation->message.schema, relation->message.name),
           .batch = batch});
  if (MayPass(status)) return status;
  const std::string name = relation->columns->table().DisplayName();
  // Of many rows one line.
  if (!status.ok() && lost_versions_.Failed(name, SteadyNow())) {
    LogWarning("capture", {{"relation", name}},
               lost_versions_.LineText(
                   absl::StrCat("the version of a changed row is not kept: ", status.message())));
  }
  return absl::OkStatus();
}

// Of a row without a key only the commit time shows, which may lie below its stamp.
void OwnVersions::PutRaised(const OwnTransaction& transaction, uint32_t table_oid,
                            rocksdb::WriteBatch* batch) {
  const CapturedCommit& commit = transaction.commit;
  if (transaction.header.stamp.time_us <= commit.shown_us()) return;
  const std::pair<Lsn, uint32_t> raised(transaction.header.end_lsn, table_oid);
  if (std::exchange(raised_, raised) == raised) return;
  stores_.versions->Put(batch,
                        commit.foreign ? conflict::MadeUpKey(table_oid, commit.commit_us)
                                       : conflict::RaisedKey(table_oid, commit.commit_us),
                        VersionOf(transaction, /*dead=*/false));
}

void OwnVersions::AddTruncate(const OwnTransaction& transaction,
                              const std::shared_ptr<const CapturedRelation>& relation,
                              absl::string_view change, rocksdb::WriteBatch* batch) {
  // The server that describes the relation is our own: so is its OID.
  const uint32_t table_oid = relation->message.relation_oid;
  stores_.versions->PutTruncate(batch, table_oid, VersionOf(transaction, /*dead=*/true));
  if (settings_->Policies(relation->message.schema, relation->message.name) != nullptr) {
    conflict::HistoryEntry entry{.own = true, .commit_us = transaction.commit.shown_us()};
    entry.change = TruncateOf(transaction.header, transaction.origin, transaction.changes);
    stores_.fold_history->PutEntry(batch, conflict::VersionKey(table_oid, ""), {}, entry);
  }
  touched_->AddTruncate(transaction, relation, change);
}

absl::Status OwnVersions::Put(const Change& change) {
  const ColumnMap& columns = *change.relation->columns;
  if (change.policies != nullptr) RETURN_IF_ERROR(PutHistory(change));
  if (const auto* insert = std::get_if<postgres::InsertMessage>(&change.message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(insert->row));
    PutVersion(change, key, /*dead=*/false, change.bytes);
  } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&change.message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(update->row));
    if (update->old_kind != 0) {
      ASSIGN_OR_RETURN(const std::string old_key, columns.Key(update->old_row));
      if (old_key != key && !BDR_RULE_BROKEN("old_key")) {
        PutVersion(change, old_key, /*dead=*/true, DeleteOfOldRow(*update, change.bytes));
      }
    }
    PutVersion(change, key, /*dead=*/false, change.bytes);
  } else if (const auto* erase = std::get_if<postgres::DeleteMessage>(&change.message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(erase->old_row));
    PutVersion(change, key, /*dead=*/true, change.bytes);
  }
  return absl::OkStatus();
}

void OwnVersions::PutVersion(const Change& change, absl::string_view key, bool dead,
                             absl::string_view bytes) {
  const postgres::TableInfo& table = change.relation->columns->table();
  std::string version_key = conflict::VersionKey(table.oid, key);
  stores_.versions->Put(change.batch, version_key, VersionOf(change.transaction, dead));
  touched_->AddRow(change.transaction, {.relation = change.relation,
                                        .version_key = std::move(version_key),
                                        .dead = dead,
                                        .claims = !dead && HasClaims(table),
                                        .change = bytes,
                                        .policies = change.policies});
}

absl::Status OwnVersions::PutHistory(const Change& change) {
  const OwnTransaction& transaction = change.transaction;
  ASSIGN_OR_RETURN(std::vector<KeyedChange> changes,
                   FoldChangesOf(change.message, *change.relation->columns, transaction.header,
                                 transaction.origin, transaction.changes));
  const conflict::Attnums attnums = AttnumsOf(change.relation->columns->table());
  for (KeyedChange& one : changes) {
    stores_.fold_history->PutEntry(change.batch, one.version_key, attnums,
                                   {.change = std::move(one.change),
                                    .own = true,
                                    .commit_us = transaction.commit.shown_us(),
                                    .stable_us = progress_->StableTime()});
  }
  return absl::OkStatus();
}

absl::Status OwnVersions::RecordClaims(const OwnRelations::Types& types,
                                       rocksdb::WriteBatch* batch) {
  const std::vector<TouchedChanges::Claiming> claiming = touched_->TakeClaiming();
  if (claiming.empty()) return absl::OkStatus();
  std::vector<OwnVersion> versions;
  for (const TouchedChanges::Claiming& one : claiming) {
    versions.push_back({.relation = one.relation,
                        .change = one.change,
                        .version_key = one.version_key,
                        .stamp = one.stamp});
  }
  ASSIGN_OR_RETURN(std::vector<std::vector<std::string>> values,
                   claims_.Record(versions, types, batch));
  for (size_t i = 0; i < claiming.size(); ++i) *claiming[i].in_flight = std::move(values[i]);
  return absl::OkStatus();
}

}  // namespace bdr::agent
