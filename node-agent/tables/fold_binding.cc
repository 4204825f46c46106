#include "node-agent/tables/fold_binding.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

using postgres::QuoteIdentifier;

// Columns that are gone, or no numbers any more, are merged as all others.
std::vector<conflict::DeltaColumn> DeltaColumns(const TablePolicy& policy,
                                                const postgres::TableInfo& table) {
  std::vector<conflict::DeltaColumn> delta;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const postgres::ColumnInfo& column = table.columns[i];
    if (std::find(policy.columns.begin(), policy.columns.end(), column.name) ==
        policy.columns.end()) {
      continue;
    }
    const auto type = conflict::NumberTypeOf(column.type->oid);
    if (!type.has_value() || column.key_position >= 0) continue;
    delta.push_back({.column = i, .type = *type, .type_modifier = column.type_modifier});
  }
  return delta;
}

}  // namespace

FoldBinding::FoldBinding(std::shared_ptr<const PolicyHistory> policies, uint64_t active,
                         const postgres::TableInfo& table)
    : policies_(std::move(policies)) {
  // Without a key there is no row to fold.
  if (!table.has_key) policies_ = nullptr;
  if (policies_ == nullptr) return;
  folds_ = policies_->Folds(active);
  for (const auto& [version, policy] : policies_->all()) {
    Compiled& compiled = compiled_.emplace_back();
    compiled.from = version;
    compiled.policy = {
        .kind = policy.kind, .priority = policy.priority, .delta = DeltaColumns(policy, table)};
    const std::pair<std::string, std::string> name =
        absl::StrSplit(policy.function, absl::MaxSplits('.', 1));
    compiled.function =
        absl::StrCat(QuoteIdentifier(name.first), ".", QuoteIdentifier(name.second));
  }
}

const FoldBinding::Compiled* FoldBinding::Find(uint64_t settings_version) const {
  const Compiled* found = nullptr;
  for (const Compiled& compiled : compiled_) {
    if (compiled.from <= settings_version) found = &compiled;
  }
  return found;
}

const conflict::FoldPolicy& FoldBinding::PolicyAt(uint64_t settings_version) const {
  const Compiled* found = Find(settings_version);
  return found == nullptr ? default_ : found->policy;
}

std::string FoldBinding::FunctionAt(uint64_t settings_version) const {
  const Compiled* found = Find(settings_version);
  return found == nullptr ? "" : found->function;
}

}  // namespace bdr::agent
