// What PostgreSQL cannot decode stops capture of its node at that place of the WAL for ever. There
// has to be a way past exactly that, which loses nothing else and lets nobody forget what it left.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/substitute.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class UndecodableTest : public ClusterTest {
 protected:
  // What capture of n1 says of itself in status, once it tells where it stands.
  void WaitUntilNamed(const std::string& what, std::string* lsn) {
    std::string last;
    ASSERT_OK(harness::WaitFor(
        absl::StrCat("status tells ", what), kDeadline,
        [&]() -> absl::StatusOr<bool> {
          ASSIGN_OR_RETURN(const harness::ProgramResult status,
                           cluster_->Bdrctl({"status", "-o", "json"}));
          last = status.out;
          if (status.exit_code != 2 || !absl::StrContains(status.out, what)) return false;
          const size_t at = status.out.find("--lsn ");
          if (at == std::string::npos) return lsn == nullptr;
          const size_t begin = at + 6;
          if (lsn != nullptr) {
            *lsn = status.out.substr(
                begin, status.out.find_first_not_of("0123456789ABCDEF/", begin) - begin);
          }
          return true;
        }))
        << last;
  }

  harness::ProgramResult Bdrctl(const std::vector<std::string>& arguments) {
    const auto result = cluster_->Bdrctl(arguments);
    EXPECT_OK(result);
    return result.ok() ? *result : harness::ProgramResult{};
  }

  nlohmann::json Gaps() {
    return nlohmann::json::parse(Bdrctl({"capture", "gaps", "n1", "-o", "json"}).out, nullptr,
                                 /*allow_exceptions=*/false);
  }

  void ExpectGapUntilRepaired(size_t transactions) {
    const nlohmann::json gaps = Gaps();
    ASSERT_EQ(gaps.size(), 1u) << gaps;
    EXPECT_EQ(gaps[0]["transactions"], transactions) << gaps;
    // A warning that stays, until the nodes are equal.
    ASSERT_OK(harness::WaitFor("status warns of it", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const harness::ProgramResult status,
                       cluster_->Bdrctl({"status", "-o", "json"}));
      return status.exit_code == 1 && absl::StrContains(status.out, "verify --repair");
    }));
    const harness::ProgramResult repair =
        Bdrctl({"verify", "--repair", "n1", "--yes", "-o", "json"});
    EXPECT_EQ(repair.exit_code, 0) << repair.out << repair.err;
    EXPECT_TRUE(Gaps().empty()) << Gaps();
    BDR_CONVERGE();
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  }
};

// The function of the index writes elsewhere, which ON CONFLICT does not expect.
constexpr char kPoison[] =
    "CREATE TABLE written (v int PRIMARY KEY);"
    "CREATE FUNCTION writes(v int) RETURNS int LANGUAGE plpgsql AS 'BEGIN "
    "INSERT INTO public.written VALUES (v); RETURN v; END';"
    "CREATE FUNCTION indexed(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
    "'BEGIN RETURN public.writes(v); END';"
    "CREATE TABLE poisoned (id int PRIMARY KEY, v int);"
    "CREATE INDEX ON poisoned (indexed(v));"
    "CREATE TABLE other (id int PRIMARY KEY);";
constexpr char kUpsert[] = "INSERT INTO poisoned VALUES ($0, $0) ON CONFLICT (id) DO NOTHING";

TEST_F(UndecodableTest, APoisonedTransactionIsSkippedAndNothingElse) {
  BDR_START_CLUSTER(2, kPoison);
  BDR_EXEC("n1", "INSERT INTO other VALUES (1)");
  ASSERT_OK_AND_ASSIGN(const auto open, cluster_->Connect("n1"));
  ASSERT_OK(open->Exec("BEGIN; INSERT INTO other VALUES (100)"));
  BDR_EXEC("n1", absl::Substitute(kUpsert, 1));
  BDR_EXEC("n1", "INSERT INTO other VALUES (2)");
  ASSERT_OK(open->Exec("COMMIT"));
  BDR_EXEC("n1", absl::Substitute(kUpsert, 2));
  BDR_EXEC("n1", "INSERT INTO other VALUES (3)");

  std::string first;
  ASSERT_NO_FATAL_FAILURE(WaitUntilNamed("invalid ordering of speculative insertion", &first));
  const harness::ProgramResult wrong = Bdrctl({"capture", "skip", "n1", "--lsn", "0/1", "--yes"});
  EXPECT_EQ(wrong.exit_code, 4);
  EXPECT_THAT(wrong.err, ::testing::HasSubstr(first));
  // Killed before and after it is written down.
  for (const char* point : {"capture_before_skip", "capture_after_skip"}) {
    cluster_->agent("n1").Kill9();
    ASSERT_OK(cluster_->StartAgent("n1", {{"BDR_FAIL_POINT", point}}));
    // Refused until capture has met it again.
    ASSERT_OK(harness::WaitFor("the agent dies of it", kDeadline, [&]() -> absl::StatusOr<bool> {
      (void)cluster_->Bdrctl({"capture", "skip", "n1", "--lsn", first, "--yes"});
      return !cluster_->agent("n1").Running();
    }));
  }
  ASSERT_OK(cluster_->StartAgent("n1"));
  std::string second = first;
  ASSERT_OK(harness::WaitFor("the next one is met", kDeadline, [&]() -> absl::StatusOr<bool> {
    WaitUntilNamed("invalid ordering", &second);
    return second != first;
  }));
  // What lies between them, and what was open meanwhile, has arrived; nothing else has.
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM other",
                                   "1 2 100", kDeadline));
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM poisoned"), "0");
  EXPECT_EQ(Gaps().size(), 1u) << Gaps();
  EXPECT_EQ(Gaps()[0]["first_lsn"], first);
  const harness::ProgramResult skipped =
      Bdrctl({"capture", "skip", "n1", "--lsn", second, "--yes"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.out << skipped.err;
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM other", "4", kDeadline));
  EXPECT_EQ(Gaps().size(), 2u) << Gaps();
  EXPECT_EQ(Bdrctl({"capture", "close", "n1", "--lsn", second, "--yes"}).exit_code, 0);
  ASSERT_NO_FATAL_FAILURE(ExpectGapUntilRepaired(1));
  ExpectEverywhere("SELECT count(*) FROM poisoned", "2");
  // Both ways go on.
  BDR_EXEC("n1", "INSERT INTO other VALUES (4)");
  BDR_EXEC("n2", "UPDATE poisoned SET v = 7 WHERE id = 1");
  BDR_CONVERGE();
}

// What was applied here for another node is nobody's loss: it is passed without a word of a person.
TEST_F(UndecodableTest, WhatWasAppliedForAnotherNodeIsPassed) {
  BDR_START_CLUSTER(2, kPoison);
  BDR_EXEC("n1", "INSERT INTO poisoned VALUES (1, 1)");
  BDR_CONVERGE();
  BDR_EXEC("n2", "INSERT INTO other VALUES (1)");
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(Bdrctl({"capture", "gaps", "-o", "json"}).out, "[]\n");
}

TEST_F(UndecodableTest, WhatWasWrittenWithoutAPublicationIsSkippedAtOnce) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  BDR_EXEC("n1", "DROP PUBLICATION bdr_keyed");
  for (int id = 2; id < 5; ++id) BDR_EXEC("n1", absl::StrCat("INSERT INTO t VALUES (", id, ")"));
  ASSERT_NO_FATAL_FAILURE(
      WaitUntilNamed("publication \\\"bdr_keyed\\\" is missing", /*lsn=*/nullptr));
  BDR_EXEC("n1",
           "CREATE PUBLICATION bdr_keyed WITH (publish_via_partition_root = true);"
           "SELECT bdr.sync_publications()");
  BDR_EXEC("n1", "INSERT INTO t VALUES (5)");
  std::string lsn;
  ASSERT_NO_FATAL_FAILURE(WaitUntilNamed("cannot decode the transaction", &lsn));
  const harness::ProgramResult skipped =
      Bdrctl({"capture", "skip", "n1", "--lsn", lsn, "--until-decodable", "--yes"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.out << skipped.err;
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t",
                                   "1 5", kDeadline));
  ASSERT_NO_FATAL_FAILURE(ExpectGapUntilRepaired(3));
  ExpectEverywhere("SELECT count(*) FROM t", "5");
}

// PostgreSQL cannot send a row of more than 1 GiB, whoever reads. It takes some gigabytes of
// memory, so it runs only where BDR_LONG_TESTS is set.
TEST_F(UndecodableTest, ARowOfMoreThanAGigabyteIsNamedAndSkipped) {
  if (std::getenv("BDR_LONG_TESTS") == nullptr) GTEST_SKIP() << "BDR_LONG_TESTS is not set";
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, a text, b text)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 'small', 'small')");
  // By way of a table that does not travel: no statement may make such a row at once, either.
  BDR_EXEC("n1",
           "CREATE TEMP TABLE parts (a text, b text);"
           "INSERT INTO parts VALUES (repeat('a', 600000000));"
           "UPDATE parts SET b = repeat('b', 600000000);"
           "INSERT INTO t SELECT 2, a, b FROM parts");
  BDR_EXEC("n1", "INSERT INTO t VALUES (3, 'small', 'small')");
  std::string lsn;
  ASSERT_NO_FATAL_FAILURE(WaitUntilNamed("cannot decode the transaction", &lsn));
  const harness::ProgramResult skipped = Bdrctl({"capture", "skip", "n1", "--lsn", lsn, "--yes"});
  EXPECT_EQ(skipped.exit_code, 0) << skipped.out << skipped.err;
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t",
                                   "1 3", kDeadline));
  BDR_EXEC("n1", "DELETE FROM t WHERE id = 2");
  BDR_CONVERGE();
}

// A right that is taken away and given back needs nobody's help.
TEST_F(UndecodableTest, ARightThatWasTakenAwayIsNamedAndCaptureGoesOnOnceItIsBack) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  BDR_EXEC("n1",
           "ALTER ROLE bdr NOREPLICATION; SELECT pg_terminate_backend(pid) FROM "
           "pg_stat_replication");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  ASSERT_NO_FATAL_FAILURE(WaitUntilNamed("replication", /*lsn=*/nullptr));
  BDR_EXEC("n1", "ALTER ROLE bdr REPLICATION");
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_TRUE(Gaps().empty());
}

}  // namespace
}  // namespace bdr::integration
