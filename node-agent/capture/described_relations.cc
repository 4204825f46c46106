#include "node-agent/capture/described_relations.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {

absl::Status DescribedRelations::Describe(absl::string_view raw,
                                          const postgres::RelationMessage& message) {
  ASSIGN_OR_RETURN(Relation relation, announce_(raw, message));
  known_[message.relation_oid] = {.relation = std::move(relation), .arrival = ++arrivals_};
  return absl::OkStatus();
}

void DescribedRelations::DescribeStreamed(uint32_t xid, uint32_t oid, std::string raw) {
  streamed_[xid][oid] = {.raw = std::move(raw), .arrival = ++arrivals_};
}

absl::Status DescribedRelations::Committed(uint32_t xid) {
  const auto streamed = streamed_.extract(xid);
  if (streamed.empty()) return absl::OkStatus();
  for (const auto& [oid, described] : streamed.mapped()) {
    Known& known = known_[oid];
    if (known.arrival > described.arrival) continue;  // described anew by another transaction
    ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode(described.raw));
    ASSIGN_OR_RETURN(known.relation,
                     announce_(described.raw, std::get<postgres::RelationMessage>(message)));
    known.arrival = described.arrival;
  }
  return absl::OkStatus();
}

absl::StatusOr<DescribedRelations::Relation> DescribedRelations::Find(uint32_t oid) const {
  const auto known = known_.find(oid);
  if (known == known_.end()) {
    return absl::InternalError(
        absl::StrCat("the server sent a change of relation ", oid, " before describing it"));
  }
  return known->second.relation;
}

absl::Status DescribedRelations::LookUpAgain(const std::vector<Relation*>& also) {
  std::vector<Relation*> all = also;
  for (auto& [oid, known] : known_) all.push_back(&known.relation);
  // Kept until all are looked up: an address must not be used again meanwhile.
  std::vector<Relation> before;
  for (const Relation* relation : all) before.push_back(*relation);
  std::map<const CapturedRelation*, Relation> looked_up;
  for (Relation* relation : all) {
    if (*relation == nullptr || !(*relation)->replicated) continue;
    Relation& now = looked_up[relation->get()];
    if (now == nullptr) {
      ASSIGN_OR_RETURN(const postgres::Message message, postgres::Decode((*relation)->raw));
      ASSIGN_OR_RETURN(now,
                       announce_((*relation)->raw, std::get<postgres::RelationMessage>(message)));
    }
    *relation = now;
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
