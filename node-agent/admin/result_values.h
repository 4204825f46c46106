// Values of a query's result.
#pragma once

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace bdr::agent {

// 0 for NULL.
template <typename Int>
Int ToInt(absl::string_view text) {
  Int value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

}  // namespace bdr::agent
