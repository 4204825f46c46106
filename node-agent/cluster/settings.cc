#include "node-agent/cluster/settings.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

constexpr absl::string_view kPolicy = "policy/";
constexpr absl::string_view kTableChange = "table_change/";

// A value that was set again, or taken back, counts no more.
bool IsNewest(const Setting& setting, const std::vector<Setting>& all) {
  return std::none_of(all.begin(), all.end(), [&setting](const Setting& other) {
    return other.key == setting.key && other.version > setting.version;
  });
}

void Raise(std::atomic<uint64_t>* value, uint64_t to) {
  uint64_t present = value->load();
  while (present < to && !value->compare_exchange_weak(present, to)) {
  }
}

}  // namespace

absl::StatusOr<TablePolicy> ParseTablePolicy(absl::string_view value) {
  if (value.empty()) return TablePolicy();
  v1::TablePolicy message;
  if (!message.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::DataLossError("the policy of a table is damaged");
  }
  const std::optional<conflict::PolicyKind> kind = conflict::ParsePolicyKind(message.policy());
  if (!kind.has_value()) {
    return absl::UnimplementedError(
        absl::StrCat("this agent knows no policy \"", message.policy(), "\"; bring it up to date"));
  }
  TablePolicy policy{.kind = *kind, .function = message.function()};
  policy.columns.assign(message.columns().begin(), message.columns().end());
  for (const uint32_t node : message.priority()) {
    policy.priority.push_back(static_cast<NodeId>(node));
  }
  return policy;
}

const TablePolicy& PolicyHistory::At(uint64_t settings_version) const {
  const TablePolicy* found = &default_;
  for (const auto& [version, policy] : policies_) {
    if (version > settings_version) break;
    found = &policy;
  }
  return *found;
}

namespace {

// What the settings of a membership mean.
struct Understood {
  std::map<std::string, std::vector<std::pair<uint64_t, TablePolicy>>> policies;
  std::vector<TableChange> changes;
  uint64_t through = 0;  // no version after it
};

// Takes up one setting; what is no business of the agent's says nothing. The error of what this
// program does not understand.
absl::Status Understand(const Setting& setting, const std::vector<Setting>& all,
                        Understood* understood) {
  if (absl::StartsWith(setting.key, kPolicy)) {
    ASSIGN_OR_RETURN(TablePolicy policy, ParseTablePolicy(setting.value));
    understood->policies[setting.key.substr(kPolicy.size())].emplace_back(setting.version,
                                                                          std::move(policy));
  } else if (absl::StartsWith(setting.key, kTableChange) && !setting.value.empty() &&
             IsNewest(setting, all)) {
    ASSIGN_OR_RETURN(TableChange change, ParseTableChange(setting.value, setting.version));
    understood->changes.push_back(std::move(change));
  }
  return absl::OkStatus();
}

Understood UnderstandAll(const Membership& membership) {
  Understood understood;
  understood.through = membership.settings_version;
  for (const Setting& setting : membership.settings) {
    const absl::Status parsed = Understand(setting, membership.settings, &understood);
    if (parsed.ok()) continue;
    // It must not come into force while this node cannot keep to it.
    LogError("settings", {{"key", setting.key}, {"version", setting.version}}, parsed.message());
    understood.through = std::min(understood.through, setting.version - 1);
    break;
  }
  return understood;
}

}  // namespace

void Settings::Take(const Membership& membership, int64_t unstable_until_us) {
  {
    MutexLock lock(&mu_);
    if (membership.settings_version > taken_) {
      Understood understood = UnderstandAll(membership);
      table_changes_ =
          std::make_shared<const std::vector<TableChange>>(std::move(understood.changes));
      done_ = std::max(done_, membership.settings_active);
      policies_.clear();
      for (auto& [table, history] : understood.policies) {
        policies_[table] = std::make_shared<const PolicyHistory>(std::move(history));
      }
      settings_ = membership.settings;
      if (understood.through > taken_) {
        LogInfo("settings", {{"state", "known"}, {"version", understood.through}});
      }
      taken_ = std::max(taken_, understood.through);
      settling_.push_back({std::min(taken_, DoneThroughLocked()), unstable_until_us});
    }
    Raise(&active_, std::min(membership.settings_active, taken_));
  }
  generation_.fetch_add(1);
}

void Settings::RaiseActive(uint64_t version) {
  Raise(&active_, version);
  generation_.fetch_add(1);
}

absl::Status Settings::RaiseActive(uint64_t version, const std::function<absl::Status()>& write) {
  MutexLock lock(&raising_);
  if (version <= active()) return absl::OkStatus();
  if (absl::Status written = write(); !written.ok()) return written;
  RaiseActive(version);
  return absl::OkStatus();
}

// Up to just before the first table change that is not done here.
uint64_t Settings::DoneThroughLocked() const {
  for (const TableChange& change : *table_changes_) {
    if (change.version > done_) return change.version - 1;
  }
  return UINT64_MAX;
}

std::shared_ptr<const std::vector<TableChange>> Settings::TableChanges() const {
  MutexLock lock(&mu_);
  return table_changes_;
}

std::vector<TableChange> Settings::NotDone() const {
  MutexLock lock(&mu_);
  std::vector<TableChange> changes;
  for (const TableChange& change : *table_changes_) {
    if (change.version > done_) changes.push_back(change);
  }
  return changes;
}

void Settings::MarkDone(uint64_t version, int64_t unstable_until_us) {
  {
    MutexLock lock(&mu_);
    if (version <= done_) return;
    done_ = version;
    settling_.push_back({std::min(taken_, DoneThroughLocked()), unstable_until_us});
  }
  generation_.fetch_add(1);
}

uint64_t Settings::taken() const {
  MutexLock lock(&mu_);
  return taken_;
}

uint64_t Settings::Ready(int64_t stable_us) {
  MutexLock lock(&mu_);
  while (!settling_.empty() && settling_.front().second < stable_us) {
    ready_ = std::max(ready_, settling_.front().first);
    settling_.pop_front();
  }
  return ready_;
}

bool Settings::settling() const {
  MutexLock lock(&mu_);
  return !settling_.empty();
}

std::string Settings::Value(absl::string_view key, uint64_t version) const {
  MutexLock lock(&mu_);
  std::string value;
  for (const Setting& setting : settings_) {
    if (setting.version > version) break;
    if (setting.key == key) value = setting.value;
  }
  return value;
}

std::shared_ptr<const PolicyHistory> Settings::Policies(absl::string_view schema,
                                                        absl::string_view table) const {
  MutexLock lock(&mu_);
  if (policies_.empty()) return nullptr;
  const auto found = policies_.find(absl::StrCat(schema, ".", table));
  return found == policies_.end() ? nullptr : found->second;
}

std::vector<std::pair<std::string, TablePolicy>> Settings::MergedTables() const {
  std::vector<std::pair<std::string, TablePolicy>> merged;
  MutexLock lock(&mu_);
  for (const auto& [table, history] : policies_) {
    if (history->newest() != TablePolicy()) merged.emplace_back(table, history->newest());
  }
  return merged;
}

}  // namespace bdr::agent
