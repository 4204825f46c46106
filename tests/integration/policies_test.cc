// Policies per table: what two nodes did to one row without knowing of each other is merged as the
// table's policy says, the same on every node.
#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

// Adds one to rows of `counter`, on several nodes at once, and counts what was acknowledged.
class Increments {
 public:
  Increments(harness::Cluster* cluster, int rows) : cluster_(cluster), rows_(rows) {
    for (const std::string& node : cluster->names()) {
      threads_.emplace_back([this, node] { Run(node); });
    }
  }
  ~Increments() { Stop(); }

  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  absl::Status WaitForMore(int64_t more, absl::Duration deadline) {
    const int64_t wanted = done_ + more;
    return harness::WaitFor("increments", deadline,
                            [&]() -> absl::StatusOr<bool> { return done_ >= wanted; });
  }
  int64_t done() const { return done_; }

 private:
  void Run(const std::string& node) {
    const auto connection = cluster_->Connect(node);
    if (!connection.ok()) return;
    for (int i = 0; !stop_; ++i) {
      const absl::Status status = (*connection)
                                      ->Exec(absl::StrCat("UPDATE counter SET n = n + 1, note = '",
                                                          node, "' WHERE id = ", 1 + i % rows_))
                                      .status();
      if (status.ok()) ++done_;
    }
  }

  harness::Cluster* const cluster_;
  const int rows_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> done_{0};
  std::vector<std::thread> threads_;
};

class PoliciesTest : public ClusterTest {
 protected:
  void StartWith(int nodes, const std::string& schema_sql) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.proxies = true;
    options.schema_sql = schema_sql;
    StartCluster(std::move(options));
  }

  void SetPolicy(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"table", "set-policy"});
    arguments.insert(arguments.end(), {"--wait", "60", "-o", "json"});
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult set, cluster_->Bdrctl(arguments));
    ASSERT_EQ(set.exit_code, 0) << set.out << set.err;
    ASSERT_THAT(set.out, HasSubstr("\"in_force\": true"));
  }

  std::string Bdrctl(std::vector<std::string> arguments, int exit_code) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    EXPECT_OK(result.status());
    if (!result.ok()) return "";
    EXPECT_EQ(result->exit_code, exit_code) << result->out << result->err;
    return result->out + result->err;
  }

  // The change that `refuse` raised at is among the dead letters of both nodes, once, and goes
  // into the row when the function was mended.
  void RetryRefused(const std::string& row) {
    ASSERT_OK(harness::WaitFor("status is critical", kDeadline, [&]() -> absl::StatusOr<bool> {
      const auto status = cluster_->Bdrctl({"status"});
      return status.ok() && status->exit_code == 2 && absl::StrContains(status->out, "dead-letter");
    }));
    for (const char* node : {"n1", "n2"}) {
      EXPECT_EQ(Value(node, "SELECT string_agg(cause, ',') FROM bdr.dead_letter"), "not this one");
      EXPECT_THAT(Bdrctl({"dead-letter", "retry", absl::StrCat(node, "/1")}, 4),
                  HasSubstr("not this one"));
    }
    // Neither time nor a restart makes the agents forget what is needed.
    ASSERT_OK(cluster_->agent("n2").Terminate());
    ASSERT_OK(cluster_->StartAgent("n2"));
    for (const char* node : {"n1", "n2"}) {
      BDR_EXEC(
          node,
          "CREATE OR REPLACE FUNCTION refuse(older failing, newer failing, info jsonb) RETURNS "
          "failing LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN newer.t := older.t || '+' || newer.t;"
          " RETURN newer; END $$;");
    }
    for (const char* node : {"n1", "n2"}) {
      ASSERT_OK(harness::WaitFor("it is merged", kDeadline, [&]() -> absl::StatusOr<bool> {
        const auto retried = cluster_->Bdrctl({"dead-letter", "retry", absl::StrCat(node, "/1")});
        return retried.ok() && retried->exit_code == 0;
      }));
    }
    BDR_CONVERGE();
    ExpectEverywhere(row, "100|100.00|n1+n2");
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  }

  static constexpr char kCounters[] =
      "CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL, note text);"
      "ALTER TABLE counter REPLICA IDENTITY FULL;"
      "INSERT INTO counter SELECT i, 0, '' FROM generate_series(1, 10) i";
};

#define BDR_SET_POLICY(...) ASSERT_NO_FATAL_FAILURE(SetPolicy(__VA_ARGS__))

// One row of each policy's table, changed on both sides of a cut.
TEST_F(PoliciesTest, EachMergesWhatTwoNodesDidApart) {
  std::string schema;
  for (const char* table : {"counted", "columns", "first", "ranked", "mixed", "failing"}) {
    absl::StrAppend(&schema, "CREATE TABLE ", table,
                    " (id int PRIMARY KEY, a int, b numeric(10,2), t text);", "ALTER TABLE ", table,
                    " REPLICA IDENTITY FULL;", "INSERT INTO ", table,
                    " VALUES (1, 100, 100.00, 'start'), (2, 0, 0, 'start');");
  }
  absl::StrAppend(
      &schema,
      "CREATE FUNCTION mix(older mixed, newer mixed, info jsonb) RETURNS mixed LANGUAGE "
      "plpgsql IMMUTABLE AS $$ BEGIN newer.a := older.a * 2 - newer.a; "
      "newer.t := older.t || '+' || newer.t; RETURN newer; END $$;"
      "CREATE FUNCTION refuse(older failing, newer failing, info jsonb) RETURNS failing "
      "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'not this one'; END $$;");
  StartWith(2, schema);
  if (HasFatalFailure()) return;
  BDR_SET_POLICY({"public.counted", "delta", "--columns", "a,b"});
  BDR_SET_POLICY({"public.columns", "column_merge"});
  BDR_SET_POLICY({"public.first", "first_update_wins"});
  BDR_SET_POLICY({"public.ranked", "origin_priority", "--priority", "n1,n2"});
  BDR_SET_POLICY({"public.mixed", "custom", "--function", "public.mix"});
  BDR_SET_POLICY({"public.failing", "custom", "--function", "public.refuse"});

  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE counted SET a = a + 5, b = b + 0.25, t = 'n1' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE counted SET a = a + 7, b = b - 1.5, t = 'n2' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE counted SET a = a + 1 WHERE id = 1");
  BDR_EXEC("n1", "DELETE FROM counted WHERE id = 2");
  BDR_EXEC("n2", "UPDATE counted SET a = 9 WHERE id = 2");  // later than the delete: it lives
  BDR_EXEC("n1", "UPDATE columns SET a = 5 WHERE id = 1");
  BDR_EXEC("n2", "UPDATE columns SET t = 'n2' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE first SET t = 'n1' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE first SET t = 'n2' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE ranked SET t = 'n1' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE ranked SET t = 'n2' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE mixed SET a = 3, t = 'n1' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE mixed SET a = 4, t = 'n2' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE failing SET t = 'n1' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE failing SET t = 'n2' WHERE id = 1");
  cluster_->Heal();
  BDR_CONVERGE();

  const auto row = [](const char* table, int id) {
    return absl::StrCat("SELECT concat_ws('|', a, b, t) FROM ", table, " WHERE id = ", id);
  };
  ExpectEverywhere(row("counted", 1), "113|98.75|n1");
  ExpectEverywhere(row("counted", 2), "9|0.00|start");
  ExpectEverywhere(row("columns", 1), "5|100.00|n2");
  ExpectEverywhere(row("first", 1), "100|100.00|n1");
  ExpectEverywhere(row("ranked", 1), "100|100.00|n1");
  ExpectEverywhere(row("mixed", 1), "2|100.00|n1+n2");
  ExpectEverywhere(row("failing", 1), "100|100.00|n1");
  // Both sides tell of it, and apply has not stopped.
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(cluster_->WaitForValue(
        node, "SELECT count(*) > 0 FROM bdr.conflict_log WHERE winner = 'merged'", "t", kDeadline));
    EXPECT_EQ(Value(node,
                    "SELECT DISTINCT rule FROM bdr.conflict_log WHERE kind = "
                    "'merge_function_failed'"),
              "not this one");
  }
  RetryRefused(row("failing", 1));
  if (HasFatalFailure()) return;

  // Writes that know of each other just follow each other.
  BDR_EXEC("n1", "UPDATE first SET t = 'after' WHERE id = 1");
  BDR_CONVERGE();
  BDR_EXEC("n2", "UPDATE first SET t = 'after that' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE counted SET a = a + 1 WHERE id = 1");
  BDR_CONVERGE();
  ExpectEverywhere(row("first", 1), "100|100.00|after that");
  ExpectEverywhere(row("counted", 1), "114|98.75|n1");
}

// Everybody counts the same few rows at once, agents die meanwhile: every increment that was
// acknowledged counts exactly once.
TEST_F(PoliciesTest, IncrementsOfAllNodesCountOnceWhateverIsKilled) {
  StartWith(3, kCounters);
  if (HasFatalFailure()) return;
  BDR_SET_POLICY({"public.counter", "delta", "--columns", "n"});
  Increments increments(cluster_.get(), /*rows=*/5);
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(increments.WaitForMore(150, kDeadline));
    cluster_->agent(node).Kill9();
    ASSERT_OK(increments.WaitForMore(100, kDeadline));
    ASSERT_OK(cluster_->StartAgent(node));
  }
  cluster_->Partition("n1", "n3");
  ASSERT_OK(increments.WaitForMore(150, kDeadline));
  cluster_->Heal();
  ASSERT_OK(increments.WaitForMore(150, kDeadline));
  increments.Stop();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT sum(n) FROM counter", absl::StrCat(increments.done()));
}

// The policy changes under the hands of those who write.
TEST_F(PoliciesTest, SwitchesWhileEverybodyWrites) {
  StartWith(2, kCounters);
  if (HasFatalFailure()) return;
  Increments increments(cluster_.get(), /*rows=*/3);
  ASSERT_OK(increments.WaitForMore(50, kDeadline));
  for (const auto& policy :
       std::vector<std::vector<std::string>>{{"public.counter", "column_merge"},
                                             {"public.counter", "delta", "--columns", "n"},
                                             {"public.counter", "last_update_wins"},
                                             {"public.counter", "delta", "--columns", "n"}}) {
    BDR_SET_POLICY(policy);
    ASSERT_OK(increments.WaitForMore(50, kDeadline));
  }
  increments.Stop();
  BDR_CONVERGE();
  // From here on each counts again.
  ASSERT_OK_AND_ASSIGN(const std::string sum,
                       cluster_->QueryValue("n1", "SELECT sum(n) FROM counter"));
  Increments more(cluster_.get(), /*rows=*/3);
  ASSERT_OK(more.WaitForMore(100, kDeadline));
  more.Stop();
  BDR_CONVERGE();
  ExpectEverywhere(absl::StrCat("SELECT sum(n) - ", sum, " FROM counter"),
                   absl::StrCat(more.done()));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult shown,
                       cluster_->Bdrctl({"table", "show-policy", "public.counter"}));
  EXPECT_THAT(shown.out, HasSubstr("column_merge"));
  EXPECT_THAT(shown.out, HasSubstr("in force"));
}

// An update that does not bring the row that it replaced counts as a whole row: increments are
// lost, and nothing stops for it. So it has to be reported, and beforehand where that can be known.
TEST_F(PoliciesTest, WhatAPolicyNeedsAndNoLongerHasIsReported) {
  StartWith(2,
            absl::StrCat(kCounters,
                         "; CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);"
                         "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (9);"
                         "ALTER TABLE part_1 REPLICA IDENTITY FULL;"));
  if (HasFatalFailure()) return;
  EXPECT_THAT(Bdrctl({"table", "set-policy", "public.part", "delta", "--columns", "n"}, 4),
              HasSubstr(R"(ALTER TABLE "public"."part" REPLICA IDENTITY FULL)"));
  BDR_SET_POLICY({"public.counter", "delta", "--columns", "n"});
  Bdrctl({"node", "check"}, 1);  // warns of the partitions
  BDR_EXEC("n2", "ALTER TABLE counter REPLICA IDENTITY DEFAULT");
  Bdrctl({"node", "check", "n1"}, 1);
  const std::string lost = Bdrctl({"node", "check", "n2"}, 2);
  EXPECT_THAT(lost, HasSubstr(R"(policy delta of table "public.counter" does not work: )"));
  EXPECT_THAT(lost, HasSubstr(R"(ALTER TABLE "public"."counter" REPLICA IDENTITY FULL)"));
  BDR_EXEC("n2", "ALTER TABLE counter REPLICA IDENTITY FULL");
  Bdrctl({"node", "check", "n2"}, 1);
}

TEST_F(PoliciesTest, IsRefusedWithWhatMendsIt) {
  StartWith(2,
            "CREATE TABLE account (id int PRIMARY KEY, balance int CHECK (balance >= 0), t text, "
            "mail text CONSTRAINT one_mail UNIQUE)");
  if (HasFatalFailure()) return;
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult refused,
                       cluster_->Bdrctl({"table", "set-policy", "public.account", "delta",
                                         "--columns", "balance,t,nothing"}));
  EXPECT_NE(refused.exit_code, 0);
  for (const char* remedy :
       {R"(ALTER TABLE "public"."account" REPLICA IDENTITY FULL)",
        R"(ALTER TABLE "public"."account" DROP CONSTRAINT "one_mail")",
        R"(ALTER TABLE "public"."account" DROP CONSTRAINT "account_balance_check")",
        R"(ALTER TABLE "public"."account" ALTER COLUMN "t" TYPE bigint)",
        R"(no column "nothing")"}) {
    EXPECT_THAT(refused.out, HasSubstr(remedy));
  }
  BDR_EXEC("n1", "ALTER TABLE account REPLICA IDENTITY FULL, DROP CONSTRAINT one_mail");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult custom,
                       cluster_->Bdrctl({"table", "set-policy", "public.account", "custom",
                                         "--function", "public.f"}));
  EXPECT_NE(custom.exit_code, 0);
  EXPECT_THAT(custom.out, HasSubstr(R"(CREATE FUNCTION "public"."f"(older "public"."account")"));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult list, cluster_->Bdrctl({"table", "list"}));
  EXPECT_THAT(list.out, HasSubstr("last_update_wins"));
}

}  // namespace
}  // namespace bdr::integration
