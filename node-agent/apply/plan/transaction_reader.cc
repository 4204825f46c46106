#include "node-agent/apply/plan/transaction_reader.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::StatusOr<Piece> MakePiece(OwnChange own) {
  auto relation = std::make_shared<RemoteRelation>();
  relation->raw = std::move(own.relation);
  relation->message = std::move(own.relation_message);
  for (const std::string& raw : own.types) {
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(raw));
    if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
      relation->types[type->type_oid] = *type;
    }
  }
  Piece piece{.header = std::move(own.header), .changes = {}, .payload = nullptr};
  piece.bytes_owned = std::make_shared<const std::string>(std::move(own.change));
  piece.bytes = piece.bytes_owned->size();
  ASSIGN_OR_RETURN(postgres::Message message, postgres::Decode(*piece.bytes_owned));
  RemoteChange change{.relation = relation, .message = std::move(message), .truncated = {}};
  if (std::holds_alternative<postgres::TruncateMessage>(change.message)) {
    change.truncated.push_back(relation);
  }
  piece.changes.push_back(std::move(change));
  return piece;
}

void TransactionReader::Seek(Lsn applied) {
  applied_ = applied;
  // Part numbers are far below the largest: what follows is the first block that ends later.
  at_ = {.end_lsn = applied, .part = UINT32_MAX};
  open_.reset();
  pieces_.clear();
}

absl::StatusOr<const Piece*> TransactionReader::Peek(absl::Duration timeout) {
  while (pieces_.empty()) {
    ASSIGN_OR_RETURN(const std::optional<EncodedBlock> block, log_->Next(origin_, at_));
    if (!block.has_value()) {
      if (!log_->WaitBeyond(origin_, at_, timeout)) return nullptr;
      timeout = absl::ZeroDuration();
      continue;
    }
    RETURN_IF_ERROR(Load(*block));
    at_ = block->info.cursor();
  }
  return &pieces_.front();
}

Piece TransactionReader::Pop() {
  Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  return piece;
}

absl::Status TransactionReader::Load(const EncodedBlock& block) {
  ASSIGN_OR_RETURN(std::vector<Piece> pieces, PiecesOf(block, applied_, &open_));
  std::move(pieces.begin(), pieces.end(), std::back_inserter(pieces_));
  return absl::OkStatus();
}

// In the order of the block: a relation or type counts for the changes behind it, until it is
// announced again. A block that goes on with a transaction has its changes before any begin.
// Transactions that are applied already are passed, but what they announce counts.
absl::StatusOr<std::vector<Piece>> PiecesOf(const EncodedBlock& block, Lsn applied,
                                            std::optional<OpenTransaction>* open) {
  ASSIGN_OR_RETURN(BlockPayload opened, BlockPayload::Open(block.bytes));
  const auto payload = std::make_shared<const BlockPayload>(std::move(opened));
  absl::flat_hash_map<uint32_t, std::shared_ptr<const RemoteRelation>> relations;
  absl::flat_hash_map<uint32_t, postgres::TypeMessage> types;
  std::vector<Piece> pieces;
  bool skipping = true;
  uint32_t number = open->has_value() ? (*open)->changes : 0;

  if (open->has_value()) {
    pieces.push_back(
        {.header = (*open)->header, .first = false, .changes = {}, .payload = payload});
    skipping = false;
  }
  const auto find = [&](uint32_t oid) -> absl::StatusOr<std::shared_ptr<const RemoteRelation>> {
    const auto found = relations.find(oid);
    if (found != relations.end()) return found->second;
    return absl::DataLossError(absl::StrCat("a block of origin ", ToString(block.info.origin),
                                            " names relation ", oid, " without describing it"));
  };
  const BlockVisitor visitor{
      .relation = [&](absl::string_view raw) -> absl::Status {
        ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(raw));
        const auto* relation = std::get_if<postgres::RelationMessage>(&message);
        if (relation == nullptr) return absl::DataLossError("a relation record holds no relation");
        auto remote = std::make_shared<RemoteRelation>();
        remote->raw = std::string(raw);
        remote->message = *relation;
        for (const postgres::RelationColumn& column : relation->columns) {
          const auto type = types.find(column.type_oid);
          if (type != types.end()) remote->types[column.type_oid] = type->second;
        }
        relations[relation->relation_oid] = std::move(remote);
        return absl::OkStatus();
      },
      .type = [&](absl::string_view raw) -> absl::Status {
        ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(raw));
        const auto* type = std::get_if<postgres::TypeMessage>(&message);
        if (type == nullptr) return absl::DataLossError("a type record holds no type");
        types[type->type_oid] = *type;
        return absl::OkStatus();
      },
      .begin = [&](const TransactionHeader& header) -> absl::Status {
        skipping = header.end_lsn <= applied;
        number = 0;
        if (!skipping) pieces.push_back({.header = header, .changes = {}, .payload = payload});
        return absl::OkStatus();
      },
      .change = [&](absl::string_view bytes) -> absl::Status {
        if (skipping) return absl::OkStatus();
        ASSIGN_OR_RETURN(postgres::Message message, postgres::Decode(bytes));
        RemoteChange change{.relation = nullptr, .message = std::move(message), .truncated = {}};
        if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&change.message)) {
          for (const uint32_t oid : truncate->relation_oids) {
            // Relations that are not replicated are not described.
            if (const auto found = relations.find(oid); found != relations.end()) {
              change.truncated.push_back(found->second);
            }
          }
        } else {
          ASSIGN_OR_RETURN(change.relation, find(postgres::PeekRelationOid(bytes)));
        }
        change.number = number++;
        pieces.back().changes.push_back(std::move(change));
        pieces.back().bytes += bytes.size();
        return absl::OkStatus();
      }};
  RETURN_IF_ERROR(payload->ForEach(visitor));

  open->reset();
  if (block.info.more_parts && !pieces.empty()) {
    pieces.back().last = false;
    *open = {.header = pieces.back().header, .changes = number};
  }
  return pieces;
}

}  // namespace bdr::agent
