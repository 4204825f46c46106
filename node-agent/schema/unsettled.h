// Unique constraints of this node by which no row may be unseated, since not every node had them
// when the row was written.
//
// Who loses a unique value is decided alike everywhere only if everybody looks at it. A node that
// alone has a unique index would take rows away that stand on all others. And when the last node
// has made its index, changes from before it may still be under way: of two rows with one value,
// the later may have been removed there so that the index could be made, while here its insert is
// still to come and would unseat the older one, which the others have kept. So a collision by such
// a constraint, or by a claim from before all had it, stops where it is met, and a person decides.
//
// Moves of a constraint: (none) -> lacked, once a node is known not to have it -> unsettled until
// the moment at which all were seen with it. One that comes to a table that others have with it
// already is unsettled until the moment at which it was seen here. Forgotten when it is dropped
// here. A table that comes with its constraints has none of this.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace bdr::v1 {
class Schema;
}

namespace bdr::agent {

struct Unsettled {
  std::string lacked_by = {};  // a node that does not have it; empty: all have
  // Claims stamped up to here do not count, µs since 1970. While a node lacks it none does, and
  // this is since when it is here; 0: written down by an agent that did not know.
  int64_t until_us = 0;

  friend bool operator==(const Unsettled&, const Unsettled&) = default;
};

// By schema, table, and what the constraint says (ConstraintInfo::Meaning()).
using UnsettledConstraints = std::map<std::tuple<std::string, std::string, std::string>, Unsettled>;

struct KnownSchema {
  std::string node;
  const v1::Schema* schema = nullptr;
  int64_t read_us = 0;  // by its server's clock: what is later was written under these shapes
};

// Pure. `own_before`: null if it is not known. `all_known`: `others` are all the other members.
UnsettledConstraints Settle(const UnsettledConstraints& before, const v1::Schema* own_before,
                            const KnownSchema& own, absl::Span<const KnownSchema> others,
                            bool all_known);

std::string Serialize(const UnsettledConstraints& constraints);
// kDataLoss if the bytes are none of Serialize()'s.
absl::StatusOr<UnsettledConstraints> ParseUnsettled(absl::string_view bytes);

}  // namespace bdr::agent
