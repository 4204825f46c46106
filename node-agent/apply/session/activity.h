// What an applier is doing at this moment, for whoever finds that it gets no further: the applier's
// own thread cannot tell, since it is the one that hangs.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/steady_clock.h"

namespace bdr::agent {

// Thread-safe: one thread sets, others read.
class Activity {
 public:
  // A step begins; the statement before it, if there was one, has ended.
  void Set(absl::string_view step) {
    MutexLock lock(&mu_);
    step_ = std::string(step);
    statement_.clear();
    since_ = SteadyNow();
  }
  // Within the step, PostgreSQL's answer to this statement is waited for; "": to none any more.
  void SetStatement(absl::string_view statement) {
    MutexLock lock(&mu_);
    statement_ = std::string(statement);
    since_ = SteadyNow();
  }

  // "writes rows: waits for PostgreSQL to execute UPDATE \"public\".\"t\", for 31s"
  std::string Describe() const {
    MutexLock lock(&mu_);
    return absl::StrCat(step_, statement_.empty() ? "" : ": waits for PostgreSQL to execute ",
                        statement_, ", for ", absl::ToInt64Seconds(SteadyNow() - since_), "s");
  }

 private:
  mutable Mutex mu_;
  std::string step_ ABSL_GUARDED_BY(mu_) = "begins";
  std::string statement_ ABSL_GUARDED_BY(mu_);
  absl::Time since_ ABSL_GUARDED_BY(mu_) = SteadyNow();
};

}  // namespace bdr::agent
