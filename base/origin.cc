#include "base/origin.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bdr {

std::string ToString(OriginId origin) {
  return absl::StrCat("bdr_", origin.node, "_", origin.incarnation);
}

absl::StatusOr<OriginId> ParseOrigin(absl::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '_');
  uint32_t node = 0;
  uint32_t incarnation = 0;
  if (parts.size() != 3 || parts[0] != "bdr" || !absl::SimpleAtoi(parts[1], &node) ||
      !absl::SimpleAtoi(parts[2], &incarnation) || node == 0 || node > kMaxNodeId) {
    return absl::InvalidArgumentError(absl::StrCat("not an origin of bdr: \"", name, "\""));
  }
  return OriginId{static_cast<NodeId>(node), incarnation};
}

}  // namespace bdr
