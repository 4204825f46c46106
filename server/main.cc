// bdr-server: the control plane. See docs/configuration.md.
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/audit.h"
#include "base/config.h"
#include "base/grpc_log.h"
#include "base/grpc_security.h"
#include "base/http_server.h"
#include "base/logging.h"
#include "base/metrics.h"
#include "base/private_files.h"
#include "base/process_metrics.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"
#include "server/backup.h"
#include "server/cluster.h"
#include "server/control_service.h"
#include "server/guarded_store.h"
#include "server/leadership.h"
#include "server/lock_service.h"
#include "server/schema_cache.h"
#include "server/sequences/allocator.h"
#include "server/server_config.h"
#include "server/server_metrics.h"
#include "server/server_service.h"
#include "server/status_cache.h"
#include "server/store/open_store.h"
#include "server/upkeep.h"

namespace bdr::server {
namespace {

// Requests are short: what has not ended by then never will.
constexpr absl::Duration kDrainTime = absl::Seconds(3);

void RefreshMetrics(const ControlService& service, const SequenceAllocator& sequences,
                    Metrics& metrics) {
  v1::ClusterStatusResponse status;
  // Before there is a cluster nothing is shown; a store that cannot be read is for /readyz.
  if (!service.FillClusterStatus(&status).ok()) return;
  ShowCluster(status, &metrics);
  if (const auto all = sequences.List(); all.ok()) ShowSequences(*all, status, &metrics);
}

std::vector<std::string> NotReady(const Cluster& cluster) {
  const auto state = cluster.Read();
  if (!state.ok()) return {std::string(state.status().message())};
  if (state->restored) return {"restored from a backup: see \"bdrctl status\""};
  return {};
}

absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(const ServerConfig& config,
                                                     const std::vector<grpc::Service*>& services) {
  ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(config.security, config.listen));
  grpc::ServerBuilder builder;
  // Two servers on one port would each get half of the agents.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(config.listen, credentials, &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  AddAudit(&builder);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on \"", config.listen,
                                               "\": is the port in use, or the address not of "
                                               "this machine? Change \"listen\""));
  }
  return server;
}

std::string HostName() {
  char name[256] = "";
  (void)gethostname(name, sizeof(name) - 1);  // for people alone
  return name;
}

// Blocks until SIGTERM or SIGINT, which must be blocked in every thread.
int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

absl::Status Run(const std::string& config_path, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const ServerConfig config, LoadServerConfig(config_path));
  RETURN_IF_ERROR(SetLogLevel(absl::string_view(config.log_level)));
  RETURN_IF_ERROR(CheckPrivate(config.data_dir));
  RETURN_IF_ERROR(CheckPrivate(config.log_file));
  RETURN_IF_ERROR(SetLogFile(config.log_file));
  TakeGrpcLog();
  RETURN_IF_ERROR(CheckOwnIdentity(config.security, Role::kServer, ""));

  ASSIGN_OR_RETURN(std::unique_ptr<Store> opened, OpenStore(config.store_options()));
  ASSIGN_OR_RETURN(const std::unique_ptr<GuardedStore> store,
                   GuardedStore::Guard(std::move(opened)));
  Cluster cluster(store.get());
  // A store that does not answer, or was moved, is what whoever asks is told, and /readyz says.
  if (const absl::Status read = cluster.Read().status(); !absl::IsUnavailable(read)) {
    RETURN_IF_ERROR(read);
  }
  StatusCache statuses(store.get());
  SchemaCache schemas(store.get());
  if (const absl::Status loaded = schemas.Load(); !absl::IsUnavailable(loaded)) {
    RETURN_IF_ERROR(loaded);
  }
  schemas.Follow();
  const std::unique_ptr<Leadership> leadership = Leadership::Start(
      store.get(),
      {.id = RandomId(), .address = config.listen, .host = HostName(), .version = BDR_VERSION});
  const Upkeep upkeep(store.get(), leadership.get());
  Metrics metrics(ServerMetrics());
  ControlService service(store.get(), &cluster, &statuses, &schemas, &metrics);
  const SequenceAllocator sequences(store.get());
  ASSIGN_OR_RETURN(const auto expiries, CertificateExpiries(config.security));
  ShowCertificates(expiries, &metrics);
  metrics.OnScrape([&] {
    ShowProcess("bdr-server", BDR_VERSION, &metrics);
    RefreshMetrics(service, sequences, metrics);
    metrics.GetGauge("bdr_server_leads").Set(leadership->leads() ? 1 : 0);
  });
  ServerService servers(store.get(), leadership.get(), config.store_options(), &metrics);
  LockService locks(store.get(), &metrics);
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::Server> server,
                   Listen(config, {service.service(), servers.service(), locks.service()}));

  std::unique_ptr<HttpServer> http;
  if (!config.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(const auto address, config::ParseHostPort(config.metrics_listen));
    ASSIGN_OR_RETURN(http,
                     HttpServer::Start({.address = address, .metrics = &metrics, .not_ready = [&] {
                                          return NotReady(cluster);
                                        }}));
  }

  LogInfo("server", {{"state", "starting->running"},
                     {"version", BDR_VERSION},
                     {"listen", config.listen},
                     {"metrics_listen", config.metrics_listen},
                     {"data_dir", config.data_dir},
                     {"store", store->Name()}});
  const int signal = WaitForSignal(signals);
  LogInfo("server", {{"state", "running->stopping"}, {"signal", strsignal(signal)}});
  server->Shutdown(absl::ToChronoTime(absl::Now() + kDrainTime));
  server->Wait();
  LogInfo("server", {{"state", "stopping->stopped"}});
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadBackup(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  if (file.good()) return bytes.str();
  return absl::NotFoundError("it cannot be read, or is empty");
}

absl::Status Restore(const std::string& config_path, const std::string& path) {
  ASSIGN_OR_RETURN(const ServerConfig config, LoadServerConfig(config_path));
  RETURN_IF_ERROR(CheckPrivate(config.data_dir));
  const std::string to = config.store == kEmbedded ? config.data_dir : config.store;
  absl::StatusOr<RestoredBackup> restored = absl::UnknownError("");
  if (const absl::StatusOr<std::string> bytes = ReadBackup(path); bytes.ok()) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenStore(config.store_options()));
    restored = RestoreBackup(*bytes, store.get(), absl::ToUnixMicros(absl::Now()));
  } else {
    restored = bytes.status();
  }
  if (!restored.ok()) {
    return absl::Status(restored.status().code(),
                        absl::StrCat("cannot restore backup \"", path, "\" to \"", to,
                                     "\": ", restored.status().message()));
  }
  std::cout
      << "cluster \"" << restored->state.name << "\" (" << restored->state.id << ") of "
      << restored->state.members.size() << " nodes was restored to \"" << to << "\" as of epoch "
      << restored->state.epoch << ", "
      << absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMicros(restored->taken_us),
                          absl::UTCTimeZone())
      << "\nStart bdr-server: it answers once every node's agent has reported and none knows "
         "anything newer. If one does, or a node is gone, it says so to \"bdrctl status\": run "
         "\"bdrctl cluster init --from-agents\" then.\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace bdr::server

int main(int argc, char** argv) {
  bdr::KeepFilesPrivate();
  CLI::App app("bdr-server: keeps the members of a bdr cluster, and what they report.");
  bdr::server::ServerConfig config;
  app.footer("\nKeys of the configuration file:\n" +
             bdr::server::DeclareServerConfig(&config).Help());
  std::string config_path;
  app.add_option("--config", config_path, "Configuration file (YAML)")->required();
  std::string backup;
  CLI::App* restore = app.add_subcommand(
      "restore",
      "Writes a backup (\"bdrctl cluster backup\") to a store that keeps no cluster, and ends");
  restore->fallthrough();
  restore->add_option("FILE", backup, "The backup")->required();
  app.set_version_flag("--version", std::string("bdr-server ") + BDR_VERSION);
  CLI11_PARSE(app, argc, argv);

  // Before the first thread, so that all of them inherit it and only sigwait() takes the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  const absl::Status status = restore->parsed() ? bdr::server::Restore(config_path, backup)
                                                : bdr::server::Run(config_path, signals);
  if (status.ok()) return 0;
  bdr::LogError("server", {{"state", "failed"}}, status.message());
  return 1;
}
