#include "tests/scenarios/play.h"

#include <csignal>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "tests/harness/cluster.h"
#include "tests/harness/log_reasons.h"

namespace bdr::scenarios {
namespace {

// Far longer than anything should take: what runs into it has stopped, not slowed down.
constexpr absl::Duration kDeadline = absl::Seconds(60);

std::string Shown(const std::vector<std::string>& rows) {
  return rows.empty() ? "no rows" : absl::StrJoin(rows, "\n      ");
}

std::vector<std::string> RowsOf(const postgres::Result& result) {
  std::vector<std::string> rows;
  for (int row = 0; row < result.rows(); ++row) {
    std::vector<std::string> columns;
    for (int column = 0; column < result.columns(); ++column) {
      columns.push_back(result.is_null(row, column) ? "null"
                                                    : std::string(result.value(row, column)));
    }
    rows.push_back(absl::StrJoin(columns, " | "));
  }
  return rows;
}

harness::ClusterOptions OptionsOf(const Scenario& scenario) {
  harness::ClusterOptions options;
  options.nodes.assign(static_cast<size_t>(scenario.nodes), {});
  options.schema_sql = scenario.tables;
  options.agent_config = scenario.agent_config;
  options.proxies = true;
  options.fake_clocks = scenario.own_clocks;
  options.start_deadline = kDeadline;
  return options;
}

class Player {
 public:
  Player(harness::Cluster* cluster, std::ostream* trace) : cluster_(*cluster), trace_(*trace) {}
  // A server does not stop while its walsender stands still.
  ~Player() {
    for (const auto& [node, process] : held_) kill(process, SIGCONT);
  }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  std::vector<std::string> Play(const Scenario& scenario) {
    const absl::Time begun = absl::Now();
    for (const Step& step : scenario.steps) {
      trace_ << absl::StrFormat("%7.1f s  %4d: %s\n", absl::ToDoubleSeconds(absl::Now() - begun),
                                step.line, step.text)
             << std::flush;
      where_ = absl::StrCat(scenario.file, ":", step.line, ": ");
      const absl::Status status =
          std::visit([this](const auto& action) { return Do(action); }, step.action);
      if (!status.ok()) {
        wrong_.push_back(absl::StrCat(where_, step.text, ": ", status.message()));
        break;
      }
    }
    if (!wrong_.empty()) TellConflicts();
    std::vector<std::string> logs = {cluster_.folder() + "/server.log"};
    for (const std::string& node : cluster_.names()) logs.push_back(cluster_.agent_log(node));
    for (const std::string& line : harness::LinesWithoutReason(logs)) {
      wrong_.push_back(absl::StrCat("a log line announces a reason and has none: ", line));
    }
    return std::move(wrong_);
  }

 private:
  // An expectation does not hold; the rest is played all the same.
  void Fail(const std::string& what) { wrong_.push_back(where_ + what); }

  // What each node decided, as far as it is on record.
  void TellConflicts() {
    for (const std::string& node : cluster_.names()) {
      const auto rows = Rows(node,
                             "SELECT kind, rule, relation, key, winner, local_node, local_stamp, "
                             "local_row, remote_node, remote_stamp, remote_row FROM "
                             "bdr.conflict_log ORDER BY id LIMIT 30");
      wrong_.push_back(absl::StrCat("conflict log of ", node,
                                    " (kind, rule, table, key, winner, local, remote):\n      ",
                                    rows.ok() ? Shown(*rows) : rows.status().ToString()));
    }
  }

  absl::StatusOr<std::vector<std::string>> Rows(const std::string& node, const std::string& sql) {
    std::unique_ptr<postgres::Connection>& session = looks_[node];
    if (session == nullptr || session->broken()) {
      ASSIGN_OR_RETURN(session, cluster_.Connect(node));
    }
    ASSIGN_OR_RETURN(const postgres::Result result, session->Exec(sql));
    return RowsOf(result);
  }
  static std::string For(const std::string& node, const std::string& sql) {
    return absl::StrReplaceAll(sql, {{"{node}", node}});
  }
  absl::StatusOr<postgres::Connection*> Session(const std::string& user, const std::string& node) {
    std::unique_ptr<postgres::Connection>& session = users_[{user, node}];
    if (session == nullptr) {
      ASSIGN_OR_RETURN(session, cluster_.Connect(node));
    }
    return session.get();
  }

  absl::Status Do(const RunSql& run) {
    for (const std::string& node : run.nodes) {
      for (const std::string& statement : run.statements) {
        const std::string sql = For(node, statement);
        absl::Status status;
        if (run.session.empty()) {
          status = cluster_.Exec(node, sql);
        } else {
          ASSIGN_OR_RETURN(postgres::Connection* const session, Session(run.session, node));
          status = session->Exec(sql).status();
        }
        if (!status.ok()) {
          return absl::Status(status.code(),
                              absl::StrCat("on ", node, ", \"", sql, "\": ", status.message()));
        }
      }
    }
    return absl::OkStatus();
  }
  absl::Status Do(const Refused& refused) {
    for (const std::string& node : refused.nodes) {
      const absl::Status status = cluster_.Exec(node, For(node, refused.sql));
      if (status.ok()) {
        Fail(absl::StrCat(node, " does not refuse \"", refused.sql, "\""));
      } else if (!absl::StrContains(status.message(), refused.text)) {
        Fail(absl::StrCat(node, " refuses \"", refused.sql,
                          "\" with other words: ", status.message()));
      }
    }
    return absl::OkStatus();
  }
  absl::Status Do(const Look& look) {
    for (const std::string& node : look.nodes) {
      const std::string sql = For(node, look.sql);
      std::vector<std::string> last;
      const auto holds = [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(last, Rows(node, sql));
        return last == look.rows;
      };
      if (look.wait) {
        RETURN_IF_ERROR(WithLast(harness::WaitFor(absl::StrCat("on ", node), kDeadline, holds),
                                 last, look.rows));
        continue;
      }
      for (int i = 0; i < look.times; ++i) {
        ASSIGN_OR_RETURN(const bool held, holds());
        if (held) continue;
        Fail(absl::StrCat(node, " gives for ", sql, "\n      ", Shown(last),
                          "\n    and not\n      ", Shown(look.rows)));
        break;
      }
    }
    return absl::OkStatus();
  }
  static absl::Status WithLast(const absl::Status& status, const std::vector<std::string>& last,
                               const std::vector<std::string>& wanted) {
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat(status.message(), "\n      ", Shown(last),
                                                    "\n    and not\n      ", Shown(wanted)));
  }

  absl::Status Do(const Converge&) { return cluster_.WaitUntilConverged(kDeadline); }
  absl::Status Do(const Healthy&) { return cluster_.WaitUntilHealthy(kDeadline); }
  absl::Status Do(const Heal&) {
    cluster_.Heal();
    return absl::OkStatus();
  }
  absl::Status Do(const Link& link) {
    for (const auto& [from, to] : link.ways) {
      cluster_.SetFault(
          from, to,
          {.stall = link.fault == Link::Fault::kStall, .cut = link.fault == Link::Fault::kCut});
    }
    return absl::OkStatus();
  }

  absl::Status Do(const HoldCapture& capture) {
    if (!capture.hold) {
      const auto held = held_.find(capture.node);
      if (held == held_.end()) {
        return absl::FailedPreconditionError("it is not held");
      }
      kill(held->second, SIGCONT);
      held_.erase(held);
      return absl::OkStatus();
    }
    // An agent that was started just now may not have come so far, nor the one before be gone.
    std::string pid;
    RETURN_IF_ERROR(harness::WaitFor("its walsender", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(pid, cluster_.QueryValue(
                                capture.node,
                                "SELECT CASE WHEN count(*) = 1 AND min(state) = 'streaming' THEN "
                                "max(pid) ELSE 0 END FROM pg_stat_replication WHERE "
                                "application_name = 'bdr capture'"));
      return pid != "0";
    }));
    int process = 0;
    if (!absl::SimpleAtoi(pid, &process)) return absl::InternalError("it has no walsender");
    held_[capture.node] = process;
    return harness::StopProcess(process);
  }

  absl::Status Do(const Agent& agent) {
    harness::ChildProcess& process = cluster_.agent(agent.node);
    switch (agent.deed) {
      case Agent::Deed::kStop:
        return process.Terminate(kDeadline);
      case Agent::Deed::kKill:
        process.Kill9();
        return absl::OkStatus();
      case Agent::Deed::kPause:
        return process.Pause();
      case Agent::Deed::kResume:
        return process.Resume();
      case Agent::Deed::kDies:
        return process.WaitForExit(kDeadline);
      case Agent::Deed::kStart:
        break;
    }
    std::vector<std::pair<std::string, std::string>> environment;
    if (!agent.fail_point.empty()) environment = {{"BDR_FAIL_POINT", agent.fail_point}};
    return cluster_.StartAgent(agent.node, environment);
  }
  absl::Status Do(const SetClock& clock) {
    cluster_.clock(clock.node).Set(clock.ahead);
    return absl::OkStatus();
  }

  absl::Status Do(const Bdrctl& call) {
    std::string said;
    const auto right = [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const harness::ProgramResult result, cluster_.Bdrctl(call.arguments));
      said = absl::StrCat(result.out, result.err, "(exit code ", result.exit_code, ")");
      bool all = !call.exit_code.has_value() || result.exit_code == *call.exit_code;
      for (const std::string& text : call.says) all = all && absl::StrContains(said, text);
      return all;
    };
    if (call.wait) {
      const absl::Status status = harness::WaitFor("bdrctl", kDeadline, right);
      return status.ok() ? status
                         : absl::Status(status.code(), absl::StrCat(status.message(), "\n", said));
    }
    ASSIGN_OR_RETURN(const bool held, right());
    if (!held) {
      Fail(absl::StrCat("bdrctl ", absl::StrJoin(call.arguments, " "), " is to end with ",
                        call.exit_code.value_or(0), " and say \"",
                        absl::StrJoin(call.says, "\", \""), "\", and says\n", said));
    }
    return absl::OkStatus();
  }

  // Entries come with the transaction that they tell of, or soon after the rows have converged.
  absl::Status Do(const Logged& logged) {
    const std::string sql = CountLoggedSql(logged);
    for (const std::string& node : logged.nodes) {
      std::string count;
      const auto right = [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(count, cluster_.QueryValue(node, sql));
        if (logged.nothing) return count == "0";
        return logged.count.has_value() ? count == absl::StrCat(*logged.count) : count != "0";
      };
      if (logged.nothing || logged.count == 0) {
        ASSIGN_OR_RETURN(const bool none, right());
        if (!none) Fail(absl::StrCat(node, " has ", count, " such entries: ", sql));
      } else if (const absl::Status status = harness::WaitFor("it", kDeadline, right);
                 !status.ok()) {
        Fail(absl::StrCat(node, " has ", count.empty() ? status.message() : count,
                          " such entries: ", sql));
      }
    }
    return absl::OkStatus();
  }
  absl::Status Do(const Metric& metric) {
    ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_.AgentMetrics(metric.node));
    const double value = metrics.Sum(metric.name, {metric.labels.begin(), metric.labels.end()});
    const bool holds = metric.comparison == ">="   ? value >= metric.value
                       : metric.comparison == "<=" ? value <= metric.value
                                                   : value == metric.value;
    if (!holds) Fail(absl::StrCat(metric.name, " of ", metric.node, " is ", value));
    return absl::OkStatus();
  }

  absl::Status Do(const Captured& captured) {
    ASSIGN_OR_RETURN(const std::string lsn,
                     cluster_.QueryValue(captured.node, "SELECT pg_current_wal_lsn()"));
    return cluster_.WaitForValue(
        captured.node,
        absl::StrCat("SELECT bool_and(confirmed_flush_lsn >= '", lsn,
                     "') FROM pg_replication_slots WHERE slot_name LIKE 'bdr%'"),
        "t", kDeadline);
  }
  absl::Status Do(const Received& received) {
    ASSIGN_OR_RETURN(
        const std::string end,
        cluster_.QueryValue(received.from, "SELECT pg_current_wal_insert_lsn() - '0/0'"));
    double bytes = 0;
    if (!absl::SimpleAtod(end, &bytes)) return absl::InternalError("no position: " + end);
    return harness::WaitFor("all is received", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const harness::Metrics metrics, cluster_.AgentMetrics(received.to));
      return metrics.Sum("bdr_received_lsn_bytes", {{"origin", received.from}}) >= bytes;
    });
  }

  harness::Cluster& cluster_;
  std::ostream& trace_;
  std::string where_;
  std::vector<std::string> wrong_;
  std::map<std::string, pid_t> held_;
  std::map<std::string, std::unique_ptr<postgres::Connection>> looks_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<postgres::Connection>> users_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> Play(const Scenario& scenario, std::ostream& trace) {
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::Cluster> cluster,
                   harness::Cluster::Start(OptionsOf(scenario)));
  return Player(cluster.get(), &trace).Play(scenario);
}

}  // namespace bdr::scenarios
