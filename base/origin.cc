#include "base/origin.h"

#include "absl/strings/str_cat.h"

namespace bdr {

std::string ToString(OriginId origin) {
  return absl::StrCat("bdr_", origin.node, "_", origin.incarnation);
}

}  // namespace bdr
