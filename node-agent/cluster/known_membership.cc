#include "node-agent/cluster/known_membership.h"

#include <utility>

#include "base/logging.h"

namespace bdr::agent {

void KnownMembership::Load(Membership kept) {
  MutexLock lock(&mu_);
  membership_ = std::move(kept);
}

bool KnownMembership::Take(const Membership& told) {
  MutexLock lock(&mu_);
  if (!membership_.cluster_id.empty() && membership_.cluster_id != told.cluster_id) {
    LogError("agent", {{"cluster", told.cluster_id}, {"expected", membership_.cluster_id}},
             "bdr-server speaks of another cluster; ignored");
    return false;
  }
  if (told.epoch < membership_.epoch) {
    // It refuses reports for that; but one from before it could.
    LogError("agent", {{"epoch", told.epoch}, {"known", membership_.epoch}},
             "bdr-server has gone back in time; ignored");
    return false;
  }
  membership_ = told;
  return true;
}

Membership KnownMembership::Get() const {
  MutexLock lock(&mu_);
  return membership_;
}

bool KnownMembership::Has(NodeId node) const {
  MutexLock lock(&mu_);
  return membership_.Find(node) != nullptr;
}

std::string KnownMembership::NameOf(NodeId node) const {
  MutexLock lock(&mu_);
  const Member* member = membership_.Find(node);
  return member == nullptr ? "" : member->name;
}

std::string KnownMembership::DataDirOf(NodeId node) const {
  MutexLock lock(&mu_);
  const Member* member = membership_.Find(node);
  return member == nullptr ? "" : member->data_dir_id;
}

}  // namespace bdr::agent
