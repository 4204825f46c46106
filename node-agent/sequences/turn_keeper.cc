#include "node-agent/sequences/turn_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/lsn.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

using postgres::Result;

constexpr absl::Duration kTurnIdle = absl::Milliseconds(250);
constexpr absl::Duration kTurnWaitedFor = absl::Milliseconds(20);
// Whether another node wants the turn is asked so often by whoever has it.
constexpr absl::Duration kLookForWanted = absl::Milliseconds(200);
// How far the numbers are bdr-server is told so often; each time it writes that down.
constexpr absl::Duration kTellNext = absl::Seconds(1);
// Who has waited for a turn is to draw at least once from it.
constexpr absl::Duration kLeastTurn = absl::Milliseconds(250);
constexpr absl::Duration kTurnAgain = absl::Milliseconds(500);
constexpr int kTurnSteps = 8;
constexpr absl::string_view kLockNotAvailable = "55P03";

// How long sessions wait is in milliseconds since 1970, by the server's own clock: a second at a
// time, so what lies far ahead is of a clock that was set back since.
constexpr char kRowsSql[] =
    "SELECT q.number, q.relation::regclass::text, q.relation::oid, q.register::text,"
    " g.turn, g.held, g.next, bdr.gapless_open(q.register),"
    " coalesce(pg_sequence_last_value(to_regclass(q.register::text || '_ask'))"
    "   - extract(epoch FROM clock_timestamp()) * 1000 BETWEEN 0 AND 3000, false),"
    " pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn()"
    " FROM bdr.sequence q JOIN bdr.gapless g ON g.relation = q.relation"
    " WHERE q.method = 'gapless' AND q.node = $1";

absl::StatusOr<int64_t> ToNumber(absl::string_view text) {
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  return absl::InternalError(absl::StrCat("\"", text, "\" in bdr.gapless is no number"));
}

// So that a turn neither begins nor ends in a row that a crash takes back.
std::string InOneDurableTransaction(absl::string_view sql) {
  return absl::StrCat("BEGIN; SET LOCAL synchronous_commit = on; ", sql, "; COMMIT");
}

absl::Status Run(postgres::Connection* connection, const std::string& sql) {
  const absl::Status done = connection->Exec(sql).status();
  if (!done.ok() && !connection->broken()) (void)connection->Exec("ROLLBACK");
  return done;
}

}  // namespace

struct TurnKeeper::Sequence {
  uint32_t number = 0;
  std::string name = "";
  std::string oid = "";
  std::string register_name = "";
  // As read in this pass, and as changed since by what was done.
  uint64_t turn = 0;
  bool held = false;
  int64_t next = 0;
  std::optional<int64_t> open = std::nullopt;
  bool asked = false;
  Lsn flushed = {};
  Lsn inserted = {};

  // Numbers below it were drawn by transactions that no crash takes back; and the next that may
  // become it.
  int64_t durable_next = 0;
  int64_t seen_next = 0;
  Lsn seen_at = {};

  bool heard = false;  // of bdr-server, what follows
  v1::SequenceState state = {};
  bool wanted = false;
  absl::Time looked = absl::InfinitePast();
  absl::Time again = absl::InfinitePast();  // bdr-server is not asked before
  absl::Time told_next = absl::InfinitePast();
  absl::Time opened = absl::InfinitePast();

  TurnState shown = TurnState::kElsewhere;
  std::string failing = "";    // why bdr-server cannot be asked
  std::string overruled = "";  // what was given out meanwhile
};

TurnKeeper::TurnKeeper(std::string node, uint32_t node_id, std::function<bool()> was_set_back,
                       ChunkClient* chunks, SequenceMarks* marks)
    : node_(std::move(node)),
      node_id_(node_id),
      was_set_back_(std::move(was_set_back)),
      chunks_(chunks),
      marks_(marks) {}
TurnKeeper::~TurnKeeper() = default;

absl::StatusOr<absl::Duration> TurnKeeper::Pass(postgres::Connection* connection) {
  RETURN_IF_ERROR(LookAtRows(connection));
  absl::Duration pause = sequences_.empty() ? absl::InfiniteDuration() : kTurnIdle;
  for (const auto& [number, sequence] : sequences_) {
    RETURN_IF_ERROR(Serve(connection, sequence.get()));
    const bool waits = sequence->asked && sequence->shown != TurnState::kHeld;
    if (waits || sequence->shown == TurnState::kEnding) pause = kTurnWaitedFor;
  }
  Tell();
  return pause;
}

void TurnKeeper::Forget() { sequences_.clear(); }

absl::Status TurnKeeper::LookAtRows(postgres::Connection* connection) {
  const std::string node = absl::StrCat(node_id_);
  ASSIGN_OR_RETURN(const Result rows, connection->ExecKept(kRowsSql, {{.data = node}}));
  std::map<uint32_t, std::unique_ptr<Sequence>> seen;
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(const int64_t number, ToNumber(rows.value(i, 0)));
    std::unique_ptr<Sequence>& sequence = seen[static_cast<uint32_t>(number)];
    const auto known = sequences_.find(static_cast<uint32_t>(number));
    // Another one of this name, after a DROP, begins anew.
    if (known != sequences_.end() && known->second->oid == rows.value(i, 2)) {
      sequence = std::move(known->second);
    } else {
      sequence = std::make_unique<Sequence>();
    }
    sequence->number = static_cast<uint32_t>(number);
    sequence->name = std::string(rows.value(i, 1));
    sequence->oid = std::string(rows.value(i, 2));
    sequence->register_name = std::string(rows.value(i, 3));
    ASSIGN_OR_RETURN(const int64_t turn, ToNumber(rows.value(i, 4)));
    sequence->turn = static_cast<uint64_t>(turn);
    sequence->held = rows.value(i, 5) == "t";
    ASSIGN_OR_RETURN(sequence->next, ToNumber(rows.value(i, 6)));
    sequence->open.reset();
    if (!rows.is_null(i, 7)) {
      ASSIGN_OR_RETURN(sequence->open, ToNumber(rows.value(i, 7)));
    }
    sequence->asked = rows.value(i, 8) == "t";
    ASSIGN_OR_RETURN(sequence->flushed, ParseLsn(rows.value(i, 9)));
    ASSIGN_OR_RETURN(sequence->inserted, ParseLsn(rows.value(i, 10)));
    if (sequence->flushed >= sequence->seen_at) {
      sequence->durable_next = sequence->seen_next;
      sequence->seen_next = sequence->next;
      sequence->seen_at = sequence->inserted;
    }
  }
  sequences_ = std::move(seen);
  return absl::OkStatus();
}

// By what bdr-server said to all: an answer to this node alone may have been lost.
bool TurnKeeper::MayBeOurs(const Sequence& sequence) const {
  for (const v1::SequenceState& state : marks_->All()) {
    if (state.number() == sequence.number && state.turn().holder() == node_) return true;
  }
  return false;
}

TurnView TurnKeeper::ViewOf(const Sequence& sequence) const {
  const v1::GaplessTurn& turn = sequence.state.turn();
  return {.turn = sequence.turn,
          .held = sequence.held,
          .next = sequence.next,
          .open = sequence.open,
          .asked = sequence.asked,
          .ours = turn.holder() == node_,
          .newest = turn.number(),
          .confirmed = turn.confirmed(),
          .told_next = sequence.state.next(),
          .wanted = sequence.wanted && SteadyNow() >= sequence.opened + kLeastTurn,
          .set_back = was_set_back_()};
}

bool TurnKeeper::AskServer(Sequence* sequence, int wish) {
  v1::TurnRequest request;
  request.set_sequence(sequence->number);
  request.set_wish(static_cast<v1::TurnRequest::Wish>(wish));
  request.set_turn(sequence->turn);
  const absl::Time now = SteadyNow();
  if (wish == v1::TurnRequest::GIVE_BACK) {
    request.set_next(sequence->next);
  } else if (wish == v1::TurnRequest::LOOK && now >= sequence->told_next + kTellNext) {
    request.set_next(sequence->durable_next);
    sequence->told_next = now;
  }
  absl::StatusOr<v1::TurnResponse> response = chunks_->Turn(request);
  sequence->looked = now;
  if (!response.ok()) {
    sequence->failing = std::string(response.status().message());
    sequence->again = SteadyNow() + kTurnAgain;
    if (!absl::IsCancelled(response.status()) && asking_.Failed(sequence->name, now)) {
      LogWarning("sequence", {{"state", "no_turn"}, {"sequence", sequence->name}},
                 asking_.LineText(sequence->failing));
    }
    return false;
  }
  sequence->failing.clear();
  sequence->heard = true;
  sequence->wanted = response->wanted();
  sequence->state = std::move(*response->mutable_sequence());
  const absl::Status learned = marks_->Learn({sequence->state});
  if (!learned.ok()) LogWarning("sequence", {{"state", "not_kept"}}, learned.message());
  return true;
}

absl::Status TurnKeeper::Serve(postgres::Connection* connection, Sequence* sequence) {
  const absl::Time now = SteadyNow();
  if (now < sequence->again) return absl::OkStatus();
  const bool looks = sequence->held || sequence->open.value_or(0) > 0 || MayBeOurs(*sequence);
  if (looks && now >= sequence->looked + kLookForWanted) {
    if (!AskServer(sequence, v1::TurnRequest::LOOK)) return absl::OkStatus();
  } else if (sequence->asked && !sequence->held) {
    if (!AskServer(sequence, v1::TurnRequest::ASK)) return absl::OkStatus();
  }
  if (!sequence->heard) return absl::OkStatus();
  bool asked = false;
  for (int i = 0; i < kTurnSteps; ++i) {
    const TurnDecision decision = Decide(ViewOf(*sequence));
    if (decision.state != TurnState::kElsewhere || sequence->shown != TurnState::kOverruled) {
      sequence->shown = decision.state;
    }
    if (decision.step == TurnStep::kNone) return absl::OkStatus();
    if (decision.step == TurnStep::kAsk) {
      if (asked) return absl::OkStatus();
      asked = true;
    }
    const absl::Status done = CarryOut(connection, sequence, decision.step);
    // Somebody has drawn and not ended yet.
    if (postgres::Sqlstate(done) == kLockNotAvailable) return absl::OkStatus();
    RETURN_IF_ERROR(done);
    if (!sequence->failing.empty()) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status TurnKeeper::CarryOut(postgres::Connection* connection, Sequence* sequence,
                                  TurnStep step) {
  switch (step) {
    case TurnStep::kNone:
      return absl::OkStatus();
    case TurnStep::kAsk:
      AskServer(sequence, v1::TurnRequest::ASK);
      return absl::OkStatus();
    case TurnStep::kWrite:
      return Write(connection, sequence);
    case TurnStep::kConfirm:
      if (!AskServer(sequence, v1::TurnRequest::CONFIRM)) return absl::OkStatus();
      // So that a turn from which numbers were drawn is known as one, whatever is restored.
      RETURN_IF_ERROR(marks_->Raise(sequence->state));
      BDR_FAIL_POINT("turn_confirmed");
      return absl::OkStatus();
    case TurnStep::kOpen:
      sequence->open = static_cast<int64_t>(sequence->turn);
      sequence->opened = SteadyNow();
      LogDebug("sequence", {{"state", "turn_held"},
                            {"sequence", sequence->name},
                            {"turn", sequence->turn},
                            {"next", sequence->next}});
      return Run(connection, absl::StrCat("SELECT bdr.gapless_set_open('", sequence->register_name,
                                          "', ", sequence->turn, ")"));
    case TurnStep::kEnd:
      return End(connection, sequence);
    case TurnStep::kGiveBack:
      AskServer(sequence, v1::TurnRequest::GIVE_BACK);
      return absl::OkStatus();
    case TurnStep::kClose:
      return Close(connection, sequence);
    case TurnStep::kStop:
      sequence->open = 0;
      return Run(connection, absl::StrCat("SELECT setval('", sequence->register_name, "', 0)"));
  }
  return absl::OkStatus();
}

absl::Status TurnKeeper::Write(postgres::Connection* connection, Sequence* sequence) {
  BDR_FAIL_POINT("turn_given");
  // First, for a bdr-server that loses its memory of it.
  RETURN_IF_ERROR(marks_->Raise(sequence->state));
  const v1::GaplessTurn& turn = sequence->state.turn();
  const std::string row = absl::StrCat("relation = ", sequence->oid);
  // Not before what this database has given out itself, if its turn was taken over; and in that
  // case not before what has come here of the numbers that the last holder gave out, and told
  // nobody of.
  const std::string highest =
      turn.taken_over() ? absl::StrCat(", bdr.sequence_highest(", sequence->oid, "::regclass) + 1")
                        : "";
  const absl::Status written =
      Run(connection, InOneDurableTransaction(absl::StrCat(
                          "SELECT FROM bdr.gapless WHERE ", row,
                          " FOR UPDATE; UPDATE bdr.gapless SET turn = ", turn.number(),
                          ", held = true, next = GREATEST(next, ", sequence->state.next(), highest,
                          ") WHERE ", row, " AND turn < ", turn.number())));
  if (!written.ok() && (!turn.taken_over() || connection->broken() ||
                        postgres::Sqlstate(written) == kLockNotAvailable)) {
    return written;
  }
  if (!written.ok()) {
    sequence->failing = absl::StrCat("it cannot be told how far its numbers go in this database: ",
                                     written.message());
    sequence->again = SteadyNow() + kTurnAgain;
    return absl::OkStatus();
  }
  BDR_FAIL_POINT("turn_written");
  ASSIGN_OR_RETURN(const std::string next, connection->QueryValue(absl::StrCat(
                                               "SELECT next FROM bdr.gapless WHERE ", row)));
  ASSIGN_OR_RETURN(sequence->next, ToNumber(next));
  sequence->turn = turn.number();
  sequence->held = true;
  sequence->seen_next = sequence->durable_next = sequence->next;
  return absl::OkStatus();
}

// Who comes now waits for the next turn; who has drawn ends first.
absl::Status TurnKeeper::End(postgres::Connection* connection, Sequence* sequence) {
  const std::string closing = absl::StrCat("-", sequence->turn);
  RETURN_IF_ERROR(Run(
      connection, absl::StrCat("SELECT setval('", sequence->register_name, "', ", closing, ")")));
  sequence->open = -static_cast<int64_t>(sequence->turn);
  BDR_FAIL_POINT("turn_closing");
  RETURN_IF_ERROR(Run(connection, InOneDurableTransaction(absl::StrCat(
                                      "UPDATE bdr.gapless SET held = false WHERE relation = ",
                                      sequence->oid, " AND turn = ", sequence->turn))));
  BDR_FAIL_POINT("turn_ended");
  ASSIGN_OR_RETURN(const std::string next,
                   connection->QueryValue(absl::StrCat(
                       "SELECT next FROM bdr.gapless WHERE relation = ", sequence->oid)));
  ASSIGN_OR_RETURN(sequence->next, ToNumber(next));
  sequence->held = false;
  LogDebug("sequence", {{"state", "turn_ended"},
                        {"sequence", sequence->name},
                        {"turn", sequence->turn},
                        {"next", sequence->next}});
  return absl::OkStatus();
}

absl::Status TurnKeeper::Close(postgres::Connection* connection, Sequence* sequence) {
  RETURN_IF_ERROR(
      Run(connection, absl::StrCat("SELECT setval('", sequence->register_name, "', 0)")));
  sequence->open = 0;
  RETURN_IF_ERROR(Run(connection, InOneDurableTransaction(absl::StrCat(
                                      "UPDATE bdr.gapless SET held = false WHERE relation = ",
                                      sequence->oid, " AND turn = ", sequence->turn))));
  if (sequence->held) {
    sequence->overruled =
        absl::StrCat("sequence ", sequence->name, ": turn ", sequence->turn,
                     " was taken over while this node had it and had given out numbers up to ",
                     sequence->next - 1,
                     "; where they are not on the other nodes, those give out the same: now \"",
                     sequence->state.turn().holder(), "\", which is at ", sequence->state.next());
    LogError("sequence", {{"state", "overruled"}}, sequence->overruled);
  }
  sequence->held = false;
  return absl::OkStatus();
}

void TurnKeeper::Tell() {
  std::map<uint32_t, Told> told;
  for (const auto& [number, sequence] : sequences_) {
    Told& one = told[number];
    one = {.name = sequence->name,
           .state = sequence->shown,
           .next = sequence->held ? sequence->next : 0,
           .reason = sequence->overruled};
    if (sequence->shown == TurnState::kUnclear) {
      one.reason = absl::StrCat(
          "sequence ", sequence->name, ": this node has given out numbers up to ",
          sequence->state.next() - 1, ", and its database knows of none from ", sequence->next,
          " on, so it has gone back in time; \"bdrctl sequence takeover\" goes on beyond them");
    } else if (!sequence->failing.empty() && sequence->asked &&
               sequence->shown != TurnState::kHeld) {
      one.reason =
          absl::StrCat("sequence ", sequence->name,
                       ": sessions wait for its turn, and there is none: ", sequence->failing);
    }
  }
  MutexLock lock(&mu_);
  told_ = std::move(told);
}

std::vector<std::string> TurnKeeper::Reasons() const {
  MutexLock lock(&mu_);
  std::vector<std::string> reasons;
  for (const auto& [number, told] : told_) {
    if (!told.reason.empty()) reasons.push_back(told.reason);
  }
  return reasons;
}

void TurnKeeper::FillStatus(v1::NodeStatus* status) const {
  MutexLock lock(&mu_);
  for (const auto& [number, told] : told_) {
    v1::SequenceStatus* out = status->add_sequences();
    out->set_number(number);
    out->set_name(told.name);
    out->set_method("gapless");
    out->set_turn(std::string(ToString(told.state)));
    out->set_next(told.next);
  }
}

}  // namespace bdr::agent
