#include "node-agent/check/check.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/config.h"
#include "base/http_server.h"
#include "base/listen_check.h"
#include "base/status_macros.h"
#include "node-agent/check/check_certificate.h"
#include "node-agent/check/check_database.h"
#include "node-agent/check/check_files.h"
#include "node-agent/check/check_server.h"
#include "node-agent/check/clocks.h"
#include "node-agent/config/agent_config.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {
namespace {

using pg_setup::Checked;
using pg_setup::Findings;

void Take(const absl::Status& status, std::string good, Findings& findings) {
  findings.Require(status.ok(), std::move(good), std::string(status.message()), "");
}

// As the agent itself begins to listen: for a moment, and ready for nothing.
absl::Status TryMetricsListen(const std::string& listen) {
  ASSIGN_OR_RETURN(const auto address, config::ParseHostPort(listen));
  return HttpServer::Start({.address = address,
                            .not_ready = [] { return std::vector<std::string>{"only checking"}; }})
      .status();
}

Checked CheckPorts(const AgentConfig& config) {
  Findings findings;
  Take(CheckCanListen("listen", config.listen),
       absl::StrCat("\"", config.listen, "\" (listen) is free"), findings);
  if (!config.metrics_listen.empty()) {
    Take(TryMetricsListen(config.metrics_listen),
         absl::StrCat("\"", config.metrics_listen, "\" (metrics_listen) is free"), findings);
  }
  return {"ports", findings.Take()};
}

std::vector<Checked> CheckAll(const std::string& config_path) {
  Findings findings;
  const absl::StatusOr<AgentConfig> config = LoadAgentConfig(config_path);
  Take(config.status(), absl::StrCat("\"", config_path, "\" is right"), findings);
  std::vector<Checked> all = {{"configuration", findings.Take()}};
  if (!config.ok()) return all;
  const AskedServer server = AskServer(*config);
  const AskedDatabase database = AskDatabase(
      *config, server.membership.has_value() ? server.membership->cluster_id : std::string());
  all.push_back(CheckFiles(*config));
  all.push_back(CheckPorts(*config));
  all.push_back(CheckCertificate(*config, server.Self(*config)));
  all.push_back(server.checked);
  all.push_back(database.checked);
  all.push_back(CheckClocks(server.clock, database.clock, config->max_clock_skew));
  return all;
}

}  // namespace

int RunCheck(const std::string& config_path, std::ostream& out) {
  int worst = 0;
  for (const Checked& checked : CheckAll(config_path)) {
    if (!checked.findings.empty()) out << pg_setup::FindingsText(checked, /*with_good=*/true);
    worst = std::max(worst, static_cast<int>(pg_setup::WorstLevel(checked.findings)));
  }
  return worst;
}

}  // namespace bdr::agent
