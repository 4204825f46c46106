#include "tests/harness/cluster.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "tests/harness/ports.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

constexpr int64_t kMostRowsToName = 200000;

// The harness's own table: rows that tell that everything before them has arrived.
constexpr char kMarkerSql[] =
    "CREATE SCHEMA harness;"
    "CREATE TABLE harness.marker (node text, n bigint, PRIMARY KEY (node, n));";

// User tables with their columns in order of name: nodes may have created them in another order.
constexpr char kTablesSql[] = R"sql(
SELECT format('%I.%I', n.nspname, c.relname),
       string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C")
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('bdr', 'harness', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
GROUP BY n.nspname, c.relname
ORDER BY 1)sql";

std::string ContentSql(const std::string& table, const std::string& columns) {
  return absl::StrCat(
      "SELECT count(*), coalesce(sum(('x' || left(md5(r), 15))::bit(60)::bigint), 0)",
      " FROM (SELECT ROW(", columns, ")::text AS r FROM ", table, ") AS rows");
}

template <typename F>
absl::Status InParallel(size_t count, const F& f) {
  std::vector<absl::Status> results(count);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&results, &f, i] { results[i] = f(i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::StatusOr<ProgramResult> Checked(absl::StatusOr<ProgramResult> result,
                                      absl::string_view what) {
  if (result.ok() && result->exit_code != 0) {
    return absl::InternalError(absl::StrCat(what, " failed with exit code ", result->exit_code,
                                            ": ", result->err, result->out));
  }
  return result;
}

// Of the test's own machinery: nothing that comes after a failure would mean anything.
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "the test's network is broken: " << status << std::endl;
  std::abort();
}

}  // namespace

absl::Status WaitFor(const std::string& what, absl::Duration deadline,
                     const std::function<absl::StatusOr<bool>()>& condition) {
  const absl::Time until = absl::Now() + deadline;
  for (;;) {
    const absl::Time begun = absl::Now();
    const absl::StatusOr<bool> done = condition();
    if (done.ok() && *done) return absl::OkStatus();
    if (absl::Now() > until) {
      return absl::DeadlineExceededError(
          absl::StrCat("not within ", absl::FormatDuration(deadline), ": ", what,
                       done.ok() ? "" : absl::StrCat(" (", done.status().ToString(), ")")));
    }
    // Nobody tells when it changes. A look that starts a program must not take the CPU from what it
    // waits for.
    absl::SleepFor(
        std::clamp(3 * (absl::Now() - begun), absl::Milliseconds(20), absl::Milliseconds(500)));
  }
}

// Sessions for looking again and again, one per node. Thread-safe for different nodes.
class Cluster::Looks {
 public:
  explicit Looks(const Cluster* cluster) : cluster_(*cluster) {}
  ~Looks() {
    MutexLock lock(&mu_);
    for (auto& [name, session] : sessions_) {
      if (session == nullptr) continue;
      const Node& node = cluster_.Find(name);
      node.postgres->sessions().GiveBack(node.database, std::move(session), "");
    }
  }
  Looks(const Looks&) = delete;
  Looks& operator=(const Looks&) = delete;

  // Valid until Forget().
  absl::StatusOr<postgres::Connection*> On(const std::string& name) {
    std::unique_ptr<postgres::Connection>* session = nullptr;
    {
      MutexLock lock(&mu_);
      session = &sessions_[name];
    }
    if (*session == nullptr) {
      const Node& node = cluster_.Find(name);
      ASSIGN_OR_RETURN(*session, node.postgres->sessions().Take(node.database));
    }
    return session->get();
  }

  // After a failure: the server may have been started anew.
  void Forget() {
    MutexLock lock(&mu_);
    sessions_.clear();
  }

 private:
  const Cluster& cluster_;
  Mutex mu_;
  std::map<std::string, std::unique_ptr<postgres::Connection>> sessions_ ABSL_GUARDED_BY(mu_);
};

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(ClusterOptions options) {
  std::unique_ptr<Cluster> cluster(new Cluster(std::move(options)));
  RETURN_IF_ERROR(cluster->SetUp());
  return cluster;
}

Cluster::~Cluster() {
  if (temporary_ != nullptr && std::getenv("BDR_TEST_KEEP") != nullptr) {
    std::cerr << "kept: " << options_.folder << std::endl;
  }
  // Agents first: without their database they would only complain.
  for (const auto& node : nodes_) node->agent.reset();
  for (const auto& server : servers_) server->process.reset();
  for (const auto& node : nodes_) {
    node->proxy.reset();
    node->postgres.reset();
  }
}

absl::Status Cluster::SetUp() {
  if (options_.folder.empty()) {
    ASSIGN_OR_RETURN(temporary_, TempFolder::Create("bdr-cluster"));
    options_.folder = temporary_->path();
  } else {
    std::error_code error;
    std::filesystem::create_directories(options_.folder, error);
  }
  for (NodeOptions& node : options_.nodes) {
    auto added = std::make_unique<Node>();
    added->options = node;
    if (added->options.name.empty()) added->options.name = absl::StrCat("n", nodes_.size() + 1);
    added->database = node.server_of.empty() ? options_.database : added->options.name;
    added->folder = absl::StrCat(options_.folder, "/", added->options.name);
    std::filesystem::create_directories(added->folder + "/agent");
    std::filesystem::permissions(added->folder + "/agent", std::filesystem::perms::owner_all);
    if (options_.machine_crash) {
      added->crash = std::make_unique<MachineCrash>(added->folder + "/agent",
                                                    added->folder + "/synced.journal");
    }
    if (options_.fake_clocks) {
      ASSIGN_OR_RETURN(added->clock, FakeClock::Create(added->folder + "/clock"));
    }
    nodes_.push_back(std::move(added));
  }
  RETURN_IF_ERROR(ChoosePorts());
  if (options_.namespaces) {
    ASSIGN_OR_RETURN(network_, Network::Create(names()));
    for (const auto& node : nodes_) {
      node->host = network_->address(node->options.name);
      node->network_namespace = network_->namespace_fd(node->options.name);
    }
  }
  if (options_.tls) {
    std::filesystem::create_directories(options_.folder + "/tls");
    ASSIGN_OR_RETURN(authority_, CertificateAuthority::Create(options_.folder + "/tls"));
    RETURN_IF_ERROR(authority_->Issue("server", "server", Network::kSwitchAddress));
    RETURN_IF_ERROR(authority_->Issue("admin", "admin"));
    for (const auto& node : nodes_) {
      RETURN_IF_ERROR(authority_->Issue(node->options.name, "node", node->host));
    }
  }
  RETURN_IF_ERROR(WriteConfigs());
  if (options_.proxies) RETURN_IF_ERROR(StartProxies());
  for (int i = 0; i < options_.servers; ++i) RETURN_IF_ERROR(StartServer(i));
  RETURN_IF_ERROR(InParallel(nodes_.size(), [this](size_t i) {
    return nodes_[i]->options.server_of.empty() ? StartNodeServer(nodes_[i].get())
                                                : absl::OkStatus();
  }));
  for (const auto& node : nodes_) {
    if (node->options.server_of.empty()) continue;
    node->postgres = Find(node->options.server_of).postgres;
    RETURN_IF_ERROR(SetUpDatabase(node.get()));
  }
  return Join();
}

absl::Status Cluster::ChoosePorts() {
  int next = options_.first_port;
  const auto choose = [&](int offset) -> absl::StatusOr<int> {
    if (options_.first_port == 0) return FreePort();
    RETURN_IF_ERROR(CheckPortFree(next + offset));
    return next + offset;
  };
  for (int i = 0; i < options_.servers; ++i) {
    const std::string name = i == 0 ? "server" : absl::StrCat("server", i + 1);
    auto server = std::make_unique<ServerProcess>();
    ASSIGN_OR_RETURN(server->port, choose(2 * i));
    ASSIGN_OR_RETURN(server->metrics_port, choose(2 * i + 1));
    server->folder = absl::StrCat(options_.folder, "/", name);
    server->config = absl::StrCat(options_.folder, "/", name, ".yaml");
    server->log = absl::StrCat(options_.folder, "/", name, ".log");
    servers_.push_back(std::move(server));
  }
  for (const auto& node : nodes_) {
    next += 10;
    // PostgreSQL's port is chosen here too, so that all ports of a node lie together.
    if (node->options.server_of.empty()) {
      ASSIGN_OR_RETURN(node->postgres_port, choose(0));
    } else {
      node->postgres_port = Find(node->options.server_of).postgres_port;
    }
    ASSIGN_OR_RETURN(node->agent_port, choose(1));
    ASSIGN_OR_RETURN(node->metrics_port, choose(2));
    node->advertised_port = node->agent_port;
    if (options_.proxies) {
      ASSIGN_OR_RETURN(node->advertised_port, choose(3));
    }
  }
  return absl::OkStatus();
}

absl::Status Cluster::StartNodeServer(Node* node) {
  PostgresOptions postgres = {
      .name = absl::StrCat("PostgreSQL of ", node->options.name),
      .bin_folder = node->options.bin_folder,
      .folder = node->folder + "/postgres",
      .port = node->postgres_port,
      .settings = node->options.settings,
      .environment = {},
      .parent_death_signal = options_.parent_death_signal == 0 ? 0 : SIGQUIT,
      .network_namespace = node->network_namespace};
  if (node->clock != nullptr) postgres.environment = node->clock->environment();
  ASSIGN_OR_RETURN(node->postgres, PostgresServer::Create(std::move(postgres)));
  return SetUpDatabase(node);
}

absl::Status Cluster::SetUpDatabase(Node* node) {
  const std::string& database = node->database;
  RETURN_IF_ERROR(
      node->postgres->Exec(absl::StrCat("CREATE DATABASE ", postgres::QuoteIdentifier(database))));
  RETURN_IF_ERROR(node->postgres->Exec(kMarkerSql, database));
  if (!node->options.first_sql.empty()) {
    RETURN_IF_ERROR(node->postgres->RunScript(node->options.first_sql, database));
  }
  if (!options_.schema_sql.empty()) {
    RETURN_IF_ERROR(node->postgres->RunScript(options_.schema_sql, database));
  }
  if (options_.prepare) RETURN_IF_ERROR(options_.prepare(*this, node->options.name));
  ASSIGN_OR_RETURN(
      const ProgramResult sql,
      Checked(
          RunProgram({.argv = {ProgramFolder() + "/bdrctl", "node", "setup-sql", "--role", "bdr"}}),
          "bdrctl node setup-sql"));
  return node->postgres->RunScript(sql.out, database);
}

std::string Cluster::Security(absl::string_view name) const {
  if (!options_.tls) return "insecure: true\n";
  return absl::StrCat("tls:\n  certificate: ", authority_->certificate_file(name),
                      "\n  key: ", authority_->key_file(name), "\n  ca: ", authority_->ca_file(),
                      "\n");
}

absl::Status Cluster::WriteConfigs() {
  std::vector<std::string> control;
  for (const auto& server : servers_) {
    std::filesystem::create_directories(server->folder);
    std::filesystem::permissions(server->folder, std::filesystem::perms::owner_all);
    RETURN_IF_ERROR(WriteFile(
        server->config,
        absl::StrCat("listen: ", network_ == nullptr ? "127.0.0.1" : "0.0.0.0", ":", server->port,
                     "\nmetrics_listen: 127.0.0.1:", server->metrics_port, "\ndata_dir: ",
                     server->folder, "\n", Security("server"), options_.server_config)));
    control.push_back(absl::StrCat("\"",
                                   network_ == nullptr ? "127.0.0.1" : Network::kSwitchAddress, ":",
                                   server->port, "\""));
  }
  for (const auto& node : nodes_) {
    const std::string& name = node->options.name;
    RETURN_IF_ERROR(WriteFile(
        node->folder + "/agent.yaml",
        absl::StrCat("node: ", name, "\ndatabase: host=127.0.0.1 port=", node->postgres_port,
                     " user=bdr dbname=", node->database, "\ndata_dir: ", node->folder,
                     "/agent\nlisten: ", node->host, ":", node->agent_port,
                     "\nmetrics_listen: 127.0.0.1:", node->metrics_port, "\ncontrol: [",
                     absl::StrJoin(control, ", "), "]\n", Security(name), options_.agent_config,
                     node->options.agent_config)));
  }
  return absl::OkStatus();
}

absl::Status Cluster::StartProxies() {
  for (const auto& node : nodes_) {
    const int proxy_port = node->advertised_port;
    ASSIGN_OR_RETURN(node->proxy, TcpProxy::Start({.listen_port = proxy_port,
                                                   .server_port = node->agent_port,
                                                   .classify = [this, proxy_port](int client_port) {
                                                     return NameOfClient(client_port, proxy_port);
                                                   }}));
  }
  return absl::OkStatus();
}

std::string Cluster::NameOfClient(int client_port, int proxy_port) const {
  std::map<std::string, pid_t> pids;
  {
    MutexLock lock(&mu_);
    pids = agent_pids_;
  }
  for (const auto& [name, pid] : pids) {
    if (OwnsConnection(pid, client_port, proxy_port)) return name;
  }
  return "";  // bdrctl, say
}

absl::Status Cluster::StartServer(int index) {
  ServerProcess& server = Server(index);
  ASSIGN_OR_RETURN(
      server.process,
      ChildProcess::Start({.name = "bdr-server",
                           .argv = {ProgramFolder() + "/bdr-server", "--config", server.config},
                           .log_file = server.log,
                           .parent_death_signal = options_.parent_death_signal}));
  return WaitFor("bdr-server accepts connections", absl::Seconds(30),
                 [&server]() -> absl::StatusOr<bool> {
                   if (server.process->Running()) return CanConnect(server.port);
                   return absl::InternalError(absl::StrCat("it ended: ", TailOfFile(server.log)));
                 });
}

absl::Status Cluster::StartAgent(
    absl::string_view name, const std::vector<std::pair<std::string, std::string>>& environment) {
  Node& node = Find(name);
  node.agent.reset();  // kills what might still run: two agents on one folder prove nothing
  ProcessOptions options = {
      .name = absl::StrCat("bdr-agent of ", name),
      .argv = {ProgramFolder() + "/bdr-agent", "--config", node.folder + "/agent.yaml"},
      .log_file = node.folder + "/agent.log",
      .network_namespace = node.network_namespace,
      .parent_death_signal = options_.parent_death_signal};
  if (node.crash != nullptr) options.environment = node.crash->environment();
  if (node.clock != nullptr && options_.fake_agent_clocks) {
    options.environment = Merge(std::move(options.environment), node.clock->environment());
  }
  for (const auto& more : {options_.agent_environment, environment}) {
    options.environment = Merge(std::move(options.environment), more);
  }
  ASSIGN_OR_RETURN(node.agent, ChildProcess::Start(std::move(options)));
  MutexLock lock(&mu_);
  agent_pids_[std::string(name)] = node.agent->pid();
  return absl::OkStatus();
}

absl::Status Cluster::Join() {
  if (options_.agents_first) {
    for (const auto& node : nodes_) RETURN_IF_ERROR(StartAgent(node->options.name));
  }
  RETURN_IF_ERROR(Checked(Bdrctl({"cluster", "init", "test"}), "bdrctl cluster init").status());
  for (const auto& node : nodes_) {
    RETURN_IF_ERROR(
        Checked(Bdrctl({"node", "add", node->options.name, "--address",
                        absl::StrCat(node->host, ":", node->advertised_port), "--no-copy"}),
                "bdrctl node add")
            .status());
    if (!options_.agents_first) RETURN_IF_ERROR(StartAgent(node->options.name));
  }
  RETURN_IF_ERROR(WaitUntilHealthy(options_.start_deadline));
  return WaitUntilConverged(options_.start_deadline);
}

std::vector<std::string> Cluster::BdrctlCommand() const {
  std::vector<std::string> servers;
  for (const auto& server : servers_) servers.push_back(absl::StrCat("127.0.0.1:", server->port));
  std::vector<std::string> argv = {ProgramFolder() + "/bdrctl", "--server",
                                   absl::StrJoin(servers, ",")};
  if (!options_.tls) {
    argv.push_back("--insecure");
    return argv;
  }
  argv.insert(argv.end(),
              {"--ca", authority_->ca_file(), "--cert", authority_->certificate_file("admin"),
               "--key", authority_->key_file("admin")});
  return argv;
}

absl::StatusOr<ProgramResult> Cluster::Bdrctl(
    std::vector<std::string> arguments,
    std::vector<std::pair<std::string, std::string>> environment) const {
  std::vector<std::string> argv = BdrctlCommand();
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return RunProgram({.argv = std::move(argv), .environment = std::move(environment)},
                    absl::Seconds(120));
}

absl::Status Cluster::CheckProcesses() const {
  for (const auto& node : nodes_) {
    if (node->agent != nullptr && !node->agent->Running()) {
      return absl::InternalError(absl::StrCat("the agent of \"", node->options.name,
                                              "\" has ended; end of its log:\n",
                                              TailOfFile(agent_log(node->options.name))));
    }
  }
  return absl::OkStatus();
}

absl::Status Cluster::WaitUntilHealthy(absl::Duration deadline) {
  std::string last;
  const absl::Status healthy =
      WaitFor("\"bdrctl status\" reports no problem", deadline, [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const ProgramResult status, Bdrctl({"status"}));
        last = status.out + status.err;
        RETURN_IF_ERROR(CheckProcesses());
        return status.exit_code == 0;
      });
  if (healthy.ok()) return healthy;
  for (const auto& node : nodes_) {
    absl::StrAppend(&last, "\nlog of ", node->options.name, ":\n",
                    TailOfFile(agent_log(node->options.name)));
  }
  return absl::DeadlineExceededError(absl::StrCat(healthy.message(), "\n", last));
}

Cluster::Node& Cluster::Find(absl::string_view name) const {
  for (const auto& node : nodes_) {
    if (node->options.name == name) return *node;
  }
  std::cerr << "there is no node \"" << name << "\" in this cluster" << std::endl;
  std::abort();  // A slip of the pen in a test.
}

std::vector<std::string> Cluster::names() const {
  std::vector<std::string> names;
  for (const auto& node : nodes_) names.push_back(node->options.name);
  return names;
}

std::string Cluster::agent_folder(absl::string_view node) const {
  return Find(node).folder + "/agent";
}

std::string Cluster::agent_log(absl::string_view node) const {
  return Find(node).folder + "/agent.log";
}

std::vector<std::string> Cluster::WithDatabases(std::vector<std::string> command,
                                                absl::string_view user) const {
  for (const std::string& node : names()) {
    command.push_back("--database");
    command.push_back(absl::StrCat(node, "=", conninfo(node, user)));
  }
  return command;
}

std::string Cluster::conninfo(absl::string_view node, absl::string_view user) const {
  return Find(node).postgres->conninfo(user, Find(node).database);
}

absl::StatusOr<std::unique_ptr<postgres::Connection>> Cluster::Connect(
    absl::string_view node) const {
  return Find(node).postgres->Connect("postgres", Find(node).database);
}

absl::Status Cluster::Exec(absl::string_view node, const std::string& sql) const {
  return Find(node).postgres->Exec(sql, Find(node).database);
}

absl::Status Cluster::ExecEverywhere(const std::string& sql) const {
  for (const auto& node : nodes_) RETURN_IF_ERROR(node->postgres->Exec(sql, node->database));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Cluster::QueryValue(absl::string_view node,
                                                const std::string& sql) const {
  return Find(node).postgres->QueryValue(sql, Find(node).database);
}

absl::Status Cluster::WaitForValue(absl::string_view node, const std::string& sql,
                                   absl::string_view value, absl::Duration deadline) const {
  std::string last;
  Looks looks(this);
  const auto look = [&]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(postgres::Connection* const session, looks.On(std::string(node)));
    return session->QueryValue(sql);
  };
  const absl::Status status = WaitFor(absl::StrCat("on \"", node, "\": ", sql, " = ", value),
                                      deadline, [&]() -> absl::StatusOr<bool> {
                                        absl::StatusOr<std::string> seen = look();
                                        if (!seen.ok()) {
                                          looks.Forget();
                                          return seen.status();
                                        }
                                        last = *std::move(seen);
                                        return last == value;
                                      });
  if (status.ok()) return status;
  return absl::DeadlineExceededError(absl::StrCat(status.message(), "; it is ", last));
}

absl::StatusOr<std::map<std::string, TableContent>> Cluster::Contents(
    absl::string_view node) const {
  Looks looks(this);
  return Contents(looks, std::string(node));
}

absl::StatusOr<std::map<std::string, TableContent>> Cluster::Contents(
    Looks& looks, const std::string& node) const {
  ASSIGN_OR_RETURN(postgres::Connection* const connection, looks.On(node));
  ASSIGN_OR_RETURN(const postgres::Result tables, connection->Exec(kTablesSql));
  std::map<std::string, TableContent> contents;
  for (int i = 0; i < tables.rows(); ++i) {
    const std::string table(tables.value(i, 0));
    TableContent content = {.columns = std::string(tables.value(i, 1)), .rows = 0, .hash = ""};
    ASSIGN_OR_RETURN(const postgres::Result row,
                     connection->Exec(ContentSql(table, content.columns)));
    if (!absl::SimpleAtoi(row.value(0, 0), &content.rows)) {
      return absl::InternalError(absl::StrCat("cannot count the rows of ", table));
    }
    content.hash = std::string(row.value(0, 1));
    contents[table] = std::move(content);
  }
  return contents;
}

absl::StatusOr<std::string> Cluster::DescribeDifference(Looks& looks, const std::string& table,
                                                        const std::string& columns,
                                                        const std::string& one,
                                                        const std::string& other) const {
  const std::string sql = absl::StrCat("SELECT ROW(", columns, ")::text FROM ", table);
  std::multiset<std::string> rows[2];
  const std::string* nodes[2] = {&one, &other};
  for (int side = 0; side < 2; ++side) {
    ASSIGN_OR_RETURN(postgres::Connection* const connection, looks.On(*nodes[side]));
    ASSIGN_OR_RETURN(const postgres::Result result, connection->Exec(sql));
    for (int i = 0; i < result.rows(); ++i) rows[side].emplace(result.value(i, 0));
  }
  std::string text;
  for (int side = 0; side < 2; ++side) {
    std::vector<std::string> only;
    std::set_difference(rows[side].begin(), rows[side].end(), rows[1 - side].begin(),
                        rows[1 - side].end(), std::back_inserter(only));
    if (only.empty()) continue;
    absl::StrAppend(&text, "    ", only.size(), " only on ", *nodes[side], ":");
    for (size_t i = 0; i < std::min<size_t>(3, only.size()); ++i) {
      absl::StrAppend(&text, " ", only[i].substr(0, 200));
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

absl::StatusOr<std::string> Cluster::DiffNodes(std::vector<std::string> nodes) const {
  Looks looks(this);
  return DiffNodes(looks, nodes.empty() ? names() : nodes);
}

absl::StatusOr<std::string> Cluster::DiffNodes(Looks& looks,
                                               const std::vector<std::string>& wanted) const {
  std::vector<absl::StatusOr<std::map<std::string, TableContent>>> contents(
      wanted.size(), absl::UnknownError("not read"));
  RETURN_IF_ERROR(InParallel(wanted.size(), [&](size_t i) {
    contents[i] = Contents(looks, wanted[i]);
    return contents[i].status();
  }));
  std::set<std::string> tables;
  for (const auto& of_node : contents) {
    for (const auto& [table, content] : *of_node) tables.insert(table);
  }
  std::string text;
  for (const std::string& table : tables) {
    for (size_t i = 1; i < wanted.size(); ++i) {
      const auto first = contents[0]->find(table);
      const auto other = contents[i]->find(table);
      if (first == contents[0]->end() || other == contents[i]->end()) {
        absl::StrAppend(&text, table, " is missing on ",
                        first == contents[0]->end() ? wanted[0] : wanted[i], "\n");
        continue;
      }
      const TableContent& a = first->second;
      const TableContent& b = other->second;
      if (a.rows == b.rows && a.hash == b.hash && a.columns == b.columns) continue;
      absl::StrAppend(&text, table, " differs: ", wanted[0], " has ", a.rows, " rows, ", wanted[i],
                      " has ", b.rows, "\n");
      if (a.columns == b.columns && std::max(a.rows, b.rows) <= kMostRowsToName) {
        ASSIGN_OR_RETURN(const std::string rows,
                         DescribeDifference(looks, table, a.columns, wanted[0], wanted[i]));
        text += rows;
      }
    }
  }
  return text;
}

absl::Status Cluster::WaitForMarkers(Looks& looks, const std::vector<std::string>& nodes,
                                     absl::Time until) const {
  int64_t marker = 0;
  {
    MutexLock lock(&mu_);
    marker = ++marker_;
  }
  // Changes of one origin arrive in order: who shows the marker shows all that came before it.
  for (const std::string& node : nodes) {
    ASSIGN_OR_RETURN(postgres::Connection* const session, looks.On(node));
    RETURN_IF_ERROR(
        session
            ->Exec(absl::StrCat("INSERT INTO harness.marker VALUES ('", node, "', ", marker, ")"))
            .status());
  }
  for (const std::string& node : nodes) {
    const std::string sql = absl::StrCat(
        "SELECT coalesce(string_agg(node, ' ' ORDER BY node), '') FROM harness.marker WHERE n = ",
        marker);
    ASSIGN_OR_RETURN(postgres::Connection* const session, looks.On(node));
    for (;;) {
      ASSIGN_OR_RETURN(const std::string seen, session->QueryValue(sql));
      bool all = true;
      for (const std::string& name : nodes) {
        all = all &&
              absl::StrCat(" ", seen, " ").find(absl::StrCat(" ", name, " ")) != std::string::npos;
      }
      if (all) break;
      if (absl::Now() > until) {
        return absl::DeadlineExceededError(absl::StrCat(
            "\"", node, "\" shows only the changes of (", seen, "), not of all nodes"));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  return absl::OkStatus();
}

absl::Status Cluster::WaitUntilConverged(absl::Duration deadline,
                                         std::vector<std::string> nodes) const {
  if (nodes.empty()) nodes = names();
  const absl::Time until = absl::Now() + deadline;
  std::string reason;
  Looks looks(this);
  // Twice: what the first round finds equal might still be on its way to become different.
  for (int equal = 0; equal < 2;) {
    // A round that the deadline ends is told beside what the one before it found.
    const absl::Status arrived = WaitForMarkers(looks, nodes, until);
    if (arrived.ok()) {
      const absl::StatusOr<std::string> difference = DiffNodes(looks, nodes);
      reason = difference.ok() ? *difference : std::string(difference.status().message());
    } else {
      absl::StrAppend(&reason, reason.empty() ? "" : "; ", arrived.message());
    }
    if (reason.empty()) {
      ++equal;
      continue;
    }
    equal = 0;
    looks.Forget();
    if (absl::Now() > until) {
      const absl::StatusOr<ProgramResult> status = Bdrctl({"status"});
      for (const std::string& node : nodes) {
        absl::StrAppend(&reason, "\nlog of ", node, ":\n", TailOfFile(agent_log(node), 8));
      }
      return absl::DeadlineExceededError(
          absl::StrCat("nodes are not equal within ", absl::FormatDuration(deadline), ": ", reason,
                       "\n", status.ok() ? status->out + status->err : ""));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return absl::OkStatus();
}

absl::StatusOr<Metrics> Cluster::AgentMetrics(absl::string_view node) const {
  ASSIGN_OR_RETURN(const HttpResponse response, HttpGet(Find(node).metrics_port, "/metrics"));
  if (response.code != 200) {
    return absl::InternalError(absl::StrCat("/metrics of \"", node, "\": ", response.code));
  }
  return Metrics::Parse(response.body);
}

absl::StatusOr<int64_t> Cluster::CrashAgentMachine(absl::string_view name) {
  Node& node = Find(name);
  if (node.crash == nullptr) {
    return absl::FailedPreconditionError("the cluster was started without machine_crash");
  }
  node.agent->Kill9();
  return node.crash->LoseUnsynced();
}

void Cluster::SetFault(absl::string_view from, absl::string_view to, const Fault& fault) {
  if (network_ != nullptr) {
    return Must(fault.lose ? network_->Drop(from, to)
                           : absl::UnimplementedError("between namespaces packets only vanish"));
  }
  // `from` speaks on the connections that it opened, and on those that `to` opened to it.
  Find(to).proxy->SetFault(std::string(from), Direction::kToServer, fault);
  Find(from).proxy->SetFault(std::string(to), Direction::kToClient, fault);
}

void Cluster::Partition(absl::string_view one, absl::string_view other) {
  const Fault fault = {.lose = network_ != nullptr, .cut = network_ == nullptr};
  SetFault(one, other, fault);
  SetFault(other, one, fault);
}

void Cluster::Isolate(absl::string_view name) {
  if (network_ != nullptr) return Must(network_->Unplug(name));
  for (const auto& node : nodes_) {
    if (node->options.name != name) Partition(name, node->options.name);
  }
}

void Cluster::Heal() {
  if (network_ != nullptr) return Must(network_->Heal());
  for (const auto& node : nodes_) node->proxy->Heal();
}

void Cluster::Detach() {
  for (const auto& server : servers_) {
    if (server->process != nullptr) server->process->Detach();
  }
  for (const auto& node : nodes_) {
    if (node->agent != nullptr) node->agent->Detach();
    if (node->postgres != nullptr) node->postgres->Detach();
  }
}

}  // namespace bdr::harness
