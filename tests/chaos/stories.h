// The stories themselves (see scenarios.h).
#pragma once

#include <vector>

#include "tests/chaos/scenarios.h"

namespace bdr::chaos {

std::vector<Scenario> AllStories();

}  // namespace bdr::chaos
