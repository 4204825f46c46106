#include "server/witnesses.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "bdr/v1/store.pb.h"
#include "server/cluster.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

absl::StatusOr<Witness> FromShared(const StoreEntry& entry) {
  v1::SharedWitness shared;
  if (!shared.ParseFromString(entry.value)) {
    return absl::InternalError(absl::StrCat("the store's entry \"", entry.key,
                                            "\" cannot be read; it goes within half a minute"));
  }
  Witness witness{.node = shared.node(),
                  .node_id = static_cast<NodeId>(shared.node_id()),
                  .data_dir_id = shared.data_dir_id(),
                  .cluster_id = shared.cluster_id(),
                  .known_epoch = shared.known_epoch()};
  if (shared.has_known()) {
    ASSIGN_OR_RETURN(witness.known, FromProto(shared.known()));
  }
  return witness;
}

// Whether `shared` says more than what this server itself was told. An agent knows more with time,
// and tells all of it only until it is answered.
bool SaysMore(const Witness& shared, const Witness& own) {
  if (shared.known_epoch != own.known_epoch) return shared.known_epoch > own.known_epoch;
  return !shared.known.id.empty() && own.known.id.empty();
}

}  // namespace

void Witnesses::Set(Witness witness, int64_t now_us) {
  MutexLock lock(&mu_);
  // Without TLS anybody may report under names without end.
  std::erase_if(by_node_,
                [&](const auto& told) { return told.second.second < now_us - kHeardForUs; });
  std::string node = witness.node;
  by_node_[std::move(node)] = {std::move(witness), now_us};
}

absl::Status Witnesses::Share(const Witness& witness) {
  if (store_ == nullptr) return absl::OkStatus();
  v1::SharedWitness shared;
  shared.set_node(witness.node);
  shared.set_node_id(witness.node_id);
  shared.set_data_dir_id(witness.data_dir_id);
  shared.set_cluster_id(witness.cluster_id);
  shared.set_known_epoch(witness.known_epoch);
  if (!witness.known.id.empty()) ToProto(witness.known, shared.mutable_known());
  // The store lets it go by itself, so that no two servers' clocks are compared.
  ASSIGN_OR_RETURN(const uint64_t lease, store_->GrantLease(absl::Microseconds(kHeardForUs)));
  return store_
      ->Commit({.writes = {{.key = absl::StrCat(kWitnessPrefix, witness.node),
                            .value = shared.SerializeAsString(),
                            .lease = lease}}})
      .status();
}

absl::StatusOr<std::vector<Witness>> Witnesses::Recent(int64_t now_us) const {
  std::map<std::string, Witness> heard;
  if (store_ != nullptr) {
    ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store_->List(kWitnessPrefix));
    for (const StoreEntry& entry : entries) {
      ASSIGN_OR_RETURN(Witness witness, FromShared(entry));
      std::string node = witness.node;
      heard[std::move(node)] = std::move(witness);
    }
  }
  MutexLock lock(&mu_);
  for (const auto& [node, told] : by_node_) {
    if (told.second < now_us - kHeardForUs) continue;
    const auto shared = heard.find(node);
    if (shared != heard.end() && SaysMore(shared->second, told.first)) continue;
    heard[node] = told.first;
  }
  std::vector<Witness> all;
  for (auto& [node, witness] : heard) all.push_back(std::move(witness));
  return all;
}

}  // namespace bdr::server
