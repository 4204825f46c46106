// bdrctl verify: all tables over all nodes, by content hashes that the agents compute, and repair
// of what differs.
//
// One pass names the rows that may differ (verify_scan.h); those are looked at again, on common
// frontiers, until it is known whether they do (verify_settle.h).
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/config.h"
#include "base/lsn.h"
#include "ctl/command.h"
#include "ctl/confirm.h"
#include "ctl/rpc.h"
#include "ctl/verify_repair.h"
#include "ctl/verify_report.h"
#include "ctl/verify_scan.h"
#include "ctl/verify_settle.h"

namespace bdr::ctl {
namespace {

struct VerifyOptions {
  ScanOptions scan;
  std::string timeout = "30s";
  size_t rows = 20;
  bool show_rows = false;
  std::string repair_from;
  bool yes = false;
};

absl::StatusOr<std::vector<VerifyNode>> ConnectNodes(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  std::vector<VerifyNode> nodes;
  for (const v1::Member& member : membership.members()) {
    if (member.state() != v1::Member::ACTIVE) continue;
    ASSIGN_OR_RETURN(Agent agent, ConnectAgent(invocation.globals, member));
    nodes.push_back({.name = member.name(), .id = member.node_id(), .agent = std::move(agent)});
  }
  if (nodes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cluster \"", membership.cluster_name(), "\" has no active node to look at"));
  }
  return nodes;
}

absl::StatusOr<size_t> FindNode(const std::vector<VerifyNode>& nodes, const std::string& name) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].name == name) return i;
  }
  return absl::NotFoundError(
      absl::StrCat("cannot repair from \"", name, "\": there is no active node of that name"));
}

absl::Status Settle(const std::vector<VerifyNode>& nodes, absl::Duration timeout,
                    std::vector<TableScan>* tables, std::vector<std::string>* missing) {
  ASSIGN_OR_RETURN(*missing, SettleTables(nodes, absl::Now() + timeout, tables));
  return absl::OkStatus();
}

// Shows the plan, asks, carries it out, and looks whether the nodes are equal now.
absl::StatusOr<int> Repair(const Invocation& invocation, const VerifyOptions& options,
                           const std::vector<VerifyNode>& nodes, size_t from,
                           absl::Duration timeout, std::vector<TableScan> tables,
                           const VerifyReport& report) {
  std::vector<RepairItem> plan = PlanRepair(tables, from);
  Output output = report.output;
  output.document["repair_from"] = nodes[from].name;
  if (plan.empty()) {
    absl::StrAppend(&output.text, "there is no row to repair\n");
    output.document["repair"] = Json::array();
    invocation.Print(output);
    return report.exit_code;
  }
  const std::string question =
      absl::StrCat("Make these ", plan.size(), plan.size() == 1 ? " row" : " rows", " what ",
                   nodes[from].name, " has?");
  const bool text = invocation.globals.format == OutputFormat::kTable;
  if (text) {
    *invocation.out << output.text << "\nrepair from " << nodes[from].name << ":\n"
                    << RenderPlan(nodes, plan) << std::flush;
  }
  // Programs that read JSON are not asked: they say --yes, or get the plan alone.
  if (!options.yes && (!text || !Confirm("", question, /*yes=*/false).ok())) {
    output.document["repair"] = PlanJson(nodes, plan);
    if (!text) invocation.Print(output);
    if (text) *invocation.out << "nothing was written\n";
    return report.exit_code;
  }
  RETURN_IF_ERROR(CarryOut(nodes, from, absl::Now() + timeout, &plan));
  size_t done = 0;
  for (const RepairItem& item : plan) done += item.done ? 1 : 0;

  std::vector<TableScan> again = tables;
  for (TableScan& table : again) {
    table.candidates = table.settling.different();
    table.settling = Settling();
  }
  std::vector<std::string> missing;
  RETURN_IF_ERROR(Settle(nodes, timeout, &again, &missing));
  const VerifyReport after = RenderVerify(nodes, again, {}, missing);
  output.document["repair"] = PlanJson(nodes, plan);
  output.document["repaired"] = done;
  output.document["result_after_repair"] = after.output.document["result"];
  if (!text) {
    invocation.Print(output);
    return after.exit_code;
  }
  *invocation.out << "\n"
                  << RenderPlan(nodes, plan) << "\n"
                  << done << " of " << plan.size() << " done; "
                  << (after.exit_code == kGood ? "the rows are equal now"
                                               : "some rows still differ: run verify again")
                  << "\n";
  return after.exit_code;
}

// By node: what was skipped before anything was compared.
using Gaps = std::vector<std::vector<v1::CaptureGap>>;

absl::StatusOr<Gaps> AskForGaps(const std::vector<VerifyNode>& nodes) {
  return AskAll<std::vector<v1::CaptureGap>>(
      nodes, [](const Agent& agent) -> absl::StatusOr<std::vector<v1::CaptureGap>> {
        ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::GetNodeStatus, {}));
        return std::vector<v1::CaptureGap>(response.status().gaps().begin(),
                                           response.status().gaps().end());
      });
}

// All tables of all nodes are equal: nothing is left of what did not travel.
absl::Status CloseGaps(const std::vector<VerifyNode>& nodes, const Gaps& gaps) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const v1::CaptureGap& gap : gaps[i]) {
      v1::CloseGapsRequest request;
      request.set_first_lsn(gap.first_lsn());
      const auto closed = nodes[i].agent.Call(&v1::AgentAdmin::Stub::CloseGaps, request);
      if (!closed.ok() && !absl::IsNotFound(closed.status())) return closed.status();
      std::cerr << "closed the gap of node " << nodes[i].name << " at "
                << ToString(Lsn{gap.first_lsn()}) << "\n";
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Compare(const Invocation& invocation, const VerifyOptions& options,
                            const std::vector<VerifyNode>& nodes) {
  ASSIGN_OR_RETURN(const absl::Duration timeout, config::ParseDuration(options.timeout));
  size_t from = 0;
  if (!options.repair_from.empty()) {
    ASSIGN_OR_RETURN(from, FindNode(nodes, options.repair_from));
  }
  ASSIGN_OR_RETURN(std::vector<TableScan> tables, ListTables(nodes, options.scan));
  RETURN_IF_ERROR(ScanTables(nodes, options.scan, &tables));
  std::vector<std::string> missing;
  RETURN_IF_ERROR(Settle(nodes, timeout, &tables, &missing));
  ASSIGN_OR_RETURN(const std::vector<DifferentRow> rows,
                   DescribeRows(nodes, tables, options.rows, options.show_rows));
  const VerifyReport report = RenderVerify(nodes, tables, rows, missing);
  if (!options.repair_from.empty()) {
    return Repair(invocation, options, nodes, from, timeout, std::move(tables), report);
  }
  invocation.Print(report.output);
  return report.exit_code;
}

absl::StatusOr<int> Run(const Invocation& invocation, const VerifyOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<VerifyNode> nodes, ConnectNodes(invocation));
  ASSIGN_OR_RETURN(const Gaps gaps, AskForGaps(nodes));
  ASSIGN_OR_RETURN(const int exit_code, Compare(invocation, options, nodes));
  if (exit_code == kGood && options.scan.table.empty()) RETURN_IF_ERROR(CloseGaps(nodes, gaps));
  return exit_code;
}

}  // namespace

void AddVerifyCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb = AddVerb(
      app, invocation, "verify",
      "Compares the tables of all nodes by content while they are written to; a row is called "
      "different only if it is so after everything has arrived. Exit code 0: equal, 1: rows still "
      "change, 2: nodes differ",
      {"bdrctl verify", "bdrctl verify --table public.price --timeout 5m --show-rows",
       "bdrctl verify --rows-per-second 20000", "bdrctl verify --repair eu1",
       "bdrctl verify -o json"},
      [invocation, options] { return Run(*invocation, *options); });
  verb->add_option("--table", options->scan.table, "Only this table, as schema.name");
  verb->add_option("--timeout", options->timeout,
                   "How long rows that differ may take to settle: 30s, 5m ...")
      ->capture_default_str();
  verb->add_option("--jobs", options->scan.jobs, "So many tables at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb->add_option("--rows-per-second", options->scan.pace.rows_per_second,
                   "Read no more than so many rows a second on each node; 0: no limit")
      ->capture_default_str();
  verb->add_option("--load", options->scan.pace.load_percent,
                   "Spend no more than this share of the time, in percent; 0: no limit")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  verb->add_option("--rows", options->rows, "Name so many different rows of each table")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  verb->add_flag("--show-rows", options->show_rows,
                 "Also show the values that differ, from each node");
  verb->add_option("--repair", options->repair_from,
                   "Make the rows that differ what this node has: shows the plan and asks");
  verb->add_flag("--yes", options->yes, "With --repair: do not ask");
}

}  // namespace bdr::ctl
