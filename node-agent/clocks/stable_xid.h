// Rows whose commit time PostgreSQL has forgotten, told apart by the age of their xid.
//
// A freeze of all databases takes the commit times of everything before it, and every old database
// is frozen for the most part. A row without a commit time may be seconds old, so it cannot pass
// for an old one; looking at each, though, would make every change of an old row wait for capture.
// What can be said cheaply: which xids had ended long enough ago that everything they wrote is
// stable by now.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "absl/strings/string_view.h"
#include "base/lsn.h"
#include "base/mutex.h"

namespace bdr::agent {

// FrozenTransactionId (PostgreSQL's transam.h): its age() is beyond every other.
inline constexpr uint32_t kFrozenXid = 2;

// Thread-safe.
class StableXid {
 public:
  StableXid();

  // The server may have been restarted: xids of what it lost are given out again.
  void Reset();

  // Every xid below `xid` had ended when local WAL had reached `insert_lsn` and the server's clock
  // was `clock_us`. To be told in that order.
  void Seen(uint32_t xid, Lsn insert_lsn, int64_t clock_us);

  // Capture has passed `captured`, no stamp given or applied until then is later than `newest_us`,
  // and everything before `stable_us` is stable.
  void Advance(Lsn captured, int64_t newest_us, int64_t stable_us);

  // Whatever an xid below wrote is stable, and has been seen by everybody. kFrozenXid, which
  // nothing is older than, while that is not known.
  uint32_t Get() const;

 private:
  struct Mark {
    uint32_t xid = 0;
    Lsn insert_lsn;
    int64_t clock_us = 0;
    int64_t newest_us = 0;  // the newest stamp of what was written by then; 0 before it is known
  };
  mutable Mutex mu_;
  std::deque<Mark> marks_ ABSL_GUARDED_BY(mu_);
  int64_t apart_us_ ABSL_GUARDED_BY(mu_);  // marks are at least this far apart
  uint32_t stable_ ABSL_GUARDED_BY(mu_) = kFrozenXid;
};

// The name of the setting in an applier's session that holds it, for the condition below.
inline constexpr absl::string_view kStableXidSetting = "bdr.stable_xid";

// SQL: the row `t` was written by an xid below the setting. Ages are compared, since xids come
// round: a row of an earlier round looks younger than it is, never older.
std::string WrittenByStableXidSql();

}  // namespace bdr::agent
