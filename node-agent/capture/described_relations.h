// Which relations the server takes as described, within one session.
//
// The server describes a relation once, before its first change, and again when its shape has
// changed. Within a streamed transaction a description counts for that transaction alone at first:
// once it commits, the server takes the relation as known to us, and does not describe it again to
// later ones; unless another came by meanwhile, which is newer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "node-agent/capture/captured_relation.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture.
class DescribedRelations {
 public:
  using Relation = std::shared_ptr<const CapturedRelation>;
  // Looks up what a Relation message means here. Its errors are passed on.
  using Announce = std::function<absl::StatusOr<Relation>(absl::string_view raw,
                                                          const postgres::RelationMessage&)>;

  explicit DescribedRelations(Announce announce) : announce_(std::move(announce)) {}

  // `raw` is `message` in the form outside of a stream. It counts from now on.
  absl::Status Describe(absl::string_view raw, const postgres::RelationMessage& message);
  // Within the streamed transaction `xid`: counts once that commits.
  void DescribeStreamed(uint32_t xid, uint32_t oid, std::string raw);
  absl::Status Committed(uint32_t xid);
  void RolledBack(uint32_t xid) { streamed_.erase(xid); }

  // kInternal if the server has sent a change of a relation that it has not described.
  absl::StatusOr<Relation> Find(uint32_t oid) const;
  size_t size() const { return known_.size(); }

  // Looks all of them up once more, and those of `also`, which some change holds.
  absl::Status LookUpAgain(const std::vector<Relation*>& also);

 private:
  struct Known {
    Relation relation;
    uint64_t arrival = 0;
  };
  struct Streamed {
    std::string raw;
    uint64_t arrival = 0;
  };

  const Announce announce_;
  std::map<uint32_t, Known> known_;                            // by OID
  std::map<uint32_t, std::map<uint32_t, Streamed>> streamed_;  // by xid, OID
  uint64_t arrivals_ = 0;
};

}  // namespace bdr::agent
