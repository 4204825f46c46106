// Random tables: keys and values of many types, large values, partitions, replica identities.
#pragma once

#include <string>

#include "tests/chaos/plan.h"

namespace bdr::chaos {

TableSpec RandomTable(Random& random, const std::string& name);
// What the random tables need before they are created.
std::string TypesDdl();

}  // namespace bdr::chaos
