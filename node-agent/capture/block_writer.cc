#include "node-agent/capture/block_writer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/capture/may_pass.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

// A transaction that writes a table with deferred constraints stays in one block up to this size:
// appliers see a block at a time, and must not take for a claim what is taken back in a later one.
constexpr size_t kTogetherBytes = 16 << 20;

bool HasDeferrableConstraint(const postgres::TableInfo& table) {
  return std::any_of(table.constraints.begin(), table.constraints.end(),
                     [](const postgres::ConstraintInfo& one) { return one.deferrable; });
}

}  // namespace

BlockWriter::BlockWriter(const Options& options, const Stores& stores, const InFlight& in_flight,
                         const Settings* settings, const Progress* progress,
                         const OwnRelations* relations)
    : options_(options),
      stores_(stores),
      relations_(relations),
      explicit_values_({.conninfo = options.conninfo, .application_name = "bdr capture values"},
                       stores.versions),
      touched_(options.touched_through, in_flight, stores.fold_history, settings),
      versions_({.conninfo = options.conninfo, .application_name = "bdr claims"}, stores, settings,
                progress, &touched_),
      builder_(options.own),
      chain_(stores.log->End(options.own).chain),
      through_(options.captured.through),
      last_stamp_us_(options.captured.last_stamp_us),
      last_commit_(options.captured.last) {}

absl::Status BlockWriter::Begin(const TransactionHeader& header, const CapturedCommit& commit,
                                size_t expected_bytes) {
  if (!builder_.empty() && (expected_bytes == 0 ||
                            builder_.payload_bytes() + expected_bytes > options_.block_max_bytes)) {
    Seal(/*more_parts=*/false);
  }
  current_ = {.origin = options_.own, .header = header, .commit = commit};
  touched_.Begin();
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
    const auto type = relations_->types().find(column.type_oid);
    if (type != relations_->types().end() && !builder_.HasType(column.type_oid)) {
      builder_.AddType(column.type_oid, type->second);
    }
  }
  builder_.AddRelation(relation->message.relation_oid, relation->raw);
}

// An update that leaves a disputed value alone is made to carry it first, as what goes out and what
// the versions are of must be the same change. Then it is made sure that the block has room; only
// what is in a block gets a version, since both are written together.
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
  RETURN_IF_ERROR(versions_.Add(current_, relation, message, change, &batch_));
  ++counts_.changes;
  ++current_.changes;
  return absl::OkStatus();
}

absl::Status BlockWriter::AddTruncate(
    absl::Span<const std::shared_ptr<const CapturedRelation>> relations, absl::string_view change) {
  RETURN_IF_ERROR(SplitIfFull());
  for (const std::shared_ptr<const CapturedRelation>& relation : relations) {
    IncludeRelation(relation);
    versions_.AddTruncate(current_, relation, change, &batch_);
  }
  builder_.AddChange(change);
  ++counts_.changes;
  ++current_.changes;
  return absl::OkStatus();
}

// In this order: state and claims are added to the batch that holds the versions; what was sealed
// before belongs to earlier, whole transactions, and becomes visible with all of that; then the
// part is written, where nobody sees it yet. Only now versions can be read from the store, so only
// now it is looked whom they touch.
//
// A transaction that outgrows its block goes on in another, as its next part.
absl::Status BlockWriter::SplitIfFull() {
  const size_t most =
      together_ ? std::max(options_.block_max_bytes, kTogetherBytes) : options_.block_max_bytes;
  if (builder_.payload_bytes() < most) return absl::OkStatus();
  // The versions that are written with a part outlive a crash that takes the part away. So its
  // stamp does as well: decoded again, the transaction gets a later one, never an earlier.
  PutState(through_, current_.header.stamp.time_us);
  RETURN_IF_ERROR(versions_.RecordClaims(relations_->types(), &batch_));
  if (!sealed_.empty()) {
    RETURN_IF_ERROR(stores_.log->AppendOwn(sealed_, &batch_));
    sealed_.clear();
    sealed_bytes_ = 0;
    batch_.Clear();
  }
  const EncodedBlock block = builder_.Seal(chain_, /*more_parts=*/true);
  chain_ = block.info.chain;
  in_block_.clear();
  RETURN_IF_ERROR(stores_.log->WriteHidden(block, &batch_));
  batch_.Clear();
  touched_.Look(relations_->types());
  builder_.ContinueTransaction(current_.header, ++part_);
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
  last_stamp_us_ = current_.header.stamp.time_us;
  last_commit_ = current_.commit;
  ++counts_.transactions;
  // Nothing may follow the last part of a large transaction in its block.
  if (part_ > 0) Seal(/*more_parts=*/false);
  part_ = 0;
  return absl::OkStatus();
}

void BlockWriter::PutState(Lsn through, int64_t last_stamp_us) {
  State(stores_.database)
      .Put(&batch_, kStateCaptured,
           CapturedState{.through = through, .last_stamp_us = last_stamp_us, .last = last_commit_}
               .Encode());
}

absl::Status BlockWriter::Flush(Lsn through) {
  if (!builder_.empty()) Seal(/*more_parts=*/false);
  through_ = through;
  PutState(through, last_stamp_us_);
  RETURN_IF_ERROR(versions_.RecordClaims(relations_->types(), &batch_));
  RETURN_IF_ERROR(stores_.log->AppendOwn(sealed_, &batch_));
  sealed_.clear();
  sealed_bytes_ = 0;
  batch_.Clear();
  unpublished_ = false;
  touched_.Look(relations_->types());
  touched_.LookedThrough(through);
  return absl::OkStatus();
}

}  // namespace bdr::agent
