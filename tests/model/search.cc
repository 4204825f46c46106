#include "tests/model/search.h"

#include <atomic>
#include <thread>
#include <vector>

namespace bdr::model {

std::optional<Found> FindFailure(const Search& search) {
  const uint64_t end = search.first_seed + search.schedules;
  std::atomic<uint64_t> next{search.first_seed};
  std::atomic<uint64_t> failed{end};
  const auto run = [&] {
    constexpr uint64_t kAtOnce = 64;
    while (true) {
      const uint64_t from = next.fetch_add(kAtOnce);
      for (uint64_t seed = from; seed < from + kAtOnce; ++seed) {
        if (seed >= failed.load()) return;
        if (Play({.seed = seed, .broken = search.broken}).ok()) continue;
        uint64_t lowest = failed.load();
        while (seed < lowest && !failed.compare_exchange_weak(lowest, seed)) {
        }
        return;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < search.threads; ++i) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
  if (failed == end) return std::nullopt;
  const Setup setup{.seed = failed, .broken = search.broken};
  return Found{.seed = failed, .outcome = Minimise(setup, Play(setup))};
}

}  // namespace bdr::model
