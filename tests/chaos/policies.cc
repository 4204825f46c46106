#include "tests/chaos/policies.h"

#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/substitute.h"
#include "base/status_macros.h"

namespace bdr::chaos {
namespace {

// Of the streams of randomness of a seed; users have theirs from 1000 on.
constexpr uint64_t kStream = 900;

// Neither commutative nor associative: `m` tells in what order rows were folded.
constexpr char kFunction[] = R"sql(
CREATE FUNCTION $0_merge(older $0, newer $0, info jsonb) RETURNS $0 LANGUAGE plpgsql IMMUTABLE AS
$$$$ BEGIN
  IF older.w % 7 > newer.w % 7 THEN newer.n := older.n; END IF;
  newer.m := (coalesce(older.m, 0) * 31 + newer.w * 7 + length(info ->> 'seen')) % 1000003;
  RETURN newer;
END $$$$;
)sql";

absl::Status SetPolicy(const harness::Cluster& cluster, const TableSpec& table,
                       const Policy& policy, int wait_seconds) {
  std::vector<std::string> arguments = {"table", "set-policy", "public." + table.name};
  arguments.insert(arguments.end(), policy.begin(), policy.end());
  arguments.insert(arguments.end(), {"--wait", absl::StrCat(wait_seconds), "-o", "json"});
  ASSIGN_OR_RETURN(const harness::ProgramResult set, cluster.Bdrctl(arguments));
  if (set.exit_code == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot give table ", table.name, " policy ",
                                             absl::StrJoin(policy, " "), ": ", set.out, set.err));
}

}  // namespace

std::string FoldedColumns(Random& random, TableSpec* table) {
  if (table->kind == TableKind::kCounter) {
    return absl::StrCat("n ",
                        random.Pick<std::string>({"bigint", "int", "numeric", "double precision"}),
                        " NOT NULL DEFAULT 0");
  }
  table->values.push_back({.name = "n", .type = "int"});
  return "n int, m bigint";
}

std::string FoldedDdl(const TableSpec& table) {
  if (table.kind == TableKind::kFolded) return absl::Substitute(kFunction, table.name);
  std::string ddl;
  for (int key = 0; key < table.hot_keys; ++key) {
    absl::StrAppend(&ddl, "INSERT INTO ", table.name, " (", table.KeyColumns(), ", w) VALUES (",
                    table.KeyOf(key), ", 0);\n");
  }
  return ddl;
}

void ChoosePolicies(Random& random, Plan* plan) {
  for (TableSpec& table : plan->tables) {
    if (table.kind == TableKind::kCounter) table.policies = {{"delta", "--columns", "n"}};
    if (table.kind != TableKind::kFolded) continue;
    const int64_t best = random.Between(1, plan->nodes);
    std::vector<std::string> ranks = {absl::StrCat("n", best)};
    if (random.OneIn(2)) ranks.push_back(absl::StrCat("n", best % plan->nodes + 1));
    table.policies = {
        {"column_merge"},
        {"first_update_wins"},
        {"origin_priority", "--priority", absl::StrJoin(ranks, ",")},
        {"custom", "--function", absl::StrCat("public.", table.name, "_merge")},
        {"delta", "--columns", "n"},
    };
    std::swap(table.policies.front(),
              table.policies[random.Below(static_cast<int64_t>(table.policies.size()))]);
    table.policies.push_back({"last_update_wins"});
  }
  plan->switch_policies = random.OneIn(3);
}

absl::Status SetPolicies(const Plan& plan, const harness::Cluster& cluster) {
  for (const TableSpec& table : plan.tables) {
    if (table.policies.empty()) continue;
    RETURN_IF_ERROR(SetPolicy(cluster, table, table.policies.front(), /*wait_seconds=*/60));
  }
  return absl::OkStatus();
}

PolicySwitcher::PolicySwitcher(const Plan& plan, const harness::Cluster* cluster,
                               std::function<void(const std::string&)> log)
    : plan_(plan), cluster_(cluster), log_(std::move(log)), random_(plan.options.seed, kStream) {
  if (plan.switch_policies) thread_ = std::thread([this] { Run(); });
}

void PolicySwitcher::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void PolicySwitcher::Run() {
  std::vector<const TableSpec*> tables;
  for (const TableSpec& table : plan_.tables) {
    if (!table.policies.empty()) tables.push_back(&table);
  }
  if (tables.empty()) return;
  while (!stop_) {
    for (int64_t i = random_.Between(10, 60); i > 0 && !stop_; --i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // Users write meanwhile.
    }
    if (stop_) return;
    const TableSpec& table = *random_.Pick(tables);
    const Policy& policy = random_.Pick(table.policies);
    // Somebody may be down, who then is not asked; it is tried again.
    const absl::Status set = SetPolicy(*cluster_, table, policy, /*wait_seconds=*/2);
    log_(absl::StrCat("policy of ", table.name, ": ", absl::StrJoin(policy, " "),
                      set.ok() ? "" : " (not in force)"));
    if (set.ok()) ++switched_;
  }
}

absl::Status CheckCounters(const Plan& plan, const harness::Cluster& cluster,
                           const Journal& journal, Findings* findings) {
  const std::string node = cluster.names().front();
  ASSIGN_OR_RETURN(const auto connection, cluster.Connect(node));
  std::map<std::pair<int, int64_t>, int64_t> sums;  // by table and key
  for (const JournaledTransaction& transaction : journal.transactions()) {
    if (transaction.added.empty()) continue;
    ASSIGN_OR_RETURN(const std::string committed,
                     connection->QueryValue(absl::StrCat(
                         "SELECT count(*) FROM chaos_txn WHERE number = ", transaction.number)));
    if (committed != "1") continue;
    for (const Added& added : transaction.added) sums[{added.table, added.key}] += added.amount;
  }
  for (int i = 0; i < static_cast<int>(plan.tables.size()); ++i) {
    const TableSpec& table = plan.tables[static_cast<size_t>(i)];
    if (table.kind != TableKind::kCounter) continue;
    for (int key = 0; key < table.hot_keys; ++key) {
      const std::string row = absl::StrCat(table.name, " WHERE ", table.KeyCondition(key));
      ASSIGN_OR_RETURN(const std::string value, connection->QueryValue(absl::StrCat(
                                                    "SELECT (SELECT n::bigint FROM ", row, ")")));
      const std::string wanted = absl::StrCat(sums[{i, key}]);
      if (value == wanted) continue;
      findings->Add(absl::StrCat("a counter is ", value, " where ", wanted, " was added: ", row));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
