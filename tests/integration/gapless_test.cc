// Sequences without a gap: one node at a time gives out their numbers.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

constexpr char kInvoices[] = "CREATE TABLE invoices (no bigserial PRIMARY KEY, at text NOT NULL)";

class GaplessSequenceTest : public ClusterTest {
 protected:
  harness::ProgramResult Bdrctl(const std::vector<std::string>& command) {
    const auto result = cluster_->Bdrctl(command);
    EXPECT_OK(result.status());
    return result.ok() ? *result : harness::ProgramResult();
  }
  std::vector<std::string> ConvertCommand(const std::string& method) {
    std::vector<std::string> command = {"sequence", "convert", "public.invoices_no_seq", "--method",
                                        method};
    return cluster_->WithDatabases(std::move(command));
  }
  void Convert(const std::string& method) {
    const harness::ProgramResult result = Bdrctl(ConvertCommand(method));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  }
  // An application repeats what fails.
  void Insert(const std::string& node, const std::string& at, const std::string& level = "",
              int rows = 1) {
    ASSERT_OK(harness::WaitFor(
        absl::StrCat("an invoice of ", node), kDeadline, [&]() -> absl::StatusOr<bool> {
          return cluster_
              ->Exec(node, absl::StrCat("BEGIN ", level, "; INSERT INTO invoices (at) SELECT '", at,
                                        "' FROM generate_series(1, ", rows, "); COMMIT"))
              .ok();
        }));
  }
  // The turn goes to and fro, and whoever is to die does so on the way. What is drawn is in no row.
  void DrawUntilItsAgentDies(const std::string& node, const char* point) {
    std::atomic<bool> dead = false;
    std::thread draws([this, &dead] {
      while (!dead) {
        for (const std::string& each : cluster_->names()) {
          (void)cluster_->Exec(each,
                               "SET bdr.sequence_timeout = '2s';"
                               " SELECT bdr.nextval('invoices_no_seq')");
        }
      }
    });
    EXPECT_OK(cluster_->agent(node).WaitForExit(kDeadline)) << point;
    dead = true;
    draws.join();
  }
  // On every node the same, with no number twice and none left out.
  void ExpectNoGap(int64_t least) {
    Converge();
    ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
    ExpectEverywhere(absl::StrCat("SELECT min(no) = 1 AND max(no) = count(*) AND count(*) >= ",
                                  least, " FROM invoices"),
                     "t");
  }
};

TEST_F(GaplessSequenceTest, TheTurnGoesRoundAndNothingIsLeftOut) {
  BDR_START_CLUSTER(3, kInvoices);
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  std::vector<std::thread> users;
  for (const std::string& node : cluster_->names()) {
    users.emplace_back([this, node] {
      for (int i = 0; i < 12; ++i) {
        Insert(node, node, i % 3 == 0 ? "ISOLATION LEVEL SERIALIZABLE" : "", 3);
        // Drawn, and taken back.
        (void)cluster_->Exec(node,
                             "BEGIN; INSERT INTO invoices (at) SELECT 'no' FROM"
                             " generate_series(1, 3); ROLLBACK");
      }
    });
  }
  for (std::thread& user : users) user.join();
  ASSERT_NO_FATAL_FAILURE(ExpectNoGap(108));
  const harness::ProgramResult list = Bdrctl({"sequence", "list"});
  EXPECT_THAT(list.out, HasSubstr("gapless"));
  ASSERT_OK(harness::WaitFor(
      "sequence show says who has the turn", kDeadline, [&]() -> absl::StatusOr<bool> {
        // Nobody may have it: it was asked for by one who has gone.
        (void)cluster_->Exec("n1", "BEGIN; SELECT bdr.nextval('invoices_no_seq'); ROLLBACK");
        return absl::StrContains(Bdrctl({"sequence", "show", "public.invoices_no_seq"}).out,
                                 "held, next 109");
      }));
  // Another method goes on beyond, and back again.
  ASSERT_NO_FATAL_FAILURE(Convert("galloc"));
  for (const std::string& node : cluster_->names()) Insert(node, "galloc");
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  for (const std::string& node : cluster_->names()) Insert(node, "gapless");
  Converge();
  ExpectEverywhere("SELECT count(*) FROM invoices", "114");
  ExpectEverywhere("SELECT max(no) - min(no) FROM invoices WHERE at = 'gapless'", "2");
}

// Whatever is killed while the turn changes, at each step of it.
TEST_F(GaplessSequenceTest, AChangeOfHolderMayStopAnywhere) {
  BDR_START_CLUSTER(2, kInvoices);
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  Insert("n1", "first");
  int64_t rows = 1;
  for (const char* point : {"turn_given", "turn_written", "turn_confirmed"}) {
    // n2 gets the turn, and dies with it.
    ASSERT_OK(cluster_->agent("n2").Terminate());
    ASSERT_OK(cluster_->StartAgent("n2", {{"BDR_FAIL_POINT", point}}));
    DrawUntilItsAgentDies("n2", point);
    ASSERT_OK(cluster_->StartAgent("n2"));
    Insert("n1", point);
    Insert("n2", point);
    Insert("n1", point);
    rows += 3;
  }
  for (const char* point : {"turn_closing", "turn_ended"}) {
    Insert("n1", point);
    ASSERT_OK(cluster_->agent("n1").Terminate());
    ASSERT_OK(cluster_->StartAgent("n1", {{"BDR_FAIL_POINT", point}}));
    DrawUntilItsAgentDies("n1", point);
    ASSERT_OK(cluster_->StartAgent("n1"));
    Insert("n2", point);
    rows += 2;
  }
  // PostgreSQL of the holder, and bdr-server.
  for (int i = 0; i < 2; ++i) {
    Insert("n2", "kill");
    ASSERT_OK(cluster_->postgres("n2").Kill9());
    cluster_->server().Kill9();
    ASSERT_OK(cluster_->postgres("n2").Start());
    ASSERT_OK(cluster_->StartServer());
    Insert(i == 0 ? "n2" : "n1", "after");
    rows += 2;
  }
  // What was drawn only to ask was committed in no row.
  Converge();
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  ExpectEverywhere("SELECT count(*) FROM invoices", absl::StrCat(rows));
}

// Nobody is overruled in silence: the turn of a node that is away stays there until a person says
// otherwise, knowing what may be lost.
TEST_F(GaplessSequenceTest, AHolderThatIsAwayIsTakenOverByAPerson) {
  BDR_START_CLUSTER(2, kInvoices);
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  Insert("n1", "one");
  Insert("n1", "two");
  ASSERT_NO_FATAL_FAILURE(ExpectNoGap(2));
  ASSERT_OK(
      harness::WaitFor("bdr-server knows how far it is", kDeadline, [&]() -> absl::StatusOr<bool> {
        return absl::StrContains(
            Bdrctl({"sequence", "show", "public.invoices_no_seq", "-o", "json"}).out,
            "\n  \"next\": 3,");
      }));
  cluster_->agent("n1").Kill9();
  BDR_EXEC("n1", "INSERT INTO invoices (at) VALUES ('of the old holder')");
  EXPECT_THAT(std::string(cluster_
                              ->Exec("n2",
                                     "SET bdr.sequence_timeout = '1s';"
                                     " INSERT INTO invoices (at) VALUES ('too early')")
                              .message()),
              HasSubstr("did not come to this node within 00:00:01"));

  const std::vector<std::string> command = {"sequence", "takeover", "public.invoices_no_seq",
                                            "--node", "n2"};
  const harness::ProgramResult unsure = Bdrctl(command);
  EXPECT_NE(unsure.exit_code, 0);
  EXPECT_THAT(unsure.err, HasSubstr("is with node \"n1\", which has not given it back"));
  EXPECT_THAT(unsure.err, HasSubstr("the same number in two rows"));
  EXPECT_THAT(unsure.err, HasSubstr("nothing was done"));
  std::vector<std::string> sure = command;
  sure.push_back("--yes");
  const harness::ProgramResult taken = Bdrctl(sure);
  ASSERT_EQ(taken.exit_code, 0) << taken.err;
  EXPECT_THAT(taken.out, HasSubstr("is with node n2, from 3 on at least"));
  Insert("n2", "of the new holder");
  EXPECT_EQ(Value("n2", "SELECT max(no) FROM invoices"), "3");

  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(harness::WaitFor("status says it", kDeadline, [&]() -> absl::StatusOr<bool> {
    return absl::StrContains(Bdrctl({"status"}).out, "was taken over while this node had it");
  }));
  Insert("n1", "once more");
  Converge();
  ExpectEverywhere("SELECT string_agg(no::text, ',' ORDER BY no) FROM invoices", "1,2,3,4");
}

// Whoever begins to convert to another method and thinks better of it, or makes the table anew, has
// no turn left over that no database knows of.
TEST_F(GaplessSequenceTest, AConversionThatIsGivenUpLeavesNoTurnBehind) {
  BDR_START_CLUSTER(2, kInvoices);
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  for (const std::string& node : cluster_->names()) Insert(node, "before");
  for (const char* after : {"capped", "numbered", "first_node"}) {
    ASSERT_OK_AND_ASSIGN(
        const harness::ProgramResult cut,
        cluster_->Bdrctl(ConvertCommand("snowflake"),
                         {{"BDR_FAIL_POINT", absl::StrCat("conversion_", after)}}));
    ASSERT_EQ(cut.exit_code, 128 + SIGKILL) << after << cut.out << cut.err;
    ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
    for (const std::string& node : cluster_->names()) Insert(node, after);
  }
  Converge();
  ExpectEverywhere("SELECT count(*) FROM invoices", "8");
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node,
             absl::StrCat("DROP TABLE invoices; ", kInvoices, "; SELECT bdr.sync_publications()"));
  }
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  for (const std::string& node : cluster_->names()) Insert(node, "anew", "", 2);
  Converge();
  ExpectEverywhere("SELECT count(*) || ' ' || max(no) - min(no) FROM invoices", "4 3");

  // One node alone draws by itself, beyond the others: what it gave out they are not to give out.
  BDR_EXEC("n2", absl::StrCat("DROP TABLE invoices; ", kInvoices,
                              "; SELECT bdr.sync_publications(), setval('invoices_no_seq',"
                              " 1000000000)"));
  const harness::ProgramResult refused = Bdrctl(ConvertCommand("gapless"));
  EXPECT_NE(refused.exit_code, 0) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr("up to 1000000000 by itself"));
  EXPECT_THAT(refused.err, HasSubstr("takeover --from 1000000001"));
  const harness::ProgramResult taken = Bdrctl({"sequence", "takeover", "public.invoices_no_seq",
                                               "--node", "n1", "--from", "1000000001", "--yes"});
  ASSERT_EQ(taken.exit_code, 0) << taken.err;
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  Insert("n1", "beyond");
  Insert("n2", "beyond");
  EXPECT_EQ(Value("n2", "SELECT max(no) FROM invoices"), "1000000002");
}

// A lost bdr-server learns from the agents who has the turn; where a node is not heard it stays
// with that until a person says otherwise.
TEST_F(GaplessSequenceTest, ALostServerGivesNoTurnThatIsTaken) {
  BDR_START_CLUSTER(3, kInvoices);
  ASSERT_NO_FATAL_FAILURE(Convert("gapless"));
  Insert("n2", "one");
  Insert("n3", "two");
  ASSERT_NO_FATAL_FAILURE(ExpectNoGap(2));
  cluster_->server().Kill9();
  const std::string folder = cluster_->folder() + "/server";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(harness::WaitFor("the cluster is rebuilt", kDeadline, [&]() -> absl::StatusOr<bool> {
    return Bdrctl({"cluster", "init", "--from-agents"}).exit_code == 0;
  }));
  for (const std::string& node : cluster_->names()) Insert(node, "after");
  ASSERT_NO_FATAL_FAILURE(ExpectNoGap(5));
}

}  // namespace
}  // namespace bdr::integration
