#include "node-agent/capture/transaction_assembler.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

// What is kept of the memory of a transaction for the next one.
constexpr size_t kKeptBytes = 1 << 20;

// Between Stream Start and Stop messages carry an xid behind their kind.
constexpr size_t kXidBytes = 4;
std::string WithoutXid(absl::string_view message) {
  std::string out(message.substr(0, 1));
  absl::StrAppend(&out, message.substr(1 + kXidBytes));
  return out;
}

// Of the subtransaction that has sent a change within a stream; 0 if the message is no change.
uint32_t SubxidOf(const postgres::Message& message) {
  if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) return insert->xid;
  if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) return update->xid;
  if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) return erase->xid;
  if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&message)) return truncate->xid;
  return 0;
}

}  // namespace

// What is streamed goes its own way; of the rest, each kind of message has its line. Logical
// messages are nobody's here.
absl::StatusOr<std::optional<AssembledTransaction>> TransactionAssembler::Add(
    absl::string_view data) {
  ASSIGN_OR_RETURN(const postgres::Message message,
                   postgres::Decode(data, {.in_stream = stream_xid_ != 0}));
  if (std::holds_alternative<postgres::StreamStartMessage>(message) || stream_xid_ != 0 ||
      std::holds_alternative<postgres::StreamCommitMessage>(message) ||
      std::holds_alternative<postgres::StreamAbortMessage>(message)) {
    return AddStreamed(data, message);
  }
  if (const auto* begin = std::get_if<postgres::BeginMessage>(&message)) {
    Begin(*begin);
  } else if (const auto* origin = std::get_if<postgres::OriginMessage>(&message)) {
    stays_here_ = surroundings_.stays_here(origin->name);
    foreign_ = !stays_here_;
  } else if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
    RETURN_IF_ERROR(relations_.Describe(data, *relation));
  } else if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
    surroundings_.announce_type(type->type_oid, data);
  } else if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) {
    RETURN_IF_ERROR(AddChange(data, {insert->relation_oid}, /*truncate=*/false));
  } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) {
    RETURN_IF_ERROR(AddChange(data, {update->relation_oid}, /*truncate=*/false));
  } else if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) {
    RETURN_IF_ERROR(AddChange(data, {erase->relation_oid}, /*truncate=*/false));
  } else if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&message)) {
    RETURN_IF_ERROR(AddChange(data, truncate->relation_oids, /*truncate=*/true));
  } else if (const auto* commit = std::get_if<postgres::CommitMessage>(&message)) {
    return Commit(*commit);
  } else if (std::holds_alternative<postgres::PreparedMessage>(message)) {
    return absl::InternalError("the server sent a prepared transaction, which was not asked for");
  }
  return Ended();
}

void TransactionAssembler::Begin(const postgres::BeginMessage& begin) {
  open_ = true;
  stays_here_ = false;
  foreign_ = false;
  begin_ = begin;
  bytes_.clear();
  changes_.clear();
  spilled_.clear();
}

absl::Status TransactionAssembler::AddChange(absl::string_view data,
                                             const std::vector<uint32_t>& oids, bool truncate) {
  if (stays_here_) return absl::OkStatus();
  Change change{.relations = {},
                .left_alone = {},
                .truncate = truncate,
                .offset = bytes_.size(),
                .length = data.size()};
  for (const uint32_t oid : oids) {
    ASSIGN_OR_RETURN(Relation relation, relations_.Find(oid));
    (relation->replicated ? change.relations : change.left_alone).push_back(std::move(relation));
  }
  if (change.relations.empty()) return absl::OkStatus();
  bytes_.append(data.data(), data.size());
  changes_.push_back(std::move(change));
  return bytes_.size() < memory_bytes_ ? absl::OkStatus() : Spill();
}

absl::Status TransactionAssembler::Spill() {
  for (const Change& change : changes_) {
    for (const std::vector<Relation>* named : {&change.relations, &change.left_alone}) {
      for (const Relation& relation : *named) {
        Relation& last = spilled_[relation->message.relation_oid];
        if (last == relation) continue;
        last = relation;
        RETURN_IF_ERROR(spool_.Add(begin_.xid, begin_.xid, Spool::Kind::kRelation, relation->raw));
      }
    }
    RETURN_IF_ERROR(spool_.Add(begin_.xid, begin_.xid, Spool::Kind::kChange,
                               absl::string_view(bytes_).substr(change.offset, change.length)));
  }
  bytes_.clear();
  changes_.clear();
  return absl::OkStatus();
}

TransactionAssembler::Ended TransactionAssembler::Commit(const postgres::CommitMessage& commit) {
  open_ = false;
  const bool spooled = !spilled_.empty();
  return AssembledTransaction{.xid = begin_.xid,
                              .commit = commit,
                              .streamed = false,
                              .spooled = spooled,
                              .bytes = spooled ? 0 : bytes_.size(),
                              .stays_here = stays_here_,
                              .foreign = foreign_};
}

absl::StatusOr<TransactionAssembler::Ended> TransactionAssembler::AddStreamed(
    absl::string_view data, const postgres::Message& message) {
  if (const auto* start = std::get_if<postgres::StreamStartMessage>(&message)) {
    stream_xid_ = start->xid;
    return Ended();
  }
  if (std::holds_alternative<postgres::StreamStopMessage>(message)) {
    stream_xid_ = 0;
    return Ended();
  }
  if (const auto* abort = std::get_if<postgres::StreamAbortMessage>(&message)) {
    if (abort->xid == abort->subxid) {
      relations_.RolledBack(abort->xid);
      ++rolled_back_;
    }
    RETURN_IF_ERROR(spool_.Abort(abort->xid, abort->subxid));
    return Ended();
  }
  if (const auto* commit = std::get_if<postgres::StreamCommitMessage>(&message)) {
    return Ended(AssembledTransaction{.xid = commit->xid,
                                      .commit = {.commit_lsn = commit->commit_lsn,
                                                 .end_lsn = commit->end_lsn,
                                                 .commit_time_us = commit->commit_time_us},
                                      .streamed = true,
                                      .spooled = true,
                                      .bytes = 0,
                                      .stays_here = spool_.IsRemote(commit->xid),
                                      .foreign = false});
  }
  RETURN_IF_ERROR(SpoolStreamed(data, message));
  return Ended();
}

absl::Status TransactionAssembler::SpoolStreamed(absl::string_view data,
                                                 const postgres::Message& message) {
  using Kind = Spool::Kind;
  if (const auto* origin = std::get_if<postgres::OriginMessage>(&message)) {
    if (surroundings_.stays_here(origin->name)) spool_.MarkRemote(stream_xid_);
    return absl::OkStatus();
  }
  if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
    std::string raw = WithoutXid(data);
    RETURN_IF_ERROR(spool_.Add(stream_xid_, relation->xid, Kind::kRelation, raw));
    relations_.DescribeStreamed(stream_xid_, relation->relation_oid, std::move(raw));
    return absl::OkStatus();
  }
  if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
    const std::string raw = WithoutXid(data);
    surroundings_.announce_type(type->type_oid, raw);
    return spool_.Add(stream_xid_, type->xid, Kind::kType, raw);
  }
  const uint32_t subxid = SubxidOf(message);
  if (subxid == 0) return absl::OkStatus();
  return spool_.Add(stream_xid_, subxid, Kind::kChange, WithoutXid(data));
}

// From memory as it lies there. From the spool messages come as they were sent, descriptions among
// them: a relation is the one that was described last before the change, as this transaction saw
// it.
absl::Status TransactionAssembler::ForEachChange(
    const AssembledTransaction& transaction,
    const std::function<absl::Status(const AssembledChange&)>& visit) {
  if (!transaction.spooled) {
    for (const Change& change : changes_) {
      RETURN_IF_ERROR(
          visit({.relations = change.relations,
                 .truncate = change.truncate,
                 .bytes = absl::string_view(bytes_).substr(change.offset, change.length)}));
    }
    return absl::OkStatus();
  }
  // What came last of one that was spilled is in memory still.
  if (!transaction.streamed) RETURN_IF_ERROR(Spill());
  std::map<uint32_t, Relation> relations;
  const auto read = [&](Spool::Kind, absl::string_view bytes) -> absl::Status {
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(bytes));
    if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
      ASSIGN_OR_RETURN(relations[relation->relation_oid], surroundings_.announce(bytes, *relation));
      return visit({});
    }
    if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
      surroundings_.announce_type(type->type_oid, bytes);
      return visit({});
    }
    const auto* truncate = std::get_if<postgres::TruncateMessage>(&message);
    std::vector<Relation> touched;
    const std::vector<uint32_t> one = {postgres::PeekRelationOid(bytes)};
    for (const uint32_t oid : truncate != nullptr ? truncate->relation_oids : one) {
      const auto relation = relations.find(oid);
      if (relation == relations.end()) {
        return absl::InternalError(absl::StrCat("the server streamed a change of relation ", oid,
                                                " before describing it"));
      }
      if (relation->second->replicated) touched.push_back(relation->second);
    }
    return visit({.relations = touched, .truncate = truncate != nullptr, .bytes = bytes});
  };
  return spool_.ForEach(transaction.xid, read);
}

absl::Status TransactionAssembler::Done(const AssembledTransaction& transaction) {
  if (!transaction.streamed) {
    bytes_.clear();
    if (bytes_.capacity() > kKeptBytes) bytes_.shrink_to_fit();
    changes_.clear();
    spilled_.clear();
  }
  if (transaction.spooled) RETURN_IF_ERROR(spool_.Forget(transaction.xid));
  return transaction.streamed ? relations_.Committed(transaction.xid) : absl::OkStatus();
}

absl::Status TransactionAssembler::LookUpRelationsAgain() {
  std::vector<Relation*> of_changes;
  for (Change& change : changes_) {
    for (Relation& relation : change.relations) of_changes.push_back(&relation);
  }
  return relations_.LookUpAgain(of_changes);
}

std::optional<Lsn> TransactionAssembler::open_that_stays() const {
  if (!open_ || !stays_here_) return std::nullopt;
  return begin_.final_lsn;
}

}  // namespace bdr::agent
