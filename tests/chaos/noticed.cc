#include "tests/chaos/noticed.h"

#include <cstdio>
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
  // Called while the agent of n1 does not run.
  std::function<absl::Status(harness::Cluster&)> happens;
  std::string says;  // the agent, as the reason for its critical state
};

absl::Status Write(harness::Cluster& cluster, int from) {
  for (int i = 0; i < 20; ++i) {
    RETURN_IF_ERROR(
        cluster.Exec("n1", absl::StrCat("INSERT INTO story VALUES (", from + i, ", 'n1')")));
  }
  return absl::OkStatus();
}

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

std::vector<Loss> Losses() {
  return {
      {"the slot was dropped",
       [](harness::Cluster& cluster) {
         return cluster.Exec("n1",
                             "SELECT pg_drop_replication_slot(slot_name) "
                             "FROM pg_replication_slots");
       },
       "is missing"},
      {"the agent's data folder was emptied",
       [](harness::Cluster& cluster) {
         std::error_code error;
         std::filesystem::remove_all(cluster.agent_folder("n1") + "/log", error);
         return error ? absl::InternalError(error.message()) : absl::OkStatus();
       },
       "the change log in data_dir is empty"},
      {"the agent's data folder was restored from earlier",
       [](harness::Cluster& cluster) { return Copy(Earlier(cluster), cluster.agent_folder("n1")); },
       "has confirmed"},
      {"the slot was dropped and made again",
       [](harness::Cluster& cluster) {
         return cluster.Exec("n1",
                             "DO $$ DECLARE s text := (SELECT slot_name FROM pg_replication_slots);"
                             " BEGIN PERFORM pg_drop_replication_slot(s);"
                             " PERFORM pg_create_logical_replication_slot(s, 'pgoutput'); END $$");
       },
       "has confirmed"},
  };
}

absl::Status CheckNoticed(const Loss& loss) {
  harness::ClusterOptions options;
  options.nodes = {{}, {}};
  options.schema_sql = "CREATE TABLE story (id int PRIMARY KEY, v text);";
  options.start_deadline = absl::Seconds(90);
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   harness::Cluster::Start(std::move(options)));
  RETURN_IF_ERROR(Write(*cluster, 0));
  RETURN_IF_ERROR(cluster->WaitUntilConverged(kDeadline));
  RETURN_IF_ERROR(cluster->agent("n1").Terminate());
  RETURN_IF_ERROR(Copy(cluster->agent_folder("n1"), Earlier(*cluster)));
  RETURN_IF_ERROR(cluster->StartAgent("n1"));
  RETURN_IF_ERROR(Write(*cluster, 100));
  RETURN_IF_ERROR(cluster->WaitUntilConverged(kDeadline));
  cluster->agent("n1").Kill9();
  RETURN_IF_ERROR(Write(*cluster, 200));
  RETURN_IF_ERROR(loss.happens(*cluster));
  RETURN_IF_ERROR(cluster->StartAgent("n1"));
  RETURN_IF_ERROR(Write(*cluster, 300));
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
