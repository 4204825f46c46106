// Numbers that nodes share out by arithmetic: of each `slots` numbers, or blocks of numbers, in a
// row a node has one. Both grow in slots; stepped.sql and blocks.sql say how.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

// PostgreSQL's own nextval(), with INCREMENT slots and an offset for each node: it costs nothing
// and works where nobody can change a default or a call.
const Method* Stepped();

// Blocks of consecutive numbers, dealt round to the nodes.
const Method* SteppedBlocks();

}  // namespace bdr::seqam
