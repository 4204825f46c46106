// What every session of ours sets that writes users' rows on behalf of other nodes.
#pragma once

namespace bdr::agent {

// Users' triggers and foreign keys do not fire, as they did where the change was made; and no row
// is hidden by row security, or the statement fails.
inline constexpr char kWritesForOthersSql[] =
    "SET session_replication_role = replica; SET row_security = off;";

}  // namespace bdr::agent
