#include "node-agent/sequences/marks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {

SequenceMarks::SequenceMarks(Database* database) : database_(database) {}
SequenceMarks::~SequenceMarks() = default;

absl::StatusOr<std::unique_ptr<SequenceMarks>> SequenceMarks::Load(Database* database) {
  ASSIGN_OR_RETURN(const auto kept, State(database).Get(kStateSequences));
  v1::ListSequencesResponse known;
  if (kept.has_value() && !known.ParseFromString(*kept)) {
    return absl::DataLossError(
        "what data_dir keeps of the sequences is damaged: the node has to be copied anew");
  }
  std::unique_ptr<SequenceMarks> marks(new SequenceMarks(database));
  MutexLock lock(&marks->mu_);
  for (const v1::SequenceState& state : known.sequences()) {
    marks->by_number_[state.number()] = std::make_unique<v1::SequenceState>(state);
  }
  return marks;
}

bool SequenceMarks::TakeLocked(const v1::SequenceState& state) {
  std::unique_ptr<v1::SequenceState>& present = by_number_[state.number()];
  auto taken = std::make_unique<v1::SequenceState>(state);
  if (present != nullptr) {
    taken->set_next(std::max(present->next(), state.next()));
    // What a bdr-server that has gone back in time says of it, or an answer that was overtaken.
    const v1::GaplessTurn& known = present->turn();
    const v1::GaplessTurn& told = state.turn();
    const bool older =
        known.number() > told.number() ||
        (known.number() == told.number() && ((known.holder().empty() && !told.holder().empty()) ||
                                             (known.confirmed() && !told.confirmed())));
    if (older) *taken->mutable_turn() = known;
  }
  const bool news =
      present == nullptr || present->SerializeAsString() != taken->SerializeAsString();
  present = std::move(taken);
  return news;
}

std::string SequenceMarks::SerializedLocked() const {
  v1::ListSequencesResponse known;
  for (const auto& [number, state] : by_number_) *known.add_sequences() = *state;
  return known.SerializeAsString();
}

absl::Status SequenceMarks::Raise(const v1::SequenceState& state) {
  // Held while it is written: what is kept never falls.
  MutexLock lock(&write_mu_);
  std::string kept;
  {
    MutexLock lock_marks(&mu_);
    TakeLocked(state);
    kept = SerializedLocked();
  }
  return State(database_).Put(kStateSequences, kept, /*sync=*/true);
}

absl::Status SequenceMarks::Learn(const std::vector<v1::SequenceState>& states) {
  MutexLock lock(&write_mu_);
  std::string kept;
  {
    MutexLock lock_marks(&mu_);
    bool news = false;
    for (const v1::SequenceState& state : states) news = TakeLocked(state) || news;
    if (!news) return absl::OkStatus();
    kept = SerializedLocked();
  }
  return State(database_).Put(kStateSequences, kept, /*sync=*/false);
}

int64_t SequenceMarks::GrantedBelow(uint32_t number) const {
  MutexLock lock(&mu_);
  const auto known = by_number_.find(number);
  return known == by_number_.end() ? 0 : known->second->next();
}

std::vector<v1::SequenceState> SequenceMarks::All() const {
  MutexLock lock(&mu_);
  std::vector<v1::SequenceState> all;
  for (const auto& [number, state] : by_number_) all.push_back(*state);
  return all;
}

}  // namespace bdr::agent
