#include "node-agent/inflight/keys_in_flight.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "conflict/version_store.h"

namespace bdr::agent {
namespace {

// Of equal times the node decides, which is not known here: they count.
bool Misled(const StampRange& stamps, bool gone, int64_t commit_us, int64_t stamp_us) {
  return stamps.oldest_us <= stamp_us && (gone || stamps.newest_us >= commit_us);
}

// Ranges that are looked at one by one.
constexpr size_t kMostRanges = 64;

StampRange Union(const StampRange& a, const StampRange& b) {
  return {.oldest_us = std::min(a.oldest_us, b.oldest_us),
          .newest_us = std::max(a.newest_us, b.newest_us)};
}

// Each table's name once: what every version key of its rows begins with.
std::vector<std::string> TablesOf(const std::vector<std::string>& keys,
                                  const std::vector<uint32_t>& more) {
  std::vector<std::string> tables;
  for (const uint32_t oid : more) tables.push_back(conflict::VersionKey(oid, ""));
  const size_t prefix = conflict::VersionKey(0, "").size();
  for (const std::string& key : keys) {
    // Keys come sorted as a rule, so that most repeat the table before.
    if (!tables.empty() && absl::StartsWith(key, tables.back())) continue;
    tables.push_back(key.substr(0, prefix));
  }
  std::sort(tables.begin(), tables.end());
  tables.erase(std::unique(tables.begin(), tables.end()), tables.end());
  return tables;
}

}  // namespace

KeysInFlight::Registration& KeysInFlight::Registration::operator=(Registration&& other) noexcept {
  Release();
  table_ = std::exchange(other.table_, nullptr);
  holder_ = other.holder_;
  all_ = other.all_;
  stamps_ = other.stamps_;
  keys_ = std::move(other.keys_);
  tables_ = std::move(other.tables_);
  return *this;
}

void KeysInFlight::Registration::Release() {
  if (table_ == nullptr) return;
  {
    MutexLock lock(&table_->mu_);
    table_->EndLocked(this);
    table_->ForgetTablesLocked(tables_);
  }
  table_->released_.NotifyAll();
  table_ = nullptr;
}

void KeysInFlight::Registration::Commit(Lsn local_after) {
  if (table_ == nullptr) return;
  {
    MutexLock lock(&table_->mu_);
    for (const std::string& key : keys_) {
      Known& known = table_->keys_[key];
      known.recent = known.groups == 0 ? stamps_ : Union(known.recent, stamps_);
      ++known.groups;
    }
    table_->EndLocked(this);
    Recent recent{.holder = holder_,
                  .stamps = stamps_,
                  .keys = std::move(keys_),
                  .tables = std::move(tables_)};
    table_->recent_bytes_ += BytesOf(recent);
    (all_ ? table_->recent_all_ : table_->recent_).emplace(local_after, std::move(recent));
    if (all_) table_->AddRangeLocked(stamps_);
    if (table_->recent_bytes_ > table_->most_recent_bytes_) table_->CoarsenLocked();
  }
  table_->released_.NotifyAll();
  table_ = nullptr;
}

void KeysInFlight::EndLocked(Registration* registration) {
  if (!registration->all_) --held_;
  for (const std::string& key : registration->keys_) {
    const auto found = keys_.find(key);
    if (BDR_RULE_BROKEN("keys_in_flight") && found == keys_.end()) continue;
    found->second.holder = 0;
    if (found->second.groups == 0) keys_.erase(found);
  }
  if (exclusive_ == registration->holder_) exclusive_ = 0;
}

void KeysInFlight::ForgetTablesLocked(const std::vector<std::string>& tables) {
  for (const std::string& table : tables) {
    const auto found = tables_.find(table);
    if (--found->second.groups == 0) tables_.erase(found);
  }
}

bool KeysInFlight::FreeLocked(uint64_t holder, const std::vector<std::string>& keys) {
  if (BDR_RULE_BROKEN("keys_in_flight")) return true;
  if (exclusive_ != 0 && exclusive_ != holder) return false;
  if (exclusive_waiter_ != 0 && exclusive_waiter_ != holder) return false;
  return std::all_of(keys.begin(), keys.end(), [this](const std::string& key) {
    const auto found = keys_.find(key);
    return found == keys_.end() || found->second.holder == 0;
  });
}

std::pair<bool, KeysInFlight::Registration> KeysInFlight::Register(
    uint64_t holder, std::vector<std::string> keys, StampRange stamps, absl::Duration timeout,
    const std::vector<uint32_t>& tables) {
  const absl::Time deadline = SteadyNow() + timeout;
  Registration registration;
  std::vector<std::string> touched = TablesOf(keys, tables);
  MutexLock lock(&mu_);
  while (!FreeLocked(holder, keys)) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) return {false, Registration()};
    released_.WaitFor(&mu_, left);
  }
  for (const std::string& key : keys) {
    Known& known = keys_[key];
    known.holder = holder;
    known.held = stamps;
  }
  ++held_;
  for (const std::string& table : touched) {
    KnownTable& known = tables_[table];
    known.oldest_us =
        known.groups == 0 ? stamps.oldest_us : std::min(known.oldest_us, stamps.oldest_us);
    ++known.groups;
  }
  registration.table_ = this;
  registration.holder_ = holder;
  registration.stamps_ = stamps;
  registration.keys_ = std::move(keys);
  registration.tables_ = std::move(touched);
  return {true, std::move(registration)};
}

std::pair<bool, KeysInFlight::Registration> KeysInFlight::RegisterAll(uint64_t holder,
                                                                      StampRange stamps,
                                                                      absl::Duration timeout) {
  const absl::Time deadline = SteadyNow() + timeout;
  Registration registration;
  MutexLock lock(&mu_);
  while (
      !BDR_RULE_BROKEN("keys_in_flight") &&
      (exclusive_ != 0 || held_ != 0 || (exclusive_waiter_ != 0 && exclusive_waiter_ != holder))) {
    if (exclusive_waiter_ == 0) exclusive_waiter_ = holder;
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) {
      if (exclusive_waiter_ == holder) exclusive_waiter_ = 0;
      released_.NotifyAll();
      return {false, Registration()};
    }
    released_.WaitFor(&mu_, left);
  }
  exclusive_waiter_ = 0;
  exclusive_ = holder;
  registration.table_ = this;
  registration.holder_ = holder;
  registration.all_ = true;
  registration.stamps_ = stamps;
  return {true, std::move(registration)};
}

void KeysInFlight::Settle(uint64_t holder, Lsn local_after) {
  MutexLock lock(&mu_);
  for (Recents* recents : {&recent_, &recent_all_}) {
    for (auto at = recents->upper_bound(local_after); at != recents->end();) {
      const auto next = std::next(at);
      if (at->second.holder == holder) {
        auto settled = recents->extract(at);
        settled.key() = local_after;
        recents->insert(std::move(settled));
      }
      at = next;
    }
  }
}

bool KeysInFlight::Touches(absl::string_view key, bool gone, int64_t commit_us,
                           int64_t stamp_us) const {
  MutexLock lock(&mu_);
  if (exclusive_ != 0) return true;
  for (const StampRange& stamps : all_ranges_) {
    if (Misled(stamps, gone, commit_us, stamp_us)) return true;
  }
  const auto found = keys_.find(key);
  if (found == keys_.end()) return false;
  const Known& known = found->second;
  return (known.holder != 0 && Misled(known.held, gone, commit_us, stamp_us)) ||
         (known.groups > 0 && Misled(known.recent, gone, commit_us, stamp_us));
}

bool KeysInFlight::TouchesTable(uint32_t table_oid, int64_t stamp_us) const {
  MutexLock lock(&mu_);
  if (exclusive_ != 0) return true;
  for (const StampRange& stamps : all_ranges_) {
    if (stamps.oldest_us <= stamp_us) return true;
  }
  const auto found = tables_.find(conflict::VersionKey(table_oid, ""));
  return found != tables_.end() && found->second.oldest_us <= stamp_us;
}

bool KeysInFlight::TouchesClaim(absl::string_view key) const {
  MutexLock lock(&mu_);
  return exclusive_ != 0 || !recent_all_.empty() || keys_.contains(key);
}

void KeysInFlight::Forget(Lsn captured_through) {
  MutexLock lock(&mu_);
  for (Recents* recents : {&recent_, &recent_all_}) {
    const auto end = recents->upper_bound(captured_through);
    if (end == recents->begin()) continue;
    const bool all = recents == &recent_all_;
    for (auto at = recents->begin(); at != end; at = recents->erase(at)) {
      if (all) ++stale_ranges_;
      recent_bytes_ -= BytesOf(at->second);
      ForgetKeysLocked(at->second.keys);
      ForgetTablesLocked(at->second.tables);
    }
    if (all && (recents->size() <= kMostRanges || stale_ranges_ >= recents->size())) {
      FindRangesLocked();
    }
  }
}

void KeysInFlight::ForgetKeysLocked(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    const auto found = keys_.find(key);
    if (--found->second.groups == 0 && found->second.holder == 0) keys_.erase(found);
  }
}

// Keys stand in keys_ as well, if they are in no other group.
size_t KeysInFlight::BytesOf(const Recent& recent) {
  constexpr size_t kBesideGroup = 200;
  constexpr size_t kBesideKey = 2 * sizeof(std::string) + sizeof(Known);
  size_t bytes = kBesideGroup;
  for (const std::string& key : recent.keys) bytes += 2 * key.size() + kBesideKey;
  for (const std::string& table : recent.tables) bytes += table.size() + sizeof(std::string);
  return bytes;
}

size_t KeysInFlight::recent_bytes() const {
  MutexLock lock(&mu_);
  return recent_bytes_;
}

void KeysInFlight::AddRangeLocked(StampRange stamps) {
  all_ranges_.push_back(stamps);
  if (all_ranges_.size() <= kMostRanges) return;
  std::sort(all_ranges_.begin(), all_ranges_.end(),
            [](const StampRange& a, const StampRange& b) { return a.oldest_us < b.oldest_us; });
  size_t kept = 0;
  for (size_t i = 0; i < all_ranges_.size(); i += 2, ++kept) {
    const size_t next = std::min(i + 1, all_ranges_.size() - 1);
    all_ranges_[kept] = Union(all_ranges_[i], all_ranges_[next]);
  }
  all_ranges_.resize(kept);
}

void KeysInFlight::FindRangesLocked() {
  all_ranges_.clear();
  stale_ranges_ = 0;
  for (const auto& [local_after, recent] : recent_all_) AddRangeLocked(recent.stamps);
}

// One entry for each holder, which stands for every key: it goes once the last of its groups would.
void KeysInFlight::CoarsenLocked() {
  std::map<uint64_t, std::pair<Lsn, Recent>> by_holder;
  for (Recents* recents : {&recent_, &recent_all_}) {
    for (const auto& [local_after, recent] : *recents) {
      ForgetKeysLocked(recent.keys);
      ForgetTablesLocked(recent.tables);
      const auto [at, is_new] = by_holder.try_emplace(
          recent.holder, local_after,
          Recent{.holder = recent.holder, .stamps = recent.stamps, .keys = {}, .tables = {}});
      if (is_new) continue;
      auto& [last, coarse] = at->second;
      last = std::max(last, local_after);
      coarse.stamps = Union(coarse.stamps, recent.stamps);
    }
    recents->clear();
  }
  recent_bytes_ = 0;
  for (auto& [holder, known] : by_holder) {
    recent_bytes_ += BytesOf(known.second);
    recent_all_.emplace(known.first, std::move(known.second));
  }
  FindRangesLocked();
}

}  // namespace bdr::agent
