// Owners of replicated tables against the rights of the agent. The attacker, mallory, owns tables
// on both nodes; whatever he writes on n1 is applied on n2 by the agent, and must not run his code
// there, by any way that PostgreSQL offers.
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "postgres/connection.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// steal() leaves a mark that says whose rights mallory's code had, and tries to get at more. Users'
// sessions are not the agent's.
constexpr char kSchema[] = R"sql(
CREATE ROLE mallory LOGIN;
GRANT CREATE ON SCHEMA public TO mallory;
CREATE SCHEMA evil AUTHORIZATION mallory;
CREATE UNLOGGED TABLE marks (who text, what text);
GRANT INSERT, SELECT ON marks TO PUBLIC;
CREATE TABLE secret (id int PRIMARY KEY, v text);
INSERT INTO secret VALUES (1, 'untouched');
CREATE TABLE calm (id int PRIMARY KEY, v text);
SET ROLE mallory;
CREATE FUNCTION evil.steal(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user IN ('mallory', 'postgres') THEN RETURN true; END IF;
    INSERT INTO public.marks VALUES (current_user, what);
    BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN CREATE TEMP TABLE pg_class (x int); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN SET search_path = evil, pg_catalog; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN UPDATE public.secret SET v = 'stolen'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN DROP FUNCTION bdr.sync_publications(); EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN true;
END $$;
CREATE FUNCTION evil.hides(what int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.steal('hidden in an immutable function'); RETURN what; END $$;
CREATE FUNCTION evil.fires() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.steal(TG_NAME); RETURN COALESCE(NEW, OLD); END $$;
CREATE FUNCTION evil.equal(int, int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.steal('operator'); RETURN $1 = $2; END $$;
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.equal);
CREATE TABLE t (id int PRIMARY KEY, n int, v text);
RESET ROLE;
)sql";

class OwnersCodeTest : public ClusterTest {
 protected:
  void ExecAsMallory(const std::string& node, const std::string& sql) {
    BDR_EXEC(node, absl::StrCat("SET ROLE mallory; ", sql, "; RESET ROLE"));
  }

  // What the server says to the agent's role.
  std::string AsAgent(const std::string& node, const std::string& sql) {
    const absl::StatusOr<std::unique_ptr<postgres::Connection>> session = cluster_->Connect(node);
    if (!session.ok()) return session.status().ToString();
    if (!(*session)->Exec("SET ROLE bdr").ok()) return "there is no role bdr";
    return (*session)->Exec(sql).status().ToString();
  }

  // Apply on n2 says whose code it does not run.
  void ExpectRefused(const std::string& what) {
    std::string last;
    ASSERT_OK(harness::WaitFor("apply names the code", kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
                                 last = status.out;
                                 return status.exit_code == 2 &&
                                        absl::StrContains(last, "code of role \"mallory\"") &&
                                        absl::StrContains(last, what);
                               }))
        << what << "\n"
        << last;
  }
  void ExpectNothingStolen() {
    ExpectEverywhere("SELECT coalesce(string_agg(who || ': ' || what, ', '), 'nothing') FROM marks",
                     "nothing");
    ExpectEverywhere("SELECT v FROM secret", "untouched");
    ExpectEverywhere("SELECT prosecdef FROM pg_proc WHERE oid = 'bdr.sync_publications'::regproc",
                     "t");
  }
};

struct Way {
  const char* name;
  const char* sql;   // as mallory, on n2, once the table is published
  const char* undo;  // as mallory, on n2
  const char* named;
};

constexpr Way kWays[] = {
    {"trigger",
     "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION evil.fires();"
     "ALTER TABLE t ENABLE ALWAYS TRIGGER x",
     "DROP TRIGGER x ON t", "trigger x"},
    {"statement trigger",
     "CREATE TRIGGER x AFTER INSERT ON t EXECUTE FUNCTION evil.fires();"
     "ALTER TABLE t ENABLE REPLICA TRIGGER x",
     "DROP TRIGGER x ON t", "trigger x"},
    {"check", "ALTER TABLE t ADD CONSTRAINT x CHECK (evil.steal('check')) NOT VALID",
     "ALTER TABLE t DROP CONSTRAINT x", "constraint x"},
    {"domain",
     "CREATE DOMAIN evil.d AS int; ALTER TABLE t ALTER n TYPE evil.d;"
     "ALTER DOMAIN evil.d ADD CONSTRAINT x CHECK (evil.steal('domain')) NOT VALID",
     "ALTER TABLE t ALTER n TYPE int; DROP DOMAIN evil.d", "evil.d"},
    {"index expression", "CREATE INDEX x ON t (evil.hides(n))", "DROP INDEX x", "index x"},
    {"unique index expression", "CREATE UNIQUE INDEX x ON t (evil.hides(id))", "DROP INDEX x",
     "index x"},
    {"index predicate", "CREATE INDEX x ON t (n) WHERE evil.hides(n) > 0", "DROP INDEX x",
     "index x"},
    {"statistics", "CREATE STATISTICS x ON (n + evil.hides(1)) FROM t", "DROP STATISTICS x",
     "statistics x"},
    {"generated column", "ALTER TABLE t ADD g int GENERATED ALWAYS AS (evil.hides(n)) STORED",
     "ALTER TABLE t DROP g", "column g"},
    {"default",
     "ALTER TABLE t ADD g boolean; ALTER TABLE t ALTER g SET DEFAULT evil.steal('default')",
     "ALTER TABLE t DROP g", "column g"},
    {"operator", "ALTER TABLE t ADD CONSTRAINT x CHECK (id OPERATOR(evil.=) id) NOT VALID",
     "ALTER TABLE t DROP CONSTRAINT x", "constraint x"},
    {"rule",
     "CREATE RULE x AS ON DELETE TO t DO ALSO SELECT evil.steal('rule');"
     "ALTER TABLE t ENABLE ALWAYS RULE x",
     "DROP RULE x ON t", "rule x"},
    {"sql in a built-in function",
     "ALTER TABLE t ADD CONSTRAINT x CHECK (query_to_xml('SELECT evil.steal(''query'')', true, "
     "true, '') IS NOT NULL) NOT VALID",
     "ALTER TABLE t DROP CONSTRAINT x", "query_to_xml"},
};

TEST_F(OwnersCodeTest, NoOwnersCodeRunsWithTheRightsOfTheAgent) {
  BDR_START_CLUSTER(2, kSchema);
  BDR_EXEC("n1", "INSERT INTO t VALUES (0, 0, 'before')");
  BDR_CONVERGE();
  int id = 0;
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    ASSERT_NO_FATAL_FAILURE(ExecAsMallory("n2", way.sql));
    ++id;
    ASSERT_NO_FATAL_FAILURE(
        ExecAsMallory("n1", absl::Substitute("INSERT INTO t VALUES ($0, $0, 'x')", id)));
    ASSERT_NO_FATAL_FAILURE(ExpectRefused(way.named));
    ExpectNothingStolen();
    ASSERT_NO_FATAL_FAILURE(ExecAsMallory("n2", way.undo));
    ASSERT_OK(cluster_->Bdrctl({"apply", "retry", "n2"}).status());
    ASSERT_OK(cluster_->WaitForValue("n2", absl::StrCat("SELECT count(*) FROM t WHERE id = ", id),
                                     "1", kDeadline));
  }
  ExpectNothingStolen();
  BDR_CONVERGE();
}

TEST_F(OwnersCodeTest, AnAdministratorConsentsForEachOwner) {
  BDR_START_CLUSTER(2, kSchema);
  ASSERT_NO_FATAL_FAILURE(
      ExecAsMallory("n2",
                    "CREATE FUNCTION evil.fine(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS "
                    "'SELECT $1 > 0'; ALTER TABLE t ADD CONSTRAINT x CHECK (evil.fine(id))"));
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 1, 'x')");
  ASSERT_NO_FATAL_FAILURE(ExpectRefused("constraint x"));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult check,
                       cluster_->Bdrctl({"node", "check", "n2"}));
  EXPECT_EQ(check.exit_code, 2) << check.out;
  EXPECT_THAT(check.out, ::testing::HasSubstr("SELECT bdr.trust_owner('mallory')"));
  // Nor can the agent's role consent.
  EXPECT_THAT(AsAgent("n2", "SELECT bdr.trust_owner('mallory')"),
              ::testing::HasSubstr("permission denied"));
  const std::string database = cluster_->postgres("n2").conninfo("postgres", "app");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult trusted,
                       cluster_->Bdrctl({"node", "trust", "mallory", "--database", database}));
  EXPECT_EQ(trusted.exit_code, 0) << trusted.err;
  BDR_CONVERGE();
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult named,
                       cluster_->Bdrctl({"node", "check", "n2"}));
  EXPECT_THAT(named.out, ::testing::HasSubstr("role \"mallory\" is trusted by \"postgres\""));
  // And takes it back.
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult distrusted,
                       cluster_->Bdrctl({"node", "distrust", "mallory", "--database", database}));
  EXPECT_EQ(distrusted.exit_code, 0) << distrusted.err;
  BDR_EXEC("n1", "INSERT INTO t VALUES (2, 2, 'x')");
  ASSERT_NO_FATAL_FAILURE(ExpectRefused("constraint x"));
}

TEST_F(OwnersCodeTest, ANewTableWithOwnersCodeIsLeftOutAndNothingElseStops) {
  BDR_START_CLUSTER(2, kSchema);
  for (const char* node : {"n1", "n2"}) {
    ASSERT_NO_FATAL_FAILURE(
        ExecAsMallory(node, "CREATE TABLE late (id int PRIMARY KEY CHECK (evil.steal('late')))"));
  }
  ASSERT_NO_FATAL_FAILURE(ExecAsMallory("n1", "INSERT INTO late VALUES (1)"));
  BDR_EXEC("n1", "INSERT INTO calm VALUES (1, 'x')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM calm", "1", kDeadline));
  std::string last;
  ASSERT_OK(harness::WaitFor("status names the table", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status", "-o", "json"}));
    last = status.out;
    return absl::StrContains(last, "public.late does not replicate") &&
           absl::StrContains(last, "evil.steal");
  })) << last;
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM late"), "0");
  ExpectNothingStolen();
}

// Undo and the actions of foreign keys write as users do: ordinary triggers fire.
TEST_F(OwnersCodeTest, UndoAndForeignKeyActionsRunNoOwnersCode) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql = absl::StrCat(
      kSchema,
      "SET ROLE mallory; CREATE TABLE parent (id int PRIMARY KEY);"
      "CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);"
      "CREATE TRIGGER x BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION "
      "evil.fires();"
      "CREATE TRIGGER y BEFORE INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION "
      "evil.fires(); INSERT INTO parent VALUES (1); INSERT INTO t VALUES (1, 1, 'x'); RESET ROLE;");
  options.proxies = true;
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK_AND_ASSIGN(
      const harness::ProgramResult set,
      cluster_->Bdrctl({"constraint", "set-policy", "public.child", "child_p_fkey", "cascade"}));
  EXPECT_EQ(set.exit_code, 0) << set.out << set.err;
  ASSERT_OK(harness::WaitFor("the policy is in force", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto list, cluster_->Bdrctl({"constraint", "list", "-o", "json"}));
    return absl::StrContains(list.out, "\"in_force\": true");
  }));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE t SET v = 'one'");
  BDR_EXEC("n2", "UPDATE t SET v = 'two'");
  BDR_EXEC("n1", "INSERT INTO child VALUES (1, 1)");
  BDR_EXEC("n2", "DELETE FROM parent");
  cluster_->Heal();
  std::string last;
  ASSERT_OK(harness::WaitFor("the action is refused", kDeadline, [&]() -> absl::StatusOr<bool> {
    last.clear();
    for (const char* node : {"n1", "n2"}) {
      ASSIGN_OR_RETURN(const std::string error,
                       cluster_->QueryValue(node,
                                            "SELECT coalesce(string_agg(error, ' '), '') FROM "
                                            "bdr.fk_action"));
      absl::StrAppend(&last, error, " ");
    }
    return absl::StrContains(last, "code of role \"mallory\"");
  })) << last;
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT v FROM t", "two", kDeadline));
  const std::string logged =
      "SELECT coalesce(max(id)::text, '') FROM bdr.conflict_log WHERE relation = 'public.t'";
  const std::string node = Value("n1", logged).empty() ? "n2" : "n1";
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult undone,
                       cluster_->Bdrctl({"conflict", "undo",
                                         absl::StrCat(node, "/", Value(node, logged)), "--yes"}));
  EXPECT_EQ(undone.exit_code, 4) << undone.out;
  EXPECT_THAT(undone.err, ::testing::HasSubstr("code of role \"mallory\""));
  ExpectNothingStolen();
}

// What the agent's role has is what it needs.
TEST_F(OwnersCodeTest, TheAgentsRoleHasRightsOnPublishedTablesAlone) {
  BDR_START_CLUSTER(1, kSchema);
  BDR_EXEC("n1", "CREATE UNLOGGED TABLE unpublished (id int PRIMARY KEY)");
  for (const char* statement :
       {"SELECT FROM pg_authid", "SELECT FROM unpublished", "INSERT INTO unpublished VALUES (1)",
        "CREATE TABLE bdr.x ()", "INSERT INTO bdr.trusted_owner VALUES (1, 'x')",
        "DELETE FROM bdr.schema_version"}) {
    EXPECT_THAT(AsAgent("n1", statement), ::testing::HasSubstr("permission denied")) << statement;
  }
  for (const char* statement :
       {"ALTER TABLE bdr.progress ADD x int", "DROP FUNCTION bdr.sync_publications()",
        "CREATE OR REPLACE FUNCTION bdr.is_trusted(role oid) RETURNS boolean LANGUAGE sql AS "
        "'SELECT true'",
        "DROP PUBLICATION bdr_keyed"}) {
    EXPECT_THAT(AsAgent("n1", statement),
                ::testing::ContainsRegex("must be owner|permission denied"))
        << statement;
  }
}

}  // namespace
}  // namespace bdr::integration
