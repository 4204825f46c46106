// A real etcd cluster of a test's own, its members there to be killed, paused and started again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/harness/certificates.h"
#include "tests/harness/process.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {

struct EtcdClusterOptions {
  int members = 3;
  // Members serve TLS and want a certificate that it has signed; null: plaintext.
  CertificateAuthority* authority = nullptr;
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

 private:
  struct Member {
    int client_port = 0;
    int peer_port = 0;
    int metrics_port = 0;
    std::string folder;
    std::unique_ptr<ChildProcess> process;
  };

  EtcdCluster(EtcdClusterOptions options, std::unique_ptr<TempFolder> folder)
      : options_(options), folder_(std::move(folder)) {}

  const EtcdClusterOptions options_;
  const std::unique_ptr<TempFolder> folder_;
  std::vector<Member> members_;
};

}  // namespace bdr::harness
