// Randomness that a seed repeats: every part of a run draws from a stream of its own, so that how
// fast one thread is does not change what another does.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <vector>

namespace bdr::chaos {

// Not thread-safe.
class Random {
 public:
  // `stream` tells apart those that share a seed.
  Random(uint64_t seed, uint64_t stream)
      : engine_(seed * 0x9E3779B97F4A7C15ull + stream * 0xBF58476D1CE4E5B9ull + 1) {}

  // 0 .. n-1. Own arithmetic: the standard library's distributions differ between versions.
  int64_t Below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  int64_t Between(int64_t from, int64_t to) { return from + Below(to - from + 1); }
  bool OneIn(int64_t n) { return Below(n) == 0; }
  bool Percent(int64_t percent) { return Below(100) < percent; }
  template <typename T>
  const T& Pick(const std::vector<T>& values) {
    return values[static_cast<size_t>(Below(static_cast<int64_t>(values.size())))];
  }
  // By the weights that the values have.
  template <typename T>
  T PickWeighted(const std::map<T, int>& weights) {
    int total = 0;
    for (const auto& [value, weight] : weights) total += weight;
    int64_t dice = Below(total);
    for (const auto& [value, weight] : weights) {
      if (dice < weight) return value;
      dice -= weight;
    }
    return weights.begin()->first;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace bdr::chaos
