// Each thing that is missing gives exactly one finding, whose statement mends it.
#include "postgres/setup/node_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/testing.h"
#include "postgres/catalog.h"
#include "postgres/setup/setup_sql.h"
#include "tests/harness/postgres_server.h"

namespace bdr::pg_setup {
namespace {

using Level = Finding::Level;
using ::testing::HasSubstr;
using ::testing::Not;

class NodeCheckTest : public ::testing::Test {
 protected:
  void Start(harness::PostgresOptions options = {}) {
    auto server = harness::PostgresServer::Create(std::move(options));
    ASSERT_OK(server);
    server_ = std::move(*server);
    ASSERT_OK(server_->Exec("CREATE TABLE item (id int PRIMARY KEY, v text)"));
    ASSERT_OK_AND_ASSIGN(const std::string sql, SetupSql({.settings = false}));
    ASSERT_OK(server_->RunScript(sql));
  }

  // All that is not OK, as the superuser sees it of role bdr.
  std::vector<Finding> Bad() {
    auto connection = server_->Connect();
    EXPECT_OK(connection);
    auto findings = CheckNode(**connection, {.role = "bdr"});
    EXPECT_OK(findings);
    std::vector<Finding> bad;
    for (Finding& finding : *findings) {
      // The minor release of whatever server the test runs on is not the test's matter.
      if (finding.what.find("update to") != std::string::npos) continue;
      if (finding.level != Level::kOk) bad.push_back(std::move(finding));
    }
    return bad;
  }

  static std::string Text(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& f : findings) absl::StrAppend(&text, f.what, " -> ", f.remedy, "\n");
    return text;
  }

  // After `damage` there is one finding, with this remedy; once it has run, none.
  void ExpectMended(const std::string& damage, Level level, const std::string& remedy) {
    SCOPED_TRACE(damage);
    ASSERT_OK(server_->Exec(damage));
    const std::vector<Finding> bad = Bad();
    ASSERT_EQ(bad.size(), 1u) << Text(bad);
    EXPECT_EQ(bad[0].level, level) << bad[0].what;
    EXPECT_EQ(bad[0].remedy, remedy);
    ASSERT_OK(server_->Exec(bad[0].remedy));
    EXPECT_EQ(Text(Bad()), "");
  }

  std::unique_ptr<harness::PostgresServer> server_;
};

TEST_F(NodeCheckTest, ADatabaseThatWasSetUpIsFit) {
  Start();
  EXPECT_EQ(Text(Bad()), "");
  ASSERT_OK_AND_ASSIGN(auto agent, server_->Connect("bdr"));
  ASSERT_OK_AND_ASSIGN(const auto findings, CheckNode(*agent));
  EXPECT_NE(WorstLevel(findings), Level::kError) << Text(findings);
  // The session is left as it was.
  EXPECT_EQ(PQtransactionStatus(agent->raw()), PQTRANS_IDLE);
  EXPECT_EQ(*agent->QueryValue("SHOW search_path"), "\"$user\", public");
}

TEST_F(NodeCheckTest, EachMissingRightNamesTheStatementThatGivesIt) {
  Start();
  ExpectMended("ALTER ROLE bdr NOLOGIN", Level::kError, "ALTER ROLE \"bdr\" LOGIN");
  ExpectMended("ALTER ROLE bdr NOREPLICATION", Level::kError, "ALTER ROLE \"bdr\" REPLICATION");
  ExpectMended("ALTER ROLE bdr NOBYPASSRLS", Level::kError, "ALTER ROLE \"bdr\" BYPASSRLS");
  ExpectMended("ALTER ROLE bdr SUPERUSER", Level::kWarning, "ALTER ROLE \"bdr\" NOSUPERUSER");
  ExpectMended("REVOKE pg_monitor FROM bdr", Level::kError, "GRANT pg_monitor TO bdr");
  for (const char* role : {"pg_read_all_data", "pg_write_all_data"}) {
    ExpectMended(absl::StrCat("GRANT ", role, " TO bdr"), Level::kWarning,
                 absl::StrCat("REVOKE ", role, " FROM \"bdr\""));
  }
  for (const char* parameter : {"session_replication_role", "deadlock_timeout"}) {
    ExpectMended(absl::StrCat("REVOKE SET ON PARAMETER ", parameter, " FROM bdr"), Level::kError,
                 absl::StrCat("GRANT SET ON PARAMETER ", parameter, " TO bdr"));
  }
  const std::string setup = "pg_catalog.pg_replication_origin_session_setup(text)";
  ExpectMended(absl::StrCat("REVOKE EXECUTE ON FUNCTION ", setup, " FROM bdr"), Level::kError,
               absl::StrCat("GRANT EXECUTE ON FUNCTION ", setup, " TO bdr"));
  for (const char* given :
       {"ALTER SCHEMA bdr OWNER TO bdr", "ALTER TABLE bdr.progress OWNER TO bdr",
        "ALTER FUNCTION bdr.sync_publications() OWNER TO bdr"}) {
    ASSERT_OK(server_->Exec(given));
    EXPECT_THAT(Text(Bad()), HasSubstr("belongs to a role that is no superuser")) << given;
    ASSERT_OK_AND_ASSIGN(const std::string sql, SetupSql({.settings = false}));
    ASSERT_OK(server_->RunScript(sql));
    EXPECT_EQ(Text(Bad()), "") << given;
  }
  ExpectMended("REVOKE EXECUTE ON FUNCTION bdr.sync_publications() FROM bdr", Level::kError,
               "GRANT EXECUTE ON FUNCTION bdr.sync_publications() TO \"bdr\"");
  ExpectMended("REVOKE UPDATE ON bdr.progress FROM bdr", Level::kError,
               "GRANT SELECT, INSERT, UPDATE, DELETE ON bdr.progress TO bdr");
  ExpectMended("REVOKE SELECT ON bdr.trusted_owner FROM PUBLIC", Level::kError,
               "GRANT SELECT ON bdr.trusted_owner TO bdr");
}

// Row security is no matter as long as the role passes it.
TEST_F(NodeCheckTest, TablesWhoseRowsAreHiddenAreNamed) {
  Start();
  ASSERT_OK(
      server_->Exec("CREATE TABLE free (id int PRIMARY KEY); SELECT bdr.sync_publications();"
                    "ALTER TABLE item ENABLE ROW LEVEL SECURITY"));
  EXPECT_THAT(Text(Bad()), HasSubstr("public.item has row security: it does not restrict"));
  ASSERT_OK(server_->Exec("ALTER ROLE bdr NOBYPASSRLS"));
  EXPECT_THAT(Text(Bad()),
              HasSubstr("row security hides rows from role \"bdr\", so that changes are not "
                        "applied to: public.item -> ALTER ROLE \"bdr\" BYPASSRLS"));
  // Its owner passes it, unless that is forced on him.
  ASSERT_OK(server_->Exec("ALTER TABLE item OWNER TO bdr"));
  EXPECT_THAT(Text(Bad()), Not(HasSubstr("row security hides")));
  ASSERT_OK(server_->Exec("ALTER TABLE item FORCE ROW LEVEL SECURITY"));
  EXPECT_THAT(Text(Bad()), HasSubstr("applied to: public.item ->"));
}

TEST_F(NodeCheckTest, CodeOfOwnersWhoAreNotTrustedIsNamed) {
  Start();
  ASSERT_OK(server_->Exec(
      "CREATE ROLE mallory; CREATE SCHEMA evil AUTHORIZATION mallory; SET ROLE mallory;"
      "CREATE FUNCTION evil.fine(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';"
      "RESET ROLE; ALTER TABLE item ADD CONSTRAINT x CHECK (evil.fine(id))"));
  ASSERT_OK_AND_ASSIGN(const auto agent, server_->Connect("bdr"));
  ASSERT_OK_AND_ASSIGN(const auto findings, CheckNode(*agent));
  EXPECT_THAT(Text(findings), HasSubstr("-> SELECT bdr.trust_owner('mallory')"));
}

// Asked as the role itself, which may not even look into the schema.
TEST_F(NodeCheckTest, ARoleThatMayNotLookIntoTheSchemaIsToldThat) {
  Start();
  ASSERT_OK(server_->Exec("REVOKE USAGE ON SCHEMA bdr FROM bdr, PUBLIC"));
  ASSERT_OK_AND_ASSIGN(const auto agent, server_->Connect("bdr"));
  const auto findings = CheckNode(*agent);
  ASSERT_OK(findings);
  EXPECT_THAT(Text(*findings), HasSubstr("lacks USAGE on schema bdr"));
}

// What upkeep does by itself would come and go.
TEST_F(NodeCheckTest, OfARunningNodeOnlyWhatItDoesNotMendItselfCounts) {
  Start();
  const auto errors = [this] {
    const auto connection = server_->Connect("bdr");
    EXPECT_OK(connection);
    const auto findings = CheckNode(**connection, {.running = true});
    EXPECT_OK(findings);
    std::vector<Finding> found;
    for (const Finding& finding : *findings) {
      if (finding.level == Level::kError) found.push_back(finding);
    }
    return Text(found);
  };
  ASSERT_OK(server_->Exec("CREATE TABLE made (id int PRIMARY KEY)"));
  EXPECT_EQ(errors(), "");
  EXPECT_THAT(Text(Bad()), HasSubstr("public.made"));
  ASSERT_OK(server_->Exec("ALTER PUBLICATION bdr_keyed SET (publish = 'insert')"));
  EXPECT_THAT(errors(), HasSubstr("bdr_keyed has other options"));
}

// Done on each node, no value is handed out twice.
TEST_F(NodeCheckTest, SerialKeysAreMadeSafeByTheStatementsThatAreShown) {
  Start();
  ASSERT_OK(
      server_->Exec("CREATE TABLE \"T\" (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY);"
                    "INSERT INTO \"T\" SELECT FROM generate_series(1, 250);"
                    "SELECT bdr.sync_publications()"));
  std::string remedy;
  for (const Finding& finding : Bad()) {
    if (absl::StrContains(finding.what, "takes its values")) remedy = finding.remedy;
  }
  std::string values;
  for (const char* node : {"1", "2"}) {
    ASSERT_OK(
        server_->Exec(absl::StrReplaceAll(remedy, {{"+ N)", absl::StrCat("+ ", node, ")")}})));
    ASSERT_OK_AND_ASSIGN(const std::string next,
                         server_->QueryValue("SELECT nextval('\"T_id_seq\"') || ' ' || "
                                             "nextval('\"T_id_seq\"')"));
    absl::StrAppend(&values, next, " ");
    // Where the other node's sequence stands.
    if (node[0] == '1') {
      ASSERT_OK(server_->Exec("SELECT setval('\"T_id_seq\"', 250)"));
    }
  }
  EXPECT_EQ(values, "401 501 402 502 ");
  EXPECT_EQ(Text(Bad()), "");
}

TEST_F(NodeCheckTest, PublicationsAreMendedByStatement) {
  Start();
  const std::string sync = "SELECT bdr.sync_publications()";
  ExpectMended("CREATE TABLE late (id int PRIMARY KEY)", Level::kError, sync);
  ExpectMended("ALTER PUBLICATION bdr_keyed DROP TABLE item", Level::kError, sync);
  for (const char* right : {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"}) {
    ExpectMended(absl::StrCat("REVOKE ", right, " ON item FROM bdr"), Level::kError, sync);
  }
  ExpectMended("ALTER PUBLICATION bdr_keyed SET (publish = 'insert')", Level::kError,
               "ALTER PUBLICATION bdr_keyed SET (publish = 'insert, update, delete, truncate', "
               "publish_via_partition_root = true)");
  ExpectMended("ALTER PUBLICATION bdr_insert_only SET (publish_via_partition_root = false)",
               Level::kError,
               "ALTER PUBLICATION bdr_insert_only SET (publish = 'insert, truncate', "
               "publish_via_partition_root = true)");
  ExpectMended("DROP PUBLICATION bdr_insert_only", Level::kError,
               "CREATE PUBLICATION bdr_insert_only WITH (publish = 'insert, truncate', "
               "publish_via_partition_root = true)");
}

TEST_F(NodeCheckTest, ADatabaseThatWasNeverSetUpNamesWhatToRun) {
  auto server = harness::PostgresServer::Create();
  ASSERT_OK(server);
  server_ = std::move(*server);
  EXPECT_THAT(Text(Bad()), HasSubstr("role \"bdr\" does not exist"));
  EXPECT_THAT(Text(Bad()), HasSubstr("run the output of: bdrctl node setup-sql --role bdr"));
}

TEST_F(NodeCheckTest, SettingsAreMendedByStatementAndRestart) {
  Start({.settings = {{"wal_level", "replica"},
                      {"track_commit_timestamp", "off"},
                      {"max_slot_wal_keep_size", "1GB"},
                      {"max_replication_slots", "4"}}});
  const std::vector<Finding> bad = Bad();
  std::vector<std::string> remedies;
  for (const Finding& finding : bad) remedies.push_back(finding.remedy);
  EXPECT_THAT(remedies,
              ::testing::UnorderedElementsAre("ALTER SYSTEM SET wal_level = 'logical'",
                                              "ALTER SYSTEM SET track_commit_timestamp = 'on'",
                                              "ALTER SYSTEM SET max_slot_wal_keep_size = '-1'",
                                              "ALTER SYSTEM SET max_replication_slots = '20'"))
      << Text(bad);
  for (const std::string& remedy : remedies) ASSERT_OK(server_->Exec(remedy));
  ASSERT_OK(server_->Restart());
  EXPECT_EQ(Text(Bad()), "");
}

TEST_F(NodeCheckTest, WarningsNameTableAndRemedy) {
  Start();
  struct Case {
    std::string damage, names, remedy;
    std::string also = "";  // what else is named, and stays so
  };
  const std::vector<Case> cases = {
      {"CREATE TABLE t (a int NOT NULL UNIQUE)", "table public.t has no key",
       "ALTER TABLE public.t REPLICA IDENTITY USING INDEX t_a_key"},
      {"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING",
       "table public.t has no key", "ALTER TABLE public.t REPLICA IDENTITY DEFAULT"},
      {"CREATE TABLE t (v text)", "table public.t has no key", ""},
      {"CREATE TABLE t (id int PRIMARY KEY, u int CONSTRAINT tu UNIQUE DEFERRABLE)",
       "constraint tu of table public.t is deferrable",
       "ALTER TABLE public.t DROP CONSTRAINT tu, ADD CONSTRAINT tu UNIQUE (u)"},
      {"CREATE UNLOGGED TABLE t (id int PRIMARY KEY)", "table public.t is unlogged",
       "ALTER TABLE public.t SET LOGGED"},
      {"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
       "table public.t has row security", ""},
      {"CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)",
       "column n of table public.t is GENERATED ALWAYS",
       "ALTER TABLE public.t ALTER COLUMN n SET GENERATED BY DEFAULT"},
      {"CREATE TABLE t (id int PRIMARY KEY, v text);"
       "ALTER TABLE t ALTER v SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, repeat('x', 9999))",
       "table public.t has values stored out of line",
       "ALTER TABLE public.t REPLICA IDENTITY FULL"},
      // The partition alone is not enough: it is published as its root.
      {"CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
       "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (9);"
       "ALTER TABLE t_1 ALTER v SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;"
       "INSERT INTO t VALUES (1, repeat('x', 9999))",
       "table public.t has values stored out of line (TOAST) in its partitions",
       "ALTER TABLE public.t REPLICA IDENTITY FULL", "TRUNCATE of one of its partitions"},
      {"CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
       "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (9);"
       "ALTER TABLE t_1 ALTER v SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL;"
       "INSERT INTO t VALUES (1, repeat('x', 9999))",
       "table public.t_1 has values stored out of line (TOAST):",
       "ALTER TABLE public.t_1 REPLICA IDENTITY FULL", "TRUNCATE of one of its partitions"},
      {"CREATE TABLE t (id int PRIMARY KEY, a aclitem)", "without a binary form", ""},
      {"CREATE TABLE t (id tsquery PRIMARY KEY)", "equal values can differ", ""},
      {"CREATE TABLE t (id int[] PRIMARY KEY)", "make the column of a domain", ""},
      {"CREATE TABLE t (a int, id int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY)",
       "key column \"id\" is generated", ""},
      {"CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2',"
       " deterministic = false); CREATE TABLE t (id text COLLATE nocase PRIMARY KEY)",
       "different strings are equal", ""},
      {"CREATE TABLE t (id int PRIMARY KEY); CREATE OR REPLACE FUNCTION tf() RETURNS trigger "
       "LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
       "CREATE TRIGGER tt BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();"
       "ALTER TABLE t ENABLE ALWAYS TRIGGER tt",
       "trigger tt of table public.t is ENABLE ALWAYS", "ALTER TABLE public.t ENABLE TRIGGER tt"},
      {"CREATE TABLE t (id int PRIMARY KEY); CREATE RULE tr AS ON INSERT TO t DO ALSO NOTHING;"
       "ALTER TABLE t ENABLE ALWAYS RULE tr",
       "rule tr of table public.t is ENABLE ALWAYS", "ALTER TABLE public.t ENABLE RULE tr"},
      {"CREATE TABLE t (id int PRIMARY KEY); CREATE RULE tr AS ON UPDATE TO t DO ALSO NOTHING",
       "rule tr of table public.t is ON UPDATE", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.damage);
    ASSERT_OK(server_->Exec(c.damage));
    ASSERT_OK(server_->Exec("SELECT bdr.sync_publications()"));
    const auto bad_beside = [&] {
      std::vector<Finding> bad = Bad();
      std::erase_if(bad, [&](const Finding& finding) {
        return !c.also.empty() && absl::StrContains(finding.what, c.also);
      });
      return bad;
    };
    const std::vector<Finding> bad = bad_beside();
    ASSERT_EQ(bad.size(), 1u) << Text(bad);
    EXPECT_THAT(bad[0].what, HasSubstr(c.names));
    EXPECT_EQ(bad[0].remedy, c.remedy);
    if (!bad[0].remedy.empty()) {
      ASSERT_OK(server_->Exec(bad[0].remedy));
      ASSERT_OK(server_->Exec("SELECT bdr.sync_publications()"));
      EXPECT_EQ(Text(bad_beside()), "");
    }
    ASSERT_OK(server_->Exec("DROP TABLE t"));
  }
  ASSERT_OK(server_->Exec("SELECT lo_create(0)"));
  EXPECT_THAT(Text(Bad()), HasSubstr("1 large objects"));
  ASSERT_OK(
      server_->Exec("SELECT lo_unlink(oid) FROM pg_largeobject_metadata;"
                    "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION y "
                    "WITH (connect = false)"));
  ASSERT_OK(server_->Exec("ALTER SUBSCRIPTION s ENABLE"));
  EXPECT_THAT(Text(Bad()), HasSubstr("subscription s also writes here"));
  EXPECT_THAT(Text(Bad()), HasSubstr("ALTER SUBSCRIPTION s DISABLE"));
}

// Those that would fail where rows are applied, and no others.
TEST_F(NodeCheckTest, FunctionsThatLeanOnTheUsersSearchPathAreNamed) {
  Start();
  ASSERT_OK(server_->Exec(
      "CREATE SCHEMA app; SET search_path = app; CREATE TYPE mood AS ENUM ('a');"
      "CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE sql AS"
      " 'SELECT $1 > 0 AND EXISTS (SELECT FROM public.item)';"
      "CREATE FUNCTION has_path(int) RETURNS boolean LANGUAGE plpgsql SET search_path = app AS"
      " $$BEGIN RETURN 'a'::mood = 'a'::mood; END$$;"
      "CREATE FUNCTION has_body(int) RETURNS boolean LANGUAGE sql"
      " BEGIN ATOMIC SELECT 'a'::mood = 'a'::mood; END;"
      "CREATE TABLE public.fit (id int PRIMARY KEY CHECK (app.fine(id) AND app.has_path(id) AND"
      " app.has_body(id)));"
      "SELECT bdr.sync_publications()"));
  EXPECT_EQ(Text(Bad()), "");
  ExpectMended(
      "SET search_path = app;"
      "CREATE FUNCTION is_mood(int) RETURNS boolean LANGUAGE plpgsql AS"
      " $$BEGIN RETURN 'a'::Mood = 'a'; END$$; CREATE DOMAIN judged AS int CHECK (is_mood(VALUE))",
      Level::kWarning, "ALTER FUNCTION app.is_mood(integer) SET search_path = app, pg_temp");
}

// What the publications take by SQL is what appliers can find rows by, for each type that can be a
// key at all.
TEST_F(NodeCheckTest, PublishedKeysAreThoseThatRowsCanBeFoundBy) {
  Start();
  ASSERT_OK(
      server_->Exec("CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;"
                    "CREATE EXTENSION isn; CREATE TYPE pair AS (a numeric, q tsquery);"
                    "CREATE DOMAIN ints AS int[]; CREATE DOMAIN queries AS tsquery[];"
                    "CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE fine AS (m mood[], c citext);"
                    "CREATE TYPE spans AS RANGE (subtype = fine)"));
  ASSERT_OK(server_->Exec(R"sql(
      DO $$ DECLARE t oid; BEGIN
        FOR t IN SELECT oid FROM pg_type y
                 WHERE (typtype NOT IN ('p', 'c') OR typname IN ('pair', 'fine'))
                   -- Not the arrays of the catalogs' rows, of which there are hundreds.
                   AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = y.typelem AND e.typtype = 'c')
        LOOP
          BEGIN
            EXECUTE format('CREATE TABLE k%s (k %s PRIMARY KEY)', t, t::regtype);
          EXCEPTION WHEN OTHERS THEN NULL;  -- no such index, or no columns of such a type
          END;
        END LOOP;
      END $$; SELECT bdr.sync_publications())sql"));
  ASSERT_OK_AND_ASSIGN(const auto connection, server_->Connect());
  ASSERT_OK_AND_ASSIGN(
      const postgres::Result tables,
      connection->Exec("SELECT relname, format_type(a.atttypid, NULL) FROM pg_class c"
                       " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'k'"
                       " WHERE relname ~ '^k[0-9]+$' AND relkind = 'r'"));
  ASSERT_GT(tables.rows(), 100);
  int published = 0;
  for (int i = 0; i < tables.rows(); ++i) {
    ASSERT_OK_AND_ASSIGN(const postgres::TableInfo table,
                         postgres::LoadTable(*connection, "public", tables.value(i, 0)));
    EXPECT_EQ(table.published, table.columns.at(0).key_canonical) << tables.value(i, 1);
    published += table.published ? 1 : 0;
  }
  EXPECT_GT(published, 50);
}

}  // namespace
}  // namespace bdr::pg_setup
