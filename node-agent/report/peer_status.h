// How things stand with one other member, as far as changes go.
#pragma once

#include "node-agent/apply/drive/applier_status.h"
#include "node-agent/cluster/membership.h"
#include "node-agent/stream/subscriber.h"

namespace bdr::agent {

struct PeerStatus {
  Member member;
  LinkStatus link;      // of the stream from it
  ApplierStatus apply;  // of its changes
};

}  // namespace bdr::agent
