#include "node-agent/apply/write/truncate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "conflict/truncate_rule.h"
#include "node-agent/apply/plan/seen.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/write/conflict_log.h"
#include "node-agent/apply/write/owners_guard.h"
#include "node-agent/apply/write/run_statement.h"

namespace bdr::agent {
namespace {

using conflict::TruncateVerdict;
using conflict::Version;
using postgres::ColumnKind;
using postgres::Result;

constexpr int kRowsAtOnce = 1000;

// A row's commit time and origin, as c, beside the row, as t.
constexpr char kWithCommit[] =
    " AS t CROSS JOIN LATERAL pg_catalog.pg_xact_commit_timestamp_origin(t.xmin) AS c(time, "
    "roident)";
constexpr char kOwn[] = "t.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid";
constexpr char kPlace[] = "[COALESCE(c.roident::pg_catalog.int8::pg_catalog.int4, 0) + 1]";

std::string TimeSql(int64_t time_us) {
  if (time_us == INT64_MAX) return "'infinity'::pg_catalog.timestamptz";
  return absl::StrCat("('epoch'::pg_catalog.timestamptz + ", time_us,
                      " * '1 microsecond'::pg_catalog.interval)");
}

std::string OidArray(const TruncateOp& truncate) {
  std::vector<uint32_t> oids;
  for (const std::shared_ptr<const BoundTable>& table : truncate.tables) {
    oids.push_back(table->table().oid);
  }
  return absl::StrCat("'{", absl::StrJoin(oids, ","), "}'::pg_catalog.oid[]");
}

// The tables with their partitions, as relation l(oid).
std::string WithPartitions(const TruncateOp& truncate) {
  return absl::StrCat("SELECT o FROM pg_catalog.unnest(", OidArray(truncate),
                      ") o UNION SELECT p.relid::pg_catalog.oid FROM pg_catalog.unnest(",
                      OidArray(truncate),
                      ") o, pg_catalog.pg_partition_tree(o::pg_catalog.regclass"
                      ") p");
}

// PostgreSQL's ids of the origins of nodes, with that of own changes merged again or without it.
std::string Origins(const ExecutorOptions& options, bool with_own) {
  std::string ids;
  for (const auto& [roident, node] : options.node_of_roident) {
    if (!with_own && node == options.own_node) continue;
    absl::StrAppend(&ids, ids.empty() ? "" : ",", roident);
  }
  return absl::StrCat("'{", ids, "}'::pg_catalog.oid[]");
}

absl::StatusOr<int64_t> Count(const Result& result, int column) {
  int64_t count = 0;
  if (result.rows() != 1 || !absl::SimpleAtoi(result.value(0, column), &count)) {
    return absl::InternalError("a count is not a number");
  }
  return count;
}

}  // namespace

// Once the tables are locked, nothing can come to stand in them. Then in the order of what it
// costs: commit times of rows that are told apart by them alone; a count of what may be newer;
// where that is nothing, a real TRUNCATE; else one DELETE of all that is surely older, and a look
// at each of the others. What cannot be told yet ends it before anything is logged or restarted.
absl::Status Truncater::Run(const TruncateOp& truncate) {
  RETURN_IF_ERROR(Lock(truncate));
  for (const std::shared_ptr<const BoundTable>& table : truncate.tables) {
    RETURN_IF_ERROR(FindRaised(truncate, *table));
  }
  if (!must_wait_.empty()) return absl::OkStatus();
  std::vector<Met> met(truncate.tables.size());
  RETURN_IF_ERROR(Survey(truncate, &met));
  bool can = !options_.merges_own;
  const bool newer =
      std::any_of(met.begin(), met.end(), [](const Met& one) { return one.maybe_newer > 0; });
  if (!newer && can) RETURN_IF_ERROR(AskWhetherItCan(truncate, &can));

  std::vector<int64_t> kept(truncate.tables.size(), 0);
  if (!newer && can) {
    RETURN_IF_ERROR(pipe_->Exec(absl::StrCat(
        "TRUNCATE ", absl::StrJoin(truncate.tables, ", ", [](std::string* out, const auto& table) {
          absl::StrAppend(out, table->Only());
        }))));
    RETURN_IF_ERROR(pipe_->Finish());
  } else {
    for (size_t i = 0; i < truncate.tables.size(); ++i) {
      const BoundTable& table = *truncate.tables[i];
      if (met[i].older > 0) RETURN_IF_ERROR(DeleteOlder(truncate, table));
      if (met[i].maybe_newer == 0) continue;
      kept[i] = met[i].others_maybe_newer;
      if (table.table().has_key) RETURN_IF_ERROR(JudgeRest(truncate, table, &kept[i]));
    }
    if (!must_wait_.empty()) return absl::OkStatus();
  }
  for (size_t i = 0; i < truncate.tables.size(); ++i) {
    // Nothing that stays can have been seen.
    const int64_t removed = std::max<int64_t>(met[i].unseen - kept[i], 0);
    if (removed == 0 && kept[i] == 0) continue;
    ++conflicts_;
    RETURN_IF_ERROR(
        ConflictLog(pipe_, options_.origin)
            .AddTruncate(*truncate.tables[i], truncate.stamp, truncate.end_lsn, removed, kept[i]));
  }
  // Merged again, it has restarted them long ago, and others may have been given out since.
  if (truncate.restart_identity && !options_.merges_own) {
    RETURN_IF_ERROR(RestartIdentity(truncate));
  }
  return pipe_->Finish();
}

// An own TRUNCATE, merged again, has emptied its tables long ago: what is left to be done is to
// delete rows, for which readers need not wait.
absl::Status Truncater::Lock(const TruncateOp& truncate) {
  const char* const mode = options_.merges_own ? "SHARE ROW EXCLUSIVE" : "ACCESS EXCLUSIVE";
  std::vector<const BoundTable*> locked;
  for (const std::shared_ptr<const BoundTable>& table : truncate.tables) {
    locked.push_back(table.get());
    RETURN_IF_ERROR(options_.locks->QueueTableLock(
        pipe_, table->Only(), table->table().DisplayName(), table->table().oid, mode));
  }
  RETURN_IF_ERROR(pipe_->Finish());
  return GuardOwnersCode(pipe_, locked);
}

// Of rows c: written here, under another tool's replication origin, which gave them any time it
// liked.
std::string Truncater::TimeIsMadeUp() const {
  if (!options_.forwards_foreign_origins) return "false";
  return absl::StrCat("COALESCE(c.roident <> 0 AND c.roident <> ALL (", Origins(options_, true),
                      "), false)");
}

// Of rows t: their transactions had ended when capture was last waited for. A row that was frozen
// long ago may show an xid of another age; such are waited for one by one.
std::string Truncater::Captured() const {
  return options_.captured_xid.empty() ? "false"
                                       : absl::StrCat("pg_catalog.age(t.xmin) > pg_catalog.age('",
                                                      options_.captured_xid, "'::pg_catalog.xid)");
}

// Local rows without a key which look older than the truncate, though they are newer. First those
// of transactions that may not be captured yet, which are waited for; once there are none, the
// commit times that stand in the table, and by them, in the store, the stamps that were raised
// above them.
absl::Status Truncater::FindRaised(const TruncateOp& truncate, const BoundTable& table) {
  if (table.table().has_key || options_.merges_own) return absl::OkStatus();
  const std::string older =
      absl::StrCat(" WHERE (", TimeIsMadeUp(), " OR c.time <= ", TimeSql(truncate.stamp.time_us),
                   ") AND c.roident <> ALL (", Origins(options_, true), ")");
  // While an old transaction is open, its xid does not tell of those that have ended since. So they
  // are named one by one: what was there at an attempt before, and was waited for since, is
  // captured.
  const uint32_t oid = table.table().oid;
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("SELECT DISTINCT t.xmin::pg_catalog.text FROM ", table.Only(), kWithCommit,
                   older, " AND NOT (", Captured(), ")"),
      [this, oid](const Result& result) {
        for (int row = 0; row < result.rows(); ++row) {
          const std::string xid(result.value(row, 0));
          const std::string name = conflict::VersionKey(oid, absl::StrCat("written by ", xid));
          if (!found_before_->contains(name)) must_wait_[name] = xid;
        }
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(pipe_->Finish());
  if (!must_wait_.empty()) return absl::OkStatus();
  std::vector<int64_t> times;
  std::vector<int64_t> made_up;
  const auto read_into = [](std::vector<int64_t>* numbers) {
    return [numbers](const Result& result) -> absl::Status {
      for (int row = 0; row < result.rows(); ++row) {
        if (!absl::SimpleAtoi(result.value(row, 0), &numbers->emplace_back())) {
          return absl::InternalError("a commit time is not a number");
        }
      }
      return absl::OkStatus();
    };
  };
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("SELECT DISTINCT (EXTRACT(epoch FROM c.time) * 1000000)::pg_catalog.int8 FROM ",
                   table.Only(), kWithCommit, older, " AND NOT ", TimeIsMadeUp(),
                   " AND c.time >= ", TimeSql(truncate.stamp.time_us - options_.largest_raise_us)),
      read_into(&times)));
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("SELECT DISTINCT (EXTRACT(epoch FROM c.time) * 1000000)::pg_catalog.int8 FROM ",
                   table.Only(), kWithCommit, " WHERE ", TimeIsMadeUp()),
      read_into(&made_up)));
  RETURN_IF_ERROR(pipe_->Finish());
  std::vector<std::string> keys;
  for (const int64_t time_us : times) keys.push_back(conflict::RaisedKey(oid, time_us));
  for (const int64_t time_us : made_up) keys.push_back(conflict::MadeUpKey(oid, time_us));
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> stamps,
                   versions_->Get(keys, group_end_));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!stamps[i].has_value() || stamps[i]->stamp <= truncate.stamp) continue;
    if (i < times.size()) {
      raised_[oid].push_back(times[i]);
    } else {
      newer_made_up_[oid].push_back(made_up[i - times.size()]);
    }
  }
  return absl::OkStatus();
}

// Of rows c, t. This transaction's own come from before the truncate.
//
// An own TRUNCATE has really run here. So whatever users of this node have left in its tables was
// written behind it, by its own transaction or a later one, whatever the commit times say: they may
// lie below the stamps.
std::string Truncater::MaybeNewer(const TruncateOp& truncate, const BoundTable& table) const {
  const std::string time = TimeSql(truncate.stamp.time_us);
  const std::string written_here =
      options_.merges_own ? absl::StrCat("c.roident <> ALL (", Origins(options_, false), ") OR ")
                          : "";
  if (table.table().has_key) {
    return absl::StrCat(
        "(NOT ", kOwn, " AND (c.time IS NULL OR ", written_here, TimeIsMadeUp(),
        " OR c.time >= ", TimeSql(truncate.stamp.time_us - options_.largest_raise_us), "))");
  }
  std::string raised;
  if (const auto found = raised_.find(table.table().oid); found != raised_.end()) {
    raised = absl::StrCat("(c.roident <> ALL (", Origins(options_, true),
                          ") AND (EXTRACT(epoch FROM c.time) * 1000000)::pg_catalog.int8 = ANY ('{",
                          absl::StrJoin(found->second, ","), "}'::pg_catalog.int8[])) OR ");
  }
  // Without versions the commit time decides, and of a row that has lost it, its age: it is old.
  // But not where that would take what was written behind an own TRUNCATE.
  const std::vector<NodeId> nodes =
      ByRoident<NodeId>(options_.node_of_roident, options_.own_node, options_.own_node,
                        [](NodeId node) { return node; });
  const auto newer = newer_made_up_.find(table.table().oid);
  const std::string by_stamp =
      newer == newer_made_up_.end()
          ? "false"
          : absl::StrCat("(EXTRACT(epoch FROM c.time) * 1000000)::pg_catalog.int8 = ANY ('{",
                         absl::StrJoin(newer->second, ","), "}'::pg_catalog.int8[])");
  return absl::StrCat(
      "(NOT ", kOwn, " AND CASE WHEN ", options_.merges_own ? "false" : TimeIsMadeUp(), " THEN ",
      by_stamp, " ELSE COALESCE(", written_here, raised, "c.time > ", time, " OR (c.time = ", time,
      " AND ('{", absl::StrJoin(nodes, ","), "}'::pg_catalog.int4[])", kPlace, " > ",
      truncate.stamp.node, "), ", options_.merges_own ? "true" : "false", ") END)");
}

std::string Truncater::SeenArray(const TruncateOp& truncate) const {
  const auto seen = [&](NodeId node) {
    return TimeSql(SeenUntilTime(*truncate.header, options_.origin.node, node));
  };
  // Who wrote a row under an origin that is no member's is not known.
  const std::vector<std::string> times =
      ByRoident<std::string>(options_.node_of_roident, seen(options_.own_node),
                             "'-infinity'::pg_catalog.timestamptz", seen);
  return absl::StrCat("(ARRAY[", absl::StrJoin(times, ", "), "])");
}

absl::Status Truncater::Survey(const TruncateOp& truncate, std::vector<Met>* met) {
  // What this node's users wrote is nothing that its own TRUNCATE can be at odds with.
  const std::string others =
      options_.merges_own
          ? absl::StrCat("COALESCE(c.roident = ANY (", Origins(options_, false), "), false)")
          : "true";
  for (size_t i = 0; i < truncate.tables.size(); ++i) {
    const BoundTable& table = *truncate.tables[i];
    const std::string newer = MaybeNewer(truncate, table);
    RETURN_IF_ERROR(pipe_->Exec(
        absl::StrCat("SELECT count(*) FILTER (WHERE ", newer, "), count(*) FILTER (WHERE ", newer,
                     " AND ", others, "), count(*) FILTER (WHERE NOT ", newer,
                     "), count(*) FILTER (WHERE NOT ", kOwn, " AND c.time > ", SeenArray(truncate),
                     kPlace, ") FROM ", table.Only(), kWithCommit),
        [&one = (*met)[i]](const Result& result) -> absl::Status {
          ASSIGN_OR_RETURN(one.maybe_newer, Count(result, 0));
          ASSIGN_OR_RETURN(one.others_maybe_newer, Count(result, 1));
          ASSIGN_OR_RETURN(one.older, Count(result, 2));
          ASSIGN_OR_RETURN(one.unseen, Count(result, 3));
          return absl::OkStatus();
        }));
  }
  return pipe_->Finish();
}

// PostgreSQL refuses to truncate what a table outside of the list refers to, replica role or not:
// such a table is not published, or was emptied by the cascade of another node's constraints.
absl::Status Truncater::AskWhetherItCan(const TruncateOp& truncate, bool* can) {
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat(
          "WITH l(oid) AS (", WithPartitions(truncate),
          ") SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND "
          "f.confrelid IN (SELECT oid FROM l) AND f.conrelid NOT IN (SELECT oid FROM l)) AND "
          "(SELECT "
          "pg_catalog.bool_and(pg_catalog.has_table_privilege(o, 'TRUNCATE')) FROM "
          "pg_catalog.unnest(",
          OidArray(truncate), ") o)"),
      [can](const Result& result) {
        *can = result.value(0, 0) == "t";
        return absl::OkStatus();
      }));
  return pipe_->Finish();
}

absl::Status Truncater::DeleteOlder(const TruncateOp& truncate, const BoundTable& table) {
  // Joined with itself by no column of its own: the function is asked for each row's xmin.
  const std::string older =
      absl::StrCat(table.Only(), " AS t WHERE NOT (SELECT ", MaybeNewer(truncate, table),
                   " FROM pg_catalog.pg_xact_commit_timestamp_origin(t.xmin) AS c(time, roident))");
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("DELETE FROM ", older)));
  // The table is locked: what is left of them was left out.
  RETURN_IF_ERROR(pipe_->Exec(
      absl::StrCat("SELECT EXISTS (SELECT FROM ", older, ")"), [&table](const Result& result) {
        return result.value(0, 0) == "f" ? absl::OkStatus() : LeftOut(table.table(), kDeletesRows);
      }));
  return pipe_->Finish();
}

// The table is locked: what one cursor shows is all there is.
absl::Status Truncater::JudgeRest(const TruncateOp& truncate, const BoundTable& table,
                                  int64_t* kept) {
  std::string columns;
  for (const int column : table.table().key) {
    const postgres::ColumnInfo& info = table.table().columns[column];
    absl::StrAppend(&columns, "t.", postgres::QuoteIdentifier(info.name),
                    info.binary ? "" : "::pg_catalog.text", ", ");
  }
  const std::string cursor = absl::StrCat("bdr_rest_", table.id());
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat(
      "DECLARE ", cursor, " NO SCROLL CURSOR FOR SELECT ", columns,
      FoundSql(
          {.place = "0", .time = "c.time", .roident = "c.roident", .tells_long_stable = false}),
      ", (", Captured(), ")::pg_catalog.text FROM ", table.Only(), kWithCommit, " WHERE ",
      MaybeNewer(truncate, table))));
  *kept = 0;
  int rows = 0;
  do {
    // Named by the table: a prepared FETCH keeps the shape of its first result.
    RETURN_IF_ERROR(agent::Run(
        pipe_,
        MakeStatement(table, OtherStatement::kFetchRest,
                      [&] { return absl::StrCat("FETCH ", kRowsAtOnce, " FROM ", cursor); }),
        {},
        [&](const Result& result) -> absl::Status {
          rows = result.rows();
          return JudgeSome(truncate, table, result, kept);
        },
        /*binary_result=*/true));
    RETURN_IF_ERROR(pipe_->Finish());
  } while (rows > 0);
  RETURN_IF_ERROR(pipe_->Exec(absl::StrCat("CLOSE ", cursor)));
  return pipe_->Finish();
}

// First the rows' names, so that the store is asked once for all of them; then each is judged; what
// dies is deleted together.
absl::Status Truncater::JudgeSome(const TruncateOp& truncate, const BoundTable& table,
                                  const Result& rows, int64_t* kept) {
  const std::vector<int>& key = table.table().key;
  const int after_key = static_cast<int>(key.size());
  std::vector<LocalRow> found;
  std::vector<std::string> version_keys;
  for (int i = 0; i < rows.rows(); ++i) {
    LocalRow row(table.table().columns.size());
    for (int k = 0; k < after_key; ++k) {
      const bool binary = table.table().columns[key[k]].binary;
      row[key[k]] = {.kind = binary ? ColumnKind::kBinary : ColumnKind::kText,
                     .data = rows.value(i, k)};
    }
    ASSIGN_OR_RETURN(const std::string canonical, LocalKey(table.table(), row));
    version_keys.push_back(conflict::VersionKey(table.table().oid, canonical));
    found.push_back(std::move(row));
  }
  ASSIGN_OR_RETURN(const std::vector<std::optional<Version>> newest,
                   versions_->Get(version_keys, group_end_));

  const conflict::TruncateChange change{.stamp = truncate.stamp,
                                        .own_node = options_.own_node,
                                        .merged_again = options_.merges_own,
                                        .largest_raise_us = options_.largest_raise_us};
  std::vector<const LocalRow*> dies;
  for (int i = 0; i < rows.rows(); ++i) {
    const FoundRow row = found_rows_.At(rows, i, after_key);
    const auto waited = found_before_->find(version_keys[i]);
    const conflict::TruncateKnown known{
        .newest = newest[i].has_value() ? newest[i]->stamp : conflict::kNever,
        .captured = rows.value(i, after_key + kFoundColumns) == "true" ||
                    (waited != found_before_->end() && waited->second == row.xmin),
        .waited = !options_.captured_xid.empty()};
    switch (conflict::JudgeTruncated(change, row.at, known)) {
      case TruncateVerdict::kDies:
        dies.push_back(&found[i]);
        break;
      case TruncateVerdict::kStays:
        if (!options_.merges_own ||
            (newest[i].has_value() && newest[i]->stamp.node != options_.own_node)) {
          ++*kept;
        }
        break;
      case TruncateVerdict::kWait:
        must_wait_[version_keys[i]] = row.xmin;
        break;
    }
  }
  if (dies.empty() || !must_wait_.empty()) return absl::OkStatus();
  std::vector<std::string> params;
  for (size_t k = 0; k < key.size(); ++k) {
    ASSIGN_OR_RETURN(std::string param, table.EncodeKeyColumn(k, dies));
    params.push_back(std::move(param));
  }
  return agent::Run(pipe_, DeleteStatement(table, /*checked=*/false), params,
                    AllWritten(table.table(), kDeletesRows, dies.size()));
}

absl::Status Truncater::RestartIdentity(const TruncateOp& truncate) {
  return pipe_->Exec(
      absl::StrCat(
          "WITH l(oid) AS (", WithPartitions(truncate),
          ") SELECT pg_catalog.format('%I.%I', n.nspname, s.relname), u.may, CASE WHEN u.may THEN "
          "pg_catalog.setval(s.oid::pg_catalog.regclass, q.seqstart, false) END FROM "
          "pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = "
          "'S' "
          "JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace JOIN pg_catalog.pg_sequence q "
          "ON "
          "q.seqrelid = s.oid, LATERAL (SELECT pg_catalog.has_sequence_privilege(s.oid, 'UPDATE') "
          "AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) u(may) WHERE d.classid = "
          "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = "
          "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid IN (SELECT oid FROM l) AND "
          "d.refobjsubid > 0 AND d.deptype IN ('a', 'i')"),
      [](const Result& result) {
        for (int i = 0; i < result.rows(); ++i) {
          if (result.value(i, 1) == "t") continue;
          LogWarning("apply", {{"sequence", std::string(result.value(i, 0))}},
                     absl::StrCat("not restarted by TRUNCATE ... RESTART IDENTITY as on the node "
                                  "where it ran: the agent's role lacks UPDATE on it; GRANT UPDATE "
                                  "ON SEQUENCE ",
                                  result.value(i, 0), " TO the agent's role"));
        }
        return absl::OkStatus();
      });
}

}  // namespace bdr::agent
