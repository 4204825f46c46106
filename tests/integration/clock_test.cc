// Clocks that are wrong, in every way in which clocks are: a little ahead, far ahead, by years, set
// back. Apply must wait, say why, and in the end every node must hold the same rows.
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kSchema[] =
    "CREATE TABLE price (id int PRIMARY KEY, unit text NOT NULL);"
    "INSERT INTO price SELECT i, 'euro' FROM generate_series(1, 20) AS i";
constexpr absl::Duration kYears = absl::Hours(24 * 365 * 10);

class ClockTest : public ClusterTest {
 protected:
  void Start(int nodes) {
    harness::ClusterOptions options;
    options.nodes.assign(static_cast<size_t>(nodes), {});
    options.schema_sql = kSchema;
    options.fake_clocks = true;
    options.proxies = true;
    StartCluster(std::move(options));
  }

  // What a node last said of applying an origin.
  Json Apply(const std::string& node, const std::string& origin) {
    const auto status = cluster_->Bdrctl({"status", "-o", "json"});
    if (!status.ok()) return {};
    const Json document = Json::parse(status->out, nullptr, /*allow_exceptions=*/false);
    if (document.is_discarded()) return {};
    for (const Json& each : document["nodes"]) {
      if (each["name"] != node) continue;
      for (const Json& from : each["origins"]) {
        if (from["name"] == origin) {
          Json apply = from["apply"];
          apply["level_of_node"] = each["level"];
          apply["reason_of_node"] = each["reason"];
          apply["clock_skew_us"] = from["clock_skew_us"];
          apply["held_ahead_us"] = from["held_ahead_us"];
          return apply;
        }
      }
    }
    return {};
  }

  void WaitForApplyState(const std::string& node, const std::string& origin,
                         const std::string& state) {
    ASSERT_OK(harness::WaitFor(absl::StrCat("apply of ", origin, " on ", node, " is ", state),
                               kDeadline, [&]() -> absl::StatusOr<bool> {
                                 const Json apply = Apply(node, origin);
                                 return apply.is_object() && apply["state"] == state;
                               }));
  }

  absl::Status WaitForUnit(const std::string& node, int id, const std::string& unit) {
    return cluster_->WaitForValue(node, absl::StrCat("SELECT unit FROM price WHERE id = ", id),
                                  unit, kDeadline);
  }
};

TEST_F(ClockTest, StepsAreWaitedForNamedAndHealed) {
  ASSERT_NO_FATAL_FAILURE(Start(3));

  // A little ahead: waits until the clock has passed it, with no alarm.
  cluster_->clock("n3").Set(absl::Milliseconds(300));
  BDR_EXEC("n3", "UPDATE price SET unit = 'ahead' WHERE id = 1");
  const std::string committed =
      "SELECT pg_xact_commit_timestamp(xmin) < clock_timestamp() FROM price WHERE id = 1";
  ASSERT_OK(WaitForUnit("n1", 1, "ahead"));
  EXPECT_EQ(Value("n1", committed), "t") << "shown before its time";
  BDR_CONVERGE();
  ASSERT_OK(harness::WaitFor("n1 measures n3's clock", kDeadline, [&]() -> absl::StatusOr<bool> {
    const int64_t skew_us = Apply("n1", "n3").value("clock_skew_us", int64_t{0});
    return skew_us > 200'000 && skew_us < 400'000;
  }));

  // Far ahead: held, with an alarm that names the node; what others write goes on.
  cluster_->clock("n3").Set(absl::Seconds(6));
  BDR_EXEC("n3", "UPDATE price SET unit = 'far' WHERE id = 2");
  ASSERT_NO_FATAL_FAILURE(WaitForApplyState("n1", "n3", "held"));
  const Json held = Apply("n1", "n3");
  EXPECT_EQ(held["level_of_node"], "critical");
  EXPECT_THAT(held["reason_of_node"].get<std::string>(),
              testing::AllOf(HasSubstr("node \"n3\""), HasSubstr("ahead of this server's clock"),
                             HasSubstr("bdrctl clock accept n3")));
  EXPECT_GT(held["held_ahead_us"].get<int64_t>(), 0);
  BDR_EXEC("n2", "UPDATE price SET unit = 'other' WHERE id = 3");
  ASSERT_OK(WaitForUnit("n1", 3, "other"));
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult clocks, cluster_->Bdrctl({"clock", "status"}));
  EXPECT_THAT(clocks.out, HasSubstr("n3 +"));

  // Set right: n3 itself now holds changes from the future of its clock, and pauses; all of it
  // passes by itself once the clocks are past that.
  cluster_->clock("n3").Set(absl::ZeroDuration());
  BDR_EXEC("n1", "UPDATE price SET unit = 'later' WHERE id = 4");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 2", "far");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 4", "later");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));

  // The local clock is set back: what is applied there would be older than what local commits show.
  BDR_EXEC("n2", "UPDATE price SET unit = 'before' WHERE id = 5");
  BDR_CONVERGE();
  cluster_->clock("n1").Set(absl::Seconds(-4));
  BDR_EXEC("n2", "UPDATE price SET unit = 'after' WHERE id = 5");
  ASSERT_NO_FATAL_FAILURE(WaitForApplyState("n1", "n2", "paused"));
  EXPECT_THAT(
      Apply("n1", "n2")["reason"].get<std::string>(),
      testing::AllOf(HasSubstr("behind the newest change"), HasSubstr("goes on by itself")));
  // A local commit meanwhile has seen 'before', whatever its clock says: it must win over it.
  BDR_EXEC("n1", "UPDATE price SET unit = 'own' WHERE id = 6");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 5", "after");
  ExpectEverywhere("SELECT unit FROM price WHERE id = 6", "own");
}

// Its next change would stand still on every other node, and nobody had been told.
TEST_F(ClockTest, AClockThatIsAheadIsToldBeforeAChangeIsHeld) {
  ASSERT_NO_FATAL_FAILURE(Start(2));
  cluster_->clock("n2").Set(absl::Seconds(10));
  const auto says = [this](const std::string& node, const std::string& of,
                           const std::string& text) {
    ASSERT_OK(harness::WaitFor(
        absl::StrCat(node, " says ", text), kDeadline, [&]() -> absl::StatusOr<bool> {
          const Json apply = Apply(node, of);
          if (!apply.is_object()) return false;
          EXPECT_NE(apply["state"], "held");
          EXPECT_NE(apply["level_of_node"], "critical");
          return apply["level_of_node"] == "warning" &&
                 absl::StrContains(apply["reason_of_node"].get<std::string>(), text);
        }));
  };
  ASSERT_NO_FATAL_FAILURE(says("n1", "n2", "ahead of this server's, which will hold its changes"));
  ASSERT_NO_FATAL_FAILURE(says("n2", "n1", "ahead of that of \"n1\", which will hold"));
  for (const auto& [node, line] : {std::pair("n1", "clock state=right->out peer=n2"),
                                   std::pair("n2", "clock state=right->out peer=n1")}) {
    ASSERT_OK_AND_ASSIGN(const std::string log, harness::ReadFile(cluster_->agent_log(node)));
    EXPECT_THAT(log, HasSubstr(line));
  }
  cluster_->clock("n2").Set(absl::ZeroDuration());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  BDR_EXEC("n2", "UPDATE price SET unit = 'right' WHERE id = 1");
  BDR_CONVERGE();
}

TEST_F(ClockTest, AClockThatJumpedByYearsIsAccepted) {
  ASSERT_NO_FATAL_FAILURE(Start(3));
  cluster_->clock("n3").Set(kYears);
  BDR_EXEC("n3", "UPDATE price SET unit = 'future' WHERE id <= 3");
  ASSERT_NO_FATAL_FAILURE(WaitForApplyState("n1", "n3", "held"));
  cluster_->clock("n3").Set(absl::ZeroDuration());
  // Written after it in every human's eyes, but not knowing it.
  BDR_EXEC("n1", "UPDATE price SET unit = 'today' WHERE id = 1");

  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult asked,
                       cluster_->Bdrctl({"clock", "accept", "n3"}));
  EXPECT_EQ(asked.exit_code, 4) << "nobody said yes";
  EXPECT_THAT(asked.err, HasSubstr("it cannot be undone"));
  // One agent is away when it is decided, and learns of it when it is back.
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult accepted,
                       cluster_->Bdrctl({"clock", "accept", "n3", "--yes"}));
  ASSERT_EQ(accepted.exit_code, 0) << accepted.err;
  ASSERT_OK(WaitForUnit("n1", 1, "future"));
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(WaitForUnit("n2", 2, "future"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(unit, ',' ORDER BY id) FROM price WHERE id <= 3",
                   "future,future,future");

  // Later writes win over it, wherever they are made, and over each other in the order in which
  // they saw each other.
  BDR_EXEC("n1", "UPDATE price SET unit = 'n1' WHERE id = 1");
  BDR_CONVERGE();
  BDR_EXEC("n2", "UPDATE price SET unit = 'n2' WHERE id IN (1, 2)");
  BDR_EXEC("n3", "DELETE FROM price WHERE id = 3");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(unit, ',' ORDER BY id) FROM price WHERE id <= 3", "n2,n2");

  // Writes that know nothing of each other: local rows show commit times far below their stamps,
  // which must mislead nobody. The node that has written more carries the later stamps.
  cluster_->Partition("n1", "n2");
  cluster_->Partition("n1", "n3");
  for (int i = 0; i < 20; ++i) BDR_EXEC("n1", "UPDATE price SET unit = 'busy' WHERE id = 7");
  BDR_EXEC("n2", "UPDATE price SET unit = 'calm' WHERE id = 7");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT unit FROM price WHERE id = 7", "busy");

  // Everybody fights over a few rows, so that groups meet commits that were not captured yet.
  std::vector<std::thread> writers;
  for (const std::string& node : cluster_->names()) {
    writers.emplace_back([this, node] {
      const auto connection = cluster_->Connect(node);
      ASSERT_OK(connection.status());
      const absl::Time until = absl::Now() + absl::Seconds(2);
      for (int i = 0; absl::Now() < until; ++i) {
        const int id = 8 + i % 3;
        (void)(*connection)
            ->Exec(i % 7 == 6 ? absl::StrCat("DELETE FROM price WHERE id = ", id)
                              : absl::StrCat("INSERT INTO price VALUES (", id, ", '", node, i,
                                             "') ON CONFLICT (id) DO UPDATE SET unit = "
                                             "excluded.unit"));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  BDR_CONVERGE();

  // It outlives an agent, and is forgotten once the clocks have passed it.
  ASSERT_OK(cluster_->agent("n1").Terminate());
  ASSERT_OK(cluster_->StartAgent("n1"));
  BDR_EXEC("n2", "UPDATE price SET unit = 'restarted' WHERE id = 20");
  ASSERT_OK(WaitForUnit("n1", 20, "restarted"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  for (const std::string& node : cluster_->names()) {
    cluster_->clock(node).Set(kYears + absl::Minutes(10));
  }
  ASSERT_OK(
      harness::WaitFor("no node's clock is advanced", kDeadline, [&]() -> absl::StatusOr<bool> {
        const auto status = cluster_->Bdrctl({"clock", "status", "-o", "json"});
        if (!status.ok()) return status.status();
        const Json document = Json::parse(status->out, nullptr, false);
        if (document.is_discarded()) return false;
        for (const Json& node : document["nodes"]) {
          if (node["advance_us"] != 0) return false;
        }
        return true;
      }));
  BDR_EXEC("n1", "UPDATE price SET unit = 'right again' WHERE id = 20");
  BDR_CONVERGE();
}

// Two nodes commit in the same microsecond. Systems that compare times alone keep on each node what
// was there, or take what comes. Ours take the higher node's.
TEST_F(ClockTest, CommitsInTheSameMicrosecondFallToTheHigherNode) {
  ASSERT_NO_FATAL_FAILURE(Start(2));
  cluster_->Partition("n1", "n2");
  const absl::Time instant = absl::Now() + absl::Seconds(1);
  for (const char* node : {"n1", "n2"}) cluster_->clock(node).StandAt(instant);
  BDR_EXEC("n2",
           "BEGIN; UPDATE price SET unit = 'n2' WHERE id IN (1, 2); DELETE FROM price WHERE id = 3;"
           "INSERT INTO price VALUES (100, 'n2'); UPDATE price SET id = 204 WHERE id = 4; COMMIT");
  BDR_EXEC("n1",
           "BEGIN; UPDATE price SET unit = 'n1' WHERE id IN (1, 3); DELETE FROM price WHERE id = 2;"
           "INSERT INTO price VALUES (100, 'n1'); UPDATE price SET id = 104 WHERE id = 4; COMMIT");
  const std::string time =
      "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM price WHERE id = 1";
  ASSERT_EQ(Value("n1", time), Value("n2", time));
  // Both are captured as they are, before the clocks go on.
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(cluster_->WaitForValue(
        node,
        "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() FROM pg_replication_slots"
        " WHERE slot_name LIKE 'bdr%'",
        "t", kDeadline));
  }
  for (const char* node : {"n1", "n2"}) cluster_->clock(node).Set(absl::ZeroDuration());
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(id || ' ' || unit, ', ' ORDER BY id) FROM price"
      " WHERE id < 4 OR id >= 100",
      "1 n2, 2 n2, 100 n2, 104 euro, 204 euro");
  // It was not a stamp that had been raised on one side.
  EXPECT_EQ(Value("n1",
                  "SELECT count(*) > 0 AND bool_and(local_stamp = remote_stamp AND winner = "
                  "'remote') FROM bdr.conflict_log WHERE relation = 'public.price' AND key ->> "
                  "'id' = '1'"),
            "t");
}

// A commit whose time is earlier than that of the commit before it in the WAL: by microseconds that
// happens all the time, as the time is read before the record is written. It had seen the other, so
// it must win over whatever the other wins over, though its time says that it is older. Who decides
// by commit time alone keeps it here and loses it elsewhere.
TEST_F(ClockTest, ACommitThatIsOlderThanWhatStandsBeforeItInTheWalIsNewer) {
  ASSERT_NO_FATAL_FAILURE(Start(2));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n2", "UPDATE price SET unit = 'between' WHERE id IN (1, 2)");
  BDR_EXEC("n1", "UPDATE price SET unit = 'first' WHERE id IN (1, 3)");
  cluster_->clock("n1").Set(absl::Milliseconds(-400));
  BDR_EXEC("n1", "UPDATE price SET unit = 'second' WHERE id IN (1, 2)");
  const std::string time =
      "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM price WHERE id = ";
  double between = 0;
  double first = 0;
  double second = 0;
  ASSERT_TRUE(absl::SimpleAtod(Value("n2", time + "1"), &between));
  ASSERT_TRUE(absl::SimpleAtod(Value("n1", time + "3"), &first));
  ASSERT_TRUE(absl::SimpleAtod(Value("n1", time + "1"), &second));
  ASSERT_LT(second, between);
  ASSERT_LT(between, first);
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(unit, ',' ORDER BY id) FROM price WHERE id <= 3",
                   "second,second,first");
}

}  // namespace
}  // namespace bdr::integration
