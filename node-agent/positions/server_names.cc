#include "node-agent/positions/server_names.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace bdr::agent {
namespace {

constexpr size_t kIdDigits = 8;       // of the cluster's id: 32 bits tell a server's clusters apart
constexpr size_t kMostSlotName = 63;  // PostgreSQL's NAMEDATALEN - 1

std::string SlotName(absl::string_view prefix, absl::string_view node_name) {
  // Slots have no '-'. What is cut off is for people alone, after Of()'s prefix.
  return absl::StrCat(prefix, absl::StrReplaceAll(node_name, {{"-", "_"}}))
      .substr(0, kMostSlotName);
}

}  // namespace

ServerNames ServerNames::Of(absl::string_view cluster_id, NodeId node,
                            absl::string_view node_name) {
  std::string prefix = absl::StrCat("bdr_", cluster_id.substr(0, kIdDigits), "_", node, "_");
  std::string slot = SlotName(prefix, node_name);
  return ServerNames(std::move(prefix), std::move(slot));
}

ServerNames ServerNames::Older(absl::string_view node_name) {
  return ServerNames("bdr_", SlotName("bdr_", node_name));
}

std::string ServerNames::Origin(OriginId origin) const {
  return absl::StrCat(prefix_, origin.node, "_", origin.incarnation);
}

std::string ServerNames::RepairOrigin() const { return prefix_ + "repair"; }

std::optional<OriginId> ServerNames::Parse(absl::string_view name) const {
  if (!absl::ConsumePrefix(&name, prefix_)) return std::nullopt;
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '_');
  uint32_t node = 0;
  uint32_t incarnation = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &node) ||
      !absl::SimpleAtoi(parts[1], &incarnation) || node == 0 || node > kMaxNodeId) {
    return std::nullopt;
  }
  return OriginId{static_cast<NodeId>(node), incarnation};
}

}  // namespace bdr::agent
