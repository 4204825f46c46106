// Large values that an update leaves alone do not travel with it. Whatever it meets elsewhere,
// every node must end with the values of the version that it is. pglogical and in-core replication
// keep those of the row found, or stop.
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// Stored out of line, since it is not compressed.
constexpr char kSchema[] =
    "CREATE DOMAIN text_given AS text NOT NULL CHECK (length(VALUE) > 1);"
    "CREATE TABLE doc (id int PRIMARY KEY, title text, body text);"
    "ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;"
    "CREATE TABLE strict (id int PRIMARY KEY, title text, body text_given NOT NULL);"
    "ALTER TABLE strict ALTER body SET STORAGE EXTERNAL;"
    // Values beside the key that are unique go by another way, and so do arrays of a domain's row.
    "CREATE TABLE uniq (id int PRIMARY KEY, title text, body text_given NOT NULL, u int UNIQUE);"
    "ALTER TABLE uniq ALTER body SET STORAGE EXTERNAL;"
    "CREATE TABLE arrays (id int PRIMARY KEY, title text, body text_given NOT NULL, a int[]);"
    "ALTER TABLE arrays ALTER body SET STORAGE EXTERNAL;"
    "INSERT INTO uniq SELECT i, 'title', repeat('old', 2000), i FROM generate_series(1, 20) i;"
    "INSERT INTO arrays SELECT i, 'title', repeat('old', 2000) FROM generate_series(1, 20) i;"
    "INSERT INTO doc SELECT i, 'title', repeat('old', 2000) FROM generate_series(1, 20) i;"
    "INSERT INTO strict SELECT i, 'title', repeat('old', 2000) FROM generate_series(1, 20) i;";

class ToastTest : public ClusterTest {
 protected:
  void Start(int nodes) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.proxies = true;
    options.schema_sql = kSchema;
    BDR_START_CLUSTER(std::move(options));
  }

  void All(const std::string& node, const std::string& sql) {
    for (const char* table : {"doc", "strict", "uniq", "arrays"}) {
      BDR_EXEC(node, absl::StrReplaceAll(sql, {{"@", table}}));
    }
  }
  void ExpectAll(const std::string& sql, const std::string& value) {
    for (const char* table : {"doc", "strict", "uniq", "arrays"}) {
      ExpectEverywhere(absl::StrReplaceAll(sql, {{"@", table}}), value);
    }
  }
  std::string Row(const std::string& node, int id) {
    return Value(node,
                 absl::StrCat("SELECT title || ' ' || left(body, 3) FROM doc WHERE id = ", id));
  }
  int64_t Fetched(const std::string& node) {
    const absl::StatusOr<harness::Metrics> metrics = cluster_->AgentMetrics(node);
    if (!metrics.ok()) return -1;
    return static_cast<int64_t>(metrics->Sum("bdr_fetched_rows_total"));
  }
};

TEST_F(ToastTest, ValuesLeftAloneAreThoseOfTheVersionThatWinsOnEveryNode) {
  Start(3);
  if (HasFatalFailure()) return;
  cluster_->Isolate("n1");
  cluster_->Partition("n2", "n3");
  // 1: other columns of one row, the later leaves the large one alone.
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 1");
  All("n2", "UPDATE @ SET title = 'by n2' WHERE id = 1");
  // 2: the row is gone where the update arrives.
  All("n1", "DELETE FROM @ WHERE id = 2");
  All("n2", "UPDATE @ SET title = 'by n2' WHERE id = 2");
  // 3: its origin has moved on when it is asked.
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 3");
  All("n2", "UPDATE @ SET title = 'by n2' WHERE id = 3");
  All("n2", "UPDATE @ SET body = repeat('n_2', 2000) WHERE id = 3");
  // 4: and has deleted the row, which others still have, or have not.
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 4");
  All("n3", "DELETE FROM @ WHERE id = 4");
  All("n2", "UPDATE @ SET title = 'by n2' WHERE id = 4");
  All("n2", "DELETE FROM @ WHERE id = 4");
  // 5: the key changes.
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 5");
  All("n3", "DELETE FROM @ WHERE id = 5");
  All("n2", "UPDATE @ SET id = 50, title = 'by n2' WHERE id = 5");
  // 6: three nodes, each with something else.
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 6");
  All("n2", "DELETE FROM @ WHERE id = 6");
  All("n3", "UPDATE @ SET title = 'by n3' WHERE id = 6");
  // 7: the later one carries its value, the earlier one does not.
  All("n2", "UPDATE @ SET title = 'by n2' WHERE id = 7");
  All("n1", "UPDATE @ SET body = repeat('n_1', 2000) WHERE id = 7");
  cluster_->Heal();
  BDR_CONVERGE();
  const std::string row = "SELECT title || ' ' || left(body, 3) FROM @ WHERE id = ";
  ExpectAll(row + "1", "by n2 old");
  ExpectAll(row + "2", "by n2 old");
  ExpectAll(row + "3", "by n2 n_2");
  ExpectAll("SELECT count(*) FROM @ WHERE id IN (4, 5)", "0");
  ExpectAll(row + "50", "by n2 old");
  ExpectAll(row + "6", "by n3 old");
  ExpectAll(row + "7", "title n_1");
  ExpectAll("SELECT count(*) FROM @ WHERE length(body) <> 6000", "0");
  EXPECT_GT(Fetched("n1"), 0);
}

// The node that the update comes from cannot be reached; another has exactly that version.
TEST_F(ToastTest, AnotherMemberHelpsWhereTheOriginIsCutOff) {
  Start(3);
  if (HasFatalFailure()) return;
  cluster_->Isolate("n1");
  BDR_EXEC("n1", "UPDATE doc SET body = repeat('n_1', 2000) WHERE id = 1");
  BDR_EXEC("n2", "UPDATE doc SET title = 'by n2' WHERE id = 1");
  ASSERT_OK(cluster_->WaitForValue("n3", "SELECT title FROM doc WHERE id = 1", "by n2", kDeadline));
  // n1 hears of it through n3 alone.
  cluster_->SetFault("n1", "n3", {});
  cluster_->SetFault("n3", "n1", {});
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT title FROM doc WHERE id = 1", "by n2", kDeadline));
  EXPECT_EQ(Row("n1", 1), "by n2 old");

  // Nobody has it: n3 has moved on. Apply waits, and says for what.
  cluster_->Isolate("n1");
  BDR_EXEC("n1", "UPDATE doc SET body = repeat('n_1', 2000) WHERE id = 2");
  BDR_EXEC("n2", "UPDATE doc SET title = 'by n2' WHERE id = 2");
  ASSERT_OK(cluster_->WaitForValue("n3", "SELECT title FROM doc WHERE id = 2", "by n2", kDeadline));
  BDR_EXEC("n3", "UPDATE doc SET title = 'by n3' WHERE id = 2");
  cluster_->SetFault("n1", "n3", {});
  cluster_->SetFault("n3", "n1", {});
  ASSERT_OK(
      harness::WaitFor("status names what is waited for", kDeadline, [&]() -> absl::StatusOr<bool> {
        const auto status = cluster_->Bdrctl({"status"});
        if (!status.ok()) return status.status();
        return absl::StrContains(status->out, "for large values of table \"public.doc\"");
      }));
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT title || ' ' || left(body, 3) FROM doc WHERE id = 2", "by n3 old");
}

// n1 gets the values of n2's version from n2's row, which n3 has changed since. A local update upon
// it means them, and n4, which has n2's version and not n3's, must not take them for its own.
TEST_F(ToastTest, AnUpdateUponValuesOfALaterVersionCarriesThem) {
  Start(4);
  if (HasFatalFailure()) return;
  cluster_->Isolate("n1");
  cluster_->Partition("n3", "n4");
  BDR_EXEC("n1", "UPDATE doc SET body = repeat('n_1', 2000) WHERE id = 1");
  BDR_EXEC("n2", "UPDATE doc SET title = 'by n2' WHERE id = 1");
  for (const char* node : {"n3", "n4"}) {
    ASSERT_OK(
        cluster_->WaitForValue(node, "SELECT title FROM doc WHERE id = 1", "by n2", kDeadline));
  }
  BDR_EXEC("n3", "UPDATE doc SET body = repeat('n_3', 2000) WHERE id = 1");
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT left(body, 3) FROM doc WHERE id = 1", "n_3", kDeadline));
  cluster_->SetFault("n1", "n2", {});
  cluster_->SetFault("n2", "n1", {});
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT title FROM doc WHERE id = 1", "by n2", kDeadline));
  EXPECT_EQ(Row("n1", 1), "by n2 n_3");
  BDR_EXEC("n1", "UPDATE doc SET title = 'by n1' WHERE id = 1");
  cluster_->SetFault("n1", "n4", {});
  cluster_->SetFault("n4", "n1", {});
  ASSERT_OK(cluster_->WaitForValue("n4", "SELECT title FROM doc WHERE id = 1", "by n1", kDeadline));
  EXPECT_EQ(Row("n4", 1), "by n1 n_3");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT title || ' ' || left(body, 3) FROM doc WHERE id = 1", "by n1 n_3");
}

// A row that vanished from its origin without a trace (somebody deleted it there as replication
// does): nobody has its values. The update counts all the same, and the loss is on record.
TEST_F(ToastTest, ValuesThatNobodyHasAnyMoreStopNothing) {
  Start(2);
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE doc SET body = repeat('n_1', 2000) WHERE id = 1");
  BDR_EXEC("n1", "DELETE FROM doc WHERE id = 2");
  BDR_EXEC("n2", "UPDATE doc SET title = 'by n2' WHERE id IN (1, 2)");
  BDR_EXEC("n2",
           "SELECT pg_replication_origin_create('another_tool');"
           "SELECT pg_replication_origin_session_setup('another_tool');"
           "DELETE FROM doc WHERE id IN (1, 2)");
  cluster_->Heal();
  ASSERT_OK(cluster_->WaitForValue(
      "n1", "SELECT string_agg(title || left(body, 3), ' ') FROM doc WHERE id = 1", "by n2n_1",
      kDeadline));
  EXPECT_EQ(Value("n1", "SELECT title || coalesce(body, ' NULL') FROM doc WHERE id = 2"),
            "by n2 NULL");
  EXPECT_EQ(
      Value("n1",
            "SELECT count(*) FROM bdr.conflict_log WHERE kind = 'large_value_unavailable' AND "
            "remote_absent = '{body}'"),
      "2");
}

// A group that was recorded as a whole and then falls apart: its first half must not count as
// beaten by what its second half is going to write.
TEST_F(ToastTest, AGroupThatFallsApartLosesNoValue) {
  Start(2);
  if (HasFatalFailure()) return;
  BDR_EXEC("n2", "ALTER TABLE doc ADD CONSTRAINT no_bad CHECK (title <> 'bad')");
  // All that n1 does meanwhile is there for one group.
  ASSERT_OK_AND_ASSIGN(const auto user, cluster_->Connect("n2"));
  ASSERT_OK(user->Exec("BEGIN; SELECT FROM doc WHERE id = 19 FOR UPDATE").status());
  BDR_EXEC("n1", "UPDATE doc SET title = 'first' WHERE id = 19");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", "t",
                                   kDeadline));
  BDR_EXEC("n1", "UPDATE doc SET body = repeat('new', 2000) WHERE id <= 10");
  BDR_EXEC("n1", "UPDATE doc SET title = 'later' WHERE id <= 10");
  BDR_EXEC("n1", "UPDATE doc SET title = 'bad' WHERE id = 20");
  const std::string end = Value("n1", "SELECT pg_current_wal_insert_lsn() - '0/0'");
  ASSERT_OK(harness::WaitFor("all is received", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_->AgentMetrics("n2"));
    return metrics.Sum("bdr_received_lsn_bytes") >= std::stod(end);
  }));
  ASSERT_OK(user->Exec("COMMIT").status());
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM doc WHERE title = 'later'", "10",
                                   kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM doc WHERE left(body, 3) = 'new'"), "10");
  BDR_EXEC("n2", "ALTER TABLE doc DROP CONSTRAINT no_bad");
  ASSERT_EQ(cluster_->Bdrctl({"apply", "retry"})->exit_code, 0);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM doc WHERE left(body, 3) = 'new'", "10");
}

// A large transaction is applied block by block. What it needs from elsewhere is fetched for many
// of them at a time, not for each one from the beginning.
TEST_F(ToastTest, ALargeTransactionFetchesForManyBlocksAtATime) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE doc (id int PRIMARY KEY, title text, body text);"
      "ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;"
      "INSERT INTO doc SELECT i, 'title', repeat('old', 1000) FROM generate_series(1, 900) i;";
  options.agent_config = "block_max_bytes: 16KiB\n";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "UPDATE doc SET body = repeat('n_2', 1000)");
  BDR_EXEC("n1", "UPDATE doc SET title = repeat('n_1', 150)");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM doc WHERE title LIKE 'n_1%' AND body LIKE 'old%'", "900");
  EXPECT_EQ(Fetched("n2"), 900);
  ExpectFewRetries("n2");
}

}  // namespace
}  // namespace bdr::integration
