#include "server/sequences/allocator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "bdr/v1/control.pb.h"
#include "seqam/galloc/layout.h"
#include "seqam/registry.h"
#include "server/sequences/turns.h"
#include "server/store/contention.h"

namespace bdr::server {
namespace {

constexpr uint32_t kMostSequences = 1'000'000;

std::string KeyOf(uint32_t number) { return absl::StrFormat("%s%010u", kSequencePrefix, number); }

absl::StatusOr<v1::SequenceState> Parse(const StoreEntry& entry) {
  v1::SequenceState state;
  if (state.ParseFromString(entry.value)) return state;
  return absl::DataLossError(absl::StrCat("the store's entry \"", entry.key,
                                          "\" is damaged; restore the store from a backup"));
}

absl::Status TooOftenBeaten(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("cannot write ", what, ": others were faster ",
                                             Contention::kAttempts, " times"));
}

// Where all numbers are one node's at a time.
constexpr absl::string_view kGapless = "gapless";

int64_t AlignUp(int64_t number, int unit) {
  const int64_t size = int64_t{1} << unit;
  return (number + size - 1) / size * size;
}

// What nobody can have been told by a bdr-server: an agent has no say in it.
bool IsPossible(const v1::SequenceState& state) {
  const seqam::GallocKind* kind = seqam::FindGallocKind(state.data_type());
  if (kind == nullptr || seqam::FindMethod(state.method()) == nullptr) return false;
  return state.number() > 0 && state.number() <= kMostSequences && state.next() >= 0 &&
         state.turn().number() < uint64_t{1} << 62 && state.last() >= 0 &&
         state.next() - (int64_t{1} << kind->unit) <= state.last();
}

absl::Status CheckIsGapless(const v1::SequenceState& state, absl::string_view which) {
  if (state.number() == 0) {
    return absl::NotFoundError(absl::StrCat("there is no sequence with ", which));
  }
  if (state.method() == kGapless) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("sequence \"", state.name(), "\" is of method ",
                                                    state.method(), ", which has no turns"));
}

uint64_t LargestChunk(const seqam::GallocKind& kind) {
  return uint64_t{1} << (kind.unit + 2 * (seqam::kSizes - 1));
}

// nullptr if nodes are granted no numbers of it.
const seqam::GallocKind* KindIfGranted(const v1::SequenceState& state) {
  const seqam::Method* method = seqam::FindMethod(state.method());
  return method != nullptr && method->needs_allocator() ? seqam::FindGallocKind(state.data_type())
                                                        : nullptr;
}

}  // namespace

// While it lives nobody else of this process changes the sequence, so that only as many compete by
// compare-and-set as there are servers: with 16 who asked one server at once most had to try many
// times, and some gave up. That is a courtesy, and safe without: who has waited for long, as the
// store does not answer, goes on, or a queue would grow of those whose callers have left.
class SequenceAllocator::Alone {
 public:
  Alone(SequenceAllocator* allocator, uint32_t number) : allocator_(*allocator), number_(number) {
    MutexLock lock(&allocator_.mu_);
    const absl::Time until = SteadyNow() + allocator_.patience_;
    while (!(mine_ = allocator_.changing_.insert(number_).second)) {
      const absl::Duration left = until - SteadyNow();
      if (left <= absl::ZeroDuration()) return;
      allocator_.changed_.WaitFor(&allocator_.mu_, left);
    }
  }
  ~Alone() {
    MutexLock lock(&allocator_.mu_);
    if (!mine_) return;
    allocator_.changing_.erase(number_);
    allocator_.changed_.NotifyAll();
  }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  SequenceAllocator& allocator_;
  const uint32_t number_;
  bool mine_ = false;
};

absl::StatusOr<v1::SequenceState> SequenceAllocator::Change(
    uint32_t number, const std::function<absl::Status(v1::SequenceState*)>& change) {
  const Alone alone(this, number);
  for (Contention contention; contention.Again();) {
    const absl::StatusOr<StoreEntry> entry = store_->Get(KeyOf(number));
    if (!entry.ok() && !absl::IsNotFound(entry.status())) return entry.status();
    v1::SequenceState state;
    if (entry.ok()) {
      ASSIGN_OR_RETURN(state, Parse(*entry));
    }
    const std::string before = entry.ok() ? entry->value : "";
    RETURN_IF_ERROR(change(&state));
    const std::string after = state.SerializeAsString();
    if (after == before) return state;
    const absl::StatusOr<uint64_t> written =
        store_->Put(KeyOf(number), after, entry.ok() ? entry->revision : 0);
    if (written.ok()) return state;
    if (!absl::IsAborted(written.status())) return written.status();
  }
  return TooOftenBeaten(absl::StrCat("sequence ", number));
}

absl::StatusOr<v1::SequenceState> SequenceAllocator::Convert(const SequenceConversion& conversion) {
  const seqam::Method* method = seqam::FindMethod(conversion.method);
  if (method == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no sequence method \"", conversion.method, "\""));
  }
  const seqam::GallocKind* kind = seqam::FindGallocKind(conversion.data_type);
  if (kind == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a sequence is smallint, integer or bigint, not \"", conversion.data_type, "\""));
  }
  if (conversion.first < 0 || conversion.first > int64_t{1} << 62) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence \"", conversion.name, "\" cannot begin at ", conversion.first));
  }
  int64_t first = conversion.first;
  int64_t end = conversion.last;
  if (method->needs_allocator()) {
    first = AlignUp(first, kind->unit);
    // Registers hold no more.
    end = std::min(end, (int64_t{1} << (kind->unit + kind->id_bits)) - 1);
  }
  if (first > end) {
    return absl::ResourceExhaustedError(absl::StrCat("sequence \"", conversion.name, "\" ends at ",
                                                     end, " and would begin at ", first,
                                                     ": give its columns a larger type first"));
  }
  const auto convert = [&](v1::SequenceState* state) {
    state->set_name(conversion.name);
    if (state->method() == kGapless && conversion.method == kGapless) return absl::OkStatus();
    if (conversion.method == kGapless) BeginTurns(state);
    state->set_method(conversion.method);
    state->set_data_type(conversion.data_type);
    state->set_last(end);
    state->set_next(std::max(state->next(), first));
    return absl::OkStatus();
  };
  for (Contention contention; contention.Again();) {
    ASSIGN_OR_RETURN(const std::vector<v1::SequenceState> present, List());
    uint32_t newest = 0;
    for (const v1::SequenceState& state : present) {
      if (state.name() == conversion.name) return Change(state.number(), convert);
      newest = std::max(newest, state.number());
    }
    v1::SequenceState made;
    if (newest >= kMostSequences) {
      return absl::ResourceExhaustedError("there are too many sequences");
    }
    made.set_number(newest + 1);
    RETURN_IF_ERROR(convert(&made));
    const absl::StatusOr<uint64_t> written =
        store_->Put(KeyOf(made.number()), made.SerializeAsString(), 0);
    if (written.ok()) return made;
    if (!absl::IsAborted(written.status())) return written.status();
  }
  return TooOftenBeaten(absl::StrCat("sequence \"", conversion.name, "\""));
}

absl::StatusOr<int64_t> SequenceAllocator::Grant(uint32_t number, uint64_t count) {
  int64_t first = 0;
  const absl::StatusOr<v1::SequenceState> granted =
      Change(number, [&](v1::SequenceState* state) -> absl::Status {
        if (state->number() == 0) {
          return absl::NotFoundError(absl::StrCat("there is no sequence with number ", number));
        }
        const seqam::GallocKind* kind = KindIfGranted(*state);
        if (kind == nullptr) {
          return absl::FailedPreconditionError(absl::StrCat("sequence \"", state->name(),
                                                            "\" is of method ", state->method(),
                                                            " since, which has no chunks"));
        }
        const uint64_t unit = uint64_t{1} << kind->unit;
        if (count == 0 || count % unit != 0 || count > LargestChunk(*kind)) {
          return absl::InvalidArgumentError(absl::StrCat("chunks of sequence \"", state->name(),
                                                         "\" are multiples of ", unit, " up to ",
                                                         LargestChunk(*kind), ", not ", count));
        }
        const int64_t left = std::max<int64_t>(state->last() - state->next() + 1, 0);
        if (static_cast<uint64_t>(left) < count) {
          return absl::ResourceExhaustedError(
              absl::StrCat("sequence \"", state->name(), "\" has ", left, " numbers left up to ",
                           state->last(), ", which is less than a chunk of ", count));
        }
        first = state->next();
        state->set_next(first + static_cast<int64_t>(count));
        return absl::OkStatus();
      });
  RETURN_IF_ERROR(granted.status());
  return first;
}

absl::StatusOr<v1::SequenceState> SequenceAllocator::Turn(const v1::TurnRequest& request,
                                                          int64_t now_us) {
  return Change(request.sequence(), [&](v1::SequenceState* state) {
    RETURN_IF_ERROR(CheckIsGapless(*state, absl::StrCat("number ", request.sequence())));
    return ApplyTurn(request, now_us, state);
  });
}

absl::StatusOr<v1::SequenceState> SequenceAllocator::TakeOver(
    const v1::TakeOverSequenceRequest& request) {
  ASSIGN_OR_RETURN(const std::vector<v1::SequenceState> present, List());
  uint32_t number = 0;
  for (const v1::SequenceState& state : present) {
    if (state.name() == request.name()) number = state.number();
  }
  return Change(number, [&](v1::SequenceState* state) {
    RETURN_IF_ERROR(CheckIsGapless(*state, absl::StrCat("the name \"", request.name(), "\"")));
    return TakeTurnOver(request.node(), request.first(), request.turn(), state);
  });
}

absl::StatusOr<std::vector<v1::SequenceState>> SequenceAllocator::List() const {
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store_->List(kSequencePrefix));
  std::vector<v1::SequenceState> sequences;
  for (const StoreEntry& entry : entries) {
    ASSIGN_OR_RETURN(v1::SequenceState state, Parse(entry));
    sequences.push_back(std::move(state));
  }
  return sequences;
}

absl::Status SequenceAllocator::PassOver() {
  ASSIGN_OR_RETURN(const std::vector<v1::SequenceState> sequences, List());
  for (const v1::SequenceState& sequence : sequences) {
    const seqam::GallocKind* kind = KindIfGranted(sequence);
    if (kind == nullptr && sequence.method() != kGapless) continue;
    RETURN_IF_ERROR(Change(sequence.number(), [&](v1::SequenceState* state) {
                      if (kind == nullptr) {
                        ForgetTurn(state);
                        return absl::OkStatus();
                      }
                      const int64_t chunks = 4 * static_cast<int64_t>(LargestChunk(*kind));
                      const int64_t passed = std::min(chunks, state->last() / 16);
                      state->set_next(AlignUp(state->next() + passed, kind->unit));
                      return absl::OkStatus();
                    }).status());
  }
  return absl::OkStatus();
}

absl::Status SequenceAllocator::Learn(const std::vector<v1::SequenceState>& known) {
  if (known.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<v1::SequenceState> present, List());
  absl::Status impossible;
  for (const v1::SequenceState& told : known) {
    if (!IsPossible(told)) {
      impossible = absl::InvalidArgumentError(absl::StrCat(
          "what is told of sequence ", told.number(), " (\"", told.name(), "\") cannot be"));
      continue;
    }
    const bool news = std::none_of(present.begin(), present.end(), [&told](const auto& state) {
      v1::SequenceState taken = state;
      return state.number() == told.number() &&
             (told.method() == kGapless ? !LearnTurn(told, &taken) : state.next() >= told.next());
    });
    if (!news) continue;
    RETURN_IF_ERROR(Change(told.number(), [&told](v1::SequenceState* state) {
                      if (state->number() == 0) {
                        *state = told;
                      } else if (told.method() == kGapless) {
                        LearnTurn(told, state);
                      } else {
                        state->set_next(std::max(state->next(), told.next()));
                      }
                      return absl::OkStatus();
                    }).status());
  }
  return impossible;
}

}  // namespace bdr::server
