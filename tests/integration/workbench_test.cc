// What an administrator does about conflicts, and that what is stable is forgotten.
#include <nlohmann/json.hpp>

#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class WorkbenchTest : public ClusterTest {
 protected:
  harness::ProgramResult Run(const std::vector<std::string>& arguments) {
    absl::StatusOr<harness::ProgramResult> run = cluster_->Bdrctl(arguments);
    EXPECT_OK(run.status());
    return run.ok() ? *std::move(run) : harness::ProgramResult();
  }
  Json RunJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const harness::ProgramResult run = Run(arguments);
    const Json json = Json::parse(run.out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << run.out << run.err;
    return json;
  }
  // The one conflict of a key that `node` logged.
  Json ConflictOf(const std::string& node, int id) {
    for (const Json& conflict :
         RunJson({"conflict", "list", "--node", node, "--table", "public.price"})) {
      if (conflict["key"]["id"] == id) return conflict;
    }
    ADD_FAILURE() << node << " logged no conflict of key " << id;
    return {};
  }
  static std::string Name(const Json& conflict) {
    return absl::StrCat(conflict["node"].get<std::string>(), "/", conflict["id"].get<int64_t>());
  }
};

TEST_F(WorkbenchTest, ConflictsAreListedExplainedAndUndone) {
  harness::ClusterOptions options;
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE price (id int PRIMARY KEY, unit text, cents numeric, note text,"
      " twice numeric GENERATED ALWAYS AS (cents * 2) STORED);"
      "ALTER TABLE price ALTER note SET STORAGE EXTERNAL;"
      "INSERT INTO price SELECT i, 'euro', 1234567890123456789.01 + i, repeat('long', 3000)"
      " FROM generate_series(1, 10) i";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  // 1: both update. 2: a delete loses to an update. 3: an update loses to a delete. 4: both insert
  // anew what was not there. 5: both update, and a large value does not travel.
  BDR_EXEC("n1", "UPDATE price SET unit = 'dollar' WHERE id = 1");
  BDR_EXEC("n1", "DELETE FROM price WHERE id = 2");
  BDR_EXEC("n1", "UPDATE price SET unit = 'lost', note = 'short' WHERE id = 3");
  BDR_EXEC("n1", "INSERT INTO price VALUES (40, 'first', 1, 'n1')");
  BDR_EXEC("n1", "UPDATE price SET unit = 'dollar' WHERE id = 5");
  BDR_EXEC("n2", "UPDATE price SET unit = 'yen', note = 'short' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE price SET unit = 'kept', note = 'short' WHERE id = 2");
  BDR_EXEC("n2", "DELETE FROM price WHERE id = 3");
  BDR_EXEC("n2", "INSERT INTO price VALUES (40, 'second', 2, 'n2')");
  BDR_EXEC("n2", "UPDATE price SET unit = 'yen' WHERE id = 5");
  // Meanwhile nothing can be forgotten, and it is known for whom.
  EXPECT_OK(
      harness::WaitFor("n2 holds the stable time back", kDeadline, [&]() -> absl::StatusOr<bool> {
        const Json status = RunJson({"status"});
        for (const Json& node : status["nodes"]) {
          if (node["name"] == "n1") return node["stable_held_by"] == "n2";
        }
        return false;
      }));
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "yen");
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(cluster_->WaitForValue(
        node, "SELECT count(DISTINCT key) FROM bdr.conflict_log WHERE relation = 'public.price'",
        "5", kDeadline));
  }

  const Json lost = ConflictOf("n2", 1);
  EXPECT_EQ(lost["winner"], "local");
  EXPECT_EQ(lost["kind"], "update_origin_differs");
  EXPECT_FALSE(RunJson({"conflict", "list", "--winner", "n2"}).empty());
  EXPECT_TRUE(RunJson({"conflict", "list", "--winner", "n1"}).empty());
  const harness::ProgramResult shown = Run({"conflict", "show", Name(lost)});
  EXPECT_THAT(shown.out, ::testing::ContainsRegex("\\* +unit +yen +dollar"));
  const harness::ProgramResult explained = Run({"conflict", "explain", Name(lost)});
  EXPECT_THAT(explained.out, HasSubstr("rule:"));
  EXPECT_THAT(explained.out, HasSubstr("newer version of the row"));
  EXPECT_THAT(explained.out, HasSubstr("n1 had seen"));
  EXPECT_FALSE(lost["rule"].get<std::string>().empty());

  // Shown first; written only when told.
  const Json plan = RunJson({"conflict", "undo", Name(lost)});
  EXPECT_EQ(plan["action"], "update");
  EXPECT_EQ(plan["current_row"]["unit"], "yen");
  EXPECT_EQ(plan["target_row"]["unit"], "dollar");
  EXPECT_FALSE(plan["applied"].get<bool>());
  EXPECT_EQ(Value("n2", "SELECT unit FROM price WHERE id = 1"), "yen");
  EXPECT_EQ(Run({"conflict", "undo", Name(lost), "--yes"}).exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit || cents || twice FROM price WHERE id = 1",
                   "dollar1234567890123456790.012469135780246913580.02");
  EXPECT_NE(ConflictOf("n2", 1)["undone"], nullptr);
  EXPECT_EQ(RunJson({"conflict", "undo", Name(lost)})["action"], "nothing");

  // Written since: refused, unless by force.
  BDR_EXEC("n1", "UPDATE price SET unit = 'pound' WHERE id = 1");
  BDR_CONVERGE();
  const harness::ProgramResult refused = Run({"conflict", "undo", Name(lost), "--yes"});
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_THAT(refused.err, HasSubstr("written since"));
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "pound");
  EXPECT_EQ(Run({"conflict", "undo", Name(lost), "--yes", "--force"}).exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 1", "dollar");

  // A delete that lost, an update that lost to a delete, an insert that lost.
  EXPECT_EQ(Run({"conflict", "undo", Name(ConflictOf("n1", 2)), "--yes"}).exit_code, 0);
  EXPECT_EQ(Run({"conflict", "undo", Name(ConflictOf("n2", 3)), "--yes"}).exit_code, 0);
  EXPECT_EQ(Run({"conflict", "undo", Name(ConflictOf("n1", 40)), "--yes"}).exit_code, 0);
  // What did not travel keeps what it is.
  EXPECT_EQ(Run({"conflict", "undo", Name(ConflictOf("n2", 5)), "--yes"}).exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM price WHERE id = 2", "0");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 3", "lost");
  ExpectEverywhere("SELECT unit || note FROM price WHERE id = 40", "firstn1");
  ExpectEverywhere("SELECT unit || length(note) FROM price WHERE id = 5", "dollar12000");
  EXPECT_EQ(Run({"conflict", "show", "n2/999999"}).exit_code, 4);
  EXPECT_EQ(Run({"conflict", "show", "7"}).exit_code, 4);

  ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
  EXPECT_GE(metrics.Sum("bdr_conflicts_by_table_total",
                        {{"table", "public.price"}, {"kind", "update_origin_differs"}}),
            2);
}

// Versions of deleted rows would pile up for ever if nobody saw to it that they go.
TEST_F(WorkbenchTest, EndlessDeletesLeaveNothingBehind) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id bigint PRIMARY KEY)");
  for (int round = 0; round < 4; ++round) {
    BDR_EXEC(round % 2 == 0 ? "n1" : "n2",
             absl::StrCat("INSERT INTO t SELECT ", round * 10000,
                          " + i FROM"
                          " generate_series(1, 10000) i; DELETE FROM t WHERE id > ",
                          round * 10000));
  }
  BDR_CONVERGE();
  for (const std::string& node : cluster_->names()) {
    EXPECT_OK(harness::WaitFor(
        absl::StrCat("versions are forgotten on ", node), kDeadline, [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_->AgentMetrics(node));
          return metrics.Sum("bdr_compactions_total") >= 1 &&
                 metrics.Sum("bdr_versions_estimated_keys") < 10000;
        }));
  }
}

}  // namespace
}  // namespace bdr::integration
