// bdrctl node ...: the members of the cluster, and what a database needs to become one.
#include <memory>
#include <string>

#include "ctl/command.h"
#include "ctl/format.h"
#include "ctl/node_check.h"
#include "ctl/rpc.h"
#include "ctl/status_view.h"
#include "ctl/table.h"
#include "postgres/connection.h"
#include "postgres/setup/setup_sql.h"

namespace bdr::ctl {
namespace {

Json MemberJson(const v1::Member& member) {
  return {{"name", member.name()},
          {"id", member.node_id()},
          {"state", StateName(member.state())},
          {"address", member.agent_address()},
          {"incarnation", member.incarnation()},
          {"added_us", member.added_us()},
          {"added", TimeText(member.added_us())}};
}

struct AddOptions {
  std::string name;
  std::string address;
  bool no_copy = false;
};

absl::StatusOr<int> Add(const Invocation& invocation, const AddOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::AddNodeRequest request;
  request.set_name(options.name);
  request.set_agent_address(options.address);
  request.set_no_copy(options.no_copy);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::AddNode, request));
  const v1::Member& member = response.member();
  invocation.Print({.text = absl::StrCat("node \"", member.name(), "\" has id ", member.node_id(),
                                         " and is ", StateName(member.state()), "\n"),
                    .document = MemberJson(member)});
  return kGood;
}

// What the agent of the node leaves behind, if there ever was one, is for whoever stops it.
absl::StatusOr<int> Remove(const Invocation& invocation, const std::string& name) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::RemoveNodeRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::RemoveNode, request));
  const v1::RemovedMember& removed = response.removed();
  invocation.Print(
      {.text = absl::StrCat("node \"", removed.name(), "\" (id ", removed.node_id(),
                            ") is removed; if it has an agent, stop it, remove its data_dir, and "
                            "drop its replication slot (pg_drop_replication_slot)\n"),
       .document = {{"name", removed.name()},
                    {"id", removed.node_id()},
                    {"removed_us", removed.removed_us()},
                    {"epoch", response.membership().epoch()}}});
  return kGood;
}

absl::StatusOr<int> SetAddress(const Invocation& invocation, const std::string& name,
                               const std::string& address) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::SetNodeAddressRequest request;
  request.set_name(name);
  request.set_agent_address(address);
  ASSIGN_OR_RETURN(const auto response,
                   server.Call(&v1::ControlPlane::Stub::SetNodeAddress, request));
  const v1::Member& member = response.member();
  invocation.Print({.text = absl::StrCat("the agent of node \"", member.name(), "\" is reached at ",
                                         member.agent_address(), "\n"),
                    .document = MemberJson(member)});
  return kGood;
}

absl::StatusOr<int> ListNodes(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  Table table({{"NODE"},
               {"ID", Table::Align::kRight},
               {"STATE"},
               {"ADDRESS"},
               {"INCARNATION", Table::Align::kRight},
               {"ADDED"}});
  Json nodes = Json::array();
  for (const v1::Member& member : membership.members()) {
    table.AddRow({member.name(), absl::StrCat(member.node_id()), StateName(member.state()),
                  member.agent_address(), absl::StrCat(member.incarnation()),
                  LocalTime(member.added_us())});
    nodes.push_back(MemberJson(member));
  }
  invocation.Print({.text = table.Render(),
                    .document = {{"cluster", membership.cluster_name()},
                                 {"cluster_id", membership.cluster_id()},
                                 {"epoch", membership.epoch()},
                                 {"nodes", std::move(nodes)}}});
  return kGood;
}

absl::StatusOr<int> ShowNode(const Invocation& invocation, const std::string& name) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const auto status,
                   server.Call(&v1::ControlPlane::Stub::ClusterStatus, v1::ClusterStatusRequest()));
  RETURN_IF_ERROR(SelectMembers(status.membership(), name).status());
  invocation.Print(ViewNode(status, name));
  return kGood;
}

absl::StatusOr<std::string> Sql(const pg_setup::SetupOptions& options,
                                const std::string& database) {
  pg_setup::SetupOptions filled = options;
  if (!database.empty()) {
    ASSIGN_OR_RETURN(filled.current, ReadServerSettings(database));
  }
  return pg_setup::SetupSql(filled);
}

void AddSetupSql(CLI::App* node, Invocation* invocation) {
  struct Options {
    pg_setup::SetupOptions setup;
    bool no_settings = false;
    std::string database;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = AddVerb(
      node, invocation, "setup-sql",
      "Prints the SQL that a superuser runs once on a database before it becomes a node",
      {"bdrctl node setup-sql | psql -X -v ON_ERROR_STOP=1 -d shop",
       "bdrctl node setup-sql --role replicator --database 'host=db1 dbname=shop' > setup.sql"},
      [options, invocation]() -> absl::StatusOr<int> {
        options->setup.settings = !options->no_settings;
        ASSIGN_OR_RETURN(const std::string sql, Sql(options->setup, options->database));
        invocation->Print({.text = sql, .document = {{"role", options->setup.role}, {"sql", sql}}});
        return kGood;
      });
  verb->add_option("--role", options->setup.role, "Role of the agent, created if it is missing")
      ->capture_default_str();
  verb->add_option("--database", options->database,
                   "libpq connection string: look at this server, and set only what differs");
  verb->add_flag("--no-settings", options->no_settings,
                 "Leave out ALTER SYSTEM, so that the script may run in one transaction or query");
}

// `function` of schema bdr, which only superusers may call.
absl::StatusOr<int> SetTrust(const Invocation& invocation, const std::string& function,
                             const std::string& role, const std::string& database,
                             const std::string& done) {
  ASSIGN_OR_RETURN(
      const auto connection,
      postgres::Connection::Connect({.conninfo = database, .application_name = "bdrctl"}));
  const postgres::Param params[] = {{.data = role}};
  RETURN_IF_ERROR(
      connection->ExecParams(absl::StrCat("SELECT bdr.", function, "($1)"), params).status());
  invocation.Print({.text = absl::StrCat("role \"", role, "\" ", done, "\n"),
                    .document = {{"role", role}, {"trusted", function == "trust_owner"}}});
  return kGood;
}

void AddTrust(CLI::App* node, Invocation* invocation, const std::string& name,
              const std::string& function, const std::string& about, const std::string& done) {
  struct Options {
    std::string role;
    std::string database;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = AddVerb(
      node, invocation, name, about,
      {absl::StrCat("bdrctl node ", name,
                    " shop_owner --database 'host=db1 dbname=shop user=postgres'")},
      [=] { return SetTrust(*invocation, function, options->role, options->database, done); });
  verb->add_option("ROLE", options->role, "Owner of tables or functions")->required();
  verb->add_option("--database", options->database,
                   "libpq connection string of the node's database, as a superuser")
      ->required();
}

void AddCheck(CLI::App* node, Invocation* invocation) {
  auto options = std::make_shared<NodeCheckOptions>();
  CLI::App* verb = AddVerb(
      node, invocation, "check",
      "Looks whether databases are fit to be nodes, and prints the statement that mends what is "
      "missing. Exit code 0: fit, 1: may surprise, 2: does not work",
      {"bdrctl node check", "bdrctl node check eu1 --all",
       "bdrctl node check --database 'host=db1 dbname=shop user=postgres' --role bdr"},
      [options, invocation] { return RunNodeCheck(*invocation, *options); });
  verb->add_option("NAME", options->node, "Only this node; its agent is asked");
  verb->add_option("--database", options->database,
                   "libpq connection string: look there, without cluster or agent");
  verb->add_option("--role", options->role,
                   "With --database: role of the agent; the one that connects if it is not given");
  verb->add_flag("--all", options->all, "Also print what is good (JSON and YAML always hold it)");
}

}  // namespace

void AddNodeCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* node = AddNoun(app, "node", "Members of the cluster, and making a database ready",
                           {"bdrctl node list", "bdrctl node setup-sql"});

  auto add = std::make_shared<AddOptions>();
  CLI::App* add_verb = AddVerb(node, invocation, "add", "Adds a node; repeating it is harmless",
                               {"bdrctl node add eu1 --address db1.example.com:7401 --no-copy"},
                               [invocation, add] { return Add(*invocation, *add); });
  add_verb->add_option("NAME", add->name, "Name of the node, as in its agent's configuration")
      ->required();
  add_verb->add_option("--address", add->address, "host:port of its agent, as the others reach it")
      ->required();
  add_verb->add_flag("--no-copy", add->no_copy,
                     "Its tables hold the same rows as those of the other nodes already");

  auto removed = std::make_shared<std::string>();
  CLI::App* remove_verb = AddVerb(
      node, invocation, "remove",
      "Takes back a node that has not joined yet; repeating it is harmless",
      {"bdrctl node remove eu1"}, [invocation, removed] { return Remove(*invocation, *removed); });
  remove_verb->add_option("NAME", *removed, "Name of the node")->required();

  auto moved = std::make_shared<AddOptions>();
  CLI::App* address_verb =
      AddVerb(node, invocation, "set-address",
              "Changes where a node's agent is reached; the others go there without a restart",
              {"bdrctl node set-address eu1 --address db1.example.com:7401"},
              [invocation, moved] { return SetAddress(*invocation, moved->name, moved->address); });
  address_verb->add_option("NAME", moved->name, "Name of the node")->required();
  address_verb
      ->add_option("--address", moved->address, "host:port of its agent, as the others reach it")
      ->required();

  AddVerb(node, invocation, "list", "Lists the members of the cluster",
          {"bdrctl node list", "bdrctl node list -o yaml"},
          [invocation] { return ListNodes(*invocation); });

  auto show = std::make_shared<std::string>();
  CLI::App* show_verb = AddVerb(node, invocation, "show", "Shows all that is known of one node",
                                {"bdrctl node show eu1", "bdrctl node show eu1 -o json"},
                                [invocation, show] { return ShowNode(*invocation, *show); });
  show_verb->add_option("NAME", *show, "Name of the node")->required();

  AddSetupSql(node, invocation);
  AddCheck(node, invocation);
  AddTrust(node, invocation, "trust", "trust_owner",
           "Lets a role's triggers, constraints and functions run with the rights of the agent, by "
           "which it can read and write every replicated table of this database",
           "is trusted on this node");
  AddTrust(node, invocation, "distrust", "distrust_owner",
           "Takes that back: changes of tables with such code are no longer applied",
           "is no longer trusted on this node");
}

}  // namespace bdr::ctl
