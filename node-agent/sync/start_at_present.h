// How a node with tables equal to everybody's becomes a member: from where it needs each origin.
#pragma once


#include "absl/status/status.h"
#include "base/security_options.h"
#include "node-agent/changelog/change_log.h"
#include "node-agent/changelog/database.h"
#include "node-agent/cluster/membership.h"
#include "postgres/connection.h"

namespace bdr::agent {

struct JoinOptions {
  NodeId self = 0;
  SecurityOptions security;
  postgres::ConnectOptions database;
};

// Asks each member that is active already for its present position, and writes down that its
// changes are needed from there on: in the change log, in the state and in bdr.progress. A member
// that joins at the same time is needed from its beginning, which is the default.
//
// Each of them must follow an epoch that holds this node: it drops nothing then that comes later.
//
// The tables must be equal and nobody may write while a node joins this way. Done once: repeating
// it afterwards does nothing. kUnavailable if a member cannot be asked now; nothing of it was
// written then.
absl::Status StartAtPresent(const JoinOptions& options, const Membership& membership,
                            Database* database, ChangeLog* log);

// kFailedPrecondition if the database has applied what this data folder knows nothing of: it was a
// node before, here or where it was copied from, and would skip what it has missed since. Checked
// until StartAtPresent() has been done.
absl::Status CheckNeverJoined(postgres::Connection& connection, Database* database,
                              const ChangeLog& log);

// Whether StartAtPresent() has been done.
absl::StatusOr<bool> HasJoined(Database* database);

}  // namespace bdr::agent
