// Applies a TRUNCATE: everything in its tables dies that is older than its stamp, and nothing else.
//
// What is newer shows in the rows' commit times, once the tables are locked: an applied row's is
// never below its stamp, and a local one's only by the largest raise. Where nothing can be newer it
// is a real TRUNCATE. Else what is surely older is deleted by one statement, and the rest is looked
// at row by row, with the version store as the truth. Rows of tables without a key have no
// versions: their commit time decides, and for local ones what capture has noted of those whose
// stamps lie above it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "conflict/version_store.h"
#include "node-agent/apply/plan/group_plan.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/write/group_executor.h"
#include "node-agent/tables/found_rows.h"

namespace bdr::agent {

// For one TRUNCATE inside an open transaction. Not thread-safe.
class Truncater {
 public:
  // All outlive it. `group_end`: in the origin's WAL. `found_before` as GroupExecutor's.
  Truncater(const ExecutorOptions& options, Pipe* pipe, const GroupVersions* versions,
            Lsn group_end, const FoundBefore* found_before)
      : options_(options),
        pipe_(pipe),
        versions_(versions),
        group_end_(group_end),
        found_before_(found_before),
        // Where nobody else has such rows, their times are all that is known of them.
        found_rows_(&options.node_of_roident,
                    /*takes_foreign_times=*/!options.forwards_foreign_origins) {}

  // Errors as PostgreSQL's. After OK see must_wait().
  absl::Status Run(const TruncateOp& truncate);

  // Not empty: nothing is decided. Roll back, wait until capture has passed the present end of the
  // WAL, and come again with this as `found_before` and a newer options.captured_xid.
  const FoundBefore& must_wait() const { return must_wait_; }
  // Tables in which rows died or stayed that the truncate's origin had not seen.
  uint64_t conflicts() const { return conflicts_; }

 private:
  struct Met {
    int64_t older = 0;               // surely
    int64_t maybe_newer = 0;         // by commit time
    int64_t others_maybe_newer = 0;  // of these, what others than the truncate's origin wrote
    int64_t unseen = 0;              // by the truncate's origin, as far as commit times tell
  };
  absl::Status Lock(const TruncateOp& truncate);
  std::string TimeIsMadeUp() const;
  std::string Captured() const;
  absl::Status FindRaised(const TruncateOp& truncate, const BoundTable& table);
  absl::Status Survey(const TruncateOp& truncate, std::vector<Met>* met);
  absl::Status AskWhetherItCan(const TruncateOp& truncate, bool* can);
  absl::Status DeleteOlder(const TruncateOp& truncate, const BoundTable& table);
  absl::Status JudgeRest(const TruncateOp& truncate, const BoundTable& table, int64_t* kept);
  absl::Status JudgeSome(const TruncateOp& truncate, const BoundTable& table,
                         const postgres::Result& rows, int64_t* kept);
  absl::Status RestartIdentity(const TruncateOp& truncate);
  std::string MaybeNewer(const TruncateOp& truncate, const BoundTable& table) const;
  std::string SeenArray(const TruncateOp& truncate) const;

  const ExecutorOptions& options_;
  Pipe* const pipe_;
  const GroupVersions* const versions_;
  const Lsn group_end_;
  const FoundBefore* const found_before_;
  const FoundRows found_rows_;
  FoundBefore must_wait_;
  // By table: commit times (µs) of local rows without a key whose stamps are later than the
  // truncate's.
  absl::flat_hash_map<uint32_t, std::vector<int64_t>> raised_;
  absl::flat_hash_map<uint32_t, std::vector<int64_t>> newer_made_up_;  // by other tools
  uint64_t conflicts_ = 0;
};

}  // namespace bdr::agent
