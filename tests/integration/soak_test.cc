// Months of running, seen in minutes: under a small, even load nothing may grow.
#include <cstdlib>
#include <iostream>
#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/harness/usage.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(10);  // of samples
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr int kKeys = 500;  // so the tables stay as large as they are

// How much is growth, of what is measured in each interval. Slack is for what comes in steps:
// files of the store, and work that is done every few minutes.
struct Measure {
  const char* name;
  double factor;
  double slack;
};
constexpr Measure kCpu = {"CPU seconds of the agent", 1.5, 0.2};
constexpr Measure kMemory = {"memory of the agent, MiB", 1.15, 16};
constexpr Measure kBackends = {"memory of PostgreSQL's processes, MiB", 1.15, 16};
constexpr Measure kDisk = {"data_dir, MiB", 1.25, 32};
constexpr Measure kTables = {"tables of schema bdr, MiB", 1.25, 4};
constexpr Measure kLatency = {"until a row is on the other node, ms", 2, 30};

class SoakTest : public ClusterTest {
 protected:
  struct Session {
    std::string node;
    std::unique_ptr<postgres::Connection> connection;
    absl::Duration cpu;  // of its agent, as last seen
  };

  void Sample(Session* session) {
    const std::string& node = session->node;
    const auto add = [&](const Measure& measure, double value) {
      samples_[measure.name].resize(2);
      samples_[measure.name][node == "n1" ? 0 : 1].push_back(value);
    };
    ASSERT_OK_AND_ASSIGN(const harness::Usage agent, harness::UsageOf(cluster_->agent(node).pid()));
    if (session->cpu != absl::ZeroDuration()) {
      add(kCpu, absl::ToDoubleSeconds(agent.cpu - session->cpu));
    }
    session->cpu = agent.cpu;
    add(kMemory, InMib(agent.memory_bytes));
    add(kDisk, InMib(harness::FolderBytes(cluster_->agent_folder(node))));
    int64_t backends = 0;
    for (const pid_t pid : harness::ChildrenOf(cluster_->postgres(node).pid())) {
      // One that has ended meanwhile has none.
      backends += harness::UsageOf(pid).value_or(harness::Usage{}).memory_bytes;
    }
    add(kBackends, InMib(backends));
    ASSERT_OK_AND_ASSIGN(
        const std::string tables,
        session->connection->QueryValue(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE n.nspname = 'bdr' AND c.relkind = 'r'"));
    int64_t bytes = 0;
    ASSERT_TRUE(absl::SimpleAtoi(tables, &bytes)) << tables;
    add(kTables, InMib(bytes));
  }

  // From here to the other node.
  void Probe(Session* from, Session* to, int number) {
    const absl::Time begun = absl::Now();
    ASSERT_OK(from->connection->Exec(
        absl::StrCat("UPDATE app.probe SET n = ", number, " WHERE node = '", from->node, "'")));
    while (true) {
      ASSERT_OK_AND_ASSIGN(const std::string there,
                           to->connection->QueryValue(absl::StrCat(
                               "SELECT n FROM app.probe WHERE node = '", from->node, "'")));
      if (there == absl::StrCat(number)) break;
      ASSERT_LT(absl::Now(), begun + kDeadline);
      absl::SleepFor(absl::Milliseconds(2));
    }
    samples_[kLatency.name].resize(2);
    samples_[kLatency.name][from->node == "n1" ? 0 : 1].push_back(
        absl::ToDoubleMilliseconds(absl::Now() - begun));
  }

  static double InMib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

  std::map<std::string, std::vector<std::vector<double>>> samples_;  // by measure and node
};

// Runs only where BDR_LONG_TESTS is set, for BDR_SOAK_MINUTES (20).
TEST_F(SoakTest, NothingGrows) {
  if (std::getenv("BDR_LONG_TESTS") == nullptr) GTEST_SKIP() << "BDR_LONG_TESTS is not set";
  double minutes = 20;
  if (const char* given = std::getenv("BDR_SOAK_MINUTES"); given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtod(given, &minutes)) << given;
  }
  BDR_START_CLUSTER(2,
                    "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, v text, n int);"
                    "CREATE TABLE app.probe (node text PRIMARY KEY, n int);"
                    "INSERT INTO app.probe VALUES ('n1', 0), ('n2', 0)");
  std::vector<Session> sessions;
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK_AND_ASSIGN(auto connection, cluster_->Connect(node));
    sessions.push_back({.node = node, .connection = std::move(connection), .cpu = {}});
  }
  const absl::Time end = absl::Now() + absl::Minutes(minutes);
  absl::Time next_sample = absl::Now();
  int number = 0;
  for (absl::Time next = absl::Now(); absl::Now() < end; next += kPause) {
    Session& session = sessions[static_cast<size_t>(++number % 2)];
    const int key = number * 7 % kKeys;
    // One in eight is a delete, of a row that comes again later.
    ASSERT_OK(session.connection->Exec(
        number % 8 < 2
            ? absl::StrCat("DELETE FROM app.t WHERE id = ", key)
            : absl::StrCat("INSERT INTO app.t VALUES (", key, ", repeat('", session.node,
                           "', 50), 1) ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = app.t.n"
                           " + 1")));
    if (absl::Now() >= next_sample) {
      next_sample += kInterval;
      for (Session& sampled : sessions) ASSERT_NO_FATAL_FAILURE(Sample(&sampled));
      ASSERT_NO_FATAL_FAILURE(Probe(&sessions[0], &sessions[1], number));
      ASSERT_NO_FATAL_FAILURE(Probe(&sessions[1], &sessions[0], number));
    }
    absl::SleepFor(next + kPause - absl::Now());
  }
  BDR_CONVERGE();
  for (const Measure& measure : {kCpu, kMemory, kBackends, kDisk, kTables, kLatency}) {
    for (size_t node = 0; node < 2; ++node) {
      const std::vector<double>& values = samples_[measure.name][node];
      EXPECT_EQ(harness::Growth(values, measure.factor, measure.slack), "")
          << measure.name << " at n" << node + 1;
      std::cout << measure.name << " at n" << node + 1 << ": " << values[values.size() / 4]
                << " ... " << values.back() << std::endl;
    }
  }
}

}  // namespace
}  // namespace bdr::integration
