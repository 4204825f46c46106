#include "ctl/verify.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace bdr::ctl {
namespace {

template <typename T>
bool AllEqual(const std::vector<T>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

}  // namespace

void AddRow(Rows& rows, std::string key, uint64_t hash) {
  ContentHash& content = rows[std::move(key)];
  content.hash += hash;
  ++content.rows;
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

Differences BucketDifferences(const std::vector<Buckets>& nodes,
                              const std::vector<uint32_t>& buckets) {
  Differences differences;
  for (const uint32_t bucket : buckets) {
    auto& states = differences[absl::StrCat("bucket ", bucket)];
    for (const Buckets& node : nodes) states.emplace_back(node[bucket]);
  }
  return differences;
}

Differences RowDifferences(const std::vector<Rows>& nodes) {
  std::set<std::string> keys;
  for (const Rows& node : nodes) {
    for (const auto& [key, content] : node) keys.insert(key);
  }
  Differences differences;
  for (const std::string& key : keys) {
    std::vector<std::optional<ContentHash>> states;
    for (const Rows& node : nodes) {
      const auto found = node.find(key);
      states.push_back(found == node.end() ? std::nullopt : std::optional(found->second));
    }
    if (!AllEqual(states)) differences[key] = std::move(states);
  }
  return differences;
}

void Pending::Look(Differences seen, bool by_row) {
  if (!started_ || by_row != by_row_) {
    started_ = true;
    by_row_ = by_row;
    left_ = std::move(seen);
    same_looks_.clear();
    return;
  }
  Differences left;
  std::map<std::string, int> same_looks;
  for (auto& [key, before] : left_) {
    const auto now = seen.find(key);
    if (now == seen.end()) continue;
    same_looks[key] = now->second == before ? same_looks_[key] + 1 : 0;
    left[key] = std::move(now->second);
  }
  left_ = std::move(left);
  same_looks_ = std::move(same_looks);
}

bool Pending::StableFor(int looks) const {
  return std::all_of(left_.begin(), left_.end(), [&](const auto& entry) {
    const auto found = same_looks_.find(entry.first);
    return found != same_looks_.end() && found->second >= looks;
  });
}

std::vector<std::string> Pending::Changing() const {
  std::vector<std::string> changing;
  for (const auto& [key, states] : left_) {
    const auto found = same_looks_.find(key);
    if (found == same_looks_.end() || found->second == 0) changing.push_back(key);
  }
  return changing;
}

}  // namespace bdr::ctl
