// TRUNCATE kills what is older than it, on every node, whatever came first there, and nothing else.
#include <csignal>

#include "absl/strings/numbers.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class TruncateTest : public ClusterTest {
 protected:
  void Start(int nodes, const std::string& schema_sql) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.proxies = true;
    options.schema_sql = schema_sql;
    BDR_START_CLUSTER(std::move(options));
  }

  // Capture of a node stands still while its walsender is stopped; all else goes on.
  void SignalCapture(const std::string& node, int signal) {
    ASSERT_OK_AND_ASSIGN(
        const std::string pid,
        cluster_->QueryValue(node, "SELECT pid FROM pg_stat_replication WHERE application_name = "
                                   "'bdr capture'"));
    int process = 0;
    ASSERT_TRUE(absl::SimpleAtoi(pid, &process)) << pid;
    ASSERT_EQ(kill(process, signal), 0);
  }

  void CutLink(const std::string& from, const std::string& to) {
    cluster_->SetFault(from, to, {.cut = true});
  }
};

// An applier that writes an older row after the local TRUNCATE, and before capture has read it,
// cannot know better. Capture must notice, and the truncate is merged again.
TEST_F(TruncateTest, RowsThatAppliersWroteBehindAnOwnTruncateDie) {
  Start(2,
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i;");
  if (HasFatalFailure()) return;
  CutLink("n2", "n1");
  BDR_EXEC("n2", "INSERT INTO t VALUES (100, 'older than the truncate')");
  ASSERT_NO_FATAL_FAILURE(SignalCapture("n1", SIGSTOP));
  BDR_EXEC("n1", "TRUNCATE t");
  cluster_->Heal();
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM t WHERE id = 100", "1", kDeadline));
  ASSERT_NO_FATAL_FAILURE(SignalCapture("n1", SIGCONT));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "0");
}

}  // namespace
}  // namespace bdr::integration
