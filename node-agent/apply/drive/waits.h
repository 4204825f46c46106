// What a group waits for while nothing of it is locked in the database.
//
// Each of these may take as long as somebody else takes: another group, capture, another node, a
// user's transaction. So they are entered only between transactions; that is checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/origin.h"
#include "node-agent/apply/drive/apply_parts.h"
#include "node-agent/apply/drive/apply_tally.h"
#include "node-agent/apply/plan/missing_values.h"
#include "node-agent/apply/plan/work_kind.h"
#include "node-agent/apply/session/apply_control.h"
#include "node-agent/apply/session/lock_waits.h"
#include "node-agent/apply/session/server_session.h"

namespace bdr::agent {

// Of one applier; belongs to its thread. A wait ends within seconds when something else is asked of
// the applier, with kUnavailable where it gives a status.
class Waits {
 public:
  struct Options {
    OriginId origin;
    std::string origin_name;  // for people
    WorkKind kind = WorkKind::kRemote;
    // All outlive it.
    const ApplyParts* parts = nullptr;
    ApplyControl* control = nullptr;
    ApplyTally* tally = nullptr;
    ServerSession* session = nullptr;
    LockWaits* locks = nullptr;
    MissingValues* values = nullptr;
  };
  explicit Waits(Options options) : options_(std::move(options)) {}

  // Registers keys in flight, or all that there could be, once no other group has any of them.
  struct Keys {
    std::vector<std::string> keys = {};
    std::vector<uint32_t> tables = {};  // rows without a key are written in them
    bool all = false;
    StampRange stamps = {};
  };
  absl::Status ForKeys(const Keys& keys, KeysInFlight::Registration* registration);

  // Until capture has passed this moment. The xid before which all transactions had ended then.
  absl::StatusOr<std::string> ForCapture();

  // Until another node has told the large values that are wanted. kAborted: they are too many at
  // once; come again with a smaller group.
  absl::Status ForValues(bool may_be_split);

  // A moment: the server itself has said that its clock is not there yet. What is known of it is a
  // bit ahead, or it was set back just now.
  void ForServerClock(int64_t stamp_us);

  // Until the lock that an attempt ended on is free, for as long as is worth while; `at_once`: only
  // finds out whose it is, since a smaller group can do without.
  void ForLock(const absl::Status& timed_out, bool at_once);
  // What was wanted was had.
  void PassedLocks();
  // An answer of the server takes long: finds out whether somebody's lock is in the way, and says
  // so after some time.
  void LookAtLock();

 private:
  void CheckNothingLocked() const;
  void TellOfLock();
  bool own() const { return options_.kind == WorkKind::kOwn; }

  const Options options_;
  absl::Time blocked_since_ = absl::InfiniteFuture();  // by somebody's lock
  std::string blocked_by_;                             // as was logged last
};

}  // namespace bdr::agent
