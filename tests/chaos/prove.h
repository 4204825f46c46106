// Shows that the checker finds what is wrong: rules are broken on purpose, one at a time.
#pragma once

#include <string>

namespace bdr::chaos {

// Exit codes: 0 if what was to be found was found (and nothing where rules are kept), 3 if not, 1
// if a story could not be played. ProveAll() prints the table of docs/chaos.md.
int ProveAll();
int ProveOne(const std::string& rule);
int ProveKept();
int PlayOneKept(const std::string& rule);

}  // namespace bdr::chaos
