// Who holds locks that are in our way, as SQL, for those who name them.
#pragma once

namespace bdr::agent {

// To follow "WITH h AS (...)", the locks (virtualtransaction, pid) that are in the way: one row for
// each who holds them, with its virtual transaction and what people call it. Needs pg_catalog alone
// on the search path.
inline constexpr char kLockHoldersSql[] =
    " SELECT h.virtualtransaction, CASE WHEN h.pid IS NULL THEN pg_catalog.format("
    "'prepared transaction \"%s\" (user \"%s\", since %s)', x.gid, x.owner, "
    "pg_catalog.date_trunc('second', x.prepared)) ELSE pg_catalog.format("
    "'process %s (user \"%s\", application \"%s\", %s, transaction since %s)', h.pid, "
    "a.usename, a.application_name, a.state, pg_catalog.date_trunc('second', a.xact_start)) END "
    "FROM (SELECT DISTINCT virtualtransaction, pid FROM h) AS h "
    "LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid "
    "LEFT JOIN pg_catalog.pg_prepared_xacts AS x ON h.pid IS NULL AND EXISTS (SELECT FROM "
    "pg_catalog.pg_locks AS l WHERE l.pid IS NULL AND l.locktype = 'transactionid' AND "
    "l.virtualtransaction = h.virtualtransaction AND l.transactionid = x.transaction) "
    "ORDER BY a.xact_start LIMIT 3";

}  // namespace bdr::agent
