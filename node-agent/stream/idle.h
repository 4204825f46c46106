// When a node counts as idle: what is asked and told many times a second then comes less often.
#pragma once

#include "absl/time/time.h"

namespace bdr::agent {

// Nothing was written, and nothing came, for so long.
inline constexpr absl::Duration kIdleAfter = absl::Seconds(2);

}  // namespace bdr::agent
