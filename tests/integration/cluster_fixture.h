// What integration tests have in common: a cluster of their own, and how long they wait for it.
#pragma once

#include <gmock/gmock.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "tests/harness/cluster.h"
#include "tests/harness/log_reasons.h"
#include "tests/harness/process.h"
#include "tests/harness/temp_folder.h"

namespace bdr::integration {

// Sanitizers make everything slower, and memory tell nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Far longer than anything should take: what runs into it has stopped, not slowed down.
inline constexpr absl::Duration kDeadline = absl::Seconds(kSanitized ? 180 : 60);

class ClusterTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (cluster_ != nullptr) ExpectReasons();
  }

  // The logs of bdr-server and of every agent.
  std::vector<std::string> LogFiles() const {
    std::vector<std::string> files = {cluster_->folder() + "/server.log"};
    for (const std::string& node : cluster_->names()) files.push_back(cluster_->agent_log(node));
    return files;
  }

  // Whatever a test brings about, no line in a log announces a reason and then has none.
  void ExpectReasons() const {
    EXPECT_THAT(harness::LinesWithoutReason(LogFiles()), ::testing::IsEmpty());
  }

  // Nodes n1, n2, ... with these tables.
  void StartCluster(int nodes, const std::string& schema_sql) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.schema_sql = schema_sql;
    StartCluster(std::move(options));
  }

  void StartCluster(harness::ClusterOptions options) {
    options.start_deadline = kDeadline;
    ASSERT_OK_AND_ASSIGN(cluster_, harness::Cluster::Start(std::move(options)));
  }

  void Exec(absl::string_view node, const std::string& sql) {
    ASSERT_OK(cluster_->Exec(node, sql)) << sql;
  }

  void Converge() { ASSERT_OK(cluster_->WaitUntilConverged(kDeadline)); }

  // The value on a node; the error's text if there is none.
  std::string Value(absl::string_view node, const std::string& sql) {
    const absl::StatusOr<std::string> value = cluster_->QueryValue(node, sql);
    return value.ok() ? *value : value.status().ToString();
  }

  // The same value on every node.
  void ExpectEverywhere(const std::string& sql, const std::string& value) {
    for (const std::string& node : cluster_->names()) {
      EXPECT_EQ(Value(node, sql), value) << sql << " on " << node;
    }
  }

  // Capture of a node stands still while its walsender is stopped (SIGSTOP to SIGCONT); all else
  // goes on.
  void SignalCapture(const std::string& node, int signal) {
    ASSERT_OK_AND_ASSIGN(
        const std::string pid,
        cluster_->QueryValue(node,
                             "SELECT pid FROM pg_stat_replication WHERE application_name = "
                             "'bdr capture'"));
    int process = 0;
    ASSERT_TRUE(absl::SimpleAtoi(pid, &process)) << pid;
    if (signal == SIGSTOP) {
      ASSERT_OK(harness::StopProcess(process));
    } else {
      ASSERT_EQ(kill(process, signal), 0);
    }
  }

  std::unique_ptr<harness::Cluster> cluster_;
};

// A failure inside these ends the test, which ASSERT_* in a helper alone does not.
#define BDR_START_CLUSTER(...) ASSERT_NO_FATAL_FAILURE(StartCluster(__VA_ARGS__))
#define BDR_CONVERGE() ASSERT_NO_FATAL_FAILURE(Converge())
#define BDR_EXEC(node, sql) ASSERT_NO_FATAL_FAILURE(Exec(node, sql))

}  // namespace bdr::integration
