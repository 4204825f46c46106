// What people call a type, for messages: "integer", "text[]", "app.mood".
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "postgres/catalog.h"

namespace bdr::postgres {

// A built-in type as format_type() shows it, empty for any other OID. Such OIDs mean the same on
// every server.
std::string BuiltinTypeName(uint32_t oid);

// A type by its OID and, if it is no built-in one, by the name that goes with it: that of an array
// type is its element's with "[]" behind. Without a name: "a type without a name (OID 16412)".
std::string TypeNameForPeople(uint32_t oid, absl::string_view schema, absl::string_view name);

// `type`, a domain by its own name.
std::string TypeNameForPeople(const TypeInfo& type);

}  // namespace bdr::postgres
