// In which form values travel: in binary, or as text where their type has no binary form that
// another server can read back as the same value.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "postgres/catalog.h"

namespace bdr::postgres {

// True if rows of a table with columns of these types (without generated ones) cannot be handed to
// PostgreSQL as rows in binary: a type has no receive function, or a domain would be tried on the
// null in whose place its text comes. Each column goes by itself then; arrays, of which there are
// no arrays, as text.
bool TravelsByColumn(absl::Span<const TypeInfo* const> types);

// The form of a column's values; `by_column`: TravelsByColumn() of all columns of the table.
bool TravelsInBinary(const TypeInfo& type, bool by_column);

// SQL for the text of a value (an expression of that type) that FromTextSql() reads back.
std::string TextOfSql(const TypeInfo& type, absl::string_view value);
// SQL for the value of such a text (an expression of type text that costs nothing to repeat).
std::string FromTextSql(const TypeInfo& type, absl::string_view text);

// "schema"."type" of the type itself.
std::string QualifiedTypeName(const TypeInfo& type);

}  // namespace bdr::postgres
