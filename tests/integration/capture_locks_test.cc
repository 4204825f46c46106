// A user who keeps everybody out of a table must not keep capture from all others.
#include "absl/strings/match.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class CaptureLocksTest : public ClusterTest {};

TEST_F(CaptureLocksTest, WhatCaptureWaitsForIsNamedAndPlainTablesAreNotWaitedFor) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE plain (id int PRIMARY KEY, u int UNIQUE);"
                    "CREATE TABLE partly (id int PRIMARY KEY, u int);"
                    "CREATE UNIQUE INDEX ON partly (u) WHERE u > 0;");
  // Capture meets both tables for the first time once they are locked.
  ASSERT_OK(cluster_->agent("n1").Pause());
  BDR_EXEC("n1", "INSERT INTO plain VALUES (1, 1)");
  BDR_EXEC("n1", "INSERT INTO partly VALUES (1, 1)");
  ASSERT_OK_AND_ASSIGN(const auto user, cluster_->Connect("n1"));
  ASSERT_OK_AND_ASSIGN(const std::string pid, user->QueryValue("SELECT pg_backend_pid()"));
  ASSERT_OK(user->Exec("BEGIN; LOCK TABLE plain, partly IN ACCESS EXCLUSIVE MODE"));
  ASSERT_OK(cluster_->agent("n1").Resume());

  EXPECT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM plain", "1", kDeadline));
  std::string out;
  EXPECT_OK(harness::WaitFor("status names table and process", kDeadline,
                             [&]() -> absl::StatusOr<bool> {
                               ASSIGN_OR_RETURN(const harness::ProgramResult status,
                                                cluster_->Bdrctl({"status", "-o", "json"}));
                               out = status.out;
                               return absl::StrContains(out, "public.partly") &&
                                      absl::StrContains(out, absl::StrCat("process ", pid));
                             }))
      << out;
  ASSERT_OK(user->Exec("COMMIT"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM partly", "1");
}

// A look-up that failed is made again: else nothing would be known of the rows that were written
// meanwhile, and what others had written earlier would bring back what was deleted.
TEST_F(CaptureLocksTest, RowsAreJudgedThatWereWrittenWhileALookUpFailed) {
  harness::ClusterOptions options;
  options.proxies = true;
  options.schema_sql =
      "CREATE TABLE partly (id int PRIMARY KEY, u int);"
      "CREATE UNIQUE INDEX ON partly (u) WHERE u > 0;";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "INSERT INTO partly VALUES (5, 1)");
  ASSERT_OK(cluster_->agent("n1").Pause());
  BDR_EXEC("n1", "INSERT INTO partly VALUES (5, 2)");
  BDR_EXEC("n1", "DELETE FROM partly");
  ASSERT_OK_AND_ASSIGN(const auto user, cluster_->Connect("n1"));
  ASSERT_OK(user->Exec("BEGIN; LOCK TABLE partly IN ACCESS EXCLUSIVE MODE"));
  ASSERT_OK(cluster_->agent("n1").Resume());
  ASSERT_OK(harness::WaitFor("the look-up to fail", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    return absl::StrContains(status.out, "public.partly");
  }));
  ASSERT_OK(user->Exec("COMMIT"));
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM partly", "0");
}

}  // namespace
}  // namespace bdr::integration
