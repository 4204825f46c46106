#include "node-agent/apply/plan/group_versions.h"

#include <rocksdb/iterator.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/apply/plan/seen.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {

namespace {

// Of deletes in one write, so that memory stays bounded whatever a transaction had hidden.
constexpr size_t kSweptBytes = 1 << 20;

}  // namespace

using conflict::Version;

std::string GroupVersions::NameOfHidden(Lsn end_lsn, absl::string_view version_key) const {
  return absl::StrCat(kStateBefore, EncodeOrigin(origin_), EncodeU64(end_lsn.value), version_key);
}

absl::Status GroupVersions::Begin(Lsn applied) {
  applied_ = applied;
  hidden_through_ = sweep_through_ = swept_through_ = Lsn{0};
  const std::string prefix = absl::StrCat(kStateBefore, EncodeOrigin(origin_));
  const std::unique_ptr<rocksdb::Iterator> last(
      stores_.database->db()->NewIterator(rocksdb::ReadOptions(), stores_.database->state()));
  last->SeekForPrev(NameOfHidden(Lsn{UINT64_MAX}, ""));
  RETURN_IF_ERROR(FromRocksDb(last->status(), "cannot read the state"));
  if (last->Valid()) {
    const absl::string_view name(last->key().data(), last->key().size());
    if (absl::StartsWith(name, prefix) && name.size() >= prefix.size() + 8) {
      ASSIGN_OR_RETURN(hidden_through_.value, DecodeU64(name.substr(prefix.size(), 8)));
    }
  }
  return absl::OkStatus();
}

void GroupVersions::Applied(Lsn applied, Lsn durable) {
  applied_ = applied;
  if (sweep_through_ == Lsn{0}) sweep_through_ = hidden_through_;
  if (sweep_through_ == Lsn{0} || durable < sweep_through_) return;
  // One by one: deleted ranges would pile up in a family that is seldom compacted, for every
  // reader. And from where the last sweep ended, not through what that has deleted.
  const std::string end = NameOfHidden(Lsn{sweep_through_.value + 1}, "");
  const std::unique_ptr<rocksdb::Iterator> it(
      stores_.database->db()->NewIterator(rocksdb::ReadOptions(), stores_.database->state()));
  rocksdb::WriteBatch batch;
  for (it->Seek(NameOfHidden(Lsn{swept_through_.value + 1}, ""));
       it->Valid() && it->key().compare(end) < 0; it->Next()) {
    (void)batch.Delete(stores_.database->state(), it->key());
    if (batch.GetDataSize() < kSweptBytes) continue;
    if (!stores_.database->Write(&batch, /*sync=*/false).ok()) return;
    batch.Clear();
  }
  // If it fails (a full disk, say) the next commit tries again; nobody asks for them any more.
  if (!it->status().ok() || !stores_.database->Write(&batch, /*sync=*/false).ok()) return;
  swept_through_ = sweep_through_;
  if (hidden_through_ == sweep_through_) hidden_through_ = Lsn{0};
  sweep_through_ = hidden_through_;
}

absl::StatusOr<std::vector<std::optional<Version>>> GroupVersions::Get(
    absl::Span<const std::string> keys, Lsn through) const {
  ASSIGN_OR_RETURN(std::vector<std::optional<Version>> versions, stores_.versions->Get(keys));
  if (captured_here_) return versions;
  const Lsn known_through = std::max(through, applied_);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!versions[i].has_value() || versions[i]->origin != origin_) continue;
    if (versions[i]->end_lsn <= known_through) continue;
    ASSIGN_OR_RETURN(const std::optional<std::string> hidden,
                     State(stores_.database).Get(NameOfHidden(versions[i]->end_lsn, keys[i])));
    versions[i].reset();
    if (!hidden.has_value()) continue;
    versions[i] = conflict::DecodeVersion(*hidden);
    if (!versions[i].has_value()) {
      return absl::DataLossError("a version in the agent's state is malformed");
    }
  }
  return versions;
}

// What is known is read before anything is written, and all is written at once. Segment by segment
// the plan's versions go into the batch, and a newer TRUNCATE of a row's table into `before`. Then
// key by key what stood in the store: into `before`, and where this group hides something that it
// had not seen, beside the store as well, for an attempt after a crash. Claims last; and how far
// the origin's versions are recorded only with what ends a transaction, since half of one comes
// again.
absl::Status GroupVersions::Record(GroupPlan& plan, const GroupClaims& claims, Versions* before,
                                   const Recording& recording) {
  struct Newest {
    const RowOp* op = nullptr;  // the last of its key
    const TransactionHeader* first_header = nullptr;
  };
  const std::vector<std::string> keys = plan.Keys();
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> known, Get(keys, applied_));
  rocksdb::WriteBatch batch;
  absl::flat_hash_map<uint32_t, std::optional<Version>> truncates;
  absl::flat_hash_map<std::string, Newest> own;
  for (const Segment& segment : plan.segments()) {
    if (!captured_here_ && recording.with_history) RecordHistory(plan, segment, &batch);
    for (const TableOps& ops : segment.tables) {
      const uint32_t oid = ops.table->table().oid;
      if (!truncates.contains(oid)) {
        ASSIGN_OR_RETURN(truncates[oid], stores_.versions->GetTruncate(oid));
      }
      if (!ops.table->table().has_key && truncates[oid].has_value()) {
        (*before)[conflict::VersionKey(oid, "")] = *truncates[oid];
      }
      for (const RowOp& op : ops.rows) {
        if (op.version_key.empty()) continue;
        const Version version{
            .stamp = op.stamp, .origin = origin_, .end_lsn = op.end_lsn, .dead = op.is_delete()};
        if (!captured_here_) stores_.versions->Put(&batch, op.version_key, version);
        Newest& newest = own[op.version_key];
        if (newest.op == nullptr) newest.first_header = op.first_header;
        if (newest.op == nullptr || newest.op->stamp <= op.stamp) newest.op = &op;
        const std::optional<Version>& truncate = truncates[oid];
        if (truncate.has_value() && truncate->stamp > op.stamp) {
          (*before)[op.version_key] = *truncate;
        }
      }
    }
    if (!segment.truncate.has_value() || captured_here_) continue;
    for (const std::shared_ptr<const BoundTable>& table : segment.truncate->tables) {
      stores_.versions->PutTruncate(&batch, table->table().oid,
                                    {.stamp = segment.truncate->stamp,
                                     .origin = origin_,
                                     .end_lsn = segment.truncate->end_lsn,
                                     .dead = true});
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!known[i].has_value()) continue;
    const Newest& newest = own[keys[i]];
    if (newest.op != nullptr) {
      // Its own tells nothing of what stood there before.
      if (captured_here_ && known[i]->stamp <= newest.op->stamp) continue;
      if (known[i]->origin == origin_ && known[i]->end_lsn == recording.letter) continue;
    }
    Version& version = (*before)[keys[i]];
    if (version.stamp <= known[i]->stamp) version = *known[i];
    if (captured_here_ || newest.op == nullptr || newest.op->end_lsn <= applied_) continue;
    if (known[i]->stamp.time_us <=
        SeenUntilTime(*newest.first_header, origin_.node, known[i]->stamp.node)) {
      continue;
    }
    State(stores_.database)
        .Put(&batch, NameOfHidden(newest.op->end_lsn, keys[i]), conflict::EncodeVersion(*known[i]));
    hidden_through_ = std::max(hidden_through_, newest.op->end_lsn);
  }
  // Of an own change capture has written the version before.
  if (captured_here_) return absl::OkStatus();
  claims.Record(*stores_.claims, &batch);
  if (recording.ends_here) {
    State(stores_.database)
        .Put(&batch, absl::StrCat(kStateVersions, EncodeOrigin(origin_)),
             EncodeU64(plan.last().end_lsn.value));
  }
  return stores_.database->Write(&batch, /*sync=*/false);
}

// Every change of tables that keep a history, each once, however often it is tried. Before the
// table folds a change replaces its whole row, and nothing is known of what it was.
void GroupVersions::RecordHistory(const GroupPlan& plan, const Segment& segment,
                                  rocksdb::WriteBatch* batch) const {
  for (const TableOps& ops : segment.tables) {
    if (ops.changes.empty()) continue;
    const conflict::Attnums attnums = AttnumsOf(ops.table->table());
    for (const KeyedChange& change : ops.changes) {
      stores_.fold_history->PutEntry(batch, change.version_key, attnums, {.change = change.change});
      if (ops.table->fold().folds()) continue;
      stores_.fold_history->PutBase(batch, change.version_key, attnums, {.assumed = true});
    }
  }
  if (!segment.truncate.has_value()) return;
  for (const std::shared_ptr<const BoundTable>& table : segment.truncate->tables) {
    if (!table->fold().keeps_history()) continue;
    conflict::HistoryEntry entry;
    entry.change = TruncateOf({.end_lsn = segment.truncate->end_lsn,
                               .stamp = segment.truncate->stamp,
                               .settings_version = plan.last().settings_version},
                              origin_, segment.truncate->number);
    stores_.fold_history->PutEntry(batch, conflict::VersionKey(table->table().oid, ""), {}, entry);
  }
}

}  // namespace bdr::agent
