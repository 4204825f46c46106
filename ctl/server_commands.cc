// bdrctl server ...
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "bdr/v1/servers.grpc.pb.h"
#include "ctl/command.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

using ServersPeer = Peer<v1::Servers>;

// Everything is copied and read back.
constexpr absl::Duration kMigrateTimeout = absl::Minutes(10);

absl::StatusOr<ServersPeer> ConnectServers(const Globals& globals) {
  ASSIGN_OR_RETURN(std::vector<Target> targets, ServerTargets(globals));
  return ServersPeer(std::move(targets));
}

std::string ServersText(const v1::GetServerStatusResponse& status) {
  Table table({{"SERVER"}, {"HOST"}, {"VERSION"}, {"STARTED"}, {"LEADS SINCE"}, {"ANSWERED"}});
  for (const v1::ServerInfo& server : status.servers()) {
    table.AddRow({server.address(), server.host(), server.version(), LocalTime(server.started_us()),
                  server.leads() ? LocalTime(server.leads_since_us()) : "-",
                  server.id() == status.answered_by() ? "yes" : ""});
  }
  return table.Render();
}

std::string EndpointsText(const v1::GetServerStatusResponse& status) {
  if (status.endpoints().empty()) return "";
  Table table({{"ETCD"}, {"VERSION"}, {"LEADS"}, {"SIZE", Table::Align::kRight}, {"ERROR"}});
  for (const v1::StoreEndpointStatus& endpoint : status.endpoints()) {
    table.AddRow({endpoint.address(), OrDash(endpoint.version()), endpoint.leader() ? "yes" : "",
                  HumanBytes(static_cast<uint64_t>(endpoint.bytes())), endpoint.error()});
  }
  return absl::StrCat("\n", table.Render());
}

Json StatusJson(const v1::GetServerStatusResponse& status) {
  Json servers = Json::array();
  for (const v1::ServerInfo& server : status.servers()) {
    servers.push_back({{"id", server.id()},
                       {"address", server.address()},
                       {"host", server.host()},
                       {"version", server.version()},
                       {"started_us", server.started_us()},
                       {"leads", server.leads()},
                       {"leads_since_us", server.leads_since_us()}});
  }
  Json endpoints = Json::array();
  for (const v1::StoreEndpointStatus& endpoint : status.endpoints()) {
    endpoints.push_back({{"address", endpoint.address()},
                         {"version", endpoint.version()},
                         {"leader", endpoint.leader()},
                         {"bytes", endpoint.bytes()},
                         {"error", endpoint.error()}});
  }
  return {{"store", status.store()},
          {"moved_to", status.moved_to()},
          {"answered_by", status.answered_by()},
          {"servers", servers},
          {"etcd", endpoints}};
}

// A warning while one of etcd's members is away, or nobody leads; critical if nothing can be
// decided here.
int VerdictOnServers(const v1::GetServerStatusResponse& status) {
  if (!status.moved_to().empty() || status.servers().empty()) return kCritical;
  bool leads = false;
  for (const v1::ServerInfo& server : status.servers()) leads = leads || server.leads();
  bool answer = true;
  for (const v1::StoreEndpointStatus& endpoint : status.endpoints()) {
    answer = answer && endpoint.error().empty();
  }
  return leads && answer ? kGood : kWarning;
}

absl::StatusOr<int> ServerStatus(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const ServersPeer servers, ConnectServers(invocation.globals));
  ASSIGN_OR_RETURN(const auto status,
                   servers.Call(&v1::Servers::Stub::GetServerStatus, v1::GetServerStatusRequest()));
  std::string text = absl::StrCat("store: ", status.store(), "\n");
  if (!status.moved_to().empty()) {
    absl::StrAppend(&text, "not used any more: the cluster's state was moved to ",
                    status.moved_to(), "\n");
  }
  absl::StrAppend(&text, "\n", ServersText(status), EndpointsText(status));
  invocation.Print({.text = std::move(text), .document = StatusJson(status)});
  return VerdictOnServers(status);
}

// The one to be asked for a move: that must not go to two of them, as one that is slow to answer
// may be at it.
absl::StatusOr<ServersPeer> FirstThatAnswers(const Globals& globals) {
  ASSIGN_OR_RETURN(std::vector<Target> targets, ServerTargets(globals));
  std::vector<absl::Status> errors;
  for (Target& target : targets) {
    ServersPeer server(std::move(target));
    const absl::Status answer =
        server.Call(&v1::Servers::Stub::GetServerStatus, v1::GetServerStatusRequest()).status();
    if (answer.ok()) return server;
    errors.push_back(answer);
    if (!IsSilence(answer)) return answer;
  }
  return Combine(errors);
}

// Where the configuration is to be changed.
std::string Where(const std::string& to, const std::string& server) {
  return to == "embedded"
             ? absl::StrCat("of this ", server, " alone, start it again, and stop all others")
             : "of every bdr-server, and start it again";
}

absl::StatusOr<int> Migrate(const Invocation& invocation, const std::string& to) {
  if (to == "embedded" && absl::StrContains(invocation.globals.server, ',')) {
    return absl::InvalidArgumentError(
        "the state would go into the data_dir of whichever bdr-server answers: name the one "
        "bdr-server "
        "that is to keep it with --server");
  }
  ASSIGN_OR_RETURN(const ServersPeer server, FirstThatAnswers(invocation.globals));
  v1::MigrateStoreRequest request;
  request.set_to(to);
  ASSIGN_OR_RETURN(const auto response,
                   server.Call(&v1::Servers::Stub::MigrateStore, request, kMigrateTimeout));
  invocation.Print(
      {.text = absl::StrCat("the cluster's state was moved from ", response.from(), " to ",
                            response.to(), " (", response.keys(), " keys)\nSet \"store: ", to,
                            "\" in the configuration ", Where(to, server.name()),
                            ": until then it answers nobody. The nodes go on meanwhile.\n"),
       .document = {{"from", response.from()},
                    {"to", response.to()},
                    {"store", to},
                    {"keys", response.keys()}}});
  return kGood;
}

}  // namespace

void AddServerCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* server = AddNoun(
      app, "server", "The bdr-servers and where they keep the cluster's state",
      {"bdrctl server status", "bdrctl server migrate --to etcd://e1:2379,e2:2379,e3:2379"});
  AddVerb(server, invocation, "status",
          "Shows the bdr-servers that share a store, which of them leads, and how the store is",
          {"bdrctl server status", "bdrctl server status -o json"},
          [invocation] { return ServerStatus(*invocation); });

  auto to = std::make_shared<std::string>();
  CLI::App* migrate = AddVerb(
      server, invocation, "migrate",
      "Moves the cluster's state to another store, while the nodes go on; then every bdr-server "
      "is started again with that one",
      {"bdrctl server migrate --to etcd://e1:2379,e2:2379,e3:2379/bdr",
       "bdrctl server migrate --to embedded"},
      [invocation, to] { return Migrate(*invocation, *to); });
  migrate
      ->add_option("--to", *to,
                   "The other store, as \"store\" in bdr-server's configuration, whose \"etcd.*\" "
                   "and data_dir are used")
      ->required();
}

}  // namespace bdr::ctl
