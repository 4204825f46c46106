// Takes up what the cluster decides, on a running data path: its members, what is set, what was
// said of tables, a step of the clock that was accepted; and looks at the members' clocks.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/data_path.h"

namespace bdr::agent {

// Not thread-safe: belongs to the agent's thread.
class Following {
 public:
  // `path` was started and outlives it. `report`: bdr-server should hear now how far this node is.
  Following(DataPath* path, std::function<void()> report)
      : path_(*path), report_(std::move(report)) {}

  // The membership, which was written down before: what is kept for its settings from now on must
  // still be kept after a crash. kUnavailable if PostgreSQL cannot be reached; to be repeated after
  // an error.
  absl::Status Take(const Membership& followed);

  // What takes its time after that. To be called every second or so, with the membership that was
  // taken last; errors as above.
  absl::Status GoOn(const Membership& followed);

  // Compares clocks by what heartbeats tell. Every second or so.
  void LookAtClocks();

 private:
  absl::Status FollowTableChanges();
  absl::Status FollowClock(const AcceptedClock& accepted);

  DataPath& path_;
  const std::function<void()> report_;
  uint64_t clock_retired_ = 0;  // to be written down; 0: nothing
};

// Gives `settings` what the cluster has set. What was applied or captured before is stamped at or
// before the newest of the server's clock, what was promised, and `newest_applied_us`.
absl::Status TakeSettings(const Membership& followed, const Stores& stores,
                          const Positions& positions, const Clocks& clocks,
                          int64_t newest_applied_us, Settings* settings);

}  // namespace bdr::agent
