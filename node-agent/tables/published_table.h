// Tables whose rows may be told to others: those that replicate.
//
// The agent's role may read more than that, the whole database if an administrator made it so; who
// has a certificate may not.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::agent {

// kFailedPrecondition unless the table is in one of our publications here, and is none of ours.
absl::Status CheckPublished(const postgres::TableInfo& table);

// The table named. kNotFound if there is none, else as CheckPublished().
absl::StatusOr<postgres::TableInfo> LoadPublished(postgres::Connection& connection,
                                                  absl::string_view schema, absl::string_view name);

}  // namespace bdr::agent
