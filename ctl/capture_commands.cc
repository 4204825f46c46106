// bdrctl capture ...
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "ctl/command.h"
#include "ctl/confirm.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

struct CaptureOptions {
  std::string node;
  std::string lsn;
  bool until_decodable = false;
  bool yes = false;
};

// Each transaction that is skipped costs the server a start of decoding.
constexpr absl::Duration kSkipTimeout = absl::Minutes(10);

Json GapJson(const std::string& node, const v1::CaptureGap& gap) {
  return {{"node", node},
          {"first_lsn", ToString(Lsn{gap.first_lsn()})},
          {"last_lsn", ToString(Lsn{gap.last_lsn()})},
          {"transactions", gap.transactions()},
          {"skipped_us", gap.skipped_us()},
          {"cause", gap.cause()}};
}

Output ShowGaps(const std::vector<std::pair<std::string, v1::CaptureGap>>& gaps) {
  Table table({{"NODE"}, {"FIRST"}, {"LAST"}, {"TRANSACTIONS"}, {"SKIPPED"}, {"CAUSE"}});
  Json document = Json::array();
  for (const auto& [node, gap] : gaps) {
    table.AddRow({node, ToString(Lsn{gap.first_lsn()}), ToString(Lsn{gap.last_lsn()}),
                  absl::StrCat(gap.transactions()), LocalTime(gap.skipped_us()), gap.cause()});
    document.push_back(GapJson(node, gap));
  }
  return {.text = gaps.empty() ? "no gaps\n" : table.Render(), .document = std::move(document)};
}

absl::StatusOr<Agent> OneAgent(const Invocation& invocation, const std::string& node) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto nodes, SelectMembers(membership, node));
  return ConnectAgent(invocation.globals, nodes[0]);
}

absl::StatusOr<int> ListGaps(const Invocation& invocation, const CaptureOptions& options) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto nodes, SelectMembers(membership, options.node));
  std::vector<std::pair<std::string, v1::CaptureGap>> gaps;
  int exit_code = kGood;
  for (const v1::Member& node : nodes) {
    ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, node));
    const auto response = agent.Call(&v1::AgentAdmin::Stub::GetNodeStatus, {});
    if (!response.ok()) {
      Invocation::Complain(response.status());
      exit_code = kFailed;
      continue;
    }
    for (const v1::CaptureGap& gap : response->status().gaps()) gaps.emplace_back(node.name(), gap);
  }
  invocation.Print(ShowGaps(gaps));
  return exit_code;
}

absl::StatusOr<int> Skip(const Invocation& invocation, const CaptureOptions& options) {
  ASSIGN_OR_RETURN(const Lsn lsn, ParseLsn(options.lsn));
  ASSIGN_OR_RETURN(const Agent agent, OneAgent(invocation, options.node));
  RETURN_IF_ERROR(Confirm(
      absl::StrCat("The changes of the transaction of node ", options.node,
                   " whose commit record is at ", ToString(lsn),
                   options.until_decodable
                       ? ", and of those behind it up to the first that can be decoded,"
                       : "",
                   " will not go to the other nodes.\nThey stay on that node alone, and status "
                   "warns of it, until \"bdrctl verify --repair\" has made the nodes equal.\n"),
      "Skip it?", options.yes));
  v1::SkipUndecodableRequest request;
  request.set_lsn(lsn.value);
  request.set_until_decodable(options.until_decodable);
  ASSIGN_OR_RETURN(const auto response,
                   agent.Call(&v1::AgentAdmin::Stub::SkipUndecodable, request, kSkipTimeout));
  Output output = ShowGaps({{options.node, response.gap()}});
  absl::StrAppend(
      &output.text,
      "skipped; make the nodes equal with \"bdrctl verify --repair NODE\", which closes "
      "the gap\n");
  invocation.Print(output);
  return kGood;
}

absl::StatusOr<int> Close(const Invocation& invocation, const CaptureOptions& options) {
  v1::CloseGapsRequest request;
  if (!options.lsn.empty()) {
    ASSIGN_OR_RETURN(const Lsn lsn, ParseLsn(options.lsn));
    request.set_first_lsn(lsn.value);
  }
  ASSIGN_OR_RETURN(const Agent agent, OneAgent(invocation, options.node));
  RETURN_IF_ERROR(
      Confirm("What was skipped may still differ between the nodes; nobody will be "
              "told of it any more.\n",
              absl::StrCat("Close the gap of node ", options.node, "?"), options.yes));
  ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::CloseGaps, request));
  std::vector<std::pair<std::string, v1::CaptureGap>> closed;
  for (const v1::CaptureGap& gap : response.closed()) closed.emplace_back(options.node, gap);
  Output output = ShowGaps(closed);
  absl::StrAppend(&output.text, "closed\n");
  invocation.Print(output);
  return kGood;
}

}  // namespace

void AddCaptureCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* capture =
      AddNoun(app, "capture", "Reading a node's own changes, and what cannot be read",
              {"bdrctl capture skip us2 --lsn 0/15435D0", "bdrctl capture gaps"});
  auto skip = std::make_shared<CaptureOptions>();
  CLI::App* verb = AddVerb(
      capture, invocation, "skip",
      "Passes the transaction that PostgreSQL cannot decode, which status names. Its changes stay "
      "on that node alone. Asks first",
      {"bdrctl capture skip us2 --lsn 0/15435D0",
       "bdrctl capture skip us2 --lsn 0/15435D0 --until-decodable --yes"},
      [invocation, skip] { return Skip(*invocation, *skip); });
  verb->add_option("NODE", skip->node, "The node whose capture has stopped")->required();
  verb->add_option("--lsn", skip->lsn, "Where its commit record is, as status says")->required();
  verb->add_flag("--until-decodable", skip->until_decodable,
                 "Also those behind it, up to the first that can be decoded");
  verb->add_flag("--yes", skip->yes, "Do not ask");

  auto gaps = std::make_shared<CaptureOptions>();
  verb = AddVerb(capture, invocation, "gaps", "What was skipped, until it is closed",
                 {"bdrctl capture gaps", "bdrctl capture gaps us2 -o json"},
                 [invocation, gaps] { return ListGaps(*invocation, *gaps); });
  verb->add_option("NODE", gaps->node, "Only of this node; of all if it is not given");

  auto close = std::make_shared<CaptureOptions>();
  verb =
      AddVerb(capture, invocation, "close",
              "Says that what was skipped is settled. \"bdrctl verify\" of all tables does so by "
              "itself once it finds the nodes equal. Asks first",
              {"bdrctl capture close us2", "bdrctl capture close us2 --lsn 0/15435D0 --yes"},
              [invocation, close] { return Close(*invocation, *close); });
  verb->add_option("NODE", close->node, "The node of the gap")->required();
  verb->add_option("--lsn", close->lsn,
                   "Only the gap whose first transaction is this one; all if "
                   "it is not given");
  verb->add_flag("--yes", close->yes, "Do not ask");
}

}  // namespace bdr::ctl
