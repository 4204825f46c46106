// Ends the process where an invariant of our own is broken: that is a bug, and going on might write
// the wrong rows. On in release builds as well. What a peer, a disk or a row may do wrong is no
// invariant: that is a Status.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace bdr {

// `what`: what is broken, as a sentence.
inline void CheckInvariant(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken invariant: %s\n", what);
  std::abort();
}

}  // namespace bdr
