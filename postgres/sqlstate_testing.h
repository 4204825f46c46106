// Statuses as PostgreSQL's errors come, made by hand. Only tests include this.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace bdr::postgres {

// Sqlstate() of it is `sqlstate` (connection_test.cc holds the two together).
inline absl::Status ErrorForTesting(absl::StatusCode code, absl::string_view sqlstate) {
  absl::Status status(code, "failed");
  status.SetPayload("bdr/sqlstate", absl::Cord(sqlstate));
  return status;
}

}  // namespace bdr::postgres
