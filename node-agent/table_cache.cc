#include "node-agent/table_cache.h"

#include "base/status_macros.h"

namespace bdr::agent {

absl::StatusOr<std::shared_ptr<const postgres::TableInfo>> TableCache::Find(
    absl::string_view schema, absl::string_view name) {
  const std::pair<std::string, std::string> key(schema, name);
  {
    MutexLock lock(&mu_);
    if (const auto found = tables_.find(key); found != tables_.end()) return found->second;
  }
  MutexLock connection_lock(&connection_mu_);
  if (connection_ == nullptr || connection_->broken()) {
    ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  }
  ASSIGN_OR_RETURN(postgres::TableInfo loaded, postgres::LoadTable(*connection_, schema, name));
  RETURN_IF_ERROR(postgres::LoadConstraints(*connection_, &loaded));
  auto table = std::make_shared<const postgres::TableInfo>(std::move(loaded));
  MutexLock lock(&mu_);
  tables_[key] = table;
  return table;
}

void TableCache::Forget(absl::string_view schema, absl::string_view name) {
  MutexLock lock(&mu_);
  tables_.erase(std::pair<std::string, std::string>(schema, name));
}

void TableCache::ForgetAll() {
  MutexLock lock(&mu_);
  tables_.clear();
}

}  // namespace bdr::agent
