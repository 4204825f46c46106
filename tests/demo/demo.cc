#include "tests/demo/demo.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "tests/demo/control_plane.h"
#include "tests/demo/live_table.h"
#include "tests/demo/running.h"
#include "tests/harness/cluster.h"

namespace bdr::demo {
namespace {

constexpr char kDatabase[] = "bank";
constexpr absl::Duration kSettleDeadline = absl::Seconds(90);

void Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

std::vector<std::string> PgbenchCommand(const harness::Cluster& cluster, const std::string& node,
                                        std::vector<std::string> arguments) {
  std::vector<std::string> argv = {
      cluster.postgres(node).bin_folder() + "/pgbench", "-h", "127.0.0.1", "-p",
      absl::StrCat(cluster.postgres(node).port()),      "-U", "postgres"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  argv.push_back(kDatabase);
  return argv;
}

absl::Status CheckMachine(const Options& options) {
  if (!RunningProcesses(options.folder).empty()) {
    return absl::FailedPreconditionError("a demo is running already: stop it with ./dev demo stop");
  }
  if (IsKept(options.folder)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the folder of a demo run with --keep is in the way: remove \"", options.folder, "\""));
  }
  ASSIGN_OR_RETURN(const std::string bin, harness::DefaultPostgresBin());
  for (const char* program : {"initdb", "postgres", "pgbench", "psql"}) {
    if (std::filesystem::exists(absl::StrCat(bin, "/", program))) continue;
    return absl::NotFoundError(absl::StrCat("there is no \"", program, "\" in ", bin,
                                            ": install the packages postgresql and "
                                            "postgresql-client"));
  }
  std::error_code error;
  std::filesystem::remove_all(options.folder, error);
  if (!error) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("cannot empty \"", options.folder, "\": ", error.message()));
}

// `etcd` is null for a bdr-server that keeps its state itself.
absl::StatusOr<std::unique_ptr<harness::Cluster>> BuildCluster(const Options& options,
                                                               const harness::EtcdCluster* etcd) {
  harness::ClusterOptions cluster;
  cluster.nodes.assign(static_cast<size_t>(options.nodes), {});
  cluster.database = kDatabase;
  // Every node is loaded by itself, with the same rows: pgbench makes no random ones.
  cluster.prepare = [scale = options.scale](harness::Cluster& built, const std::string& node) {
    const absl::StatusOr<harness::ProgramResult> loaded = harness::RunProgram(
        {.argv = PgbenchCommand(built, node, {"-i", "-q", "-s", absl::StrCat(scale)})},
        absl::Minutes(5));
    if (!loaded.ok()) return loaded.status();
    if (loaded->exit_code == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("pgbench -i on ", node, ": ", loaded->err));
  };
  cluster.schema_sql = "CREATE TABLE orders (id serial PRIMARY KEY, node text NOT NULL)";
  if (etcd != nullptr) {
    cluster.servers = kDemoServersOnEtcd;
    cluster.server_config = absl::StrCat("store: ", etcd->Url(), "\n");
  }
  cluster.folder = options.folder;
  cluster.first_port = options.first_port;
  cluster.parent_death_signal = 0;
  cluster.start_deadline = absl::Seconds(90);
  return harness::Cluster::Start(std::move(cluster));
}

// From here on the nodes draw ids of orders from chunks that bdr-server grants, each its own.
absl::Status ConvertOrders(const harness::Cluster& cluster) {
  std::vector<std::string> command = {"sequence", "convert", "public.orders_id_seq", "--method",
                                      "galloc"};
  for (const std::string& node : cluster.names()) {
    command.push_back("--database");
    command.push_back(absl::StrCat(node, "=", cluster.conninfo(node)));
  }
  ASSIGN_OR_RETURN(const harness::ProgramResult converted, cluster.Bdrctl(command));
  if (converted.exit_code != 0)
    return absl::InternalError(absl::StrCat(converted.out, converted.err));
  Say(absl::StrCat("  bdrctl sequence convert public.orders_id_seq --method galloc: ",
                   converted.out));
  return absl::OkStatus();
}

// How many orders each node has made; a number that two had drawn would be one row, and a conflict.
absl::Status ShowOrders(const harness::Cluster& cluster) {
  const std::string node = cluster.names().front();
  ASSIGN_OR_RETURN(
      const std::string made,
      cluster.QueryValue(node,
                         "SELECT string_agg(format('%s made %s', node, n), ', ' ORDER BY "
                         "node) FROM (SELECT node, count(*) AS n FROM orders GROUP BY 1) t"));
  ASSIGN_OR_RETURN(const std::string ids,
                   cluster.QueryValue(node, "SELECT count(DISTINCT id) FROM orders"));
  ASSIGN_OR_RETURN(const std::string twice,
                   cluster.QueryValue(node,
                                      "SELECT count(*) FROM bdr.conflict_log WHERE relation = "
                                      "'public.orders'"));
  Say(absl::StrFormat("\norders, whose ids are drawn on every node: %s; %s ids, %s", made, ids,
                      twice == "0" ? "no duplicates" : absl::StrCat(twice, " duplicates")));
  if (twice == "0") return absl::OkStatus();
  return absl::InternalError("two nodes have drawn the same id");
}

struct Balance {
  const char* table;
  const char* column;
};
constexpr Balance kBalances[] = {{"pgbench_accounts", "abalance"},
                                 {"pgbench_tellers", "tbalance"},
                                 {"pgbench_branches", "bbalance"}};

// Two nodes that add to one balance at the same time both count from here on.
absl::Status SetDelta(const harness::Cluster& cluster) {
  for (const Balance& balance : kBalances) {
    RETURN_IF_ERROR(cluster.ExecEverywhere(
        absl::StrCat("ALTER TABLE ", balance.table, " REPLICA IDENTITY FULL")));
    ASSIGN_OR_RETURN(const harness::ProgramResult set,
                     cluster.Bdrctl({"table", "set-policy", absl::StrCat("public.", balance.table),
                                     "delta", "--columns", balance.column}));
    if (set.exit_code != 0) return absl::InternalError(absl::StrCat(set.out, set.err));
    Say(absl::StrCat("  bdrctl table set-policy public.", balance.table, " delta --columns ",
                     balance.column));
  }
  Say("");
  return absl::OkStatus();
}

// Every transaction writes the same amount into its history and adds it to three balances.
absl::Status ShowSums(const harness::Cluster& cluster) {
  Say("\nwhat was added to the balances, beside what the history says was:");
  absl::Status result;
  for (const std::string& node : cluster.names()) {
    ASSIGN_OR_RETURN(
        const std::string wanted,
        cluster.QueryValue(node, "SELECT coalesce(sum(delta), 0) FROM pgbench_history"));
    std::string line = absl::StrFormat("  %-4s history %12s", node, wanted);
    for (const Balance& balance : kBalances) {
      ASSIGN_OR_RETURN(const std::string sum,
                       cluster.QueryValue(node, absl::StrCat("SELECT sum(", balance.column,
                                                             ") FROM ", balance.table)));
      absl::StrAppend(&line, absl::StrFormat("   %s %12s", balance.table + sizeof("pgbench"), sum));
      if (sum == wanted) continue;
      result.Update(absl::InternalError(absl::StrCat("on ", node, " the balances of ",
                                                     balance.table, " are not what was added")));
    }
    Say(line);
  }
  return result;
}

// `control_plane` is null if nothing of it is to fail meanwhile.
absl::Status RunPgbench(const Options& options, const harness::Cluster& cluster,
                        ControlPlane* control_plane) {
  std::vector<std::unique_ptr<harness::ChildProcess>> running;
  for (const std::string& node : cluster.names()) {
    const std::string script = absl::StrCat(options.folder, "/", node, "/orders.sql");
    std::ofstream(script) << "INSERT INTO orders (node) VALUES ('" << node << "');\n";
    ASSIGN_OR_RETURN(std::unique_ptr<harness::ChildProcess> pgbench,
                     harness::ChildProcess::Start(
                         {.name = absl::StrCat("pgbench on ", node),
                          // -n: a vacuum would truncate the history first, on all nodes.
                          .argv = PgbenchCommand(cluster, node,
                                                 {"-n", "-c", absl::StrCat(options.clients), "-j",
                                                  "1", "-T", absl::StrCat(options.seconds), "-b",
                                                  "tpcb-like@4", "-f", absl::StrCat(script, "@1")}),
                          .log_file = absl::StrCat(options.folder, "/", node, "/pgbench.log")}));
    running.push_back(std::move(pgbench));
  }
  LiveTable table(&cluster, isatty(STDOUT_FILENO) != 0);
  absl::Status result;
  absl::Time next = absl::Now();
  for (int second = 1; second <= options.seconds; ++second) {
    next += absl::Seconds(1);
    std::this_thread::sleep_until(absl::ToChronoTime(next));
    if (control_plane != nullptr) result.Update(control_plane->Step(second));
    table.Print(absl::StrCat(second, " s"),
                control_plane == nullptr ? std::vector<std::string>() : control_plane->Lines());
  }
  for (const auto& pgbench : running) {
    RETURN_IF_ERROR(pgbench->WaitForExit(absl::Seconds(60)));
    if (*pgbench->wait_status() != 0) {
      result.Update(
          absl::InternalError(absl::StrCat("\"", pgbench->options().name, "\" failed:\n",
                                           harness::TailOfFile(pgbench->options().log_file, 6))));
    }
  }
  for (const auto& pgbench : running) {
    const absl::StatusOr<std::string> log = harness::ReadFile(pgbench->options().log_file);
    for (absl::string_view line : absl::StrSplit(log.ok() ? *log : "", '\n')) {
      if (line.find("actually processed") != absl::string_view::npos) {
        Say(absl::StrCat(pgbench->options().name, ": ", line));
      }
    }
  }
  return result;
}

absl::Status Compare(const harness::Cluster& cluster) {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(cluster.WaitUntilConverged(kSettleDeadline));
  ASSIGN_OR_RETURN(const auto tables, cluster.Contents(cluster.names().front()));
  Say(absl::StrFormat("\nall nodes equal (%.1f s after the last write):",
                      absl::ToDoubleSeconds(absl::Now() - start)));
  for (const auto& [table, content] : tables) {
    Say(absl::StrFormat("  %-28s %9d rows on each of %d nodes, content hash %s", table,
                        content.rows, cluster.names().size(), content.hash));
  }
  return absl::OkStatus();
}

void TellHowToGoOn(const harness::Cluster& cluster, bool etcd) {
  const std::string bdrctl = absl::StrJoin(cluster.BdrctlCommand(), " ");
  Say("\nThe cluster goes on running. Write to any node, and look at the others:");
  for (const std::string& node : cluster.names()) {
    Say(absl::StrFormat("  %s:  psql -h 127.0.0.1 -p %d -U postgres -d %s", node,
                        cluster.postgres(node).port(), kDatabase));
  }
  Say("\nLook at it:");
  for (const char* verb :
       {"status --watch", "node list", "sequence list", "conflict list", "verify"}) {
    Say(absl::StrCat("  ", bdrctl, " ", verb));
  }
  if (etcd) Say(absl::StrCat("  ", bdrctl, " server status"));
  Say("\nA table made now takes part after this, on every node:\n"
      "  SELECT bdr.sync_publications();");
  Say("\nStop everything:\n  ./dev demo stop");
}

}  // namespace

absl::Status Run(const Options& options) {
  RETURN_IF_ERROR(CheckMachine(options));
  Say(
      absl::StrFormat("starting %d PostgreSQL servers, each with %d accounts, their agents and %s "
                      "in %s",
                      options.nodes, options.scale * 100000,
                      options.etcd ? "two bdr-servers on three members of etcd" : "one bdr-server",
                      options.folder));
  std::unique_ptr<harness::EtcdCluster> etcd;
  if (options.etcd) {
    ASSIGN_OR_RETURN(etcd, StartEtcd(options));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   BuildCluster(options, etcd.get()));
  cluster->Detach();
  if (options.keep) RETURN_IF_ERROR(MarkAsKept(options.folder));

  Say(
      absl::StrFormat("pgbench reads and writes on all %d nodes at the same time, %d clients each, "
                      "for %d s:\n",
                      options.nodes, options.clients, options.seconds));
  RETURN_IF_ERROR(ConvertOrders(*cluster));
  const bool delta = options.policy == "delta";
  if (delta) RETURN_IF_ERROR(SetDelta(*cluster));
  std::unique_ptr<ControlPlane> control_plane;
  if (etcd != nullptr) {
    control_plane = std::make_unique<ControlPlane>(etcd.get(), cluster.get(), options.seconds);
    Say("meanwhile the member of etcd that leads and then a bdr-server are killed with kill -9, "
        "and "
        "come back\n");
  }
  absl::Status result = RunPgbench(options, *cluster, control_plane.get());
  result.Update(Compare(*cluster));
  if (etcd != nullptr) result.Update(cluster->WaitUntilHealthy(kSettleDeadline));
  if (delta && result.ok()) result.Update(ShowSums(*cluster));
  if (result.ok()) result.Update(ShowOrders(*cluster));
  TellHowToGoOn(*cluster, options.etcd);
  return result;
}

}  // namespace bdr::demo
