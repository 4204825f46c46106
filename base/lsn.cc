#include "base/lsn.h"

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace bdr {

std::string ToString(Lsn lsn) {
  return absl::StrFormat("%X/%X", static_cast<uint32_t>(lsn.value >> 32),
                         static_cast<uint32_t>(lsn.value));
}

absl::StatusOr<Lsn> ParseLsn(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> halves = absl::StrSplit(text, '/');
  uint32_t high = 0;
  uint32_t low = 0;
  if (!absl::SimpleHexAtoi(halves.first, &high) || !absl::SimpleHexAtoi(halves.second, &low)) {
    return absl::InvalidArgumentError(absl::StrCat("not an LSN: \"", text, "\""));
  }
  return Lsn{(static_cast<uint64_t>(high) << 32) | low};
}

}  // namespace bdr
