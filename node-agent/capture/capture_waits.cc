#include "node-agent/capture/capture_waits.h"

#include "absl/strings/str_cat.h"
#include "base/steady_clock.h"
#include "node-agent/capture/wal_pages.h"

namespace bdr::agent {

void CaptureWaits::Stop() {
  stopping_ = true;
  woken_.Wake();
  MutexLock lock(&mu_);
  moved_.NotifyAll();
  if (waiting_ != nullptr) waiting_->Cancel();
}

void CaptureWaits::SetWaiting(postgres::ReplicationConnection* connection) {
  MutexLock lock(&mu_);
  waiting_ = connection;
  if (stopping_ && connection != nullptr) connection->Cancel();
}

void CaptureWaits::SetPulse(const Pulse& pulse) {
  {
    MutexLock lock(&mu_);
    pulse_ = pulse;
  }
  woken_.Wake();
}

Pulse CaptureWaits::pulse() const {
  MutexLock lock(&mu_);
  return pulse_;
}

Lsn CaptureWaits::wanted() const {
  MutexLock lock(&mu_);
  return wanted_;
}

bool CaptureWaits::IsAwaited() const {
  MutexLock lock(&mu_);
  return wanted_ > through_;
}

bool CaptureWaits::IsAwaited(Lsn decoded) const {
  MutexLock lock(&mu_);
  return wanted_ > through_ && wanted_ <= decoded;
}

void CaptureWaits::Reached(Lsn through) {
  MutexLock lock(&mu_);
  counters_.captured = std::max(counters_.captured, through);
  if (through <= through_) return;
  through_ = through;
  keys_->Forget(through);
  moved_.NotifyAll();
}

absl::Status CaptureWaits::WaitThrough(Lsn local_lsn, absl::Duration timeout) {
  const Lsn target = BeforePageHeader(local_lsn);
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  if (target > wanted_) {
    wanted_ = target;
    moved_.NotifyAll();
    woken_.Wake();
  }
  while (through_ < target) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration() || stopping_) {
      return absl::DeadlineExceededError(absl::StrCat("capture has reached ", ToString(through_),
                                                      " and not yet ", ToString(target)));
    }
    moved_.WaitFor(&mu_, left);
  }
  return absl::OkStatus();
}

void CaptureWaits::Sleep(absl::Duration timeout) {
  MutexLock lock(&mu_);
  if (!stopping_) moved_.WaitFor(&mu_, timeout);
}

void CaptureWaits::Count(uint64_t transactions, uint64_t changes, Lsn confirmed) {
  MutexLock lock(&mu_);
  counters_.transactions += transactions;
  counters_.changes += changes;
  counters_.confirmed = confirmed;
}

void CaptureWaits::CountError() {
  MutexLock lock(&mu_);
  ++counters_.errors;
}

CaptureWaits::Counters CaptureWaits::counters() const {
  MutexLock lock(&mu_);
  return counters_;
}

}  // namespace bdr::agent
