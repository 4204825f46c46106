// A real etcd cluster of a test's own, its members there to be killed, paused and started again.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tests/harness/certificates.h"
#include "tests/harness/process.h"
#include "tests/harness/tcp_proxy.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {

struct EtcdClusterOptions {
  int members = 3;
  // Members serve TLS and want a certificate that it has signed; null: plaintext.
  CertificateAuthority* authority = nullptr;
  std::string folder = {};            // empty: a temporary one
  int first_port = 0;                 // 0: any; else from there on, three for each member
  int parent_death_signal = SIGKILL;  // 0: everything outlives us, see Detach()
  bool proxies = false;  // members reach each other through proxies: Isolate() is possible
};

// Not thread-safe.
class EtcdCluster {
 public:
  // Returns once there is a leader. kNotFound if etcd is not installed (Debian: etcd-server).
  static absl::StatusOr<std::unique_ptr<EtcdCluster>> Start(EtcdClusterOptions options = {});
  EtcdCluster(const EtcdCluster&) = delete;
  EtcdCluster& operator=(const EtcdCluster&) = delete;

  int size() const { return static_cast<int>(members_.size()); }
  // host:port of each member, as clients reach it.
  std::vector<std::string> endpoints() const;
  // As bdr-server's "store" names it.
  std::string Url(const std::string& prefix = "bdr") const;

  ChildProcess& member(int index) { return *members_[static_cast<size_t>(index)].process; }
  // After Kill9(), with the data that it had.
  absl::Status StartMember(int index);
  // The one that leads now. kUnavailable if nobody does.
  absl::StatusOr<int> Leader();
  // That a member answers, which takes a leader.
  absl::Status WaitUntilReady(absl::Duration deadline);
  // What runs now does so after this object is gone (needs parent_death_signal 0).
  void Detach();

  // With `proxies`: nothing gets through between this member and the others. Clients still reach
  // it.
  void Isolate(int index);
  void Heal();

 private:
  struct Member {
    int client_port = 0;
    int peer_port = 0;
    int metrics_port = 0;
    int advertised_port = 0;  // of the proxy before peer_port, if there is one
    std::string folder;
    std::unique_ptr<ChildProcess> process;
    std::unique_ptr<TcpProxy> proxy;
  };

  EtcdCluster(EtcdClusterOptions options, std::unique_ptr<TempFolder> temporary)
      : options_(std::move(options)), temporary_(std::move(temporary)) {}
  absl::Status StartProxies();
  std::string NameOfClient(int client_port, int proxy_port) const;

  const EtcdClusterOptions options_;
  const std::unique_ptr<TempFolder> temporary_;  // null if the folder was given
  mutable Mutex mu_;
  std::map<std::string, pid_t> pids_ ABSL_GUARDED_BY(mu_);
  std::vector<Member> members_;  // last: proxies ask for pids_
};

}  // namespace bdr::harness
