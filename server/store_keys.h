// The keys of the store, and which of them outlive the bdr-servers that wrote them. One list, since
// backups and moves to another store take everything that is not named here.
#pragma once

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace bdr::server {

// Each has one owner in the code, which documents its value.
inline constexpr char kMovedKey[] = "moved";           // guarded_store.h
inline constexpr char kTokenBaseKey[] = "token_base";  // locks.h
inline constexpr char kLeaderKey[] = "leader";         // leadership.h
inline constexpr char kServerPrefix[] = "server/";     // leadership.h
inline constexpr char kStatusPrefix[] = "status/";     // status_cache.h
inline constexpr char kWitnessPrefix[] = "witness/";   // witnesses.h
inline constexpr char kLockPrefix[] = "lock/";         // locks.h

// Belongs into another store, and into a backup. What does not is written anew within seconds, or
// means nothing elsewhere.
inline bool Outlives(absl::string_view key) {
  if (key == kMovedKey || key == kLeaderKey || key == kTokenBaseKey) return false;
  for (const char* prefix : {kServerPrefix, kStatusPrefix, kWitnessPrefix, kLockPrefix}) {
    if (absl::StartsWith(key, prefix)) return false;
  }
  return true;
}

}  // namespace bdr::server
