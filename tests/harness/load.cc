#include "tests/harness/load.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "postgres/connection.h"

namespace bdr::harness {
namespace {

constexpr size_t kMostErrors = 20;

// What a user of a database that is killed now and then must expect.
bool IsExpected(const absl::Status& status) {
  return absl::IsUnavailable(status) || postgres::Sqlstate(status) == "40001";
}

}  // namespace

std::string Load::Schema() {
  return R"sql(
CREATE TABLE load_keyed (node text, worker int, n bigint, note text, PRIMARY KEY (node, worker, n));
CREATE TABLE load_events (node text, worker int, n bigint);
CREATE TABLE load_hot (id int PRIMARY KEY, value text, hits bigint);
)sql";
}

Load::Load(Cluster* cluster, Options options) : cluster_(cluster), options_(std::move(options)) {
  const std::vector<std::string> nodes =
      options_.nodes.empty() ? cluster_->names() : options_.nodes;
  for (const std::string& node : nodes) {
    for (int i = 0; i < options_.workers_per_node; ++i) {
      workers_.push_back(std::make_unique<Worker>());
      workers_.back()->node = node;
      workers_.back()->number = i;
    }
  }
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, w = worker.get()] { Run(w); });
  }
}

Load::~Load() { Stop(); }

void Load::Stop() {
  stop_ = true;
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void Load::Run(Worker* worker) {
  std::unique_ptr<postgres::Connection> connection;
  for (int64_t n = 1; !stop_; ++n) {
    if (connection == nullptr || connection->broken()) {
      absl::StatusOr<std::unique_ptr<postgres::Connection>> connected =
          cluster_->Connect(worker->node);
      if (!connected.ok()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        continue;
      }
      connection = *std::move(connected);
    }
    const int64_t hot = (n * 7919 + worker->number * 31) % options_.hot_rows;
    const std::string me = absl::StrCat("'", worker->node, "', ", worker->number, ", ", n);
    std::string sql = absl::StrCat("BEGIN; INSERT INTO load_keyed VALUES (", me, ", 'new');",
                                   "INSERT INTO load_events VALUES (", me, ");");
    if (n % 10 == 0) {
      absl::StrAppend(&sql, "DELETE FROM load_hot WHERE id = ", hot, ";");
    } else {
      absl::StrAppend(&sql, "INSERT INTO load_hot VALUES (", hot, ", '", worker->node, " ",
                      worker->number, " ", n,
                      "', 1) ON CONFLICT (id) DO UPDATE SET value = excluded.value,"
                      " hits = load_hot.hits + 1;");
    }
    if (n > 5) {
      absl::StrAppend(&sql, "UPDATE load_keyed SET note = 'changed' WHERE node = '", worker->node,
                      "' AND worker = ", worker->number, " AND n = ", n - 5, ";");
    }
    absl::StrAppend(&sql, "COMMIT");
    const absl::Status status = connection->Exec(sql).status();
    if (status.ok()) {
      worker->acknowledged.push_back(n);
      ++acknowledged_;
    } else {
      if (!IsExpected(status)) {
        MutexLock lock(&mu_);
        if (errors_.size() < kMostErrors) errors_.push_back(status.ToString());
      }
      if (!connection->broken()) connection->Exec("ROLLBACK").IgnoreError();
    }
    if (options_.pause > absl::ZeroDuration()) {
      std::this_thread::sleep_for(absl::ToChronoMicroseconds(options_.pause));
    }
  }
}

int64_t Load::acknowledged() const { return acknowledged_; }

absl::Status Load::WaitForMore(int64_t transactions, absl::Duration deadline) const {
  const int64_t goal = acknowledged_ + transactions;
  return WaitFor(absl::StrCat(transactions, " more transactions"), deadline,
                 [&]() -> absl::StatusOr<bool> { return acknowledged_ >= goal; });
}

std::vector<std::string> Load::errors() const {
  MutexLock lock(&mu_);
  return errors_;
}

absl::Status Load::CheckNothingLostNorTwice() const {
  for (const std::string& node : cluster_->names()) {
    ASSIGN_OR_RETURN(const std::string twice,
                     cluster_->QueryValue(node,
                                          "SELECT count(*) FROM (SELECT FROM load_events "
                                          "GROUP BY node, worker, n HAVING count(*) > 1) AS t"));
    if (twice != "0") {
      return absl::DataLossError(
          absl::StrCat(twice, " rows of load_events are there twice on \"", node, "\""));
    }
    for (const auto& worker : workers_) {
      for (const char* table : {"load_keyed", "load_events"}) {
        ASSIGN_OR_RETURN(
            const std::string missing,
            cluster_->QueryValue(
                node, absl::StrCat("SELECT count(*) FROM unnest('{",
                                   absl::StrJoin(worker->acknowledged, ","),
                                   "}'::bigint[]) AS a(n) WHERE n NOT IN (SELECT n FROM ", table,
                                   " WHERE node = '", worker->node,
                                   "' AND worker = ", worker->number, ")")));
        if (missing != "0") {
          return absl::DataLossError(
              absl::StrCat(missing, " of ", worker->acknowledged.size(),
                           " acknowledged transactions of worker ", worker->number, " of \"",
                           worker->node, "\" are missing in ", table, " on \"", node, "\""));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::harness
