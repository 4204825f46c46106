// Puts a transaction that cannot be applied among the dead letters, as it came, and lets the origin
// go on behind it.
#pragma once

#include "absl/status/status.h"
#include "node-agent/apply/drive/apply_tools.h"

namespace bdr::agent {

// Of one applier; belongs to its thread.
class PutAside {
 public:
  explicit PutAside(ApplyTools* tools) : tools_(*tools) {}

  // Whether that is configured, and helps.
  bool Wanted(const absl::Status& cause) const;
  // The first of what is pending. Its versions are kept as those of what is not applied, and its
  // contents stand in bdr.dead_letter and bdr.dead_letter_part once progress has passed it: all in
  // one local transaction, which is open if this fails.
  absl::Status Do(const absl::Status& cause);

 private:
  absl::Status QueueLetter(const TransactionHeader& header, const absl::Status& cause,
                           DeadLetter* letter);
  absl::Status StoreParts(const TransactionHeader& header, bool large, int64_t id,
                          ContentsSummary* contents);

  ApplyTools& tools_;
};

}  // namespace bdr::agent
