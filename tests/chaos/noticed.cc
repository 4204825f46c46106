#include "tests/chaos/noticed.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"

namespace bdr::chaos {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(60);

struct Loss {
  std::string what;
  // Where users write between what is restored and the loss. On n1 they write afterwards anyway.
  std::string writes_on = "n1";
  // Called while the agent of n1 does not run, or is held up.
  std::function<absl::Status(harness::Cluster&)> happens;
  std::string says;  // the agent, as the reason for its critical state
  bool agent_lives = false;
};

absl::Status Write(harness::Cluster& cluster, const std::string& node, int from, int rows = 20) {
  ASSIGN_OR_RETURN(const auto user, cluster.Connect(node));
  for (int i = 0; i < rows; ++i) {
    RETURN_IF_ERROR(
        user->Exec(absl::StrCat("INSERT INTO story VALUES (", from + i, ", 'n1')")).status());
  }
  return absl::OkStatus();
}

constexpr char kDropOrigin[] =
    "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin"
    " WHERE roname LIKE 'bdr\\_%\\_2\\_1'";

absl::Status Copy(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::remove_all(to, error);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive, error);
  return error ? absl::InternalError(absl::StrCat("cannot copy ", from, ": ", error.message()))
               : absl::OkStatus();
}

std::string Earlier(const harness::Cluster& cluster) {
  return cluster.agent_folder("n1") + "-earlier";
}

std::string EarlierServer(harness::Cluster& cluster) {
  return cluster.postgres("n1").data_folder() + "-earlier";
}

// With cp, which keeps whose the files are.
absl::Status CopyServer(const std::string& from, const std::string& to) {
  return std::system(absl::StrCat("rm -rf '", to, "' && cp -a '", from, "' '", to, "'").c_str()) ==
                 0
             ? absl::OkStatus()
             : absl::InternalError(absl::StrCat("cannot copy ", from));
}

absl::Status RestoreServer(harness::Cluster& cluster) {
  harness::PostgresServer& server = cluster.postgres("n1");
  RETURN_IF_ERROR(server.Stop());
  RETURN_IF_ERROR(CopyServer(EarlierServer(cluster), server.data_folder()));
  return server.Start();
}

std::vector<Loss> Losses() {
  return {
      {.what = "PostgreSQL was restored from earlier",
       .happens = RestoreServer,
       .says = "the server was set back"},
      {.what = "PostgreSQL was restored from earlier, and its WAL is longer again than it was",
       .happens =
           [](harness::Cluster& cluster) {
             RETURN_IF_ERROR(RestoreServer(cluster));
             return Write(cluster, "n1", 1000, /*rows=*/300);
           },
       .says = "the server was set back"},
      {.what = "PostgreSQL was restored from earlier, and had lost what came from elsewhere alone",
       .writes_on = "n2",
       .happens =
           [](harness::Cluster& cluster) {
             RETURN_IF_ERROR(RestoreServer(cluster));
             return Write(cluster, "n1", 1000, /*rows=*/300);
           },
       .says = "the server was set back"},
      {.what = "data folder and slot were lost together, as with a base backup on a new machine",
       .happens =
           [](harness::Cluster& cluster) {
             std::error_code error;
             std::filesystem::remove_all(cluster.agent_folder("n1"), error);
             std::filesystem::create_directories(cluster.agent_folder("n1"), error);
             std::filesystem::permissions(cluster.agent_folder("n1"),
                                          std::filesystem::perms::owner_all, error);
             return cluster.Exec(
                 "n1", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
           },
       .says = "is known by data_dir"},
      {.what = "a replication origin was dropped",
       .happens = [](harness::Cluster& cluster) { return cluster.Exec("n1", kDropOrigin); },
       .says = "_2_1\" is gone"},
      {.what = "a replication origin was dropped as PostgreSQL came back",
       .happens =
           [](harness::Cluster& cluster) {
             RETURN_IF_ERROR(cluster.postgres("n1").Kill9());
             RETURN_IF_ERROR(cluster.postgres("n1").Start());
             return cluster.Exec("n1", kDropOrigin);
           },
       .says = "_2_1\" is gone",
       .agent_lives = true},
      {.what = "the slot was dropped",
       .happens =
           [](harness::Cluster& cluster) {
             return cluster.Exec("n1",
                                 "SELECT pg_drop_replication_slot(slot_name) "
                                 "FROM pg_replication_slots");
           },
       .says = "is missing"},
      {.what = "the agent's data folder was emptied",
       .happens =
           [](harness::Cluster& cluster) {
             std::error_code error;
             std::filesystem::remove_all(cluster.agent_folder("n1") + "/log", error);
             return error ? absl::InternalError(error.message()) : absl::OkStatus();
           },
       .says = "if its data_dir was lost"},
      {.what = "the agent's data folder was restored from earlier",
       .happens =
           [](harness::Cluster& cluster) {
             return Copy(Earlier(cluster), cluster.agent_folder("n1"));
           },
       .says = "has confirmed"},
      {.what = "the slot was dropped and made again",
       .happens =
           [](harness::Cluster& cluster) {
             return cluster.Exec(
                 "n1",
                 "DO $$ DECLARE s text := (SELECT slot_name FROM pg_replication_slots);"
                 " BEGIN PERFORM pg_drop_replication_slot(s);"
                 " PERFORM pg_create_logical_replication_slot(s, 'pgoutput'); END $$");
           },
       .says = "has confirmed"},
  };
}

absl::Status CheckNoticed(const Loss& loss) {
  harness::ClusterOptions options;
  options.nodes = {{}, {}};
  options.schema_sql = "CREATE TABLE story (id int PRIMARY KEY, v text);";
  options.start_deadline = absl::Seconds(90);
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   harness::Cluster::Start(std::move(options)));
  RETURN_IF_ERROR(Write(*cluster, "n1", 0));
  RETURN_IF_ERROR(cluster->WaitUntilConverged(kDeadline));
  RETURN_IF_ERROR(cluster->agent("n1").Terminate());
  RETURN_IF_ERROR(Copy(cluster->agent_folder("n1"), Earlier(*cluster)));
  harness::PostgresServer& server = cluster->postgres("n1");
  RETURN_IF_ERROR(server.Stop());
  RETURN_IF_ERROR(CopyServer(server.data_folder(), EarlierServer(*cluster)));
  RETURN_IF_ERROR(server.Start());
  RETURN_IF_ERROR(cluster->StartAgent("n1"));
  RETURN_IF_ERROR(Write(*cluster, loss.writes_on, 100));
  RETURN_IF_ERROR(cluster->WaitUntilConverged(kDeadline));
  // Or the slot still stands where the earlier folder ends, and goes on from there: then it is the
  // peer that finds two histories.
  ASSIGN_OR_RETURN(const std::string written,
                   cluster->QueryValue("n1", "SELECT pg_current_wal_insert_lsn()"));
  RETURN_IF_ERROR(cluster->WaitForValue(
      "n1", absl::StrCat("SELECT confirmed_flush_lsn >= '", written, "' FROM pg_replication_slots"),
      "t", kDeadline));
  harness::ChildProcess& agent = cluster->agent("n1");
  if (loss.agent_lives) {
    RETURN_IF_ERROR(agent.Pause());
  } else {
    agent.Kill9();
  }
  RETURN_IF_ERROR(Write(*cluster, loss.writes_on, 200));
  RETURN_IF_ERROR(loss.happens(*cluster));
  RETURN_IF_ERROR(loss.agent_lives ? agent.Resume() : cluster->StartAgent("n1"));
  RETURN_IF_ERROR(Write(*cluster, "n1", 300));
  std::string last;
  const absl::Status noticed = harness::WaitFor(
      absl::StrCat("\"bdrctl status\" says \"", loss.says, "\""), kDeadline,
      [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const harness::ProgramResult status, cluster->Bdrctl({"status"}));
        last = status.out + status.err;
        return status.exit_code == 2 && absl::StrContains(last, loss.says);
      });
  if (!noticed.ok()) {
    return absl::DataLossError(absl::StrCat(
        loss.what, " and it was not noticed: ", std::string(noticed.message()), "\n", last));
  }
  // What was written meanwhile is nowhere else, and nobody acts as if it were.
  ASSIGN_OR_RETURN(const std::string there,
                   cluster->QueryValue("n2", "SELECT count(*) FROM story WHERE id >= 300"));
  if (there != "0") {
    return absl::DataLossError(
        absl::StrCat(loss.what, ", and changes that came later went on all the same"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAllNoticed() {
  for (const Loss& loss : Losses()) {
    RETURN_IF_ERROR(CheckNoticed(loss));
    std::printf("noticed: %s\n", loss.what.c_str());
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
