#include "server/leadership.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/mutex.h"
#include "base/repetition.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "bdr/v1/servers.pb.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

// What the two steady clocks, ours and the store's, may differ by within one lease.
constexpr absl::Duration kMargin = absl::Seconds(1);

}  // namespace

struct Leadership::Impl {
  Impl(Store* s, LeadershipOptions o) : store(s), options(std::move(o)) {
    self.set_id(options.id);
    self.set_address(options.address);
    self.set_host(options.host);
    self.set_version(options.version);
    self.set_started_us(absl::ToUnixMicros(absl::Now()));
  }

  void Run() {
    Repetition outcome;
    while (true) {
      const absl::Status status = Round();
      Leave(status);
      if (status.ok()) {
        (void)outcome.Works(SteadyNow());
      } else if (outcome.Failed(std::string(absl::StatusCodeToString(status.code())),
                                SteadyNow())) {
        LogWarning("lease", {{"state", "not_renewed"}}, outcome.LineText(status.message()));
      }
      MutexLock lock(&mu);
      if (!stop) wake.WaitFor(&mu, options.ttl / 3);
      if (stop) return;
    }
  }

  // Renews what there is, and takes what is free.
  absl::Status Round() {
    const absl::Time began = SteadyNow();
    if (lease != 0) {
      const absl::Status renewed = store->RenewLease(lease);
      if (absl::IsNotFound(renewed)) {
        lease = 0;
      } else {
        RETURN_IF_ERROR(renewed);
      }
    }
    if (lease == 0) {
      // Whatever was written with the old one is gone, or goes.
      SetLeads(std::nullopt, "its lease has ended");
      registered = false;
      ASSIGN_OR_RETURN(lease, store->GrantLease(options.ttl));
    }
    {
      MutexLock lock(&mu);
      valid_until = began + options.ttl - kMargin;
    }
    if (registered) {
      // Somebody may have removed it: an administrator, or a move of the state to this store.
      const absl::Status entry = store->Get(absl::StrCat(kServerPrefix, options.id)).status();
      if (absl::IsNotFound(entry)) {
        registered = false;
      } else {
        RETURN_IF_ERROR(entry);
      }
    }
    const absl::Status done = registered ? Campaign() : Register();
    // Some versions of etcd renew leases that they have ended.
    if (absl::IsNotFound(done)) lease = 0;
    return done;
  }

  absl::Status Register() {
    StoreTransaction entry{.writes = {{.key = absl::StrCat(kServerPrefix, options.id),
                                       .value = self.SerializeAsString(),
                                       .lease = lease}}};
    if (store->exclusive()) {
      // Of the processes before this one: nobody else can have the store open.
      ASSIGN_OR_RETURN(const std::vector<StoreEntry> others, store->List(kServerPrefix));
      for (const StoreEntry& other : others) {
        if (other.key != entry.writes[0].key) entry.writes.push_back({.key = other.key});
      }
    }
    RETURN_IF_ERROR(store->Commit(entry).status());
    registered = true;
    return Campaign();
  }

  absl::Status Campaign() {
    const absl::StatusOr<StoreEntry> present = store->Get(kLeaderKey);
    uint64_t replaced = 0;
    if (present.ok()) {
      v1::ServerInfo holder;
      // Our own write, also one whose answer was lost.
      if (holder.ParseFromString(present->value) && holder.id() == options.id) {
        SetLeads(present->revision, "");
        return absl::OkStatus();
      }
      SetLeads(std::nullopt, "another server leads");
      // Nobody but us can have this store open: its leader was the process before this one.
      if (!store->exclusive()) return absl::OkStatus();
      replaced = present->revision;
    } else if (!absl::IsNotFound(present.status())) {
      return present.status();
    }
    v1::ServerInfo leader = self;
    leader.set_leads(true);
    leader.set_leads_since_us(absl::ToUnixMicros(absl::Now()));
    const absl::StatusOr<uint64_t> taken = store->Commit(
        {.compares = {{kLeaderKey, replaced}},
         .writes = {{.key = kLeaderKey, .value = leader.SerializeAsString(), .lease = lease}}});
    if (absl::IsAborted(taken.status())) return absl::OkStatus();  // another server was faster
    RETURN_IF_ERROR(taken.status());
    SetLeads(*taken, "");
    return absl::OkStatus();
  }

  // Says so where it changes.
  void SetLeads(std::optional<uint64_t> revision, absl::string_view why) {
    {
      MutexLock lock(&mu);
      if (leader_revision.has_value() == revision.has_value()) {
        leader_revision = revision;
        return;
      }
      leader_revision = revision;
    }
    if (revision.has_value()) {
      LogInfo("lease", {{"state", "following->leading"}, {"server", options.id}});
    } else {
      LogInfo("lease", {{"state", "leading->following"}, {"server", options.id}, {"why", why}});
    }
  }

  // While the store does not answer the time that is left runs out.
  void Leave(const absl::Status& round) {
    if (round.ok()) return;
    bool over = false;
    {
      MutexLock lock(&mu);
      over = SteadyNow() >= valid_until;
    }
    if (over) SetLeads(std::nullopt, "the store does not answer");
  }

  Store* const store;
  const LeadershipOptions options;
  v1::ServerInfo self;
  // Used by the thread alone.
  uint64_t lease = 0;  // 0: none
  bool registered = false;

  mutable Mutex mu;
  CondVar wake;
  bool stop ABSL_GUARDED_BY(mu) = false;
  std::optional<uint64_t> leader_revision ABSL_GUARDED_BY(mu);  // of "leader", while it is ours
  absl::Time valid_until ABSL_GUARDED_BY(mu) = absl::InfinitePast();  // SteadyNow()

  std::thread thread;  // last: uses all of the above
};

std::unique_ptr<Leadership> Leadership::Start(Store* store, LeadershipOptions options) {
  auto impl = std::make_unique<Impl>(store, std::move(options));
  impl->thread = std::thread([raw = impl.get()] {
    NameThread("leadership");
    raw->Run();
  });
  return std::unique_ptr<Leadership>(new Leadership(std::move(impl)));
}

Leadership::Leadership(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Leadership::~Leadership() {
  {
    MutexLock lock(&impl_->mu);
    impl_->stop = true;
    impl_->wake.NotifyAll();
  }
  impl_->thread.join();
  // What cannot be given up now ends by itself.
  if (impl_->lease != 0) (void)impl_->store->EndLease(impl_->lease);
}

const std::string& Leadership::id() const { return impl_->options.id; }

bool Leadership::leads() const { return Fence().ok(); }

absl::StatusOr<StoreCompare> Leadership::Fence() const {
  MutexLock lock(&impl_->mu);
  if (!impl_->leader_revision.has_value() || SteadyNow() >= impl_->valid_until) {
    return absl::FailedPreconditionError(
        "this bdr-server does not lead: another one does what is to be done in the background");
  }
  return StoreCompare{.key = kLeaderKey, .revision = *impl_->leader_revision};
}

absl::StatusOr<std::vector<v1::ServerInfo>> Leadership::Servers() const {
  v1::ServerInfo leader;
  const absl::StatusOr<StoreEntry> led = impl_->store->Get(kLeaderKey);
  if (led.ok()) (void)leader.ParseFromString(led->value);  // else nobody is shown as the leader
  if (!led.ok() && !absl::IsNotFound(led.status())) return led.status();
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, impl_->store->List(kServerPrefix));
  std::vector<v1::ServerInfo> servers;
  for (const StoreEntry& entry : entries) {
    v1::ServerInfo server;
    if (!server.ParseFromString(entry.value)) continue;  // of a newer version
    if (server.id() == leader.id()) server = leader;
    servers.push_back(std::move(server));
  }
  std::sort(servers.begin(), servers.end(), [](const v1::ServerInfo& a, const v1::ServerInfo& b) {
    return std::pair(a.address(), a.host()) < std::pair(b.address(), b.host());
  });
  return servers;
}

}  // namespace bdr::server
