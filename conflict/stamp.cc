#include "conflict/stamp.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace bdr::conflict {

std::string ToString(Stamp stamp) {
  return absl::StrCat(absl::FormatTime("%Y-%m-%d %H:%M:%E6S", absl::FromUnixMicros(stamp.time_us),
                                       absl::UTCTimeZone()),
                      "Z@", stamp.node);
}

}  // namespace bdr::conflict
