#include "ctl/output.h"

#include <yaml-cpp/yaml.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace bdr::ctl {
namespace {

void EmitYaml(const Json& value, YAML::Emitter& yaml) {
  switch (value.type()) {
    case Json::value_t::object:
      // The emitter writes an empty block map as nothing at all.
      if (value.empty()) yaml << YAML::Flow;
      yaml << YAML::BeginMap;
      for (const auto& [key, member] : value.items()) {
        yaml << YAML::Key << key << YAML::Value;
        EmitYaml(member, yaml);
      }
      yaml << YAML::EndMap;
      return;
    case Json::value_t::array:
      if (value.empty()) yaml << YAML::Flow;
      yaml << YAML::BeginSeq;
      for (const Json& element : value) EmitYaml(element, yaml);
      yaml << YAML::EndSeq;
      return;
    case Json::value_t::string: {
      const std::string& text = value.get_ref<const std::string&>();
      if (text.find('\n') != std::string::npos) {
        yaml << YAML::Literal << text;
      } else {
        // Quoted, so that "no", "1e3" or "" stay strings for whoever reads this.
        yaml << YAML::DoubleQuoted << text;
      }
      return;
    }
    case Json::value_t::null:
      yaml << YAML::Null;
      return;
    default:
      yaml << value.dump();
  }
}

}  // namespace

absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name) {
  if (name == "table") return OutputFormat::kTable;
  if (name == "json") return OutputFormat::kJson;
  if (name == "yaml") return OutputFormat::kYaml;
  return absl::InvalidArgumentError(
      absl::StrCat("output format \"", name, "\" is not known: take table, json or yaml"));
}

void Write(const Output& output, OutputFormat format, std::ostream& out) {
  switch (format) {
    case OutputFormat::kTable:
      out << output.text;
      break;
    case OutputFormat::kJson:
      out << output.document.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
      break;
    case OutputFormat::kYaml: {
      YAML::Emitter yaml;
      EmitYaml(output.document, yaml);
      out << yaml.c_str() << "\n";
      break;
    }
  }
  out.flush();
}

}  // namespace bdr::ctl
