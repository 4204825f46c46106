#include "tests/chaos/checks.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace bdr::chaos {
namespace {

using Numbers = absl::flat_hash_set<int64_t>;

absl::StatusOr<Numbers> ReadNumbers(const harness::Cluster& cluster, const std::string& node,
                                    const std::string& sql) {
  ASSIGN_OR_RETURN(const auto connection, cluster.Connect(node));
  ASSIGN_OR_RETURN(const postgres::Result result, connection->Exec(sql));
  Numbers numbers;
  for (int i = 0; i < result.rows(); ++i) {
    int64_t number = 0;
    if (absl::SimpleAtoi(result.value(i, 0), &number)) numbers.insert(number);
  }
  return numbers;
}

// The writes that some node's conflict log names as losers. Of a unique value both rows may be
// gone: the one that was unseated, and what stood there.
std::string LosersSql(const std::string& table) {
  return absl::StrCat(
      "SELECT CASE winner WHEN 'local' THEN remote_row ELSE local_row END ->> 'w' "
      "FROM bdr.conflict_log WHERE relation LIKE '%.",
      table, "%'");
}

// Of every unique index its name, and a query that counts the values which stand there twice.
constexpr char kUniquePairs[] = R"sql(
SELECT 'unique index ' || index::text,
       format('SELECT count(*) FROM (SELECT FROM %s WHERE %s AND num_nulls(%s) = 0 GROUP BY %3$s'
              ' HAVING count(*) > 1) AS twice', relation, predicate, columns)
FROM (SELECT i.indrelid::regclass AS relation, i.indexrelid::regclass AS index,
             coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate,
             (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, false), ', ' ORDER BY k)
              FROM generate_series(1, i.indnkeyatts) AS k) AS columns
      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
      WHERE i.indisunique AND c.relkind = 'r' AND c.relname LIKE 'chaos\_%') AS indexes
)sql";

// The same of every exclusion constraint, by its operators: pairs of rows that it forbids.
constexpr char kExcludedPairs[] = R"sql(
SELECT 'exclusion constraint ' || name,
       format('WITH held AS (SELECT ctid AS id, %s FROM %s WHERE %s)'
              ' SELECT count(*) FROM held AS a JOIN held AS b ON a.id < b.id AND %s',
              columns, relation, predicate, conflict)
FROM (SELECT o.conname AS name, o.conrelid::regclass AS relation,
             coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate,
             (SELECT string_agg(format('(%s) AS v%s', pg_get_indexdef(o.conindid, k, false), k),
                                ', ' ORDER BY k)
              FROM generate_series(1, i.indnkeyatts) AS k) AS columns,
             (SELECT string_agg(format('a.v%s OPERATOR(%s.%s) b.v%1$s', k, n.nspname, p.oprname),
                                ' AND ' ORDER BY k)
              FROM unnest(o.conexclop) WITH ORDINALITY AS e (op, k)
              JOIN pg_operator AS p ON p.oid = e.op
              JOIN pg_namespace AS n ON n.oid = p.oprnamespace) AS conflict
      FROM pg_constraint AS o JOIN pg_index AS i ON i.indexrelid = o.conindid
      JOIN pg_class AS c ON c.oid = o.conrelid
      WHERE o.contype = 'x' AND c.relname LIKE 'chaos\_%') AS constraints
)sql";

struct Known {
  const Write* write = nullptr;
  const JournaledTransaction* transaction = nullptr;
};

std::string Describe(const Plan& plan, const harness::Cluster& cluster, const Known& known) {
  return absl::StrCat(known.write->deletes ? "delete " : "write ", known.write->number, " of ",
                      plan.tables[static_cast<size_t>(known.write->table)].name, " (transaction ",
                      known.transaction->number, " on ",
                      cluster.names()[static_cast<size_t>(known.transaction->node)], " at ",
                      absl::FormatTime("%H:%M:%E3S", known.transaction->ended, absl::UTCTimeZone()),
                      ", saw ", known.write->saw, ")");
}

}  // namespace

absl::Status CheckJournal(const Plan& plan, const harness::Cluster& cluster, const Journal& journal,
                          Findings* findings) {
  const std::vector<std::string> nodes = cluster.names();
  const std::vector<JournaledTransaction> transactions = journal.transactions();
  ASSIGN_OR_RETURN(const Numbers committed,
                   ReadNumbers(cluster, nodes.front(), "SELECT number FROM chaos_txn"));

  std::vector<absl::flat_hash_map<int64_t, Known>> writes(plan.tables.size());
  std::vector<absl::flat_hash_map<int64_t, Known>> replaced(plan.tables.size());  // by whom
  std::vector<absl::Time> truncated(plan.tables.size(), absl::InfinitePast());    // the last
  for (const JournaledTransaction& transaction : transactions) {
    if (!committed.contains(transaction.number)) {
      if (transaction.acknowledged) {
        findings->Add(absl::StrCat("acknowledged and lost: transaction ", transaction.number,
                                   " on ", nodes[static_cast<size_t>(transaction.node)]));
      }
      continue;
    }
    for (const Write& write : transaction.writes) {
      const Known known{.write = &write, .transaction = &transaction};
      const auto table = static_cast<size_t>(write.table);
      writes[table][write.number] = known;
      if (write.saw != 0) replaced[table][write.saw] = known;
    }
    for (const int table : transaction.truncated) {
      truncated[static_cast<size_t>(table)] =
          std::max(truncated[static_cast<size_t>(table)], transaction.ended);
    }
  }

  for (size_t table = 0; table < plan.tables.size(); ++table) {
    if (!plan.tables[table].last_update_wins()) continue;
    const std::string& name = plan.tables[table].name;
    ASSIGN_OR_RETURN(const Numbers standing,
                     ReadNumbers(cluster, nodes.front(), absl::StrCat("SELECT w FROM ", name)));
    Numbers losers;
    for (const std::string& node : nodes) {
      ASSIGN_OR_RETURN(const Numbers logged, ReadNumbers(cluster, node, LosersSql(name)));
      losers.insert(logged.begin(), logged.end());
    }
    for (const int64_t number : standing) {
      const auto by = replaced[table].find(number);
      if (by != replaced[table].end()) {
        findings->Add(absl::StrCat(name, " shows write ", number, ", which was replaced by ",
                                   Describe(plan, cluster, by->second)));
      }
      if (!writes[table].contains(number)) {
        findings->Add(absl::StrCat(name, " shows write ", number, ", which nobody committed"));
      }
    }
    for (const auto& [number, known] : writes[table]) {
      if (known.write->deletes || standing.contains(number) || losers.contains(number) ||
          replaced[table].contains(number)) {
        continue;
      }
      // What a truncate removed is counted, not named.
      if (known.transaction->begun <= truncated[table] + absl::Seconds(6)) continue;
      if (plan.tables[table].cascades) continue;
      findings->Add(absl::StrCat("lost without a word: ", Describe(plan, cluster, known)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOrphans(const Plan& plan, const harness::Cluster& cluster, Findings* findings) {
  for (size_t i = 0; i < plan.tables.size(); ++i) {
    if (plan.tables[i].kind != TableKind::kChild) continue;
    const TableSpec& child = plan.tables[i];
    const TableSpec& parent = plan.tables[i - 1];
    // Which row it is, and what it references.
    std::vector<std::string> names = child.key;
    std::vector<std::string> pairs;
    for (const std::string& column : parent.key) {
      names.push_back("p_" + column);
      pairs.push_back(absl::StrCat("p.", column, " = c.p_", column));
    }
    const auto object = [&names](const std::string& row) {
      std::vector<std::string> fields;
      for (const std::string& name : names) {
        fields.push_back(absl::StrCat("'", name, "', ", row, " -> '", name, "'"));
      }
      return absl::StrCat("jsonb_build_object(", absl::StrJoin(fields, ", "), ")::text");
    };
    absl::flat_hash_set<std::string> logged;
    for (const std::string& node : cluster.names()) {
      ASSIGN_OR_RETURN(const auto connection, cluster.Connect(node));
      ASSIGN_OR_RETURN(
          const postgres::Result rows,
          connection->Exec(absl::StrCat("SELECT ", object("local_row"),
                                        " FROM bdr.conflict_log WHERE kind = 'foreign_key_orphaned'"
                                        " AND relation = 'public.",
                                        child.name, "'")));
      for (int row = 0; row < rows.rows(); ++row) logged.emplace(rows.value(row, 0));
    }
    ASSIGN_OR_RETURN(const auto connection, cluster.Connect(cluster.names().front()));
    ASSIGN_OR_RETURN(const postgres::Result orphans,
                     connection->Exec(absl::StrCat(
                         "SELECT ", object("to_jsonb(c)"), " FROM ", child.name, " AS c WHERE c.p_",
                         parent.key.front(), " IS NOT NULL AND NOT EXISTS (SELECT FROM ",
                         parent.name, " AS p WHERE ", absl::StrJoin(pairs, " AND "), ")")));
    for (int row = 0; row < orphans.rows(); ++row) {
      const std::string orphan(orphans.value(row, 0));
      if (logged.contains(orphan)) continue;
      findings->Add(
          absl::StrCat("no node's conflict log names an orphan of ", child.name, ": ", orphan));
    }
  }
  return absl::OkStatus();
}

// Looks at the rows alone, since an index that lies is what we look for.
absl::Status CheckUnique(const harness::Cluster& cluster, Findings* findings) {
  for (const std::string& node : cluster.names()) {
    ASSIGN_OR_RETURN(const auto connection, cluster.Connect(node));
    RETURN_IF_ERROR(connection
                        ->Exec("SET enable_indexscan = off; SET enable_indexonlyscan = off; "
                               "SET enable_bitmapscan = off")
                        .status());
    for (const char* pairs_sql : {kUniquePairs, kExcludedPairs}) {
      ASSIGN_OR_RETURN(const postgres::Result constraints, connection->Exec(pairs_sql));
      for (int i = 0; i < constraints.rows(); ++i) {
        ASSIGN_OR_RETURN(const std::string twice,
                         connection->QueryValue(std::string(constraints.value(i, 1))));
        if (twice == "0") continue;
        findings->Add(absl::StrCat(node, ": ", twice, " values of ",
                                   std::string(constraints.value(i, 0)),
                                   " stand there more than once"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
