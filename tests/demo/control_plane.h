// The part of a demo on etcd that fails while pgbench runs: one member of etcd, then one
// bdr-server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/demo/options.h"
#include "tests/harness/cluster.h"
#include "tests/harness/etcd.h"

namespace bdr::demo {

// Three members of etcd, in the demo's folder and on its ports. They outlive this process.
absl::StatusOr<std::unique_ptr<harness::EtcdCluster>> StartEtcd(const Options& options);

// Kills the member of etcd that leads at a fifth of the time, then a bdr-server at three fifths,
// each with kill -9, and starts each again a fifth later. Not thread-safe.
class ControlPlane {
 public:
  // Both must outlive it. `seconds` is 5 or more.
  ControlPlane(harness::EtcdCluster* etcd, harness::Cluster* cluster, int seconds)
      : etcd_(etcd), cluster_(cluster), seconds_(seconds) {}

  // Does what is due; to be called once for each second from 1 on. What it started outlives this
  // process.
  absl::Status Step(int second);
  // Who is there, and who leads: a line each for etcd and for the bdr-servers.
  std::vector<std::string> Lines();

 private:
  static constexpr int kKilledServer = 0;  // the one that agents ask first

  bool IsDue(int fifth, int second) const { return second == (seconds_ * fifth + 4) / 5; }

  harness::EtcdCluster* const etcd_;
  harness::Cluster* const cluster_;
  const int seconds_;
  int killed_member_ = -1;
};

}  // namespace bdr::demo
