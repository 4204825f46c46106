#include "bench/system.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"
#include "tests/harness/process.h"

namespace bdr::bench {
namespace {

absl::Status LoadPgbench(const harness::PostgresServer& server, const std::string& database,
                         int scale) {
  ASSIGN_OR_RETURN(
      const harness::ProgramResult loaded,
      harness::RunProgram({.argv = {server.bin_folder() + "/pgbench", "-i", "-q", "-s",
                                    absl::StrCat(scale), server.conninfo("postgres", database)}},
                          absl::Minutes(5)));
  return loaded.exit_code == 0 ? absl::OkStatus() : absl::InternalError(loaded.err);
}

class Bdr : public System {
 public:
  explicit Bdr(std::unique_ptr<harness::Cluster> cluster) : cluster_(std::move(cluster)) {}
  std::string name() const override { return "bdr"; }
  harness::PostgresServer& source() override { return cluster_->postgres("n1"); }
  harness::PostgresServer& receiver() override { return cluster_->postgres("n2"); }
  std::string database() const override { return "app"; }
  // Stopped, not ended: its start is not what is measured.
  absl::Status Pause() override { return cluster_->agent("n2").Pause(); }
  absl::Status Resume() override { return cluster_->agent("n2").Resume(); }

 private:
  const std::unique_ptr<harness::Cluster> cluster_;
};

class Baseline : public System {
 public:
  Baseline(std::string name, std::string pause, std::string resume,
           std::unique_ptr<harness::PostgresServer> source,
           std::unique_ptr<harness::PostgresServer> receiver)
      : name_(std::move(name)),
        pause_(std::move(pause)),
        resume_(std::move(resume)),
        source_(std::move(source)),
        receiver_(std::move(receiver)) {}
  std::string name() const override { return name_; }
  harness::PostgresServer& source() override { return *source_; }
  harness::PostgresServer& receiver() override { return *receiver_; }
  std::string database() const override { return "postgres"; }
  absl::Status Pause() override { return receiver_->Exec(pause_); }
  absl::Status Resume() override { return receiver_->Exec(resume_); }

 private:
  const std::string name_;
  const std::string pause_;
  const std::string resume_;
  const std::unique_ptr<harness::PostgresServer> source_;
  const std::unique_ptr<harness::PostgresServer> receiver_;
};

struct Pair {
  std::unique_ptr<harness::PostgresServer> source;
  std::unique_ptr<harness::PostgresServer> receiver;
};

absl::StatusOr<Pair> StartPair(int scale, const std::string& preload) {
  Pair pair;
  for (auto* server : {&pair.source, &pair.receiver}) {
    harness::PostgresOptions options;
    options.name = server == &pair.source ? "source" : "receiver";
    if (!preload.empty()) options.settings.emplace_back("shared_preload_libraries", preload);
    ASSIGN_OR_RETURN(*server, harness::PostgresServer::Create(std::move(options)));
    RETURN_IF_ERROR(LoadPgbench(**server, "postgres", scale));
  }
  return pair;
}

}  // namespace

absl::StatusOr<std::unique_ptr<System>> StartBdr(int scale) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.prepare = [scale](harness::Cluster& cluster, const std::string& node) {
    return LoadPgbench(cluster.postgres(node), "app", scale);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<harness::Cluster> cluster,
                   harness::Cluster::Start(std::move(options)));
  return std::make_unique<Bdr>(std::move(cluster));
}

absl::StatusOr<std::unique_ptr<System>> StartInCore(int scale) {
  ASSIGN_OR_RETURN(Pair pair, StartPair(scale, ""));
  RETURN_IF_ERROR(pair.source->Exec(
      "CREATE PUBLICATION pgbench FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, "
      "pgbench_history"));
  // Not within the transaction of another statement: it makes a slot.
  RETURN_IF_ERROR(pair.receiver->RunScript(
      absl::StrCat("CREATE SUBSCRIPTION pgbench CONNECTION '", pair.source->conninfo(),
                   "' PUBLICATION pgbench WITH (copy_data = false, binary = true)")));
  return std::make_unique<Baseline>("in-core", "ALTER SUBSCRIPTION pgbench DISABLE",
                                    "ALTER SUBSCRIPTION pgbench ENABLE", std::move(pair.source),
                                    std::move(pair.receiver));
}

absl::StatusOr<std::unique_ptr<System>> StartPglogical(int scale) {
  absl::StatusOr<Pair> started = StartPair(scale, "pglogical");
  if (!started.ok()) {
    return absl::NotFoundError(
        "pglogical is not installed: apt-get install postgresql-15-pglogical");
  }
  Pair pair = *std::move(started);
  for (const auto* server : {&pair.source, &pair.receiver}) {
    RETURN_IF_ERROR((*server)->Exec("CREATE EXTENSION pglogical"));
    RETURN_IF_ERROR((*server)->Exec(absl::StrCat(
        "SELECT pglogical.create_node('", (*server)->name(), "', '", (*server)->conninfo(), "')")));
  }
  for (const char* table : {"pgbench_accounts", "pgbench_branches", "pgbench_tellers"}) {
    RETURN_IF_ERROR(pair.source->Exec(absl::StrCat(
        "SELECT pglogical.replication_set_add_table('default', 'public.", table, "')")));
  }
  RETURN_IF_ERROR(pair.source->Exec(
      "SELECT pglogical.replication_set_add_table('default_insert_only', 'pgbench_history')"));
  RETURN_IF_ERROR(pair.receiver->RunScript(
      absl::StrCat("SELECT pglogical.create_subscription('pgbench', '", pair.source->conninfo(),
                   "', synchronize_structure := false, synchronize_data := false)")));
  return std::make_unique<Baseline>("pglogical",
                                    "SELECT pglogical.alter_subscription_disable('pgbench', true)",
                                    "SELECT pglogical.alter_subscription_enable('pgbench', true)",
                                    std::move(pair.source), std::move(pair.receiver));
}

}  // namespace bdr::bench
