// bdrctl verify: all tables over all nodes, by content hashes that the agents compute.
//
// Each round looks at the tables that are not known to be equal: hashes by bucket first, then,
// where buckets differ, hashes by row. It ends once all is equal, or the differences have stayed
// the same while nothing was under way, or the time is up.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/config.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/status_view.h"
#include "ctl/table.h"
#include "ctl/verify.h"

namespace bdr::ctl {
namespace {

// Under load a row that is on its way makes its whole bucket differ, so buckets are small.
constexpr uint32_t kBuckets = 8192;
// Are more rows in buckets that differ, only the buckets are compared.
constexpr uint64_t kMostRows = 1000000;
constexpr size_t kKeysNamed = 100;
constexpr size_t kKeysPrinted = 10;
constexpr absl::Duration kBetweenLooks = absl::Seconds(1);
// Every agent reports once a second: quiet for so long cannot all be old news. Whatever differs in
// the same way for longer than that, and than changes take to arrive, is different.
constexpr absl::Duration kStable = absl::Seconds(3);
// A table may be large; whoever waits can end the program.
constexpr absl::Duration kHashTimeout = absl::Hours(6);

struct VerifyOptions {
  std::string table;
  std::string timeout = "30s";
};

struct Node {
  std::string name;
  Agent agent;
};

struct TableName {
  std::string schema;
  std::string name;
  friend auto operator<=>(const TableName&, const TableName&) = default;
  std::string Display() const { return absl::StrCat(schema, ".", name); }
};

struct TableResult {
  std::vector<std::string> missing_on;
  std::vector<uint64_t> rows;  // by node, at the last look
  size_t differing_buckets = 0;
  Pending pending;
  std::set<std::string> stable;  // of `pending`: different beyond doubt
  // Some rows that differ, when there are too many for `pending` to hold rows.
  Differences sample;
};

// Calls `ask` for every node at the same time.
template <typename T>
absl::StatusOr<std::vector<T>> AskAll(const std::vector<Node>& nodes,
                                      const std::function<absl::StatusOr<T>(const Agent&)>& ask) {
  std::vector<absl::StatusOr<T>> answers(nodes.size(), absl::UnknownError("not asked"));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < nodes.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = ask(nodes[i].agent); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<T> values;
  for (absl::StatusOr<T>& answer : answers) {
    RETURN_IF_ERROR(answer.status());
    values.push_back(*std::move(answer));
  }
  return values;
}

absl::StatusOr<Buckets> AskBuckets(const Agent& agent, const TableName& table) {
  v1::HashTableRequest request;
  request.set_schema(table.schema);
  request.set_name(table.name);
  request.set_buckets(kBuckets);
  ASSIGN_OR_RETURN(const auto response,
                   agent.Call(&v1::AgentAdmin::Stub::HashTable, request, kHashTimeout));
  if (response.bucket_hash_size() != kBuckets || response.bucket_rows_size() != kBuckets) {
    return absl::InternalError(absl::StrCat(agent.name(), ": answered ",
                                            response.bucket_hash_size(), " buckets instead of ",
                                            kBuckets));
  }
  Buckets buckets;
  for (uint32_t i = 0; i < kBuckets; ++i) {
    buckets.push_back({response.bucket_hash(i), response.bucket_rows(i)});
  }
  return buckets;
}

absl::StatusOr<Rows> AskRows(const Agent& agent, const TableName& table,
                             const std::vector<uint32_t>& buckets) {
  v1::HashRowsRequest request;
  request.set_schema(table.schema);
  request.set_name(table.name);
  request.set_buckets(kBuckets);
  request.set_bucket(buckets[0]);
  for (size_t i = 1; i < buckets.size(); ++i) request.add_more(buckets[i]);
  ASSIGN_OR_RETURN(const auto response,
                   agent.Call(&v1::AgentAdmin::Stub::HashRows, request, kHashTimeout));
  Rows rows;
  for (const auto& row : response.rows()) AddRow(rows, row.key(), row.hash());
  return rows;
}

uint64_t MostRowsIn(const std::vector<Buckets>& nodes, const std::vector<uint32_t>& buckets) {
  uint64_t most = 0;
  for (const Buckets& node : nodes) {
    uint64_t rows = 0;
    for (const uint32_t bucket : buckets) rows += node[bucket].rows;
    most = std::max(most, rows);
  }
  return most;
}

absl::StatusOr<Differences> LookAtRows(const std::vector<Node>& nodes, const TableName& table,
                                       const std::vector<uint32_t>& buckets) {
  ASSIGN_OR_RETURN(const std::vector<Rows> rows, AskAll<Rows>(nodes, [&](const Agent& agent) {
                     return AskRows(agent, table, buckets);
                   }));
  return RowDifferences(rows);
}

absl::Status LookAtTable(const std::vector<Node>& nodes, const TableName& table,
                         TableResult& result) {
  const absl::Time now = absl::Now();
  ASSIGN_OR_RETURN(const std::vector<Buckets> all, AskAll<Buckets>(nodes, [&](const Agent& agent) {
                     return AskBuckets(agent, table);
                   }));
  result.rows.clear();
  for (const Buckets& node : all) {
    uint64_t rows = 0;
    for (const ContentHash& bucket : node) rows += bucket.rows;
    result.rows.push_back(rows);
  }
  const std::vector<uint32_t> differing = DifferingBuckets(all);
  result.differing_buckets = differing.size();
  result.sample.clear();
  if (differing.empty()) {
    result.pending.Look({}, result.pending.by_row(), now);
    return absl::OkStatus();
  }
  if (MostRowsIn(all, differing) > kMostRows) {
    result.pending.Look(BucketDifferences(all, differing), /*by_row=*/false, now);
    ASSIGN_OR_RETURN(result.sample, LookAtRows(nodes, table, {differing[0]}));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Differences rows, LookAtRows(nodes, table, differing));
  result.pending.Look(std::move(rows), /*by_row=*/true, now);
  return absl::OkStatus();
}

using Results = std::map<TableName, TableResult>;

// Every table of any node, with the nodes that do not have it.
absl::StatusOr<Results> ListTables(const std::vector<Node>& nodes, const std::string& wanted) {
  using Names = std::set<TableName>;
  ASSIGN_OR_RETURN(const std::vector<Names> lists,
                   AskAll<Names>(nodes, [](const Agent& agent) -> absl::StatusOr<Names> {
                     ASSIGN_OR_RETURN(
                         const auto response,
                         agent.Call(&v1::AgentAdmin::Stub::ListTables, v1::ListTablesRequest()));
                     Names names;
                     for (const auto& table : response.tables())
                       names.insert({table.schema(), table.name()});
                     return names;
                   }));
  Results results;
  for (const Names& list : lists) {
    for (const TableName& table : list) {
      if (wanted.empty() || table.Display() == wanted || table.name == wanted) results[table];
    }
  }
  if (results.empty() && !wanted.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no node has a replicated table \"", wanted,
                     "\": give it as schema.name, and see \"bdrctl node check\""));
  }
  for (auto& [table, result] : results) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (lists[i].count(table) == 0) result.missing_on.push_back(nodes[i].name);
    }
  }
  return results;
}

absl::Status Compare(const Server& server, const std::vector<Node>& nodes, absl::Time deadline,
                     Results& results) {
  absl::Time quiet_since = absl::InfiniteFuture();
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(const auto status, server.Call(&v1::ControlPlane::Stub::ClusterStatus,
                                                    v1::ClusterStatusRequest()));
    quiet_since = IsQuiet(status) ? std::min(quiet_since, absl::Now()) : absl::InfiniteFuture();
    const bool quiet = absl::Now() - quiet_since >= kStable;
    bool undecided = false;
    for (auto& [table, result] : results) {
      if (!result.missing_on.empty()) continue;
      if (!first && result.pending.empty()) continue;
      RETURN_IF_ERROR(LookAtTable(nodes, table, result));
      result.stable = result.pending.StableFor(kStable + LongestLag(status));
      undecided = undecided || result.stable.size() < result.pending.left().size() ||
                  (!result.pending.empty() && !quiet);
    }
    if (!undecided || absl::Now() + kBetweenLooks > deadline) return absl::OkStatus();
    absl::SleepFor(kBetweenLooks);
  }
}

// equal, missing, different or changing.
std::string Verdict(const TableResult& result) {
  if (!result.missing_on.empty()) return "missing";
  if (result.pending.empty()) return "equal";
  return result.stable.empty() ? "changing" : "different";
}

std::string StateText(const std::optional<ContentHash>& state) {
  if (!state.has_value()) return "missing";
  std::string text = absl::StrFormat("%016x", state->hash);
  if (state->rows > 1) absl::StrAppend(&text, " x", state->rows);
  return text;
}

// The rows to be named: what is different beyond doubt, or else what may be.
Differences Named(const TableResult& result) {
  if (!result.pending.by_row()) return result.sample;
  if (result.stable.empty()) return result.pending.left();
  Differences named;
  for (const std::string& key : result.stable) named[key] = result.pending.left().at(key);
  return named;
}

Json KeysJson(const std::vector<Node>& nodes, const TableResult& result) {
  Json keys = Json::array();
  for (const auto& [key, states] : Named(result)) {
    if (keys.size() >= kKeysNamed) break;
    Json by_node = Json::object();
    for (size_t i = 0; i < nodes.size(); ++i) by_node[nodes[i].name] = StateText(states[i]);
    keys.push_back({{"key", key}, {"hash", std::move(by_node)}});
  }
  return keys;
}

Json TableJson(const std::vector<Node>& nodes, const TableName& table, const TableResult& result) {
  Json rows = Json::object();
  for (size_t i = 0; i < result.rows.size(); ++i) rows[nodes[i].name] = result.rows[i];
  return {{"table", table.Display()},
          {"result", Verdict(result)},
          {"rows", std::move(rows)},
          {"missing_on", result.missing_on},
          {"differing_buckets", result.pending.empty() ? 0 : result.differing_buckets},
          {"differing_rows", result.pending.by_row() ? Json(result.stable.size()) : Json(nullptr)},
          {"changing_rows", result.pending.by_row()
                                ? Json(result.pending.left().size() - result.stable.size())
                                : Json(nullptr)},
          {"keys", result.pending.empty() ? Json::array() : KeysJson(nodes, result)}};
}

std::string DifferencesText(const std::vector<Node>& nodes, const TableName& table,
                            const TableResult& result) {
  const Differences named = Named(result);
  std::vector<Table::Column> columns = {{"KEY"}};
  for (const Node& node : nodes) columns.push_back({node.name});
  Table rows(columns);
  size_t printed = 0;
  for (const auto& [key, states] : named) {
    if (printed++ == kKeysPrinted) break;
    std::vector<std::string> cells = {key};
    for (const auto& state : states) cells.push_back(StateText(state));
    rows.AddRow(std::move(cells));
  }
  std::string text = absl::StrCat(
      "\n", table.Display(), Verdict(result) == "different" ? " differs" : " still changes",
      result.pending.by_row()
          ? absl::StrCat(" in ", named.size(), " rows")
          : absl::StrCat(" in ", result.differing_buckets, " of ", kBuckets, " parts"));
  if (rows.empty()) return absl::StrCat(text, "\n");
  absl::StrAppend(&text, "; hash on each node:\n", rows.Render());
  if (!result.pending.by_row() || named.size() > kKeysPrinted) absl::StrAppend(&text, "...\n");
  return text;
}

struct Report {
  int exit_code = kGood;
  Output output;
};

Report Render(const std::vector<Node>& nodes, const Results& results) {
  std::vector<Table::Column> columns = {{"TABLE"}, {"RESULT"}};
  Json names = Json::array();
  for (const Node& node : nodes) {
    columns.push_back({absl::StrCat(node.name, " rows"), Table::Align::kRight});
    names.push_back(node.name);
  }
  Table summary(columns);
  Json tables = Json::array();
  std::string details;
  int worst = kGood;
  for (const auto& [table, result] : results) {
    const std::string verdict = Verdict(result);
    worst = std::max<int>(worst, verdict == "equal"      ? kGood
                                 : verdict == "changing" ? kWarning
                                                         : kCritical);
    std::vector<std::string> cells = {
        table.Display(), result.missing_on.empty()
                             ? verdict
                             : absl::StrCat("missing on ", absl::StrJoin(result.missing_on, ", "))};
    for (const uint64_t rows : result.rows) cells.push_back(absl::StrCat(rows));
    summary.AddRow(std::move(cells));
    tables.push_back(TableJson(nodes, table, result));
    if (!result.pending.empty()) absl::StrAppend(&details, DifferencesText(nodes, table, result));
  }
  const char* word = worst == kGood ? "equal" : worst == kWarning ? "changing" : "different";
  Report report{.exit_code = worst, .output = {}};
  report.output.text = absl::StrCat(
      summary.empty() ? "" : summary.Render(), details, "\n",
      worst == kGood
          ? absl::StrCat("all ", results.size(), " tables are equal on ", nodes.size(), " nodes")
      : worst == kWarning
          ? std::string(
                "rows were written too often to be compared: repeat with a longer --timeout")
          : std::string("nodes differ; \"bdrctl status\" tells whether changes are still held up"),
      "\n");
  report.output.document = {
      {"result", word}, {"nodes", std::move(names)}, {"tables", std::move(tables)}};
  return report;
}

absl::StatusOr<int> Run(const Invocation& invocation, const VerifyOptions& options) {
  ASSIGN_OR_RETURN(const absl::Duration timeout, config::ParseDuration(options.timeout));
  const absl::Time deadline = absl::Now() + timeout;
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  std::vector<Node> nodes;
  for (const v1::Member& member : membership.members()) {
    if (member.state() != v1::Member::ACTIVE) continue;
    ASSIGN_OR_RETURN(Agent agent, ConnectAgent(invocation.globals, member));
    nodes.push_back({member.name(), std::move(agent)});
  }
  if (nodes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cluster \"", membership.cluster_name(), "\" has no active node to look at"));
  }
  ASSIGN_OR_RETURN(Results results, ListTables(nodes, options.table));
  RETURN_IF_ERROR(Compare(server, nodes, deadline, results));
  const Report report = Render(nodes, results);
  invocation.Print(report.output);
  return report.exit_code;
}

}  // namespace

void AddVerifyCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb = AddVerb(
      app, invocation, "verify",
      "Compares the tables of all nodes by content; rows that differ under load are looked at "
      "again until they settle. Exit code 0: equal, 1: rows still change, 2: nodes differ",
      {"bdrctl verify", "bdrctl verify --table public.price --timeout 5m", "bdrctl verify -o json"},
      [invocation, options] { return Run(*invocation, *options); });
  verb->add_option("--table", options->table, "Only this table, as schema.name");
  verb->add_option("--timeout", options->timeout,
                   "How long rows that differ may take to settle: 30s, 5m ...")
      ->capture_default_str();
}

}  // namespace bdr::ctl
