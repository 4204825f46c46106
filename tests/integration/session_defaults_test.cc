// What a database or a role defaults to is for its users: the agent's sessions go by their own.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// On one node only, and hostile: some end sessions, some change what values look like.
constexpr char kDefaults[] = R"sql(
CREATE SCHEMA evil;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now() - interval ''1 day''';
DO $do$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT * FROM (VALUES
        ('statement_timeout', '1'), ('lock_timeout', '1'), ('idle_session_timeout', '1'),
        ('idle_in_transaction_session_timeout', '1'), ('transaction_timeout', '1'),
        ('wal_sender_timeout', '1'), ('tcp_user_timeout', '1'), ('exit_on_error', 'on'),
        ('search_path', 'evil, pg_catalog'), ('DateStyle', 'German'), ('TimeZone', 'Asia/Kathmandu'),
        ('IntervalStyle', 'sql_standard'), ('extra_float_digits', '-15'), ('bytea_output', 'escape'),
        ('xmlbinary', 'hex'), ('xmloption', 'document'), ('array_nulls', 'off'),
        ('transform_null_equals', 'on'), ('standard_conforming_strings', 'off'),
        ('quote_all_identifiers', 'on'), ('row_security', 'off'),
        ('default_transaction_isolation', 'serializable'), ('default_transaction_read_only', 'on'),
        ('default_transaction_deferrable', 'on'), ('session_replication_role', 'replica'),
        ('gin_fuzzy_search_limit', '1'), ('enable_indexscan', 'off'), ('enable_nestloop', 'off'),
        ('client_encoding', 'LATIN1'), ('synchronous_commit', 'off')) AS v(name, value)
    LOOP
        IF current_setting(s.name, true) IS NOT NULL THEN
            EXECUTE format('ALTER ROLE bdr IN DATABASE app SET %I = %s', s.name,
                           CASE WHEN s.name = 'search_path' THEN s.value
                                ELSE quote_literal(s.value) END);
        END IF;
    END LOOP;
END $do$;
)sql";

TEST_F(ClusterTest, HostileDefaultsOfTheAgentsRoleChangeNothing) {
  BDR_START_CLUSTER(
      2,
      "CREATE TABLE odd (id int PRIMARY KEY, x xml, n int[], ts timestamptz, iv interval, f float8,"
      " b bytea, m money, t text, u text UNIQUE);"
      "CREATE TABLE beside (id int PRIMARY KEY, x xml, acl aclitem, ts timestamptz, iv interval,"
      " f float8, b bytea, m money);"
      "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent)");
  BDR_EXEC("n2", kDefaults);
  ASSERT_OK(cluster_->agent("n2").Terminate(kDeadline));
  ASSERT_OK(cluster_->StartAgent("n2"));

  // Ways of values that are text (acl makes the whole row go by columns), a swap of unique values,
  // a key that is referenced, what is captured on the node itself.
  for (int node = 1; node <= 2; ++node) {
    const std::string rows =
        absl::StrCat(" FROM generate_series(", node, "000, ", node, "100) AS i");
    BDR_EXEC(absl::StrCat("n", node),
             absl::StrCat("INSERT INTO odd SELECT i, 'a<b>ü</b>c', '{1,NULL}', "
                          "'2026-02-01 03:04:05.6+02', '-1 day +02:03:04', 0.1::float8 + 0.2, "
                          "'\\x00ff5c', '12.34', E'\\\\ back', i::text",
                          rows));
    BDR_EXEC(absl::StrCat("n", node),
             absl::StrCat("INSERT INTO beside SELECT i, 'a<b>ü</b>c', 'postgres=r/postgres', "
                          "'2026-02-01 03:04:05.6+02', '-1 day +02:03:04', 0.1::float8 + 0.2, "
                          "'\\x00ff5c', '12.34'",
                          rows));
  }
  BDR_CONVERGE();
  const std::string ours =
      Value("n2",
            "SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE usename = 'bdr' AND"
            " (application_name ~ '^bdr (apply|watcher)' OR backend_type = 'walsender')");
  EXPECT_THAT(ours, ::testing::HasSubstr(","));
  BDR_EXEC("n1", "UPDATE odd SET u = u || 'x', f = f * 3, ts = ts + iv WHERE id % 2 = 0");
  BDR_EXEC("n1", "UPDATE beside SET x = xmlconcat(x, x), f = f * 3, ts = ts + iv");
  BDR_EXEC("n2", "UPDATE odd SET u = u || 'y', x = xmlconcat(x, x), n = n || NULL WHERE id < 1050");
  BDR_EXEC("n1", "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM odd WHERE t = E'\\\\ back' AND m = '12.34'", "202");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(Value("n2", absl::StrCat("SELECT count(*) FROM unnest('", ours,
                                     "'::int[]) AS p(pid) WHERE NOT EXISTS (SELECT FROM"
                                     " pg_stat_activity AS a WHERE a.pid = p.pid)")),
            "0")
      << "sessions were ended";
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult verify, cluster_->Bdrctl({"verify"}));
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

}  // namespace
}  // namespace bdr::integration
