// How a sequence access method is added, as an example that docs/sequences.md goes through. It is
// no method of the product: a test alone installs it.
#pragma once

#include "seqam/method.h"

namespace bdr::seqam {

// Ids that end in the node: 10001, 20001, 30001, ... on node 1, 10002, 20002, ... on node 2.
const Method* Tail();

}  // namespace bdr::seqam
