#include "tests/model/store.h"

namespace bdr::model {

void Store::PutClaims(int key, const Content& row, Stamp stamp, int constraints) {
  for (int c = 0; c < kUniques; ++c) {
    if ((constraints & (1 << c)) == 0) continue;
    const int value = ClaimedValue(row, c);
    if (value == kNone) continue;
    claims[c][value] = conflict::Merge(claims[c][value], conflict::ClaimOf(KeyName(key), stamp));
  }
  if ((constraints & kExclusion) == 0 || row.from == kNone) return;
  for (RangeClaim& claim : ranges) {
    if (claim.key != key || claim.range.from != row.from || claim.range.to != row.to) continue;
    claim.stamp = std::max(claim.stamp, stamp);
    return;
  }
  ranges.push_back({.range = row, .key = key, .stamp = stamp});
}

bool Store::ClaimedLater(int key, const Content& row, Stamp stamp, int constraint) const {
  if (constraint < kUniques) {
    const int value = ClaimedValue(row, constraint);
    return value != kNone && conflict::ClaimedLater(claims[constraint][value], KeyName(key), stamp);
  }
  for (const RangeClaim& claim : ranges) {
    if (claim.key != key && claim.stamp > stamp && Overlap(claim.range, row)) return true;
  }
  return false;
}

Stamp Store::HolderClaim(int holder, const Content& row, int constraint) const {
  if (constraint < kUniques) {
    const conflict::Claimants& all = claims[constraint][ClaimedValue(row, constraint)];
    for (const std::optional<conflict::Claim>* claim : {&all.first, &all.second}) {
      if (claim->has_value() && (*claim)->key == KeyName(holder)) return (*claim)->stamp;
    }
    return conflict::kNever;
  }
  for (const RangeClaim& claim : ranges) {
    if (claim.key == holder && claim.range.from == row.from && claim.range.to == row.to) {
      return claim.stamp;
    }
  }
  return conflict::kNever;
}

std::vector<std::string> ClaimKeys(const Content& row, int constraints) {
  std::vector<std::string> keys;
  for (int c = 0; c < kUniques; ++c) {
    if ((constraints & (1 << c)) == 0) continue;
    const int value = ClaimedValue(row, c);
    if (value == kNone) continue;
    keys.push_back({'c', static_cast<char>('0' + c), static_cast<char>('0' + value)});
  }
  if ((constraints & kExclusion) != 0 && row.from != kNone) keys.push_back("x");
  return keys;
}

}  // namespace bdr::model
