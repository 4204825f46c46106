// Large values that an update leaves alone do not travel with it. Whatever it meets elsewhere,
// every node must end with the values of the version that it is. pglogical and in-core replication
// keep those of the row found, or stop. Scenarios of one table are in tests/scenarios
// (large_value_*).
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/harness/temp_folder.h"
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

// What was fetched for a column must not get into another, nor beyond the row, where a column
// before it is dropped before the group comes again.
TEST_F(ToastTest, AColumnThatIsDroppedMeanwhileMovesNoFetchedValue) {
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  const std::string fetches = folder->path() + "/fetches";
  const std::string writes = folder->path() + "/writes";
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.agent_config = "apply:\n  stall_warning: 500ms\n";
  options.agent_environment = {
      {"BDR_HANG_POINT", absl::StrCat("apply_values:", fetches, ",apply_writes:", writes)}};
  options.schema_sql =
      "CREATE TABLE doc (id int PRIMARY KEY, spare text, one text, two text, title text);"
      "ALTER TABLE doc ALTER one SET STORAGE EXTERNAL, ALTER two SET STORAGE EXTERNAL;"
      "INSERT INTO doc (id, one, two) VALUES (1, repeat('one', 2000), repeat('two', 2000))";
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n1", "ALTER TABLE doc DROP COLUMN spare");
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "UPDATE doc SET one = repeat('n_2', 2000), two = repeat('n_2', 2000)");
  BDR_EXEC("n1", "UPDATE doc SET title = 'by n1'");
  std::ofstream(fetches).close();
  cluster_->Heal();
  ASSERT_OK(harness::WaitFor("n2 to ask for the value", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    return absl::StrContains(status.out, "for large values of rows from another node");
  }));
  std::ofstream(writes).close();
  ASSERT_EQ(unlink(fetches.c_str()), 0);
  ASSERT_OK(harness::WaitFor("the value to be fetched", kDeadline,
                             [&]() -> absl::StatusOr<bool> { return Fetched("n2") == 1; }));
  BDR_EXEC("n2", "ALTER TABLE doc DROP COLUMN spare");
  ASSERT_EQ(unlink(writes.c_str()), 0);
  ASSERT_OK(harness::WaitFor("n2 to write the row", kDeadline, [&]() -> absl::StatusOr<bool> {
    return Value("n2", "SELECT title FROM doc") == "by n1";
  }));
  // What n2 wrote before names the column that is gone on n1.
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult said,
                       cluster_->Bdrctl({"table", "column-dropped", "public.doc", "spare"}));
  ASSERT_EQ(said.exit_code, 0) << said.err;
  BDR_CONVERGE();
  ExpectEverywhere("SELECT title || ' ' || left(one, 3) || ' ' || left(two, 3) FROM doc",
                   "by n1 one two");
}

}  // namespace
}  // namespace bdr::integration
