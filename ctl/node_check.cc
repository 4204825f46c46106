#include "ctl/node_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "ctl/rpc.h"
#include "postgres/connection.h"
#include "postgres/setup/findings_text.h"
#include "postgres/setup/node_check.h"

namespace bdr::ctl {
namespace {

using pg_setup::Checked;
using pg_setup::Finding;

absl::StatusOr<std::unique_ptr<postgres::Connection>> Open(const std::string& database) {
  return postgres::Connection::Connect(
      {.conninfo = database, .application_name = "bdrctl node check"});
}

absl::StatusOr<Checked> CheckDatabase(const NodeCheckOptions& options) {
  ASSIGN_OR_RETURN(const auto connection, Open(options.database));
  ASSIGN_OR_RETURN(auto findings, pg_setup::CheckNode(*connection, {.role = options.role}));
  return Checked{"database", std::move(findings)};
}

absl::StatusOr<Checked> CheckByAgent(const Globals& globals, const v1::Member& member) {
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(globals, member));
  ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::CheckNode,
                                                   v1::CheckNodeRequest(), absl::Minutes(1)));
  Checked checked{absl::StrCat("node ", member.name()), {}};
  for (const v1::CheckNodeResponse::Finding& finding : response.findings()) {
    checked.findings.push_back(
        {static_cast<Finding::Level>(finding.level()), finding.what(), finding.remedy()});
  }
  return checked;
}

absl::StatusOr<std::vector<Checked>> CheckAll(const Invocation& invocation,
                                              const NodeCheckOptions& options) {
  std::vector<Checked> all;
  if (!options.database.empty()) {
    ASSIGN_OR_RETURN(Checked checked, CheckDatabase(options));
    all.push_back(std::move(checked));
    return all;
  }
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, options.node));
  for (const v1::Member& member : members) {
    absl::StatusOr<Checked> checked = CheckByAgent(invocation.globals, member);
    if (checked.ok()) {
      all.push_back(*std::move(checked));
    } else {
      // A node that cannot be asked does not work, and the others are still worth a look.
      all.push_back({absl::StrCat("node ", member.name()),
                     {{Finding::Level::kError, std::string(checked.status().message()), ""}}});
    }
  }
  return all;
}

Output Render(const std::vector<Checked>& all, bool with_good) {
  Output output{.text = "", .document = Json::array()};
  for (const Checked& checked : all) {
    absl::StrAppend(&output.text, pg_setup::FindingsText(checked, with_good));
    Json findings = Json::array();
    for (const Finding& finding : checked.findings) {
      findings.push_back({{"level", pg_setup::LevelName(finding.level)},
                          {"what", finding.what},
                          {"remedy", finding.remedy}});
    }
    output.document.push_back(
        {{"checked", checked.what},
         {"level", pg_setup::LevelName(pg_setup::WorstLevel(checked.findings))},
         {"findings", std::move(findings)}});
  }
  return output;
}

}  // namespace

absl::StatusOr<int> RunNodeCheck(const Invocation& invocation, const NodeCheckOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<Checked> all, CheckAll(invocation, options));
  invocation.Print(Render(all, options.all));
  int worst = kGood;
  for (const Checked& checked : all) {
    worst = std::max(worst, static_cast<int>(pg_setup::WorstLevel(checked.findings)));
  }
  return worst;
}

absl::StatusOr<pg_setup::ServerSettings> ReadServerSettings(const std::string& database) {
  ASSIGN_OR_RETURN(const auto connection, Open(database));
  ASSIGN_OR_RETURN(const postgres::Result row,
                   connection->Exec("SELECT current_setting('wal_level'),"
                                    "       current_setting('track_commit_timestamp'),"
                                    "       current_setting('max_replication_slots'),"
                                    "       current_setting('max_wal_senders')"));
  pg_setup::ServerSettings settings{.wal_level = std::string(row.value(0, 0)),
                                    .track_commit_timestamp = row.value(0, 1) == "on"};
  if (!absl::SimpleAtoi(row.value(0, 2), &settings.max_replication_slots) ||
      !absl::SimpleAtoi(row.value(0, 3), &settings.max_wal_senders)) {
    return absl::InternalError("the server's limits are no numbers");
  }
  return settings;
}

}  // namespace bdr::ctl
