#include "node-agent/apply/letters/dead_letters.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

bool MayLieInTransaction(const absl::Status& cause) {
  switch (cause.code()) {
    case absl::StatusCode::kAborted:           // nobody knows why
    case absl::StatusCode::kUnavailable:       // what will pass
    case absl::StatusCode::kDeadlineExceeded:  // capture of this node, say, is waited for
    case absl::StatusCode::kPermissionDenied:  // an administrator gives rights, or trust
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kResourceExhausted:
      return false;
    default:
      break;
  }
  const std::string sqlstate = postgres::Sqlstate(cause);
  constexpr absl::string_view kOfTheServer[] = {"53", "54", "55", "57", "58", "XX"};
  return std::none_of(std::begin(kOfTheServer), std::end(kOfTheServer),
                      [&](absl::string_view klass) { return absl::StartsWith(sqlstate, klass); });
}

absl::StatusOr<std::vector<DeadLetter>> ReadDeadLetters(postgres::Connection& connection) {
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.Exec("SELECT id, origin_node, origin_incarnation, end_lsn, "
                                   "(extract(epoch FROM stamp) * 1000000)::int8, "
                                   "version_key <> '' "
                                   "FROM bdr.dead_letter"));
  std::vector<DeadLetter> letters;
  for (int i = 0; i < rows.rows(); ++i) {
    DeadLetter letter;
    uint32_t node = 0;
    if (!absl::SimpleAtoi(rows.value(i, 0), &letter.id) ||
        !absl::SimpleAtoi(rows.value(i, 1), &node) ||
        !absl::SimpleAtoi(rows.value(i, 2), &letter.origin.incarnation) ||
        !absl::SimpleAtoi(rows.value(i, 4), &letter.stamp_us)) {
      return absl::InternalError("bdr.dead_letter holds what is no number");
    }
    letter.origin.node = static_cast<NodeId>(node);
    ASSIGN_OR_RETURN(letter.end_lsn, ParseLsn(rows.value(i, 3)));
    letter.refused = rows.value(i, 5) == "t";
    letters.push_back(letter);
  }
  return letters;
}

// Copies what the block announces, all of it and in place, and of the transactions the one that is
// wanted: the part that goes on from the block before, or what follows its begin.
absl::StatusOr<EncodedBlock> ExtractTransaction(const EncodedBlock& block,
                                                const TransactionHeader& header) {
  ASSIGN_OR_RETURN(const BlockPayload payload, BlockPayload::Open(block.bytes));
  BlockBuilder builder(block.info.origin);
  bool wanted = block.info.part > 0;
  bool found = wanted;
  if (wanted) builder.ContinueTransaction(header, block.info.part);
  // Relations and types in their places: one that is announced twice has changed in between.
  const BlockVisitor visitor{
      .relation = [&](absl::string_view raw) -> absl::Status {
        ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(raw));
        const auto* relation = std::get_if<postgres::RelationMessage>(&message);
        if (relation == nullptr) return absl::DataLossError("a relation record holds no relation");
        builder.AddRelation(relation->relation_oid, raw);
        return absl::OkStatus();
      },
      .type = [&](absl::string_view raw) -> absl::Status {
        ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(raw));
        const auto* type = std::get_if<postgres::TypeMessage>(&message);
        if (type == nullptr) return absl::DataLossError("a type record holds no type");
        builder.AddType(type->type_oid, raw);
        return absl::OkStatus();
      },
      .begin = [&](const TransactionHeader& begun) -> absl::Status {
        wanted = begun.end_lsn == header.end_lsn;
        found |= wanted;
        if (wanted) builder.BeginTransaction(begun);
        return absl::OkStatus();
      },
      .change = [&](absl::string_view change) -> absl::Status {
        if (wanted) builder.AddChange(change);
        return absl::OkStatus();
      }};
  RETURN_IF_ERROR(payload.ForEach(visitor));
  if (!found) {
    return absl::InternalError(absl::StrCat("the change log has another transaction than that at ",
                                            ToString(header.end_lsn), " where it should stand"));
  }
  return builder.Seal(/*previous_chain=*/0, block.info.more_parts && wanted);
}

void ContentsSummary::Add(const Piece& piece) {
  const auto count = [this](const RemoteRelation& relation, const char* kind) {
    ++tables_[absl::StrCat(relation.message.schema, ".", relation.message.name)][kind];
  };
  for (const RemoteChange& change : piece.changes) {
    ++changes_;
    if (std::holds_alternative<postgres::TruncateMessage>(change.message)) {
      for (const auto& relation : change.truncated) count(*relation, "truncate");
    } else if (std::holds_alternative<postgres::InsertMessage>(change.message)) {
      count(*change.relation, "insert");
    } else if (std::holds_alternative<postgres::UpdateMessage>(change.message)) {
      count(*change.relation, "update");
    } else {
      count(*change.relation, "delete");
    }
  }
}

std::string ContentsSummary::ToJson() const {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [table, kinds] : tables_) json[table] = kinds;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

DeadLetters::DeadLetters(Progress* progress, const std::vector<DeadLetter>& letters)
    : progress_(progress) {
  MutexLock lock(&mu_);
  for (const DeadLetter& letter : letters) letters_[letter.id] = letter;
  HoldLocked();
}

void DeadLetters::HoldLocked() {
  int64_t oldest_us = INT64_MAX;
  for (const auto& [id, letter] : letters_) oldest_us = std::min(oldest_us, letter.stamp_us);
  for (const auto& [origin, stamp_us] : announced_) oldest_us = std::min(oldest_us, stamp_us);
  progress_->HoldStable(oldest_us);
}

void DeadLetters::Announce(OriginId origin, int64_t stamp_us) {
  MutexLock lock(&mu_);
  announced_[origin] = stamp_us;
  HoldLocked();
}

void DeadLetters::Add(OriginId announced_by, const std::vector<DeadLetter>& letters) {
  MutexLock lock(&mu_);
  for (const DeadLetter& letter : letters) letters_[letter.id] = letter;
  announced_.erase(announced_by);
  HoldLocked();
}

OriginId DeadLetters::ApplierOf(const DeadLetter& letter) const {
  return letter.refused ? progress_->own() : letter.origin;
}

void DeadLetters::Reload(OriginId origin, const std::vector<DeadLetter>& letters) {
  MutexLock lock(&mu_);
  announced_.erase(origin);
  // Changes that were refused come from other sessions too, perhaps since the table was read.
  std::erase_if(letters_, [&](const auto& known) {
    return !known.second.refused && known.second.origin == origin;
  });
  for (const DeadLetter& letter : letters) {
    if (ApplierOf(letter) == origin) letters_[letter.id] = letter;
  }
  HoldLocked();
}

bool DeadLetters::Holds(OriginId origin, Lsn end_lsn) const {
  MutexLock lock(&mu_);
  return std::any_of(letters_.begin(), letters_.end(), [&](const auto& known) {
    const DeadLetter& letter = known.second;
    return !letter.refused && letter.origin == origin && letter.end_lsn == end_lsn;
  });
}

std::optional<DeadLetter> DeadLetters::NextRequest(OriginId origin) {
  MutexLock lock(&mu_);
  for (auto& [id, request] : requests_) {
    if (request.taken) continue;
    const auto letter = letters_.find(id);
    if (letter == letters_.end() || ApplierOf(letter->second) != origin) continue;
    request.taken = true;
    return letter->second;
  }
  return std::nullopt;
}

void DeadLetters::Finish(int64_t id, const absl::Status& outcome) {
  MutexLock lock(&mu_);
  if (outcome.ok()) {
    letters_.erase(id);
    HoldLocked();
  }
  const auto request = requests_.find(id);
  if (request != requests_.end()) request->second.outcome = outcome;
  finished_.NotifyAll();
}

absl::Status DeadLetters::Retry(int64_t id, absl::Duration timeout) {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  if (!letters_.contains(id)) {
    return absl::NotFoundError(absl::StrCat("there is no dead letter ", id, " on this node"));
  }
  ++requests_[id].waiters;
  absl::Status outcome;
  while (true) {
    Request& request = requests_[id];
    if (request.outcome.has_value()) {
      outcome = *request.outcome;
      break;
    }
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) {
      outcome = absl::DeadlineExceededError(
          absl::StrCat("dead letter ", id,
                       " was not tried yet: apply of its origin is busy or has stopped; see "
                       "\"bdrctl status\""));
      break;
    }
    finished_.WaitFor(&mu_, left);
  }
  if (--requests_[id].waiters == 0) requests_.erase(id);
  return outcome;
}

void DeadLetters::Remove(int64_t id) {
  MutexLock lock(&mu_);
  letters_.erase(id);
  HoldLocked();
}

size_t DeadLetters::count() const {
  MutexLock lock(&mu_);
  return letters_.size();
}

}  // namespace bdr::agent
