// The conflict log tells what it can and never stops the rows: not every value can become jsonb.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

class ConflictLogTest : public ClusterTest {
 protected:
  harness::ProgramResult Run(std::vector<std::string> arguments) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    if (!result.ok()) ADD_FAILURE() << result.status();
    return result.ok() ? *result : harness::ProgramResult();
  }
  void RunOk(std::vector<std::string> arguments) {
    const harness::ProgramResult result = Run(std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
};

// What json takes and jsonb refuses, a type whose cast to json raises, and names of columns that
// could be taken for the row's; in every way in which rows get into the log.
constexpr char kSchema[] = R"sql(
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'moods are no json'; END $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE TABLE plain (id int PRIMARY KEY, t text, c int, w int, j json, js json[], m mood);
CREATE TABLE claimed (m mood, id int, u text UNIQUE, j json, PRIMARY KEY (m, id));
CREATE TABLE beside (id int PRIMARY KEY, acl aclitem, j json);
CREATE TABLE merged (id int PRIMARY KEY, t text, j json);
CREATE TABLE refused (id int PRIMARY KEY, t text, j json);
CREATE TABLE parent (id int PRIMARY KEY, j json, m mood);
CREATE TABLE child (id int PRIMARY KEY, c int REFERENCES parent, j json, m mood);
ALTER TABLE merged REPLICA IDENTITY FULL;
ALTER TABLE refused REPLICA IDENTITY FULL;
CREATE FUNCTION refuse(older refused, newer refused, info jsonb) RETURNS refused
LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'not this one'; END $$;
INSERT INTO plain SELECT i, 'start', i, i, '1', '{1}', 'ok' FROM generate_series(1, 3) i;
INSERT INTO claimed VALUES ('ok', 1, 'one', '1'), ('sad', 2, 'two', '2');
INSERT INTO beside VALUES (1, 'postgres=r/postgres', '1');
INSERT INTO merged VALUES (1, 'start', '1');
INSERT INTO refused VALUES (1, 'start', '1');
INSERT INTO parent VALUES (1, '{"a": "\u0000"}', 'sad'), (2, '2', NULL);
)sql";

TEST_F(ConflictLogTest, RowsThatAreNoJsonbArriveAndAreToldOf) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql = kSchema;
  BDR_START_CLUSTER(std::move(options));
  RunOk({"table", "set-policy", "public.merged", "column_merge"});
  RunOk({"table", "set-policy", "public.refused", "custom", "--function", "public.refuse"});
  RunOk({"constraint", "set-policy", "public.child", "child_c_fkey", "restore_parent"});
  ASSERT_OK(harness::WaitFor("the policies are in force", kDeadline, [&]() -> absl::StatusOr<bool> {
    for (const char* what : {"table", "constraint"}) {
      const auto list = cluster_->Bdrctl({what, "list", "-o", "json"});
      if (!list.ok()) return list.status();
      if (!absl::StrContains(absl::StrReplaceAll(list->out, {{" ", ""}}), "\"in_force\":true") ||
          absl::StrContains(absl::StrReplaceAll(list->out, {{" ", ""}}), "\"in_force\":false")) {
        return false;
      }
    }
    return true;
  }));

  cluster_->Partition("n1", "n2");
  for (const char* node : {"n1", "n2"}) {
    const auto as = [&](const char* sql) { return absl::StrReplaceAll(sql, {{"@", node}}); };
    BDR_EXEC(node, as(R"(UPDATE plain SET j = '{"@": "\u0000"}', t = '@' WHERE id = 1)"));
    BDR_EXEC(node, as(R"(UPDATE plain SET j = '1e200000', js = ARRAY['"\ud800"'::json],
                                          m = 'sad', t = '@' WHERE id = 2)"));
    BDR_EXEC(node, as(R"(INSERT INTO claimed VALUES ('happy', ascii(substr('@', 2)), 'taken',
                                                     '{"@": "\u0000"}'))"));
    BDR_EXEC(node, as(R"(UPDATE claimed SET j = '{"@": "\u0000"}' WHERE id = 1)"));
    BDR_EXEC(node, as(R"(UPDATE beside SET j = '{"@": "\u0000"}' WHERE id = 1)"));
    BDR_EXEC(node, as(R"(UPDATE merged SET j = '{"@": "\u0000"}' WHERE id = 1)"));
    BDR_EXEC(node, as(R"(UPDATE refused SET j = '{"@": "\u0000"}' WHERE id = 1)"));
  }
  BDR_EXEC("n1", "DELETE FROM parent");
  BDR_EXEC("n2", R"(INSERT INTO child VALUES (1, 1, '"\u0000"', 'ok'), (2, 2, '"\u0000"', 'ok'))");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT j FROM plain WHERE id = 1", R"({"n2": "\u0000"})");
  ExpectEverywhere("SELECT j::text = '1e200000' AND t = 'n2' AND m = 'sad' FROM plain WHERE id = 2",
                   "t");
  ExpectEverywhere("SELECT id FROM claimed WHERE u = 'taken'", absl::StrCat(int{'2'}));

  // The log: all values that jsonb can hold, the others as text, and why.
  const std::string row = "n1" == Value("n1",
                                        "SELECT local_row->>'t' FROM bdr.conflict_log WHERE"
                                        " relation = 'public.plain' AND key = '{\"id\": 1}'")
                              ? "local_row"
                              : "remote_row";
  const std::string of_plain = absl::StrCat(
      " FROM bdr.conflict_log WHERE relation = 'public.plain' AND key = '{\"id\": 1}'");
  EXPECT_EQ(Value("n1", absl::StrCat("SELECT ", row, "->>'t'", of_plain)), "n1");
  EXPECT_EQ(Value("n1", absl::StrCat("SELECT ", row, "->>'j'", of_plain)), R"({"n1": "\u0000"})");
  EXPECT_THAT(Value("n1", absl::StrCat("SELECT ", row, "->''->>'j'", of_plain)),
              HasSubstr("held as text: unsupported Unicode escape"));
  EXPECT_EQ(Value("n2",
                  "SELECT string_agg(k, ',' ORDER BY k) FROM bdr.conflict_log, "
                  "jsonb_object_keys(local_row->'') k WHERE relation = 'public.plain' AND "
                  "key = '{\"id\": 2}'"),
            "j,js,m");
  for (const char* table : {"plain", "claimed", "beside", "merged", "refused", "child"}) {
    EXPECT_NE(Value("n1", absl::StrCat("SELECT count(*) FROM bdr.conflict_log WHERE relation = "
                                       "'public.",
                                       table,
                                       "' AND local_row ? '' AND (remote_row ? '' OR kind ="
                                       " 'foreign_key_orphaned')")),
              "0")
        << table;
  }
  EXPECT_EQ(Value("n1",
                  "SELECT key->>'m' FROM bdr.conflict_log WHERE relation = 'public.claimed'"
                  " AND key->>'id' = '1' LIMIT 1"),
            "ok");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM bdr.dead_letter"), "1");

  // What was not held cannot be written back as if it had been.
  const std::string id =
      Value("n1", absl::StrCat("SELECT 'n1/' || id", of_plain, " ORDER BY id LIMIT 1"));
  const harness::ProgramResult undo = Run({"conflict", "undo", id, "--yes"});
  EXPECT_EQ(undo.exit_code, 4) << undo.out;
  EXPECT_THAT(undo.err, HasSubstr("does not hold the values of j"));
  EXPECT_THAT(Run({"conflict", "show", id}).out, HasSubstr("column j: held as text"));
  // One parent is restored, the other not but by hand.
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT string_agg(id::text, ',') FROM parent", "2", kDeadline));
  const std::string action =
      "SELECT coalesce(max(error), '') ~ 'does not hold the value of j, m'"
      " FROM bdr.fk_action";
  ASSERT_OK(harness::WaitFor("an action failed", kDeadline, [&]() -> absl::StatusOr<bool> {
    return Value("n1", action) == "t" || Value("n2", action) == "t";
  }));
}

}  // namespace
}  // namespace bdr::integration
