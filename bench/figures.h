// What was measured, for programs: an array of objects, one for each line that people see.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tests/harness/temp_folder.h"

namespace bdr::bench {

// Not thread-safe.
class Figures {
 public:
  // `values`: an object, number or text by name; units end the names.
  void Add(const std::string& measurement, const std::string& contestant,
           const nlohmann::ordered_json& values) {
    nlohmann::ordered_json line = {{"measurement", measurement}, {"contestant", contestant}};
    line.update(values);
    lines_.push_back(std::move(line));
  }
  absl::Status Write(const std::string& file) const {
    return harness::WriteFile(file, lines_.dump(2) + "\n");
  }

 private:
  nlohmann::ordered_json lines_ = nlohmann::ordered_json::array();
};

}  // namespace bdr::bench
