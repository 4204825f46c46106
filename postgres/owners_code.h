// Code of tables' owners that runs when rows are written: triggers, constraints, domains, index
// expressions, defaults. It runs with the rights of whoever writes, so only superusers and roles
// that an administrator trusts may have any (docs/security.md). The database itself decides:
// bdr.untrusted_code(), in postgres/sql/.
#pragma once

#include "absl/status/status.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// Fills in owner, code_stamp and untrusted_code.
absl::Status LoadOwnersCode(Connection& connection, TableInfo* table);

// kPermissionDenied, saying whose code it is and what to do, if a table has any that is not
// trusted.
absl::Status MayRunCode(const TableInfo& table);

// The same asked of the server, inside of a transaction that is to write the table: locks it
// against changes of its code first. `for_users`: for a session in which ordinary triggers and
// foreign keys fire.
absl::Status LockOwnersCode(Connection& connection, const TableInfo& table, bool for_users);

}  // namespace bdr::postgres
