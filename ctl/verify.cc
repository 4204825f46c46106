#include "ctl/verify.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

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

void Pending::Look(Differences seen, bool by_row, absl::Time now) {
  const bool anew = !started_ || by_row != by_row_;
  Differences left;
  std::map<std::string, absl::Time> same_since;
  for (auto& [key, states] : seen) {
    const auto before = left_.find(key);
    // What was equal in an earlier look has settled.
    if (!anew && before == left_.end()) continue;
    const bool same = !anew && before->second == states;
    same_since[key] = same ? same_since_[key] : now;
    left[key] = std::move(states);
  }
  started_ = true;
  by_row_ = by_row;
  last_look_ = now;
  left_ = std::move(left);
  same_since_ = std::move(same_since);
}

std::set<std::string> Pending::StableFor(absl::Duration duration) const {
  std::set<std::string> stable;
  for (const auto& [key, since] : same_since_) {
    if (last_look_ - since >= duration) stable.insert(key);
  }
  return stable;
}

}  // namespace bdr::ctl
