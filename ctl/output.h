// The one way in which bdrctl says something on stdout: as text for people, or as JSON or YAML for
// programs, which hold all that the text holds and more.
#pragma once

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::ctl {

// Keys stay in the order in which they were set.
using Json = nlohmann::ordered_json;

enum class OutputFormat { kTable, kJson, kYaml };

// kInvalidArgument unless it is table, json or yaml.
absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name);

struct Output {
  std::string text;  // written as it is, for kTable
  Json document;     // for kJson and kYaml
};

// Strings in `document` that are not UTF-8 are written with replacement characters.
void Write(const Output& output, OutputFormat format, std::ostream& out);

}  // namespace bdr::ctl
