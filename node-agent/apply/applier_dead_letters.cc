// What an applier does about transactions that cannot be applied: puts them aside, and tries them
// again. The rest of class Applier is in applier.cc.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/apply/applier.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/refused_changes.h"
#include "node-agent/tables/row_sql.h"

namespace bdr::agent {
namespace {

using postgres::Result;

// What waits beyond that is no accident any more: apply stops rather than fill the disk.
constexpr size_t kMostLetters = 10'000;
// A table that is missing is looked for this often, not for each of its changes.
constexpr absl::Duration kLookAgain = absl::Seconds(1);
// Of changes that no version is kept of the log tells once in a while for each cause, and not of
// more causes than a person can read.
constexpr absl::Duration kTellAgain = absl::Minutes(1);
constexpr size_t kMostTold = 100;

}  // namespace

bool Applier::PutsAside(const absl::Status& cause) const {
  return options_.puts_aside && !merges_own() && parts_.dead_letters->count() < kMostLetters &&
         MayLieInTransaction(cause);
}

absl::Status Applier::PutAside(const absl::Status& cause) {
  const TransactionHeader header = pending_.front()->header;
  const bool large = !pending_.front()->last;
  parts_.dead_letters->Announce(origin_, header.stamp.time_us);
  DeadLetter letter{
      .id = 0, .origin = origin_, .end_lsn = header.end_lsn, .stamp_us = header.stamp.time_us};
  RETURN_IF_ERROR(pipe_->Exec("BEGIN"));
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("INSERT INTO bdr.dead_letter (origin_node, origin_incarnation, end_lsn, stamp, "
                   "cause, contents, changes) VALUES (",
                   origin_.node, ", ", origin_.incarnation, ", '", ToString(header.end_lsn), "', ",
                   TimestampSql(header.stamp.time_us), ", ",
                   postgres::QuoteLiteral(std::string(cause.message())), ", '{}', 0) RETURNING id"),
      [&letter](const Result& result) -> absl::Status {
        if (absl::SimpleAtoi(result.value(0, 0), &letter.id)) return absl::OkStatus();
        return absl::InternalError("a dead letter's id is no number");
      }));
  RETURN_IF_ERROR(pipe_->Finish());

  ContentsSummary contents;
  Cursor at{.end_lsn = committed_, .part = UINT32_MAX};
  std::optional<OpenTransaction> open;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::optional<EncodedBlock> block, parts_.log->Next(origin_, at));
    if (!block.has_value()) {
      return absl::InternalError("a transaction that was read from the change log is gone");
    }
    at = block->info.cursor();
    more = large && block->info.more_parts;
    ASSIGN_OR_RETURN(const EncodedBlock part, ExtractTransaction(*block, header));
    ASSIGN_OR_RETURN(std::vector<Piece> pieces, PiecesOf(part, Lsn{0}, &open));
    for (Piece& piece : pieces) {
      contents.Add(piece);
      RETURN_IF_ERROR(RecordQuietly(std::make_shared<const Piece>(std::move(piece)),
                                    /*applied=*/false));
    }
    RETURN_IF_ERROR(pipe_->Run(
        "dead_letter_part",
        [] {
          return "INSERT INTO bdr.dead_letter_part (letter, part, block) "
                 "VALUES ($1::int8, $2::int4, $3::bytea)";
        },
        {}, {EncodeInt8(letter.id), EncodeInt4(static_cast<int32_t>(part.info.part)), part.bytes},
        nullptr));
    RETURN_IF_ERROR(pipe_->Finish());
  }
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat(
      "UPDATE bdr.dead_letter SET contents = ", postgres::QuoteLiteral(contents.ToJson()),
      ", changes = ", contents.changes(), " WHERE id = ", letter.id)));
  KeysInFlight::Registration none;
  RETURN_IF_ERROR(Commit(header, &none, /*moves_progress=*/true));
  parts_.dead_letters->Add(origin_, {letter});
  LogError("dead_letter",
           {{"state", "put_aside"},
            {"id", letter.id},
            {"origin", ToString(origin_)},
            {"lsn", ToString(header.end_lsn)},
            {"changes", contents.changes()}},
           cause.message());
  before_.clear();
  values_.Clear();
  pending_.pop_front();
  if (large) {
    pending_.clear();
    reader_.Seek(committed_);
  }
  return absl::OkStatus();
}

// The versions that a transaction has written here, or would have if it had not been put aside:
// those count as seen, so that what is older is not written later. Where a table is missing, or
// another than at the origin, there is nothing to keep versions of.
absl::Status Applier::RecordQuietly(const std::shared_ptr<const Piece>& piece, bool applied) {
  RETURN_IF_ERROR(RefreshSettings());
  const auto is_the_tables = [](const absl::Status& status) {
    return !status.ok() && !absl::IsUnavailable(status) && !absl::IsDataLoss(status) &&
           !absl::IsResourceExhausted(status) && !absl::IsCancelled(status);
  };
  // There may be millions of changes of a table that is missing.
  const GroupPlan::Resolve resolve =
      [this, &is_the_tables, resolver = Resolver()](
          const std::shared_ptr<const RemoteRelation>& relation,
          const TransactionHeader& header) -> absl::StatusOr<GroupPlan::Resolved> {
    const auto known = unbindable_.find(relation->raw);
    if (known != unbindable_.end() && SteadyNow() < known->second.second) {
      return known->second.first;
    }
    absl::StatusOr<GroupPlan::Resolved> resolved = resolver(relation, header);
    if (is_the_tables(resolved.status())) {
      unbindable_[relation->raw] = {resolved.status(), SteadyNow() + kLookAgain};
    }
    return resolved;
  };
  const auto record = [&](const std::shared_ptr<const Piece>& each) -> absl::Status {
    GroupPlan plan(origin_);
    RETURN_IF_ERROR(plan.Add(each, resolve));
    GroupClaims claims;
    RETURN_IF_ERROR(claims.Read(plan, &claim_reader_));
    absl::flat_hash_map<std::string, conflict::Version> before;
    return versions_.Record(plan, claims, &before,
                            {.ends_here = each->last, .with_history = applied});
  };
  const absl::Status whole = record(piece);
  if (!is_the_tables(whole)) return whole;
  for (const RemoteChange& change : piece->changes) {
    auto single = std::make_shared<Piece>();
    single->header = piece->header;
    single->first = piece->first;
    single->last = false;
    single->changes.push_back(change);
    single->payload = piece->payload;
    const absl::Status one = record(single);
    if (one.ok()) continue;
    if (!is_the_tables(one)) return one;
    TellOfNoVersion(*piece, one);
  }
  return absl::OkStatus();
}

void Applier::TellOfNoVersion(const Piece& piece, const absl::Status& cause) {
  const absl::Time now = SteadyNow();
  absl::erase_if(told_, [now](const auto& told) { return now - told.second >= kTellAgain; });
  if (told_.size() >= kMostTold || !told_.try_emplace(std::string(cause.message()), now).second) {
    return;
  }
  LogWarning("apply", {{"origin", ToString(origin_)}, {"lsn", ToString(piece.header.end_lsn)}},
             absl::StrCat("no version is kept of changes: ", cause.message()));
}

absl::Status Applier::RetryLetters() {
  while (const std::optional<DeadLetter> letter = parts_.dead_letters->NextRequest(origin_)) {
    const absl::Status outcome = ApplyLetter(*letter);
    parts_.dead_letters->Finish(letter->id, outcome);
    if (outcome.ok()) {
      LogInfo("dead_letter",
              {{"state", "applied"}, {"id", letter->id}, {"origin", ToString(origin_)}});
    }
    if (connection_->broken()) return absl::UnavailableError("the session was lost");
    SetHealth(Health::Level::kOk, "applying");
  }
  return absl::OkStatus();
}

void Applier::AnnounceRefused(const std::deque<DeadLetter>& refused) {
  if (refused.empty()) return;
  int64_t oldest_us = INT64_MAX;
  for (const DeadLetter& letter : refused) oldest_us = std::min(oldest_us, letter.stamp_us);
  parts_.dead_letters->Announce(origin_, oldest_us);
}

void Applier::NoteRefused(const std::deque<DeadLetter>& refused) {
  if (refused.empty()) return;
  parts_.dead_letters->Add(origin_, {refused.begin(), refused.end()});
  for (const DeadLetter& letter : refused) {
    LogError("dead_letter",
             {{"state", "put_aside"},
              {"id", letter.id},
              {"origin", ToString(letter.origin)},
              {"lsn", ToString(letter.end_lsn)},
              {"changes", 1}},
             "the function of the table's policy refused a change; see \"bdrctl dead-letter\"");
  }
}

// Like a large transaction, by the same rule and its own stamp; in place of progress the letter
// goes, in the same local transaction.
absl::Status Applier::ApplyLetter(const DeadLetter& letter) {
  Unbind();
  parts_.tables->ForgetAll();
  KeysInFlight::Registration registration;
  const StampRange stamps{.oldest_us = letter.stamp_us, .newest_us = letter.stamp_us};
  RETURN_IF_ERROR(WaitForKeys({}, {}, /*all=*/true, stamps, &registration));
  values_.Clear();
  RETURN_IF_ERROR(RefreshSettings());
  executor_options_.fold.letter = letter.end_lsn;
  executor_options_.captured_xid.clear();
  executor_options_.largest_raise_us = parts_.clock->LargestRaise(parts_.progress->StableTime());
  if (!merges_own()) RETURN_IF_ERROR(foreign_keys_.Refresh(settings_generation_, pipe_.get()));
  FoundBefore found_before;
  int aborted = 0;
  for (size_t look_ahead = kFirstLookAhead; !stopping_ && !rewind_;
       look_ahead = LongerLookAhead(look_ahead)) {
    values_.BeginAttempt();
    Attempt attempt{.letter = letter.end_lsn, .look_ahead = look_ahead};
    TransactionHeader header;
    absl::Status status = letter.refused ? FoldAgain(letter, found_before, &header, &attempt)
                                         : WriteLetter(letter, found_before, &header, &attempt);
    if (status.ok() && !attempt.rehearsal) {
      status = pipe_->Exec(absl::StrCat("DELETE FROM bdr.dead_letter WHERE id = ", letter.id));
      if (status.ok()) {
        status = pipe_->Exec(
            absl::StrCat("DELETE FROM bdr.dead_letter_part WHERE letter = ", letter.id));
      }
      // Flushed: once the letter is gone, what it needs to be merged is forgotten.
      if (status.ok()) status = pipe_->Exec("SET LOCAL synchronous_commit = local");
      if (status.ok()) AnnounceRefused(attempt.refused);
      if (status.ok()) status = Commit(header, &registration, /*moves_progress=*/false);
      if (status.ok()) {
        NoteRefused(attempt.refused);
        NoteOrphans(attempt.orphans, attempt.orphans_queued);
        values_.Clear();
        PassedLocks();
        return status;
      }
    }
    if (connection_->broken()) return status;
    Rollback();
    if (attempt.rehearsal) {
      RETURN_IF_ERROR(WaitFor(attempt, stamps, &registration, &found_before));
    } else if (postgres::Sqlstate(status) == kClockBehind) {
      WaitForServerClock(letter.stamp_us);
    } else if (IsLockTimeout(status)) {
      registration.Release();
      WaitForLock(status, /*at_once=*/false);
      RETURN_IF_ERROR(WaitForKeys({}, {}, /*all=*/true, stamps, &registration));
    } else if (!absl::IsAborted(status) || ++aborted > 20) {
      return IsLeftOut(status) ? ExplainLeftOut(status, pipe_.get()) : status;
    }
  }
  return absl::UnavailableError("the applier was told to stop");
}

absl::Status Applier::WriteLetter(const DeadLetter& letter, const FoundBefore& found_before,
                                  TransactionHeader* header, Attempt* attempt) {
  RETURN_IF_ERROR(QueueBegin(letter.stamp_us));
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("SELECT FROM bdr.dead_letter WHERE id = ", letter.id, " FOR UPDATE"),
      [&letter](const Result& result) {
        return result.rows() == 1 ? absl::OkStatus()
                                  : absl::NotFoundError(absl::StrCat("there is no dead letter ",
                                                                     letter.id, " any more"));
      }));
  std::optional<OpenTransaction> open;
  bool more = true;
  for (int32_t number = 0; more; ++number) {
    EncodedBlock part;
    RETURN_IF_ERROR(pipe_->Run(
        "dead_letter_read",
        [] {
          return "SELECT block FROM bdr.dead_letter_part WHERE letter = $1::int8 AND part = "
                 "$2::int4";
        },
        {}, {EncodeInt8(letter.id), EncodeInt4(number)},
        [&part, &letter](const Result& result) -> absl::Status {
          if (result.rows() != 1) {
            return absl::DataLossError(
                absl::StrCat("a part of dead letter ", letter.id, " is missing"));
          }
          part.bytes = std::string(result.value(0, 0));
          return absl::OkStatus();
        },
        /*binary_result=*/true));
    RETURN_IF_ERROR(pipe_->Finish());
    ASSIGN_OR_RETURN(part.info, ParseBlock(part.bytes));
    more = part.info.more_parts;
    ASSIGN_OR_RETURN(std::vector<Piece> pieces, PiecesOf(part, Lsn{0}, &open));
    for (Piece& each : pieces) {
      const auto piece = std::make_shared<const Piece>(std::move(each));
      *header = piece->header;
      ASSIGN_OR_RETURN(const bool go_on, RunPiece(piece, found_before, attempt));
      if (!go_on) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// A change that the function of the table's policy had refused: its row as its whole history makes
// it now.
absl::Status Applier::FoldAgain(const DeadLetter& letter, const FoundBefore& found_before,
                                TransactionHeader* header, Attempt* attempt) {
  RETURN_IF_ERROR(QueueBegin(letter.stamp_us));
  RefusedRow row;
  RETURN_IF_ERROR(QueueReadRefused(letter.id, pipe_.get(), &row));
  RETURN_IF_ERROR(pipe_->Finish());
  header->end_lsn = Lsn{1};  // of no origin: nothing is to be learned from it
  header->stamp = {.time_us = letter.stamp_us, .node = letter.origin.node};

  const absl::Status useless = absl::FailedPreconditionError(
      absl::StrCat("table \"", row.schema, ".", row.table,
                   "\" does not fold by a policy any more: drop the letter, and write the row "
                   "again if it is not as it should be"));
  const auto table = parts_.tables->Find(row.schema, row.table);
  if (absl::IsNotFound(table.status())) return useless;
  RETURN_IF_ERROR(table.status());
  ASSIGN_OR_RETURN(const std::shared_ptr<const BoundTable> bound,
                   BoundTable::Make(RelationOf(**table), *table,
                                    parts_.settings->Policies(row.schema, row.table),
                                    parts_.settings->active()));
  if (!bound->fold().folds()) return useless;
  FoldExecutor fold(executor_options_.fold, Lsn{0}, pipe_.get(), &found_before);
  TableOps ops{.table = bound, .rows = {}};
  std::deque<conflict::FoldRow> kept;
  RETURN_IF_ERROR(fold.AddKnownKey(row.version_key, &ops, &kept));
  RETURN_IF_ERROR(fold.Lock(ops));
  RETURN_IF_ERROR(pipe_->Finish());
  RETURN_IF_ERROR(fold.Write(&attempt->must_wait));
  attempt->rehearsal = !attempt->must_wait.empty();
  if (attempt->rehearsal) return absl::OkStatus();
  for (const RefusedChange& again : fold.refused()) {
    if (again.change.origin == letter.origin && again.change.end_lsn == letter.end_lsn) {
      return absl::FailedPreconditionError(absl::StrCat("the function of the policy of table \"",
                                                        row.schema, ".", row.table,
                                                        "\" still raises: ", again.error));
    }
    RETURN_IF_ERROR(QueueRefused(again, pipe_.get(), &attempt->refused));
  }
  return pipe_->Finish();
}

}  // namespace bdr::agent
