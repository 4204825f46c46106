// A log is read at night: it says what changed, once, and not how often something was tried; a good
// start raises no alarm; and whatever is wrong is named.
#include <map>
#include <nlohmann/json.hpp>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "postgres/replication.h"
#include "tests/harness/small_disk.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using Json = nlohmann::json;
using ::testing::IsEmpty;

// Before there is any thread: processes are started from one that lives as long as this program.
const absl::Status own_mounts = harness::LeaveMounts();

// "W 2026-01-31T22:14:07.042Z stream state=... peer=2: text": level, event and what it is about.
bool IsAlarm(absl::string_view line) {
  return absl::StartsWith(line, "W ") || absl::StartsWith(line, "E ");
}

std::string PartOf(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  std::string part(words.size() > 2 ? words[2] : line);
  for (const absl::string_view word : words) {
    if (absl::StartsWith(word, "origin=") || absl::StartsWith(word, "peer=")) {
      absl::StrAppend(&part, " ", absl::StripSuffix(word, ":"));
    }
  }
  return part;
}

class LogsTest : public ClusterTest {
 protected:
  // The lines of every log from where Mark() was last called.
  std::map<std::string, std::vector<std::string>> Lines() {
    std::map<std::string, std::vector<std::string>> lines;
    for (const std::string& file : LogFiles()) {
      const absl::StatusOr<std::string> text = harness::ReadFile(file);
      EXPECT_OK(text);
      if (!text.ok()) continue;
      lines[file] =
          absl::StrSplit(absl::string_view(*text).substr(marks_[file]), '\n', absl::SkipEmpty());
    }
    return lines;
  }
  void Mark() {
    for (const std::string& file : LogFiles()) {
      ASSERT_OK_AND_ASSIGN(const std::string text, harness::ReadFile(file));
      marks_[file] = text.size();
    }
  }

  std::vector<std::string> Alarms() {
    std::vector<std::string> alarms;
    for (const auto& [file, lines] : Lines()) {
      for (const std::string& line : lines) {
        if (IsAlarm(line)) alarms.push_back(absl::StrCat(file, ": ", line));
      }
    }
    return alarms;
  }

  // No part says more than `most` lines in one log.
  void ExpectNobodyRepeats(int most) {
    for (const auto& [file, lines] : Lines()) {
      std::map<std::string, int> counts;
      for (const std::string& line : lines) ++counts[PartOf(line)];
      for (const auto& [part, count] : counts) {
        EXPECT_LE(count, most) << part << " in " << file << ":\n" << absl::StrJoin(lines, "\n");
      }
    }
  }

  // The part has tried again so often, on this node.
  void WaitForAttempts(const std::string& node, const std::string& part, int attempts) {
    const auto count = [&]() -> absl::StatusOr<double> {
      ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_->AgentMetrics(node));
      return metrics.Sum("bdr_errors_total", {{"part", part}});
    };
    ASSERT_OK_AND_ASSIGN(const double before, count());
    ASSERT_OK(harness::WaitFor(absl::StrCat(part, " of ", node, " tries again"), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const double now, count());
                                 return now >= before + attempts;
                               }));
  }

 private:
  std::map<std::string, size_t> marks_;
};

// Going down and coming up again each has a cause or two: the session that is ended, then nobody
// who listens, then a server that is not ready yet.
constexpr int kDownAndUp = 6;

TEST_F(LogsTest, ANormalStartRaisesNoAlarm) {
  BDR_START_CLUSTER(3, "CREATE TABLE t (id int PRIMARY KEY)");
  BDR_EXEC("n1", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  EXPECT_THAT(Alarms(), IsEmpty());

  // Neither does status cry while an agent starts; but for the time when there was none.
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(harness::WaitFor("n2 runs", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const harness::ProgramResult status,
                     cluster_->Bdrctl({"status", "-o", "json"}));
    const Json document = Json::parse(status.out);
    for (const Json& node : document["nodes"]) {
      if (node["name"] != "n2" || node["state"] == "silent") continue;
      EXPECT_NE(node["level"], "critical") << node;
      EXPECT_FALSE(absl::EndsWith(node["reason"].get<std::string>(), ": ")) << node;
    }
    return document["level"] == "ok";
  }));
}

// As most people do it: every agent is started, and then the cluster is made.
TEST_F(LogsTest, AgentsThatAreStartedBeforeTheirClusterRaiseNoAlarm) {
  harness::ClusterOptions options;
  options.nodes.assign(3, {});
  options.agents_first = true;
  BDR_START_CLUSTER(std::move(options));
  EXPECT_THAT(Alarms(), IsEmpty());
}

TEST_F(LogsTest, PostgresThatIsAwayIsSaidOnceByEachPart) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(Mark());
  ASSERT_OK(cluster_->postgres("n1").Stop());
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n1", "capture", 5));
  ASSERT_OK(cluster_->postgres("n1").Start());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_FALSE(Alarms().empty());
  ExpectNobodyRepeats(kDownAndUp);
}

TEST_F(LogsTest, AServerThatIsAwayIsSaidOnceByEachAgent) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_NO_FATAL_FAILURE(Mark());
  cluster_->server().Kill9();
  for (const char* node : {"n1", "n2"}) {
    ASSERT_NO_FATAL_FAILURE(WaitForAttempts(node, "control", 5));
  }
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_FALSE(Alarms().empty());
  ExpectNobodyRepeats(3);
}

TEST_F(LogsTest, APeerThatIsAwayIsSaidOnce) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_NO_FATAL_FAILURE(Mark());
  cluster_->agent("n2").Kill9();
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n1", "stream", 10));
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  for (const auto& [file, lines] : Lines()) {
    if (file != cluster_->agent_log("n1")) continue;
    EXPECT_LE(lines.size(), 8u) << absl::StrJoin(lines, "\n");
  }
  ExpectNobodyRepeats(5);
}

// Somebody else holds the slot, for as long as he likes.
TEST_F(LogsTest, ACaptureWhoseSlotAnotherHoldsSaysSoOnce) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  const std::string slot =
      Value("n1", "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()");
  ASSERT_NO_FATAL_FAILURE(Mark());
  cluster_->agent("n1").Kill9();
  // It takes nothing and confirms nothing.
  ASSERT_OK_AND_ASSIGN(auto thief,
                       postgres::ReplicationConnection::Connect(
                           {.conninfo = cluster_->conninfo("n1"), .application_name = "thief"}));
  ASSERT_OK(harness::WaitFor("the slot is free", kDeadline, [&]() -> absl::StatusOr<bool> {
    const absl::Status had =
        thief->Start({.slot = slot, .start = Lsn{0}, .publications = {"bdr_keyed"}});
    if (absl::IsUnavailable(had)) return false;
    RETURN_IF_ERROR(had);
    return true;
  }));
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(harness::WaitFor("it says so", kDeadline, [&]() -> absl::StatusOr<bool> {
    return cluster_->AgentMetrics("n1").ok();
  }));
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n1", "capture", 8));
  thief.reset();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  ExpectNobodyRepeats(kDownAndUp);
}

TEST_F(LogsTest, ACaptureWhoseSlotIsGoneSaysSoOnce) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_NO_FATAL_FAILURE(Mark());
  BDR_EXEC("n1",
           "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;"
           "DO $$ BEGIN LOOP BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM "
           "pg_replication_slots WHERE database = current_database(); RETURN; EXCEPTION WHEN "
           "object_in_use THEN PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots "
           "WHERE active; END; END LOOP; END $$");
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n1", "capture", 8));
  EXPECT_FALSE(Alarms().empty());
  ExpectNobodyRepeats(kDownAndUp);
}

// What the policy of a foreign key asks for, and cannot be done, is tried every ten seconds.
TEST_F(LogsTest, AnActionThatFailsIsSaidOnceForItsCause) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  ASSERT_NO_FATAL_FAILURE(Mark());
  BDR_EXEC("n1",
           "INSERT INTO bdr.fk_action (policy, foreign_key, child) VALUES ('cascade', '{}', '{}')");
  constexpr char kTried[] =
      "SELECT coalesce(max(next_try)::text, '') FROM bdr.fk_action WHERE "
      "error IS NOT NULL";
  std::string last;
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_OK(harness::WaitFor("it is tried again", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const std::string tried, cluster_->QueryValue("n1", kTried));
      return !tried.empty() && std::exchange(last, tried) != tried;
    }));
  }
  int lines = 0;
  for (const std::string& alarm : Alarms())
    lines += absl::StrContains(alarm, " foreign_key action=");
  EXPECT_EQ(lines, 1);
}

TEST_F(LogsTest, AFullDiskIsSaidOnceByEachPart) {
  if (!own_mounts.ok()) GTEST_SKIP() << "a disk of its own needs root: " << own_mounts;
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  const std::string disk = folder->path() + "/n2/agent";
  ASSERT_OK(harness::MountSmallDisk(disk, "64m"));
  const absl::Cleanup unmount = [&disk] { harness::UnmountSmallDisk(disk); };
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.folder = folder->path();
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY)";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_NO_FATAL_FAILURE(Mark());
  ASSERT_OK(harness::FillDisk(disk));
  // Both write, so that what is captured and what is received has to be written.
  BDR_EXEC("n1", "INSERT INTO t SELECT generate_series(1, 1000)");
  BDR_EXEC("n2", "INSERT INTO t SELECT generate_series(1001, 2000)");
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n2", "capture", 5));
  ASSERT_NO_FATAL_FAILURE(WaitForAttempts("n2", "stream", 5));
  ASSERT_OK(harness::MakeRoom(disk));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_CONVERGE();
  EXPECT_FALSE(Alarms().empty());
  ExpectNobodyRepeats(kDownAndUp);
  ExpectReasons();
  cluster_.reset();
}

}  // namespace
}  // namespace bdr::integration
