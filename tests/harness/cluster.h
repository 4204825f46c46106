// A whole cluster on one machine: bdr-server, PostgreSQL servers and an agent beside each, set up
// as an administrator would, with every part there to be killed, paused and cut off.
#pragma once

#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "postgres/connection.h"
#include "tests/harness/certificates.h"
#include "tests/harness/fake_clock.h"
#include "tests/harness/http.h"
#include "tests/harness/machine_crash.h"
#include "tests/harness/network.h"
#include "tests/harness/postgres_server.h"
#include "tests/harness/process.h"
#include "tests/harness/tcp_proxy.h"

namespace bdr::harness {

struct NodeOptions {
  std::string name = {};        // of the node; n1, n2, ... if empty
  std::string bin_folder = {};  // of PostgreSQL; empty: DefaultPostgresBin()
  // An earlier node's name: on that one's server, in a database of its own, named as the node.
  std::string server_of = {};
  std::string first_sql = {};  // run on this node alone, before the schema
  std::vector<std::pair<std::string, std::string>> settings = {};  // of postgresql.conf
  std::string agent_config = {};  // more lines of its agent.yaml, see ClusterOptions
};

class Cluster;

struct ClusterOptions {
  std::vector<NodeOptions> nodes = {{}, {}};
  std::string database = "app";
  // Run on every node before it is set up and joined: tables and rows, the same everywhere.
  std::string schema_sql = {};
  // Called for every node after that, each in a thread of its own.
  std::function<absl::Status(Cluster&, const std::string& node)> prepare = nullptr;
  bool tls = false;
  bool proxies = false;  // agents reach each other through proxies: Partition() and the like
  // Instead of proxies: every node is in a network of its own (network.h, which says what it
  // needs). Needs tls.
  bool namespaces = false;
  bool agents_first = false;      // every agent is started before the cluster is made
  bool machine_crash = false;     // CrashAgentMachine() is possible
  bool fake_clocks = false;       // every node's PostgreSQL and agent go by a clock() of the node
  bool fake_agent_clocks = true;  // with fake_clocks; false: only PostgreSQL does
  std::string agent_config = {};  // more lines of agent.yaml
  // More than one need a store that they share, which `server_config` names.
  int servers = 1;
  std::string server_config = {};  // more lines of every bdr-server's configuration
  // Added to every agent's environment (base/test_hooks.h).
  std::vector<std::pair<std::string, std::string>> agent_environment = {};
  std::string folder = {};  // empty: a temporary one
  int first_port = 0;       // 0: any; else first_port, +1 for the server, +10 * i for nodes
  int parent_death_signal = SIGKILL;  // 0: everything outlives us, see Detach()
  absl::Duration start_deadline = absl::Seconds(60);
};

// Count and content of one table on one node.
struct TableContent {
  std::string columns;  // names, in order of name
  int64_t rows = 0;
  std::string hash;  // the same for the same rows in whatever order
};

// Methods that start, stop or kill a part are for one thread at a time; Exec(), QueryValue(),
// Connect(), AgentMetrics() and Bdrctl() may run beside them.
class Cluster {
 public:
  // Returns once all nodes are members and every link streams.
  static absl::StatusOr<std::unique_ptr<Cluster>> Start(ClusterOptions options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  std::vector<std::string> names() const;
  const std::string& folder() const { return options_.folder; }

  // SQL as superuser in the cluster's database, each call in a session that is as good as new.
  absl::Status Exec(absl::string_view node, const std::string& sql) const;
  absl::Status ExecEverywhere(const std::string& sql) const;
  absl::StatusOr<std::string> QueryValue(absl::string_view node, const std::string& sql) const;
  absl::StatusOr<std::unique_ptr<postgres::Connection>> Connect(absl::string_view node) const;
  std::string conninfo(absl::string_view node, absl::string_view user = "postgres") const;
  // bdrctl's command, with --database of each node behind it.
  std::vector<std::string> WithDatabases(std::vector<std::string> command,
                                         absl::string_view user = "postgres") const;

  // Tables of users on one node: "schema.table" to content. By SQL of its own, so that a fault of
  // the programs under test cannot hide itself.
  absl::StatusOr<std::map<std::string, TableContent>> Contents(absl::string_view node) const;
  // What differs between the nodes, table by table with some of the rows; "" if nothing does.
  absl::StatusOr<std::string> DiffNodes(std::vector<std::string> nodes = {}) const;
  // Waits until nothing is under way between these nodes (all, if none are named) and they are
  // equal. kDeadlineExceeded with what differs or is missing, and what `bdrctl status` says.
  absl::Status WaitUntilConverged(absl::Duration deadline,
                                  std::vector<std::string> nodes = {}) const;
  // Waits until `bdrctl status` finds nothing wrong: all nodes active, all links streaming.
  absl::Status WaitUntilHealthy(absl::Duration deadline);
  // Waits until the query gives this value on the node.
  absl::Status WaitForValue(absl::string_view node, const std::string& sql, absl::string_view value,
                            absl::Duration deadline) const;

  // `bdrctl --server ... ARGUMENTS`; its exit code is in the result.
  absl::StatusOr<ProgramResult> Bdrctl(
      std::vector<std::string> arguments,
      std::vector<std::pair<std::string, std::string>> environment = {}) const;
  absl::StatusOr<Metrics> AgentMetrics(absl::string_view node) const;

  // Parts. The references stay valid; the processes behind them come and go.
  PostgresServer& postgres(absl::string_view node) const { return *Find(node).postgres; }
  ChildProcess& agent(absl::string_view node) const { return *Find(node).agent; }
  ChildProcess& server(int index = 0) const { return *Server(index).process; }
  // With `tls`; null without.
  CertificateAuthority* authority() const { return authority_.get(); }
  // With `fake_clocks`. May be moved at any time, by one thread.
  FakeClock& clock(absl::string_view node) const { return *Find(node).clock; }
  int agent_port(absl::string_view node) const { return Find(node).agent_port; }
  int metrics_port(absl::string_view node) const { return Find(node).metrics_port; }
  int server_port(int index = 0) const { return Server(index).port; }
  // Its configuration, to be changed before it is started again.
  std::string server_config_file(int index = 0) const { return Server(index).config; }
  std::string agent_folder(absl::string_view node) const;
  std::string agent_log(absl::string_view node) const;
  // How bdrctl is called for this cluster, for people.
  std::vector<std::string> BdrctlCommand() const;

  // After Terminate() or Kill9() of the process.
  absl::Status StartAgent(absl::string_view node) { return StartAgent(node, {}); }
  // With more in its environment, for this start alone: BDR_FAIL_POINT, say.
  absl::Status StartAgent(absl::string_view node,
                          const std::vector<std::pair<std::string, std::string>>& environment);
  absl::Status StartServer(int index = 0);
  // kill -9 of the agent, and its data folder loses what it had not synced. The number of bytes.
  absl::StatusOr<int64_t> CrashAgentMachine(absl::string_view node);

  // With `proxies` or `namespaces`: nothing gets through between the two nodes, in both directions,
  // or one from everybody else (with namespaces, from bdr-server as well). Heal() ends all faults.
  void Partition(absl::string_view one, absl::string_view other);
  void Isolate(absl::string_view node);
  void Heal();
  // With `proxies`: what `from` sends to `to` or asks of it, for other faults. With `namespaces`
  // there is only `lose`.
  void SetFault(absl::string_view from, absl::string_view to, const Fault& fault);

  // Everything runs on after this object is gone (needs parent_death_signal 0).
  void Detach();

 private:
  struct Node {
    NodeOptions options;
    std::string folder;
    int postgres_port = 0;
    int agent_port = 0;
    int metrics_port = 0;
    int advertised_port = 0;  // of the proxy, if there is one
    std::string host = "127.0.0.1";
    int network_namespace = -1;  // ours
    std::string database;
    std::shared_ptr<PostgresServer> postgres;
    std::unique_ptr<ChildProcess> agent;
    std::unique_ptr<MachineCrash> crash;
    std::unique_ptr<FakeClock> clock;
    std::unique_ptr<TcpProxy> proxy;  // what others connect to
  };

  struct ServerProcess {
    int port = 0;
    int metrics_port = 0;
    std::string folder;  // its data_dir
    std::string config;
    std::string log;
    std::unique_ptr<ChildProcess> process;
  };

  explicit Cluster(ClusterOptions options);
  absl::Status SetUp();
  absl::Status ChoosePorts();
  absl::Status StartNodeServer(Node* node);
  absl::Status SetUpDatabase(Node* node);
  absl::Status WriteConfigs();
  absl::Status StartProxies();
  absl::Status Join();
  std::string Security(absl::string_view name) const;
  std::string NameOfClient(int client_port, int proxy_port) const;
  Node& Find(absl::string_view name) const;
  ServerProcess& Server(int index) const { return *servers_.at(static_cast<size_t>(index)); }
  class Looks;
  absl::StatusOr<std::map<std::string, TableContent>> Contents(Looks& looks,
                                                               const std::string& node) const;
  absl::StatusOr<std::string> DiffNodes(Looks& looks, const std::vector<std::string>& nodes) const;
  absl::StatusOr<std::string> DescribeDifference(Looks& looks, const std::string& table,
                                                 const std::string& columns, const std::string& one,
                                                 const std::string& other) const;
  absl::Status WaitForMarkers(Looks& looks, const std::vector<std::string>& nodes,
                              absl::Time until) const;
  absl::Status CheckProcesses() const;

  ClusterOptions options_;
  std::unique_ptr<TempFolder> temporary_;
  std::unique_ptr<Network> network_;  // with namespaces
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::vector<std::unique_ptr<ServerProcess>> servers_;

  mutable Mutex mu_;
  std::map<std::string, pid_t> agent_pids_ ABSL_GUARDED_BY(mu_);
  mutable int64_t marker_ ABSL_GUARDED_BY(mu_) = 0;
};

// Calls `condition` until it is true. kDeadlineExceeded with `what` after the deadline; an error of
// the condition counts as "not yet" and is told at the end.
absl::Status WaitFor(const std::string& what, absl::Duration deadline,
                     const std::function<absl::StatusOr<bool>()>& condition);

}  // namespace bdr::harness
