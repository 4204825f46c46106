#include "server/schema_cache.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/logging.h"
#include "base/repetition.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "bdr/v1/control.pb.h"

namespace bdr::server {
namespace {

constexpr absl::Duration kListAgainAfter = absl::Minutes(1);
constexpr absl::Duration kWait = absl::Milliseconds(500);

}  // namespace

SchemaCache::SchemaCache(Store* store) : store_(store) {}

SchemaCache::~SchemaCache() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status SchemaCache::Load() {
  std::map<std::string, uint64_t> before;  // revisions
  {
    MutexLock lock(&mu_);
    for (const auto& [node, kept] : by_node_) before[node] = kept.revision;
  }
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store_->List(kSchemaPrefix));
  for (const StoreEntry& entry : entries) {
    before.erase(entry.key.substr(sizeof(kSchemaPrefix) - 1));
    RETURN_IF_ERROR(Take(entry));
  }
  // What was known and is not there was removed, but for what this server has written meanwhile.
  MutexLock lock(&mu_);
  for (const auto& [node, revision] : before) {
    const auto known = by_node_.find(node);
    if (known != by_node_.end() && known->second.revision == revision) by_node_.erase(known);
  }
  return absl::OkStatus();
}

absl::Status SchemaCache::Take(const StoreEntry& entry) {
  auto schema = std::make_shared<v1::NodeSchema>();
  if (!schema->ParseFromString(entry.value)) {
    return absl::DataLossError(absl::StrCat("the store's entry \"", entry.key,
                                            "\" is damaged; restore the store from a backup"));
  }
  std::string node = entry.key.substr(sizeof(kSchemaPrefix) - 1);
  MutexLock lock(&mu_);
  Kept& known = by_node_[std::move(node)];
  // This server's own write may have been noted already.
  if (known.revision < entry.revision) {
    known = {.schema = std::move(schema), .revision = entry.revision};
  }
  return absl::OkStatus();
}

bool SchemaCache::Stopped() const {
  MutexLock lock(&mu_);
  return stop_;
}

void SchemaCache::Follow() {
  if (store_->exclusive()) return;
  thread_ = std::thread([this] {
    NameThread("schemas");
    Repetition outcome;
    while (!Stopped()) {
      const absl::Status status = FollowOnce();
      if (status.ok()) {
        (void)outcome.Works(SteadyNow());
        continue;
      }
      if (outcome.Failed(std::string(absl::StatusCodeToString(status.code())), SteadyNow())) {
        LogWarning("schema", {{"state", "not_followed"}}, outcome.LineText(status.message()));
      }
      MutexLock lock(&mu_);
      if (!stop_) wake_.WaitFor(&mu_, kWait);
    }
  });
}

absl::Status SchemaCache::FollowOnce() {
  ASSIGN_OR_RETURN(const std::unique_ptr<StoreWatch> watch, store_->Watch(kSchemaPrefix));
  RETURN_IF_ERROR(Load());
  const absl::Time until = SteadyNow() + kListAgainAfter;
  while (!Stopped() && SteadyNow() < until) {
    ASSIGN_OR_RETURN(const auto change, watch->Next(kWait));
    if (!change.has_value()) continue;
    // That of a node that there is no more; its name may be another's soon.
    RETURN_IF_ERROR(change->deleted ? Load() : Take(*change));
  }
  return absl::OkStatus();
}

absl::Status SchemaCache::Set(const v1::NodeSchema& schema, int64_t now_us) {
  const absl::Status set = SetOnce(schema, now_us);
  if (!absl::IsAborted(set)) return set;
  // Another server's write, or removal: the next try goes by it.
  RETURN_IF_ERROR(Load());
  return SetOnce(schema, now_us);
}

absl::Status SchemaCache::SetOnce(const v1::NodeSchema& schema, int64_t now_us) {
  uint64_t revision = 0;
  {
    MutexLock lock(&mu_);
    if (const auto known = by_node_.find(schema.node()); known != by_node_.end()) {
      if (known->second.schema->hash() == schema.hash()) return absl::OkStatus();
      revision = known->second.revision;
    }
  }
  auto kept = std::make_shared<v1::NodeSchema>(schema);
  kept->set_received_us(now_us);
  const absl::StatusOr<uint64_t> written =
      store_->Put(absl::StrCat(kSchemaPrefix, schema.node()), kept->SerializeAsString(), revision);
  RETURN_IF_ERROR(written.status());
  MutexLock lock(&mu_);
  Kept& present = by_node_[schema.node()];
  if (present.revision < *written) present = {.schema = std::move(kept), .revision = *written};
  return absl::OkStatus();
}

absl::Status SchemaCache::Forget(absl::string_view node) {
  if (Find(node) == nullptr) return absl::OkStatus();
  v1::NodeSchema nothing;
  nothing.set_node(std::string(node));
  return Set(nothing, 0);
}

std::shared_ptr<const v1::NodeSchema> SchemaCache::Find(absl::string_view node) const {
  MutexLock lock(&mu_);
  const auto found = by_node_.find(node);
  const bool told = found != by_node_.end() && !found->second.schema->hash().empty();
  return told ? found->second.schema : nullptr;
}

std::vector<std::shared_ptr<const v1::NodeSchema>> SchemaCache::All() const {
  std::vector<std::shared_ptr<const v1::NodeSchema>> all;
  MutexLock lock(&mu_);
  for (const auto& [node, kept] : by_node_) {
    if (!kept.schema->hash().empty()) all.push_back(kept.schema);
  }
  return all;
}

}  // namespace bdr::server
