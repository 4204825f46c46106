// All nodes draw from sequences of every method at once, for as long as one likes, while everything
// that they lean on is lost in turn: no number may come twice.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/harness/etcd.h"
#include "tests/integration/cluster_fixture.h"
#include "tests/integration/drawers.h"

namespace bdr::integration {
namespace {

constexpr int kNodes = 5;
constexpr int kMembers = 3;
constexpr int kServers = 2;
constexpr absl::Duration kRecovered =
    absl::Seconds(kSanitized ? 540 : 180);  // everything was lost, and machines are slow

struct Sequence {
  const char* table;
  const char* type;
  const char* method;
};
constexpr Sequence kSequences[] = {
    {"small", "serial", "galloc"},
    {"large", "bigserial", "galloc"},
    {"timed", "bigserial", "snowflake"},
    {"dealt", "bigserial", "stepped"},
};

class SequenceRunTest : public ClusterTest {
 protected:
  // Something that is lost, and comes back. Two that touch the same part are never lost at once.
  struct Fault {
    std::string name;
    std::string part;
    std::function<absl::Status()> end;
  };

  void Start() {
    ASSERT_OK_AND_ASSIGN(etcd_,
                         harness::EtcdCluster::Start({.members = kMembers, .proxies = true}));
    harness::ClusterOptions options;
    options.nodes.assign(kNodes, {});
    options.servers = kServers;
    options.server_config = absl::StrCat("store: ", etcd_->Url(), "\n");
    options.proxies = true;
    for (const Sequence& sequence : kSequences) {
      absl::StrAppend(&options.schema_sql, "CREATE TABLE ", sequence.table, " (id ", sequence.type,
                      " PRIMARY KEY, node text NOT NULL);");
    }
    ASSERT_NO_FATAL_FAILURE(StartCluster(std::move(options)));
    for (const Sequence& sequence : kSequences) {
      std::vector<std::string> command = {"sequence", "convert",
                                          absl::StrCat("public.", sequence.table, "_id_seq"),
                                          "--method", sequence.method};
      command = cluster_->WithDatabases(std::move(command));
      ASSERT_OK_AND_ASSIGN(const auto converted, cluster_->Bdrctl(command));
      ASSERT_EQ(converted.exit_code, 0) << converted.out << converted.err;
      // Few rows, as each travels to four nodes; and numbers that no row has.
      Draw(sequence, absl::StrCat("INSERT INTO ", sequence.table,
                                  " (node) SELECT 'x' FROM generate_series(1, 4) RETURNING id"));
      // What PostgreSQL's own sequence gave out without a row it may give out again after a crash.
      if (std::string(sequence.method) == "stepped") continue;
      Draw(sequence, absl::StrCat("SELECT bdr.reserve('", sequence.table, "_id_seq', 50)"));
    }
  }
  void Draw(const Sequence& sequence, const std::string& sql) {
    drawers_.emplace_back(
        sequence.table, std::make_unique<Drawers>(cluster_.get(), sql,
                                                  Drawers::Options{.nodes = {}, .pause = kPause}));
  }

  void WaitForMore(size_t ids) {
    for (const auto& [table, drawers] : drawers_) ASSERT_OK(drawers->WaitForMore(ids));
  }
  std::vector<std::string> Errors() {
    std::vector<std::string> all;
    for (const auto& [table, drawers] : drawers_) {
      for (const std::string& error : drawers->errors()) all.push_back(error);
    }
    return all;
  }

  // What may be lost, by what it is called. kUnavailable if it cannot be had now.
  absl::StatusOr<Fault> Lose(const std::string& what) {
    const auto any = [this](int n) {
      return static_cast<int>(random_() % static_cast<unsigned>(n));
    };
    if (what == "leader of etcd" || what == "leader of etcd cut off") {
      ASSIGN_OR_RETURN(const int leader, etcd_->Leader());
      if (what == "leader of etcd") return LoseMember(what, leader);
      etcd_->Isolate(leader);
      return Fault{what, "etcd", [this] {
                     etcd_->Heal();
                     return absl::OkStatus();
                   }};
    }
    if (what == "member of etcd") return LoseMember(what, any(kMembers));
    if (what == "bdr-server") {
      const int server = any(kServers);
      cluster_->server(server).Kill9();
      return Fault{absl::StrCat(what, " ", server), "bdr-server",
                   [this, server] { return cluster_->StartServer(server); }};
    }
    if (what == "all bdr-servers") {
      for (int server = 0; server < kServers; ++server) cluster_->server(server).Kill9();
      return Fault{what, "bdr-server", [this] {
                     absl::Status status;
                     for (int server = 0; server < kServers; ++server) {
                       status.Update(cluster_->StartServer(server));
                     }
                     return status;
                   }};
    }
    const std::string node = cluster_->names()[static_cast<size_t>(any(kNodes))];
    if (what == "agent") {
      cluster_->agent(node).Kill9();
      return Fault{absl::StrCat(what, " of ", node), "node",
                   [this, node] { return cluster_->StartAgent(node); }};
    }
    if (what == "PostgreSQL") {
      RETURN_IF_ERROR(cluster_->postgres(node).Kill9());
      return Fault{absl::StrCat(what, " of ", node), "node",
                   [this, node] { return cluster_->postgres(node).Start(); }};
    }
    cluster_->Isolate(node);
    return Fault{absl::StrCat(what, " ", node), "network", [this] {
                   cluster_->Heal();
                   return absl::OkStatus();
                 }};
  }
  Fault LoseMember(const std::string& what, int member) {
    etcd_->member(member).Kill9();
    return Fault{absl::StrCat(what, ", ", member), "etcd",
                 [this, member] { return etcd_->StartMember(member); }};
  }

  // One after the other, each until more was drawn, and sometimes one on top of another.
  void LoseAndHeal(const std::vector<std::string>& what, size_t ids) {
    std::deque<Fault> lost;
    for (const std::string& one : what) {
      auto fault = Lose(one);
      if (!fault.ok()) {
        std::cout << one << ": " << fault.status() << std::endl;
        continue;
      }
      std::cout << absl::FormatTime("%H:%M:%E3S", absl::Now(), absl::UTCTimeZone())
                << " lost: " << fault->name << std::endl;
      lost.push_back(*std::move(fault));
      ASSERT_NO_FATAL_FAILURE(WaitForMore(ids));
    }
    for (const Fault& fault : lost) ASSERT_OK(fault.end()) << fault.name;
    ASSERT_NO_FATAL_FAILURE(WaitForMore(ids));
  }

  static constexpr absl::Duration kPause = absl::Milliseconds(100);

  std::unique_ptr<harness::EtcdCluster> etcd_;
  std::vector<std::pair<std::string, std::unique_ptr<Drawers>>> drawers_;  // by table
  std::mt19937 random_;
};

// A short version by default. Where BDR_LONG_TESTS is set, for BDR_SEQUENCE_MINUTES (10), with
// BDR_SEQUENCE_SEED.
TEST_F(SequenceRunTest, NoNumberComesTwiceWhateverIsLost) {
  double minutes = 0;
  if (std::getenv("BDR_LONG_TESTS") != nullptr) {
    minutes = 10;
    if (const char* given = std::getenv("BDR_SEQUENCE_MINUTES"); given != nullptr) {
      ASSERT_TRUE(absl::SimpleAtod(given, &minutes)) << given;
    }
  }
  unsigned seed = 1;
  if (const char* given = std::getenv("BDR_SEQUENCE_SEED"); given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(given, &seed)) << given;
  }
  std::cout << "seed " << seed << std::endl;
  random_.seed(seed);
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_NO_FATAL_FAILURE(WaitForMore(40));

  // Of this nobody who draws hears: the reserve covers it.
  for (const char* what : {"leader of etcd", "leader of etcd cut off"}) {
    ASSERT_OK_AND_ASSIGN(const int leader, etcd_->Leader());
    ASSERT_OK_AND_ASSIGN(const Fault fault, Lose(what));
    ASSERT_NO_FATAL_FAILURE(WaitForMore(100));
    ASSERT_OK(harness::WaitFor("another member leads", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const int now, etcd_->Leader());
      return now != leader;
    }));
    ASSERT_NO_FATAL_FAILURE(WaitForMore(50));
    ASSERT_OK(fault.end());
    EXPECT_THAT(Errors(), ::testing::IsEmpty()) << what;
  }

  if (minutes == 0) {
    ASSERT_NO_FATAL_FAILURE(LoseAndHeal({"bdr-server", "PostgreSQL", "member of etcd"}, 50));
    ASSERT_NO_FATAL_FAILURE(LoseAndHeal({"network", "agent"}, 50));
  }
  int rounds = 0;
  const std::vector<std::string> kWhat[] = {
      {"leader of etcd", "leader of etcd cut off", "member of etcd"},
      {"bdr-server", "bdr-server", "all bdr-servers"},
      {"agent", "PostgreSQL"},
      {"network"},
  };
  for (const absl::Time end = absl::Now() + minutes * absl::Minutes(1); absl::Now() < end;
       ++rounds) {
    std::vector<std::string> what;
    for (const std::vector<std::string>& of_part : kWhat) {
      if (random_() % 2 == 0) what.push_back(of_part[random_() % of_part.size()]);
    }
    std::shuffle(what.begin(), what.end(), random_);
    ASSERT_NO_FATAL_FAILURE(LoseAndHeal(what, 50 + random_() % 400));
  }
  ASSERT_OK(etcd_->WaitUntilReady(kDeadline));
  ASSERT_OK(cluster_->WaitUntilHealthy(kRecovered));

  std::map<std::string, std::vector<int64_t>> told;
  std::map<std::string, std::vector<int64_t>> rows;
  for (const auto& [table, drawers] : drawers_) {
    const std::vector<int64_t> ids = drawers->Stop();
    told[table].insert(told[table].end(), ids.begin(), ids.end());
    if (absl::StartsWith(drawers->sql(), "INSERT")) rows[table] = ids;
  }
  // A crash empties a node's reserve. If bdr-server is away as well, that is said.
  std::map<std::string, int> none_left;  // by second and node, to be held against what was lost
  for (const std::string& error : Errors()) {
    EXPECT_THAT(error, ::testing::HasSubstr("no ids are left"));
    ++none_left[absl::StrCat(error.substr(0, 8), error.substr(12, 3))];
  }
  for (const auto& [when, times] : none_left) {
    std::cout << when << ": " << times << " times no ids were left" << std::endl;
  }
  std::cout << rounds << " rounds" << std::endl;
  ASSERT_OK(cluster_->WaitUntilConverged(kRecovered));
  for (auto& [table, ids] : told) {
    std::sort(ids.begin(), ids.end());
    std::vector<int64_t> twice;
    for (size_t i = 1; i < ids.size(); ++i) {
      if (ids[i] == ids[i - 1]) twice.push_back(ids[i]);
    }
    EXPECT_THAT(twice, ::testing::IsEmpty()) << table;
    std::cout << table << ": " << ids.size() << " numbers, the last one " << ids.back()
              << std::endl;
    ExpectEverywhere(absl::StrCat("SELECT count(*) FROM unnest('{", absl::StrJoin(rows[table], ","),
                                  "}'::bigint[]) AS t (id)"
                                  " WHERE NOT EXISTS (SELECT FROM ",
                                  table, " r WHERE r.id = t.id)"),
                     "0");
  }
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
}

}  // namespace
}  // namespace bdr::integration
