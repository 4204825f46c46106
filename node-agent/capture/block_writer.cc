#include "node-agent/capture/block_writer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/capture/tuple_bytes.h"
#include "node-agent/changelog/state.h"
#include "node-agent/tables/fold_changes.h"
#include "node-agent/tables/local_relation.h"

namespace bdr::agent {
namespace {

// A transaction that writes a table with deferred constraints stays in one block up to this size:
// appliers see a block at a time, and must not take for a claim what is taken back in a later one.
constexpr size_t kTogetherBytes = 16 << 20;

bool HasDeferrableConstraint(const postgres::TableInfo& table) {
  return std::any_of(table.constraints.begin(), table.constraints.end(),
                     [](const postgres::ConstraintInfo& one) { return one.deferrable; });
}

// An Update is: kind, relation, 'K' or 'O', old row, 'N', new row; a Delete the same up to the old
// row. (PostgreSQL manual, "Logical Replication Message Formats".)
std::string DeleteOfOldRow(const postgres::UpdateMessage& update, absl::string_view change) {
  constexpr size_t kBeforeRow = 1 + 4 + 1;
  std::string out(change.substr(0, kBeforeRow + TupleBytes(update.old_row)));
  out[0] = 'D';
  return out;
}

}  // namespace

absl::StatusOr<std::optional<CapturedState>> CapturedState::Load(Database* database) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, State(database).Get(kStateCaptured));
  if (!bytes.has_value()) return std::optional<CapturedState>();
  // Before ServerPast there were the first two alone.
  if (bytes->size() != 16 && bytes->size() != 32) {
    return absl::DataLossError("the capture position has the wrong length");
  }
  CapturedState state;
  ASSIGN_OR_RETURN(state.through.value, DecodeU64(absl::string_view(*bytes).substr(0, 8)));
  ASSIGN_OR_RETURN(const uint64_t stamp, DecodeU64(absl::string_view(*bytes).substr(8, 8)));
  state.last_stamp_us = static_cast<int64_t>(stamp);
  if (bytes->size() == 16) return std::optional<CapturedState>(state);
  ASSIGN_OR_RETURN(const uint64_t xid, DecodeU64(absl::string_view(*bytes).substr(16, 8)));
  ASSIGN_OR_RETURN(const uint64_t commit_us, DecodeU64(absl::string_view(*bytes).substr(24, 8)));
  state.last = {.xid = static_cast<uint32_t>(xid), .commit_us = static_cast<int64_t>(commit_us)};
  return std::optional<CapturedState>(state);
}

std::string CapturedState::Encode() const {
  return EncodeU64(through.value) + EncodeU64(static_cast<uint64_t>(last_stamp_us)) +
         EncodeU64(last.xid) + EncodeU64(static_cast<uint64_t>(last.commit_us));
}

BlockWriter::BlockWriter(Options options, Database* database, ChangeLog* log,
                         const conflict::VersionStore* versions, const conflict::ClaimStore* claims,
                         TableCache* tables, const KeysInFlight* keys, OwnChanges* own_changes,
                         Folding folding)
    : options_(options),
      database_(database),
      log_(log),
      versions_(versions),
      tables_(tables),
      keys_(keys),
      own_changes_(own_changes),
      explicit_values_(
          {.conninfo = options.connect.conninfo, .application_name = "bdr capture values"},
          versions),
      forms_({.conninfo = options.connect.conninfo, .application_name = "bdr capture forms"}),
      own_claims_(options.connect, claims),
      folding_(folding),
      builder_(options.own),
      chain_(log->End(options.own).chain),
      through_(options.captured.through),
      last_stamp_us_(options.captured.last_stamp_us),
      last_commit_(options.captured.last) {}

namespace {

// The column of the table's key that no node can find a row by; null if there is none, or if the
// changes come from when the table had another key.
const postgres::ColumnInfo* UnfitKeyColumn(const postgres::TableInfo& table,
                                           const postgres::RelationMessage& message) {
  const postgres::ColumnInfo* unfit = nullptr;
  for (const int local : table.key) {
    const postgres::ColumnInfo& column = table.columns[local];
    const bool announced =
        std::any_of(message.columns.begin(), message.columns.end(), [&column](const auto& remote) {
          return remote.is_key && remote.name == column.name && remote.type_oid == column.type->oid;
        });
    if (!announced && !column.generated) return nullptr;
    if (column.generated || !column.key_canonical) unfit = &column;
  }
  return unfit;
}

// Whether to ask again, where an answer that was lost would cost a row's version: only what the
// catalog or a row says for good is an answer.
bool MayPass(const absl::Status& status) {
  return !status.ok() && !absl::IsNotFound(status) && !absl::IsFailedPrecondition(status) &&
         !absl::IsInvalidArgument(status);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CapturedRelation>> BlockWriter::Announce(
    absl::string_view raw, postgres::RelationMessage message) {
  auto relation = std::make_shared<CapturedRelation>();
  relation->raw = std::string(raw);
  relation->message = std::move(message);
  relation->replicated = relation->message.schema != "bdr";
  if (!relation->replicated) return relation;
  ASSIGN_OR_RETURN(relation->forms, forms_.Describe(relation->message));

  // Announced for the first time, or because its shape has changed. The catalog is today's, the
  // relation is from when the row was written: the OID tells which table it is.
  absl::StatusOr<LocalRelation> here = FindOwnRelation(
      relation->message, *folding_.settings->TableChanges(), /*anew=*/true, tables_);
  if (absl::IsNotFound(here.status())) return relation;  // dropped since
  if (MayPass(here.status())) return here.status();
  // Where they no longer fit, the change goes out as it is; only its version is not kept.
  const auto without_versions = [&](const absl::Status& why) {
    LogWarning("capture", {{"relation", relation->message.schema + "." + relation->message.name}},
               absl::StrCat("row versions are not kept until the table is announced again: ",
                            why.message()));
    return relation;
  };
  if (!here.ok()) return without_versions(here.status());
  if (here->message.schema != relation->message.schema ||
      here->message.name != relation->message.name) {
    postgres::RelationMessage named = relation->message;
    named.schema = here->message.schema;
    named.name = here->message.name;
    relation->raw = postgres::Encode(named);
  }
  relation->message = std::move(here->message);
  absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> table =
      tables_->Find(relation->message.schema, relation->message.name);
  if (MayPass(table.status())) return table.status();
  if (!table.ok()) return without_versions(table.status());
  if (!(*table)->has_key) return relation;
  // It was put into the publication by hand, or before its key became what it is: no node could
  // write its rows, and each would stop.
  if (const postgres::ColumnInfo* column = UnfitKeyColumn(**table, relation->message)) {
    LogError("capture", {{"relation", (*table)->DisplayName()}},
             absl::StrCat("changes of the table do not travel, as rows cannot be found by its key "
                          "column \"",
                          column->name, "\": run \"bdrctl node check\""));
    relation->replicated = false;
    return relation;
  }
  absl::StatusOr<ColumnMap> columns = ColumnMap::Make(
      relation->message, *std::move(table), /*every_column=*/false, TypesOf(relation->message));
  if (!columns.ok()) return without_versions(columns.status());
  relation->columns = *std::move(columns);
  return relation;
}

// What does not decode is not known: the table's own type counts then.
TypeNames BlockWriter::TypesOf(const postgres::RelationMessage& relation) const {
  TypeNames names;
  for (const postgres::RelationColumn& column : relation.columns) {
    const auto raw = types_.find(column.type_oid);
    if (raw == types_.end()) continue;
    const absl::StatusOr<postgres::Message> message = postgres::Decode(raw->second);
    if (!message.ok()) continue;
    if (const auto* type = std::get_if<postgres::TypeMessage>(&*message)) {
      names[column.type_oid] = *type;
    }
  }
  return names;
}

void BlockWriter::AnnounceType(uint32_t oid, absl::string_view raw) {
  types_[oid] = std::string(raw);
}

absl::Status BlockWriter::Begin(const TransactionHeader& header, const CapturedCommit& commit,
                                size_t expected_bytes) {
  if (!builder_.empty() && (expected_bytes == 0 ||
                            builder_.payload_bytes() + expected_bytes > options_.block_max_bytes)) {
    Seal(/*more_parts=*/false);
  }
  current_ = header;
  commit_ = commit;
  suspect_header_ = nullptr;
  number_ = 0;
  part_ = 0;
  together_ = false;
  unpublished_ = true;
  builder_.BeginTransaction(header);
  return absl::OkStatus();
}

void BlockWriter::IncludeRelation(const std::shared_ptr<const CapturedRelation>& relation) {
  std::shared_ptr<const CapturedRelation>& included = in_block_[relation->message.relation_oid];
  if (included == relation) return;
  included = relation;
  for (const postgres::RelationColumn& column : relation->message.columns) {
    const auto type = types_.find(column.type_oid);
    if (type != types_.end() && !builder_.HasType(column.type_oid)) {
      builder_.AddType(column.type_oid, type->second);
    }
  }
  builder_.AddRelation(relation->message.relation_oid, relation->raw);
}

absl::Status BlockWriter::Add(const std::shared_ptr<const CapturedRelation>& relation,
                              absl::string_view change) {
  postgres::Message message;
  std::string whole;
  if (relation->columns.has_value()) {
    ASSIGN_OR_RETURN(message, postgres::Decode(change));
    if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) {
      absl::StatusOr<std::optional<std::string>> rewritten =
          explicit_values_.Rewrite(*relation->columns, *update, change);
      if (MayPass(rewritten.status())) return rewritten.status();
      if (!rewritten.ok()) {  // the table is another by now
        LogWarning("capture", {{"relation", relation->columns->table().DisplayName()}},
                   absl::StrCat("a disputed row goes out without its large values: ",
                                rewritten.status().message()));
      } else if (rewritten->has_value()) {
        whole = **std::move(rewritten);
        change = whole;
        ASSIGN_OR_RETURN(message, postgres::Decode(change));
      }
    }
  }
  together_ = together_ || (relation->columns.has_value() &&
                            HasDeferrableConstraint(relation->columns->table()));
  RETURN_IF_ERROR(SplitIfFull());
  IncludeRelation(relation);
  builder_.AddChange(change);
  ++changes_;
  ++number_;
  if (!relation->columns.has_value()) {
    PutRaised(relation->message.relation_oid);
    return absl::OkStatus();
  }
  policies_ = folding_.settings->Policies(relation->message.schema, relation->message.name);
  const absl::Status status = AddVersions(relation, message, change);
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
void BlockWriter::PutRaised(uint32_t table_oid) {
  if (current_.stamp.time_us <= commit_.shown_us()) return;
  if (std::exchange(raised_, {current_.end_lsn, table_oid}) ==
      std::pair(current_.end_lsn, table_oid)) {
    return;
  }
  versions_->Put(&batch_,
                 commit_.foreign ? conflict::MadeUpKey(table_oid, commit_.commit_us)
                                 : conflict::RaisedKey(table_oid, commit_.commit_us),
                 {.stamp = current_.stamp,
                  .origin = options_.own,
                  .end_lsn = current_.end_lsn,
                  .dead = false});
}

absl::Status BlockWriter::AddTruncate(
    const std::vector<std::shared_ptr<const CapturedRelation>>& relations,
    absl::string_view change) {
  RETURN_IF_ERROR(SplitIfFull());
  for (const std::shared_ptr<const CapturedRelation>& relation : relations) {
    IncludeRelation(relation);
    // The server that describes the relation is our own: so is its OID.
    versions_->PutTruncate(&batch_, relation->message.relation_oid,
                           {.stamp = current_.stamp,
                            .origin = options_.own,
                            .end_lsn = current_.end_lsn,
                            .dead = true});
    if (folding_.settings->Policies(relation->message.schema, relation->message.name) != nullptr) {
      conflict::HistoryEntry entry{.own = true, .commit_us = commit_.shown_us()};
      entry.change = TruncateOf(current_, options_.own, number_);
      folding_.history->PutEntry(&batch_, conflict::VersionKey(relation->message.relation_oid, ""),
                                 {}, entry);
    }
    // Rows that came in between cannot be named here; the truncate itself is merged once more.
    if (suspect_header_ == nullptr) {
      suspect_header_ = std::make_shared<const TransactionHeader>(current_);
    }
    suspects_.push_back({.truncate = true,
                         .version_key = "",
                         .gone = true,
                         .misleads = true,
                         .claims = false,
                         .values = {},
                         .commit_us = commit_.shown_us(),
                         .header = suspect_header_,
                         .relation = relation,
                         .change = std::string(change)});
  }
  builder_.AddChange(change);
  ++changes_;
  ++number_;
  return absl::OkStatus();
}

absl::Status BlockWriter::AddVersions(const std::shared_ptr<const CapturedRelation>& relation,
                                      const postgres::Message& message, absl::string_view change) {
  const ColumnMap& columns = *relation->columns;
  if (policies_ != nullptr) RETURN_IF_ERROR(PutHistory(*relation, message));
  if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(insert->row));
    PutVersion(relation, key, /*dead=*/false, change);
  } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(update->row));
    if (update->old_kind != 0) {
      ASSIGN_OR_RETURN(const std::string old_key, columns.Key(update->old_row));
      if (old_key != key && !BDR_RULE_BROKEN("old_key")) {
        PutVersion(relation, old_key, /*dead=*/true, DeleteOfOldRow(*update, change));
      }
    }
    PutVersion(relation, key, /*dead=*/false, change);
  } else if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) {
    ASSIGN_OR_RETURN(const std::string key, columns.Key(erase->old_row));
    PutVersion(relation, key, /*dead=*/true, change);
  }
  return absl::OkStatus();
}

void BlockWriter::PutVersion(const std::shared_ptr<const CapturedRelation>& relation,
                             absl::string_view key, bool dead, absl::string_view change) {
  std::string version_key = conflict::VersionKey(relation->columns->table().oid, key);
  versions_->Put(
      &batch_, version_key,
      {.stamp = current_.stamp, .origin = options_.own, .end_lsn = current_.end_lsn, .dead = dead});
  // A row that stands and shows its stamp as its commit time misleads nobody; but where rows fold,
  // whoever met it before it was captured has folded without it.
  const bool misleads = dead || current_.stamp.time_us > commit_.shown_us() ||
                        current_.end_lsn <= options_.touched_through;
  const bool claims = !dead && HasClaims(relation->columns->table());
  if (!misleads && !claims && policies_ == nullptr) return;
  if (suspect_header_ == nullptr) {
    suspect_header_ = std::make_shared<const TransactionHeader>(current_);
  }
  suspects_.push_back({.version_key = std::move(version_key),
                       .gone = dead,
                       .misleads = misleads,
                       .claims = claims,
                       .values = {},
                       .commit_us = commit_.shown_us(),
                       .header = suspect_header_,
                       .relation = relation,
                       .change = std::string(change),
                       .policies = policies_});
}

absl::Status BlockWriter::PutHistory(const CapturedRelation& relation,
                                     const postgres::Message& message) {
  ASSIGN_OR_RETURN(std::vector<KeyedChange> changes,
                   FoldChangesOf(message, *relation.columns, current_, options_.own, number_ - 1));
  const conflict::Attnums attnums = AttnumsOf(relation.columns->table());
  for (KeyedChange& change : changes) {
    folding_.history->PutEntry(&batch_, change.version_key, attnums,
                               {.change = std::move(change.change),
                                .own = true,
                                .commit_us = commit_.shown_us(),
                                .stable_us = folding_.progress->StableTime()});
  }
  return absl::OkStatus();
}

bool BlockWriter::IsTouched(const Suspect& suspect) const {
  if (suspect.header->end_lsn <= options_.touched_through) return true;
  const int64_t stamp_us = suspect.header->stamp.time_us;
  if (suspect.truncate) {
    return keys_->TouchesTable(suspect.relation->message.relation_oid, stamp_us);
  }
  if (suspect.policies != nullptr && suspect.policies->Folds(folding_.settings->active())) {
    // Whatever an applier wrote or is about to write there. And where another node's changes are
    // unstable, what this one makes of the row is for the fold to say.
    if (keys_->Touches(suspect.version_key, /*gone=*/true, 0, INT64_MAX)) return true;
    const absl::StatusOr<bool> has_base = folding_.history->HasBase(suspect.version_key);
    return !has_base.ok() || *has_base;
  }
  return (suspect.misleads &&
          keys_->Touches(suspect.version_key, suspect.gone, suspect.commit_us, stamp_us)) ||
         std::any_of(suspect.values.begin(), suspect.values.end(),
                     [this](const std::string& value) { return keys_->TouchesClaim(value); });
}

// What a later change of the same transaction replaced never stood, so it claims nothing, and there
// is nothing of it to be merged again beside that change. (Of the same part, as appliers see it.)
void BlockWriter::DropReplaced() {
  absl::flat_hash_set<std::pair<const TransactionHeader*, absl::string_view>> later;
  std::vector<Suspect> kept;
  for (auto suspect = suspects_.rbegin(); suspect != suspects_.rend(); ++suspect) {
    const bool last = later.emplace(suspect->header.get(), suspect->version_key).second;
    if (suspect->claims && !last) suspect->relation = nullptr;
  }
  for (Suspect& suspect : suspects_) {
    if (suspect.relation != nullptr) kept.push_back(std::move(suspect));
  }
  suspects_ = std::move(kept);
}

absl::Status BlockWriter::RecordClaims() {
  DropReplaced();
  std::vector<Suspect*> claiming;
  std::vector<OwnVersion> versions;
  for (Suspect& suspect : suspects_) {
    if (!std::exchange(suspect.claims, false)) continue;
    claiming.push_back(&suspect);
    versions.push_back({.relation = suspect.relation,
                        .change = suspect.change,
                        .version_key = suspect.version_key,
                        .stamp = suspect.header->stamp});
  }
  if (versions.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::vector<std::string>> values,
                   own_claims_.Record(versions, types_, &batch_));
  for (size_t i = 0; i < claiming.size(); ++i) claiming[i]->values = std::move(values[i]);
  return absl::OkStatus();
}

void BlockWriter::LookForTouched() {
  if (BDR_RULE_BROKEN("own_merge")) suspects_.clear();
  for (Suspect& suspect : suspects_) {
    if (!IsTouched(suspect)) continue;
    OwnChange own{.header = *suspect.header,
                  .relation = suspect.relation->raw,
                  .relation_message = suspect.relation->message,
                  .types = {},
                  .change = std::move(suspect.change)};
    for (const postgres::RelationColumn& column : suspect.relation->message.columns) {
      const auto type = types_.find(column.type_oid);
      if (type != types_.end()) own.types.push_back(type->second);
    }
    own_changes_->Add(std::move(own));
  }
  suspects_.clear();
}

// A transaction that outgrows its block goes on in another, as its next part.
absl::Status BlockWriter::SplitIfFull() {
  const size_t most =
      together_ ? std::max(options_.block_max_bytes, kTogetherBytes) : options_.block_max_bytes;
  if (builder_.payload_bytes() < most) return absl::OkStatus();
  // The versions that are written with a part outlive a crash that takes the part away. So its
  // stamp does as well: decoded again, the transaction gets a later one, never an earlier.
  PutState(through_, current_.stamp.time_us);
  RETURN_IF_ERROR(RecordClaims());
  // What was sealed before belongs to earlier, whole transactions.
  if (!sealed_.empty()) {
    RETURN_IF_ERROR(log_->AppendOwn(sealed_, &batch_));
    sealed_.clear();
    sealed_bytes_ = 0;
    batch_.Clear();
  }
  const EncodedBlock block = builder_.Seal(chain_, /*more_parts=*/true);
  chain_ = block.info.chain;
  in_block_.clear();
  RETURN_IF_ERROR(log_->WriteHidden(block, &batch_));
  batch_.Clear();
  LookForTouched();
  builder_.ContinueTransaction(current_, ++part_);
  return absl::OkStatus();
}

void BlockWriter::Seal(bool more_parts) {
  EncodedBlock block = builder_.Seal(chain_, more_parts);
  chain_ = block.info.chain;
  in_block_.clear();
  sealed_bytes_ += block.bytes.size();
  sealed_.push_back(std::move(block));
}

absl::Status BlockWriter::End() {
  last_stamp_us_ = current_.stamp.time_us;
  last_commit_ = commit_;
  ++transactions_;
  // Nothing may follow the last part of a large transaction in its block.
  if (part_ > 0) Seal(/*more_parts=*/false);
  part_ = 0;
  return absl::OkStatus();
}

void BlockWriter::PutState(Lsn through, int64_t last_stamp_us) {
  State(database_).Put(
      &batch_, kStateCaptured,
      CapturedState{.through = through, .last_stamp_us = last_stamp_us, .last = last_commit_}
          .Encode());
}

absl::Status BlockWriter::Flush(Lsn through) {
  if (!builder_.empty()) Seal(/*more_parts=*/false);
  through_ = through;
  PutState(through, last_stamp_us_);
  RETURN_IF_ERROR(RecordClaims());
  RETURN_IF_ERROR(log_->AppendOwn(sealed_, &batch_));
  sealed_.clear();
  sealed_bytes_ = 0;
  batch_.Clear();
  unpublished_ = false;
  LookForTouched();
  own_changes_->Looked(through);
  return absl::OkStatus();
}

}  // namespace bdr::agent
