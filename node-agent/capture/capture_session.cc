#include "node-agent/capture/capture_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "node-agent/capture/slot.h"
#include "node-agent/capture/transaction_writer.h"
#include "node-agent/capture/wal_pages.h"
#include "node-agent/changelog/state.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

// A block waits at most this long for more transactions while the stream does not pause.
constexpr absl::Duration kMaxBlockAge = absl::Milliseconds(10);
// While something is awaited that the server tells only when asked.
constexpr absl::Duration kShortWait = absl::Milliseconds(10);
constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kPersistInterval = absl::Milliseconds(250);
constexpr absl::Duration kPingInterval = absl::Milliseconds(20);
constexpr absl::Duration kRoomCheckInterval = absl::Milliseconds(200);
constexpr size_t kFlushBytes = 4 << 20;
constexpr size_t kMaxRelations = 10'000;  // that a session keeps in mind
// A transaction that was rolled back may never show which it was.
constexpr absl::Duration kStayWithoutSight = absl::Minutes(1);
// What the server says where a type has no binary output function.
constexpr absl::string_view kNoSuchFunction = "42883";

// An error that the server raised over what it decodes, and not over itself: connections (08),
// memory and disks (53, 58), the slot (55), administrators (57).
bool IsDecodingError(const absl::Status& status) {
  const std::string sqlstate = postgres::Sqlstate(status);
  if (sqlstate.empty()) return false;
  for (const absl::string_view klass : {"08", "28", "53", "55", "57", "58"}) {
    if (absl::StartsWith(sqlstate, klass)) return false;
  }
  return true;
}

}  // namespace

CaptureSession::CaptureSession(const Surroundings& around, Reading reading)
    : around_(around),
      options_(*around.options),
      parts_(*around.parts),
      reading_(std::move(reading)),
      relations_(options_.conninfo, parts_.settings, parts_.tables),
      origins_({.conninfo = options_.conninfo,
                .forward_foreign = options_.forward_foreign_origins,
                .foreign_origins = parts_.foreign_origins,
                .stopping = [waits = around.waits] { return waits->stopping(); },
                .wait = [waits = around.waits](absl::Duration most) { waits->Sleep(most); }}),
      assembler_(
          parts_.stores.database, options_.decoding_memory_bytes * 2,
          {.announce =
               [this](absl::string_view raw, const postgres::RelationMessage& message) {
                 return Announce(raw, message);
               },
           .announce_type = [this](uint32_t oid,
                                   absl::string_view raw) { relations_.AnnounceType(oid, raw); },
           .stays_here = [this](absl::string_view origin) { return origins_.StaysHere(origin); }}),
      promises_(parts_.clocks.stamps, [database = parts_.stores.database](int64_t ceiling_us) {
        return State(database).Put(kStateCeiling, EncodeU64(static_cast<uint64_t>(ceiling_us)),
                                   /*sync=*/true);
      }) {}

SessionEnd CaptureSession::Run() {
  end_.status = Begin();
  if (end_.status.ok()) end_.status = Stream();
  end_.decoded = decoded_;
  return std::move(end_);
}

// The spool and parts of transactions that were not finished go first: the server sends them again.
// The stream is asked for from where the log ends, and what was skipped is confirmed at once, so
// that it need not be read again. Only then those are told who wait for what the log holds.
absl::Status CaptureSession::Begin() {
  RETURN_IF_ERROR(assembler_.Clear());
  Slot slot(&options_, &parts_, around_.waits, around_.health);
  ASSIGN_OR_RETURN(const Slot::Position position, slot.Find());
  start_ = decoded_ = position.start;
  RETURN_IF_ERROR(parts_.stores.log->RemoveHidden());
  writer_ = std::make_unique<BlockWriter>(
      BlockWriter::Options{.own = options_.own,
                           .conninfo = options_.conninfo,
                           .touched_through = options_.touched_through,
                           .captured = position.captured,
                           .block_max_bytes = options_.block_max_bytes},
      parts_.stores, parts_.in_flight, parts_.settings, parts_.positions.progress, &relations_);
  ASSIGN_OR_RETURN(connection_,
                   postgres::ReplicationConnection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  RETURN_IF_ERROR(connection_->Start(
      {.slot = parts_.positions.names->slot(),
       .start = start_,
       .publications = {"bdr_keyed", "bdr_insert_only"},
       .binary = !reading_.as_text,
       .decoding_memory_kb = static_cast<int>(options_.decoding_memory_bytes >> 10),
       .any_origin = options_.forward_foreign_origins,
       .streaming = reading_.streaming}));
  feedback_ = std::make_unique<SlotFeedback>(connection_.get(), parts_.positions.applied, start_);
  RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/false));
  doubt_.in_doubt = around_.skips->InDoubt();
  around_.waits->Reached(start_);
  NoteStreaming(/*proven=*/false);
  return absl::OkStatus();
}

// Where nothing is left to read, what is whole is published at once; while more comes, it waits a
// little for company. Whatever ends the stream does so between two items.
absl::Status CaptureSession::Stream() {
  while (!around_.waits->stopping()) {
    ASSIGN_OR_RETURN(const bool ends, EndsHere());
    if (ends) return absl::OkStatus();
    const bool may_publish = writer_->has_unpublished() && !assembler_.in_transaction();
    const absl::StatusOr<std::optional<postgres::StreamItem>> received =
        connection_->Receive(may_publish ? absl::ZeroDuration()
                             : awaits_   ? kShortWait
                                         : kIdleWait,
                             around_.waits->wake_fd());
    if (!received.ok()) return AfterFailure(received.status());
    if (received->has_value()) {
      RETURN_IF_ERROR(Handle(**received));
      if (writer_->has_unpublished() && assembler_.between_transactions() &&
          (writer_->unpublished_bytes() > kFlushBytes ||
           SteadyNow() - times_.unpublished_since > kMaxBlockAge)) {
        RETURN_IF_ERROR(Publish());
      }
    } else if (may_publish) {
      RETURN_IF_ERROR(Publish());
    } else {
      RETURN_IF_ERROR(Idle());
    }
    if (feedback_->IsDue()) RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/false));
  }
  return writer_->has_unpublished() && !assembler_.in_transaction() ? Publish() : absl::OkStatus();
}

// Everything is made durable first, so that the next session does not begin before it.
absl::StatusOr<bool> CaptureSession::EndsHere() {
  if (MustPause()) {
    RETURN_IF_ERROR(Publish());
    end_.why = Why::kPaused;
    // All of it is confirmed, so that the server keeps no more WAL than it must.
    RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/false));
    return true;
  }
  const Why why = reading_.as_text && HasPassed() ? Why::kTextHasPassed
                  : MustForget()                  ? Why::kForgets
                                                  : Why::kFailed;
  if (why == Why::kFailed) return false;
  RETURN_IF_ERROR(Publish());
  end_.why = why;
  return true;
}

bool CaptureSession::MustPause() {
  // Not within a transaction: its end may be what frees room. One that is still running may run for
  // days; what is spooled of it comes again.
  if (!assembler_.between_transactions() ||
      SteadyNow() - times_.last_room_check < kRoomCheckInterval) {
    return false;
  }
  times_.last_room_check = SteadyNow();
  return !around_.room->HasRoom();
}

// The server describes a relation once in a session, and never says that one is gone: where tables
// come and go, what is known of them would grow for ever.
bool CaptureSession::MustForget() const {
  const size_t most = BDR_HAS_HABIT("few_relations") ? 3 : kMaxRelations;
  return assembler_.relations() > most && assembler_.between_transactions();
}

// Nothing is left of what made it read as text.
bool CaptureSession::HasPassed() const {
  if (!assembler_.empty()) return false;
  // One that was rolled back may have been it; if not, we are back soon.
  const bool sighted = sighted_ || assembler_.rolled_back() > 0;
  const absl::Duration stayed = SteadyNow() - times_.begun;
  return stayed >= reading_.stay && (sighted || stayed >= kStayWithoutSight);
}

// Of a Receive(). What is whole is published: else all of it would be decoded again before each
// failure, and never get any further. Then it is told apart what the next session must do
// differently: read as text, do without streaming, or stand where it is.
absl::Status CaptureSession::AfterFailure(const absl::Status& failure) {
  if (!reading_.as_text && postgres::Sqlstate(failure) == kNoSuchFunction) {
    end_.why = Why::kNeedsText;
  }
  if (around_.waits->stopping()) return failure;
  if (writer_->has_unpublished() || decoded_ > feedback_->confirmed()) RETURN_IF_ERROR(Publish());
  if (end_.why == Why::kNeedsText || !IsDecodingError(failure)) return failure;
  end_.failed_to_decode = true;
  if (reading_.streaming) return failure;
  const absl::StatusOr<Lsn> commit = connection_->ReadPosition();
  if (!commit.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        failure.message(), "; and where that is cannot be told: ", commit.status().message()));
  }
  ASSIGN_OR_RETURN(const std::string missing, MissingPublication());
  const std::optional<Lsn> applied = assembler_.open_that_stays();
  end_.undecodable = {
      .commit = *commit,
      .cause = std::string(failure.message()),
      .applied = applied.has_value() && *applied >= *commit && *applied < BehindCommit(*commit),
      .follows = !doubt_.decoded_any,
      .missing = missing};
  return absl::FailedPreconditionError(ToString(*end_.undecodable));
}

absl::StatusOr<std::string> CaptureSession::MissingPublication() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> sql,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  return sql->QueryValue(
      "SELECT coalesce(min(n), '') FROM unnest(ARRAY['bdr_keyed', 'bdr_insert_only']) AS n "
      "WHERE n NOT IN (SELECT pubname FROM pg_catalog.pg_publication)");
}

// While capture stands at a transaction that cannot be decoded, only what comes behind it proves
// that this one can.
void CaptureSession::NoteStreaming(bool proven) {
  if (doubt_.noted || (doubt_.in_doubt && !proven)) return;
  doubt_.noted = true;
  around_.skips->Decodes(proven);
  const CaptureState state =
      reading_.as_text ? CaptureState::kStreamingText : CaptureState::kStreaming;
  const bool changed =
      reading_.as_text
          ? around_.health->Set(
                Health::Level::kWarning, state,
                absl::StrCat("all values are read as text, which is slow, until the "
                             "transaction has passed of which PostgreSQL cannot send a value "
                             "in binary form: ",
                             reading_.why))
          : around_.health->Set(Health::Level::kOk, state);
  if (changed) {
    LogInfo("capture", {{"state", ToString(state)},
                        {"slot", parts_.positions.names->slot()},
                        {"lsn", ToString(start_)}});
  }
}

absl::StatusOr<std::shared_ptr<const CapturedRelation>> CaptureSession::Announce(
    absl::string_view raw, const postgres::RelationMessage& message) {
  ASSIGN_OR_RETURN(std::shared_ptr<const CapturedRelation> announced,
                   relations_.Announce(raw, message));
  sighted_ = sighted_ || announced->forms.any_text || announced->forms.any_gone;
  return announced;
}

absl::Status CaptureSession::Handle(const postgres::StreamItem& item) {
  if (item.kind == postgres::StreamItem::Kind::kData) return Take(item.data);
  // Between transactions everything before the keepalive's position was decoded.
  const bool between = assembler_.between_transactions();
  if (between) decoded_ = std::max(decoded_, item.wal_end);
  if (!item.reply_requested) return absl::OkStatus();
  // The server shuts down, perhaps: it waits until we have confirmed all that it sent.
  if (between && decoded_ > feedback_->confirmed()) RETURN_IF_ERROR(Publish());
  return feedback_->Send(/*request_reply=*/false);
}

absl::Status CaptureSession::Take(absl::string_view data) {
  const absl::StatusOr<std::optional<AssembledTransaction>> whole = assembler_.Add(data);
  if (!whole.ok()) {
    // It may be a user's lock on a table, and last. What came before does not wait for that.
    if (writer_->has_unpublished()) RETURN_IF_ERROR(Publish());
    return whole.status();
  }
  return whole->has_value() ? Commit(**whole) : absl::OkStatus();
}

absl::Status CaptureSession::Commit(AssembledTransaction transaction) {
  if (transaction.streamed && !transaction.stays_here) {
    ASSIGN_OR_RETURN(const CommitOrigins::Writer writer, origins_.WriterOf(transaction.xid));
    transaction.stays_here = writer == CommitOrigins::Writer::kRemote;
    transaction.foreign = writer == CommitOrigins::Writer::kForeign;
  }
  const bool has_changes = transaction.spooled || transaction.bytes > 0;
  // After a restart the server may send again what the log already holds.
  if (has_changes && !transaction.stays_here && transaction.commit.end_lsn > start_) {
    RETURN_IF_ERROR(Write(transaction));
  }
  RETURN_IF_ERROR(assembler_.Done(transaction));
  return AfterTransaction(transaction.commit.end_lsn);
}

// One that was spooled begins a block of its own, so what is whole before it is published first.
// The others may go by what an administrator has said of tables by now: that is asked before
// anything is written, as the relation of a change says where it goes.
absl::Status CaptureSession::Write(const AssembledTransaction& transaction) {
  if (transaction.spooled) {
    if (writer_->has_unpublished()) RETURN_IF_ERROR(Publish());
  } else if (relations_.MustLookAgain()) {
    RETURN_IF_ERROR(assembler_.LookUpRelationsAgain());
  }
  if (!writer_->has_unpublished()) times_.unpublished_since = SteadyNow();
  TransactionWriter changes({.header = MakeHeader(transaction),
                             .commit = {.xid = transaction.xid,
                                        .commit_us = transaction.commit.commit_time_us,
                                        .foreign = transaction.foreign},
                             .expected_bytes = transaction.bytes},
                            reading_.as_text, &relations_, writer_.get());
  if (!transaction.spooled) {
    RETURN_IF_ERROR(assembler_.ForEachChange(transaction, [&](const AssembledChange& change) {
      if (!change.relations.empty() && changes.NeedsForms(change)) changes.HoldBack();
      return absl::OkStatus();
    }));
  }
  absl::Status status =
      assembler_.ForEachChange(transaction, [&](const AssembledChange& change) -> absl::Status {
        // Copying millions of rows takes longer than the server waits for a sign of life.
        if (transaction.spooled && feedback_->IsDue()) {
          RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/false));
        }
        return change.relations.empty() ? absl::OkStatus() : changes.Add(change);
      });
  if (status.ok()) status = changes.End();
  // What a receive function refuses, an output function may still give.
  if (changes.refused() && !reading_.as_text) end_.why = Why::kNeedsText;
  return status;
}

TransactionHeader CaptureSession::MakeHeader(const AssembledTransaction& transaction) {
  const postgres::CommitMessage& commit = transaction.commit;
  const int64_t time_us =
      transaction.foreign ? NoEarlierThan(commit.commit_lsn) : commit.commit_time_us;
  AppliedHistory::Snapshot applied = parts_.positions.applied->At(commit.commit_lsn);
  return {.end_lsn = commit.end_lsn,
          .stamp = {.time_us = parts_.clocks.stamps->Next(time_us, applied.newest_stamp_us),
                    .node = options_.own.node},
          .waits_for = std::move(applied.waits_for),
          .seen = std::move(applied.seen),
          .settings_version = parts_.settings->active()};
}

// The commit time of what another tool wrote is whatever that tool says. Its true time is not below
// that of what lies before it in the WAL, and capture may be far behind: by a later time the stamps
// of all that users committed meanwhile would be raised.
int64_t CaptureSession::NoEarlierThan(Lsn commit) const {
  const int64_t before_us = parts_.clocks.stamps->Floor() + 1;
  const Pulse pulse = around_.waits->pulse();
  return pulse.insert_lsn <= commit ? std::max(before_us, pulse.clock_us) : before_us;
}

absl::Status CaptureSession::AfterTransaction(Lsn end_lsn) {
  doubt_.decoded_any = true;
  NoteStreaming(/*proven=*/true);
  decoded_ = std::max(decoded_, end_lsn);
  if (!around_.waits->IsAwaited(decoded_)) return absl::OkStatus();
  if (writer_->has_unpublished()) return Publish();
  around_.waits->Reached(decoded_);
  return absl::OkStatus();
}

// What may be confirmed is what is durable, and nothing else is: see SlotFeedback. The start of a
// session is, as it was read from the log.
absl::Status CaptureSession::MakeDurable() {
  RETURN_IF_ERROR(writer_->Flush(decoded_));
  feedback_->Durable(decoded_);
  times_.last_persist = SteadyNow();
  return absl::OkStatus();
}

absl::Status CaptureSession::Publish() {
  if (BDR_RULE_BROKEN("sync_before_confirm")) {
    feedback_->Durable(decoded_);
    RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/false));
  }
  BDR_FAIL_POINT("capture_before_sync");
  RETURN_IF_ERROR(MakeDurable());
  BDR_FAIL_POINT("capture_after_sync");
  // What is published from now on was committed at or beyond what is decoded.
  parts_.positions.progress->Published(parts_.stores.log->End(options_.own).end_lsn,
                                       writer_->last_stamp_us(),
                                       parts_.positions.applied->At(decoded_).seen);
  around_.waits->Reached(decoded_);
  const BlockWriter::Counts counts = writer_->TakeCounts();
  around_.waits->Count(counts.transactions, counts.changes, feedback_->confirmed());
  return absl::OkStatus();
}

// Nothing is left to read and nothing unpublished: move positions and promise. The server tells how
// far it has decoded only when it is asked, so it is asked while it is behind its own WAL or
// somebody waits. A promise comes last but for the flush, which is for a restart alone.
absl::Status CaptureSession::Idle() {
  around_.waits->ClearWake();
  awaits_ = !assembler_.between_transactions();
  if (awaits_) return absl::OkStatus();
  const absl::Time now = SteadyNow();
  const Pulse pulse = around_.waits->pulse();
  const Lsn wanted = around_.waits->wanted();
  around_.waits->Reached(decoded_);
  const bool behind = decoded_ < BeforePageHeader(pulse.insert_lsn);
  NoteStreaming(/*proven=*/!behind && pulse.insert_lsn.valid());
  awaits_ = behind || wanted > decoded_;
  if (awaits_ && now - times_.last_ping > kPingInterval) {
    times_.last_ping = now;
    RETURN_IF_ERROR(feedback_->Send(/*request_reply=*/true));
  }
  if (Promises::May(pulse, decoded_)) RETURN_IF_ERROR(Promise(pulse));
  if (decoded_ > feedback_->confirmed() && now - times_.last_persist > kPersistInterval) {
    RETURN_IF_ERROR(MakeDurable());
    around_.waits->Count(0, 0, feedback_->confirmed());
  }
  return absl::OkStatus();
}

absl::Status CaptureSession::Promise(const Pulse& pulse) {
  ASSIGN_OR_RETURN(
      const int64_t promise,
      promises_.Next(pulse, parts_.positions.applied->NewestStamp(), parts_.settings->settling()));
  parts_.positions.progress->Published(parts_.stores.log->End(options_.own).end_lsn, promise,
                                       parts_.positions.applied->At(decoded_).seen);
  return absl::OkStatus();
}

}  // namespace bdr::agent
