// Random tables: keys and values of many types, large values, partitions, replica identities.
#pragma once

#include <string>

#include "tests/chaos/plan.h"

namespace bdr::chaos {

// `hot_keys`: 0 if chance decides.
TableSpec RandomTable(Random& random, const std::string& name, TableKind kind, int hot_keys,
                      const TableSpec* parent = nullptr);
// What the random tables need before they are created.
std::string TypesDdl();

}  // namespace bdr::chaos
