#include "tests/chaos/faults.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/test_hooks.h"
#include "tests/harness/small_disk.h"

namespace bdr::chaos {
namespace {

constexpr size_t kMostAtOnce = 3;
constexpr auto kStep = std::chrono::milliseconds(10);

bool IsNetwork(FaultKind kind) {
  switch (kind) {
    case FaultKind::kPartition:
    case FaultKind::kIsolate:
    case FaultKind::kOneWayLoss:
    case FaultKind::kDelay:
    case FaultKind::kStall:
    case FaultKind::kReset:
    case FaultKind::kBandwidth:
      return true;
    default:
      return false;
  }
}

bool IsProcess(FaultKind kind) {
  switch (kind) {
    case FaultKind::kAgentKill:
    case FaultKind::kAgentPause:
    case FaultKind::kAgentFailPoint:
    case FaultKind::kAgentMachineCrash:
    case FaultKind::kPostgresKill:
    case FaultKind::kPostgresPause:
    case FaultKind::kServerKill:
    case FaultKind::kServerPause:
      return true;
    default:
      return false;
  }
}

// A session that does something again and again until the fault ends.
class Repeater {
 public:
  explicit Repeater(std::function<void()> what)
      : thread_([this, what = std::move(what)] {
          while (!stop_) what();
        }) {}
  ~Repeater() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

Faults::Faults(const Plan& plan, harness::Cluster* cluster, Findings* findings,
               std::function<void(const std::string&)> log)
    : plan_(plan),
      cluster_(cluster),
      findings_(findings),
      log_(std::move(log)),
      random_(plan.options.seed, /*stream=*/1),
      names_(cluster->names()) {}

Faults::~Faults() { HealAll().IgnoreError(); }

bool Faults::Busy(const std::string& node) const {
  return std::any_of(active_.begin(), active_.end(),
                     [&](const Active& active) { return active.node == node; });
}

void Faults::Run(absl::Time until) {
  absl::Time next = absl::Now() + absl::Milliseconds(random_.Between(100, 800));
  while (absl::Now() < until && !findings_->any()) {
    const absl::Time now = absl::Now();
    EndDue(now);
    LookAtAgents();
    if (now >= next && active_.size() < kMostAtOnce) {
      BeginOne();
      next = absl::Now() + absl::Milliseconds(random_.Between(100, 1500));
    }
    std::this_thread::sleep_for(kStep);  // Time is what this loop waits for.
  }
}

// Nobody but us ends agents.
void Faults::LookAtAgents() {
  for (const std::string& node : names_) {
    if (Busy(node) || cluster_->agent(node).Running()) continue;
    findings_->Add(absl::StrCat("the agent of ", node, " ended by itself"));
    cluster_->StartAgent(node).IgnoreError();
  }
}

void Faults::BeginOne() {
  if (plan_.profile.faults.empty()) return;
  const FaultKind kind = random_.PickWeighted(plan_.profile.faults);
  // Drawn also where they are not used, so that what comes later stays the same.
  const std::string node = random_.Pick(names_);
  const absl::Duration lasts =
      absl::Milliseconds(random_.Between(50, absl::ToInt64Milliseconds(plan_.profile.fault_max)));
  Active active{.kind = kind,
                .what = std::string(ToString(kind)),
                .node = "",
                .network = IsNetwork(kind),
                .ends = absl::Now() + lasts,
                .end = nullptr};
  if (!active.network && kind != FaultKind::kServerKill && kind != FaultKind::kServerPause) {
    active.node = node;
  }
  const bool taken = std::any_of(active_.begin(), active_.end(), [&](const Active& other) {
    return (active.network && other.network) || other.kind == kind ||
           (!active.node.empty() && other.node == active.node);
  });
  if (taken) return;
  const absl::Status begun = Begin(kind, &active);
  if (!begun.ok()) {
    log_(absl::StrCat("could not begin: ", active.what, " ", active.node, ": ",
                      std::string(begun.message())));
    return;
  }
  ++begun_;
  log_(
      absl::StrCat("begin: ", active.what, " ", active.node, " for ", absl::FormatDuration(lasts)));
  active_.push_back(std::move(active));
}

void Faults::EndDue(absl::Time now) {
  for (auto it = active_.begin(); it != active_.end();) {
    if (it->ends > now) {
      ++it;
      continue;
    }
    End(*it);
    it = active_.erase(it);
  }
}

void Faults::End(Active& active) {
  const absl::Status ended = active.end == nullptr ? absl::OkStatus() : active.end();
  log_(absl::StrCat("end: ", active.what, " ", active.node, ended.ok() ? "" : ": ",
                    std::string(ended.message())));
  if (!ended.ok()) {
    findings_->Add(absl::StrCat(active.what, " ", active.node,
                                " does not end: ", std::string(ended.message())));
  }
}

absl::Status Faults::HealAll() {
  for (Active& active : active_) End(active);
  active_.clear();
  cluster_->Heal();
  if (!cluster_->server().Running()) RETURN_IF_ERROR(cluster_->StartServer());
  for (const std::string& node : names_) {
    if (plan_.profile.clocks) cluster_->clock(node).Set(absl::ZeroDuration());
    RETURN_IF_ERROR(cluster_->postgres(node).Start());
    if (!cluster_->agent(node).Running()) RETURN_IF_ERROR(cluster_->StartAgent(node));
  }
  return absl::OkStatus();
}

absl::Status Faults::Begin(FaultKind kind, Active* active) {
  if (IsNetwork(kind)) return BeginNetwork(kind, active);
  if (IsProcess(kind)) return BeginProcess(kind, active);
  return BeginDatabase(kind, active);
}

absl::Status Faults::BeginNetwork(FaultKind kind, Active* active) {
  const std::string& one = random_.Pick(names_);
  const int64_t step = random_.Between(1, static_cast<int64_t>(names_.size()) - 1);
  const size_t at =
      static_cast<size_t>(std::find(names_.begin(), names_.end(), one) - names_.begin());
  const std::string& other = names_[(at + static_cast<size_t>(step)) % names_.size()];
  absl::StrAppend(&active->what, " ", one, kind == FaultKind::kIsolate ? "" : "/",
                  kind == FaultKind::kIsolate ? "" : other);
  harness::Fault fault;
  bool both = random_.OneIn(2);
  switch (kind) {
    case FaultKind::kPartition:
      cluster_->Partition(one, other);
      break;
    case FaultKind::kIsolate:
      cluster_->Isolate(one);
      break;
    case FaultKind::kOneWayLoss:
      fault.lose = true;
      both = false;
      break;
    case FaultKind::kDelay:
      fault.delay = absl::Milliseconds(random_.Between(20, 600));
      break;
    case FaultKind::kStall:
      fault.stall = true;
      break;
    case FaultKind::kReset:
      fault.cut = true;
      fault.cut_after_bytes = random_.Between(1, 20000);
      break;
    default:
      fault.bytes_per_second = random_.Between(2000, 100000);
      break;
  }
  if (kind != FaultKind::kPartition && kind != FaultKind::kIsolate) {
    cluster_->SetFault(one, other, fault);
    if (both) cluster_->SetFault(other, one, fault);
  }
  // One fault of the network at a time: this heals all.
  active->end = [this] {
    cluster_->Heal();
    return absl::OkStatus();
  };
  return absl::OkStatus();
}

absl::Status Faults::BeginProcess(FaultKind kind, Active* active) {
  const std::string node = active->node;
  const auto start_agent = [this, node] { return cluster_->StartAgent(node); };
  switch (kind) {
    case FaultKind::kAgentKill:
      cluster_->agent(node).Kill9();
      active->end = start_agent;
      return absl::OkStatus();
    case FaultKind::kAgentPause:
      RETURN_IF_ERROR(cluster_->agent(node).Pause());
      active->end = [this, node] { return cluster_->agent(node).Resume(); };
      return absl::OkStatus();
    case FaultKind::kAgentFailPoint: {
#ifdef BDR_TEST_HOOKS
      std::vector<absl::string_view> points;
      for (const absl::string_view point : test_hooks::kFailPoints) {
        // Of what no user does here nothing can be cut off, and conversions are bdrctl's.
        if (absl::StartsWith(point, "conversion_") || absl::StartsWith(point, "turn_")) continue;
        if (!absl::StartsWith(point, "chunk_") || !plan_.sequences.empty()) points.push_back(point);
      }
      if (!plan_.sequences.empty() && random_.OneIn(2)) {
        points = {"chunk_granted", "chunk_in_register"};
      }
      const std::string point = absl::StrCat(random_.Pick(points), ":", random_.Between(1, 30));
      absl::StrAppend(&active->what, " ", point);
      cluster_->agent(node).Kill9();
      active->end = start_agent;  // also kills what did not come by there
      return cluster_->StartAgent(node, {{"BDR_FAIL_POINT", point}});
#else
      return absl::FailedPreconditionError("this build has no fail points");
#endif
    }
    case FaultKind::kAgentMachineCrash: {
      ASSIGN_OR_RETURN(const int64_t lost, cluster_->CrashAgentMachine(node));
      absl::StrAppend(&active->what, " (", lost, " bytes lost)");
      active->end = start_agent;
      return absl::OkStatus();
    }
    case FaultKind::kPostgresKill:
      RETURN_IF_ERROR(cluster_->postgres(node).Kill9());
      active->end = [this, node] { return cluster_->postgres(node).Start(); };
      return absl::OkStatus();
    case FaultKind::kPostgresPause:
      RETURN_IF_ERROR(cluster_->postgres(node).Pause());
      active->end = [this, node] { return cluster_->postgres(node).Resume(); };
      return absl::OkStatus();
    case FaultKind::kServerKill:
      cluster_->server().Kill9();
      active->end = [this] { return cluster_->StartServer(); };
      return absl::OkStatus();
    default:
      RETURN_IF_ERROR(cluster_->server().Pause());
      active->end = [this] { return cluster_->server().Resume(); };
      return absl::OkStatus();
  }
}

absl::Status Faults::BeginDatabase(FaultKind kind, Active* active) {
  const std::string node = active->node;
  switch (kind) {
    case FaultKind::kBackendsKill:
      return cluster_->Exec(node,
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE application_name LIKE 'bdr %'");
    case FaultKind::kDiskFull:
      return FillDisk(active);
    case FaultKind::kClockStep: {
      const absl::Duration ahead = absl::Milliseconds(random_.Between(-5000, 5000));
      absl::StrAppend(&active->what, " ", absl::FormatDuration(ahead));
      cluster_->clock(node).Set(ahead);
      active->end = [this, node] {
        cluster_->clock(node).Set(absl::ZeroDuration());
        return absl::OkStatus();
      };
      return absl::OkStatus();
    }
    case FaultKind::kClockRate:
      cluster_->clock(node).SetRate(random_.OneIn(2) ? 1.1 : 0.9);
      active->end = [this, node] {
        cluster_->clock(node).Set(absl::ZeroDuration());
        return absl::OkStatus();
      };
      return absl::OkStatus();
    case FaultKind::kFreeze:
      return Freeze(node);
    case FaultKind::kCheckpoints: {
      auto repeater = std::make_shared<Repeater>([this, node] {
        if (!cluster_->Exec(node, "CHECKPOINT").ok()) std::this_thread::sleep_for(kStep);
      });
      active->end = [repeater]() mutable {
        repeater.reset();
        return absl::OkStatus();
      };
      return absl::OkStatus();
    }
    case FaultKind::kRowLocks: {
      ASSIGN_OR_RETURN(std::shared_ptr<postgres::Connection> session, cluster_->Connect(node));
      const TableSpec& table = random_.Pick(plan_.tables);
      const std::string lock =
          random_.OneIn(4)
              ? absl::StrCat("LOCK TABLE ", table.name, " IN SHARE MODE")
              : absl::StrCat("SELECT FROM ", table.name, " WHERE ",
                             table.KeyCondition(random_.Below(table.hot_keys)), " FOR UPDATE");
      RETURN_IF_ERROR(
          session->Exec("SET lock_timeout = '1s'; SET statement_timeout = '3s'").status());
      RETURN_IF_ERROR(session->Exec("BEGIN").status());
      RETURN_IF_ERROR(session->Exec(lock).status());
      active->end = [session] {
        session->Exec("COMMIT").IgnoreError();  // The server may be gone, and the lock with it.
        return absl::OkStatus();
      };
      return absl::OkStatus();
    }
    case FaultKind::kOpenWriter: {
      // It holds back xmin and the slot's restart, and locks no row.
      ASSIGN_OR_RETURN(std::shared_ptr<postgres::Connection> session, cluster_->Connect(node));
      RETURN_IF_ERROR(session
                          ->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ;"
                                 "SELECT pg_logical_emit_message(true, 'chaos', 'written')")
                          .status());
      const bool commits = random_.OneIn(2);
      active->end = [session, commits] {
        session->Exec(commits ? "COMMIT" : "ROLLBACK").IgnoreError();
        return absl::OkStatus();
      };
      return absl::OkStatus();
    }
    default: {
      const TableSpec& table = random_.Pick(plan_.tables);
      return cluster_->Exec(node, absl::StrCat("SET lock_timeout = '1s'; ALTER TABLE ", table.name,
                                               " ALTER COLUMN w TYPE bigint USING w + 0"));
    }
  }
}

// The disk of the agent's data folder, which is one of its own (see run.cc).
absl::Status Faults::FillDisk(Active* active) {
  if (!plan_.small_disks) return absl::FailedPreconditionError("the agents share one disk");
  const std::string folder = cluster_->agent_folder(active->node);
  active->end = [folder] { return harness::MakeRoom(folder); };
  return harness::FillDisk(folder);
}

// Of all databases, or PostgreSQL keeps the commit times.
absl::Status Faults::Freeze(const std::string& node) {
  RETURN_IF_ERROR(cluster_->Exec(
      node, "UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'"));
  for (const char* database : {"template0", "template1", "postgres", "app"}) {
    RETURN_IF_ERROR(cluster_->postgres(node).RunScript(
        "SET statement_timeout = '5s'; VACUUM FREEZE;", database));
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
