// What is applied comes again after a crash, at whatever step the crash was: nothing is lost, and
// nothing is done twice. (bdr-agent ends itself there; base/test_hooks.h.)
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using RedeliveryTest = ClusterTest;

#ifdef BDR_TEST_HOOKS
TEST_F(RedeliveryTest, AfterACrashAtEachStepOfApply) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE account (id int PRIMARY KEY, balance int);"
                    "CREATE TABLE event (what text);"
                    "INSERT INTO account SELECT i, 0 FROM generate_series(1, 5) AS i");
  int round = 0;
  for (const char* step :
       {"apply_before_versions", "apply_after_versions", "apply_after_statements",
        "apply_before_commit", "apply_after_commit", "receive_after_write"}) {
    SCOPED_TRACE(step);
    ++round;
    ASSERT_OK(cluster_->agent("n2").Terminate(kDeadline));
    ASSERT_OK(cluster_->StartAgent("n2", {{"BDR_FAIL_POINT", step}}));
    BDR_EXEC("n1", absl::StrCat("BEGIN; UPDATE account SET balance = balance + 1 WHERE id < 5;"
                                "DELETE FROM account WHERE id = 5;"
                                "INSERT INTO account VALUES (5, ",
                                round, "); INSERT INTO event VALUES ('", step, "'); COMMIT"));
    ASSERT_OK(cluster_->agent("n2").WaitForExit(kDeadline));
    // What its backend had been given may still be committed, or not.
    ASSERT_OK(cluster_->StartAgent("n2"));
    BDR_CONVERGE();
    ExpectEverywhere("SELECT count(*) FROM account WHERE balance = " + absl::StrCat(round), "5");
    ExpectEverywhere("SELECT count(*) FROM event", absl::StrCat(round));
  }
}
#endif

}  // namespace
}  // namespace bdr::integration
