// What of a galloc sequence this node has in reserve, and what is to be done so that nobody who
// draws from it ever waits.
//
// Pure: no database, no server, no clock; chunk_keeper.h carries out what is decided here.
// seqam/galloc/ says how pieces, chunks and registers hang together. There are four registers: the
// first is what everybody looks at, and holds the piece from which is drawn now; the others hold
// the pieces that come next.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "seqam/galloc/layout.h"

namespace bdr::agent {

inline constexpr int kRegisters = 4;

// The reserve as the database has it: the numbers in the registers (nullopt: empty).
struct RegistersRead {
  std::array<std::optional<int64_t>, kRegisters> registers = {};
  std::optional<int64_t> end = std::nullopt;  // ordinals below it are mapped
  uint64_t drawn = 0;                         // ordinals below it were drawn
};

// The next step, one at a time, in this order of preference.
struct ReserveStep {
  enum class Kind {
    kNone,
    kClear,  // empties every register, then sets the end to `end`
    kCopy,   // sets register 0 to `piece`
    kFill,  // has `piece.id` granted for `piece`, sets register `at` to it, then the end to its end
  };
  Kind kind = Kind::kNone;
  int at = 0;
  seqam::Piece piece = {};
  uint64_t end = 0;
};

// Not thread-safe.
class Reserve {
 public:
  explicit Reserve(const seqam::GallocKind& kind) : kind_(kind) {}

  // The registers as they are now, by which all else goes from here on: to be told at first, and
  // whenever they may differ (a crash empties them).
  void Read(const RegistersRead& read);
  // Ordinals below `drawn` were drawn by `now`, which is steady: learns how fast.
  void Drawn(uint64_t drawn, absl::Time now);

  // A chunk holds what is drawn within a minute, and at most `most` numbers, unless that is less
  // than a unit.
  ReserveStep Next(uint64_t most) const;
  // A step was carried out.
  void Done(const ReserveStep& step);

  uint64_t drawn() const { return drawn_; }
  // Numbers that can be drawn without a server.
  uint64_t left() const;
  double per_second() const { return per_second_; }
  // The chunk that is drawn from; nullopt if there is none.
  const std::optional<seqam::Piece>& present() const { return registers_[0]; }

 private:
  bool Holds(const std::optional<seqam::Piece>& piece, uint64_t ordinal) const;
  int SizeAt(uint64_t ordinal, uint64_t most) const;

  const seqam::GallocKind kind_;
  std::array<std::optional<seqam::Piece>, kRegisters> registers_ = {};
  std::optional<uint64_t> end_;  // nullopt: nothing is mapped
  uint64_t drawn_ = 0;

  double per_second_ = 0;
  uint64_t measured_drawn_ = 0;
  absl::Time measured_ = absl::InfinitePast();
};

}  // namespace bdr::agent
