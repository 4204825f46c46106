// Asks the person before something that cannot be undone.
#pragma once

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace bdr::ctl {

// Says `what` on standard error, so that output for programs stays clean, and wants "yes" on
// standard input. OK at once with `yes`; kCancelled for any other answer, or if nobody is there.
inline absl::Status Confirm(const std::string& what, const std::string& question, bool yes) {
  std::cerr << what;
  if (yes) return absl::OkStatus();
  std::cerr << question << " Type \"yes\" to go on: " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (absl::StripAsciiWhitespace(answer) == "yes") return absl::OkStatus();
  return absl::CancelledError("nothing was done; with --yes it does not ask");
}

}  // namespace bdr::ctl
