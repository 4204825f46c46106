#include "node-agent/schema/unsettled.h"

#include <algorithm>

#include "bdr/v1/schema.pb.h"
#include "postgres/shapes/schema_diff.h"

namespace bdr::agent {
namespace {

bool Has(const v1::TableShape& table, const std::string& meaning) {
  return std::any_of(
      table.unique().begin(), table.unique().end(),
      [&](const v1::ConstraintShape& unique) { return unique.meaning() == meaning; });
}

const v1::TableShape* Find(const v1::Schema* schema, const v1::TableShape& table) {
  return schema == nullptr ? nullptr
                           : postgres::FindTableShape(*schema, table.schema(), table.name());
}

// Who has the table, in what is known of one constraint of it.
struct Others {
  std::string lacked_by;
  bool have_table = false;
  int64_t read_us = 0;
};

Others LookAt(absl::Span<const KnownSchema> others, const v1::TableShape& table,
              const std::string& meaning) {
  Others seen;
  for (const KnownSchema& other : others) {
    const v1::TableShape* theirs = Find(other.schema, table);
    if (theirs == nullptr) continue;
    seen.have_table = true;
    seen.read_us = std::max(seen.read_us, other.read_us);
    if (seen.lacked_by.empty() && !Has(*theirs, meaning)) seen.lacked_by = other.node;
  }
  return seen;
}

}  // namespace

UnsettledConstraints Settle(const UnsettledConstraints& before, const v1::Schema* own_before,
                            const KnownSchema& own, absl::Span<const KnownSchema> others,
                            bool all_known) {
  UnsettledConstraints now;
  for (const v1::TableShape& table : own.schema->tables()) {
    for (const v1::ConstraintShape& unique : table.unique()) {
      const std::tuple key(table.schema(), table.name(), unique.meaning());
      const auto known = before.find(key);
      const Others seen = LookAt(others, table, unique.meaning());
      if (!seen.lacked_by.empty()) {
        // Since when it is here is known only now: an agent that begins again reads its tables
        // later than they became what they are, and rows from in between would not count.
        now[key] = {.lacked_by = seen.lacked_by,
                    .until_us = known == before.end() ? own.read_us : known->second.until_us};
      } else if (known != before.end()) {
        const bool settles = !known->second.lacked_by.empty() && all_known;
        const int64_t own_us = known->second.until_us == 0 ? own.read_us : known->second.until_us;
        now[key] = settles ? Unsettled{.until_us = std::max(own_us, seen.read_us)} : known->second;
      } else if (seen.have_table) {
        const v1::TableShape* mine = Find(own_before, table);
        if (mine != nullptr && !Has(*mine, unique.meaning())) now[key] = {.until_us = own.read_us};
      }
    }
  }
  return now;
}

std::string Serialize(const UnsettledConstraints& constraints) {
  v1::UnsettledConstraints message;
  for (const auto& [key, unsettled] : constraints) {
    v1::UnsettledConstraint* out = message.add_constraints();
    std::tie(*out->mutable_schema(), *out->mutable_table(), *out->mutable_meaning()) = key;
    out->set_lacked_by(unsettled.lacked_by);
    out->set_until_us(unsettled.until_us);
  }
  return message.SerializeAsString();
}

absl::StatusOr<UnsettledConstraints> ParseUnsettled(absl::string_view bytes) {
  v1::UnsettledConstraints message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError(
        "what is known of unique constraints that some node lacked is damaged");
  }
  UnsettledConstraints constraints;
  for (const v1::UnsettledConstraint& each : message.constraints()) {
    constraints[{each.schema(), each.table(), each.meaning()}] = {.lacked_by = each.lacked_by(),
                                                                  .until_us = each.until_us()};
  }
  return constraints;
}

}  // namespace bdr::agent
