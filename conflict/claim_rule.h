// Who has claimed a unique value: the part of the merge rule for unique constraints beside the key.
//
// A version of a row lives unless a version of another key with a later stamp has ever claimed one
// of its unique values, whether that one won, lost or was changed since. That is a function of the
// set of all versions, so it does not matter in which order they come. To answer it, no list is
// needed: of all claims of a value only the newest of each key counts, and of those only the two
// newest, since a key asks about others than itself.
//
// Pure: no clock, no database. The stored form is what a merge operator of the store works on, so
// it must not change between releases that meet one data folder.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "conflict/stamp.h"

namespace bdr::conflict {

// One key's newest known claim of a value.
struct Claim {
  Stamp stamp;
  std::string key;  // canonical, as in the version store; never empty in a claim that exists

  friend bool operator==(const Claim&, const Claim&) = default;
};

// The newest claims of one value of one constraint, each of another key.
// Invariant: no `second` without a `first`; their keys differ; `first` is not older.
struct Claimants {
  std::optional<Claim> first;
  std::optional<Claim> second;

  friend bool operator==(const Claimants&, const Claimants&) = default;
};

Claimants ClaimOf(absl::string_view key, Stamp stamp);

// What is known once both are. Associative, commutative and idempotent, so claims may be recorded
// by anyone, in any order, and again.
Claimants Merge(const Claimants& one, const Claimants& other);

// Whether another key than `key` has claimed the value with a stamp strictly later than `stamp`:
// then a version of `key` with that stamp and that value is dead. Equal stamps are one transaction,
// under whose constraints both stood.
bool ClaimedLater(const Claimants& claimants, absl::string_view key, Stamp stamp);

// The claim by which ClaimedLater() is true; null if it is false. Points into `claimants`.
const Claim* LaterClaim(const Claimants& claimants, absl::string_view key, Stamp stamp);

// Equal claimants give equal bytes.
std::string Encode(const Claimants& claimants);
// Unset if `data` is not what Encode() gives.
std::optional<Claimants> DecodeClaimants(absl::string_view data);

}  // namespace bdr::conflict
