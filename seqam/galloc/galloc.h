// Ids from a global allocator: unique in the cluster for ever, and dense.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

const Method* Galloc();

}  // namespace bdr::seqam
