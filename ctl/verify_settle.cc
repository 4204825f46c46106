#include "ctl/verify_settle.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/lsn.h"

namespace bdr::ctl {
namespace {

constexpr absl::Duration kFirstPoll = absl::Milliseconds(10);
constexpr absl::Duration kLongestPoll = absl::Milliseconds(500);
// Between looks, so that rows which are written all the time get a chance to rest.
constexpr absl::Duration kLongestPause = absl::Seconds(5);

using Position = v1::GetPositionResponse;

// What a node still lacks of the frontier; empty if nothing.
std::vector<std::string> Missing(const VerifyNode& node, const v1::NodeStatus& status,
                                 const std::vector<VerifyNode>& nodes,
                                 const std::vector<Position>& frontier) {
  std::vector<std::string> missing;
  for (size_t i = 0; i < frontier.size(); ++i) {
    const Position& position = frontier[i];
    const std::string lsn = ToString(Lsn{position.published_lsn()});
    if (position.node() == status.node_id()) {
      if (status.merged_lsn() < position.published_lsn()) {
        missing.push_back(absl::StrCat(node.name, " has not merged its own changes again up to ",
                                       lsn,
                                       " (those that met other nodes' before they were captured)"));
      }
      continue;
    }
    const auto origin = std::find_if(status.origins().begin(), status.origins().end(),
                                     [&](const v1::OriginStatus& known) {
                                       return known.node_id() == position.node() &&
                                              known.incarnation() == position.incarnation();
                                     });
    if (origin != status.origins().end() && origin->applied_lsn() >= position.published_lsn()) {
      continue;
    }
    std::string why = "it does not know this node yet";
    if (origin != status.origins().end()) {
      const v1::Health& health =
          origin->apply().level() >= origin->link().level() ? origin->apply() : origin->link();
      why = absl::StrCat(health.state(), health.reason().empty() ? "" : ": ", health.reason());
    }
    missing.push_back(absl::StrCat(node.name, " has not applied what ", nodes[i].name,
                                   " committed up to ", lsn, " (", why, ")"));
  }
  return missing;
}

// Waits until everything that was committed anywhere before the call is applied everywhere; gives
// what is missing at the deadline.
absl::StatusOr<std::vector<std::string>> WaitForFrontier(const std::vector<VerifyNode>& nodes,
                                                         absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::vector<Position> frontier,
                   AskAll<Position>(nodes, [](const Agent& agent) {
                     return agent.Call(&v1::AgentAdmin::Stub::GetPosition, v1::GetPositionRequest(),
                                       absl::Seconds(30));
                   }));
  absl::Duration poll = kFirstPoll;
  while (true) {
    ASSIGN_OR_RETURN(
        const std::vector<v1::NodeStatus> statuses,
        AskAll<v1::NodeStatus>(nodes, [](const Agent& agent) -> absl::StatusOr<v1::NodeStatus> {
          ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::GetNodeStatus,
                                                           v1::GetNodeStatusRequest()));
          return response.status();
        }));
    std::vector<std::string> missing;
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (std::string& what : Missing(nodes[i], statuses[i], nodes, frontier)) {
        missing.push_back(std::move(what));
      }
    }
    if (missing.empty() || absl::Now() >= deadline) return missing;
    absl::SleepFor(std::min(poll, std::max(deadline - absl::Now(), absl::Milliseconds(1))));
    poll = std::min(poll * 2, kLongestPoll);
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SettleTables(const std::vector<VerifyNode>& nodes,
                                                      absl::Time deadline,
                                                      std::vector<TableScan>* tables) {
  for (TableScan& table : *tables) table.settling.Look(table.candidates);
  const auto unsettled = [&] {
    return std::any_of(tables->begin(), tables->end(),
                       [](const TableScan& table) { return !table.settling.moving().empty(); });
  };
  absl::Duration pause = absl::Milliseconds(50);
  for (int round = 0; unsettled(); ++round) {
    ASSIGN_OR_RETURN(std::vector<std::string> missing, WaitForFrontier(nodes, deadline));
    if (!missing.empty()) return missing;
    for (TableScan& table : *tables) {
      if (table.settling.moving().empty()) continue;
      ASSIGN_OR_RETURN(const RowDifferences seen, ReadAgain(nodes, table, table.settling.moving()));
      table.settling.Look(seen);
    }
    if (absl::Now() >= deadline) break;
    if (round < 2) continue;
    absl::SleepFor(std::min(pause, std::max(deadline - absl::Now(), absl::ZeroDuration())));
    pause = std::min(pause * 2, kLongestPause);
  }
  return std::vector<std::string>();
}

}  // namespace bdr::ctl
