#include "tests/chaos/plan.h"

#include <algorithm>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tests/chaos/policies.h"
#include "tests/chaos/sequences.h"
#include "tests/chaos/tables.h"

namespace bdr::chaos {
namespace {

std::map<FaultKind, int> AllFaults() {
  return {
      {FaultKind::kPartition, 8},
      {FaultKind::kIsolate, 6},
      {FaultKind::kOneWayLoss, 4},
      {FaultKind::kDelay, 6},
      {FaultKind::kStall, 4},
      {FaultKind::kReset, 6},
      {FaultKind::kBandwidth, 3},
      {FaultKind::kAgentKill, 8},
      {FaultKind::kAgentPause, 5},
      {FaultKind::kAgentFailPoint, 12},
      {FaultKind::kAgentMachineCrash, 6},
      {FaultKind::kPostgresKill, 6},
      {FaultKind::kPostgresPause, 3},
      {FaultKind::kServerKill, 2},
      {FaultKind::kServerPause, 1},
      {FaultKind::kBackendsKill, 5},
      {FaultKind::kDiskFull, 3},
      {FaultKind::kFreeze, 5},
      {FaultKind::kCheckpoints, 3},
      {FaultKind::kRowLocks, 8},
      {FaultKind::kOpenWriter, 4},
      {FaultKind::kRewrite, 3},
  };
}

std::map<FaultKind, int> SomeFaults() {
  return {{FaultKind::kPartition, 8},       {FaultKind::kIsolate, 6},
          {FaultKind::kDelay, 6},           {FaultKind::kAgentKill, 5},
          {FaultKind::kAgentFailPoint, 10}, {FaultKind::kAgentMachineCrash, 4},
          {FaultKind::kPostgresKill, 4},    {FaultKind::kFreeze, 4},
          {FaultKind::kRowLocks, 8},        {FaultKind::kRewrite, 3}};
}

// Rows without a key have nothing but their commit times, which freezing and rewriting takes.
std::map<FaultKind, int> KeylessFaults() {
  std::map<FaultKind, int> faults = SomeFaults();
  faults.erase(FaultKind::kFreeze);
  faults.erase(FaultKind::kRewrite);
  return faults;
}

std::map<Operation, int> AllOperations() {
  return {
      {Operation::kUpsert, 30},    {Operation::kUpdate, 30},    {Operation::kInsert, 10},
      {Operation::kDelete, 14},    {Operation::kKeyChange, 8},  {Operation::kExchange, 6},
      {Operation::kBulkUpsert, 1}, {Operation::kBulkDelete, 1}, {Operation::kTruncate, 1},
      {Operation::kRefill, 1},
  };
}

std::map<TableKind, int> AllKinds() {
  return {{TableKind::kPlain, 4},
          {TableKind::kUnique, 4},
          {TableKind::kFolded, 3},
          {TableKind::kCounter, 1}};
}

std::vector<Profile> MakeProfiles() {
  std::vector<Profile> profiles;
  profiles.push_back({.name = "everything",
                      .about = "all faults but moved clocks, on tables of every kind",
                      .faults = AllFaults(),
                      .operations = AllOperations(),
                      .kinds = AllKinds()});
  Profile clocks = {.name = "clocks",
                    .about = "clocks that step by up to 5 s, and run fast or slow, with the rest",
                    .faults = AllFaults(),
                    .operations = AllOperations(),
                    .kinds = AllKinds(),
                    .clocks = true};
  clocks.faults[FaultKind::kClockStep] = 25;
  clocks.faults[FaultKind::kClockRate] = 15;
  profiles.push_back(clocks);
  profiles.push_back({.name = "network",
                      .about = "links alone fail",
                      .faults = {{FaultKind::kPartition, 8},
                                 {FaultKind::kIsolate, 6},
                                 {FaultKind::kOneWayLoss, 5},
                                 {FaultKind::kDelay, 6},
                                 {FaultKind::kStall, 4},
                                 {FaultKind::kReset, 6},
                                 {FaultKind::kBandwidth, 3}},
                      .operations = AllOperations(),
                      .kinds = AllKinds()});
  profiles.push_back({.name = "machines",
                      .about = "nodes in network namespaces: cables come out, packets vanish, "
                               "processes die; with TLS",
                      .faults = {{FaultKind::kPartition, 8},
                                 {FaultKind::kIsolate, 8},
                                 {FaultKind::kOneWayLoss, 6},
                                 {FaultKind::kAgentKill, 3},
                                 {FaultKind::kAgentPause, 2},
                                 {FaultKind::kPostgresKill, 2},
                                 {FaultKind::kServerKill, 2}},
                      .operations = AllOperations(),
                      .kinds = AllKinds(),
                      .namespaces = true});
  profiles.push_back({.name = "crashes",
                      .about = "processes and machines die",
                      .faults = {{FaultKind::kAgentKill, 5},
                                 {FaultKind::kAgentFailPoint, 15},
                                 {FaultKind::kAgentMachineCrash, 8},
                                 {FaultKind::kPostgresKill, 6},
                                 {FaultKind::kBackendsKill, 4},
                                 {FaultKind::kServerKill, 1}},
                      .operations = AllOperations(),
                      .kinds = AllKinds(),
                      .fault_max = absl::Seconds(1)});
  profiles.push_back({.name = "calm",
                      .about = "nothing fails: users alone fight",
                      .faults = {},
                      .operations = AllOperations(),
                      .kinds = AllKinds()});
  profiles.push_back(
      {.name = "fight",
       .about = "many short transactions on three rows of one table, links that come and go",
       .nodes = 3,
       .faults = {{FaultKind::kPartition, 6}, {FaultKind::kDelay, 6}, {FaultKind::kRowLocks, 10}},
       .operations = {{Operation::kUpsert, 20},
                      {Operation::kUpdate, 20},
                      {Operation::kInsert, 20},
                      {Operation::kDelete, 30},
                      {Operation::kKeyChange, 10},
                      {Operation::kExchange, 6}},
       .kinds = AllKinds(),
       .hot_keys = 3,
       .workers = 2,
       .tables = 1,
       .fault_max = absl::Seconds(1)});
  profiles.push_back({.name = "unique",
                      .about = "links and processes fail, on tables with further unique values",
                      .faults = SomeFaults(),
                      .operations = AllOperations(),
                      .kinds = {{TableKind::kUnique, 1}},
                      .fault_max = absl::Seconds(2)});
  profiles.push_back({.name = "policies",
                      .about = "links and processes fail, on tables with policies",
                      .faults = SomeFaults(),
                      .operations = AllOperations(),
                      .kinds = {{TableKind::kFolded, 3}, {TableKind::kCounter, 1}},
                      .tables = 2,
                      .fault_max = absl::Seconds(2)});
  profiles.push_back({.name = "foreign-keys",
                      .about = "links and processes fail, on tables that reference each other",
                      .faults = SomeFaults(),
                      .operations = AllOperations(),
                      .kinds = {{TableKind::kParent, 1}},
                      .tables = 1,
                      .fault_max = absl::Seconds(2)});
  profiles.push_back({.name = "logs",
                      .about = "tables without a key, which users fill, truncate and fill again",
                      .faults = KeylessFaults(),
                      .operations = {{Operation::kInsert, 30},
                                     {Operation::kBulkUpsert, 2},
                                     {Operation::kTruncate, 2},
                                     {Operation::kRefill, 4}},
                      .kinds = {{TableKind::kLog, 1}},
                      .tables = 2,
                      .fault_max = absl::Seconds(1)});
  profiles.push_back({.name = "full-logs",
                      .about = "change logs of 2 MiB at most, that fill up while links are gone",
                      .faults = {{FaultKind::kPartition, 8},
                                 {FaultKind::kIsolate, 6},
                                 {FaultKind::kBandwidth, 2},
                                 {FaultKind::kAgentKill, 4},
                                 {FaultKind::kAgentPause, 4},
                                 {FaultKind::kPostgresKill, 2}},
                      .operations = {{Operation::kUpsert, 20},
                                     {Operation::kUpdate, 20},
                                     {Operation::kDelete, 10},
                                     {Operation::kBulkUpsert, 10},
                                     {Operation::kBulkDelete, 2}},
                      .kinds = AllKinds(),
                      .habits = "small_cap,few_relations",
                      .fault_max = absl::Seconds(5)});
  profiles.push_back({.name = "sequences",
                      .about = "keys from sequences of every method, which are converted meanwhile",
                      .nodes = 3,
                      .faults = {{FaultKind::kPartition, 3},
                                 {FaultKind::kIsolate, 3},
                                 {FaultKind::kDelay, 2},
                                 {FaultKind::kAgentKill, 8},
                                 {FaultKind::kAgentPause, 4},
                                 {FaultKind::kAgentFailPoint, 12},
                                 {FaultKind::kAgentMachineCrash, 6},
                                 {FaultKind::kPostgresKill, 10},
                                 {FaultKind::kPostgresPause, 3},
                                 {FaultKind::kServerKill, 8},
                                 {FaultKind::kServerPause, 3},
                                 {FaultKind::kBackendsKill, 4},
                                 {FaultKind::kCheckpoints, 2},
                                 {FaultKind::kRowLocks, 2},
                                 {FaultKind::kClockStep, 6}},
                      .operations = AllOperations(),
                      .kinds = {{TableKind::kPlain, 1}},
                      .workers = 1,
                      .tables = 1,
                      .clocks = true,
                      .sequences = true,
                      .habits = "small_chunks",
                      .fault_max = absl::Seconds(2)});
  return profiles;
}

}  // namespace

absl::string_view ToString(FaultKind kind) {
  switch (kind) {
    case FaultKind::kPartition:
      return "partition";
    case FaultKind::kIsolate:
      return "isolate";
    case FaultKind::kOneWayLoss:
      return "one-way loss";
    case FaultKind::kDelay:
      return "delay";
    case FaultKind::kStall:
      return "stall";
    case FaultKind::kReset:
      return "reset inside a message";
    case FaultKind::kBandwidth:
      return "bandwidth limit";
    case FaultKind::kAgentKill:
      return "kill -9 of agent";
    case FaultKind::kAgentPause:
      return "SIGSTOP of agent";
    case FaultKind::kAgentFailPoint:
      return "fail point in agent";
    case FaultKind::kAgentMachineCrash:
      return "crash of agent's machine";
    case FaultKind::kPostgresKill:
      return "kill -9 of PostgreSQL";
    case FaultKind::kPostgresPause:
      return "SIGSTOP of PostgreSQL";
    case FaultKind::kServerKill:
      return "kill -9 of bdr-server";
    case FaultKind::kServerPause:
      return "SIGSTOP of bdr-server";
    case FaultKind::kBackendsKill:
      return "agent's sessions terminated";
    case FaultKind::kDiskFull:
      return "disk full";
    case FaultKind::kClockStep:
      return "clock step";
    case FaultKind::kClockRate:
      return "clock rate";
    case FaultKind::kFreeze:
      return "VACUUM FREEZE of all databases";
    case FaultKind::kCheckpoints:
      return "checkpoints";
    case FaultKind::kRowLocks:
      return "user holds locks";
    case FaultKind::kOpenWriter:
      return "user has written and goes on reading";
    case FaultKind::kRewrite:
      return "rewrite of a table";
  }
  return "?";
}

const std::vector<Profile>& Profiles() {
  static const auto* const profiles = new std::vector<Profile>(MakeProfiles());
  return *profiles;
}

absl::StatusOr<Profile> FindProfile(absl::string_view name) {
  std::vector<std::string> names;
  for (const Profile& profile : Profiles()) {
    if (profile.name == name) return profile;
    names.push_back(profile.name);
  }
  return absl::NotFoundError(
      absl::StrCat("there is no profile \"", name, "\", only ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<Plan> MakePlan(const Options& options) {
  absl::StatusOr<Profile> profile = FindProfile(options.profile);
  if (!profile.ok()) return profile.status();
  Plan plan;
  plan.options = options;
  plan.profile = *std::move(profile);
  Random random(options.seed, /*stream=*/0);
  // Three nodes show nearly everything; more make the machine, not the cluster, the bottleneck.
  const int nodes = static_cast<int>(random.Pick<int>({2, 3, 3, 3, 4, 5}));
  plan.nodes = options.nodes != 0        ? options.nodes
               : plan.profile.nodes != 0 ? plan.profile.nodes
                                         : nodes;
  plan.workers = static_cast<int>(random.Between(1, plan.nodes > 3 ? 2 : 3));
  if (plan.profile.workers != 0) plan.workers = plan.profile.workers;
  int tables = static_cast<int>(random.Between(1, 3));
  if (plan.profile.tables != 0) tables = plan.profile.tables;
  for (int i = 0; i < tables; ++i) {
    const std::string table_name = absl::StrCat("chaos_t", i + 1);
    const TableKind kind = random.PickWeighted(plan.profile.kinds);
    plan.tables.push_back(RandomTable(random, table_name, kind, plan.profile.hot_keys));
    if (kind != TableKind::kParent) continue;
    plan.tables.push_back(RandomTable(random, table_name + "_child", TableKind::kChild,
                                      plan.profile.hot_keys, &plan.tables.back()));
  }
  ChoosePolicies(random, &plan);
  ChooseSequences(&plan);
  // Small blocks and groups reach the code for large ones with little data.
  plan.agent_config = absl::StrCat(
      "block_max_bytes: ", random.Pick<int>({16, 64, 1024}), "KiB\n",
      "forward_foreign_origins: true\nheartbeat_interval: ", random.Pick<int>({20, 50, 100}),
      "ms\n", "apply:\n  group_max_transactions: ", random.Pick<int>({1, 5, 50, 500}), "\n");
  plan.machine_crash = plan.profile.faults.contains(FaultKind::kAgentMachineCrash);
  plan.standing_transactions = Random(options.seed, /*stream=*/9).OneIn(3);
  plan.small_disks = plan.profile.faults.contains(FaultKind::kDiskFull);
  return plan;
}

}  // namespace bdr::chaos
