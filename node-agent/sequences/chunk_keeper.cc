#include "node-agent/sequences/chunk_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "base/thread_name.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

using postgres::Result;

// Half a chunk's worth at full speed, of sequences of which nobody knows yet how fast they are
// used.
constexpr absl::Duration kIdle = absl::Milliseconds(250);
constexpr absl::Duration kDrawn = absl::Milliseconds(50);
constexpr absl::Duration kWaitedFor = absl::Milliseconds(5);
constexpr absl::Duration kNoSequences = absl::Seconds(1);
constexpr absl::Duration kAgain = absl::Milliseconds(500);
// From here on somebody has to do something about it.
constexpr double kNearlyUsed = 0.8;
// Steps of one sequence before the others have their turn.
constexpr int kStepsAtATime = 16;

// Somebody who keeps a lock on one sequence must not hold up the others.
constexpr char kLockTimeout[] = "SET lock_timeout = '200ms'";

constexpr char kSequencesSql[] =
    "SELECT q.number, q.relation::regclass::text, q.data_type::text, q.max, q.relation::oid,"
    " q.register::oid, q.method"
    " FROM bdr.sequence q JOIN pg_class c ON c.oid = q.relation"
    " WHERE q.method IN ('galloc', 'gapless') AND q.node = $1";
// Drawn are the ordinals up to the last one, of which 46 bits count (seqam/galloc/layout.h).
constexpr char kDrawnSql[] =
    "SELECT coalesce((v & 70368744177663) + 1, 0), coalesce(v < -4611686018427387904, true)"
    " FROM pg_sequence_last_value($1::oid) AS v";

constexpr absl::Duration kLookForUnconverted = absl::Seconds(5);
// By its name, which may be another sequence's since; one that is not there was dropped.
constexpr char kUnconvertedSql[] =
    "SELECT to_regclass($1::text) IS NOT NULL AND NOT EXISTS"
    " (SELECT FROM bdr.sequence q WHERE q.number = $2::int4)";

absl::StatusOr<int64_t> Number(absl::string_view text) {
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  return absl::InternalError(absl::StrCat("\"", text, "\" in bdr.sequence is no number"));
}

}  // namespace

ChunkKeeper::ChunkKeeper(Options options, ChunkClient* chunks, SequenceMarks* marks)
    : options_(std::move(options)),
      chunks_(chunks),
      marks_(marks),
      turns_(options_.node, options_.node_id, options_.was_set_back, chunks, marks) {
  thread_ = std::thread([this] {
    NameThread("bdr-sequences");
    Run();
  });
}

ChunkKeeper::~ChunkKeeper() {
  chunks_->Cancel();
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

bool ChunkKeeper::Stopping() const {
  MutexLock lock(&mu_);
  return stopping_;
}

void ChunkKeeper::Wait(absl::Duration pause) {
  const absl::Time until = SteadyNow() + pause;
  MutexLock lock(&mu_);
  while (!stopping_) {
    const absl::Duration left = until - SteadyNow();
    if (left <= absl::ZeroDuration()) return;
    woken_.WaitFor(&mu_, left);
  }
}

void ChunkKeeper::Run() {
  while (!Stopping()) {
    const absl::StatusOr<absl::Duration> pause = Pass();
    if (!pause.ok()) {
      connection_.reset();
      sequences_.clear();
    }
    Tell(pause.status());
    Wait(pause.ok() ? *pause : kAgain);
  }
}

absl::StatusOr<absl::Duration> ChunkKeeper::Pass() {
  if (connection_ == nullptr || connection_->broken()) {
    // After a crash the registers are empty: they are read anew.
    sequences_.clear();
    turns_.Forget();
    ASSIGN_OR_RETURN(connection_,
                     postgres::Connection::Connect(
                         {.conninfo = options_.conninfo, .application_name = "bdr sequences"}));
    RETURN_IF_ERROR(connection_->Exec(kLockTimeout).status());
  }
  if (SteadyNow() >= unconverted_looked_ + kLookForUnconverted) {
    RETURN_IF_ERROR(LookForUnconverted());
  }
  ASSIGN_OR_RETURN(const bool moved, LookAtSequences());
  absl::Duration pause = sequences_.empty() ? kNoSequences : moved ? kDrawn : kIdle;
  for (auto& [number, sequence] : sequences_) {
    if (sequence.read && SteadyNow() >= sequence.again) RETURN_IF_ERROR(Fill(number, &sequence));
    if (sequence.failing.empty() && sequence.reserve->left() == 0) pause = kWaitedFor;
  }
  if (looks_at_turns_) {
    ASSIGN_OR_RETURN(const absl::Duration turns, turns_.Pass(connection_.get()));
    pause = std::min(pause, turns);
  }
  return pause;
}

// A look goes over all sequences and builds what is known of them anew, so that a dropped one goes.
// One that was made again under its number starts from nothing: its registers are others. What
// fails for one sequence alone (a lock, a right) is noted there and hides no other; only a lost
// connection ends the look. Registers are read before the first draw is told to the reserve, which
// counts from them.
//
// True if numbers were drawn since the last look.
absl::StatusOr<bool> ChunkKeeper::LookAtSequences() {
  const std::string node = absl::StrCat(options_.node_id);
  ASSIGN_OR_RETURN(const Result rows, connection_->ExecKept(kSequencesSql, {{.data = node}}));
  bool moved = false;
  const bool had_turns = has_turns_;
  has_turns_ = false;
  std::map<uint32_t, Sequence> seen;
  for (int i = 0; i < rows.rows(); ++i) {
    ASSIGN_OR_RETURN(const int64_t number, Number(rows.value(i, 0)));
    ASSIGN_OR_RETURN(const int64_t last, Number(rows.value(i, 3)));
    const seqam::GallocKind* kind = seqam::FindGallocKind(rows.value(i, 2));
    if (kind == nullptr) continue;  // no sequence has another type
    if (rows.value(i, 6) == "gapless") {
      has_turns_ = true;
      continue;
    }
    const auto key = static_cast<uint32_t>(number);
    const auto known = sequences_.find(key);
    const bool is_new = known == sequences_.end() || known->second.name != rows.value(i, 1) ||
                        known->second.register_oid != rows.value(i, 5);
    Sequence sequence;
    if (is_new) {
      sequence = {.name = std::string(rows.value(i, 1)),
                  .register_prefix = absl::StrCat("bdr.sequence_", number),
                  .register_oid = std::string(rows.value(i, 5)),
                  .data_type = std::string(rows.value(i, 2)),
                  .last = last,
                  .reserve = std::make_unique<Reserve>(*kind)};
    } else {
      sequence = std::move(known->second);
    }
    const auto drawn = AskDrawn(std::string(rows.value(i, 4)));
    if (connection_->broken()) return drawn.status();
    if (!drawn.ok()) {
      // A lock, a right that was taken away: of this sequence alone.
      sequence.failing = std::string(drawn.status().message());
      sequence.again = SteadyNow() + kAgain;
      seen[key] = std::move(sequence);
      continue;
    }
    if (!drawn->has_value()) continue;  // being converted
    if (!sequence.read) RETURN_IF_ERROR(ReadRegisters(&sequence, **drawn));
    moved = moved || sequence.reserve->drawn() != **drawn;
    sequence.reserve->Drawn(**drawn, SteadyNow());
    seen[key] = std::move(sequence);
  }
  sequences_ = std::move(seen);
  looks_at_turns_ = has_turns_ || had_turns;
  return moved;
}

// A node that was added since, or one that the conversion has not come to. It takes two looks until
// it is told: while nodes are being converted one after the other nothing is wrong.
absl::Status ChunkKeeper::LookForUnconverted() {
  std::vector<std::string> before = std::move(unconverted_);
  unconverted_.clear();
  unconverted_looked_ = SteadyNow();
  for (const v1::SequenceState& state : marks_->All()) {
    if (state.method() == "local") continue;
    const std::string number = absl::StrCat(state.number());
    ASSIGN_OR_RETURN(
        const Result row,
        connection_->ExecKept(kUnconvertedSql, {{.data = state.name()}, {.data = number}}));
    if (row.value(0, 0) == "t") unconverted_.push_back(state.name());
  }
  std::vector<std::string> told;
  for (const std::string& name : unconverted_) {
    if (std::find(before.begin(), before.end(), name) != before.end()) told.push_back(name);
  }
  MutexLock lock(&mu_);
  told_unconverted_ = std::move(told);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<uint64_t>> ChunkKeeper::AskDrawn(const std::string& relation) {
  ASSIGN_OR_RETURN(const Result row, connection_->ExecKept(kDrawnSql, {{.data = relation}}));
  if (row.value(0, 1) != "t") return std::nullopt;
  ASSIGN_OR_RETURN(const int64_t drawn, Number(row.value(0, 0)));
  return static_cast<uint64_t>(drawn);
}

// A bdr-server that has gone back in time grants what was granted before: not to us. It learns how
// far numbers were granted from our next report.
absl::StatusOr<int64_t> ChunkKeeper::AskChunk(uint32_t number, uint64_t count) {
  const int64_t granted_below = marks_->GrantedBelow(number);
  ASSIGN_OR_RETURN(const int64_t first, chunks_->Grant(number, count));
  if (first >= granted_below) return first;
  return absl::FailedPreconditionError(
      absl::StrCat("bdr-server granted ", first, ", and up to ", granted_below - 1,
                   " all was granted before: it has gone back in time"));
}

absl::Status ChunkKeeper::ReadRegisters(Sequence* sequence, uint64_t drawn) {
  std::vector<std::string> columns;
  for (const char* of : {"", "_1", "_2", "_3", "_end"}) {
    columns.push_back(
        absl::StrCat("pg_sequence_last_value('", sequence->register_prefix, of, "'::regclass)"));
  }
  ASSIGN_OR_RETURN(const Result row,
                   connection_->Exec(absl::StrCat("SELECT ", absl::StrJoin(columns, ", "))));
  RegistersRead read{.drawn = drawn};
  for (int i = 0; i < kRegisters; ++i) {
    if (row.is_null(0, i)) continue;
    ASSIGN_OR_RETURN(read.registers[i], Number(row.value(0, i)));
  }
  if (!row.is_null(0, kRegisters)) {
    ASSIGN_OR_RETURN(read.end, Number(row.value(0, kRegisters)));
  }
  sequence->reserve->Read(read);
  sequence->read = true;
  return absl::OkStatus();
}

// Errors of the database alone; that a chunk cannot be had is kept in the sequence.
absl::Status ChunkKeeper::Fill(uint32_t number, Sequence* sequence) {
  std::optional<seqam::Piece> filled;
  for (int i = 0; i < kStepsAtATime && !Stopping(); ++i) {
    ReserveStep step = sequence->reserve->Next(BDR_HAS_HABIT("small_chunks") ? 1 : sequence->most);
    if (step.kind == ReserveStep::Kind::kNone) {
      sequence->failing.clear();
      return absl::OkStatus();
    }
    if (step.kind == ReserveStep::Kind::kFill) {
      const uint64_t count = step.end - step.piece.ordinal;
      const absl::StatusOr<int64_t> first = AskChunk(number, count);
      if (absl::IsResourceExhausted(first.status()) && sequence->most > 1 && count > 1) {
        // Less may be left than that, but not nothing.
        const uint64_t before = sequence->most;
        sequence->most = count / 4;
        if (sequence->reserve->Next(sequence->most).end < step.end) continue;
        sequence->most = before;
      }
      if (!first.ok()) {
        sequence->failing = std::string(first.status().message());
        sequence->again = SteadyNow() + kAgain;
        if (!Stopping() && asking_.Failed(sequence->name, SteadyNow())) {
          LogWarning("sequence", {{"state", "no_chunk"}, {"sequence", sequence->name}},
                     asking_.LineText(sequence->failing));
        }
        return absl::OkStatus();
      }
      step.piece.id = *first;
      if (BDR_RULE_BROKEN("chunk_once") && filled.has_value() && filled->size == step.piece.size) {
        step.piece.id = filled->id;
      }
      filled = step.piece;
    }
    RETURN_IF_ERROR(CarryOut(number, sequence, &step));
    sequence->reserve->Done(step);
  }
  if (asking_.Works(SteadyNow())) LogDebug("sequence", {{"state", "filled"}});
  return absl::OkStatus();
}

absl::Status ChunkKeeper::CarryOut(uint32_t number, Sequence* sequence, ReserveStep* step) {
  const seqam::GallocKind& kind = *seqam::FindGallocKind(sequence->data_type);
  const std::string& prefix = sequence->register_prefix;
  const auto name = [&prefix](int at) { return at == 0 ? prefix : absl::StrCat(prefix, "_", at); };
  switch (step->kind) {
    case ReserveStep::Kind::kNone:
      return absl::OkStatus();
    case ReserveStep::Kind::kClear:
      for (int i = 0; i < kRegisters; ++i) {
        RETURN_IF_ERROR(
            connection_->Exec(absl::StrCat("SELECT setval('", name(i), "', 1, false)")).status());
      }
      LogInfo("sequence", {{"state", "reserve_empty"},
                           {"sequence", sequence->name},
                           {"drawn", sequence->reserve->drawn()}});
      return Set(prefix + "_end", static_cast<int64_t>(step->end));
    case ReserveStep::Kind::kCopy:
      return Set(prefix, PackPiece(kind, step->piece));
    case ReserveStep::Kind::kFill:
      break;
  }
  BDR_FAIL_POINT("chunk_granted");
  v1::SequenceState state;
  state.set_number(number);
  state.set_name(sequence->name);
  state.set_method("galloc");
  state.set_data_type(sequence->data_type);
  state.set_last(sequence->last);
  state.set_next(step->piece.id + static_cast<int64_t>(step->piece.count(kind)));
  RETURN_IF_ERROR(marks_->Raise(state));
  LogDebug("sequence", {{"state", "chunk"},
                        {"sequence", sequence->name},
                        {"first", step->piece.id},
                        {"count", step->piece.count(kind)}});
  RETURN_IF_ERROR(Set(name(step->at), PackPiece(kind, step->piece)));
  BDR_FAIL_POINT("chunk_in_register");
  return Set(prefix + "_end", static_cast<int64_t>(step->end));
}

absl::Status ChunkKeeper::Set(const std::string& name, int64_t value) {
  return connection_->Exec(absl::StrCat("SELECT setval('", name, "', ", value, ")")).status();
}

void ChunkKeeper::Tell(const absl::Status& pass) {
  std::map<uint32_t, double> used;
  for (const v1::SequenceState& state : marks_->All()) {
    used[state.number()] =
        std::min(static_cast<double>(state.next()) / static_cast<double>(state.last()), 1.0);
  }
  MutexLock lock(&mu_);
  bool failing = false;
  std::map<uint32_t, Told> told;
  for (const auto& [number, sequence] : sequences_) {
    Told& one = told[number];
    one = {.name = sequence.name,
           .left = sequence.reserve->left(),
           .per_second = sequence.reserve->per_second(),
           .used = used[number],
           .failing = sequence.failing};
    if (const auto& piece = sequence.reserve->present(); piece.has_value()) {
      const seqam::GallocKind& kind = *seqam::FindGallocKind(sequence.data_type);
      one.chunk_first = piece->id;
      one.chunk_last = piece->id + static_cast<int64_t>(piece->count(kind)) - 1;
    }
    failing = failing || !sequence.failing.empty() || one.used >= kNearlyUsed;
  }
  // That PostgreSQL is down others say.
  broken_ = pass.ok() || absl::IsUnavailable(pass) ? "" : std::string(pass.message());
  failing = failing || !told_unconverted_.empty() || !broken_.empty() || !turns_.Reasons().empty();
  if (!failing) failing_since_ = absl::Now();
  told_ = std::move(told);
}

Health ChunkKeeper::health() const {
  MutexLock lock(&mu_);
  std::vector<std::string> reasons;
  Health::Level level = Health::Level::kOk;
  if (!broken_.empty()) {
    level = Health::Level::kCritical;
    reasons.push_back(absl::StrCat("no sequence can be filled: ", broken_));
  }
  if (!told_unconverted_.empty()) {
    level = std::max(level, Health::Level::kWarning);
    reasons.push_back(absl::StrCat(
        "this node draws by itself from what other nodes have converted, so the same numbers may "
        "come twice: ",
        absl::StrJoin(told_unconverted_, ", "), ": run \"bdrctl sequence convert\" again"));
  }
  for (const auto& [number, told] : told_) {
    if (told.failing.empty()) {
      if (told.used < kNearlyUsed) continue;
      level = std::max(level, Health::Level::kWarning);
      reasons.push_back(absl::StrFormat(
          "sequence %s: %.0f %% of its numbers are used; give its columns a larger type, see "
          "\"bdrctl sequence show\"",
          told.name, 100 * told.used));
      continue;
    }
    level = std::max(level, told.left == 0 ? Health::Level::kCritical : Health::Level::kWarning);
    reasons.push_back(absl::StrCat("sequence ", told.name, " has ", told.left,
                                   " numbers in reserve and gets no more: ", told.failing));
  }
  for (std::string& reason : turns_.Reasons()) {
    level = std::max(level, Health::Level::kWarning);
    reasons.push_back(std::move(reason));
  }
  if (reasons.empty()) return {.state = "filled", .reason = "", .since = failing_since_};
  return {.level = level,
          .state = "sequences",
          .reason = absl::StrJoin(reasons, "; "),
          .since = failing_since_};
}

void ChunkKeeper::FillStatus(v1::NodeStatus* status) const {
  MutexLock lock(&mu_);
  for (const auto& [number, told] : told_) {
    v1::SequenceStatus* out = status->add_sequences();
    out->set_number(number);
    out->set_name(told.name);
    out->set_reserve(told.left);
    out->set_per_second(told.per_second);
    out->set_chunk_first(told.chunk_first);
    out->set_chunk_last(told.chunk_last);
    out->set_used(told.used);
  }
  turns_.FillStatus(status);
}

}  // namespace bdr::agent
