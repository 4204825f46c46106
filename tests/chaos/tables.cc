#include "tests/chaos/tables.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/substitute.h"
#include "tests/chaos/policies.h"

namespace bdr::chaos {
namespace {

// A key that is stored out of line.
constexpr char kFarKey[] = "far_k";

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
      {{{"k", "jsonb"}},
       "jsonb_build_object('k', round(($)::numeric, (floor(random() * 4))::int))",
       "jsonb_build_object('k', ($)::numeric)"},
      {{{"k", "interval"}},
       "CASE WHEN random() < 0.5 THEN make_interval(months => ($)::int)"
       " ELSE make_interval(days => 30 * ($)::int) END",
       "make_interval(months => ($)::int)"},
      {{{"k", "int4range"}}, "int4range(($)::int, ($)::int + 3)"},
      {{{kFarKey, "text"}}, "'key ' || ($)::text || repeat('k', 2300)"},
      {{{"a", "int"}, {"b", "text"}}, "(($) % 2)::int, 'b' || ($)::text"},
      {{{"a", "date"}, {"b", "smallint"}}, "'2020-01-01'::date + ($)::int, (($) % 7)::smallint"},
  };
  return *forms;
}

struct UniqueForm {
  std::string ddl;  // of a column written $0
  bool constraint = false;
  bool deferrable = false;
};

const std::vector<UniqueForm>& UniqueForms() {
  static const auto* const forms = new std::vector<UniqueForm>{
      {.ddl = "($0)"},
      {.ddl = "($0) WHERE w % 2 = 0"},
      {.ddl = "(($0 % 5))"},
      {.ddl = "UNIQUE ($0) DEFERRABLE", .constraint = true, .deferrable = true},
      {.ddl = "UNIQUE ($0) DEFERRABLE INITIALLY DEFERRED", .constraint = true, .deferrable = true},
      {.ddl = "EXCLUDE USING hash ($0 WITH =)", .constraint = true}};
  return *forms;
}

const std::vector<UniqueForm>& ExclusionForms() {
  static const auto* const forms = new std::vector<UniqueForm>{
      {.ddl = "EXCLUDE USING gist (r WITH &&)"},
      {.ddl = "EXCLUDE USING spgist (r WITH &&)"},
      {.ddl = "EXCLUDE USING gist (r WITH &&) WHERE (w % 2 = 0)"},
      {.ddl = "EXCLUDE USING gist ((r * '[0,20)'::int4range) WITH &&)"},
      {.ddl = "EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY DEFERRED", .deferrable = true}};
  return *forms;
}

const std::vector<KeyForm>& PlainKeyForms() {
  static const auto* const forms = [] {
    auto* const plain = new std::vector<KeyForm>(KeyForms());
    std::erase_if(*plain, [](const KeyForm& form) { return !form.lookup.empty(); });
    return plain;
  }();
  return *forms;
}

const std::vector<std::string>& ValueTypes() {
  static const auto* const types = new std::vector<std::string>{
      "int",     "numeric",          "text",       "uuid",        "jsonb",
      "int[]",   "text[]",           "chaos_mood", "timestamptz", "bytea",
      "boolean", "double precision", "json"};
  return *types;
}

// Values that travel as text; those of the last type make capture read all others as text as well.
const std::vector<std::string>& TextTypes() {
  static const auto* const types =
      new std::vector<std::string>{"tsquery", "regclass", "regclass[]", "aclitem", "aclitem[]"};
  return *types;
}

// Adds the columns that reference a parent's key, and what becomes of them when it goes.
void AddReference(Random& random, const TableSpec& parent, TableSpec* table,
                  std::vector<std::string>* columns) {
  std::vector<std::string> names;
  for (size_t i = 0; i < parent.key.size(); ++i) {
    names.push_back("p_" + parent.key[i]);
    columns->push_back(absl::StrCat(names.back(), " ", parent.key_types[i]));
  }
  const std::string joined = absl::StrJoin(names, ", ");
  table->values.push_back({.name = joined,
                           .type = "reference",
                           .referenced = parent.key_lookup,
                           .numbers = parent.hot_keys});
  const std::string action =
      random.Pick<std::string>({"", "", " ON DELETE CASCADE", " ON DELETE SET NULL"});
  table->cascades = absl::StrContains(action, "CASCADE");
  columns->push_back(absl::StrCat("FOREIGN KEY (", joined, ") REFERENCES ", parent.name, action));
}

}  // namespace

std::string TypesDdl() { return "CREATE TYPE chaos_mood AS ENUM ('sad', 'ok', 'happy');\n"; }

std::string ValueColumn::RandomValue(Random& random) const {
  if (type == "reference") {
    if (random.OneIn(5)) return absl::StrContains(name, ',') ? "NULL, NULL" : "NULL";
    return absl::StrReplaceAll(referenced, {{"$", absl::StrCat(random.Below(numbers))}});
  }
  const int64_t n = random.Below(100000);
  if (random.OneIn(12)) return "NULL";
  if (type == "numeric") return absl::StrCat("'", n, ".", random.Below(100), "'::numeric");
  if (type == "text") return absl::StrCat("'text ", n, " äß'");
  if (type == "uuid") return absl::StrCat("md5('", n, "')::uuid");
  if (type == "jsonb") return absl::StrCat("'{\"n\": ", n, ", \"a\": [1, null]}'::jsonb");
  // Which jsonb could not hold, so that the conflict log has to do without.
  if (type == "json") {
    return absl::StrCat("'{\"n\": ", n, ", \"a\": ",
                        random.Pick<std::string>({"\"\\u0000\"", "\"\\ud800\"", "1e300000"}),
                        "}'::json");
  }
  if (type == "int[]") return absl::StrCat("'{", n, ",NULL,3}'::int[]");
  if (type == "text[]") return absl::StrCat("ARRAY['x', NULL, '", n, "']");
  if (type == "chaos_mood") {
    return absl::StrCat("'", random.Pick<std::string>({"sad", "ok", "happy"}), "'::chaos_mood");
  }
  if (type == "timestamptz") return absl::StrCat("to_timestamp(", n, ")");
  if (type == "bytea") return absl::StrCat("decode(md5('", n, "'), 'hex')");
  if (type == "boolean") return n % 2 == 0 ? "true" : "false";
  if (type == "double precision") return absl::StrCat(n, " / 3.0::float8");
  if (type == "tsquery")
    return n % 3 == 0 ? "''::tsquery" : absl::StrCat("'a & b", n, "'::tsquery");
  if (type == "regclass") return n % 2 == 0 ? "'pg_class'::regclass" : "'-'::regclass";
  if (type == "regclass[]") return "'{pg_class,NULL,-}'::regclass[]";
  if (type == "aclitem") return "'postgres=r/postgres'::aclitem";
  if (type == "aclitem[]") return "'{postgres=r/postgres,NULL}'::aclitem[]";
  // Few values, which many rows want.
  if (type == "claimed") return absl::StrCat(random.Below(8));
  if (type == "int4range") {
    const int64_t from = random.Below(40);
    return absl::StrCat("int4range(", from, ", ", from + random.Below(5), ")");
  }
  // Too large to stand in the row itself.
  if (type == "large") return absl::StrCat("repeat(md5('", n, "'), 120)");
  return absl::StrCat(n);
}

std::string TableSpec::KeyColumns() const { return absl::StrJoin(key, ", "); }

std::string TableSpec::KeyOf(int64_t number) const {
  return absl::StrReplaceAll(key_lookup, {{"$", absl::StrCat(number)}});
}

std::string TableSpec::KeyCondition(int64_t number) const {
  if (key.empty()) return "true";
  return absl::StrCat("(", KeyColumns(), ") = (", KeyOf(number), ")");
}

TableSpec RandomTable(Random& random, const std::string& name, TableKind kind, int hot_keys,
                      const TableSpec* parent) {
  TableSpec table;
  table.name = name;
  table.kind = kind;
  table.hot_keys = static_cast<int>(random.Between(2, 10));
  if (hot_keys != 0) table.hot_keys = hot_keys;
  const bool family = kind == TableKind::kParent || kind == TableKind::kChild;
  // Of equal keys that look different the conflict log may show another look.
  static const KeyForm no_key;
  const KeyForm& form = kind == TableKind::kLog ? no_key
                        : family                ? random.Pick(PlainKeyForms())
                                                : random.Pick(KeyForms());
  std::vector<std::string> columns;
  for (const auto& [column, type] : form.columns) {
    columns.push_back(absl::StrCat(column, " ", type));
    table.key.push_back(column);
    table.key_types.push_back(type);
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
  // The function of a custom policy is not given such rows.
  if (kind != TableKind::kFolded && kind != TableKind::kCounter && random.Percent(25)) {
    table.values.push_back({.name = "txt", .type = random.Pick(TextTypes())});
    columns.push_back(absl::StrCat("txt ", table.values.back().type));
  }
  const bool large = random.Percent(40);
  if (large) {
    table.values.push_back({.name = "large", .type = "large"});
    columns.push_back("large text");
  }
  // Of a partitioned table a unique index must hold the key of its partitions.
  const bool unique_values = kind == TableKind::kUnique;
  const bool partitioned = !unique_values && random.Percent(35);
  const bool excludes = unique_values && random.OneIn(2);
  const int64_t claims = unique_values ? random.Between(excludes ? 0 : 1, 2) : 0;
  for (int64_t i = 0; i < claims; ++i) {
    table.values.push_back({.name = absl::StrCat("u", i), .type = "claimed"});
    columns.push_back(absl::StrCat("u", i, " int"));
  }
  if (parent != nullptr) AddReference(random, *parent, &table, &columns);
  const bool folded = kind == TableKind::kFolded || kind == TableKind::kCounter;
  if (folded) columns.push_back(FoldedColumns(random, &table));
  std::vector<std::string> indexes;
  for (int64_t i = 0; i < claims; ++i) {
    const UniqueForm& unique = random.Pick(UniqueForms());
    (unique.constraint ? columns : indexes)
        .push_back(absl::Substitute(unique.ddl, absl::StrCat("u", i)));
    if (unique.deferrable) table.exchanged = absl::StrCat("u", i);
  }
  if (excludes) {
    table.values.push_back({.name = "r", .type = "int4range"});
    columns.push_back("r int4range");
    const UniqueForm& exclusion = random.Pick(ExclusionForms());
    columns.push_back(exclusion.ddl);
    if (exclusion.deferrable) table.exchanged = "r";
  }
  if (!table.key.empty()) {
    columns.push_back(absl::StrCat("PRIMARY KEY (", table.KeyColumns(), ")"));
  }
  table.ddl = absl::StrCat("CREATE TABLE ", name, " (", absl::StrJoin(columns, ", "), ")");
  if (partitioned) {
    absl::StrAppend(&table.ddl, " PARTITION BY HASH (", table.key.empty() ? "w" : table.key.front(),
                    ");\n");
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
  const bool full = folded || (kind != TableKind::kLog && random.Percent(30));
  for (const std::string& relation : relations) {
    if (large && (relation != name || !partitioned)) {
      absl::StrAppend(&table.ddl, "ALTER TABLE ", relation,
                      " ALTER COLUMN large SET STORAGE EXTERNAL;\n");
    }
    if (!table.key.empty() && table.key.front() == kFarKey && (relation != name || !partitioned)) {
      absl::StrAppend(&table.ddl, "ALTER TABLE ", relation, " ALTER COLUMN ", kFarKey,
                      " SET STORAGE EXTERNAL;\n");
    }
    if (full) absl::StrAppend(&table.ddl, "ALTER TABLE ", relation, " REPLICA IDENTITY FULL;\n");
  }
  for (const std::string& index : indexes) {
    absl::StrAppend(&table.ddl, "CREATE UNIQUE INDEX ON ", name, " ", index, ";\n");
  }
  if (folded) table.ddl += FoldedDdl(table);
  return table;
}

std::string TableSpec::KeyExpression(const std::string& number) const {
  return absl::StrReplaceAll(key_expression, {{"$", number}});
}

}  // namespace bdr::chaos
