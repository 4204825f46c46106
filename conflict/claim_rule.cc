#include "conflict/claim_rule.h"

#include <tuple>
#include <utility>

#include "base/big_endian.h"

namespace bdr::conflict {
namespace {

// Of each claim, big-endian: stamp time (8), stamp node (2), length of the key (4), the key. The
// newer one first, nothing between and nothing behind.
constexpr size_t kHeadBytes = 14;

// Total, so that of two claims in one transaction every node keeps the same.
bool Newer(const Claim& one, const Claim& other) {
  return std::tie(one.stamp, one.key) > std::tie(other.stamp, other.key);
}

void Add(const std::optional<Claim>& claim, Claimants* to) {
  if (!claim.has_value()) return;
  if (!to->first.has_value()) {
    to->first = claim;
  } else if (Newer(*claim, *to->first)) {
    if (claim->key != to->first->key) to->second = std::move(to->first);
    to->first = claim;
  } else if (claim->key != to->first->key &&
             (!to->second.has_value() || Newer(*claim, *to->second))) {
    to->second = claim;
  }
}

void Append(const std::optional<Claim>& claim, std::string* out) {
  if (!claim.has_value()) return;
  AppendBigEndian(out, static_cast<uint64_t>(claim->stamp.time_us), 8);
  AppendBigEndian(out, claim->stamp.node, 2);
  AppendBigEndian(out, claim->key.size(), 4);
  out->append(claim->key);
}

// Takes one claim off the front of `data`.
std::optional<Claim> Take(absl::string_view* data) {
  if (data->size() < kHeadBytes) return std::nullopt;
  const char* p = data->data();
  const uint64_t length = ReadBigEndian({p + 10, 4});
  if (data->size() - kHeadBytes < length) return std::nullopt;
  Claim claim{.stamp = {.time_us = static_cast<int64_t>(ReadBigEndian({p, 8})),
                        .node = static_cast<NodeId>(ReadBigEndian({p + 8, 2}))},
              .key = std::string(data->substr(kHeadBytes, length))};
  data->remove_prefix(kHeadBytes + length);
  return claim;
}

}  // namespace

Claimants ClaimOf(absl::string_view key, Stamp stamp) {
  return {.first = Claim{.stamp = stamp, .key = std::string(key)}, .second = std::nullopt};
}

Claimants Merge(const Claimants& one, const Claimants& other) {
  Claimants merged = one;
  Add(other.first, &merged);
  Add(other.second, &merged);
  return merged;
}

const Claim* LaterClaim(const Claimants& claimants, absl::string_view key, Stamp stamp) {
  for (const std::optional<Claim>* claim : {&claimants.first, &claimants.second}) {
    if (!claim->has_value() || (*claim)->key == key) continue;
    return (*claim)->stamp > stamp ? &**claim : nullptr;
  }
  return nullptr;
}

bool ClaimedLater(const Claimants& claimants, absl::string_view key, Stamp stamp) {
  return LaterClaim(claimants, key, stamp) != nullptr;
}

std::string Encode(const Claimants& claimants) {
  std::string out;
  Append(claimants.first, &out);
  Append(claimants.second, &out);
  return out;
}

std::optional<Claimants> DecodeClaimants(absl::string_view data) {
  Claimants claimants;
  if (data.empty()) return claimants;
  claimants.first = Take(&data);
  if (!claimants.first.has_value()) return std::nullopt;
  if (data.empty()) return claimants;
  claimants.second = Take(&data);
  if (!claimants.second.has_value() || !data.empty()) return std::nullopt;
  if (claimants.second->key == claimants.first->key || Newer(*claimants.second, *claimants.first)) {
    return std::nullopt;
  }
  return claimants;
}

}  // namespace bdr::conflict
