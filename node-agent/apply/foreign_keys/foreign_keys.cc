#include "node-agent/apply/foreign_keys/foreign_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "node-agent/apply/write/conflict_log.h"
#include "node-agent/apply/write/run_statement.h"
#include "node-agent/tables/found_rows.h"
#include "node-agent/tables/statements.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

using Json = nlohmann::json;
using postgres::QuoteIdentifier;
using postgres::QuoteLiteral;
using postgres::Result;

// A constraint that is added is looked at after so long at the latest.
constexpr absl::Duration kLookInterval = absl::Seconds(1);

// Every change of a constraint writes a new version of its row, with the xid of who wrote it. To
// read what 2,000 of them say takes the server 190 ms, this takes it one.
constexpr char kFingerprintSql[] =
    "SELECT count(*) || ':' || COALESCE(sum(hash_record_extended(ROW(oid, xmin), 0)), 0)"
    " FROM pg_constraint WHERE contype = 'f'";

// The columns of an index's key with the operators by which they are equal.
constexpr char kKeySql[] =
    "(SELECT jsonb_agg(jsonb_build_array(a.attname, format('OPERATOR(%%I.%%s)', "
    "    (SELECT nspname FROM pg_namespace WHERE oid = o.oprnamespace), o.oprname)) ORDER BY k.n)"
    " FROM (SELECT ii.* FROM pg_index ii WHERE ii.indrelid = c.%s"
    "       AND (ii.indisreplident OR ii.indisprimary) AND ii.indisvalid"
    "       ORDER BY ii.indisreplident DESC LIMIT 1) AS i"
    " CROSS JOIN LATERAL unnest(i.indkey, i.indclass) WITH ORDINALITY AS k(attnum, opclass, n)"
    " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    " JOIN pg_opclass oc ON oc.oid = k.opclass"
    " JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3"
    "      AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype"
    " JOIN pg_operator o ON o.oid = ao.amopopr"
    " WHERE k.n <= i.indnkeyatts)";

}  // namespace

std::string RowOfSql(absl::string_view type, absl::string_view row,
                     const std::vector<std::string>& columns) {
  std::vector<std::string> members;
  for (const std::string& column : columns) {
    const std::string name = QuoteLiteral(column);
    members.push_back(absl::StrCat(name, ", ", row, " -> ", name));
  }
  return absl::StrCat("pg_catalog.jsonb_populate_record(NULL::", type,
                      ", pg_catalog.jsonb_build_object(", absl::StrJoin(members, ", "), "))");
}

ForeignKeyPolicy ParseForeignKeyPolicy(absl::string_view text) {
  for (const ForeignKeyPolicy policy :
       {ForeignKeyPolicy::kCascade, ForeignKeyPolicy::kSetNull, ForeignKeyPolicy::kRestoreParent}) {
    if (text == ToString(policy)) return policy;
  }
  return ForeignKeyPolicy::kLog;
}

absl::string_view ToString(ForeignKeyPolicy policy) {
  switch (policy) {
    case ForeignKeyPolicy::kLog:
      return "log";
    case ForeignKeyPolicy::kCascade:
      return "cascade";
    case ForeignKeyPolicy::kSetNull:
      return "set_null";
    case ForeignKeyPolicy::kRestoreParent:
      return "restore_parent";
  }
  return "log";
}

std::string ForeignKey::Table::Type() const {
  return absl::StrCat(QuoteIdentifier(schema), ".", QuoteIdentifier(name));
}

std::string ForeignKey::Table::Only() const {
  return absl::StrCat(partitioned ? "" : "ONLY ", Type());
}

std::string ForeignKey::Table::DisplayName() const { return absl::StrCat(schema, ".", name); }

std::string ForeignKey::OrphanCondition(absl::string_view child_row) const {
  std::vector<std::string> set;
  std::vector<std::string> equal;
  for (const Pair& pair : pairs) {
    const std::string value = absl::StrCat(child_row, ".", QuoteIdentifier(pair.child_column));
    set.push_back(absl::StrCat(value, " IS NOT NULL"));
    equal.push_back(
        absl::StrCat("fk_parent.", QuoteIdentifier(pair.parent_column), " ", pair.op, " ", value));
  }
  return absl::StrCat(absl::StrJoin(set, " AND "), " AND NOT EXISTS (SELECT FROM ", parent.Only(),
                      " AS fk_parent WHERE ", absl::StrJoin(equal, " AND "), ")");
}

bool ForeignKey::references_beside_key() const {
  return std::any_of(pairs.begin(), pairs.end(), [this](const Pair& pair) {
    return std::find(parent_key.begin(), parent_key.end(), pair.parent_column) == parent_key.end();
  });
}

std::string ForeignKeysSql() {
  std::string child_key(kKeySql);
  std::string parent_key(kKeySql);
  const auto fill = [](std::string* sql, const char* column) {
    sql->replace(sql->find("c.%s"), 4, absl::StrCat("c.", column));
    for (size_t at = 0; (at = sql->find("%%")) != std::string::npos;) sql->replace(at, 2, "%");
  };
  fill(&child_key, "conrelid");
  fill(&parent_key, "confrelid");
  return absl::StrCat(
      "SELECT jsonb_build_object('name', c.conname,"
      " 'child', jsonb_build_array(c.conrelid::int8, cn.nspname, cc.relname, cc.relkind),"
      " 'parent', jsonb_build_array(c.confrelid::int8, pn.nspname, pc.relname, pc.relkind),"
      " 'pairs', (SELECT jsonb_agg(jsonb_build_array(ca.attname, pa.attname,"
      "    format('OPERATOR(%I.%s)', (SELECT nspname FROM pg_namespace"
      "           WHERE oid = o.oprnamespace), o.oprname)) ORDER BY k.n)"
      "   FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k(f, p, op, n)"
      "   JOIN pg_attribute ca ON ca.attrelid = c.conrelid AND ca.attnum = k.f"
      "   JOIN pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = k.p"
      "   JOIN pg_operator o ON o.oid = k.op),"
      " 'child_key', ",
      child_key, ", 'parent_key', ", parent_key,
      ", 'parent_columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a"
      "   WHERE a.attrelid = c.confrelid AND a.attnum > 0 AND NOT a.attisdropped"
      "   AND a.attgenerated = ''))"
      " FROM pg_constraint c"
      " JOIN pg_class cc ON cc.oid = c.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace"
      " JOIN pg_class pc ON pc.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace"
      " WHERE c.contype = 'f' AND c.conparentid = 0 AND cn.nspname <> 'bdr'");
}

// Table by table, then the pairs of columns, then what is known of their keys, as ForeignKeysSql()
// puts them; any field that is missing makes the whole description damaged.
absl::StatusOr<ForeignKey> ParseForeignKey(std::string text) {
  const absl::Status damaged = absl::DataLossError("a foreign key's description is damaged");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged;
  const auto table = [&json](const char* which, ForeignKey::Table* out) {
    const Json& from = json.value(which, Json());
    if (!from.is_array() || from.size() != 4 || !from[0].is_number()) return false;
    *out = {.oid = from[0].get<uint32_t>(),
            .schema = from[1].get<std::string>(),
            .name = from[2].get<std::string>(),
            .partitioned = from[3] == "p"};
    return true;
  };
  ForeignKey key;
  key.name = json.value("name", "");
  if (!table("child", &key.child) || !table("parent", &key.parent)) return damaged;
  const auto strings = [](const Json& list, size_t size) {
    return list.is_array() && list.size() == size &&
           std::all_of(list.begin(), list.end(), [](const Json& each) { return each.is_string(); });
  };
  for (const Json& pair : json.value("pairs", Json::array())) {
    if (!strings(pair, 3)) return damaged;
    key.pairs.push_back({pair[0], pair[1], pair[2]});
  }
  if (key.pairs.empty()) return damaged;
  if (json.contains("child_key") && json["child_key"].is_array()) {
    for (const Json& column : json["child_key"]) {
      if (!strings(column, 2)) return damaged;
      key.child_key.push_back({column[0], column[1]});
    }
  }
  if (json.contains("parent_key") && json["parent_key"].is_array()) {
    for (const Json& column : json["parent_key"]) {
      if (!strings(column, 2)) return damaged;
      key.parent_key.push_back(column[0]);
    }
  }
  for (const Json& column : json.value("parent_columns", Json::array())) {
    if (!column.is_string()) return damaged;
    key.parent_columns.push_back(column);
  }
  key.json = std::move(text);
  return key;
}

void ForeignKeys::Reset() {
  looked_at_ = absl::InfinitePast();
  fingerprint_.clear();
}

absl::Status ForeignKeys::Refresh(uint64_t generation, Pipe* pipe) {
  const absl::Time now = SteadyNow();
  if (generation == generation_ && now - looked_at_ < kLookInterval) return absl::OkStatus();
  // Taken before what follows: what changes later is seen by the next look.
  std::string fingerprint;
  RETURN_IF_ERROR(pipe->Exec(kFingerprintSql, [&fingerprint](const Result& result) {
    fingerprint = std::string(result.value(0, 0));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(pipe->Finish());
  looked_at_ = now;
  if (generation == generation_ && fingerprint == fingerprint_) return absl::OkStatus();
  std::vector<ForeignKey> keys;
  RETURN_IF_ERROR(pipe->Exec(ForeignKeysSql(), [&keys](const Result& result) -> absl::Status {
    for (int i = 0; i < result.rows(); ++i) {
      ASSIGN_OR_RETURN(ForeignKey key, ParseForeignKey(std::string(result.value(i, 0))));
      keys.push_back(std::move(key));
    }
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(pipe->Finish());
  generation_ = generation;
  fingerprint_ = std::move(fingerprint);
  keys_ = std::move(keys);
  by_child_.clear();
  by_parent_.clear();
  for (const ForeignKey& key : keys_) {
    by_child_[key.child.oid].push_back(&key);
    by_parent_[key.parent.oid].push_back(&key);
  }
  return absl::OkStatus();
}

const std::vector<const ForeignKey*>* ForeignKeys::Find(
    const absl::flat_hash_map<uint32_t, std::vector<const ForeignKey*>>& by, uint32_t oid) const {
  const auto found = by.find(oid);
  return found == by.end() ? nullptr : &found->second;
}

absl::Status ForeignKeys::Before(GroupPlan& plan, Pipe* pipe) {
  gone_.clear();
  orphans_ = 0;
  queued_ = false;
  if (by_parent_.empty()) return absl::OkStatus();
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) {
      const uint32_t oid = ops.table->table().oid;
      const auto* const keys = Find(by_parent_, oid);
      if (keys == nullptr || !ops.table->table().has_key) continue;
      const bool updates = std::any_of(keys->begin(), keys->end(), [](const ForeignKey* key) {
        return key->references_beside_key();
      });
      std::vector<const LocalRow*> rows;
      const auto fetch = [&]() -> absl::Status {
        if (rows.empty()) return absl::OkStatus();
        ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(*ops.table, rows));
        rows.clear();
        std::vector<std::string>& gone = gone_[oid];
        return Run(pipe, FindStatement(*ops.table, /*lock=*/false), params,
                   [&gone](const Result& result) {
                     for (int i = 0; i < result.rows(); ++i)
                       gone.emplace_back(result.value(i, kFoundColumns));
                     return absl::OkStatus();
                   });
      };
      for (const RowOp& op : ops.rows) {
        if (op.version_key.empty() || (!op.is_delete() && !updates)) continue;
        rows.push_back(&op.row);
        if (rows.size() == kRowsPerStatement) RETURN_IF_ERROR(fetch());
      }
      RETURN_IF_ERROR(fetch());
    }
  }
  return gone_.empty() ? absl::OkStatus() : pipe->Finish();
}

// `from`: SQL that gives columns `child` and `parent`, jsonb, of the orphans. Its parameters come
// first, then the stamp and the origin of what is applied. One statement finds the orphans, logs
// each, and leaves what the policy is to do about it: all of that or nothing is committed.
absl::Status ForeignKeys::QueueChecks(const ForeignKey& key, const std::string& from,
                                      std::vector<std::string> params, const GroupPlan& plan,
                                      Pipe* pipe) {
  const size_t own = params.size();
  params.push_back(EncodeInt8(plan.last().stamp.time_us));
  params.push_back(EncodeInt4(plan.last().stamp.node));
  std::vector<std::string> key_object;
  for (const ForeignKey::KeyColumn& column : key.child_key) {
    key_object.push_back(
        absl::StrCat(QuoteLiteral(column.name), ", o.child -> ", QuoteLiteral(column.name)));
  }
  std::string sql = absl::StrCat(
      "WITH orphan AS (", from, "), logged AS (",
      InsertConflictSql(
          {.relation = QuoteLiteral(key.child.DisplayName()),
           .kind = Word(conflict::ConflictKind::kForeignKeyOrphaned),
           .key = key_object.empty() ? ""
                                     : absl::StrCat("pg_catalog.jsonb_build_object(",
                                                    absl::StrJoin(key_object, ", "), ")"),
           .local_row = "o.child",
           .remote_row = "o.parent",
           .remote_stamp = TimeOfMicros(absl::StrCat("$", own + 1, "::pg_catalog.int8")),
           .remote_node = absl::StrCat("$", own + 2, "::pg_catalog.int4"),
           .winner = Word(conflict::Winner::kLocal),
           .rule = Word(conflict::Rule::kForeignKey),
           .constraint_name = QuoteLiteral(key.name)}),
      " FROM orphan AS o)");
  const ForeignKeyPolicy policy = policy_of_(key.child.DisplayName(), key.name);
  const bool acts = policy != ForeignKeyPolicy::kLog && !key.child_key.empty();
  if (acts) {
    absl::StrAppend(&sql,
                    ", queued AS (INSERT INTO bdr.fk_action (policy, foreign_key, child, parent)"
                    " SELECT ",
                    QuoteLiteral(std::string(ToString(policy))), ", ", QuoteLiteral(key.json),
                    "::pg_catalog.jsonb, o.child, o.parent FROM orphan AS o)");
  }
  absl::StrAppend(&sql, " SELECT pg_catalog.count(*) FROM orphan");
  return Run(pipe, MakeStatement(std::move(sql)), params,
             [this, acts](const Result& result) -> absl::Status {
               uint64_t found = 0;
               if (!absl::SimpleAtoi(result.value(0, 0), &found)) {
                 return absl::InternalError("a count is no number");
               }
               orphans_ += found;
               queued_ |= acts && found > 0;
               return absl::OkStatus();
             });
}

// Three looks, queued one after the other and answered together. At children of rows that the group
// took away, always, as the group's origin could not see them; at the group's own rows whose
// parents may be missing, only where something stands here that it had not seen; and at all
// children of a table that it truncated, of which few are left. Rows go by hundreds in one
// statement.
absl::Status ForeignKeys::After(GroupPlan& plan, bool unseen, Pipe* pipe) {
  orphans_ = 0;
  queued_ = false;
  if (keys_.empty()) return absl::OkStatus();
  for (const auto& [oid, rows] : gone_) {
    for (const ForeignKey* key : *Find(by_parent_, oid)) {
      std::vector<std::string> columns;
      std::vector<std::string> values;
      std::vector<std::string> equal;
      for (const ForeignKey::Pair& pair : key->pairs) {
        columns.push_back(pair.parent_column);
        const std::string name = absl::StrCat("k", values.size());
        values.push_back(absl::StrCat("v.", QuoteIdentifier(pair.parent_column), " AS ", name));
        equal.push_back(
            absl::StrCat("gone.", name, " ", pair.op, " c.", QuoteIdentifier(pair.child_column)));
      }
      for (size_t from = 0; from < rows.size(); from += kRowsPerStatement) {
        const size_t count = std::min(kRowsPerStatement, rows.size() - from);
        RETURN_IF_ERROR(QueueChecks(
            *key,
            // Materialized, or the parents' whole rows are parsed again for every child.
            absl::StrCat("WITH gone AS MATERIALIZED (SELECT r.n, ", absl::StrJoin(values, ", "),
                         " FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS r(j, n)"
                         " CROSS JOIN LATERAL ",
                         RowOfSql(key->parent.Type(), "r.j::pg_catalog.jsonb", columns),
                         " AS v) SELECT bdr.row_as_jsonb(c.*) AS child,"
                         " ($1::pg_catalog.text[])[gone.n]::pg_catalog.jsonb AS parent FROM gone"
                         " JOIN ",
                         key->child.Only(), " AS c ON ", absl::StrJoin(equal, " AND "), " WHERE ",
                         key->OrphanCondition("c")),
            {EncodeTextArray(absl::MakeConstSpan(rows).subspan(from, count))}, plan, pipe));
      }
    }
  }
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) {
      const auto* const keys = unseen ? Find(by_child_, ops.table->table().oid) : nullptr;
      if (keys == nullptr || !ops.table->table().has_key) continue;
      std::vector<const LocalRow*> rows;
      const auto check = [&]() -> absl::Status {
        if (rows.empty()) return absl::OkStatus();
        ASSIGN_OR_RETURN(const std::vector<std::string> params, KeyParams(*ops.table, rows));
        rows.clear();
        for (const ForeignKey* key : *keys) {
          std::vector<std::string> columns;
          for (const ForeignKey::Pair& pair : key->pairs) columns.push_back(pair.child_column);
          RETURN_IF_ERROR(QueueChecks(
              *key,
              absl::StrCat("SELECT f.j AS child, NULL::pg_catalog.jsonb AS parent FROM (",
                           ops.table->FindSql(/*lock=*/false, /*with_rows=*/true),
                           ") AS f(place, own, xmin, us, roident, j) CROSS JOIN LATERAL ",
                           RowOfSql(key->child.Type(), "f.j", columns), " AS c WHERE ",
                           key->OrphanCondition("c")),
              params, plan, pipe));
        }
        return absl::OkStatus();
      };
      for (const RowOp& op : ops.rows) {
        if (op.version_key.empty() || op.is_delete()) continue;
        rows.push_back(&op.row);
        if (rows.size() == kRowsPerStatement) RETURN_IF_ERROR(check());
      }
      RETURN_IF_ERROR(check());
    }
    if (!segment.truncate.has_value()) continue;
    for (const auto& table : segment.truncate->tables) {
      const auto* const keys = Find(by_parent_, table->table().oid);
      if (keys == nullptr) continue;
      // What is left of the children is newer than the truncate, and not much.
      for (const ForeignKey* key : *keys) {
        RETURN_IF_ERROR(QueueChecks(
            *key,
            absl::StrCat("SELECT bdr.row_as_jsonb(c.*) AS child, NULL::pg_catalog.jsonb AS parent"
                         " FROM ",
                         key->child.Only(), " AS c WHERE ", key->OrphanCondition("c")),
            {}, plan, pipe));
      }
    }
  }
  return pipe->Finish();
}

}  // namespace bdr::agent
