// How far a peer's clock is ahead of ours, from what it says in heartbeats.
//
// A reading is as old as its way here took. That is known of heartbeats which answer one of our
// acknowledgements: half of the round trip is added. One that queued behind blocks tells little, so
// of the last few readings the one with the shortest way counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace bdr::agent {

// Not thread-safe. All in µs.
class ClockSkew {
 public:
  // The peer's clock showed `peer_us` when it sent what came when ours shows `own_us`.
  // `round_trip_us`: from our message to its answer, without the time that the peer kept it; unset
  // if this answers none.
  void Add(int64_t peer_us, int64_t own_us, std::optional<int64_t> round_trip_us) {
    if (!round_trip_us.has_value()) {
      if (readings_.empty()) rough_ = peer_us - own_us;
      return;
    }
    readings_.push_back(
        {.round_trip_us = *round_trip_us, .skew_us = peer_us + *round_trip_us / 2 - own_us});
    if (readings_.size() > kReadings) readings_.pop_front();
  }

  int64_t skew_us() const { return readings_.empty() ? rough_ : Best().skew_us; }
  // How far off that may be, if the ways there and back took different times; 0 while only rough
  // readings came.
  int64_t doubt_us() const { return readings_.empty() ? 0 : Best().round_trip_us / 2; }

 private:
  static constexpr size_t kReadings = 4;
  struct Reading {
    int64_t round_trip_us = 0;
    int64_t skew_us = 0;
  };
  const Reading& Best() const {
    const Reading* best = &readings_.front();
    for (const Reading& reading : readings_) {
      // The newest of equal readings counts: clocks move.
      if (reading.round_trip_us <= best->round_trip_us) best = &reading;
    }
    return *best;
  }
  std::deque<Reading> readings_;
  int64_t rough_ = 0;
};

}  // namespace bdr::agent
