// bdrctl node ...: the members of the cluster, and what a database needs to become one.
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "ctl/command.h"
#include "postgres/setup/setup_sql.h"

namespace bdr::ctl {
namespace {

void AddSetupSql(CLI::App* node, Invocation* invocation) {
  auto options = std::make_shared<pg_setup::SetupOptions>();
  auto no_settings = std::make_shared<bool>(false);
  CLI::App* verb = AddVerb(
      node, invocation, "setup-sql",
      "Prints the SQL that a superuser runs once on a database before it becomes a node",
      {"bdrctl node setup-sql | psql -X -v ON_ERROR_STOP=1 -d shop",
       "bdrctl node setup-sql --role replicator > setup.sql"},
      [options, no_settings, invocation]() -> absl::StatusOr<int> {
        options->settings = !*no_settings;
        ASSIGN_OR_RETURN(const std::string sql, pg_setup::SetupSql(*options));
        invocation->Print({.text = sql, .document = {{"role", options->role}, {"sql", sql}}});
        return kGood;
      });
  verb->add_option("--role", options->role, "Role of the agent, created if it is missing")
      ->capture_default_str();
  verb->add_flag("--no-settings", *no_settings,
                 "Leave out ALTER SYSTEM, so that the script may run in one transaction or query");
}

}  // namespace

void AddNodeCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* node = AddNoun(app, "node", "Members of the cluster, and making a database ready",
                           {"bdrctl node list", "bdrctl node setup-sql"});
  AddSetupSql(node, invocation);
}

}  // namespace bdr::ctl
