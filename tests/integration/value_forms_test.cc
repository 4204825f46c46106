// Values arrive as they were, whatever form PostgreSQL has for them on the wire: binary, text, or
// one that its own functions do not read back.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "postgres/connection.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

// What is known of a built-in type, so that its values can be tried.
struct Tried {
  std::vector<std::string> values;  // as SQL literals without quotes; none: nobody can write one
  std::string column_type = {};     // if not the type's name
  bool key = false;                 // may be a key
  // Text from PostgreSQL's own stream does not say which function or operator is meant.
  std::vector<std::string> only_in_binary = {};
};

std::map<std::string, Tried> BuiltInTypes() {
  return {
      {"aclitem", {{"postgres=r/postgres", "=r*w/postgres"}}},
      {"bit", {{"101", "000"}, "bit(3)", true}},
      {"bool", {{"t", "f"}, "", true}},
      {"box", {{"(2,2),(0,0)", "(Infinity,0),(-0,NaN)"}}},
      {"bpchar", {{"ab", "", " x "}, "char(5)", true}},
      {"bytea", {{"", "\\\\x00ff", "\\\\x27225c"}, "", true}},
      {"char", {{"a", "", "("}, "\"char\"", true}},
      {"cid", {{"0", "4294967295"}}},
      {"cidr", {{"0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32"}, "", true}},
      {"circle", {{"<(1,1),5>", "<(0,0),0>"}}},
      {"date", {{"infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"}, "", true}},
      {"datemultirange", {{"{}", "{[2026-01-01,2026-02-01),[2027-01-01,)}"}}},
      {"daterange", {{"empty", "(,)", "[2026-01-01,infinity]"}}},
      {"float4", {{"-0", "NaN", "-Infinity", "1e-45", "3.4028235e38"}, "", true}},
      {"float8", {{"-0", "NaN", "Infinity", "5e-324", "1.7976931348623157e308"}, "", true}},
      {"gtsvector", {{}}},
      {"inet", {{"10.0.0.1/8", "::1", "::ffff:1.2.3.4/128"}, "", true}},
      {"int2", {{"-32768", "32767"}, "", true}},
      {"int4", {{"-2147483648", "2147483647"}, "", true}},
      {"int4multirange", {{"{}", "{[1,3),[5,7)}", "{(,)}"}}},
      {"int4range", {{"empty", "(,)", "[-2147483648,5)"}}},
      {"int8", {{"-9223372036854775808", "9223372036854775807"}, "", true}},
      {"int8multirange", {{"{}", "{[1,3),[5,7)}"}}},
      {"int8range", {{"empty", "[,9223372036854775807)"}}},
      {"interval",
       {{"178000000 years", "-178000000 years", "1 mon -1 day 00:00:00.000001", "24:00:00"}}},
      {"json", {{"{\"b\" : 1,  \"a\": [1, null]}", "\"\\\\u0000\"", "null"}}},
      {"jsonb", {{"{\"a\": 1e400, \"\": {}}", "null", "\"\"", "[]"}}},
      {"jsonpath", {{"$", "strict $.a[*] ? (@ > 1)", "$.\"\\\"\""}}},
      {"line", {{"{1,2,3}", "{0,1,0}"}}},
      {"lseg", {{"[(0,0),(1,1)]", "[(Infinity,0),(0,-Infinity)]"}}},
      {"macaddr", {{"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"}, "", true}},
      {"macaddr8", {{"00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff"}, "", true}},
      {"money", {{"-92233720368547758.08", "0.01"}, "", true}},
      {"name", {{"", "a \"b\" c"}, "", true}},
      {"numeric",
       {{"NaN", "Infinity", "-Infinity", "0.00000", "-0.10", "1e-16383", "1e131071"}, "", true}},
      {"nummultirange", {{"{}", "{[1.50,3),[5,NaN)}"}}},
      {"numrange", {{"empty", "(0.10,0.2]", "(,Infinity)"}}},
      {"oid", {{"0", "4294967295"}, "", true}},
      {"path", {{"[(0,0)]", "((0,0),(1,1),(2,0))"}}},
      {"pg_brin_bloom_summary", {{}}},
      {"pg_brin_minmax_multi_summary", {{}}},
      {"pg_dependencies", {{}}},
      {"pg_lsn", {{"0/0", "FFFFFFFF/FFFFFFFF"}, "", true}},
      {"pg_mcv_list", {{}}},
      {"pg_ndistinct", {{}}},
      {"pg_node_tree", {{}}},
      {"pg_snapshot", {{"1:1:", "10:20:10,14,15"}}},
      {"point", {{"(-0,NaN)", "(1.5,-2)"}}},
      {"polygon", {{"((0,0))", "((0,0),(1,1),(2,0))"}}},
      {"refcursor", {{"", "a \"cursor\""}}},
      {"regclass", {{"app.\"Odd One\"", "pg_class", "-", "4000000000"}}},
      {"regcollation", {{"\"C\"", "app.\"Low\"", "-"}}},
      {"regconfig", {{"english", "app.conf", "-"}}},
      {"regdictionary", {{"english_stem", "app.dict", "-"}}},
      {"regnamespace", {{"app", "\"Odd\"", "-"}}},
      {"regoper", {{"0", "4000000000"}, "", false, {"514"}}},
      {"regoperator", {{"*(integer,integer)", "-(NONE,integer)", "app.@+(integer,integer)", "0"}}},
      {"regproc", {{"app.f", "-", "4000000000"}, "", false, {"1397"}}},
      {"regprocedure", {{"abs(integer)", "app.f(integer)", "-"}}},
      {"regrole", {{"postgres", "bdr", "-"}}},
      {"regtype", {{"integer", "app.mood", "text[]", "app.mood[]", "\"char\"", "-"}}},
      {"text", {{"", "NULL", "{\"a\\\\b\", (c)}", "ü 日本"}, "", true}},
      {"tid", {{"(0,1)", "(4294967295,65535)"}}},
      {"time", {{"00:00", "24:00", "23:59:59.999999"}, "", true}},
      {"timestamp",
       {{"infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"},
        "",
        true}},
      {"timestamptz",
       {{"infinity", "-infinity", "4713-01-02 00:00:00+00 BC", "294276-12-31 00:00:00.000001+00"},
        "",
        true}},
      {"timetz", {{"00:00+15:59", "24:00-15:59", "12:00:00.000001+05:30"}}},
      {"tsmultirange", {{"{}", "{[2026-01-01,2026-02-01)}"}}},
      {"tsquery", {{"", "fat & (cat | !rat)", "a <3> b:*AB", "'a b' & c"}}},
      {"tsrange", {{"empty", "[-infinity,2026-01-01]"}}},
      {"tstzmultirange", {{"{}", "{[2026-01-01 00:00+00,infinity]}"}}},
      {"tstzrange", {{"empty", "[-infinity,2026-01-01 00:00+00]"}}},
      {"tsvector", {{"", "a:1A,2B fat:16383 'it''s'", "x"}}},
      {"txid_snapshot", {{"1:1:", "10:20:10,14,15"}}},
      {"uuid",
       {{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
        "",
        true}},
      {"varbit", {{"", "1", "010101010"}, "", true}},
      {"varchar", {{"", "ab "}, "", true}},
      {"xid", {{"0", "4294967295"}}},
      {"xid8", {{"0", "18446744073709551615"}}},
      {"xml", {{"", "text", "<a b=\"c\">d</a>", "<a/><b/>", "<?xml version=\"1.1\"?><a/>"}}},
      {"int2vector", {{"", "1", "1 -2 3"}}},
      {"oidvector", {{"", "1", "1 4294967295"}}},
  };
}

std::string Quoted(const std::string& value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"'", "''"}, {"\\\\", "\\"}}), "'");
}

std::string ColumnType(const std::string& name, const Tried& tried) {
  return tried.column_type.empty() ? absl::StrCat("pg_catalog.", name) : tried.column_type;
}

class ValueFormsTest : public ClusterTest {
 protected:
  std::string Log(absl::string_view node) {
    std::string log;
    const absl::StatusOr<std::string> text = harness::ReadFile(cluster_->agent_log(node));
    EXPECT_OK(text);
    return text.value_or("");
  }
};

harness::ClusterOptions EveryTypeOptions(const std::map<std::string, Tried>& types) {
  harness::ClusterOptions options;
  options.nodes = {{}, {}};
  // So that what is named has another OID on each node.
  options.nodes[0].first_sql =
      "CREATE TYPE shift1 AS ENUM ('a'); CREATE TABLE shift2 (i int); DROP TABLE shift2;"
      "CREATE FUNCTION shift3() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION shift3;";
  std::string& sql = options.schema_sql;
  sql =
      "CREATE SCHEMA app; CREATE SCHEMA \"Odd\"; CREATE TABLE app.\"Odd One\" (id int PRIMARY KEY);"
      "CREATE TYPE app.mood AS ENUM ('ok'); CREATE COLLATION app.\"Low\" FROM \"C\";"
      "CREATE TEXT SEARCH CONFIGURATION app.conf (COPY = english);"
      "CREATE TEXT SEARCH DICTIONARY app.dict (TEMPLATE = simple);"
      "CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';"
      "CREATE FUNCTION app.plus(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';"
      "CREATE OPERATOR app.@+ (FUNCTION = app.plus, LEFTARG = int, RIGHTARG = int);";
  for (const auto& [name, tried] : types) {
    if (tried.values.empty()) continue;
    const std::string type = ColumnType(name, tried);
    absl::StrAppend(&sql, "CREATE DOMAIN d_", name, " AS ", type, ";CREATE TYPE c_", name,
                    " AS (x ", type, ", y ", type, "[], z d_", name, "); CREATE TABLE v_", name,
                    " (id int PRIMARY KEY, v ", type, ", a ", type, "[], d d_", name, ", c c_",
                    name, ");");
    if (tried.key) {
      absl::StrAppend(&sql, "CREATE TABLE k_", name, " (k ", type, " PRIMARY KEY, n int);");
    }
  }
  return options;
}

// Of which arrays make capture read texts: they have no binary form, or one that nobody reads.
bool NeedsText(const std::string& name) {
  return name == "aclitem" || name == "tsquery" || name == "int2vector" || name == "oidvector";
}

// Rows of all tables but those of such types, or of these as well.
std::string Inserts(const std::map<std::string, Tried>& types, int first_id, bool with_text_mode) {
  std::string sql = "BEGIN;";
  for (const auto& [name, tried] : types) {
    if (tried.values.empty() || (NeedsText(name) && !with_text_mode)) continue;
    const std::string type = ColumnType(name, tried);
    std::vector<std::string> values;
    for (const std::string& value : tried.values) values.push_back(Quoted(value));
    if (!with_text_mode) {
      for (const std::string& value : tried.only_in_binary) {
        values.push_back(absl::StrCat(value, "::oid"));
      }
    }
    int id = first_id;
    for (size_t i = 0; i < values.size(); ++i) {
      const std::string v = absl::StrCat(values[i], "::", type);
      const std::string w = absl::StrCat(values[(i + 1) % values.size()], "::", type);
      const std::string arrays[] = {
          absl::StrCat("ARRAY[", v, ", NULL, ", w, "]"), absl::StrCat("'{}'::", type, "[]"),
          absl::StrCat("ARRAY[ARRAY[", v, ", ", w, "], ARRAY[", w, ", ", v, "]]"),
          absl::StrCat("array_fill(", v, ", ARRAY[2], ARRAY[-3])")};
      // Of arrays PostgreSQL makes arrays with one more dimension.
      const bool of_arrays = name == "int2vector" || name == "oidvector";
      const std::string array =
          of_arrays ? absl::StrCat("'{\"1 2\",NULL,3}'::", type, "[]") : arrays[i % 4];
      // Within a row it shows itself without its arguments.
      const bool plain = i < tried.values.size();
      const std::string plain_array = of_arrays ? array : arrays[i % 2 == 0 ? 3 : 1];
      absl::StrAppend(
          &sql, "INSERT INTO v_", name, " VALUES (", id++, ", ", v, ", ", array, ", ", v,
          plain ? absl::StrCat(", ROW(", v, ", ", plain_array, ", ", v, "));") : ", NULL);");
      if (tried.key && !with_text_mode) {
        absl::StrAppend(&sql, "INSERT INTO k_", name, " VALUES (", v, ", ", first_id,
                        ") ON CONFLICT DO NOTHING;");
      }
    }
    absl::StrAppend(&sql, "INSERT INTO v_", name, " VALUES (", id,
                    ", NULL, NULL, NULL, ROW(NULL, ARRAY[NULL::", type, "], NULL)), (", id + 1,
                    ", NULL, NULL, NULL, NULL);");
  }
  return sql + "COMMIT";
}

// Each row's values go to another row; one goes away.
std::string Updates(const std::map<std::string, Tried>& types, int first_id, bool with_text_mode) {
  std::string sql = "BEGIN;";
  for (const auto& [name, tried] : types) {
    if (tried.values.empty() || (NeedsText(name) && !with_text_mode)) continue;
    absl::StrAppend(&sql, "UPDATE v_", name, " AS t SET v = s.v, a = s.a, d = s.d, c = s.c FROM v_",
                    name, " AS s WHERE s.id = t.id + 1 AND t.id >= ", first_id, " AND t.id < ",
                    first_id, " + 100; DELETE FROM v_", name, " WHERE id = ", first_id + 1, ";");
    if (tried.key) {
      absl::StrAppend(&sql, "UPDATE k_", name, " SET n = n + 1; DELETE FROM k_", name,
                      " WHERE k = ", Quoted(tried.values.front()), "::", ColumnType(name, tried),
                      ";");
    }
  }
  return sql + "COMMIT";
}

TEST_F(ValueFormsTest, EveryBuiltInTypesOddValuesTravelBothWays) {
  const std::map<std::string, Tried> types = BuiltInTypes();
  BDR_START_CLUSTER(EveryTypeOptions(types));
  ASSERT_OK_AND_ASSIGN(const auto one, cluster_->Connect("n1"));
  ASSERT_OK_AND_ASSIGN(const auto two, cluster_->Connect("n2"));
  ASSERT_OK_AND_ASSIGN(
      const postgres::Result all,
      one->Exec("SELECT t.typname FROM pg_type t WHERE t.oid < 10000 AND t.typtype IN"
                " ('b', 'r', 'm') AND t.typname <> 'unknown' AND NOT EXISTS (SELECT FROM pg_type e"
                " WHERE e.typarray = t.oid) AND t.typrelid = 0"));
  for (int row = 0; row < all.rows(); ++row) {
    EXPECT_TRUE(types.contains(std::string(all.value(row, 0))))
        << "nothing is known of type " << all.value(row, 0) << ": give it an entry";
  }
  EXPECT_NE(Value("n1", "SELECT 'app.mood'::regtype::oid"),
            Value("n2", "SELECT 'app.mood'::regtype::oid"));

  for (const bool with_text_mode : {false, true}) {
    SCOPED_TRACE(with_text_mode);
    const int base = with_text_mode ? 1000 : 0;
    BDR_EXEC("n1", Inserts(types, base + 1, with_text_mode));
    BDR_CONVERGE();
    BDR_EXEC("n2", Inserts(types, base + 101, with_text_mode));
    BDR_CONVERGE();
    BDR_EXEC("n2", Updates(types, base + 1, with_text_mode));
    BDR_CONVERGE();
    BDR_EXEC("n1", Updates(types, base + 101, with_text_mode));
    BDR_CONVERGE();
    for (const char* node : {"n1", "n2"}) {
      EXPECT_EQ(absl::StrContains(Log(node), "streaming->streaming_text"), with_text_mode) << node;
    }
  }

  for (const auto& [name, tried] : types) {
    if (tried.values.empty()) continue;
    SCOPED_TRACE(name);
    const std::string text =
        absl::StrCat("SELECT id, v::text, a::text, d::text, c::text FROM v_", name, " ORDER BY id");
    ASSERT_OK_AND_ASSIGN(const postgres::Result here, one->Exec(text));
    ASSERT_OK_AND_ASSIGN(const postgres::Result there, two->Exec(text));
    ASSERT_GT(here.rows(), 4);
    ASSERT_EQ(here.rows(), there.rows());
    for (int row = 0; row < here.rows(); ++row) {
      for (int column = 0; column < here.columns(); ++column) {
        EXPECT_EQ(here.is_null(row, column), there.is_null(row, column)) << here.value(row, 0);
        EXPECT_EQ(here.value(row, column), there.value(row, column)) << here.value(row, 0);
      }
    }
    // OIDs differ, as they should; and aclitem has no bytes to show.
    if (absl::StartsWith(name, "reg") || name == "aclitem") continue;
    const std::string binary = absl::StrCat("SELECT v, d FROM v_", name, " ORDER BY id");
    ASSERT_OK_AND_ASSIGN(const postgres::Result bytes_here, one->ExecParams(binary, {}, true));
    ASSERT_OK_AND_ASSIGN(const postgres::Result bytes_there, two->ExecParams(binary, {}, true));
    for (int row = 0; row < bytes_here.rows(); ++row) {
      for (int column = 0; column < 2; ++column) {
        EXPECT_EQ(bytes_here.value(row, column), bytes_there.value(row, column))
            << here.value(row, 0);
      }
    }
  }
}

// A type may have a binary form in one version of its extension and none in another. What comes in
// the other form stops, and is no NULL; it goes on once the versions are equal.
TEST_F(ValueFormsTest, AnExtensionOfTwoVersionsStopsAndGoesOn) {
  harness::ClusterOptions options;
  options.nodes = {{.first_sql = "CREATE EXTENSION ltree VERSION '1.1'"},
                   {.first_sql = "CREATE EXTENSION ltree VERSION '1.2'"}};
  options.schema_sql = "CREATE TABLE places (id int PRIMARY KEY, path ltree, paths ltree[])";
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n1", "INSERT INTO places VALUES (1, 'a.b1', '{x,y.1,NULL}')");
  BDR_EXEC("n2", "INSERT INTO places VALUES (2, 'a.b2', '{x,y.2,NULL}')");
  const auto wait_for_status = [&](const std::string& text) {
    ASSERT_OK(harness::WaitFor(absl::StrCat("status says \"", text, "\""), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
                                 return absl::StrContains(status.out, text);
                               }));
  };
  const std::string column = "a value of column \"path\" of table \"public.places\" comes ";
  ASSERT_NO_FATAL_FAILURE(wait_for_status(column + "as text"));
  ASSERT_NO_FATAL_FAILURE(wait_for_status(column + "in binary form"));
  EXPECT_EQ(Value("n1", "SELECT string_agg(id::text, ' ') FROM places"), "1");
  EXPECT_EQ(Value("n2", "SELECT string_agg(id::text, ' ') FROM places"), "2");
  BDR_EXEC("n1", "ALTER EXTENSION ltree UPDATE TO '1.2'");
  ASSERT_OK(cluster_->WaitForValue(
      "n1", "SELECT string_agg(path::text || paths::text, ' ' ORDER BY id) FROM places",
      "a.b1{x,y.1,NULL} a.b2{x,y.2,NULL}", kDeadline));
}

// Neither way in which PostgreSQL sends such values has their declaration.
TEST_F(ValueFormsTest, XmlKeepsItsDeclaration) {
  BDR_START_CLUSTER(2,
                    "CREATE DOMAIN feed AS xml; CREATE TABLE docs (id int PRIMARY KEY, x xml, "
                    "f feed, n int DEFAULT 0) PARTITION BY RANGE (id);"
                    "CREATE TABLE docs1 PARTITION OF docs FOR VALUES FROM (0) TO (1000);"
                    "CREATE TABLE docs2 PARTITION OF docs FOR VALUES FROM (1000) TO (100000);");
  const std::string text =
      "SELECT string_agg(concat_ws('|', id, x::text, f::text, n), E'\n' "
      "ORDER BY id) FROM docs";
  const auto expect_equal_with = [&](const std::string& part) {
    BDR_CONVERGE();
    const std::string here = Value("n1", text);
    EXPECT_EQ(Value("n2", text), here);
    EXPECT_THAT(here, HasSubstr(part));
  };
  BDR_EXEC("n1",
           "INSERT INTO docs VALUES (1, '<?xml version=\"1.0\"?><a/>', '<b/>'),"
           " (2, '<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a>ü</a>', NULL),"
           " (3, '<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>ü</a>', '<a/>'),"
           " (4, '<?xml version=\"1.0\" standalone=\"yes\"?><a/>', ''),"
           " (5, '<?xml version=\"1.0\"?>text', '<?xml version=\"1.0\"?><f/>')");
  expect_equal_with("3|<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>ü</a>|");
  BDR_EXEC("n2", "UPDATE docs SET n = 1; UPDATE docs SET f = x, id = id + 1000 WHERE id > 3");
  expect_equal_with("1005|<?xml version=\"1.0\"?>text|<?xml version=\"1.0\"?>text|1");
  // So many that they travel in a stream, and large ones that an update leaves alone.
  BDR_EXEC("n1",
           "INSERT INTO docs SELECT 1100 + i, ('<?xml version=\"1.0\"?><a>' || (SELECT "
           "string_agg(md5(random()::text), '') FROM generate_series(1, 300 + i * 0)) || "
           "'</a>')::xml FROM generate_series(1, 50) i;"
           "UPDATE docs SET n = 2 WHERE id > 1100");
  expect_equal_with("1150|<?xml version=\"1.0\"?><a>");
}

constexpr char kRights[] = R"sql(
CREATE TYPE may AS (who aclitem, n int);
CREATE DOMAIN day AS date CHECK (VALUE > '2000-01-01');
CREATE TABLE rights (id int PRIMARY KEY, a aclitem[], ints int[], c may, d day, t text);
CREATE TABLE gone (id int PRIMARY KEY, a aclitem[]);
CREATE TABLE plain (k numeric PRIMARY KEY, u text UNIQUE, t timestamptz, j jsonb, m money);
)sql";

class NoBinaryFormTest : public ValueFormsTest {
 protected:
  void WaitForBinary(absl::string_view node) {
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
    EXPECT_THAT(Log(node), HasSubstr("streaming->streaming_text"));
    EXPECT_THAT(Log(node), HasSubstr("streaming_text->streaming"));
  }
};

TEST_F(NoBinaryFormTest, CaptureReadsTextUntilTheTransactionHasPassed) {
  BDR_START_CLUSTER(2, kRights);
  BDR_EXEC("n1", "INSERT INTO plain VALUES (1.50, 'a', '2026-01-01', '{\"a\": 1}', '1.25')");
  BDR_EXEC("n1",
           "BEGIN;"
           "INSERT INTO rights VALUES (1, '{postgres=r/postgres,NULL}', '{1,NULL,3}',"
           " '(postgres=w/postgres,7)', '2026-01-01', ''), (2, NULL, '[0:1]={4,5}', NULL, NULL,"
           " NULL), (3, '{}', '{}', '(,)', 'infinity', 'x');"
           "INSERT INTO plain VALUES (-0.0, 'b', 'infinity', '[1]', '-0.01');"
           "UPDATE plain SET t = '-infinity', j = 'null' WHERE k = 1.5;"
           "COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM rights WHERE a IS NOT NULL AND ints IS NOT NULL", "2");
  ExpectEverywhere("SELECT string_agg(p::text, ' ' ORDER BY k) FROM plain p",
                   "(0.0,b,infinity,[1],-$0.01) (1.50,a,-infinity,null,$1.25)");
  WaitForBinary("n1");

  // From the other side, with keys and unique values that meet what came in the other form.
  BDR_EXEC("n2",
           "BEGIN; UPDATE rights SET a = a || 'postgres=a/postgres'::aclitem, ints = '{{1},{2}}',"
           " id = id + 10 WHERE id < 3; DELETE FROM rights WHERE id = 3;"
           "DELETE FROM plain WHERE k = 0; UPDATE plain SET u = 'b', k = 2 WHERE k = 1.5; COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(ints::text, ' ' ORDER BY id) FROM rights",
                   "{{1},{2}} {{1},{2}}");
  ExpectEverywhere("SELECT string_agg(k || u, ' ') FROM plain", "2b");
  WaitForBinary("n2");
}

TEST_F(NoBinaryFormTest, LargeTransactionsAndKilledAgentsAndDroppedTables) {
  BDR_START_CLUSTER(2, kRights);
  // Streamed while it runs, of which a part is rolled back.
  BDR_EXEC("n1",
           "BEGIN; INSERT INTO rights SELECT g, '{postgres=r/postgres}', ARRAY[g, NULL],"
           " ROW('postgres=w/postgres', g)::may, '2026-01-01', repeat(md5(g::text), 10)"
           " FROM generate_series(1, 20000) g; SAVEPOINT s;"
           "INSERT INTO plain SELECT g, g::text, now(), '{}', g FROM generate_series(1, 20000) g;"
           "ROLLBACK TO s;"
           "INSERT INTO plain SELECT -g, g::text, now(), '{}', g FROM generate_series(1, 20000) g;"
           "COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) || '|' || count(a) || '|' || sum(ints[1]) FROM rights",
                   "20000|20000|200010000");
  ExpectEverywhere("SELECT count(*) || '|' || max(k) FROM plain", "20000|-1");

  // Killed before it has passed, and the table is gone by the time that it goes on.
  cluster_->agent("n1").Kill9();
  BDR_EXEC("n1", "INSERT INTO gone VALUES (1, '{postgres=r/postgres}')");
  BDR_EXEC("n1", "INSERT INTO plain VALUES (1, 'one', NULL, NULL, NULL)");
  BDR_EXEC("n1", "DROP TABLE gone");
  ASSERT_OK(cluster_->StartAgent("n1", {{"BDR_FAIL_POINT", "capture_before_sync"}}));
  ASSERT_OK(cluster_->agent("n1").WaitForExit(kDeadline));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM gone", "1", kDeadline));
  BDR_EXEC("n2", "DROP TABLE gone");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT u FROM plain WHERE k = 1", "one");
  WaitForBinary("n1");
}

}  // namespace
}  // namespace bdr::integration
