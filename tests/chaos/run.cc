#include "tests/chaos/run.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "tests/chaos/checks.h"
#include "tests/chaos/drawers.h"
#include "tests/chaos/faults.h"
#include "tests/chaos/findings.h"
#include "tests/chaos/journal.h"
#include "tests/chaos/policies.h"
#include "tests/chaos/sequences.h"
#include "tests/chaos/tables.h"
#include "tests/chaos/witnesses.h"
#include "tests/chaos/workload.h"
#include "tests/harness/cluster.h"
#include "tests/harness/small_disk.h"
#include "tests/harness/temp_folder.h"

namespace bdr::chaos {
namespace {

// Long: rows that fold cost the more the further behind a node is, and machines are shared.
constexpr absl::Duration kHealed = absl::Seconds(150);
constexpr char kDiskSize[] = "256m";

// What a run did, line by line, in its folder and, if wanted, on the screen.
class RunLog {
 public:
  RunLog(const std::string& file, bool verbose) : file_(file, std::ios::app), verbose_(verbose) {}
  void Line(const std::string& text) {
    MutexLock lock(&mu_);
    const std::string line = absl::StrCat(
        absl::FormatTime("%H:%M:%E3S", absl::Now(), absl::UTCTimeZone()), " ", text, "\n");
    file_ << line << std::flush;
    if (verbose_) std::fputs(line.c_str(), stderr);
  }

 private:
  Mutex mu_;
  std::ofstream file_ ABSL_GUARDED_BY(mu_);
  const bool verbose_;
};

std::vector<std::string> DataFolders(const std::string& folder, int nodes) {
  std::vector<std::string> folders;
  for (int i = 1; i <= nodes; ++i) folders.push_back(absl::StrCat(folder, "/n", i, "/agent"));
  return folders;
}

// A disk of its own for each agent's data folder, so that it can be full.
absl::Status MountDisks(const std::string& folder, int nodes) {
  for (const std::string& data : DataFolders(folder, nodes)) {
    RETURN_IF_ERROR(harness::MountSmallDisk(data, kDiskSize));
  }
  return absl::OkStatus();
}

void Unmount(const std::string& folder, int nodes) {
  for (const std::string& data : DataFolders(folder, nodes)) harness::UnmountSmallDisk(data);
}

std::string Schema(const Plan& plan, const std::vector<std::string>& nodes) {
  std::string sql = absl::StrCat(TypesDdl(), Workload::Schema(), Witnesses::Schema(nodes));
  for (const TableSpec& table : plan.tables) sql += table.ddl;
  return sql + SequencesDdl(plan);
}

// They hold back xmin and the slots' restart_lsn, as somebody's forgotten session does.
using Sessions = std::vector<std::unique_ptr<postgres::Connection>>;
Sessions StandingTransactions(const Plan& plan, const harness::Cluster& cluster) {
  Sessions sessions;
  if (!plan.standing_transactions) return sessions;
  for (const std::string& node : cluster.names()) {
    absl::StatusOr<std::unique_ptr<postgres::Connection>> session = cluster.Connect(node);
    // A fault that ends one ends what it shows.
    if (session.ok() && (*session)
                            ->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ;"
                                   "SELECT pg_logical_emit_message(true, 'chaos', 'stands')")
                            .ok()) {
      sessions.push_back(*std::move(session));
    }
  }
  return sessions;
}

// What a person needs who looks for the reason: conflict logs and differing rows.
void KeepEvidence(const harness::Cluster& cluster, const Findings& findings,
                  const std::string& folder) {
  std::ofstream(folder + "/findings.txt") << absl::StrJoin(findings.all(), "\n") << "\n";
  const absl::StatusOr<std::string> difference = cluster.DiffNodes();
  std::ofstream(folder + "/difference.txt")
      << (difference.ok() ? *difference : difference.status().ToString()) << "\n";
  for (const std::string& node : cluster.names()) {
    std::ofstream out(absl::StrCat(folder, "/conflicts-", node, ".txt"));
    const absl::StatusOr<std::unique_ptr<postgres::Connection>> connection = cluster.Connect(node);
    if (!connection.ok()) {
      out << connection.status() << "\n";
      continue;
    }
    const absl::StatusOr<postgres::Result> rows =
        (*connection)->Exec("SELECT row_to_json(c)::text FROM bdr.conflict_log AS c ORDER BY id");
    if (!rows.ok()) {
      out << rows.status() << "\n";
      continue;
    }
    for (int i = 0; i < rows->rows(); ++i) out << rows->value(i, 0) << "\n";
  }
}

void CheckAll(const Plan& plan, harness::Cluster* cluster, const Journal& journal,
              const DrawnIds& ids, Findings* findings) {
  if (const absl::Status status = cluster->WaitUntilConverged(kHealed); !status.ok()) {
    findings->Add(absl::StrCat("not converged: ", std::string(status.message())));
    return;
  }
  if (const absl::Status status = cluster->WaitUntilHealthy(kHealed); !status.ok()) {
    findings->Add(absl::StrCat("converged, but not healthy: ", std::string(status.message())));
  }
  for (const absl::Status& status :
       {CheckJournal(plan, *cluster, journal, findings), CheckUnique(*cluster, findings),
        CheckOrphans(plan, *cluster, findings), CheckCounters(plan, *cluster, journal, findings),
        CheckSequences(plan, *cluster, ids, findings)}) {
    if (!status.ok()) findings->Add(absl::StrCat("cannot be checked: ", status.ToString()));
  }
}

}  // namespace

absl::StatusOr<Outcome> RunOnce(const Plan& plan) {
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::TempFolder> folder,
                   harness::TempFolder::Create("bdr-chaos"));
  RunLog log(folder->path() + "/run.log", plan.options.verbose);
  Plan used = plan;
  if (used.small_disks) {
    if (const absl::Status mounted = MountDisks(folder->path(), used.nodes); !mounted.ok()) {
      log.Line(absl::StrCat("no disk will be full: ", std::string(mounted.message())));
      used.small_disks = false;
      used.profile.faults.erase(FaultKind::kDiskFull);
    }
  }
  if (used.profile.namespaces && !used.options.own_network) {
    log.Line("links through proxies: no network namespaces are allowed here");
    used.profile.namespaces = false;
  }
  for (const TableSpec& table : used.tables) log.Line(table.ddl);
  std::vector<std::string> names;
  for (int i = 1; i <= used.nodes; ++i) names.push_back(absl::StrCat("n", i));
  harness::ClusterOptions options;
  options.nodes.assign(static_cast<size_t>(used.nodes), {});
  options.schema_sql = Schema(used, names);
  options.namespaces = options.tls = used.profile.namespaces;
  options.proxies = !options.namespaces;
  options.machine_crash = used.machine_crash;
  options.fake_clocks = used.profile.clocks;
  options.agent_config = used.agent_config;
  options.folder = folder->path();
  options.start_deadline = absl::Seconds(90);
  if (!used.options.broken.empty()) {
    options.agent_environment.emplace_back("BDR_BREAK", used.options.broken);
  }
  if (!used.profile.habits.empty()) {
    options.agent_environment.emplace_back("BDR_STRESS", used.profile.habits);
  }

  Outcome outcome;
  Findings findings;
  Journal journal;
  absl::Time begun = absl::InfiniteFuture();
  {
    absl::StatusOr<std::unique_ptr<harness::Cluster>> cluster =
        harness::Cluster::Start(std::move(options));
    if (!cluster.ok()) {
      Unmount(folder->path(), used.nodes);
      return cluster.status();
    }
    absl::Status set = SetPolicies(used, **cluster);
    if (set.ok()) set = ConvertAll(used, **cluster);
    if (!set.ok()) {
      cluster->reset();
      Unmount(folder->path(), used.nodes);
      return set;
    }
    log.Line("the cluster has started");
    int64_t looks = 0;
    int64_t chain = 0;
    int faults_begun = 0;
    int switched = 0;
    std::string sequences;
    begun = absl::Now();
    {
      Workload workload(used, cluster->get(), &journal, &findings);
      Witnesses witnesses(used, cluster->get(), &findings);
      const auto tell = [&log](const std::string& line) { log.Line(line); };
      PolicySwitcher switcher(used, cluster->get(), tell);
      DrawnIds ids(used.sequences.size());
      Drawers drawers(used, cluster->get(), &ids, &findings);
      SequenceConverter converter(used, cluster->get(), tell);
      Sessions standing = StandingTransactions(used, **cluster);
      Faults faults(used, cluster->get(), &findings, tell);
      faults.Run(begun + absl::Seconds(used.options.seconds));
      if (const absl::Status healed = faults.HealAll(); !healed.ok()) {
        findings.Add(absl::StrCat("does not come up again: ", healed.ToString()));
      }
      standing.clear();
      switcher.Stop();
      converter.Stop();
      // Users draw until all sequences are of one method again.
      if (const absl::Status finished = converter.Finish(); !finished.ok()) {
        findings.Add(absl::StrCat("sequences: ", std::string(finished.message())));
      }
      drawers.Stop();
      workload.Stop();
      witnesses.StopWriters();
      log.Line("healed, nobody writes any more");
      // Readers look on while the rest arrives.
      CheckAll(used, cluster->get(), journal, ids, &findings);
      witnesses.Stop();
      looks = witnesses.looks();
      chain = witnesses.chain();
      faults_begun = faults.begun();
      switched = switcher.switched();
      if (!used.sequences.empty()) {
        sequences = absl::StrCat(", ", ids.count(), " ids, ", converter.converted(),
                                 " conversions, ", converter.cut_off(), " cut off");
      }
    }
    for (const std::string& finding : findings.all()) log.Line("FOUND " + finding);
    outcome.summary =
        absl::StrCat(used.nodes, " nodes, ", used.tables.size(), " tables, ",
                     journal.acknowledged(), " transactions, ", faults_begun, " faults, ", switched,
                     " other policies, ", looks, " looks, chain of ", chain, sequences);
    log.Line(outcome.summary);
    if (findings.any()) KeepEvidence(**cluster, findings, folder->path());
  }
  outcome.findings = findings.all();
  outcome.until_found = findings.any() ? findings.first_at() - begun : absl::InfiniteDuration();
  if (used.small_disks && findings.any()) {
    // The disks go with us; what is on them is evidence.
    for (const std::string& name : names) {
      std::error_code error;
      std::filesystem::copy(absl::StrCat(folder->path(), "/", name, "/agent"),
                            absl::StrCat(folder->path(), "/", name, "/agent-data"),
                            std::filesystem::copy_options::recursive, error);
    }
  }
  if (used.small_disks) Unmount(folder->path(), used.nodes);
  const bool broken = !used.options.broken.empty();
  if (used.options.keep || (findings.any() && !broken)) {
    folder->Keep();
    outcome.folder = folder->path();
  }
  return outcome;
}

}  // namespace bdr::chaos
