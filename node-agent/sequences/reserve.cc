#include "node-agent/sequences/reserve.h"

#include <algorithm>

namespace bdr::agent {
namespace {

using seqam::Piece;

// Long enough to say how fast numbers are drawn, short enough to notice that they are.
constexpr absl::Duration kMeasure = absl::Milliseconds(200);
// A rate that is over is forgotten by half in so long.
constexpr double kForgetPerSecond = 0.01;
constexpr double kChunkSeconds = 60;
// What a chunk holds at least, where it can: of a sequence of which nobody knows yet how fast it is
// drawn from, four last for a second at full speed. By the type: those of small ones are few.
constexpr int kLeastSizes[] = {0, 3, 2};
// Whoever waits has drawn already. If so many have, they were not drawn by bdr.nextval().
constexpr uint64_t kMostWaiting = 1 << 20;

}  // namespace

bool Reserve::Holds(const std::optional<Piece>& piece, uint64_t ordinal) const {
  return piece.has_value() && piece->ordinal <= ordinal && ordinal < piece->end(kind_);
}

void Reserve::Read(const RegistersRead& read) {
  drawn_ = read.drawn;
  end_.reset();
  if (read.end.has_value()) end_ = static_cast<uint64_t>(*read.end);
  for (int i = 0; i < kRegisters; ++i) {
    registers_[i].reset();
    if (!read.registers[i].has_value() || !end_.has_value()) continue;
    registers_[i] = UnpackPiece(kind_, *read.registers[i], *end_);
  }
}

void Reserve::Drawn(uint64_t drawn, absl::Time now) {
  drawn_ = drawn;
  if (measured_ == absl::InfinitePast() || drawn < measured_drawn_) {
    measured_ = now;
    measured_drawn_ = drawn;
    return;
  }
  const double seconds = absl::ToDoubleSeconds(now - measured_);
  if (now - measured_ < kMeasure) return;
  const double rate = static_cast<double>(drawn - measured_drawn_) / seconds;
  const double kept = per_second_ * std::max(0.0, 1 - kForgetPerSecond * seconds);
  per_second_ = std::max(rate, kept);
  measured_ = now;
  measured_drawn_ = drawn;
}

// The least that lasts for a minute, of what may begin there.
int Reserve::SizeAt(uint64_t ordinal, uint64_t most) const {
  int size = 0;
  for (int next = 0; next < seqam::kSizes; ++next) {
    const uint64_t count = uint64_t{1} << (kind_.unit + 2 * next);
    if (ordinal % count != 0 || (next > 0 && count > most)) break;
    size = next;
    const bool lasts = static_cast<double>(count) >= per_second_ * kChunkSeconds;
    if (next >= kLeastSizes[kind_.number] && lasts) break;
  }
  return size;
}

ReserveStep Reserve::Next(uint64_t most) const {
  const uint64_t unit = uint64_t{1} << kind_.unit;
  if (!end_.has_value() || drawn_ > *end_ + kMostWaiting) {
    // Nothing is mapped, or so much was drawn beyond it that those who wait are not among them.
    return {.kind = ReserveStep::Kind::kClear, .end = (drawn_ + unit - 1) / unit * unit};
  }
  // What lies before the first piece is passed over by those who draw it.
  uint64_t next = *end_;
  for (const auto& piece : registers_) {
    if (piece.has_value() && piece->end(kind_) > drawn_) next = std::min(next, piece->ordinal);
  }
  if (next >= drawn_ + unit) {
    // Somebody has set the sequence back.
    return {.kind = ReserveStep::Kind::kClear, .end = (drawn_ + unit - 1) / unit * unit};
  }
  for (int i = 1; i < kRegisters; ++i) {
    if (!Holds(registers_[i], drawn_) || registers_[0] == registers_[i]) continue;
    return {.kind = ReserveStep::Kind::kCopy, .piece = *registers_[i]};
  }
  for (int i = 1; i < kRegisters; ++i) {
    const auto& piece = registers_[i];
    const bool free = !piece.has_value() || piece->end(kind_) <= drawn_ || piece == registers_[0];
    if (!free) continue;
    ReserveStep step{.kind = ReserveStep::Kind::kFill, .at = i};
    step.piece = {.ordinal = *end_, .size = SizeAt(*end_, most)};
    step.end = step.piece.end(kind_);
    return step;
  }
  return {};
}

void Reserve::Done(const ReserveStep& step) {
  switch (step.kind) {
    case ReserveStep::Kind::kNone:
      return;
    case ReserveStep::Kind::kClear:
      registers_ = {};
      end_ = step.end;
      return;
    case ReserveStep::Kind::kCopy:
      registers_[0] = step.piece;
      return;
    case ReserveStep::Kind::kFill:
      registers_[step.at] = step.piece;
      end_ = step.end;
      return;
  }
}

uint64_t Reserve::left() const {
  if (!end_.has_value() || *end_ <= drawn_) return 0;
  return *end_ - drawn_;
}

}  // namespace bdr::agent
