#include "bench/draws.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"

namespace bdr::bench {
namespace {

constexpr int kNodes = 3;
constexpr const char* kMethods[] = {"native", "galloc", "snowflake"};
// Drawn by one statement: of one, what it takes is mostly the way there and back.
constexpr int kIds[] = {1, 1000};
// By then an agent has learned how fast ids are drawn.
constexpr absl::Duration kLearning = absl::Seconds(3);

std::string Table(const std::string& method, int ids) { return absl::StrCat("t_", method, ids); }

absl::StatusOr<std::unique_ptr<harness::Cluster>> StartNodes() {
  harness::ClusterOptions options;
  options.nodes.assign(kNodes, {});
  for (const char* method : kMethods) {
    for (const int ids : kIds) {
      absl::StrAppend(&options.schema_sql, "CREATE TABLE ", Table(method, ids),
                      " (id bigserial PRIMARY KEY);");
    }
  }
  return harness::Cluster::Start(std::move(options));
}

absl::Status Convert(const harness::Cluster& cluster, const std::string& method, int ids) {
  std::vector<std::string> command = {"sequence", "convert",
                                      absl::StrCat("public.", Table(method, ids), "_id_seq"),
                                      "--method", method};
  for (const std::string& node : cluster.names()) {
    command.push_back("--database");
    command.push_back(absl::StrCat(node, "=", cluster.conninfo(node)));
  }
  ASSIGN_OR_RETURN(const harness::ProgramResult result, cluster.Bdrctl(std::move(command)));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("bdrctl sequence convert: ", result.out, result.err));
}

// As the default of the table's column draws.
absl::StatusOr<std::string> DrawSql(const harness::Cluster& cluster, const std::string& node,
                                    const std::string& table, int ids) {
  ASSIGN_OR_RETURN(
      const std::string call,
      cluster.QueryValue(
          node, absl::StrCat("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = '",
                             table, "'::regclass")));
  if (ids == 1) return absl::StrCat("SELECT ", call);
  return absl::StrCat("SELECT count(", call, ") FROM generate_series(1, ", ids, ")");
}

struct Session {
  std::unique_ptr<postgres::Connection> connection;
  std::string sql;
  std::vector<double> microseconds;  // of each statement
  double longest_later = 0;          // of those that began after kLearning
  absl::Status status;
};

void Draw(Session* session, absl::Time until) {
  absl::Time begun = absl::Now();
  const absl::Time learned = begun + kLearning;
  while (begun < until && session->status.ok()) {
    session->status = session->connection->ExecKept(session->sql, {}).status();
    const absl::Time ended = absl::Now();
    session->microseconds.push_back(absl::ToDoubleMicroseconds(ended - begun));
    if (begun >= learned) {
      session->longest_later = std::max(session->longest_later, session->microseconds.back());
    }
    begun = ended;
  }
}

struct Times {
  std::vector<double> microseconds;  // of each statement, sorted
  double longest_later = 0;
};

// In all sessions of all nodes at once.
absl::StatusOr<Times> Turn(const harness::Cluster& cluster, const std::string& table, int ids,
                           const DrawSettings& settings) {
  std::vector<Session> sessions;
  for (const std::string& node : cluster.names()) {
    ASSIGN_OR_RETURN(const std::string sql, DrawSql(cluster, node, table, ids));
    for (int i = 0; i < settings.sessions; ++i) {
      ASSIGN_OR_RETURN(auto connection, cluster.Connect(node));
      RETURN_IF_ERROR(connection->Exec("SET synchronous_commit = off").status());
      sessions.push_back({.connection = std::move(connection),
                          .sql = sql,
                          .microseconds = {},
                          .longest_later = 0,
                          .status = absl::OkStatus()});
    }
  }
  const absl::Time until = absl::Now() + absl::Seconds(settings.seconds);
  std::vector<std::thread> threads;
  for (Session& session : sessions) {
    threads.emplace_back([&session, until] { Draw(&session, until); });
  }
  for (std::thread& thread : threads) thread.join();
  Times times;
  std::vector<double>& all = times.microseconds;
  for (const Session& session : sessions) {
    RETURN_IF_ERROR(session.status);
    times.longest_later = std::max(times.longest_later, session.longest_later);
    all.insert(all.end(), session.microseconds.begin(), session.microseconds.end());
  }
  std::sort(all.begin(), all.end());
  if (all.empty()) return absl::InternalError("nobody has drawn anything");
  return times;
}

double Quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

absl::Status MeasureDraws(const DrawSettings& settings, Figures* figures) {
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster, StartNodes());
  std::printf("\n%d nodes draw at once, %d session(s) each; us a statement\n", kNodes,
              settings.sessions);
  std::printf("%-24s %-16s %14s %10s %10s %10s %10s %10s\n", "ids a statement", "", "ids a second",
              "p50", "p99", "p99.9", "max", "max later");
  for (const int ids : kIds) {
    for (const std::string method : kMethods) {
      if (method != kMethods[0]) RETURN_IF_ERROR(Convert(*cluster, method, ids));
      ASSIGN_OR_RETURN(const Times times, Turn(*cluster, Table(method, ids), ids, settings));
      const std::vector<double>& us = times.microseconds;
      const double rate = static_cast<double>(us.size()) * ids / settings.seconds;
      std::printf("%-24d %-16s %14.0f %10.0f %10.0f %10.0f %10.0f %10.0f\n", ids, method.c_str(),
                  rate, Quantile(us, 0.5), Quantile(us, 0.99), Quantile(us, 0.999), us.back(),
                  times.longest_later);
      std::fflush(stdout);
      figures->Add("nextval on three nodes", method,
                   {{"ids_a_statement", ids},
                    {"sessions_a_node", settings.sessions},
                    {"ids_a_second", rate},
                    {"p50_us", Quantile(us, 0.5)},
                    {"p99_us", Quantile(us, 0.99)},
                    {"p99_9_us", Quantile(us, 0.999)},
                    {"max_us", us.back()},
                    {"max_later_us", times.longest_later}});
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::bench
