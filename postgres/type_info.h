// Looks up types with all they are made of.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::postgres {

using TypeMap = absl::flat_hash_map<uint32_t, std::shared_ptr<const TypeInfo>>;

// The types of these OIDs. One query for each level of nesting. kFailedPrecondition if a type is
// gone, which means that it was dropped just now.
absl::StatusOr<TypeMap> LoadTypes(Connection& connection, const std::vector<uint32_t>& oids);

}  // namespace bdr::postgres
