#include "ctl/verify.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace bdr::ctl {

bool AllEqual(const std::vector<ContentHash>& nodes) {
  return std::adjacent_find(nodes.begin(), nodes.end(), std::not_equal_to<>()) == nodes.end();
}

std::vector<uint32_t> DifferingBuckets(const std::vector<Buckets>& nodes) {
  std::vector<uint32_t> differing;
  const size_t count = nodes.empty() ? 0 : nodes[0].size();
  for (size_t bucket = 0; bucket < count; ++bucket) {
    std::vector<ContentHash> states;
    for (const Buckets& node : nodes) states.push_back(node[bucket]);
    if (!AllEqual(states)) differing.push_back(static_cast<uint32_t>(bucket));
  }
  return differing;
}

bool SameContent(const RowStates& states) {
  return std::all_of(states.begin(), states.end(), [&](const std::optional<RowState>& state) {
    return state.has_value() == states[0].has_value() &&
           (!state.has_value() || state->content == states[0]->content);
  });
}

void AddRow(NodeRows& rows, RowKey key, uint64_t hash, std::string version) {
  RowState& state = rows[std::move(key)];
  state.content.hash += hash;
  ++state.content.rows;
  state.version = std::move(version);
}

RowDifferences Differing(const std::vector<NodeRows>& nodes) {
  std::set<RowKey> keys;
  for (const NodeRows& node : nodes) {
    for (const auto& [key, state] : node) keys.insert(key);
  }
  RowDifferences differences;
  for (const RowKey& key : keys) {
    RowStates states;
    for (const NodeRows& node : nodes) {
      const auto found = node.find(key);
      states.push_back(found == node.end() ? std::nullopt : std::optional(found->second));
    }
    if (!SameContent(states)) differences[key] = std::move(states);
  }
  return differences;
}

void Settling::Look(const RowDifferences& seen) {
  RowDifferences moving;
  std::map<RowKey, int> looks;
  for (const auto& [key, states] : seen) {
    if (SameContent(states)) continue;
    const auto before = moving_.find(key);
    // What was equal in an earlier look has settled.
    if (begun_ && before == moving_.end()) continue;
    const int alike = begun_ && before->second == states ? looks_[key] + 1 : 1;
    if (alike >= kLooks) {
      different_[key] = states;
      continue;
    }
    looks[key] = alike;
    moving[key] = states;
  }
  begun_ = true;
  moving_ = std::move(moving);
  looks_ = std::move(looks);
}

std::string KeyText(const std::vector<std::string>& names, const RowKey& key) {
  if (names.size() != key.size()) return key.empty() ? "" : key[0];
  std::string text;
  for (size_t i = 0; i < key.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", names[i], "='",
                    absl::StrReplaceAll(key[i], {{"'", "''"}}), "'");
  }
  return text;
}

std::vector<std::string> DifferingColumns(const std::vector<std::string>& columns,
                                          const std::vector<std::vector<uint64_t>>& hashes) {
  std::vector<std::string> differing;
  for (size_t i = 0; i < columns.size(); ++i) {
    std::set<uint64_t> seen;
    for (const std::vector<uint64_t>& node : hashes) {
      if (i < node.size()) seen.insert(node[i]);
    }
    if (seen.size() > 1) differing.push_back(columns[i]);
  }
  return differing;
}

}  // namespace bdr::ctl
