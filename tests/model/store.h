// What an agent keeps in its folder beside the change log, in memory here: versions, claims and
// positions. A machine crash takes it back to what was synced.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "conflict/claim_rule.h"
#include "tests/model/world.h"

namespace bdr::model {

struct VersionOf {
  Stamp stamp = conflict::kNever;  // kNever: the store has none
  bool dead = false;
};

struct RangeClaim {
  Content range;
  int key = 0;
  Stamp stamp;
};

// Names of keys among the keys in flight, and of claimants.
inline std::string KeyName(int key) { return std::string(1, static_cast<char>('a' + key)); }

struct Store {
  std::array<VersionOf, kMaxKeys> versions{};
  Stamp truncated = conflict::kNever;
  std::array<std::array<conflict::Claimants, kExpressionValues>, kUniques> claims{};
  std::vector<RangeClaim> ranges;

  std::array<Lsn, kMaxNodes> versions_through{};  // of each origin
  Lsn merged;                                     // own changes merged again as far as needed
  int64_t ceiling_us = 0;                         // of promises
  int64_t last_stamp_us = 0;                      // of capture
  Lsn captured;                                   // confirmed to the slot

  // As the merge operator does: the later stamp stays, of equal ones the last.
  void PutVersion(int key, Stamp stamp, bool dead) {
    if (stamp >= versions[key].stamp) versions[key] = {.stamp = stamp, .dead = dead};
  }
  // The versions of what the same transaction had written before stay as they are.
  void PutTruncate(Stamp stamp) { truncated = std::max(truncated, stamp); }
  void PutClaims(int key, const Content& row, Stamp stamp, int constraints);

  // Whether another key has claimed the row's value under this constraint (0..2 unique, 3 the
  // exclusion) with a later stamp.
  bool ClaimedLater(int key, const Content& row, Stamp stamp, int constraint) const;

  // The newest known claim of `holder`, whose row this is, of the row's value; kNever if there is
  // none. Of a value that two others have claimed later still it is not kept, nor does it matter.
  Stamp HolderClaim(int holder, const Content& row, int constraint) const;

  // Forgets versions and claims older than `stable_us`, those that `drop` is true for.
  template <typename Drop>
  void Forget(int64_t stable_us, Drop drop) {
    for (VersionOf& version : versions) {
      if (version.stamp.time_us < stable_us && drop()) version = {};
    }
    if (truncated.time_us < stable_us && drop()) truncated = conflict::kNever;
    for (auto& values : claims) {
      for (conflict::Claimants& claimants : values) {
        if (claimants.first.has_value() && claimants.first->stamp.time_us < stable_us && drop()) {
          claimants = {};
        }
      }
    }
    std::erase_if(
        ranges, [&](const RangeClaim& claim) { return claim.stamp.time_us < stable_us && drop(); });
  }
};

// The keys in flight that a row's claims take: one for each value, and one for all ranges, which
// have no equality.
std::vector<std::string> ClaimKeys(const Content& row, int constraints);

}  // namespace bdr::model
