// One schedule: nodes that write, capture, ship and apply in an order drawn from a seed, with
// faults in between; then everything heals, and all nodes must show what the rule says.
//
// Checked: no step may show a transaction before one that its origin had seen; stamps are above all
// that was seen, and what a header claims to have seen was seen; no clock that runs ahead drags
// another's stamps along; no unique value stands twice; every commit of a user is in its node's
// log; at the end every node shows exactly the rows that the rule gives for the set of all changes.
#pragma once

#include <string>
#include <vector>

#include "tests/model/world.h"

namespace bdr::model {

struct Outcome {
  std::string wrong;  // empty: nothing
  int steps = 0;
  std::vector<std::string> trace;  // with Setup::trace
  bool ok() const { return wrong.empty(); }
};

Outcome Play(const Setup& setup);

// The shortest schedule of the same seed that goes wrong too, with its trace.
Outcome Minimise(Setup setup, const Outcome& found);

}  // namespace bdr::model
