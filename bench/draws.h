// How long who draws an id waits for it, while all nodes of a cluster draw as fast as they can.
#pragma once

#include "absl/status/status.h"
#include "bench/figures.h"

namespace bdr::bench {

struct DrawSettings {
  int seconds = 10;  // of each turn
  int sessions = 1;  // on each of three nodes
};

// Three nodes with agents and a bdr-server; sequences of galloc, snowflake and PostgreSQL's own
// take turns, each as its column's default draws. A sequence has not been drawn from before its
// turn, so that what it takes until galloc's chunks are as large as they need to be counts, too.
// Every statement is a transaction with synchronous_commit=off, and its time includes the way to
// the server and back. Prints quantiles, and the longest
// after the first three seconds.
absl::Status MeasureDraws(const DrawSettings& settings, Figures* figures);

}  // namespace bdr::bench
