// Findings as a check collects them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "postgres/setup/node_check.h"

namespace bdr::pg_setup {

class Findings {
 public:
  void Ok(std::string what) { Add(Finding::Level::kOk, std::move(what), ""); }
  void Warning(std::string what, std::string remedy = "") {
    Add(Finding::Level::kWarning, std::move(what), std::move(remedy));
  }
  void Error(std::string what, std::string remedy = "") {
    Add(Finding::Level::kError, std::move(what), std::move(remedy));
  }
  void TableError(std::string what, std::string remedy) {
    Error(std::move(what), std::move(remedy));
    list_.back().of_tables = true;
  }
  // One or the other: most requirements are met or have one remedy.
  void Require(bool met, std::string good, std::string bad, std::string remedy) {
    if (met) Ok(std::move(good));
    if (!met) Error(std::move(bad), std::move(remedy));
  }
  std::vector<Finding> Take() { return std::move(list_); }

 private:
  void Add(Finding::Level level, std::string what, std::string remedy) {
    list_.push_back({level, std::move(what), std::move(remedy)});
  }
  std::vector<Finding> list_;
};

}  // namespace bdr::pg_setup
