// Ids of time, node and counter, as 63 bits: 41 of milliseconds since 2024-01-01, 10 of the node,
// 12 of a counter. No node needs to hear of another.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

const Method* Snowflake();

}  // namespace bdr::seqam
