// The health of the whole out of its parts': the worst counts, and says which part it is.
#pragma once

#include <utility>

#include "absl/strings/string_view.h"
#include "base/health.h"

namespace bdr::agent {

// Not thread-safe: made for one report.
class WorstHealth {
 public:
  // `own`: of what is no part.
  explicit WorstHealth(Health own) : worst_(std::move(own)) {}

  // What is good says nothing. Of two that are equally bad the first gives state and time, and both
  // reasons are told: one warning must not hide another, as each names something else to be done.
  void Take(const Health& health, absl::string_view part);

  const Health& get() const { return worst_; }

 private:
  Health worst_;
};

}  // namespace bdr::agent
