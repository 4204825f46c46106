// What the catalog says about tables and types, and whether PostgreSQL agrees with us about which
// values are equal and what a translated value means.
#include "postgres/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "postgres/type_names.h"
#include "postgres/wire.h"
#include "tests/harness/postgres_test.h"

namespace bdr::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr char kSchemaSql[] = R"(
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN app.small AS app.positive CHECK (VALUE < 100);
CREATE TYPE app.pair AS (a int, gone text, m app.mood, ms app.mood[]);
ALTER TYPE app.pair DROP ATTRIBUTE gone;
CREATE TYPE app.span AS RANGE (subtype = app.pair, multirange_type_name = app.multispan);
CREATE COLLATION app.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);

CREATE EXTENSION citext SCHEMA app;
CREATE EXTENSION hstore SCHEMA app;
CREATE EXTENSION ltree SCHEMA app;
CREATE DOMAIN app.ints AS int[];
CREATE DOMAIN app.numbers AS numeric[];
CREATE TYPE app.pairing AS (a numeric, b text);
CREATE TYPE app.citexts AS RANGE (subtype = app.citext);
CREATE TYPE app.nocase_range AS RANGE (subtype = text, collation = app.nocase);
CREATE TYPE app.nocase_pair AS (a text COLLATE app.nocase);

CREATE TABLE app."Every Type" (
    id int PRIMARY KEY,
    dropped int,
    m app.mood, ms app.mood[], s app.small, ss app.small[], p app.pair, ps app.pair[],
    sp app.span, smr app.multispan, ints int[], names name[], v int2vector, pt point, j jsonb,
    acl aclitem, acls aclitem[]);
ALTER TABLE app."Every Type" DROP COLUMN dropped;

CREATE TABLE app.wide_key (
    c text COLLATE app.nocase, b numeric, a varchar, extra int GENERATED ALWAYS AS (1) STORED,
    serial int GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (a, b, c) INCLUDE (serial));
CREATE TABLE app.by_index (id int PRIMARY KEY, code text NOT NULL, other text);
CREATE UNIQUE INDEX by_index_code ON app.by_index (code);
ALTER TABLE app.by_index REPLICA IDENTITY USING INDEX by_index_code;
CREATE TABLE app.full_identity (id int PRIMARY KEY, v text UNIQUE);
ALTER TABLE app.full_identity REPLICA IDENTITY FULL;
CREATE TABLE app.no_key (v text);
CREATE TABLE app.late (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE app.excluded (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&));
CREATE TABLE app.parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE app.part_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (10);
CREATE UNIQUE INDEX ON app.part_1 (v);
CREATE FUNCTION app.plainly(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.lower($1)';
CREATE TABLE app.claims (
    id int PRIMARY KEY, a int, b text, c text COLLATE app.nocase, d bit(3), e int4range,
    g text GENERATED ALWAYS AS (b || 'x') STORED);
CREATE UNIQUE INDEX claims_1 ON app.claims (b, a) INCLUDE (c);
CREATE UNIQUE INDEX claims_2 ON app.claims (app.plainly(b));
CREATE UNIQUE INDEX claims_3 ON app.claims (a) WHERE c = 'live';
CREATE UNIQUE INDEX claims_4 ON app.claims (c);
CREATE UNIQUE INDEX claims_5 ON app.claims (d) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX claims_6 ON app.claims ((d | B'001'));
ALTER TABLE app.claims ADD CONSTRAINT claims_7 EXCLUDE USING gist (e WITH &&) WHERE (a > 0);
ALTER TABLE app.claims ADD CONSTRAINT claims_8 UNIQUE (a, d) DEFERRABLE;
CREATE UNIQUE INDEX claims_9 ON app.claims (g);
CREATE TABLE app.secret (id int PRIMARY KEY);
ALTER TABLE app.secret ENABLE ROW LEVEL SECURITY;
CREATE VIEW app.a_view AS SELECT 1 AS x;

CREATE PUBLICATION bdr_keyed FOR TABLE app."Every Type", app.wide_key, app.parted
    WITH (publish_via_partition_root = true);
CREATE PUBLICATION bdr_insert_only FOR TABLE app.no_key
    WITH (publish = 'insert', publish_via_partition_root = true);
CREATE PUBLICATION another FOR TABLE app.by_index;
)";

// Roles belong to all databases of a server.
constexpr char kRoleSql[] = "CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA app TO plain";

class CatalogTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->RunScript(kSchemaSql));
    ASSERT_OK(server_->Exec(kRoleSql));
    absl::StatusOr<std::unique_ptr<Connection>> connection = server_->Connect("plain");
    ASSERT_OK(connection);
    connection_ = *std::move(connection);
  }
  static void TearDownTestSuite() {
    connection_.reset();
    PostgresTest::TearDownTestSuite();
  }

  static TableInfo Load(const std::string& name) {
    absl::StatusOr<TableInfo> table = LoadTable(*connection_, "app", name);
    EXPECT_OK(table);
    return table.value_or(TableInfo{});
  }
  static const ColumnInfo& Column(const TableInfo& table, const std::string& name) {
    for (const ColumnInfo& column : table.columns) {
      if (column.name == name) return column;
    }
    ADD_FAILURE() << "no column " << name;
    return table.columns.at(0);
  }
  static std::vector<std::string> KeyNames(const TableInfo& table) {
    std::vector<std::string> names;
    for (const int index : table.key) names.push_back(table.columns.at(index).name);
    return names;
  }
  static uint32_t Oid(const std::string& type) {
    return static_cast<uint32_t>(std::stoul(
        connection_->QueryValue(absl::StrCat("SELECT '", type, "'::regtype::oid")).value_or("0")));
  }
  // A value in binary form.
  static std::string Binary(const std::string& expression) {
    absl::StatusOr<Result> result =
        connection_->ExecParams(absl::StrCat("SELECT ", expression), {}, true);
    EXPECT_OK(result);
    return result.ok() ? std::string(result->value(0, 0)) : std::string();
  }

  static inline std::unique_ptr<Connection> connection_;  // of a role without rights to the rows
};

TEST_F(CatalogTest, NamesAreQuotedForSqlAndPlainForPeople) {
  const TableInfo table = Load("Every Type");
  EXPECT_EQ(table.QualifiedName(), "\"app\".\"Every Type\"");
  EXPECT_EQ(table.DisplayName(), "app.Every Type");
  EXPECT_EQ(table.kind, 'r');
  EXPECT_TRUE(table.published);
  EXPECT_EQ(absl::StrCat(table.row_type_oid, " ", table.row_array_type_oid),
            *connection_->QueryValue("SELECT oid || ' ' || typarray FROM pg_type "
                                     "WHERE typname = 'Every Type'"));
}

TEST_F(CatalogTest, WhatIsNoTableIsNotFoundOrNotPossible) {
  EXPECT_EQ(LoadTable(*connection_, "app", "every type").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadTable(*connection_, "nowhere", "x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadTable(*connection_, "app", "a_view").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(CatalogTest, TypesAreResolvedToAllTheyAreMadeOf) {
  const TableInfo table = Load("Every Type");
  const auto type = [&table](const std::string& column) -> const TypeInfo& {
    return *Column(table, column).type;
  };
  for (const ColumnInfo& column : table.columns) EXPECT_NE(column.name, "dropped");

  EXPECT_EQ(type("m").kind, TypeInfo::Kind::kEnum);
  EXPECT_FALSE(type("m").carries_user_oids());
  EXPECT_EQ(type("ms").kind, TypeInfo::Kind::kArray);
  EXPECT_EQ(type("ms").element->oid, Oid("app.mood"));
  EXPECT_TRUE(type("ms").carries_user_oids());

  EXPECT_EQ(type("s").name, "small");
  EXPECT_EQ(type("s").oid, Oid("app.small"));
  EXPECT_EQ(type("s").base_oid, 23u);
  EXPECT_EQ(type("s").kind, TypeInfo::Kind::kPlain);
  EXPECT_FALSE(type("s").carries_user_oids());
  EXPECT_EQ(type("ss").element->base_oid, 23u);
  EXPECT_TRUE(type("ss").carries_user_oids());

  ASSERT_EQ(type("p").fields.size(), 3u);
  EXPECT_EQ(type("p").fields[2]->element->oid, Oid("app.mood"));
  EXPECT_EQ(type("ps").element->fields.size(), 3u);
  EXPECT_EQ(type("sp").kind, TypeInfo::Kind::kRange);
  EXPECT_EQ(type("sp").element->oid, Oid("app.pair"));
  EXPECT_TRUE(type("sp").carries_user_oids());
  EXPECT_EQ(type("smr").kind, TypeInfo::Kind::kMultirange);
  EXPECT_EQ(type("smr").element->oid, Oid("app.span"));
  EXPECT_TRUE(type("smr").carries_user_oids());

  for (const char* builtin : {"ints", "names", "pt", "j"}) {
    EXPECT_FALSE(type(builtin).carries_user_oids()) << builtin;
    EXPECT_TRUE(type(builtin).has_binary) << builtin;
  }
  EXPECT_EQ(type("pt").kind, TypeInfo::Kind::kPlain);
  EXPECT_FALSE(type("v").has_binary);
  EXPECT_FALSE(type("acl").has_binary);
  EXPECT_FALSE(type("acls").has_binary);
}

TEST_F(CatalogTest, KeyIsInItsOwnOrderAndKnowsItsCollations) {
  const TableInfo table = Load("wide_key");
  EXPECT_TRUE(table.has_key);
  EXPECT_THAT(KeyNames(table), ElementsAre("a", "b", "c"));
  EXPECT_EQ(Column(table, "b").key_position, 1);
  EXPECT_EQ(Column(table, "serial").key_position, -1);
  EXPECT_TRUE(Column(table, "a").key_canonical);
  EXPECT_TRUE(Column(table, "b").key_canonical);
  EXPECT_FALSE(Column(table, "c").key_canonical);
  EXPECT_TRUE(Column(table, "a").not_null);
  EXPECT_TRUE(Column(table, "extra").generated);
  EXPECT_FALSE(Column(table, "extra").identity_always);
  EXPECT_TRUE(Column(table, "serial").identity_always);
  EXPECT_EQ(table.other_unique_constraints, 0);
}

TEST_F(CatalogTest, KeyFollowsTheReplicaIdentity) {
  const TableInfo by_index = Load("by_index");
  EXPECT_THAT(KeyNames(by_index), ElementsAre("code"));
  EXPECT_EQ(by_index.replica_identity, 'i');
  EXPECT_EQ(by_index.other_unique_constraints, 1);
  EXPECT_FALSE(by_index.published);

  const TableInfo full = Load("full_identity");
  EXPECT_THAT(KeyNames(full), ElementsAre("id"));
  EXPECT_EQ(full.replica_identity, 'f');
  EXPECT_EQ(full.other_unique_constraints, 1);

  const TableInfo none = Load("no_key");
  EXPECT_FALSE(none.has_key);
  EXPECT_TRUE(none.key.empty());
  EXPECT_TRUE(none.published);

  const TableInfo late = Load("late");
  EXPECT_FALSE(late.has_key);
  EXPECT_TRUE(late.deferrable_unique);

  EXPECT_EQ(Load("excluded").other_unique_constraints, 1);
  EXPECT_FALSE(Load("excluded").deferrable_unique);
}

TEST_F(CatalogTest, PartitionedTableCountsWhatOnlyItsPartitionsHave) {
  const TableInfo table = Load("parted");
  EXPECT_EQ(table.kind, 'p');
  EXPECT_THAT(KeyNames(table), ElementsAre("id"));
  EXPECT_EQ(table.other_unique_constraints, 1);
  EXPECT_TRUE(table.published);
}

// Each table is looked up when it is first seen: were its own cost to grow with the others, a
// start with many tables would take hours.
TEST_F(CatalogTest, LookingATableUpReadsNothingOfOtherTables) {
  ASSERT_OK(
      server_->Exec("CREATE SCHEMA many; GRANT USAGE ON SCHEMA many TO PUBLIC;"
                    " CREATE TABLE many.first (id int PRIMARY KEY, u int UNIQUE);"
                    "ALTER PUBLICATION bdr_keyed ADD TABLE many.first"));
  // Counts are kept a while beyond their transaction.
  const auto counted = [&]() -> int64_t {
    const absl::StatusOr<std::string> rows = connection_->QueryValue(
        "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_sys_tables"
        " WHERE relname IN ('pg_publication_rel', 'pg_index')");
    int64_t number = 0;
    EXPECT_TRUE(rows.ok() && absl::SimpleAtoi(*rows, &number));
    return number;
  };
  const auto rows_read = [&]() -> int64_t {
    EXPECT_OK(connection_->Exec("BEGIN"));
    const int64_t before = counted();
    absl::StatusOr<TableInfo> table = LoadTable(*connection_, "many", "first");
    EXPECT_OK(table.ok() ? LoadConstraints(*connection_, &*table) : table.status());
    const int64_t rows = counted() - before;
    EXPECT_OK(connection_->Exec("COMMIT"));
    return rows;
  };
  // As many as it takes for plans that do not read them all.
  ASSERT_OK(server_->Exec(
      "DO $$ BEGIN FOR i IN 1..600 LOOP EXECUTE format("
      "'CREATE TABLE many.t%s (id int PRIMARY KEY, u int UNIQUE);"
      "ALTER PUBLICATION bdr_keyed ADD TABLE many.t%s', i, i); END LOOP; END $$;"
      "ANALYZE pg_class; ANALYZE pg_index; ANALYZE pg_constraint; ANALYZE pg_publication_rel"));
  for (int i = 0; i < 3; ++i) rows_read();  // fills PostgreSQL's own caches
  EXPECT_LT(rows_read(), 300);
  ASSERT_OK(server_->Exec("DROP SCHEMA many CASCADE"));
}

// In tables of its own: they change.
TEST_F(CatalogTest, ColumnsThatWereAddedKnowWhatOlderRowsShow) {
  ASSERT_OK(server_->Exec(
      "CREATE TABLE app.grown (id int PRIMARY KEY);"
      "CREATE TABLE app.grown_parts (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE app.grown_part PARTITION OF app.grown_parts DEFAULT;"
      "INSERT INTO app.grown VALUES (1); INSERT INTO app.grown_parts VALUES (1);"
      "ALTER TABLE app.grown ADD many serial;"
      "ALTER TABLE app.grown ADD plain int DEFAULT 5, ADD list int[] DEFAULT '{1,NULL}',"
      " ADD quoted text DEFAULT 'a \"b\", {c}', ADD none int, ADD rights aclitem DEFAULT"
      " 'postgres=r/postgres', ADD n numeric(10,2) NOT NULL DEFAULT 0,"
      " ADD later int;"
      "ALTER TABLE app.grown ALTER plain SET DEFAULT 6, ALTER later SET DEFAULT 7;"
      "ALTER TABLE app.grown_parts ADD plain int DEFAULT 5"));
  const TableInfo table = Load("grown");
  EXPECT_EQ(absl::StrCat(table.natts),
            *connection_->QueryValue("SELECT relnatts FROM pg_class WHERE relname = 'grown'"));
  EXPECT_EQ(Column(table, "id").missing, std::nullopt);
  EXPECT_FALSE(Column(table, "id").has_default);
  EXPECT_EQ(Column(table, "plain").missing, Binary("5"));
  EXPECT_TRUE(Column(table, "plain").has_default);
  // Beside a column of a type without a binary form arrays travel as text.
  EXPECT_EQ(Column(table, "list").missing, "{1,NULL}");
  EXPECT_EQ(Column(table, "quoted").missing, "a \"b\", {c}");
  EXPECT_EQ(Column(table, "rights").missing, "postgres=r/postgres");
  EXPECT_EQ(Column(table, "none").missing, std::nullopt);
  EXPECT_FALSE(Column(table, "none").has_default);
  EXPECT_EQ(Column(table, "n").type_modifier, (10 << 16 | 2) + 4);
  // Each row has another.
  EXPECT_EQ(Column(table, "many").missing, std::nullopt);
  EXPECT_TRUE(Column(table, "many").has_default);
  EXPECT_EQ(Column(table, "later").missing, std::nullopt);
  EXPECT_TRUE(Column(table, "later").has_default);
  EXPECT_EQ(Column(Load("grown_parts"), "plain").missing, Binary("5"));
  ASSERT_OK(server_->Exec("DROP TABLE app.grown, app.grown_parts"));
}

TEST_F(CatalogTest, ConstraintsSayWhatIsTheSameAndHowToTell) {
  using Form = ConstraintInfo::Form;
  ASSERT_OK_AND_ASSIGN(const std::string path,
                       connection_->QueryValue("SELECT current_setting('search_path')"));
  TableInfo table = Load("claims");
  ASSERT_OK(LoadConstraints(*connection_, &table));
  EXPECT_EQ(*connection_->QueryValue("SELECT current_setting('search_path')"), path);
  ASSERT_EQ(table.constraints.size(), 9u);
  const std::vector<ConstraintInfo>& found = table.constraints;
  const std::vector<Form> forms = {Form::kCanonical, Form::kHash,      Form::kHash,
                                   Form::kHash,      Form::kCanonical, Form::kPairwise,
                                   Form::kPairwise,  Form::kCanonical, Form::kHash};
  std::set<uint64_t> fingerprints;
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].name, absl::StrCat("claims_", i + 1));
    EXPECT_EQ(found[i].form, forms[i]) << found[i].name;
    EXPECT_EQ(found[i].exclusion, i == 6);
    EXPECT_EQ(found[i].deferrable, i == 7);
    EXPECT_EQ(found[i].nulls_not_distinct, i == 4);
    EXPECT_EQ(found[i].partition, "");
    fingerprints.insert(found[i].fingerprint);
  }
  EXPECT_EQ(fingerprints.size(), found.size());
  ASSERT_EQ(found[0].parts.size(), 2u);
  EXPECT_EQ(found[0].parts[0].column, 2);
  EXPECT_EQ(found[0].parts[1].column, 1);
  EXPECT_EQ(found[0].parts[1].op, "OPERATOR(pg_catalog.=)");
  EXPECT_THAT(found[0].columns, ElementsAre(1, 2, 3));
  EXPECT_EQ(found[1].parts[0].expression, "app.plainly(b)");
  EXPECT_EQ(found[1].parts[0].column, -1);
  EXPECT_THAT(found[1].columns, ElementsAre(2));
  EXPECT_THAT(found[2].columns, ElementsAre(1, 3));
  EXPECT_THAT(found[2].predicate, ::testing::HasSubstr("'live'"));
  EXPECT_EQ(found[3].parts[0].collation, "app.nocase");
  EXPECT_EQ(found[5].parts[0].type, "\"bit\"");
  EXPECT_EQ(found[6].parts[0].op, "OPERATOR(pg_catalog.&&)");
  EXPECT_EQ(found[6].parts[0].type, "int4range");
  EXPECT_THAT(found[6].columns, ElementsAre(1, 5));
  EXPECT_THAT(Column(table, "g").generated_as, ::testing::HasSubstr("b || "));

  TableInfo parted = Load("parted");
  ASSERT_OK(LoadConstraints(*connection_, &parted));
  ASSERT_EQ(parted.constraints.size(), 1u);
  EXPECT_EQ(parted.constraints[0].partition, "app.part_1");
  EXPECT_EQ(parted.constraints[0].form, Form::kHash);
  EXPECT_THAT(parted.constraints[0].predicate, ::testing::HasSubstr("id >= 0"));
}

TEST_F(CatalogTest, RowSecurityIsThatOfTheConnectedRole) {
  EXPECT_TRUE(Load("secret").row_security);
  EXPECT_FALSE(Load("no_key").row_security);
  ASSERT_OK_AND_ASSIGN(const auto superuser, server_->Connect());
  EXPECT_FALSE(LoadTable(*superuser, "app", "secret")->row_security);
}

TEST_F(CatalogTest, PublishedTablesAreThoseOfOurPublicationsByTheirRoot) {
  ASSERT_OK_AND_ASSIGN(const auto tables, PublishedTables(*connection_));
  EXPECT_THAT(tables, ElementsAre(Pair("app", "Every Type"), Pair("app", "no_key"),
                                  Pair("app", "parted"), Pair("app", "wide_key")));
}

// Values equal to PostgreSQL must have equal canonical bytes, others must not.
TEST_F(CatalogTest, CanonicalFormAgreesWithEqualityOfPostgres) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> samples = {
      {"numeric",
       {"0",
        "0.00",
        "-0",
        "1",
        "1.0",
        "1.000000000",
        "10",
        "10000",
        "1e4",
        "0.0001",
        "0.00010",
        "-1.5",
        "-1.50",
        "123456789.123456789",
        "123456789.1234567890",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e300",
        "1e-300"}},
      {"float8", {"0", "-0", "1", "1.5", "NaN", "-NaN", "Infinity", "-Infinity", "1e-320"}},
      {"float4", {"0", "-0", "1", "NaN", "Infinity"}},
      {"char(5)", {"a", "a  ", " a", "", "    ", "a b"}},
      {"varchar", {"a", "a ", ""}},
      {"text", {"a", "A", "a ", ""}},
      {"bool", {"t", "true", "f"}},
      {"bytea", {"\\x", "\\x00", "\\x0000"}},
      {"varbit", {"", "0", "1", "10", "100", "11111111", "111111110"}},
      {"inet", {"10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "::1", "::ffff:10.0.0.1"}},
      {"cidr", {"10.0.0.0/8", "10.0.0.0/9", "::/0"}},
      {"timestamptz", {"2026-01-01 00:00+00", "2026-01-01 01:00+01", "infinity", "-infinity"}},
      {"timestamp", {"2026-01-01 00:00", "2026-01-01", "infinity"}},
      {"time", {"00:00", "24:00", "12:00:00.000001"}},
      {"date", {"2026-01-01", "infinity"}},
      {"money", {"1", "1.00", "-1"}},
      {"uuid", {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}},
      {"pg_lsn", {"0/0", "0/1", "1/0"}},
      {"macaddr", {"08:00:2b:01:02:03", "08-00-2b-01-02-03", "08:00:2b:01:02:04"}},
      {"macaddr8", {"08:00:2b:01:02:03", "08:00:2b:ff:fe:01:02:03"}},
      {"\"char\"", {"a", "b"}},
      {"name", {"a", "A"}},
      {"oid", {"1", "4294967295"}},
      {"int2", {"1", "-1"}},
      {"int8", {"1", "-1"}},
      {"app.mood", {"sad", "ok"}},
      {"app.small", {"1", "01", "2"}},
      {"tid", {"(0,1)", "(1,0)"}},
      {"xid8", {"1", "18446744073709551615"}},
      {"interval",
       {"1 month", "30 days", "720:00", "29 days 24:00", "1 year", "12 months", "360 days",
        "-1 month", "1 month -30 days", "0", "178000000 years", "-178000000 years"}},
      {"timetz", {"12:00+00", "13:00+01", "12:00:00.000001+00", "24:00+00", "00:00+00"}},
      {"jsonb",
       {"1",
        "1.0",
        "1e0",
        "1.50",
        "1.5",
        "[1]",
        "\"1.0\"",
        "\"1\"",
        "null",
        "true",
        "[]",
        "{}",
        "-0.0",
        "0",
        "100",
        "1e2",
        "10.0",
        "10",
        "[1.10, 2]",
        "[1.1, 2.00]",
        R"({"a": 1, "b": [1.0, {"c": 2.00}]})",
        R"({"b": [1, {"c": 2}], "a": 1.000})",
        R"({"a\"1.0": "x\\"})",
        R"({"a\"1": "x\\"})",
        R"(["\u0041", "1.00\\", 1.00])",
        R"(["A", "1.00\\", 1])",
        "1e-20",
        "0.00000000000000000001",
        "0.000000000000000000010"}},
      {"tsvector", {"", "a", "a:1", "a:1A", "a b", "b a"}},
      {"int4range", {"empty", "[1,1)", "[1,3)", "[1,2]", "(0,3)", "(,3)", "[1,)", "(,)"}},
      {"numrange", {"[1,2)", "[1.0,2.00)", "(1,2)", "[1,2]", "empty", "(1,1)", "(,2)"}},
      {"nummultirange", {"{}", "{[1,2)}", "{[1.0,2)}", "{[1,2),[2,3)}", "{[1,3)}"}},
      {"app.ints", {"{}", "{1,2}", "[2:3]={1,2}", "{{1,2}}", "{{1},{2}}", "{1,NULL}", "{NULL,1}"}},
      {"app.numbers", {"{1.0}", "{1.00}", "{1}", "{1,1}", "{{1.0}}"}},
      {"app.pairing", {"(1.0,a)", "(1,a)", "(1,)", "(,)", "(1,A)", R"((1,""))"}},
      {"app.citext",
       {"a", "A", "aB", "Ab", "\u00e4", "\u00c4", "\u0130", "i", "I", "ss", "", " a"}},
      {"app.hstore", {"", "a=>1", "a=>1, b=>2", "b=>2, a=>1", "a=>NULL"}},
      {"app.ltree", {"", "a", "a.b", "A.b"}},
      {"app.citexts", {"[a,b)", "[A,B)", "[a,b]"}},
  };
  for (const auto& [type_name, values] : samples) {
    ASSERT_OK(
        server_->Exec(absl::StrCat("DROP TABLE IF EXISTS app.key_sample; "
                                   "CREATE TABLE app.key_sample (k ",
                                   type_name, " PRIMARY KEY)")));
    const TableInfo table = Load("key_sample");
    // Composites have such a form, for ranges of them and for claims, but are no keys.
    ASSERT_EQ(table.columns.at(0).key_canonical, absl::string_view(type_name) != "app.pairing")
        << type_name;
    for (const std::string& left : values) {
      const std::string left_sql = absl::StrCat("'", left, "'::", type_name);
      ASSERT_OK_AND_ASSIGN(const std::string canonical_left,
                           CanonicalKeyValue(*table.columns[0].type, Binary(left_sql)));
      for (const std::string& right : values) {
        const std::string right_sql = absl::StrCat("'", right, "'::", type_name);
        ASSERT_OK_AND_ASSIGN(const std::string canonical_right,
                             CanonicalKeyValue(*table.columns[0].type, Binary(right_sql)));
        const bool equal =
            *connection_->QueryValue(absl::StrCat(
                "SELECT ", left_sql, " ", table.columns[0].key_operator, " ", right_sql)) == "t";
        EXPECT_EQ(canonical_left == canonical_right, equal) << left_sql << " and " << right_sql;
      }
    }
  }
}

TEST_F(CatalogTest, TypesWithoutCanonicalFormAreNotForKeys) {
  for (const char* type_name : {"int[]", "app.pairing", "tsquery", "regclass", "oidvector",
                                "text COLLATE app.nocase", "app.nocase_range", "app.nocase_pair"}) {
    ASSERT_OK(
        server_->Exec(absl::StrCat("DROP TABLE IF EXISTS app.key_sample; "
                                   "CREATE TABLE app.key_sample (k ",
                                   type_name, " PRIMARY KEY)")));
    EXPECT_FALSE(Load("key_sample").columns.at(0).key_canonical) << type_name;
  }
}

// The same types in another database, with other OIDs: what one server sends, translated, must be
// the same value on the other.
TEST_F(CatalogTest, TranslatedValuesOfAnotherServerMeanTheSame) {
  ASSERT_OK(server_->Exec("CREATE DATABASE elsewhere"));
  ASSERT_OK(server_->RunScript(kSchemaSql, "elsewhere"));
  ASSERT_OK_AND_ASSIGN(const auto there, server_->Connect("postgres", "elsewhere"));
  ASSERT_OK_AND_ASSIGN(const auto here, server_->Connect());
  const TableInfo table = Load("Every Type");
  const std::vector<std::pair<std::string, std::string>> values = {
      {"ms", "'{sad,NULL,happy}'::app.mood[]"},
      {"ms", "'{{sad,ok},{ok,sad}}'::app.mood[]"},
      {"ms", "'{}'::app.mood[]"},
      {"ss", "'{1,2,99}'::app.small[]"},
      {"p", "ROW(1, 'ok', '{sad}')::app.pair"},
      {"p", "ROW(NULL, NULL, NULL)::app.pair"},
      {"ps", "ARRAY[ROW(1, 'ok', '{sad,NULL}'), NULL, ROW(2, NULL, '{}')]::app.pair[]"},
      {"sp", "app.span(ROW(1, 'ok', '{}')::app.pair, ROW(2, 'ok', '{}')::app.pair)"},
      {"sp", "app.span(NULL, ROW(2, 'ok', '{sad}')::app.pair)"},
      {"sp", "'empty'::app.span"},
      {"smr", "app.multispan(app.span(ROW(1, 'ok', '{sad}')::app.pair, NULL))"},
      {"ints", "'{1,2,3}'::int[]"},
  };
  for (const auto& [column, expression] : values) {
    SCOPED_TRACE(expression);
    ASSERT_OK_AND_ASSIGN(const Result sent,
                         there->ExecParams(absl::StrCat("SELECT ", expression), {}, true));
    const TypeInfo& type = *Column(table, column).type;
    ASSERT_OK_AND_ASSIGN(const std::string translated, TranslateBinary(type, sent.value(0, 0)));
    if (type.carries_user_oids() && expression.find("empty") == std::string::npos) {
      EXPECT_NE(translated, sent.value(0, 0)) << "the databases give the same OIDs";
    }
    ASSERT_OK_AND_ASSIGN(
        const Result result,
        here->ExecParams(absl::StrCat("SELECT $1 IS NOT DISTINCT FROM ", expression, ", $1::text"),
                         {Param{.data = translated, .binary = true, .type_oid = type.oid}}));
    EXPECT_EQ(result.value(0, 0), "t") << result.value(0, 1);
  }
}

TEST_F(CatalogTest, EveryBuiltInTypeIsCalledByItsSqlName) {
  ASSERT_OK_AND_ASSIGN(
      const Result types,
      connection_->Exec(
          "SELECT oid, format_type(oid, NULL) FROM pg_type t WHERE oid < 10000 AND"
          " typtype IN ('b', 'r', 'm') AND NOT EXISTS (SELECT FROM pg_class c"
          " JOIN pg_type e ON e.oid = c.reltype WHERE t.oid IN (e.oid, e.typarray))"));
  ASSERT_GT(types.rows(), 150);
  for (int row = 0; row < types.rows(); ++row) {
    uint32_t oid = 0;
    ASSERT_TRUE(absl::SimpleAtoi(types.value(row, 0), &oid));
    EXPECT_EQ(BuiltinTypeName(oid), types.value(row, 1)) << oid;
  }
  EXPECT_EQ(BuiltinTypeName(16400), "");
  const TableInfo table = Load("Every Type");
  EXPECT_EQ(TypeNameForPeople(*Column(table, "ms").type), "app.mood[]");
  EXPECT_EQ(TypeNameForPeople(*Column(table, "s").type), "app.small");
  EXPECT_EQ(TypeNameForPeople(*Column(table, "ints").type), "integer[]");
  EXPECT_EQ(TypeNameForPeople(0, "app", "_mood"), "app.mood[]");
}

TEST_F(CatalogTest, WhatTravelsAsText) {
  ASSERT_OK(server_->Exec(
      "CREATE TYPE app.linked AS (r regclass, n int); CREATE DOMAIN app.link AS regclass;"
      "CREATE TABLE app.links (id int PRIMARY KEY, r regclass, rs regclass[], l app.linked,"
      " q tsquery, ints int[]);"
      "CREATE TABLE app.domain_links (id int PRIMARY KEY, d app.link, ints int[])"));
  const auto as_text = [](const std::string& name) {
    std::vector<std::string> columns;
    const TableInfo table = Load(name);
    for (const ColumnInfo& column : table.columns) {
      if (!column.binary) columns.push_back(column.name);
    }
    return columns;
  };
  EXPECT_THAT(as_text("links"), ElementsAre("r", "rs", "l", "q"));
  EXPECT_THAT(as_text("domain_links"), ElementsAre("d", "ints"));
  const TableInfo every = Load("Every Type");
  EXPECT_FALSE(Column(every, "acls").type->has_binary);
  EXPECT_FALSE(Column(every, "acls").type->receives);
  EXPECT_FALSE(Column(every, "ints").binary);
  EXPECT_TRUE(Column(every, "p").binary);
}

}  // namespace
}  // namespace bdr::postgres
