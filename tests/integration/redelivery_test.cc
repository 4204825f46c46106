// What is applied comes again after a crash, at whatever step the crash was: nothing is lost, and
// nothing is done twice. (bdr-agent ends itself there; base/test_hooks.h.)
//
// Systems that keep their progress apart from the rows lose or repeat what lies between the two.
// Every step must really be reached: WaitForExit() fails where the agent runs on.
#include <csignal>

#include "absl/strings/numbers.h"
#include "tests/harness/process.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

#ifdef BDR_TEST_HOOKS

class RedeliveryTest : public ClusterTest {
 protected:
  static constexpr char kSchema[] =
      "CREATE TABLE account (id int PRIMARY KEY, balance int);"
      "CREATE TABLE event (what text);"
      "INSERT INTO account SELECT i, 0 FROM generate_series(1, 5) AS i";

  // What shows whether a transaction was lost, applied in part or twice.
  void Transact(const std::string& what) {
    ++transactions_;
    BDR_EXEC("n1",
             absl::StrCat("BEGIN; UPDATE account SET balance = balance + 1 WHERE id < 5;"
                          "DELETE FROM account WHERE id = 5;"
                          "INSERT INTO account VALUES (5, ",
                          transactions_, "); INSERT INTO event VALUES ('", what, "'); COMMIT"));
  }
  void ExpectEachOnce() {
    BDR_CONVERGE();
    ExpectEverywhere(absl::StrCat("SELECT count(*) FROM account WHERE balance = ", transactions_),
                     "5");
    ExpectEverywhere("SELECT count(*) FROM event", absl::StrCat(transactions_));
    ExpectEverywhere("SELECT count(DISTINCT what) FROM event", absl::StrCat(transactions_));
  }
  void RestartAgent(const std::string& node, const std::string& fail_point) {
    ASSERT_OK(cluster_->agent(node).Terminate(kDeadline));
    ASSERT_OK(cluster_->StartAgent(node, {{"BDR_FAIL_POINT", fail_point}}));
  }
  // Capture of n1 stands still while its walsender is stopped; all else goes on.
  void SignalCapture(int signal) {
    // An agent that was started just now may not have come so far, nor the one before be gone.
    std::string pid;
    ASSERT_OK(harness::WaitFor("capture's walsender", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(pid, cluster_->QueryValue("n1",
                                                 "SELECT CASE WHEN count(*) = 1 AND "
                                                 "min(state) = 'streaming' THEN max(pid) ELSE 0 "
                                                 "END FROM pg_stat_replication WHERE "
                                                 "application_name = 'bdr capture'"));
      return pid != "0";
    }));
    int process = 0;
    ASSERT_TRUE(absl::SimpleAtoi(pid, &process)) << pid;
    if (signal == SIGSTOP) {
      ASSERT_OK(harness::StopProcess(process));
    } else {
      ASSERT_EQ(kill(process, signal), 0);
    }
  }

  int transactions_ = 0;
};

TEST_F(RedeliveryTest, AfterACrashAtEachStepOfApply) {
  BDR_START_CLUSTER(2, kSchema);
  for (const char* step :
       {"apply_before_versions", "apply_after_versions", "apply_after_statements",
        "apply_before_commit", "apply_after_commit", "receive_after_write"}) {
    SCOPED_TRACE(step);
    ASSERT_NO_FATAL_FAILURE(RestartAgent("n2", step));
    ASSERT_NO_FATAL_FAILURE(Transact(step));
    ASSERT_OK(cluster_->agent("n2").WaitForExit(kDeadline));
    // What its backend had been given may still be committed, or not.
    ASSERT_OK(cluster_->StartAgent("n2"));
    ASSERT_NO_FATAL_FAILURE(ExpectEachOnce());
  }
}

// The node that writes crashes, between reading a transaction from its WAL and telling PostgreSQL
// that it has it: what it reads again must get the same stamp where a peer may have the first.
TEST_F(RedeliveryTest, AfterACrashAtEachStepOfCapture) {
  BDR_START_CLUSTER(2, kSchema);
  for (const char* step : {"capture_before_sync", "capture_after_sync"}) {
    // At the first block, and at the one after that.
    for (const bool second : {false, true}) {
      const std::string point = absl::StrCat(step, second ? ":2" : ":1");
      SCOPED_TRACE(point);
      ASSERT_NO_FATAL_FAILURE(RestartAgent("n1", point));
      if (second) {
        ASSERT_NO_FATAL_FAILURE(Transact(absl::StrCat("before ", point)));
        ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM event",
                                         absl::StrCat(transactions_), kDeadline));
      }
      ASSERT_NO_FATAL_FAILURE(Transact(point));
      ASSERT_OK(cluster_->agent("n1").WaitForExit(kDeadline));
      ASSERT_OK(cluster_->StartAgent("n1"));
      ASSERT_NO_FATAL_FAILURE(ExpectEachOnce());
    }
  }
  // PostgreSQL is told all the time, so the crash is before, between and behind the changes.
  for (const char* step : {"capture_before_confirm", "capture_after_confirm"}) {
    for (const char* time : {":1", ":3"}) {
      SCOPED_TRACE(absl::StrCat(step, time));
      ASSERT_OK(cluster_->agent("n1").Terminate(kDeadline));
      ASSERT_NO_FATAL_FAILURE(Transact(absl::StrCat(step, time, " waits")));
      ASSERT_OK(cluster_->StartAgent("n1", {{"BDR_FAIL_POINT", absl::StrCat(step, time)}}));
      ASSERT_NO_FATAL_FAILURE(Transact(absl::StrCat(step, time)));
      ASSERT_OK(cluster_->agent("n1").WaitForExit(kDeadline));
      ASSERT_OK(cluster_->StartAgent("n1"));
      ASSERT_NO_FATAL_FAILURE(ExpectEachOnce());
    }
  }
}

// An own delete that capture reads only after an applier has decided without it is merged again.
// What was to be merged must not be forgotten in a crash right before or after.
TEST_F(RedeliveryTest, AfterACrashAtEachStepOfMergingOwnChangesAgain) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.proxies = true;
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY, v text)";
  BDR_START_CLUSTER(std::move(options));
  int row = 0;
  for (const char* step : {"own_merge_before", "own_merge_after"}) {
    SCOPED_TRACE(step);
    const std::string id = absl::StrCat(++row);
    const std::string count = "SELECT count(*) FROM t WHERE id = " + id;
    ASSERT_NO_FATAL_FAILURE(RestartAgent("n1", step));
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
    cluster_->SetFault("n2", "n1", {.cut = true});
    BDR_EXEC("n2", absl::StrCat("INSERT INTO t VALUES (", id, ", 'older')"));
    ASSERT_NO_FATAL_FAILURE(SignalCapture(SIGSTOP));
    BDR_EXEC("n1", absl::StrCat("INSERT INTO t VALUES (", id, ", 'here')"));
    BDR_EXEC("n1", "DELETE FROM t WHERE id = " + id);
    cluster_->Heal();
    ASSERT_OK(cluster_->WaitForValue("n1", count, "1", kDeadline)) << "n1 knows of no delete yet";
    ASSERT_NO_FATAL_FAILURE(SignalCapture(SIGCONT));
    ASSERT_OK(cluster_->agent("n1").WaitForExit(kDeadline));
    ASSERT_OK(cluster_->StartAgent("n1"));
    BDR_CONVERGE();
    ExpectEverywhere(count, "0");
  }
}

#endif

}  // namespace
}  // namespace bdr::integration
