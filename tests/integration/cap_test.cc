// A change log at its cap: capture pauses, and nothing else stands still for it.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE hot (id int PRIMARY KEY, v text);"
    "INSERT INTO hot VALUES (1, ''), (2, '');"
    "CREATE TABLE big (node text, id serial, v bytea, PRIMARY KEY (node, id));"
    "ALTER TABLE big ALTER v SET STORAGE EXTERNAL";

class CapTest : public ClusterTest {
 protected:
  void StartTwoNodes() {
    harness::ClusterOptions options;
    options.nodes.assign(2, {});
    options.schema_sql = kSchema;
    options.agent_config = "log_retention_bytes: 64MiB\n";
    options.proxies = true;
    BDR_START_CLUSTER(std::move(options));
  }
  // Until bdrctl status says both in one line of the node's.
  void ExpectStatus(const std::string& node, const std::string& words) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat(node, " says: ", words), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto status, cluster_->Bdrctl({"status"}));
                                 last = status.out;
                                 for (const absl::string_view line : absl::StrSplit(last, '\n')) {
                                   if (absl::StartsWith(line, node) &&
                                       absl::StrContains(line, words)) {
                                     return true;
                                   }
                                 }
                                 return false;
                               }))
        << last;
  }
  // Until capture there says so. What is written cannot be compressed.
  void FillLog(const std::string& node) {
    Fill(node, 72);
    ExpectStatus(node, " paused ");
  }
  void Fill(const std::string& node, int megabytes) {
    const std::string fill =
        absl::StrCat("INSERT INTO big (node, v) SELECT '", node,
                     "', (SELECT string_agg(decode(md5(random()::text || r || g), 'hex'), '') FROM "
                     "generate_series(1, 4096) AS g) FROM generate_series(1, 128) AS r");
    for (int done = 0; done < megabytes; done += 8) BDR_EXEC(node, fill);
  }
};

TEST_F(CapTest, PostgreSQLStopsWhileCaptureIsPaused) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  ASSERT_OK(cluster_->agent("n2").Terminate());
  // A large transaction that runs on and on does not keep the log growing.
  ASSERT_OK_AND_ASSIGN(const auto running, cluster_->Connect("n1"));
  ASSERT_OK(running->Exec(
      "BEGIN; INSERT INTO big (node, v) SELECT 'open', decode(repeat(md5(random()::text), 1024), "
      "'hex') FROM generate_series(1, 2048)"));
  ASSERT_NO_FATAL_FAILURE(FillLog("n1"));
  ASSERT_OK(running->Exec("COMMIT"));
  ASSERT_OK(cluster_->postgres("n1").Stop(harness::PostgresServer::StopMode::kFast));
  ASSERT_OK(cluster_->postgres("n1").Start());
  BDR_EXEC("n1", "UPDATE hot SET v = 'last'");
  // A new agent finds the log full, too, and takes part all the same.
  cluster_->agent("n1").Kill9();
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(cluster_->StartAgent("n2"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(v, ' ') FROM hot", "last last");
  ExpectEverywhere("SELECT count(*) FROM big WHERE node = 'open'", "2048");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(CapTest, WhatApplyIsBehindWithIsNotReceivedWithoutEnd) {
  harness::ClusterOptions options;
  options.nodes = {{}, {.agent_config = "log_retention_bytes: 64MiB\n"}};
  options.schema_sql = kSchema;
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK_AND_ASSIGN(const auto holder, cluster_->Connect("n2"));
  ASSERT_OK(holder->Exec("BEGIN; UPDATE hot SET v = 'held' WHERE id = 1"));
  BDR_EXEC("n1", "UPDATE hot SET v = 'waits' WHERE id = 1");
  Fill("n1", 104);
  ASSERT_OK(harness::WaitFor("n2 takes no more", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster_->agent_log("n2")));
    return absl::StrContains(log, "streaming->full");
  }));
  ASSERT_OK(holder->Exec("ROLLBACK"));
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

// Each has published a change of a row that the other wrote later and has not captured: to apply
// it, capture there must go on.
TEST_F(CapTest, TwoNodesAtTheirCapsComeOut) {
  ASSERT_NO_FATAL_FAILURE(StartTwoNodes());
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE hot SET v = 'early' WHERE id = 1");
  BDR_EXEC("n2", "UPDATE hot SET v = 'early' WHERE id = 2");
  for (const char* node : {"n1", "n2"}) ASSERT_NO_FATAL_FAILURE(FillLog(node));
  BDR_EXEC("n2", "UPDATE hot SET v = 'late' WHERE id = 1");
  BDR_EXEC("n1", "UPDATE hot SET v = 'late' WHERE id = 2");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(v, ' ') FROM hot", "late late");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
