#include "tests/harness/etcd.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"
#include "tests/harness/http.h"
#include "tests/harness/ports.h"

namespace bdr::harness {
namespace {

constexpr absl::Duration kStartDeadline = absl::Seconds(60);

std::string NameOf(int index) { return absl::StrCat("etcd-", index); }

}  // namespace

absl::StatusOr<std::unique_ptr<EtcdCluster>> EtcdCluster::Start(EtcdClusterOptions options) {
  std::unique_ptr<TempFolder> temporary;
  if (options.folder.empty()) {
    ASSIGN_OR_RETURN(temporary, TempFolder::Create("bdr-etcd"));
    options.folder = temporary->path();
  } else {
    std::error_code error;
    std::filesystem::create_directories(options.folder, error);
  }
  int next = options.first_port;
  const auto choose = [&]() -> absl::StatusOr<int> {
    if (options.first_port == 0) return FreePort();
    RETURN_IF_ERROR(CheckPortFree(next));
    return next++;
  };
  std::unique_ptr<EtcdCluster> cluster(new EtcdCluster(options, std::move(temporary)));
  for (int i = 0; i < options.members; ++i) {
    Member member;
    ASSIGN_OR_RETURN(member.client_port, choose());
    ASSIGN_OR_RETURN(member.peer_port, choose());
    ASSIGN_OR_RETURN(member.metrics_port, choose());
    member.advertised_port = member.peer_port;
    if (options.proxies) {
      ASSIGN_OR_RETURN(member.advertised_port, FreePort());
    }
    member.folder = absl::StrCat(options.folder, "/", NameOf(i));
    if (options.authority != nullptr) {
      RETURN_IF_ERROR(options.authority->Issue(NameOf(i), "server"));
    }
    cluster->members_.push_back(std::move(member));
  }
  if (options.proxies) RETURN_IF_ERROR(cluster->StartProxies());
  for (int i = 0; i < options.members; ++i) RETURN_IF_ERROR(cluster->StartMember(i));
  RETURN_IF_ERROR(cluster->WaitUntilReady(kStartDeadline));
  return cluster;
}

std::vector<std::string> EtcdCluster::endpoints() const {
  std::vector<std::string> addresses;
  for (const Member& member : members_) {
    addresses.push_back(absl::StrCat("127.0.0.1:", member.client_port));
  }
  return addresses;
}

std::string EtcdCluster::Url(const std::string& prefix) const {
  return absl::StrCat("etcd://", absl::StrJoin(endpoints(), ","), "/", prefix);
}

absl::Status EtcdCluster::StartProxies() {
  for (Member& member : members_) {
    const int proxy_port = member.advertised_port;
    ASSIGN_OR_RETURN(member.proxy,
                     TcpProxy::Start({.listen_port = proxy_port,
                                      .server_port = member.peer_port,
                                      .classify = [this, proxy_port](int client_port) {
                                        return NameOfClient(client_port, proxy_port);
                                      }}));
  }
  return absl::OkStatus();
}

std::string EtcdCluster::NameOfClient(int client_port, int proxy_port) const {
  std::map<std::string, pid_t> pids;
  {
    MutexLock lock(&mu_);
    pids = pids_;
  }
  for (const auto& [name, pid] : pids) {
    if (OwnsConnection(pid, client_port, proxy_port)) return name;
  }
  return "";
}

void EtcdCluster::Isolate(int index) {
  for (int i = 0; i < size(); ++i) {
    members_[static_cast<size_t>(i)].proxy->Cut(i == index ? "" : NameOf(index));
  }
}

void EtcdCluster::Heal() {
  for (Member& member : members_) member.proxy->Heal();
}

absl::Status EtcdCluster::StartMember(int index) {
  std::vector<std::string> peers;
  for (int i = 0; i < size(); ++i) {
    peers.push_back(absl::StrCat(
        NameOf(i), "=http://127.0.0.1:", members_[static_cast<size_t>(i)].advertised_port));
  }
  Member& member = members_[static_cast<size_t>(index)];
  const std::string client = absl::StrCat(options_.authority == nullptr ? "http" : "https",
                                          "://127.0.0.1:", member.client_port);
  const std::string peer = absl::StrCat("http://127.0.0.1:", member.peer_port);
  const std::string advertised = absl::StrCat("http://127.0.0.1:", member.advertised_port);
  std::vector<std::string> argv = {
      "etcd", "--data-dir", member.folder, "--name", NameOf(index), "--listen-client-urls", client,
      "--advertise-client-urls", client, "--listen-peer-urls", peer,
      "--initial-advertise-peer-urls", advertised, "--initial-cluster", absl::StrJoin(peers, ","),
      // Also with TLS in plaintext, for us.
      "--listen-metrics-urls", absl::StrCat("http://127.0.0.1:", member.metrics_port), "--logger",
      "zap"};
  if (options_.authority != nullptr) {
    argv.insert(argv.end(),
                {"--client-cert-auth", "--trusted-ca-file", options_.authority->ca_file(),
                 "--cert-file", options_.authority->certificate_file(NameOf(index)), "--key-file",
                 options_.authority->key_file(NameOf(index))});
  }
  ASSIGN_OR_RETURN(member.process,
                   ChildProcess::Start({.name = NameOf(index),
                                        .argv = std::move(argv),
                                        .log_file = member.folder + ".log",
                                        .parent_death_signal = options_.parent_death_signal}));
  MutexLock lock(&mu_);
  pids_[NameOf(index)] = member.process->pid();
  return absl::OkStatus();
}

absl::StatusOr<int> EtcdCluster::Leader() {
  for (int i = 0; i < size(); ++i) {
    Member& member = members_[static_cast<size_t>(i)];
    if (!member.process->Running()) continue;
    const auto response = HttpGet(member.metrics_port, "/metrics");
    if (response.ok() && Metrics::Parse(response->body).Sum("etcd_server_is_leader") > 0) return i;
  }
  return absl::UnavailableError("no member of etcd leads");
}

void EtcdCluster::Detach() {
  for (const Member& member : members_) {
    if (member.process != nullptr) member.process->Detach();
  }
}

absl::Status EtcdCluster::WaitUntilReady(absl::Duration deadline) {
  return WaitFor("etcd has a leader", deadline, [this]() -> absl::StatusOr<bool> {
    for (Member& member : members_) {
      if (!member.process->Running()) continue;
      const auto response = HttpGet(member.metrics_port, "/metrics");
      if (!response.ok()) continue;
      if (Metrics::Parse(response->body).Sum("etcd_server_has_leader") > 0) return true;
    }
    return absl::UnavailableError(
        absl::StrCat("none says so: ", TailOfFile(members_[0].folder + ".log")));
  });
}

}  // namespace bdr::harness
