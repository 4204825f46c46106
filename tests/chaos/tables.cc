#include "tests/chaos/tables.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/substitute.h"

namespace bdr::chaos {
namespace {

struct KeyForm {
  std::vector<std::pair<std::string, std::string>> columns;  // name and type
  std::string expression;                                    // of the number, written $
  std::string lookup = {};                                   // where it is not the same
};

const std::vector<KeyForm>& KeyForms() {
  static const auto* const forms = new std::vector<KeyForm>{
      {{{"k", "int"}}, "($)::int"},
      {{{"k", "bigint"}}, "($)::bigint * 1000000007"},
      {{{"k", "text"}}, "'key ' || ($)::text"},
      {{{"k", "uuid"}}, "md5(($)::text)::uuid"},
      // Equal values of different looks: 7, 7.0 and 7.00 are one key.
      {{{"k", "numeric"}}, "round(($)::numeric, (floor(random() * 4))::int)", "($)::numeric"},
      {{{"a", "int"}, {"b", "text"}}, "(($) % 2)::int, 'b' || ($)::text"},
      {{{"a", "date"}, {"b", "smallint"}}, "'2020-01-01'::date + ($)::int, (($) % 7)::smallint"},
  };
  return *forms;
}

const std::vector<std::string>& ValueTypes() {
  static const auto* const types = new std::vector<std::string>{
      "int",    "numeric",    "text",        "uuid",  "jsonb",   "int[]",
      "text[]", "chaos_mood", "timestamptz", "bytea", "boolean", "double precision"};
  return *types;
}

}  // namespace

std::string TypesDdl() { return "CREATE TYPE chaos_mood AS ENUM ('sad', 'ok', 'happy');\n"; }

std::string ValueColumn::RandomValue(Random& random) const {
  const int64_t n = random.Below(100000);
  if (random.OneIn(12)) return "NULL";
  if (type == "numeric") return absl::StrCat("'", n, ".", random.Below(100), "'::numeric");
  if (type == "text") return absl::StrCat("'text ", n, " äß'");
  if (type == "uuid") return absl::StrCat("md5('", n, "')::uuid");
  if (type == "jsonb") return absl::StrCat("'{\"n\": ", n, ", \"a\": [1, null]}'::jsonb");
  if (type == "int[]") return absl::StrCat("'{", n, ",NULL,3}'::int[]");
  if (type == "text[]") return absl::StrCat("ARRAY['x', NULL, '", n, "']");
  if (type == "chaos_mood") {
    return absl::StrCat("'", random.Pick<std::string>({"sad", "ok", "happy"}), "'::chaos_mood");
  }
  if (type == "timestamptz") return absl::StrCat("to_timestamp(", n, ")");
  if (type == "bytea") return absl::StrCat("decode(md5('", n, "'), 'hex')");
  if (type == "boolean") return n % 2 == 0 ? "true" : "false";
  if (type == "double precision") return absl::StrCat(n, " / 3.0::float8");
  // Few values, which many rows want.
  if (type == "claimed") return absl::StrCat(random.Below(8));
  // Too large to stand in the row itself.
  if (type == "large") return absl::StrCat("repeat(md5('", n, "'), 120)");
  return absl::StrCat(n);
}

std::string TableSpec::KeyColumns() const { return absl::StrJoin(key, ", "); }

std::string TableSpec::KeyCondition(int64_t number) const {
  return absl::StrCat("(", KeyColumns(), ") = (",
                      absl::StrReplaceAll(key_lookup, {{"$", absl::StrCat(number)}}), ")");
}

TableSpec RandomTable(Random& random, const std::string& name) {
  TableSpec table;
  table.name = name;
  const KeyForm& form = random.Pick(KeyForms());
  std::vector<std::string> columns;
  for (const auto& [column, type] : form.columns) {
    columns.push_back(absl::StrCat(column, " ", type));
    table.key.push_back(column);
  }
  table.key_expression = form.expression;
  table.key_lookup = form.lookup.empty() ? form.expression : form.lookup;
  columns.push_back("w bigint NOT NULL");
  columns.push_back("prev bigint");
  const int64_t values = random.Between(1, 5);
  for (int64_t i = 0; i < values; ++i) {
    table.values.push_back({.name = absl::StrCat("v", i), .type = random.Pick(ValueTypes())});
    columns.push_back(absl::StrCat("v", i, " ", table.values.back().type));
  }
  const bool large = random.Percent(40);
  if (large) {
    table.values.push_back({.name = "large", .type = "large"});
    columns.push_back("large text");
  }
  // Of a partitioned table a unique index must hold the key of its partitions.
  const bool partitioned = random.Percent(25);
  const int64_t claims = partitioned || random.OneIn(2) ? 0 : random.Between(1, 2);
  for (int64_t i = 0; i < claims; ++i) {
    table.values.push_back({.name = absl::StrCat("u", i), .type = "claimed"});
    columns.push_back(absl::StrCat("u", i, " int"));
  }
  columns.push_back(absl::StrCat("PRIMARY KEY (", table.KeyColumns(), ")"));
  table.ddl = absl::StrCat("CREATE TABLE ", name, " (", absl::StrJoin(columns, ", "), ")");
  if (partitioned) {
    absl::StrAppend(&table.ddl, " PARTITION BY HASH (", table.key.front(), ");\n");
    for (int part = 0; part < 3; ++part) {
      absl::StrAppend(&table.ddl, "CREATE TABLE ", name, "_", part, " PARTITION OF ", name,
                      " FOR VALUES WITH (MODULUS 3, REMAINDER ", part, ");\n");
    }
  } else {
    absl::StrAppend(&table.ddl, ";\n");
  }
  std::vector<std::string> relations = {name};
  if (partitioned) relations = {name, name + "_0", name + "_1", name + "_2"};
  // Without it, large values are left out of updates that do not change them.
  const bool full = random.Percent(30);
  for (const std::string& relation : relations) {
    if (large && (relation != name || !partitioned)) {
      absl::StrAppend(&table.ddl, "ALTER TABLE ", relation,
                      " ALTER COLUMN large SET STORAGE EXTERNAL;\n");
    }
    if (full) absl::StrAppend(&table.ddl, "ALTER TABLE ", relation, " REPLICA IDENTITY FULL;\n");
  }
  for (int64_t i = 0; i < claims; ++i) {
    absl::StrAppend(
        &table.ddl, "CREATE UNIQUE INDEX ON ", name,
        absl::Substitute(
            random.Pick<std::string>({" (u$0);\n", " (u$0) WHERE w % 2 = 0;\n", " ((u$0 % 5));\n"}),
            i));
  }
  table.unique_values = claims > 0;
  table.hot_keys = static_cast<int>(random.Between(2, 10));
  return table;
}

std::string TableSpec::KeyExpression(const std::string& number) const {
  return absl::StrReplaceAll(key_expression, {{"$", number}});
}

}  // namespace bdr::chaos
