// The same cluster on other major versions of PostgreSQL than Debian's, and on all of them mixed.
#include "absl/strings/numbers.h"
#include "tests/compat/other_versions.h"
#include "tests/harness/load.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using harness::Load;

constexpr char kSchema[] = R"sql(
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, m mood);
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(10, 2), at timestamptz, tags text[],
                   doc jsonb, m mood, p pair, r int4range, big text,
                   twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE event (what text);
CREATE TABLE part (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_rest PARTITION OF part DEFAULT;
)sql";

class VersionsTest : public ClusterTest, public ::testing::WithParamInterface<std::vector<int>> {
 protected:
  // A node of each major. False, with the reason, if one of them cannot be had.
  static bool ChooseServers(harness::ClusterOptions* options, std::string* why) {
    options->nodes.clear();
    for (int major : GetParam()) {
      const absl::StatusOr<std::string> bin = BinFolderOf(major);
      if (!bin.ok()) {
        *why = bin.status().ToString();
        return false;
      }
      harness::NodeOptions node;
      node.bin_folder = *bin;
      options->nodes.push_back(std::move(node));
    }
    return true;
  }

  // n2's position of n1's changes: as PostgreSQL keeps it with the origin, and as we do.
  bool OriginIsAheadOfProgress() {
    const std::string sql =
        "SELECT coalesce(bool_or(pg_replication_origin_progress(roname, false) > lsn), false)"
        " FROM bdr.progress JOIN pg_replication_origin"
        " ON roname LIKE format('bdr\\_%%\\_%s\\_%s', origin_node, origin_incarnation)"
        " WHERE origin_node = 1";
    return Value("n2", sql) == "t";
  }
};

TEST_P(VersionsTest, EveryKindOfChangeTravels) {
  harness::ClusterOptions options;
  if (std::string why; !ChooseServers(&options, &why)) GTEST_SKIP() << why;
  options.schema_sql = absl::StrCat(kSchema, Load::Schema());
  BDR_START_CLUSTER(std::move(options));
  for (size_t i = 0; i < GetParam().size(); ++i) {
    const std::string major = absl::StrCat(GetParam()[i]);
    if (major != "0") {
      EXPECT_EQ(Value(cluster_->names()[i], "SHOW server_version").substr(0, 2), major);
    }
  }

  const std::string first = cluster_->names().front();
  const std::string last = cluster_->names().back();
  BDR_EXEC(first, R"sql(
INSERT INTO item (id, name, price, at, tags, doc, m, p, r, big)
    SELECT i, 'item ' || i, i / 3.0, '2026-11-21 10:00+00', ARRAY['a', NULL, 'b'], '{"a": [1, null]}',
           'happy', ROW(i, 'sad'::mood)::pair, int4range(i, i + 5), repeat(md5(i::text), 300)
    FROM generate_series(1, 200) i;
INSERT INTO item (id) VALUES (1000);
INSERT INTO event VALUES ('one'), ('one');
INSERT INTO part SELECT i, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END FROM generate_series(1, 50) i)sql");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM item", "201");
  BDR_EXEC(last, "UPDATE item SET name = 'changed', m = 'sad' WHERE id <= 100");
  BDR_EXEC(last, "DELETE FROM item WHERE id BETWEEN 50 AND 60");
  BDR_EXEC(last, "UPDATE item SET id = 2000 WHERE id = 1000");
  BDR_EXEC(last, "UPDATE part SET region = 'us' WHERE region = 'eu' AND id < 20");
  BDR_EXEC(last,
           "BEGIN; INSERT INTO event VALUES ('two'); SAVEPOINT s;"
           "INSERT INTO event VALUES ('no'); ROLLBACK TO s; COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM item WHERE name = 'changed'", "89");
  ExpectEverywhere("SELECT string_agg(what, ' ' ORDER BY what) FROM event", "one one two");

  // Load from all sides, with a large transaction that is streamed while it runs.
  Load load(cluster_.get(), {.nodes = {}, .workers_per_node = 1});
  BDR_EXEC(
      first,
      "INSERT INTO item (id, big) SELECT i, md5(i::text) FROM generate_series(10000, 60000) i");
  ASSERT_OK(load.WaitForMore(500, kDeadline));
  cluster_->agent(last).Kill9();
  ASSERT_OK(cluster_->StartAgent(last));
  ASSERT_OK(load.WaitForMore(300, kDeadline));
  load.Stop();
  EXPECT_THAT(load.errors(), ::testing::IsEmpty());
  BDR_CONVERGE();
  EXPECT_OK(load.CheckNothingLostNorTwice());
  BDR_EXEC(last, "TRUNCATE part");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM part", "0");
}

// From 16 on an abort moves a replication origin to the position that was set up for the commit; so
// does the abort of a savepoint. Who takes the origin's own progress for what is applied (in-core
// subscriptions of 16, until it was mended) skips a transaction that was rolled back.
TEST_P(VersionsTest, WhatAnAbortMovesTheOriginOnByIsNotTakenForApplied) {
  harness::ClusterOptions options;
  if (std::string why; !ChooseServers(&options, &why)) GTEST_SKIP() << why;
  // The commit is refused at the very end, behind pg_replication_origin_xact_setup(); and before, a
  // savepoint is rolled back in the applier's own transaction.
  options.schema_sql =
      "CREATE TABLE fragile (id int PRIMARY KEY, v text);"
      "CREATE UNLOGGED TABLE strict (on_commit boolean);"
      "INSERT INTO strict VALUES (false); GRANT SELECT ON strict TO PUBLIC;"
      "CREATE FUNCTION check_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
      "  BEGIN RAISE 'inside'; EXCEPTION WHEN raise_exception THEN NULL; END;"
      "  IF (SELECT on_commit FROM public.strict) THEN RAISE 'refused at commit'; END IF;"
      "  RETURN NULL; END $$;"
      "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON fragile DEFERRABLE INITIALLY DEFERRED"
      "  FOR EACH ROW EXECUTE FUNCTION check_late();"
      "ALTER TABLE fragile ENABLE ALWAYS TRIGGER late";
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n1", "INSERT INTO fragile VALUES (1, 'applied')");
  BDR_CONVERGE();
  EXPECT_FALSE(OriginIsAheadOfProgress());

  BDR_EXEC("n2", "UPDATE strict SET on_commit = true");
  BDR_EXEC("n1", "INSERT INTO fragile VALUES (2, 'refused once')");
  BDR_EXEC("n1", "INSERT INTO fragile VALUES (3, 'behind it')");
  ASSERT_OK(harness::WaitFor("apply stops", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    return status.out.find("refused at commit") != std::string::npos;
  }));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM fragile"), "1");
  int version = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Value("n2", "SHOW server_version_num"), &version));
  EXPECT_EQ(OriginIsAheadOfProgress(), version >= 160000) << "the trap is another one";

  // Neither this session nor another one believes it.
  cluster_->agent("n2").Kill9();
  ASSERT_OK(cluster_->StartAgent("n2"));
  BDR_EXEC("n2", "UPDATE strict SET on_commit = false");
  ASSERT_OK(cluster_->Bdrctl({"apply", "retry", "n2"}));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM fragile", "3");
}

std::string ParamName(const ::testing::TestParamInfo<std::vector<int>>& info) {
  std::string name = "Postgres";
  for (int major : info.param) {
    name += major == 0 ? "Debian" : absl::StrCat(major);
  }
  return name;
}

// 0 is Debian's own.
INSTANTIATE_TEST_SUITE_P(Majors, VersionsTest,
                         ::testing::Values(std::vector<int>{16, 16}, std::vector<int>{17, 17},
                                           std::vector<int>{18, 18},
                                           std::vector<int>{0, 16, 17, 18}),
                         ParamName);

}  // namespace
}  // namespace bdr::integration
