// The parts of the node check, and what they share. Included only by node_check.cc and the parts.
//
// Every part runs inside one read-only transaction with search_path = pg_catalog.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"
#include "postgres/setup/findings.h"
#include "postgres/setup/node_check.h"

namespace bdr::pg_setup {

// "a, b, c and 7 more".
std::string NameSome(const std::vector<std::string>& names);

// Whether this database and session can tell whose code is trusted. If not, CheckRights() or the
// schema's version says why.
absl::StatusOr<bool> MayAskForOwners(postgres::Connection& connection);

// PublishedTablesCtes() as far as this database can tell.
absl::StatusOr<std::string> TablesCtes(postgres::Connection& connection);

// Version, wal_level and the like; free slots and senders.
absl::Status CheckServer(postgres::Connection& connection, Findings& findings);
// What `role` is and may do; schema bdr.
absl::Status CheckRights(postgres::Connection& connection, const std::string& role,
                         Findings& findings);
// The two publications, and what puts tables into them.
absl::Status CheckPublications(postgres::Connection& connection, const std::string& role,
                               Findings& findings);
// Whether every table is published where it belongs, and the role has its rights on it.
absl::Status CheckPlaces(postgres::Connection& connection, const std::string& role,
                         Findings& findings);
// Tables of which row security hides rows from the role.
absl::Status CheckRowSecurity(postgres::Connection& connection, const std::string& role,
                              Findings& findings);
// Tables and other objects that do not replicate, or not as their owner may expect.
absl::Status CheckObjects(postgres::Connection& connection, Findings& findings);
// Code of owners that runs with the agent's rights.
absl::Status CheckOwnersCode(postgres::Connection& connection, Findings& findings);
// Functions that apply runs and that lean on the users' search_path.
absl::Status CheckFunctions(postgres::Connection& connection, Findings& findings);
// Columns of tables that are to be published: types without a binary form.
absl::Status CheckColumns(postgres::Connection& connection, Findings& findings);

}  // namespace bdr::pg_setup
