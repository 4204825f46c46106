// PostgreSQL's own sequence, as it is on every server: nodes give out the same numbers.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

const Method* Local();

}  // namespace bdr::seqam
