// One thing with all that is known of it, a value a line, for people: nobody compares such lines
// with each other, and programs take the JSON that they are made from.
#pragma once

#include <set>
#include <string>

#include "ctl/output.h"
#include "ctl/table.h"

namespace bdr::ctl {

// A row for each member of `facts`. Keys end with their unit (_us, _ms, _bytes), which says how the
// value is shown, and is not shown itself. What ends with _us is a moment, unless it is one of
// `spans`.
Table FieldTable(const Json& facts, const std::set<std::string>& spans = {});

}  // namespace bdr::ctl
