#include "server/upkeep.h"

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/logging.h"
#include "base/repetition.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "server/schema_cache.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

// The store forgets what is older than the round before: watches have that long to catch up.
constexpr absl::Duration kEvery = absl::Minutes(5);

}  // namespace

absl::Status RemoveLeftovers(Store* store, const StoreCompare& fence) {
  const absl::StatusOr<StoreEntry> entry = store->Get(kClusterKey);
  if (absl::IsNotFound(entry.status())) return absl::OkStatus();
  RETURN_IF_ERROR(entry.status());
  ASSIGN_OR_RETURN(const ClusterState state, ParseClusterState(entry->value));
  if (state.restored) return absl::OkStatus();
  for (const std::string prefix : {kSchemaPrefix, kStatusPrefix}) {
    ASSIGN_OR_RETURN(const std::vector<StoreEntry> kept, store->List(prefix));
    for (const StoreEntry& one : kept) {
      if (state.Find(absl::string_view(one.key).substr(prefix.size())) != nullptr) continue;
      RETURN_IF_ERROR(
          store
              ->Commit(
                  {.compares = {fence, {kClusterKey, entry->revision}, {one.key, one.revision}},
                   .writes = {{.key = one.key}}})
              .status());
      LogInfo("upkeep", {{"state", "removed"}, {"key", one.key}});
    }
  }
  return absl::OkStatus();
}

Upkeep::Upkeep(Store* store, const Leadership* leadership)
    : store_(store), leadership_(leadership) {
  thread_ = std::thread([this] {
    NameThread("upkeep");
    Run();
  });
}

Upkeep::~Upkeep() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

absl::Status Upkeep::Round() {
  const absl::StatusOr<StoreCompare> fence = leadership_->Fence();
  if (!fence.ok()) return absl::OkStatus();  // another server does it
  RETURN_IF_ERROR(RemoveLeftovers(store_, *fence));
  return store_->ForgetHistory();
}

void Upkeep::Run() {
  Repetition outcome;
  absl::Time next = SteadyNow() + kEvery;
  while (true) {
    {
      MutexLock lock(&mu_);
      if (!stop_ && SteadyNow() < next) wake_.WaitFor(&mu_, next - SteadyNow());
      if (stop_) return;
      if (SteadyNow() < next) continue;
    }
    next = SteadyNow() + kEvery;
    const absl::Status status = Round();
    // Somebody else's change, or the lease is gone: the next round decides anew.
    if (status.ok() || absl::IsAborted(status)) {
      (void)outcome.Works(SteadyNow());
    } else if (outcome.Failed(std::string(absl::StatusCodeToString(status.code())), SteadyNow())) {
      LogWarning("upkeep", {{"state", "failed"}}, outcome.LineText(status.message()));
    }
  }
}

}  // namespace bdr::server
