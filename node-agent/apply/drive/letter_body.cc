#include "node-agent/apply/drive/letter_body.h"

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/fold_executor.h"
#include "node-agent/apply/write/refused_changes.h"
#include "node-agent/tables/row_sql.h"

namespace bdr::agent {
namespace {

// Deadlocks and the like, before a person is told.
constexpr int kMostAborted = 20;

absl::Status QueueRemoval(int64_t letter, Pipe* pipe) {
  RETURN_IF_ERROR(pipe->Exec(absl::StrCat("DELETE FROM bdr.dead_letter WHERE id = ", letter)));
  return pipe->Exec(absl::StrCat("DELETE FROM bdr.dead_letter_part WHERE letter = ", letter));
}

absl::StatusOr<EncodedBlock> ReadPart(int64_t letter, int32_t number, Pipe* pipe) {
  EncodedBlock part;
  RETURN_IF_ERROR(pipe->Run(
      "dead_letter_read",
      [] {
        return "SELECT block FROM bdr.dead_letter_part WHERE letter = $1::int8 AND part = "
               "$2::int4";
      },
      {}, {EncodeInt8(letter), EncodeInt4(number)},
      [&part, letter](const postgres::Result& result) -> absl::Status {
        if (result.rows() != 1) {
          return absl::DataLossError(absl::StrCat("a part of dead letter ", letter, " is missing"));
        }
        part.bytes = std::string(result.value(0, 0));
        return absl::OkStatus();
      },
      /*binary_result=*/true));
  RETURN_IF_ERROR(pipe->Finish());
  ASSIGN_OR_RETURN(part.info, ParseBlock(part.bytes));
  return part;
}

}  // namespace

absl::Status LetterBody::Prepare() {
  tools_.values->Clear();  // of whatever was tried before
  return PiecewiseBody::Prepare();
}

absl::Status LetterBody::WritePieces() {
  RETURN_IF_ERROR(tools_.session->Begin(letter_.stamp_us));
  return letter_.refused ? FoldAgain() : WriteTransaction();
}

absl::Status LetterBody::WriteTransaction() {
  Pipe* const pipe = tools_.pipe();
  RETURN_IF_ERROR(pipe->Exec(
      absl::StrCat("SELECT FROM bdr.dead_letter WHERE id = ", letter_.id, " FOR UPDATE"),
      [id = letter_.id](const postgres::Result& result) {
        return result.rows() == 1
                   ? absl::OkStatus()
                   : absl::NotFoundError(absl::StrCat("there is no dead letter ", id, " any more"));
      }));
  std::optional<OpenTransaction> open;
  bool more = true;
  for (int32_t number = 0; more; ++number) {
    ASSIGN_OR_RETURN(const EncodedBlock part, ReadPart(letter_.id, number, pipe));
    more = part.info.more_parts;
    ASSIGN_OR_RETURN(std::vector<Piece> pieces, PiecesOf(part, Lsn{0}, &open));
    for (Piece& each : pieces) {
      const PiecePtr piece = std::make_shared<const Piece>(std::move(each));
      header_ = piece->header;
      ASSIGN_OR_RETURN(const bool go_on, RunPiece(piece));
      if (!go_on) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// First the letter, locked, and its row's name; then the table as it is now, which may not fold any
// more. The row's whole history is folded as it stands, so nothing of the letter itself is written:
// if the function still refuses the same change, nothing has become better and the letter stays;
// other changes that it refuses now become letters of their own.
absl::Status LetterBody::FoldAgain() {
  Pipe* const pipe = tools_.pipe();
  RefusedRow row;
  RETURN_IF_ERROR(QueueReadRefused(letter_.id, pipe, &row));
  RETURN_IF_ERROR(pipe->Finish());
  header_.end_lsn = Lsn{1};  // of no origin: nothing is to be learned from it
  header_.stamp = {.time_us = letter_.stamp_us, .node = letter_.origin.node};

  const absl::Status useless = absl::FailedPreconditionError(
      absl::StrCat("table \"", row.schema, ".", row.table,
                   "\" does not fold by a policy any more: drop the letter, and write the row "
                   "again if it is not as it should be"));
  const Settings& settings = *tools_.parts->settings;
  const auto table = tools_.parts->tables->Find(row.schema, row.table);
  if (absl::IsNotFound(table.status())) return useless;
  RETURN_IF_ERROR(table.status());
  ASSIGN_OR_RETURN(const std::shared_ptr<const BoundTable> bound,
                   BoundTable::Make(RelationOf(**table), *table,
                                    settings.Policies(row.schema, row.table), settings.active()));
  if (!bound->fold().folds()) return useless;
  FoldExecutor fold(options_.fold, Lsn{0}, pipe, &found_before_);
  TableOps ops{.table = bound, .rows = {}};
  std::deque<conflict::FoldRow> kept;
  RETURN_IF_ERROR(fold.AddKnownKey(row.version_key, &ops, &kept));
  RETURN_IF_ERROR(fold.Lock(ops));
  RETURN_IF_ERROR(pipe->Finish());
  FoundBefore must_wait;
  RETURN_IF_ERROR(fold.Write(&must_wait));
  WaitForCaptureOf(must_wait);
  if (!must_wait.empty()) return absl::OkStatus();
  for (const RefusedChange& again : fold.refused()) {
    if (again.change.origin == letter_.origin && again.change.end_lsn == letter_.end_lsn) {
      return absl::FailedPreconditionError(absl::StrCat("the function of the policy of table \"",
                                                        row.schema, ".", row.table,
                                                        "\" still raises: ", again.error));
    }
    RETURN_IF_ERROR(QueueRefused(again, pipe, &attempt_.refused));
  }
  return pipe->Finish();
}

absl::Status LetterBody::Commit() {
  RETURN_IF_ERROR(QueueRemoval(letter_.id, tools_.pipe()));
  // Flushed: once the letter is gone, what it needs to be merged is forgotten.
  RETURN_IF_ERROR(tools_.pipe()->Exec("SET LOCAL synchronous_commit = local"));
  tools_.AnnounceRefused(attempt_.refused);
  MoveTo(GroupPhase::kCommitting);
  RETURN_IF_ERROR(tools_.session->Commit(
      {.end_lsn = header_.end_lsn, .stamp_us = header_.stamp.time_us, .moves_progress = false},
      &registration_));
  MoveTo(GroupPhase::kCommitted);
  tools_.NoteRefused(attempt_.refused);
  tools_.NoteOrphans(attempt_.orphans, attempt_.orphans_queued);
  tools_.values->Clear();
  tools_.waits->PassedLocks();
  return absl::OkStatus();
}

absl::Status LetterBody::Recover(const absl::Status& failed) {
  if (postgres::Sqlstate(failed) == kClockBehind) return PiecewiseBody::Recover(failed);
  if (IsLockTimeout(failed)) {
    GiveUpKeys();
    tools_.waits->ForLock(failed, /*at_once=*/false);
    return Register();
  }
  if (absl::IsAborted(failed) && ++aborted_ <= kMostAborted) return absl::OkStatus();
  return IsLeftOut(failed) ? ExplainLeftOut(failed, tools_.pipe()) : failed;
}

}  // namespace bdr::agent
