// Transactions that one node cannot apply: put aside whole, the rest goes on, and once the cause is
// gone the nodes are equal again, whatever was killed meanwhile.
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using testing::HasSubstr;
using testing::Not;

class DeadLetterTest : public ClusterTest {
 protected:
  void Start() {
    harness::ClusterOptions options;
    options.nodes.assign(2, {});
    options.schema_sql =
        "CREATE TABLE price (id int PRIMARY KEY, amount int NOT NULL);"
        "CREATE TABLE note (id int PRIMARY KEY, body text);"
        "INSERT INTO price SELECT i, i FROM generate_series(1, 10) AS i";
    options.agent_config = "on_apply_error: dead_letter\n";
    StartCluster(std::move(options));
  }

  std::string Bdrctl(std::vector<std::string> arguments, int exit_code = 0) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    EXPECT_OK(result.status());
    if (!result.ok()) return "";
    EXPECT_EQ(result->exit_code, exit_code) << result->out << result->err;
    return result->out + result->err;
  }

  // "n2/1" and so on, as soon as there are so many.
  std::vector<std::string> WaitForLetters(size_t count) {
    std::vector<std::string> names;
    EXPECT_OK(harness::WaitFor(
        absl::StrCat(count, " dead letters"), kDeadline, [&]() -> absl::StatusOr<bool> {
          const auto listed = cluster_->Bdrctl({"dead-letter", "list", "-o", "json"});
          if (!listed.ok()) return listed.status();
          const auto document = nlohmann::json::parse(listed->out, nullptr, false);
          if (!document.is_array()) return false;
          names.clear();
          for (const auto& letter : document) names.push_back(letter["name"]);
          return names.size() == count;
        }));
    return names;
  }
};

TEST_F(DeadLetterTest, WaitsForAPersonWhileTheRestGoesOn) {
  ASSERT_NO_FATAL_FAILURE(Start());
  BDR_EXEC("n2", "ALTER TABLE price ADD CONSTRAINT small CHECK (amount < 100)");
  // One transaction over two tables: nothing of it may be shown.
  BDR_EXEC("n1",
           "UPDATE price SET amount = 1000 WHERE id = 1; INSERT INTO note VALUES (1, 'dear');"
           "DELETE FROM price WHERE id = 2; UPDATE price SET amount = 77 WHERE id = 3");
  ASSERT_EQ(WaitForLetters(1).size(), 1u);
  const std::string name = WaitForLetters(1)[0];
  EXPECT_THAT(name, HasSubstr("n2/"));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM note"), "0");
  EXPECT_EQ(Value("n2", "SELECT amount FROM price WHERE id = 2"), "2");

  // The origin goes on: what comes later, also to the same rows, is applied; and local writes.
  BDR_EXEC("n1", "UPDATE price SET amount = 5 WHERE id = 1");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT amount FROM price WHERE id = 1", "5", kDeadline));
  BDR_EXEC("n2", "UPDATE price SET amount = 33 WHERE id = 3");
  // Agents report once a second.
  ASSERT_OK(harness::WaitFor("status tells", kDeadline, [&]() -> absl::StatusOr<bool> {
    const auto status = cluster_->Bdrctl({"status"});
    return status.ok() && status->exit_code == 2 &&
           absl::StrContains(status->out, "1 dead letter waits");
  }));
  EXPECT_THAT(Bdrctl({"dead-letter", "show", name}),
              testing::AllOf(HasSubstr("small"), HasSubstr("public.price"), HasSubstr("update")));
  ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
  EXPECT_EQ(metrics.Sum("bdr_dead_letters"), 1);

  // What was put aside would still fail.
  BDR_EXEC("n1", "UPDATE price SET amount = 2000 WHERE id = 4");
  const std::string second = WaitForLetters(2).back();
  EXPECT_THAT(Bdrctl({"dead-letter", "retry", second}, 4), HasSubstr("small"));
  EXPECT_THAT(Bdrctl({"dead-letter", "retry", "n2/999"}, 4), HasSubstr("no dead letter 999"));

  // Neither a restart nor time makes this node forget what the letters will be judged by.
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(
      harness::WaitFor("the agent knows its letters", kDeadline, [&]() -> absl::StatusOr<bool> {
        const auto now = cluster_->AgentMetrics("n2");
        return now.ok() && now->Sum("bdr_dead_letters") == 2;
      }));
  ASSERT_EQ(WaitForLetters(2).size(), 2u);
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT amount FROM price WHERE id = 3", "33", kDeadline));

  BDR_EXEC("n2", "ALTER TABLE price DROP CONSTRAINT small");
  Bdrctl({"dead-letter", "retry", name});
  Bdrctl({"dead-letter", "retry", second});
  EXPECT_THAT(Bdrctl({"dead-letter", "list"}), HasSubstr("no dead letters"));
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(id || ':' || amount, ' ' ORDER BY id) FROM price WHERE id <= 4",
      "1:5 3:33 4:2000");
  ExpectEverywhere("SELECT body FROM note", "dear");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM bdr.dead_letter_part"), "0");
}

TEST_F(DeadLetterTest, LargeOnesAndMissingTablesAndDrop) {
  ASSERT_NO_FATAL_FAILURE(Start());
  BDR_EXEC("n2", "ALTER TABLE note ADD CONSTRAINT short CHECK (length(body) < 3000)");
  // Many blocks, and the last row is the one that fails.
  BDR_EXEC("n1",
           "INSERT INTO note SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM "
           "generate_series(1, 80) AS j) || repeat('x', CASE i WHEN 3000 THEN 2000 ELSE 0 END) "
           "FROM generate_series(1, 3000) AS i");
  const std::vector<std::string> large = WaitForLetters(1);
  ASSERT_EQ(large.size(), 1u);
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM note"), "0");
  EXPECT_EQ(Value("n2", "SELECT count(*) > 1 FROM bdr.dead_letter_part"), "t");
  BDR_EXEC("n1", "DELETE FROM note WHERE id = 1");

  // Killed while it is being merged again: either all of it, or the letter still there.
  BDR_EXEC("n2", "ALTER TABLE note DROP CONSTRAINT short");
  std::thread retry([&] { (void)cluster_->Bdrctl({"dead-letter", "retry", large[0]}); });
  ASSERT_OK(
      harness::WaitFor("the letter is being merged", kDeadline, [&]() -> absl::StatusOr<bool> {
        return Value("n2",
                     "SELECT count(*) > 0 FROM pg_locks WHERE relation = "
                     "'note'::regclass AND mode = 'RowExclusiveLock'") == "t" ||
               Value("n2", "SELECT count(*) > 0 FROM note") == "t";
      }));
  cluster_->agent("n2").Kill9();
  retry.join();
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(harness::WaitFor("it is merged", kDeadline, [&]() -> absl::StatusOr<bool> {
    if (Value("n2", "SELECT count(*) FROM note") == "2999") return true;
    (void)cluster_->Bdrctl({"dead-letter", "retry", large[0]});
    return false;
  }));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM bdr.dead_letter"), "0");
  BDR_CONVERGE();

  // A table that is missing here; dropped, the nodes differ and everything else goes on.
  BDR_EXEC("n1", "CREATE TABLE extra (id int PRIMARY KEY); SELECT bdr.sync_publications()");
  BDR_EXEC("n1", "INSERT INTO extra VALUES (1)");
  const std::vector<std::string> missing = WaitForLetters(1);
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_THAT(Bdrctl({"dead-letter", "drop", missing[0]}, 4), HasSubstr("nothing was done"));
  Bdrctl({"dead-letter", "drop", missing[0], "--yes"});
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_OK(cluster_->StartAgent("n2"));
  BDR_EXEC("n1", "UPDATE price SET amount = 9 WHERE id = 9");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT amount FROM price WHERE id = 9", "9", kDeadline));
  BDR_EXEC("n1", "DROP TABLE extra");  // that it is on one node only is told of
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
