// bdrctl sequence takeover: the turn of a sequence of method gapless, when its holder cannot give
// it back.
#pragma once

#include <CLI/CLI.hpp>

#include "ctl/command.h"

namespace bdr::ctl {

// Adds the verb to `noun`; both outlive the parsing.
void AddSequenceTakeover(CLI::App* noun, Invocation* invocation);

}  // namespace bdr::ctl
