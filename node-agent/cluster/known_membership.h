// The cluster as this agent knows it now: told by bdr-server, and never taken back.
//
// A bdr-server whose folder was replaced by an older copy, or that belongs to another cluster, must
// not make an agent forget members: what they still need would be dropped.
#pragma once

#include <string>

#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/cluster/membership.h"

namespace bdr::agent {

// Thread-safe; no call blocks.
class KnownMembership {
 public:
  // As it was written down. To be called before any Take().
  void Load(Membership kept);

  // What bdr-server says now. False, with a line in the log, if it is ignored: it is of another
  // cluster, or older than what is known.
  bool Take(const Membership& told);

  Membership Get() const;
  bool Has(NodeId node) const;
  // Of a member; empty if there is none, or if it is not known.
  std::string NameOf(NodeId node) const;
  std::string DataDirOf(NodeId node) const;

 private:
  mutable Mutex mu_;
  Membership membership_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
