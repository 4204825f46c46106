// The cluster's state in the store: reads it, changes it by compare-and-set, and tells it on.
//
// Thread-safe. Holds nothing that the store does not: any number of servers may share one store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "server/cluster_state.h"
#include "server/store/store.h"

namespace bdr::v1 {
class AcceptedClock;
class ClusterState;
class Member;
class Membership;
}  // namespace bdr::v1

namespace bdr::server {

// The store's key of the cluster's state, a bdr.v1.ClusterState.
inline constexpr char kClusterKey[] = "cluster";

class Cluster {
 public:
  // `store` must outlive it.
  explicit Cluster(Store* store) : store_(store) {}

  // An empty state before InitCluster.
  absl::StatusOr<ClusterState> Read() const;

  // Writes what `change` makes of the present state, unless it is equal, and gives the outcome.
  // `change` is called again if another server was faster; its errors are passed on.
  using ChangeFunction = std::function<absl::StatusOr<ClusterState>(ClusterState)>;
  absl::StatusOr<ClusterState> Change(const ChangeFunction& change);

 private:
  Store* const store_;
};

// Of the value of kClusterKey. kInternal, with what to do, if it is damaged.
absl::StatusOr<ClusterState> ParseClusterState(const std::string& value);

void ToProto(const ClusterMember& member, v1::Member* out);
void ToProto(const AcceptedClock& accepted, v1::AcceptedClock* out);
void ToProto(const ClusterState& state, v1::Membership* out);
void ToProto(const ClusterState& state, v1::ClusterState* out);
// kInvalidArgument for node ids and epochs that there cannot be.
absl::StatusOr<ClusterState> FromProto(const v1::Membership& membership);
absl::StatusOr<ClusterState> FromProto(const v1::ClusterState& message);

}  // namespace bdr::server
