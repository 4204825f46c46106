// A node on which nothing happens costs nothing: nothing is written, and promises still go on.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/harness/usage.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Ge;
using ::testing::Le;

class IdleTest : public ClusterTest {
 protected:
  nlohmann::json NodeStatus(const std::string& node) {
    const absl::StatusOr<harness::ProgramResult> status =
        cluster_->Bdrctl({"status", "-o", "json"});
    if (!status.ok()) return {};
    const nlohmann::json all = nlohmann::json::parse(status->out, nullptr, false);
    if (all.is_discarded() || !all.contains("nodes")) return {};
    for (const nlohmann::json& one : all["nodes"]) {
      if (one["name"] == node) return one;
    }
    return {};
  }
  int64_t Number(const std::string& node, const char* field) {
    const nlohmann::json status = NodeStatus(node);
    return status.contains(field) ? status[field].get<int64_t>() : -1;
  }

  void WaitForStable(int64_t time_us) {
    ASSERT_OK(harness::WaitFor("the stable time to pass a moment", kDeadline,
                               [&] { return Number("n1", "stable_us") > time_us; }));
  }
};

std::set<std::string> ThreadNames(pid_t pid) {
  std::set<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator task(absl::StrCat("/proc/", pid, "/task"), error), end;
       !error && task != end; task.increment(error)) {
    std::ifstream file(task->path() / "comm");
    std::string name;
    if (std::getline(file, name)) names.insert(name);
  }
  return names;
}

TEST_F(IdleTest, WhereNothingChangesNothingIsWritten) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, v text);");
  BDR_EXEC("n1", "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i");
  BDR_EXEC("n2", "INSERT INTO t SELECT i, 'x' FROM generate_series(1001, 2000) i");
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  // All that was written is stable and trimmed by then.
  const int64_t written_us = absl::ToUnixMicros(absl::Now());
  ASSERT_NO_FATAL_FAILURE(WaitForStable(written_us + 3'000'000));

  // At first something was written every 200 ms.
  const int64_t before = harness::FolderBytes(cluster_->agent_folder("n1") + "/log");
  const int64_t begun_us = absl::ToUnixMicros(absl::Now());
  ASSERT_NO_FATAL_FAILURE(WaitForStable(begun_us + 6'000'000));
  const int64_t grown = harness::FolderBytes(cluster_->agent_folder("n1") + "/log") - before;
  // The promise is written down every few seconds.
  EXPECT_LT(grown, 6000);
}

TEST_F(IdleTest, EachThreadSaysWhatItIs) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY);");
  const std::set<std::string> names = ThreadNames(cluster_->agent("n1").pid());
  for (const char* name :
       {"bdr-agent", "bdr-capture", "bdr-watcher", "bdr-apply-2", "bdr-apply-own", "bdr-receive-2",
        "bdr-publisher", "bdr-fk-actions", "bdr-compactor", "bdr-control", "bdr-schema"}) {
    EXPECT_THAT(names, Contains(name));
  }
}

TEST_F(IdleTest, NumbersOfAnIdleNodeAreThoseOfAnIdleNode) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, v text);");
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(const harness::Metrics metrics, cluster_->AgentMetrics(node));
    EXPECT_EQ(metrics.Sum("bdr_queued_bytes"), 0) << node << ": nothing was written";
    EXPECT_EQ(metrics.Sum("bdr_postgres_up"), 1);
    EXPECT_EQ(metrics.Sum("bdr_log_cap_bytes"), double{10ull << 30});
    // RocksDB's own log belongs to it, and so do its options and manifest.
    const auto on_disk =
        static_cast<double>(harness::FolderBytes(cluster_->agent_folder(node) + "/log"));
    EXPECT_THAT(metrics.Sum("bdr_log_bytes"), AllOf(Ge(on_disk * 0.5), Le(on_disk * 2)));
  }
  ASSERT_OK(cluster_->postgres("n1").Stop());
  ASSERT_OK(
      harness::WaitFor("the agent to miss its server", kDeadline, [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_->AgentMetrics("n1"));
        return metrics.Sum("bdr_postgres_up") == 0;
      }));
}

}  // namespace
}  // namespace bdr::integration
