// Numbers without a gap across the cluster: one node at a time gives them out. gapless.sql says
// how.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

const Method* Gapless();

}  // namespace bdr::seqam
