#include "node-agent/capture/capture.h"

#include <algorithm>
#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "base/thread_name.h"
#include "node-agent/capture/foreign_origins.h"
#include "node-agent/capture/promises.h"
#include "node-agent/capture/wal_pages.h"
#include "node-agent/changelog/state.h"
#include "node-agent/positions/applied_position.h"
#include "postgres/connection.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {
namespace {

// A block waits at most this long for more transactions while the stream does not pause.
constexpr absl::Duration kMaxBlockAge = absl::Milliseconds(10);
// While something is awaited that the server tells only when asked.
constexpr absl::Duration kShortWait = absl::Milliseconds(10);
constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kFeedbackInterval = absl::Seconds(1);
constexpr absl::Duration kPersistInterval = absl::Milliseconds(250);
constexpr absl::Duration kPingInterval = absl::Milliseconds(20);
constexpr absl::Duration kMaxBackoff = absl::Seconds(5);
constexpr size_t kFlushBytes = 4 << 20;
constexpr size_t kMaxRelations = 10'000;  // that a session keeps in mind
constexpr absl::Duration kRoomInterval = absl::Milliseconds(200);
// Between two compactions of a log that is full.
constexpr absl::Duration kShortestRoomRest = absl::Seconds(1);
constexpr int kRoomRestFactor = 5;

// Between Stream Start and Stop messages carry an xid behind their kind.
constexpr size_t kXidBytes = 4;
std::string WithoutXid(absl::string_view message) {
  std::string out(message.substr(0, 1));
  absl::StrAppend(&out, message.substr(1 + kXidBytes));
  return out;
}

// Reading as text costs much, and each change of the reading a new start of the stream. So where
// such values keep coming, it stays longer each time.
constexpr absl::Duration kSoonAgain = absl::Minutes(1);
constexpr absl::Duration kMaxStay = absl::Minutes(1);
// A transaction that was rolled back may never show which it was.
constexpr absl::Duration kStayWithoutSight = absl::Minutes(1);
// How long the server may need to let go of the slot of a session that ended.
constexpr absl::Duration kLettingGo = absl::Seconds(5);
// Between the WAL record of a commit and its being visible there is no wait but for a standby.
constexpr absl::Duration kUntilCommitted = absl::Seconds(30);
// How soon a skip ends whose caller has given up.
constexpr absl::Duration kGivenUpInterval = absl::Milliseconds(200);
// What the server says where a type has no binary output function.
constexpr absl::string_view kNoSuchFunction = "42883";
constexpr absl::string_view kSlotInUse = "55006";
// Changes whose values are converted together.
constexpr size_t kConvertBytes = 1 << 20;
constexpr size_t kConvertChanges = 1000;

constexpr absl::string_view kStateCreatingSlot = "creating_slot";

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

// One connection to the slot, from where the log ends to the first error.
class Capture::Session {
 public:
  Session(Capture* capture, const Options& options, const Parts& parts)
      : capture_(capture),
        options_(options),
        parts_(parts),
        spool_(parts.stores.database),
        promises_(parts.clocks.stamps, [database = parts.stores.database](int64_t ceiling_us) {
          return State(database).Put(kStateCeiling, EncodeU64(static_cast<uint64_t>(ceiling_us)),
                                     /*sync=*/true);
        }) {}

  absl::Status Run();

  // After Run() has failed.
  bool failed_to_decode() const { return failed_to_decode_; }
  const std::optional<Undecodable>& undecodable() const { return undecodable_; }

  // After Run(): it has ended because there is no room in the log.
  bool paused() const { return paused_; }
  // After Run(): what the next session must do differently.
  bool needs_text() const { return needs_text_; }
  bool may_return() const { return may_return_; }
  bool forgets() const { return forgets_; }
  Lsn decoded() const { return decoded_; }

 private:
  using Relation = std::shared_ptr<const CapturedRelation>;
  struct PendingChange {
    std::vector<Relation> relations;   // one, or those of a truncate
    std::vector<Relation> left_alone;  // of a truncate: it names them as well
    bool truncate = false;
    size_t offset = 0;
    size_t length = 0;
  };

  absl::Status FindPosition();
  absl::Status CreateSlot();
  absl::Status Stream();
  absl::Status AfterFailure(const absl::Status& failure);
  absl::StatusOr<std::string> MissingPublication();
  void NoteStreaming(bool proven);

  bool as_text() const { return capture_->reading_.as_text; }
  // Nothing is left of what made it read as text.
  bool HasPassed() const;
  void ShowStreaming();
  // Whether a change of the relation may hold values that come in another form than they travel in.
  bool NeedsForms(const CapturedRelation& relation) const {
    return as_text() || relation.forms.any_text;
  }
  absl::Status Convert(uint32_t xid, absl::Span<WireForms::Change> changes);
  bool MustPause();
  bool MustForget() const;
  absl::Status Handle(const postgres::StreamItem& item);
  absl::Status HandleMessage(absl::string_view data);
  absl::Status HandleStreamed(absl::string_view data, const postgres::Message& message);
  absl::StatusOr<Relation> Announce(absl::string_view raw,
                                    const postgres::RelationMessage& message);
  absl::Status AddPending(absl::string_view data, std::vector<uint32_t> oids, bool truncate);
  absl::Status Commit(const postgres::CommitMessage& commit);
  absl::Status WritePending();
  absl::Status SpillPending();
  absl::Status LookUpRelationsAgain();
  absl::Status CommitSpooled(uint32_t xid, const postgres::CommitMessage& commit, bool foreign);
  // Of a streamed transaction that is committed by now.
  enum class Writer { kUser, kForeign, kRemote };
  absl::StatusOr<Writer> WriterOf(uint32_t xid);
  absl::StatusOr<std::string> OriginOf(uint32_t xid);
  bool StaysHere(absl::string_view origin);
  int64_t NoEarlierThan(Lsn commit) const;
  absl::Status TakeStreamedRelations(uint32_t xid);
  absl::Status WriteSpooled(const CapturedCommit& committed, const TransactionHeader& header);
  TransactionHeader MakeHeader(Lsn commit_lsn, Lsn end_lsn, int64_t commit_time_us);
  absl::Status AfterTransaction(Lsn end_lsn);
  absl::Status Publish();
  absl::Status Idle();
  absl::Status Promise(const Pulse& pulse);
  absl::Status SendFeedback(bool request_reply);

  Capture* const capture_;
  const Options& options_;
  const Parts& parts_;
  std::unique_ptr<postgres::ReplicationConnection> connection_;
  std::unique_ptr<postgres::Connection> sql_;  // opened when it is needed
  std::unique_ptr<OwnRelations> own_relations_;
  std::unique_ptr<BlockWriter> writer_;
  Spool spool_;
  Promises promises_;

  Lsn start_;
  Lsn decoded_;    // everything before was decoded
  Lsn confirmed_;  // everything before is durable here
  absl::Time unpublished_since_;
  absl::Time last_feedback_;
  absl::Time last_persist_;
  absl::Time last_ping_;
  absl::Time last_room_check_;
  bool awaits_ = false;  // that the server tells how far it has decoded
  uint64_t counted_transactions_ = 0;
  uint64_t counted_changes_ = 0;

  bool in_doubt_ = false;  // whether the server can decode
  bool noted_ = false;     // that it does
  bool receive_failed_ = false;
  bool failed_to_decode_ = false;
  std::optional<Undecodable> undecodable_;
  bool decoded_any_ = false;  // a transaction, whether of this node or not

  // The transaction between Begin and Commit.
  bool in_transaction_ = false;
  bool remote_ = false;
  bool foreign_ = false;  // by another tool's origin, and sent on
  postgres::BeginMessage begin_;
  std::string pending_;
  std::vector<PendingChange> changes_;
  // Relations as announced last, and when: announcements within a streamed transaction count from
  // its commit on, if none came later.
  struct Known {
    Relation relation;
    uint64_t arrival = 0;
  };
  struct Announced {
    std::string raw;
    uint64_t arrival = 0;
  };
  std::map<uint32_t, Known> relations_;
  uint64_t settings_generation_ = 0;  // as of which they were looked up
  std::map<uint32_t, std::map<uint32_t, Announced>> streamed_relations_;  // by xid, OID
  uint64_t arrivals_ = 0;
  // Of a transaction that is being spilled: the announcement of each relation that it has spilled.
  std::map<uint32_t, const CapturedRelation*> spilled_;
  std::vector<Relation> spilled_relations_;
  // The streamed transaction between Stream Start and Stream Stop; 0 outside.
  uint32_t stream_xid_ = 0;

  absl::Time begun_ = SteadyNow();
  bool paused_ = false;
  bool needs_text_ = false;
  bool may_return_ = false;
  bool forgets_ = false;
  // A relation with a type that has no binary form has come by: since the server describes one
  // before its first change, what could not be sent is that, or comes behind it.
  bool sighted_ = false;
};

absl::Status Capture::Session::Run() {
  RETURN_IF_ERROR(spool_.Clear());
  RETURN_IF_ERROR(FindPosition());
  ASSIGN_OR_RETURN(connection_,
                   postgres::ReplicationConnection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  RETURN_IF_ERROR(connection_->Start(
      {.slot = parts_.positions.names->slot(),
       .start = start_,
       .publications = {"bdr_keyed", "bdr_insert_only"},
       .binary = !as_text(),
       .decoding_memory_kb = static_cast<int>(options_.decoding_memory_bytes >> 10),
       .any_origin = options_.forward_foreign_origins,
       .streaming = capture_->streaming_}));
  decoded_ = confirmed_ = start_;
  // What was skipped need not be read again.
  RETURN_IF_ERROR(SendFeedback(/*request_reply=*/false));
  in_doubt_ = capture_->InDoubt();
  capture_->PublishThrough(start_);
  NoteStreaming(/*proven=*/false);
  const absl::Status ended = Stream();
  return ended.ok() || capture_->stopping_ || !receive_failed_ ? ended : AfterFailure(ended);
}

// What is whole is published: else all of it would be decoded again before each failure, and never
// get any further.
absl::Status Capture::Session::AfterFailure(const absl::Status& failure) {
  if (writer_->has_unpublished() || decoded_ > confirmed_) RETURN_IF_ERROR(Publish());
  if (needs_text_ || !IsDecodingError(failure)) return failure;
  failed_to_decode_ = true;
  if (capture_->streaming_) return failure;
  const absl::StatusOr<Lsn> commit = connection_->ReadPosition();
  if (!commit.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        failure.message(), "; and where that is cannot be told: ", commit.status().message()));
  }
  ASSIGN_OR_RETURN(const std::string missing, MissingPublication());
  undecodable_ = {.commit = *commit,
                  .cause = std::string(failure.message()),
                  .applied = in_transaction_ && remote_ && begin_.final_lsn >= *commit &&
                             begin_.final_lsn < BehindCommit(*commit),
                  .follows = !decoded_any_,
                  .missing = missing};
  return absl::FailedPreconditionError(ToString(*undecodable_));
}

absl::StatusOr<std::string> Capture::Session::MissingPublication() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> sql,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  return sql->QueryValue(
      "SELECT coalesce(min(n), '') FROM unnest(ARRAY['bdr_keyed', 'bdr_insert_only']) AS n "
      "WHERE n NOT IN (SELECT pubname FROM pg_catalog.pg_publication)");
}

// While capture stands at a transaction that cannot be decoded, only what comes behind it proves
// that this one can.
void Capture::Session::NoteStreaming(bool proven) {
  if (noted_ || (in_doubt_ && !proven)) return;
  noted_ = true;
  if (proven) capture_->EndSkipping(absl::OkStatus());
  {
    MutexLock lock(&capture_->mu_);
    capture_->undecodable_.reset();
  }
  ShowStreaming();
}

void Capture::Session::ShowStreaming() {
  const bool changed =
      as_text() ? capture_->health_.Set(
                      Health::Level::kWarning, CaptureState::kStreamingText,
                      absl::StrCat("all values are read as text, which is slow, until the "
                                   "transaction has passed of which PostgreSQL cannot send a value "
                                   "in binary form: ",
                                   capture_->reading_.why))
                : capture_->health_.Set(Health::Level::kOk, CaptureState::kStreaming);
  if (changed) {
    LogInfo("capture", {{"state", as_text() ? "streaming_text" : "streaming"},
                        {"slot", parts_.positions.names->slot()},
                        {"lsn", ToString(start_)}});
  }
}

bool Capture::Session::HasPassed() const {
  if (in_transaction_ || stream_xid_ != 0 || spool_.open_transactions() > 0) return false;
  const absl::Duration stayed = SteadyNow() - begun_;
  return stayed >= capture_->reading_.stay && (sighted_ || stayed >= kStayWithoutSight);
}

absl::Status Capture::Session::Convert(uint32_t xid, absl::Span<WireForms::Change> changes) {
  const absl::Status status = own_relations_->forms().Convert(xid, changes);
  // What a receive function refuses, an output function may still give.
  needs_text_ = absl::IsFailedPrecondition(status) && !as_text();
  return status;
}

// Where to go on: never before what the log holds, never behind what the slot has let go.
absl::Status Capture::Session::FindPosition() {
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::Connection> sql,
                   postgres::Connection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  // If it was a crash that ended the last session, groups may be gone that the history counts as
  // seen, and WAL positions come again that lay behind them.
  const std::vector<OriginLsn> finished = parts_.positions.applied->Finished();
  // While PostgreSQL was away, nobody's session kept one from being dropped.
  RETURN_IF_ERROR(parts_.positions.server_past->CheckOrigins(*sql, *parts_.positions.names));
  ASSIGN_OR_RETURN(const ServerPast::Told told, parts_.positions.server_past->Ask(*sql));
  for (const OriginLsn& known : finished) {
    for (const AppliedPosition& position : told.applied) {
      if (position.origin != known.origin) continue;
      parts_.positions.applied->Lost(known.origin, known.lsn, position.lsn, position.stamp_us);
    }
  }
  const auto find_slot = [&]() -> absl::StatusOr<postgres::Result> {
    const postgres::Param name{.data = parts_.positions.names->slot()};
    return sql->ExecParams(
        "SELECT confirmed_flush_lsn, coalesce(wal_status, 'lost') "
        "FROM pg_replication_slots WHERE slot_name = $1",
        absl::MakeConstSpan(&name, 1));
  };
  State state(parts_.stores.database);
  ASSIGN_OR_RETURN(std::optional<CapturedState> captured,
                   CapturedState::Load(parts_.stores.database));
  ASSIGN_OR_RETURN(const std::optional<std::string> creating, state.Get(kStateCreatingSlot));
  ASSIGN_OR_RETURN(postgres::Result slot, find_slot());
  if (!captured.has_value() && slot.rows() > 0) {
    if (!creating.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "cannot capture: replication slot \"", parts_.positions.names->slot(),
          "\" exists but the change log in data_dir is empty; it was removed or belongs to another "
          "agent. If no other agent uses the slot and this node was never a member, drop it: "
          "SELECT pg_drop_replication_slot('",
          parts_.positions.names->slot(), "')"));
    }
    // This agent died between creating the slot and writing down where it begins.
    const postgres::Param name{.data = parts_.positions.names->slot()};
    RETURN_IF_ERROR(
        sql->ExecParams("SELECT pg_drop_replication_slot($1)", absl::MakeConstSpan(&name, 1))
            .status());
  }
  if (!captured.has_value()) {
    RETURN_IF_ERROR(CreateSlot());
    ASSIGN_OR_RETURN(captured, CapturedState::Load(parts_.stores.database));
    ASSIGN_OR_RETURN(slot, find_slot());
  }
  if (slot.rows() == 0 || slot.value(0, 1) == "lost") {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot resume capture: replication slot \"", parts_.positions.names->slot(), "\" is ",
        slot.rows() == 0 ? "missing" : "lost (the server removed WAL that it needs)",
        "; changes committed here since ", ToString(captured->through),
        " cannot be read any more: the node has to be copied anew"));
  }
  ASSIGN_OR_RETURN(const Lsn confirmed, ParseLsn(slot.value(0, 0)));
  start_ = std::max(captured->through, parts_.stores.log->End(options_.own).end_lsn);
  RETURN_IF_ERROR(parts_.positions.server_past->CheckCapture(*sql, start_, captured->last, told));
  if (confirmed > start_) {
    // The server would start at its own position and report no error: what lies between would be
    // lost. Repeating cannot help.
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot resume capture: replication slot \"", parts_.positions.names->slot(),
        "\" has confirmed ", ToString(confirmed), " but the change log ends at ", ToString(start_),
        "; data_dir was replaced or restored: the node has to be copied anew"));
  }
  RETURN_IF_ERROR(parts_.stores.log->RemoveHidden());
  own_relations_ =
      std::make_unique<OwnRelations>(options_.conninfo, parts_.settings, parts_.tables);
  writer_ = std::make_unique<BlockWriter>(
      BlockWriter::Options{.own = options_.own,
                           .conninfo = options_.conninfo,
                           .touched_through = options_.touched_through,
                           .captured = *captured,
                           .block_max_bytes = options_.block_max_bytes},
      parts_.stores, parts_.in_flight, parts_.settings, parts_.positions.progress,
      own_relations_.get());
  return absl::OkStatus();
}

absl::Status Capture::Session::CreateSlot() {
  capture_->health_.Set(Health::Level::kWarning, CaptureState::kCreatingSlot,
                        "waits for transactions that were running to end");
  State state(parts_.stores.database);
  RETURN_IF_ERROR(state.Put(kStateCreatingSlot, "1", /*sync=*/true));
  ASSIGN_OR_RETURN(const std::unique_ptr<postgres::ReplicationConnection> connection,
                   postgres::ReplicationConnection::Connect(
                       {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  capture_->SetWaiting(connection.get());
  const absl::StatusOr<postgres::CreatedSlot> created =
      connection->CreateSlot({.name = parts_.positions.names->slot()});
  capture_->SetWaiting(nullptr);
  if (!created.ok()) return created.status();
  const postgres::CreatedSlot& slot = *created;
  RETURN_IF_ERROR(state.Put(kStateCaptured,
                            CapturedState{.through = slot.consistent_point}.Encode(),
                            /*sync=*/true));
  LogInfo(
      "capture",
      {{"state", "slot_created"}, {"slot", slot.name}, {"lsn", ToString(slot.consistent_point)}});
  return absl::OkStatus();
}

absl::Status Capture::Session::Stream() {
  while (!capture_->stopping_) {
    if (MustPause()) {
      // All of it is confirmed, so that the server keeps no more WAL than it must.
      RETURN_IF_ERROR(Publish());
      paused_ = true;
      return SendFeedback(/*request_reply=*/false);
    }
    const bool unpublished = writer_->has_unpublished();
    if (as_text() && HasPassed()) {
      // Everything is durable here, so that the next session does not begin before it.
      RETURN_IF_ERROR(Publish());
      may_return_ = true;
      return absl::OkStatus();
    }
    if (MustForget()) {
      RETURN_IF_ERROR(Publish());
      forgets_ = true;
      return absl::OkStatus();
    }
    const absl::StatusOr<std::optional<postgres::StreamItem>> received =
        connection_->Receive(unpublished && !in_transaction_ ? absl::ZeroDuration()
                             : awaits_                       ? kShortWait
                                                             : kIdleWait,
                             capture_->woken_.fd());
    receive_failed_ = !received.ok();
    if (!received.ok()) {
      needs_text_ = !as_text() && postgres::Sqlstate(received.status()) == kNoSuchFunction;
      return received.status();
    }
    const std::optional<postgres::StreamItem>& item = *received;
    if (item.has_value()) {
      RETURN_IF_ERROR(Handle(*item));
      if (writer_->has_unpublished() && !in_transaction_ && stream_xid_ == 0 &&
          (writer_->unpublished_bytes() > kFlushBytes ||
           SteadyNow() - unpublished_since_ > kMaxBlockAge)) {
        RETURN_IF_ERROR(Publish());
      }
    } else if (unpublished && !in_transaction_) {
      RETURN_IF_ERROR(Publish());
    } else {
      RETURN_IF_ERROR(Idle());
    }
    if (SteadyNow() - last_feedback_ > kFeedbackInterval) {
      RETURN_IF_ERROR(SendFeedback(/*request_reply=*/false));
    }
  }
  return writer_->has_unpublished() && !in_transaction_ ? Publish() : absl::OkStatus();
}

bool Capture::Session::MustPause() {
  // Not within a transaction: its end may be what frees room. One that is still running may run for
  // days; what is spooled of it comes again.
  if (in_transaction_ || stream_xid_ != 0 || SteadyNow() - last_room_check_ < kRoomInterval) {
    return false;
  }
  last_room_check_ = SteadyNow();
  return !capture_->HasRoom(0);
}

// The server describes a relation once in a session, and never says that one is gone: where tables
// come and go, what is known of them would grow for ever.
bool Capture::Session::MustForget() const {
  const size_t most = BDR_HAS_HABIT("few_relations") ? 3 : kMaxRelations;
  return relations_.size() > most && !in_transaction_ && stream_xid_ == 0;
}

absl::Status Capture::Session::Handle(const postgres::StreamItem& item) {
  if (item.kind == postgres::StreamItem::Kind::kData) return HandleMessage(item.data);
  // Between transactions everything before the keepalive's position was decoded.
  if (!in_transaction_ && stream_xid_ == 0) decoded_ = std::max(decoded_, item.wal_end);
  if (!item.reply_requested) return absl::OkStatus();
  // The server shuts down, perhaps: it waits until we have confirmed all that it sent.
  if (!in_transaction_ && stream_xid_ == 0 && decoded_ > confirmed_) RETURN_IF_ERROR(Publish());
  return SendFeedback(/*request_reply=*/false);
}

absl::Status Capture::Session::HandleMessage(absl::string_view data) {
  ASSIGN_OR_RETURN(const postgres::Message message,
                   postgres::Decode(data, {.in_stream = stream_xid_ != 0}));
  if (std::holds_alternative<postgres::StreamStartMessage>(message) || stream_xid_ != 0 ||
      std::holds_alternative<postgres::StreamCommitMessage>(message) ||
      std::holds_alternative<postgres::StreamAbortMessage>(message)) {
    return HandleStreamed(data, message);
  }
  if (const auto* begin = std::get_if<postgres::BeginMessage>(&message)) {
    in_transaction_ = true;
    remote_ = false;
    foreign_ = false;
    begin_ = *begin;
    pending_.clear();
    changes_.clear();
    spilled_.clear();
    spilled_relations_.clear();
  } else if (const auto* origin = std::get_if<postgres::OriginMessage>(&message)) {
    remote_ = StaysHere(origin->name);
    foreign_ = !remote_;
  } else if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
    absl::StatusOr<Relation> announced = Announce(data, *relation);
    if (!announced.ok()) {
      // It may be a user's lock, and last. What came before does not wait for that.
      if (writer_->has_unpublished()) RETURN_IF_ERROR(Publish());
      return announced.status();
    }
    relations_[relation->relation_oid] = {.relation = *std::move(announced),
                                          .arrival = ++arrivals_};
  } else if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
    own_relations_->AnnounceType(type->type_oid, data);
  } else if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) {
    return AddPending(data, {insert->relation_oid}, /*truncate=*/false);
  } else if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) {
    return AddPending(data, {update->relation_oid}, /*truncate=*/false);
  } else if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) {
    return AddPending(data, {erase->relation_oid}, /*truncate=*/false);
  } else if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&message)) {
    return AddPending(data, truncate->relation_oids, /*truncate=*/true);
  } else if (const auto* commit = std::get_if<postgres::CommitMessage>(&message)) {
    return Commit(*commit);
  } else if (std::holds_alternative<postgres::PreparedMessage>(message)) {
    return absl::InternalError("the server sent a prepared transaction, which was not asked for");
  }
  return absl::OkStatus();
}

absl::StatusOr<Capture::Session::Relation> Capture::Session::Announce(
    absl::string_view raw, const postgres::RelationMessage& message) {
  ASSIGN_OR_RETURN(Relation announced, own_relations_->Announce(raw, message));
  sighted_ = sighted_ || announced->forms.any_text || announced->forms.any_gone;
  return announced;
}

absl::Status Capture::Session::AddPending(absl::string_view data, std::vector<uint32_t> oids,
                                          bool truncate) {
  if (remote_) return absl::OkStatus();
  PendingChange change{.relations = {},
                       .left_alone = {},
                       .truncate = truncate,
                       .offset = pending_.size(),
                       .length = data.size()};
  for (const uint32_t oid : oids) {
    const auto relation = relations_.find(oid);
    if (relation == relations_.end()) {
      return absl::InternalError(
          absl::StrCat("the server sent a change of relation ", oid, " before describing it"));
    }
    (relation->second.relation->replicated ? change.relations : change.left_alone)
        .push_back(relation->second.relation);
  }
  if (change.relations.empty()) return absl::OkStatus();
  pending_.append(data.data(), data.size());
  changes_.push_back(std::move(change));
  return pending_.size() < options_.decoding_memory_bytes * 2 ? absl::OkStatus() : SpillPending();
}

// The server streams large transactions, but not one that began before the slot's position: that
// comes whole, whatever its size.
absl::Status Capture::Session::SpillPending() {
  for (const PendingChange& change : changes_) {
    std::vector<Relation> named = change.relations;
    named.insert(named.end(), change.left_alone.begin(), change.left_alone.end());
    for (const Relation& relation : named) {
      const CapturedRelation*& last = spilled_[relation->message.relation_oid];
      if (last == relation.get()) continue;
      last = relation.get();
      spilled_relations_.push_back(relation);  // so that the address is not used again
      RETURN_IF_ERROR(spool_.Add(begin_.xid, begin_.xid, Spool::Kind::kRelation, relation->raw));
    }
    RETURN_IF_ERROR(spool_.Add(begin_.xid, begin_.xid, Spool::Kind::kChange,
                               absl::string_view(pending_).substr(change.offset, change.length)));
  }
  pending_.clear();
  changes_.clear();
  return absl::OkStatus();
}

TransactionHeader Capture::Session::MakeHeader(Lsn commit_lsn, Lsn end_lsn,
                                               int64_t commit_time_us) {
  AppliedHistory::Snapshot applied = parts_.positions.applied->At(commit_lsn);
  return {.end_lsn = end_lsn,
          .stamp = {.time_us = parts_.clocks.stamps->Next(commit_time_us, applied.newest_stamp_us),
                    .node = options_.own.node},
          .waits_for = std::move(applied.waits_for),
          .seen = std::move(applied.seen),
          .settings_version = parts_.settings->active()};
}

// A table that was moved with its whole schema is announced no more on 15: what an administrator
// has said of tables is when its name is looked up again.
absl::Status Capture::Session::LookUpRelationsAgain() {
  const uint64_t generation = parts_.settings->generation();
  if (std::exchange(settings_generation_, generation) == generation ||
      parts_.settings->TableChanges()->empty()) {
    return absl::OkStatus();
  }
  std::map<const CapturedRelation*, Relation> looked_up;
  const auto again = [&](Relation* relation) -> absl::Status {
    if (*relation == nullptr || !(*relation)->replicated) return absl::OkStatus();
    Relation& now = looked_up[relation->get()];
    if (now == nullptr) {
      ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode((*relation)->raw));
      ASSIGN_OR_RETURN(now, own_relations_->Announce((*relation)->raw,
                                                     std::get<postgres::RelationMessage>(message)));
    }
    *relation = now;
    return absl::OkStatus();
  };
  // Kept until all are looked up: an address must not be used again meanwhile.
  const std::map<uint32_t, Known> before = relations_;
  std::vector<PendingChange> changes = changes_;
  for (auto& [oid, known] : relations_) RETURN_IF_ERROR(again(&known.relation));
  for (PendingChange& change : changes) {
    for (Relation& relation : change.relations) RETURN_IF_ERROR(again(&relation));
  }
  changes_ = std::move(changes);
  return absl::OkStatus();
}

absl::Status Capture::Session::Commit(const postgres::CommitMessage& commit) {
  in_transaction_ = false;
  if (!spilled_.empty()) {
    RETURN_IF_ERROR(SpillPending());
    spilled_.clear();
    spilled_relations_.clear();
    return CommitSpooled(begin_.xid, commit, foreign_);
  }
  // After a restart the server may send again what the log already holds.
  if (!changes_.empty() && commit.end_lsn > start_) {
    RETURN_IF_ERROR(LookUpRelationsAgain());
    if (!writer_->has_unpublished()) unpublished_since_ = SteadyNow();
    RETURN_IF_ERROR(writer_->Begin(
        MakeHeader(commit.commit_lsn, commit.end_lsn,
                   foreign_ ? NoEarlierThan(commit.commit_lsn) : commit.commit_time_us),
        {.xid = begin_.xid, .commit_us = commit.commit_time_us, .foreign = foreign_},
        pending_.size()));
    RETURN_IF_ERROR(WritePending());
    RETURN_IF_ERROR(writer_->End());
  }
  pending_.clear();
  if (pending_.capacity() > (1 << 20)) pending_.shrink_to_fit();
  changes_.clear();
  return AfterTransaction(commit.end_lsn);
}

absl::Status Capture::Session::WritePending() {
  const auto bytes_of = [this](const PendingChange& change) {
    return absl::string_view(pending_).substr(change.offset, change.length);
  };
  std::vector<WireForms::Change> conversions;
  for (const PendingChange& change : changes_) {
    if (change.truncate || !NeedsForms(*change.relations.front())) continue;
    conversions.push_back(
        {.relation = change.relations.front().get(), .bytes = bytes_of(change), .converted = {}});
  }
  RETURN_IF_ERROR(Convert(begin_.xid, absl::MakeSpan(conversions)));
  size_t next = 0;
  for (const PendingChange& change : changes_) {
    absl::string_view bytes = bytes_of(change);
    if (next < conversions.size() && conversions[next].bytes.data() == bytes.data()) {
      const std::optional<std::string>& converted = conversions[next++].converted;
      if (converted.has_value()) bytes = *converted;
    }
    RETURN_IF_ERROR(change.truncate ? writer_->AddTruncate(change.relations, bytes)
                                    : writer_->Add(change.relations.front(), bytes));
  }
  return absl::OkStatus();
}

absl::Status Capture::Session::HandleStreamed(absl::string_view data,
                                              const postgres::Message& message) {
  if (const auto* start = std::get_if<postgres::StreamStartMessage>(&message)) {
    stream_xid_ = start->xid;
    return absl::OkStatus();
  }
  if (std::holds_alternative<postgres::StreamStopMessage>(message)) {
    stream_xid_ = 0;
    return absl::OkStatus();
  }
  if (const auto* abort = std::get_if<postgres::StreamAbortMessage>(&message)) {
    if (abort->xid == abort->subxid) {
      streamed_relations_.erase(abort->xid);
      sighted_ = true;  // perhaps; if not, we are back soon
    }
    return spool_.Abort(abort->xid, abort->subxid);
  }
  if (const auto* commit = std::get_if<postgres::StreamCommitMessage>(&message)) {
    ASSIGN_OR_RETURN(const Writer writer, WriterOf(commit->xid));
    if (writer == Writer::kRemote) spool_.MarkRemote(commit->xid);
    return CommitSpooled(commit->xid,
                         {.commit_lsn = commit->commit_lsn,
                          .end_lsn = commit->end_lsn,
                          .commit_time_us = commit->commit_time_us},
                         writer == Writer::kForeign);
  }
  if (const auto* origin = std::get_if<postgres::OriginMessage>(&message)) {
    if (StaysHere(origin->name)) spool_.MarkRemote(stream_xid_);
    return absl::OkStatus();
  }
  using Kind = Spool::Kind;
  if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
    // Once the transaction commits, the server takes the relation as known to us, and does not
    // announce it again to later ones.
    std::string raw = WithoutXid(data);
    RETURN_IF_ERROR(spool_.Add(stream_xid_, relation->xid, Kind::kRelation, raw));
    streamed_relations_[stream_xid_][relation->relation_oid] = {.raw = std::move(raw),
                                                                .arrival = ++arrivals_};
    return absl::OkStatus();
  }
  if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
    own_relations_->AnnounceType(type->type_oid, WithoutXid(data));
    return spool_.Add(stream_xid_, type->xid, Kind::kType, WithoutXid(data));
  }
  uint32_t subxid = 0;
  if (const auto* insert = std::get_if<postgres::InsertMessage>(&message)) subxid = insert->xid;
  if (const auto* update = std::get_if<postgres::UpdateMessage>(&message)) subxid = update->xid;
  if (const auto* erase = std::get_if<postgres::DeleteMessage>(&message)) subxid = erase->xid;
  if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&message)) {
    subxid = truncate->xid;
  }
  if (subxid == 0) return absl::OkStatus();
  return spool_.Add(stream_xid_, subxid, Kind::kChange, WithoutXid(data));
}

// The name of its replication origin, empty if it had none. A commit can be decoded before the
// server has noted its time and origin, which come behind its record in the WAL, and before it
// counts as committed: until then nothing is known, which is not to be taken for "no origin".
absl::StatusOr<std::string> Capture::Session::OriginOf(uint32_t xid) {
  // The xid with its epoch is the last one that it can be, as what is decoded is not that old.
  const std::string sql = absl::StrCat(
      "SELECT c.roident IS NOT NULL OR pg_xact_status((n.next - ((n.next - ", xid,
      ") & 4294967295))::text::xid8) IS DISTINCT FROM 'in progress',"
      " CASE WHEN c.roident <> 0 THEN coalesce((SELECT roname FROM pg_replication_origin o"
      " WHERE o.roident = c.roident), 'bdr_') ELSE '' END"
      " FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 + 1000000 AS next) AS n,"
      " pg_xact_commit_timestamp_origin('",
      xid, "'::xid) AS c");
  const absl::Time deadline = SteadyNow() + kUntilCommitted;
  while (!capture_->stopping_) {
    // The answer that counts is the second one: what was not known in the first may be by then.
    ASSIGN_OR_RETURN(const postgres::Result settled, sql_->Exec(sql));
    if (settled.value(0, 0) == "t") {
      ASSIGN_OR_RETURN(const postgres::Result known, sql_->Exec(sql));
      return std::string(known.value(0, 1));
    }
    if (SteadyNow() > deadline) break;
    MutexLock lock(&capture_->mu_);
    capture_->moved_.WaitFor(&capture_->mu_, kIdleWait);
  }
  return absl::UnavailableError(absl::StrCat("the server has sent the commit of transaction ", xid,
                                             " and still says that it is running"));
}

// PostgreSQL 15 takes the origin of a streamed transaction from its first change, and what a DDL
// command or a TRUNCATE does to the catalogs carries none: such a transaction looks local although
// it was applied, and would go round for ever. What its commit record says is kept with its commit
// time, as long as anybody may still have to decode it, since the slot keeps the catalogs' xids.
absl::StatusOr<Capture::Session::Writer> Capture::Session::WriterOf(uint32_t xid) {
  if (spool_.IsRemote(xid)) return Writer::kRemote;
  if (sql_ == nullptr || sql_->broken()) {
    ASSIGN_OR_RETURN(sql_, postgres::Connection::Connect(
                               {.conninfo = options_.conninfo, .application_name = "bdr capture"}));
  }
  ASSIGN_OR_RETURN(const std::string origin, OriginOf(xid));
  if (origin.empty()) return Writer::kUser;
  // One that is gone by now was an agent's.
  return !options_.forward_foreign_origins || ForeignOrigins::IsOurs(origin) ? Writer::kRemote
                                                                             : Writer::kForeign;
}

// Applied here on behalf of another node, it is not ours to send on; nor is another tool's, unless
// it is wished.
bool Capture::Session::StaysHere(absl::string_view origin) {
  if (options_.forward_foreign_origins && !ForeignOrigins::IsOurs(origin)) return false;
  parts_.foreign_origins->Dropped(origin);
  return true;
}

// The commit time of what another tool wrote is whatever that tool says. Its true time is not below
// that of what lies before it in the WAL, and capture may be far behind: by a later time the stamps
// of all that users committed meanwhile would be raised.
int64_t Capture::Session::NoEarlierThan(Lsn commit) const {
  const int64_t before_us = parts_.clocks.stamps->Floor() + 1;
  MutexLock lock(&capture_->mu_);
  const Pulse& pulse = capture_->pulse_;
  return pulse.insert_lsn <= commit ? std::max(before_us, pulse.clock_us) : before_us;
}

absl::Status Capture::Session::CommitSpooled(uint32_t xid, const postgres::CommitMessage& commit,
                                             bool foreign) {
  if (!spool_.IsRemote(xid) && commit.end_lsn > start_) {
    if (writer_->has_unpublished()) RETURN_IF_ERROR(Publish());
    unpublished_since_ = SteadyNow();
    RETURN_IF_ERROR(WriteSpooled(
        {.xid = xid, .commit_us = commit.commit_time_us, .foreign = foreign},
        MakeHeader(commit.commit_lsn, commit.end_lsn,
                   foreign ? NoEarlierThan(commit.commit_lsn) : commit.commit_time_us)));
  }
  RETURN_IF_ERROR(spool_.Forget(xid));
  RETURN_IF_ERROR(TakeStreamedRelations(xid));
  return AfterTransaction(commit.end_lsn);
}

absl::Status Capture::Session::TakeStreamedRelations(uint32_t xid) {
  const auto streamed = streamed_relations_.extract(xid);
  if (streamed.empty()) return absl::OkStatus();
  for (const auto& [oid, announced] : streamed.mapped()) {
    Known& known = relations_[oid];
    if (known.arrival > announced.arrival) continue;  // announced anew by another transaction
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(announced.raw));
    ASSIGN_OR_RETURN(known.relation,
                     Announce(announced.raw, std::get<postgres::RelationMessage>(message)));
    known.arrival = announced.arrival;
  }
  return absl::OkStatus();
}

absl::Status Capture::Session::WriteSpooled(const CapturedCommit& committed,
                                            const TransactionHeader& header) {
  std::map<uint32_t, Relation> relations;  // as this transaction saw them
  bool begun = false;
  // Changes that wait to be converted together.
  struct Waiting {
    Relation relation;
    std::string bytes;
  };
  std::vector<Waiting> waiting;
  size_t waiting_bytes = 0;
  const auto write_waiting = [&]() -> absl::Status {
    std::vector<WireForms::Change> conversions;
    for (const Waiting& change : waiting) {
      conversions.push_back(
          {.relation = change.relation.get(), .bytes = change.bytes, .converted = {}});
    }
    RETURN_IF_ERROR(Convert(committed.xid, absl::MakeSpan(conversions)));
    for (size_t i = 0; i < waiting.size(); ++i) {
      const std::optional<std::string>& converted = conversions[i].converted;
      RETURN_IF_ERROR(
          writer_->Add(waiting[i].relation, converted.has_value() ? *converted : waiting[i].bytes));
    }
    waiting.clear();
    waiting_bytes = 0;
    return absl::OkStatus();
  };
  const auto write = [&](Spool::Kind, absl::string_view bytes) -> absl::Status {
    // Copying millions of rows takes longer than the server waits for a sign of life.
    if (SteadyNow() - last_feedback_ > kFeedbackInterval) {
      RETURN_IF_ERROR(SendFeedback(/*request_reply=*/false));
    }
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(bytes));
    if (const auto* relation = std::get_if<postgres::RelationMessage>(&message)) {
      ASSIGN_OR_RETURN(relations[relation->relation_oid], Announce(bytes, *relation));
      return absl::OkStatus();
    }
    if (const auto* type = std::get_if<postgres::TypeMessage>(&message)) {
      own_relations_->AnnounceType(type->type_oid, bytes);
      return absl::OkStatus();
    }
    std::vector<uint32_t> oids = {postgres::PeekRelationOid(bytes)};
    const auto* truncate = std::get_if<postgres::TruncateMessage>(&message);
    if (truncate != nullptr) oids = truncate->relation_oids;
    std::vector<Relation> touched;
    for (const uint32_t oid : oids) {
      const auto relation = relations.find(oid);
      if (relation == relations.end()) {
        return absl::InternalError(absl::StrCat("the server streamed a change of relation ", oid,
                                                " before describing it"));
      }
      if (relation->second->replicated) touched.push_back(relation->second);
    }
    if (touched.empty()) return absl::OkStatus();
    if (!begun) RETURN_IF_ERROR(writer_->Begin(header, committed, /*expected_bytes=*/0));
    begun = true;
    if (truncate == nullptr && NeedsForms(*touched.front())) {
      waiting.push_back({.relation = touched.front(), .bytes = std::string(bytes)});
      waiting_bytes += bytes.size();
      return waiting_bytes < kConvertBytes && waiting.size() < kConvertChanges ? absl::OkStatus()
                                                                               : write_waiting();
    }
    RETURN_IF_ERROR(write_waiting());
    return truncate != nullptr ? writer_->AddTruncate(touched, bytes)
                               : writer_->Add(touched.front(), bytes);
  };
  RETURN_IF_ERROR(spool_.ForEach(committed.xid, write));
  RETURN_IF_ERROR(write_waiting());
  return begun ? writer_->End() : absl::OkStatus();
}

absl::Status Capture::Session::AfterTransaction(Lsn end_lsn) {
  decoded_any_ = true;
  NoteStreaming(/*proven=*/true);
  decoded_ = std::max(decoded_, end_lsn);
  bool wanted = false;
  {
    MutexLock lock(&capture_->mu_);
    wanted = capture_->wanted_ > capture_->through_ && capture_->wanted_ <= decoded_;
  }
  if (writer_->has_unpublished()) return wanted ? Publish() : absl::OkStatus();
  if (wanted) capture_->PublishThrough(decoded_);
  return absl::OkStatus();
}

absl::Status Capture::Session::Publish() {
  if (BDR_RULE_BROKEN("sync_before_confirm")) {
    confirmed_ = decoded_;
    RETURN_IF_ERROR(SendFeedback(/*request_reply=*/false));
  }
  BDR_FAIL_POINT("capture_before_sync");
  RETURN_IF_ERROR(writer_->Flush(decoded_));
  BDR_FAIL_POINT("capture_after_sync");
  confirmed_ = decoded_;
  last_persist_ = SteadyNow();
  // What is published from now on was committed at or beyond what is decoded.
  parts_.positions.progress->Published(parts_.stores.log->End(options_.own).end_lsn,
                                       writer_->last_stamp_us(),
                                       parts_.positions.applied->At(decoded_).seen);
  capture_->PublishThrough(decoded_);
  MutexLock lock(&capture_->mu_);
  capture_->counters_.transactions += writer_->transactions() - counted_transactions_;
  capture_->counters_.changes += writer_->changes() - counted_changes_;
  capture_->counters_.confirmed = confirmed_;
  counted_transactions_ = writer_->transactions();
  counted_changes_ = writer_->changes();
  return absl::OkStatus();
}

// Nothing is left to read and nothing unpublished: move positions and promise.
absl::Status Capture::Session::Idle() {
  capture_->woken_.Clear();
  awaits_ = in_transaction_ || stream_xid_ != 0;
  if (awaits_) return absl::OkStatus();
  const absl::Time now = SteadyNow();
  Pulse pulse;
  Lsn wanted;
  {
    MutexLock lock(&capture_->mu_);
    pulse = capture_->pulse_;
    wanted = capture_->wanted_;
  }
  capture_->PublishThrough(decoded_);
  const bool behind = decoded_ < BeforePageHeader(pulse.insert_lsn);
  NoteStreaming(/*proven=*/!behind && pulse.insert_lsn.valid());
  awaits_ = behind || wanted > decoded_;
  if (awaits_ && now - last_ping_ > kPingInterval) {
    last_ping_ = now;
    RETURN_IF_ERROR(SendFeedback(/*request_reply=*/true));
  }
  if (Promises::May(pulse, decoded_)) RETURN_IF_ERROR(Promise(pulse));
  if (decoded_ > confirmed_ && now - last_persist_ > kPersistInterval) {
    RETURN_IF_ERROR(writer_->Flush(decoded_));
    last_persist_ = now;
    confirmed_ = decoded_;
    MutexLock lock(&capture_->mu_);
    capture_->counters_.confirmed = confirmed_;
  }
  return absl::OkStatus();
}

absl::Status Capture::Session::Promise(const Pulse& pulse) {
  ASSIGN_OR_RETURN(
      const int64_t promise,
      promises_.Next(pulse, parts_.positions.applied->NewestStamp(), parts_.settings->settling()));
  parts_.positions.progress->Published(parts_.stores.log->End(options_.own).end_lsn, promise,
                                       parts_.positions.applied->At(decoded_).seen);
  return absl::OkStatus();
}

absl::Status Capture::Session::SendFeedback(bool request_reply) {
  last_feedback_ = SteadyNow();
  // Not what was merely decoded: the next session decodes it again, and asks again.
  parts_.positions.applied->Fold(confirmed_);
  BDR_FAIL_POINT("capture_before_confirm");
  RETURN_IF_ERROR(connection_->SendStatus({.write = confirmed_,
                                           .flush = confirmed_,
                                           .apply = confirmed_,
                                           .request_reply = request_reply}));
  BDR_FAIL_POINT("capture_after_confirm");
  return absl::OkStatus();
}

Capture::Capture(Options options, Parts parts) : options_(std::move(options)), parts_(parts) {}

Capture::~Capture() { Stop(); }

void Capture::Start() {
  thread_ = std::thread([this] {
    NameThread("bdr-capture");
    Run();
  });
}

void Capture::Stop() {
  stopping_ = true;
  woken_.Wake();
  {
    MutexLock lock(&mu_);
    moved_.NotifyAll();
    if (waiting_ != nullptr) waiting_->Cancel();
  }
  if (thread_.joinable()) thread_.join();
}

bool Capture::ChangeReading(const Session& session, const absl::Status& status) {
  if (!session.needs_text() && !session.may_return()) return false;
  const absl::Time now = SteadyNow();
  const bool soon = now - reading_.changed < kSoonAgain;
  reading_.as_text = session.needs_text();
  reading_.changed = let_go_ = now;
  if (reading_.as_text) {
    reading_.why = std::string(status.message());
    reading_.stay =
        soon ? std::clamp(reading_.stay * 2, absl::Seconds(1), kMaxStay) : absl::ZeroDuration();
    LogWarning("capture",
               {{"state", "streaming->streaming_text"},
                {"slot", parts_.positions.names->slot()},
                {"lsn", ToString(session.decoded())}},
               reading_.why);
  } else {
    LogInfo("capture", {{"state", "streaming_text->streaming"},
                        {"slot", parts_.positions.names->slot()},
                        {"lsn", ToString(session.decoded())}});
  }
  return true;
}

void Capture::Run() {
  absl::Duration backoff = absl::Milliseconds(100);
  while (!stopping_) {
    const absl::Time begun = SteadyNow();
    auto session = std::make_unique<Session>(this, options_, parts_);
    absl::Status status = session->Run();
    if (stopping_) break;
    if (session->paused()) {
      session.reset();
      WaitForRoom();
      continue;
    }
    if (session->forgets()) {
      LogInfo("capture", {{"state", "forgetting_relations"},
                          {"slot", parts_.positions.names->slot()},
                          {"lsn", ToString(session->decoded())}});
      let_go_ = SteadyNow();
      continue;
    }
    if (ChangeReading(*session, status)) continue;
    const bool failed_to_decode = session->failed_to_decode();
    const std::optional<Undecodable> undecodable = session->undecodable();
    session.reset();  // lets go of the slot
    if (postgres::Sqlstate(status) == kSlotInUse && begun - let_go_ < kLettingGo) {
      MutexLock lock(&mu_);
      if (!stopping_) moved_.WaitFor(&mu_, absl::Milliseconds(20));
      continue;  // by our own session, which has just ended
    }
    const bool lasted = SteadyNow() - begun > absl::Seconds(10);
    if (lasted) backoff = absl::Milliseconds(100);
    if (failed_to_decode && std::exchange(streaming_, false)) continue;
    if (undecodable.has_value()) {
      const absl::StatusOr<bool> passed = PassUndecodable(*undecodable);
      if (passed.ok() && *passed) continue;
      if (!passed.ok()) status = passed.status();
    } else {
      if (lasted) streaming_ = true;
      EndSkipping(status);
    }
    const bool may_heal = absl::IsUnavailable(status);
    if (health_.Set(may_heal ? Health::Level::kWarning : Health::Level::kCritical,
                    may_heal ? CaptureState::kConnecting : CaptureState::kStopped,
                    status.message())) {
      (may_heal ? LogWarning : LogError)(
          "capture", {{"state", "backoff"}, {"slot", parts_.positions.names->slot()}},
          status.message());
    }
    {
      MutexLock lock(&mu_);
      ++counters_.errors;
      const absl::Time until = SteadyNow() + backoff;
      while (!stopping_ && !skipping_.has_value() && SteadyNow() < until) {
        moved_.WaitFor(&mu_, until - SteadyNow());
      }
    }
    backoff = std::min(backoff * 2, kMaxBackoff);
    // Where capture stands is known: to decode up to there once more could take longer than who
    // asks waits. If it fails, it ends the skip, which says so.
    if (undecodable.has_value() && !stopping_) (void)PassUndecodable(*undecodable);
  }
  health_.Set(Health::Level::kWarning, CaptureState::kStopped, "the agent is shutting down");
}

absl::StatusOr<bool> Capture::PassUndecodable(const Undecodable& undecodable) {
  if (undecodable.applied) {
    // Its changes came from another node, and would have been left out.
    RETURN_IF_ERROR(Pass(undecodable, /*extends=*/false));
    return true;
  }
  bool extends = false;
  {
    MutexLock lock(&mu_);
    undecodable_ = undecodable;
    if (!skipping_.has_value() || skipping_->ended) return false;
    extends = skipping_->begun;
    if (!undecodable.missing.empty()) {
      // Taken away while it was under way: nothing would ever end it.
      skipping_->ended = true;
      skipping_->status = absl::FailedPreconditionError(ToString(undecodable));
      moved_.NotifyAll();
      return false;
    }
    if (extends && !undecodable.follows) {
      skipping_->ended = true;
      moved_.NotifyAll();
      return false;
    }
    if (!extends && skipping_->commit != undecodable.commit) {
      skipping_->ended = true;
      skipping_->status = absl::FailedPreconditionError(
          absl::StrCat("capture stands at ", ToString(undecodable.commit), " and not at ",
                       ToString(skipping_->commit), ": ", ToString(undecodable)));
      moved_.NotifyAll();
      return false;
    }
  }
  const absl::Status passed = Pass(undecodable, extends);
  if (!passed.ok()) {
    EndSkipping(passed);
    return passed;
  }
  MutexLock lock(&mu_);
  undecodable_.reset();
  if (skipping_.has_value()) {  // else who asked has given up waiting
    skipping_->begun = true;
    skipping_->ended = !skipping_->until_decodable;
  }
  moved_.NotifyAll();
  return true;
}

bool Capture::InDoubt() {
  MutexLock lock(&mu_);
  return undecodable_.has_value() || (skipping_.has_value() && !skipping_->ended);
}

// The server skips every transaction whose commit record begins before the position that it is
// asked to start at, and decodes whole what commits behind it, whenever that began.
absl::Status Capture::Pass(const Undecodable& undecodable, bool extends) {
  BDR_FAIL_POINT("capture_before_skip");
  ASSIGN_OR_RETURN(std::optional<CapturedState> captured,
                   CapturedState::Load(parts_.stores.database));
  if (!captured.has_value()) return absl::InternalError("nothing was captured, and yet skipped");
  if (captured->through >= BehindCommit(undecodable.commit)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the transaction at ", ToString(undecodable.commit),
                     " was passed, and PostgreSQL still fails there: ", undecodable.cause));
  }
  captured->through = BehindCommit(undecodable.commit);
  rocksdb::WriteBatch batch;
  State(parts_.stores.database).Put(&batch, kStateCaptured, captured->Encode());
  if (undecodable.applied) {
    LogWarning("capture", {{"state", "skipped"}, {"lsn", ToString(undecodable.commit)}},
               absl::StrCat("a transaction that was applied here for another node cannot be "
                            "decoded, and need not be: ",
                            undecodable.cause));
    return parts_.stores.database->Write(&batch, /*sync=*/true);
  }
  RETURN_IF_ERROR(parts_.gaps->Skip(undecodable.commit, undecodable.cause,
                                    absl::ToUnixMicros(absl::Now()), extends, &batch));
  BDR_FAIL_POINT("capture_after_skip");
  LogError("capture", {{"state", "skipped"}, {"lsn", ToString(undecodable.commit)}},
           absl::StrCat("a transaction of this node cannot be decoded and was skipped, as an "
                        "administrator wished; its changes are on this node alone: ",
                        undecodable.cause));
  return absl::OkStatus();
}

void Capture::EndSkipping(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (!skipping_.has_value() || skipping_->ended) return;
  // Not begun: it was asked for while capture was trying again.
  if (!skipping_->begun && status.ok()) {
    skipping_->status = absl::FailedPreconditionError("capture decodes: there is nothing to skip");
  } else {
    skipping_->status = status;
  }
  skipping_->ended = true;
  moved_.NotifyAll();
}

absl::StatusOr<CaptureGap> Capture::Skip(Lsn commit, bool until_decodable, absl::Duration timeout,
                                         absl::FunctionRef<bool()> given_up) {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  if (skipping_.has_value()) return absl::UnavailableError("another skip is under way");
  if (!undecodable_.has_value()) {
    return absl::FailedPreconditionError(
        "capture does not stand at a transaction that cannot be decoded: there is nothing to skip");
  }
  if (undecodable_->commit != commit) {
    return absl::FailedPreconditionError(absl::StrCat(
        "capture does not stand at ", ToString(commit), ": ", ToString(*undecodable_)));
  }
  if (!undecodable_->missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "publication \"", undecodable_->missing,
        "\" is missing, so whatever is written now cannot be decoded either; make it again (bdrctl "
        "node setup-sql), wait until status does not call it missing any more, and repeat"));
  }
  skipping_ = Skipping{.commit = commit, .until_decodable = until_decodable};
  moved_.NotifyAll();
  while (!stopping_ && !skipping_->ended && SteadyNow() < deadline && !given_up()) {
    moved_.WaitFor(&mu_, std::min(deadline - SteadyNow(), kGivenUpInterval));
  }
  const Skipping done = *skipping_;
  skipping_.reset();
  if (!done.ended) {
    return absl::DeadlineExceededError(
        done.begun ? "not all of it was skipped in time: what was is kept, repeat the command"
                   : "nothing was skipped in time; repeat the command");
  }
  RETURN_IF_ERROR(done.status);
  const std::vector<CaptureGap> gaps = parts_.gaps->all();
  if (gaps.empty()) return absl::NotFoundError("what was skipped was closed meanwhile");
  return gaps.back();
}

std::string ToString(const Capture::Undecodable& undecodable) {
  if (!undecodable.missing.empty()) {
    return absl::StrCat("publication \"", undecodable.missing,
                        "\" is missing, so nothing that was written since can be decoded: make it "
                        "again (bdrctl node setup-sql); what was written meanwhile has to be "
                        "skipped then (bdrctl capture skip): ",
                        undecodable.cause);
  }
  return absl::StrCat("PostgreSQL cannot decode the transaction whose commit record is at ",
                      ToString(undecodable.commit), ": ", undecodable.cause,
                      "; all before it was captured, and nothing behind it can be until it is "
                      "skipped: its changes will be on this node alone then. Run \"bdrctl capture "
                      "skip NODE --lsn ",
                      ToString(undecodable.commit), "\", then \"bdrctl verify --repair\"");
}

bool Capture::HasRoom(uint64_t least_bytes) {
  // Versions, claims and history are not counted: no trim gives them back.
  if (parts_.stores.database->LogBytes() + least_bytes < options_.log_cap_bytes) return true;
  // Apply waits for it. If two nodes are full of what the other is to apply, nobody else makes
  // room.
  MutexLock lock(&mu_);
  return wanted_ > through_;
}

// At its cap the log must not grow: better the server keeps WAL than that the disk fills, or that
// something is dropped which a member still needs. Nothing is connected meanwhile: a walsender
// whose client does not read would keep the server from being shut down.
void Capture::WaitForRoom() {
  if (health_.Set(Health::Level::kCritical, CaptureState::kPaused,
                  "the change log has reached log_retention_bytes because a member has not "
                  "caught up; bring it back, or raise the limit")) {
    LogError("capture", {{"state", "streaming->paused"}},
             "the change log has reached log_retention_bytes");
  }
  let_go_ = SteadyNow();
  // Each start costs the server some decoding: not one for every block that is trimmed.
  while (!stopping_ && !HasRoom(options_.log_cap_bytes / 10)) {
    // Room is given back by compacting. Where nothing was trimmed that would only rewrite the log,
    // and who waits for capture meanwhile waits for that, too: so it takes a small share of the
    // time.
    const uint64_t trims = parts_.stores.log->trims();
    if (trims != compacted_trims_ && SteadyNow() >= next_compaction_) {
      const absl::Time begun = SteadyNow();
      const absl::Status status = parts_.stores.database->CompactLog();
      if (status.ok()) {
        compacted_trims_ = trims;
        (void)compaction_.Works(SteadyNow());
      } else {
        if (compaction_.Failed(std::string(status.message()), SteadyNow())) {
          LogWarning("capture", {{"state", "paused"}}, compaction_.LineText(status.message()));
        }
      }
      const absl::Time ended = SteadyNow();
      next_compaction_ = ended + std::max(kShortestRoomRest, kRoomRestFactor * (ended - begun));
      continue;
    }
    MutexLock lock(&mu_);
    moved_.WaitFor(&mu_, kRoomInterval);
  }
}

void Capture::SetWaiting(postgres::ReplicationConnection* connection) {
  MutexLock lock(&mu_);
  waiting_ = connection;
  if (stopping_ && connection != nullptr) connection->Cancel();
}

void Capture::SetPulse(const Pulse& pulse) {
  {
    MutexLock lock(&mu_);
    pulse_ = pulse;
  }
  woken_.Wake();
}

void Capture::PublishThrough(Lsn through) {
  MutexLock lock(&mu_);
  counters_.captured = std::max(counters_.captured, through);
  if (through <= through_) return;
  through_ = through;
  parts_.in_flight.keys->Forget(through);
  moved_.NotifyAll();
}

absl::Status Capture::WaitThrough(Lsn local_lsn, absl::Duration timeout) {
  const Lsn target = BeforePageHeader(local_lsn);
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  if (target > wanted_) {
    wanted_ = target;
    moved_.NotifyAll();
    woken_.Wake();
  }
  while (through_ < target) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration() || stopping_) {
      return absl::DeadlineExceededError(absl::StrCat("capture has reached ", ToString(through_),
                                                      " and not yet ", ToString(target)));
    }
    moved_.WaitFor(&mu_, left);
  }
  return absl::OkStatus();
}

Capture::Counters Capture::counters() const {
  MutexLock lock(&mu_);
  return counters_;
}

}  // namespace bdr::agent
