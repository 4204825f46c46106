// Rows that reference what another node deleted at the same time: found, logged, and put right as
// the constraint's policy says, on every node alike.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE author (id int PRIMARY KEY, code text UNIQUE, name text);"
    "CREATE TABLE logged (id int PRIMARY KEY, author int REFERENCES author);"
    "CREATE TABLE cascaded (id int PRIMARY KEY, author int REFERENCES author);"
    "CREATE TABLE nulled (id int PRIMARY KEY, code text REFERENCES author (code));"
    "CREATE TABLE restored (id int PRIMARY KEY, author int REFERENCES author);"
    "INSERT INTO author SELECT i, 'c' || i, 'name ' || i FROM generate_series(1, 20) AS i";

class ForeignKeyTest : public ClusterTest {
 protected:
  void SetPolicy(const std::string& table, const std::string& constraint,
                 const std::string& policy) {
    ASSERT_OK_AND_ASSIGN(
        const harness::ProgramResult set,
        cluster_->Bdrctl({"constraint", "set-policy", "public." + table, constraint, policy}));
    ASSERT_EQ(set.exit_code, 0) << set.err;
  }

  void WaitUntilInForce(size_t policies) {
    ASSERT_OK(
        harness::WaitFor("the policies are in force", kDeadline, [&]() -> absl::StatusOr<bool> {
          const auto list = cluster_->Bdrctl({"constraint", "list", "-o", "json"});
          if (!list.ok()) return list.status();
          const auto json = nlohmann::json::parse(list->out, nullptr, false);
          if (!json.is_array() || json.size() != policies) return false;
          for (const auto& each : json) {
            if (!each["in_force"].get<bool>()) return false;
          }
          return true;
        }));
  }

  static constexpr char kOrphans[] =
      "SELECT (SELECT count(*) FROM cascaded c WHERE author IS NOT NULL AND NOT EXISTS"
      " (SELECT FROM author a WHERE a.id = c.author)) + (SELECT count(*) FROM nulled c WHERE code"
      " IS NOT NULL AND NOT EXISTS (SELECT FROM author a WHERE a.code = c.code)) + (SELECT count(*)"
      " FROM restored c WHERE NOT EXISTS (SELECT FROM author a WHERE a.id = c.author))";

  void WaitForNoOrphans() {
    for (const std::string& node : cluster_->names()) {
      ASSERT_OK(cluster_->WaitForValue(node, kOrphans, "0", kDeadline));
      ASSERT_OK(cluster_->WaitForValue(node, "SELECT count(*) FROM bdr.fk_action", "0", kDeadline));
    }
  }
};

TEST_F(ForeignKeyTest, OrphansAreFoundAndPutRightEverywhere) {
  harness::ClusterOptions options;
  options.nodes.assign(3, {});
  options.schema_sql = kSchema;
  options.proxies = true;
  BDR_START_CLUSTER(std::move(options));
  ASSERT_NO_FATAL_FAILURE(SetPolicy("cascaded", "cascaded_author_fkey", "cascade"));
  ASSERT_NO_FATAL_FAILURE(SetPolicy("nulled", "nulled_code_fkey", "set_null"));
  ASSERT_NO_FATAL_FAILURE(SetPolicy("restored", "restored_author_fkey", "restore_parent"));
  ASSERT_NO_FATAL_FAILURE(WaitUntilInForce(3));

  // Parents go on one node while children come on another; one parent only changes what is
  // referenced.
  cluster_->Isolate("n1");
  BDR_EXEC("n1", "DELETE FROM author WHERE id IN (1, 2, 4, 5)");
  BDR_EXEC("n1", "UPDATE author SET code = 'changed' WHERE id = 3");
  BDR_EXEC("n2",
           "INSERT INTO logged VALUES (1, 1), (2, 7); INSERT INTO cascaded VALUES (1, 2), (2, 7);"
           "INSERT INTO nulled VALUES (1, 'c3'), (2, 'c7'); INSERT INTO restored VALUES (1, 4)");
  BDR_EXEC("n3", "INSERT INTO cascaded VALUES (3, 5)");
  cluster_->Heal();
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(WaitForNoOrphans());
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id::text, ',' ORDER BY id) FROM cascaded", "2");
  ExpectEverywhere("SELECT string_agg(id || coalesce(code, '-'), ',' ORDER BY id) FROM nulled",
                   "1-,2c7");
  ExpectEverywhere("SELECT name || ' ' || code FROM author WHERE id = 4", "name 4 c4");
  ExpectEverywhere("SELECT count(*) FROM logged WHERE author = 1", "1");
  ExpectEverywhere("SELECT count(*) FROM author WHERE id IN (1, 2, 5)", "0");
  // The children's own node surely sees it, with the row that was deleted.
  EXPECT_EQ(Value("n2",
                  "SELECT remote_row ->> 'name' FROM bdr.conflict_log WHERE kind = "
                  "'foreign_key_orphaned' AND constraint_name = 'logged_author_fkey' AND key = "
                  "'{\"id\": 1}' AND remote_row IS NOT NULL LIMIT 1"),
            "name 1");
  ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
  EXPECT_GE(metrics.Sum("bdr_conflicts_by_kind_total", {{"kind", "foreign_key_orphaned"}}), 4);

  // What was seen is no orphan, whatever the order in which it comes.
  const std::string logged =
      "SELECT count(*) FROM bdr.conflict_log WHERE kind = "
      "'foreign_key_orphaned'";
  const std::string before = Value("n3", logged);
  BDR_EXEC("n1",
           "INSERT INTO author VALUES (30, 'c30', 'thirty'); INSERT INTO cascaded VALUES (30, 30)");
  BDR_EXEC("n1", "DELETE FROM cascaded WHERE id = 30; DELETE FROM author WHERE id = 30");
  BDR_CONVERGE();
  EXPECT_EQ(Value("n3", logged), before);

  // The agents of all nodes are killed as soon as they meet again.
  cluster_->Isolate("n1");
  BDR_EXEC("n1", "DELETE FROM author WHERE id IN (11, 12)");
  BDR_EXEC("n1", "TRUNCATE cascaded");
  BDR_EXEC("n2",
           "INSERT INTO cascaded SELECT 100 + i, 11 FROM generate_series(1, 50) AS i;"
           "INSERT INTO restored VALUES (12, 12)");
  cluster_->Heal();
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT count(*) FROM author WHERE id = 11", "0", kDeadline));
  for (const std::string& node : cluster_->names()) cluster_->agent(node).Kill9();
  for (const std::string& node : cluster_->names()) ASSERT_OK(cluster_->StartAgent(node));
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(WaitForNoOrphans());
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM author WHERE id IN (11, 12)", "1");
  ExpectEverywhere("SELECT count(*) FROM cascaded WHERE id > 100", "0");
}

}  // namespace
}  // namespace bdr::integration
