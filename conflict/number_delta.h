// Numbers in PostgreSQL's binary form: adding to one what was added to another.
//
// Exact and the same on every machine: integers and numeric are computed exactly, floats with one
// rounding rule, and what leaves a type's range stays at its end rather than raise an error, which
// would stop one node and not the other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace bdr::conflict {

enum class NumberType { kInt2, kInt4, kInt8, kFloat4, kFloat8, kNumeric };

// Of PostgreSQL's type with this OID; nullopt if it is no number.
std::optional<NumberType> NumberTypeOf(uint32_t type_oid);

// state + (to - from). Just `to` where state equals from, byte for byte: who was alone with the row
// gets what it wrote. Also just `to` where one of them is no finite number (NaN, infinity of a
// numeric) or is malformed. `type_modifier` is the column's, as PostgreSQL's atttypmod: of
// numeric(p, s) it gives the range.
std::string AddDelta(NumberType type, int32_t type_modifier, absl::string_view state,
                     absl::string_view from, absl::string_view to);

}  // namespace bdr::conflict
