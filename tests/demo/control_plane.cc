#include "tests/demo/control_plane.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "tests/harness/ports.h"

namespace bdr::demo {
namespace {

// Behind the ports of the most nodes that a demo has.
constexpr int kPortsOfNodes = 90;

std::string Line(absl::string_view what, const std::vector<std::string>& parts) {
  return absl::StrFormat("%-10s %s", what, absl::StrJoin(parts, ", "));
}

}  // namespace

absl::StatusOr<std::unique_ptr<harness::EtcdCluster>> StartEtcd(const Options& options) {
  ASSIGN_OR_RETURN(auto etcd,
                   harness::EtcdCluster::Start({.folder = options.folder + "/etcd",
                                                .first_port = options.first_port + kPortsOfNodes,
                                                .parent_death_signal = 0}));
  etcd->Detach();
  return etcd;
}

absl::Status ControlPlane::Step(int second) {
  if (IsDue(1, second)) {
    ASSIGN_OR_RETURN(killed_member_, etcd_->Leader());
    etcd_->member(killed_member_).Kill9();
  } else if (IsDue(2, second)) {
    RETURN_IF_ERROR(etcd_->StartMember(killed_member_));
    etcd_->Detach();
  } else if (IsDue(3, second)) {
    cluster_->server(kKilledServer).Kill9();
  } else if (IsDue(4, second)) {
    RETURN_IF_ERROR(cluster_->StartServer(kKilledServer));
    cluster_->Detach();
  }
  return absl::OkStatus();
}

std::vector<std::string> ControlPlane::Lines() {
  const absl::StatusOr<int> leader = etcd_->Leader();
  const std::vector<std::string> addresses = etcd_->endpoints();
  std::vector<std::string> members;
  for (int i = 0; i < etcd_->size(); ++i) {
    const char* const state = !etcd_->member(i).Running()   ? " was killed"
                              : leader.ok() && *leader == i ? " leads"
                                                            : " runs";
    members.push_back(addresses[static_cast<size_t>(i)] + state);
  }
  std::vector<std::string> servers;
  for (int i = 0; i < kDemoServersOnEtcd; ++i) {
    const int port = cluster_->server_port(i);
    const char* const state = !cluster_->server(i).Running() ? " was killed"
                              : harness::CanConnect(port)    ? " runs"
                                                             : " starts";
    servers.push_back(absl::StrCat("127.0.0.1:", port, state));
  }
  return {Line("etcd", members), Line("bdr-server", servers)};
}

}  // namespace bdr::demo
