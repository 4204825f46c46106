// Names that nothing else has.
#pragma once

#include <string>

namespace bdr {

// 128 random bits from the system, as 32 hex digits. Thread-safe. Ends the program if the system
// has no randomness, when nothing can be trusted.
std::string RandomId();

}  // namespace bdr
