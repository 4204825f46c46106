#include "ctl/field_table.h"

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "ctl/format.h"

namespace bdr::ctl {
namespace {

std::string ValueText(const std::string& key, const Json& value, bool span) {
  if (value.is_null()) return "-";
  if (value.is_string()) return OrDash(value.get<std::string>());
  if (!value.is_number_integer()) return value.dump();
  if (absl::EndsWith(key, "_bytes")) return HumanBytes(value.get<uint64_t>());
  if (absl::EndsWith(key, "_ms")) return HumanLag(value.get<int64_t>());
  if (!absl::EndsWith(key, "_us")) return value.dump();
  return span ? HumanLag(value.get<int64_t>() / 1000) : LocalTime(value.get<int64_t>());
}

std::string Title(absl::string_view key) {
  for (const absl::string_view unit : {"_us", "_ms", "_bytes"}) {
    if (absl::ConsumeSuffix(&key, unit)) break;
  }
  return std::string(key);
}

}  // namespace

Table FieldTable(const Json& facts, const std::set<std::string>& spans) {
  Table table({{"FIELD"}, {"VALUE"}});
  for (const auto& [key, value] : facts.items()) {
    table.AddRow({Title(key), ValueText(key, value, spans.contains(key))});
  }
  return table;
}

}  // namespace bdr::ctl
