// What every node must show in the end: the rule of docs/architecture.md ("Conflicts") in its own
// words, over the set of all changes, without any order of arrival.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "tests/model/world.h"

namespace bdr::model {

using Rows = std::array<std::optional<Content>, kMaxKeys>;

Rows Expected(const std::vector<const Transaction*>& all, int constraints);

}  // namespace bdr::model
