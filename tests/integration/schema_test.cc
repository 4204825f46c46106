// Nodes know each other's tables: what differs is named by status soon after the change, told by
// `bdrctl schema diff` with the statement that mends it, and forgotten once it is mended.
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

class SchemaTest : public ClusterTest {
 protected:
  // Waits until the node's health in `bdrctl status` names this.
  void ExpectWarning(const std::string& node, const std::string& text) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("status names \"", text, "\""), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 last = Reason(node);
                                 return absl::StrContains(last, text);
                               }))
        << last;
  }
  std::string Reason(const std::string& node) {
    const auto status = cluster_->Bdrctl({"status", "-o", "json"});
    if (!status.ok()) return status.status().ToString();
    const auto document = nlohmann::json::parse(status->out, nullptr, false);
    if (document.is_discarded()) return status->out + status->err;
    for (const auto& each : document["nodes"]) {
      if (each["name"] == node) return each.dump();
    }
    return "";
  }
  harness::ProgramResult Diff(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"schema", "diff"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = cluster_->Bdrctl(arguments);
    EXPECT_OK(result.status());
    return result.value_or(harness::ProgramResult{});
  }
  // Waits until the diff ends with this exit code.
  void ExpectDiff(int exit_code) {
    ASSERT_OK(harness::WaitFor(absl::StrCat("schema diff ends with ", exit_code), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 const auto result = cluster_->Bdrctl({"schema", "diff"});
                                 return result.ok() && result->exit_code == exit_code;
                               }))
        << Diff().out;
  }
};

TEST_F(SchemaTest, DifferencesAreNamedAndTheStatementsMendThem) {
  BDR_START_CLUSTER(3,
                    "CREATE TABLE t (id int PRIMARY KEY, c numeric, v text);"
                    "CREATE TABLE other (id int PRIMARY KEY)");
  ASSERT_NO_FATAL_FAILURE(ExpectDiff(0));

  BDR_EXEC("n1", "ALTER TABLE t ALTER c TYPE numeric(5,1)");
  ASSERT_NO_FATAL_FAILURE(
      ExpectWarning("n1", "table public.t: column c is numeric(5,1) here and numeric on n"));
  ASSERT_NO_FATAL_FAILURE(
      ExpectWarning("n3", "table public.t: column c is numeric here and numeric(5,1) on n1"));
  BDR_EXEC("n1", "CREATE UNIQUE INDEX t_v ON t (lower(v))");
  BDR_EXEC("n1", "ALTER TABLE t ADD COLUMN d int DEFAULT 4");
  BDR_EXEC("n3", "ALTER TABLE other ALTER id SET DEFAULT 7");
  ASSERT_OK(harness::WaitFor("all is told", kDeadline, [&]() -> absl::StatusOr<bool> {
    const std::string out = Diff().out;
    return absl::StrContains(out, "column d") && absl::StrContains(out, "default of column id") &&
           absl::StrContains(out, "lower(v)");
  }));

  // What it says to run is what makes the nodes equal.
  const harness::ProgramResult told = Diff({"-o", "json"});
  EXPECT_EQ(told.exit_code, 2);
  const auto document = nlohmann::json::parse(told.out);
  EXPECT_EQ(document["result"], "different");
  EXPECT_EQ(document["differences"].size(), 7u) << told.out;
  EXPECT_THAT(Diff({"n2", "n3", "--table", "public.t"}).out, HasSubstr("no difference"));
  EXPECT_EQ(Diff({"n2", "n3"}).exit_code, 1);
  EXPECT_EQ(Diff({"n2"}).exit_code, 4);
  for (const auto& difference : document["differences"]) {
    BDR_EXEC(difference["node"].get<std::string>(), difference["statement"].get<std::string>());
  }
  ASSERT_NO_FATAL_FAILURE(ExpectDiff(0));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));

  // A node that is away counts as it was, also after a restart of bdr-server.
  ASSERT_OK(cluster_->agent("n3").Terminate());
  ASSERT_OK(cluster_->server().Terminate());
  BDR_EXEC("n1", "ALTER TABLE other ADD COLUMN x int");
  ASSERT_OK(cluster_->StartServer());
  ASSERT_NO_FATAL_FAILURE(ExpectWarning("n1", "column x is here and not on n"));
  EXPECT_THAT(Diff({"n1", "n3"}).out,
              HasSubstr("on n3: ALTER TABLE \"public\".\"other\" ADD COLUMN \"x\" integer;"));
}

// A key that differs, or that others never see, and a column that one node generates: named before
// the first change, which stops before anything is lost.
TEST_F(SchemaTest, WhatWouldLoseValuesStopsAndIsNamedBefore) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE k (a int PRIMARY KEY, b int NOT NULL UNIQUE);"
                    "CREATE TABLE g (id int PRIMARY KEY, v int, w int);"
                    "CREATE TABLE h (id int PRIMARY KEY, v int, w int);"
                    "CREATE TABLE gone (id int NOT NULL, g int NOT NULL)");
  BDR_EXEC("n1", "ALTER TABLE k REPLICA IDENTITY USING INDEX k_b_key");
  ASSERT_NO_FATAL_FAILURE(ExpectWarning("n2", "table public.k: the key is (\\\"a\\\") here and"));
  BDR_EXEC("n1", "ALTER TABLE k REPLICA IDENTITY DEFAULT");
  for (const char* node : {"n1", "n2"}) {
    BDR_EXEC(node,
             "ALTER TABLE gone DROP g, ADD g int GENERATED ALWAYS AS (id * 2) STORED, "
             "ADD PRIMARY KEY (g)");
  }
  ASSERT_NO_FATAL_FAILURE(
      ExpectWarning("n2", "table public.gone: column g of the key is generated"));
  BDR_EXEC("n1", "SELECT bdr.sync_publications()");
  const auto check = cluster_->Bdrctl({"node", "check", "n1"});
  ASSERT_OK(check.status());
  EXPECT_THAT(check->out,
              HasSubstr("public.gone does not replicate: key column \"g\" is generated"));
  EXPECT_EQ(check->exit_code, 1);
  ASSERT_OK(cluster_->ExecEverywhere("DROP TABLE gone"));

  // Each direction by a table of its own, as they are mended in opposite ways.
  constexpr char kGenerated[] = "DROP v, ADD v int GENERATED ALWAYS AS (id * 2) STORED";
  BDR_EXEC("n1", absl::StrCat("ALTER TABLE g ", kGenerated));
  BDR_EXEC("n1", absl::StrCat("ALTER TABLE h ", kGenerated));
  ASSERT_NO_FATAL_FAILURE(
      ExpectWarning("n2", "table public.g: column v is a plain column here and GENERATED"));
  EXPECT_THAT(cluster_->Bdrctl({"node", "check", "n2"})->out, HasSubstr("column v is a plain"));
  BDR_EXEC("n1", "INSERT INTO g (id, w) VALUES (1, 1)");
  BDR_EXEC("n2", "INSERT INTO h VALUES (2, 77, 2)");
  ASSERT_NO_FATAL_FAILURE(ExpectWarning("n2", "generated on the node where the change comes from"));
  ASSERT_NO_FATAL_FAILURE(ExpectWarning("n1", "is generated here and a plain one where"));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM g"), "0");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM h"), "0");

  BDR_EXEC("n1", "ALTER TABLE h ALTER v DROP EXPRESSION");
  BDR_EXEC("n2", absl::StrCat("ALTER TABLE g ", kGenerated));
  ASSERT_OK(harness::WaitFor("apply goes on", kDeadline, [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(cluster_->Bdrctl({"apply", "retry"}).status());
    return Value("n1", "SELECT v FROM h") == "77" && Value("n2", "SELECT v FROM g") == "2";
  }));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// A unique index that not every node has unseats nobody: what collides stops there, with the cause,
// and goes on once the index is dropped. What was written before all had it never counts, however
// late a node learns of that; what is written after it does.
TEST_F(SchemaTest, AUniqueIndexCountsOnlyWhereEveryNodeHasIt) {
  BDR_START_CLUSTER(3, "CREATE TABLE t (id int PRIMARY KEY, v text)");
  constexpr char kIndex[] = "CREATE UNIQUE INDEX t_v ON t (v)";
  constexpr char kRows[] = "SELECT string_agg(id || v, ',' ORDER BY id) FROM t";
  BDR_EXEC("n1", kIndex);
  ASSERT_NO_FATAL_FAILURE(
      ExpectWarning("n1", "table public.t: UNIQUE (v) (index t_v) is here and not on n2"));
  BDR_EXEC("n2", "INSERT INTO t VALUES (1, 'a')");
  BDR_CONVERGE();
  BDR_EXEC("n2", "INSERT INTO t VALUES (2, 'a')");
  ASSERT_NO_FATAL_FAILURE(ExpectWarning("n1", "unique violation: two rows of table"));
  ASSERT_OK(cluster_->WaitForValue("n3", kRows, "1a,2a", kDeadline));
  EXPECT_EQ(Value("n1", kRows), "1a");

  // The index cannot be made elsewhere; the newer row goes, and then it can. To n1 that is still to
  // come, and the row that the others have kept must not go for it.
  EXPECT_FALSE(cluster_->Exec("n2", kIndex).ok());
  BDR_EXEC("n2", "DELETE FROM t WHERE id = 2");
  ASSERT_OK(cluster_->WaitForValue("n3", kRows, "1a", kDeadline));
  BDR_EXEC("n2", kIndex);
  BDR_EXEC("n3", kIndex);
  ASSERT_OK(harness::WaitFor("n1 knows", kDeadline, [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(cluster_->Bdrctl({"apply", "retry", "n1"}).status());
    return absl::StrContains(Reason("n1"), "from before every node had that constraint");
  }));
  EXPECT_EQ(Value("n1", kRows), "1a");
  BDR_EXEC("n1", "DROP INDEX t_v");
  ASSERT_OK(harness::WaitFor("apply goes on", kDeadline, [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(cluster_->Bdrctl({"apply", "retry", "n1"}).status());
    return !absl::StrContains(Reason("n1"), "unique violation");
  }));
  BDR_CONVERGE();
  ExpectEverywhere(kRows, "1a");
  // What n1 told of its tables before it had dropped the index would pass for what it has now.
  ASSERT_NO_FATAL_FAILURE(ExpectDiff(2));

  // All have it now: of two rows with one value, that nodes wrote without knowing of each other,
  // the later stays.
  BDR_EXEC("n1", kIndex);
  ASSERT_NO_FATAL_FAILURE(ExpectDiff(0));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ASSERT_OK(cluster_->agent("n2").Terminate());
  BDR_EXEC("n2", "INSERT INTO t VALUES (5, 'b')");
  BDR_EXEC("n1", "INSERT INTO t VALUES (6, 'b')");
  ASSERT_OK(cluster_->StartAgent("n2"));
  BDR_CONVERGE();
  ExpectEverywhere(kRows, "1a,6b");
}

}  // namespace
}  // namespace bdr::integration
