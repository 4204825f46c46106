#include "node-agent/apply/drive/put_aside.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/tables/row_sql.h"

namespace bdr::agent {
namespace {

// What waits beyond that is no accident any more: apply stops rather than fill the disk.
constexpr size_t kMostLetters = 10'000;

}  // namespace

bool PutAside::Wanted(const absl::Status& cause) const {
  return tools_.options->puts_aside && !tools_.own() &&
         tools_.parts->dead_letters->count() < kMostLetters && MayLieInTransaction(cause);
}

// The stable time stands still before anything is written: from the letter's stamp on nothing may
// be forgotten while it is there. Its line comes first, as the parts name it; then part by part
// versions and contents; last progress and the commit.
absl::Status PutAside::Do(const absl::Status& cause) {
  const TransactionHeader header = tools_.source->pending().front()->header;
  const bool large = tools_.source->large();
  tools_.parts->dead_letters->Announce(tools_.origin, header.stamp.time_us);
  RETURN_IF_ERROR(tools_.RefreshSettings());
  RETURN_IF_ERROR(tools_.session->BeginBookkeeping());
  DeadLetter letter;
  RETURN_IF_ERROR(QueueLetter(header, cause, &letter));
  RETURN_IF_ERROR(tools_.pipe()->Finish());
  ContentsSummary contents;
  RETURN_IF_ERROR(StoreParts(header, large, letter.id, &contents));
  RETURN_IF_ERROR(tools_.pipe()->Exec(absl::StrCat(
      "UPDATE bdr.dead_letter SET contents = ", postgres::QuoteLiteral(contents.ToJson()),
      ", changes = ", contents.changes(), " WHERE id = ", letter.id)));
  KeysInFlight::Registration none;
  RETURN_IF_ERROR(tools_.session->Commit(
      {.end_lsn = header.end_lsn, .stamp_us = header.stamp.time_us, .moves_progress = true},
      &none));
  tools_.Committed(/*moved_progress=*/true);
  tools_.parts->dead_letters->Add(tools_.origin, {letter});
  LogError("dead_letter",
           {{"state", "put_aside"},
            {"id", letter.id},
            {"origin", ToString(tools_.origin)},
            {"lsn", ToString(header.end_lsn)},
            {"changes", contents.changes()}},
           cause.message());
  if (large) {
    tools_.source->Restart(tools_.session->committed());
  } else {
    tools_.source->Done(1);
  }
  return absl::OkStatus();
}

absl::Status PutAside::QueueLetter(const TransactionHeader& header, const absl::Status& cause,
                                   DeadLetter* letter) {
  *letter = {.id = 0,
             .origin = tools_.origin,
             .end_lsn = header.end_lsn,
             .stamp_us = header.stamp.time_us};
  return tools_.pipe()->Exec(
      absl::StrCat("INSERT INTO bdr.dead_letter (origin_node, origin_incarnation, end_lsn, stamp, "
                   "cause, contents, changes) VALUES (",
                   tools_.origin.node, ", ", tools_.origin.incarnation, ", '",
                   ToString(header.end_lsn), "', ", TimestampSql(header.stamp.time_us), ", ",
                   postgres::QuoteLiteral(std::string(cause.message())), ", '{}', 0) RETURNING id"),
      [letter](const postgres::Result& result) -> absl::Status {
        if (absl::SimpleAtoi(result.value(0, 0), &letter->id)) return absl::OkStatus();
        return absl::InternalError("a dead letter's id is no number");
      });
}

absl::Status PutAside::StoreParts(const TransactionHeader& header, bool large, int64_t id,
                                  ContentsSummary* contents) {
  Cursor at{.end_lsn = tools_.session->committed(), .part = UINT32_MAX};
  std::optional<OpenTransaction> open;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::optional<EncodedBlock> block,
                     tools_.parts->stores.log->Next(tools_.origin, at));
    if (!block.has_value()) {
      return absl::InternalError("a transaction that was read from the change log is gone");
    }
    at = block->info.cursor();
    more = large && block->info.more_parts;
    ASSIGN_OR_RETURN(const EncodedBlock part, ExtractTransaction(*block, header));
    ASSIGN_OR_RETURN(std::vector<Piece> pieces, PiecesOf(part, Lsn{0}, &open));
    for (Piece& piece : pieces) {
      contents->Add(piece);
      RETURN_IF_ERROR(tools_.versions_only->Record(std::make_shared<const Piece>(std::move(piece)),
                                                   /*applied=*/false));
    }
    RETURN_IF_ERROR(tools_.pipe()->Run(
        "dead_letter_part",
        [] {
          return "INSERT INTO bdr.dead_letter_part (letter, part, block) "
                 "VALUES ($1::int8, $2::int4, $3::bytea)";
        },
        {}, {EncodeInt8(id), EncodeInt4(static_cast<int32_t>(part.info.part)), part.bytes},
        nullptr));
    RETURN_IF_ERROR(tools_.pipe()->Finish());
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
