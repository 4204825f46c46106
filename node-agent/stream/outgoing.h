// What one subscriber gets next: blocks of the wanted origins, in order within each origin, taken
// in turn between origins, and never more under way than the subscriber has room for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/stream/wire.h"

namespace bdr::agent {

// Not thread-safe. Reads the change log, so it may have to wait for the disk. Keeps at most one
// block in memory.
class Outgoing {
 public:
  struct Options {
    NodeId self = 0;  // the publisher's node
    uint64_t window_bytes = 0;
    std::vector<WantedOrigin> wanted = {};
  };
  // `log` outlives it.
  Outgoing(const ChangeLog* log, Options options);

  // Whether the log can go on from where the subscriber stands: kFailedPrecondition if that was
  // trimmed, kDataLoss if the histories differ. An origin of another node of which the subscriber
  // has more than this log is no error: this log will follow, and a subscriber checks the chain
  // of every block itself.
  absl::Status Check() const;

  // The block to send now, given how many bytes the subscriber has consumed so far; nullopt if
  // there is none, or no room. A block larger than the window goes when nothing else is under way.
  absl::StatusOr<std::optional<EncodedBlock>> Take(uint64_t consumed_bytes);

  // Positions of each origin, after the blocks taken so far.
  const std::vector<WantedOrigin>& cursors() const { return wanted_; }
  uint64_t taken_bytes() const { return taken_bytes_; }

 private:
  absl::Status Prepare();
  bool HasRoom(uint64_t consumed_bytes) const;

  const ChangeLog* const log_;
  const NodeId self_;
  const uint64_t window_bytes_;
  std::vector<WantedOrigin> wanted_;
  size_t turn_ = 0;  // the origin that is asked first
  size_t prepared_from_ = 0;
  std::optional<EncodedBlock> prepared_;  // read, and waiting for room
  uint64_t taken_bytes_ = 0;
};

}  // namespace bdr::agent
