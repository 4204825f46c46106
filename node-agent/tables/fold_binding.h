// The policies of a table, bound to its columns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conflict/fold.h"
#include "conflict/history_store.h"
#include "node-agent/cluster/settings.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Immutable.
class FoldBinding {
 public:
  // A table that never had a policy.
  FoldBinding() = default;
  // `policies` may be null. `active`: the version of the settings in force.
  FoldBinding(std::shared_ptr<const PolicyHistory> policies, uint64_t active,
              const postgres::TableInfo& table);

  // Its changes are kept in the history: it folds, or will.
  bool keeps_history() const { return policies_ != nullptr; }
  bool folds() const { return folds_; }

  // By which a change is merged whose header carries this settings_version.
  const conflict::FoldPolicy& PolicyAt(uint64_t settings_version) const;
  // The user's function at that version, quoted for SQL: schema.name.
  std::string FunctionAt(uint64_t settings_version) const;

 private:
  struct Compiled {
    uint64_t from = 0;
    conflict::FoldPolicy policy;
    std::string function;
  };
  const Compiled* Find(uint64_t settings_version) const;

  std::shared_ptr<const PolicyHistory> policies_;
  bool folds_ = false;
  std::vector<Compiled> compiled_;
  conflict::FoldPolicy default_ = {};
};

}  // namespace bdr::agent
