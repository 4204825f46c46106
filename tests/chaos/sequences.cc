#include "tests/chaos/sequences.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tests/harness/process.h"

namespace bdr::chaos {
namespace {

// Of the streams of randomness of a seed.
constexpr uint64_t kChoiceStream = 950;
constexpr uint64_t kConverterStream = 951;

constexpr int kFirstSlots = 8;
constexpr int kMostSlots = 128;
constexpr absl::Duration kDeadline = absl::Seconds(120);

bool IsStepped(const std::string& method) { return absl::StartsWith(method, "stepped"); }

std::vector<std::string> ConvertArguments(const harness::Cluster& cluster,
                                          const SequenceSpec& sequence, const std::string& method,
                                          int slots) {
  std::vector<std::string> arguments = {"sequence", "convert", sequence.name(), "--method", method};
  if (IsStepped(method)) arguments.insert(arguments.end(), {"--slots", absl::StrCat(slots)});
  // Small, so that nodes come to their next blocks.
  if (method == "stepped_blocks") arguments.insert(arguments.end(), {"--block", "16"});
  return cluster.WithDatabases(std::move(arguments));
}

// kUnavailable with what bdrctl said if it did not come to its end.
absl::Status Convert(const harness::Cluster& cluster, const SequenceSpec& sequence,
                     const std::string& method, int slots,
                     const std::vector<std::pair<std::string, std::string>>& environment = {}) {
  ASSIGN_OR_RETURN(const harness::ProgramResult result,
                   cluster.Bdrctl(ConvertArguments(cluster, sequence, method, slots), environment));
  if (result.exit_code == 0) return absl::OkStatus();
  if (result.exit_code == 128 + SIGKILL) return absl::UnavailableError("killed");
  return absl::UnavailableError(absl::StrCat("cannot convert ", sequence.name(), " to ", method,
                                             ": ", result.out, result.err));
}

// The same, killed after so long wherever it is then.
absl::Status ConvertKilled(const harness::Cluster& cluster, const SequenceSpec& sequence,
                           const std::string& method, int slots, absl::Duration after) {
  std::vector<std::string> argv = cluster.BdrctlCommand();
  for (std::string& argument : ConvertArguments(cluster, sequence, method, slots)) {
    argv.push_back(std::move(argument));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<harness::ChildProcess> bdrctl,
                   harness::ChildProcess::Start({.name = "bdrctl",
                                                 .argv = std::move(argv),
                                                 .log_file = cluster.folder() + "/bdrctl.log"}));
  if (bdrctl->WaitForExit(after).ok() && bdrctl->wait_status() == 0) return absl::OkStatus();
  bdrctl->Kill9();
  return absl::UnavailableError("killed");
}

// Until it succeeds.
absl::Status Repeat(const std::string& what, const std::function<absl::Status()>& attempt) {
  return harness::WaitFor(what, kDeadline, [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(attempt());
    return true;
  });
}

}  // namespace

void ChooseSequences(Plan* plan) {
  if (!plan->profile.sequences) return;
  Random random(plan->options.seed, kChoiceStream);
  // Keys that keep their method. Of smallint there are few: nobody draws many at once.
  plan->sequences = {
      {.table = "chaos_s1", .type = "bigint", .methods = {"galloc"}},
      {.table = "chaos_s2", .type = "integer", .methods = {"galloc"}},
      {.table = "chaos_s3", .type = "smallint", .methods = {"galloc"}, .most_rows = 1},
      {.table = "chaos_s4", .type = "bigint", .methods = {"snowflake"}},
      {.table = "chaos_s7", .type = "integer", .methods = {"gapless"}, .most_rows = 3},
  };
  // Those that do not. From snowflake's numbers only stepped can go on.
  std::vector<std::string> methods = {"galloc", "stepped", "stepped_blocks"};
  std::swap(methods.front(), methods[static_cast<size_t>(random.Below(3))]);
  plan->sequences.push_back({.table = "chaos_s5",
                             .type = random.Pick<std::string>({"bigint", "integer"}),
                             .identity = random.Pick<std::string>({"ALWAYS", "BY DEFAULT"}),
                             .methods = methods});
  plan->sequences.push_back({.table = "chaos_s6",
                             .type = "bigint",
                             .identity = random.Pick<std::string>({"ALWAYS", ""}),
                             .methods = {"stepped", "snowflake"}});
}

std::string SequencesDdl(const Plan& plan) {
  std::string ddl;
  for (const SequenceSpec& sequence : plan.sequences) {
    const std::string serial = sequence.type == "bigint"    ? "bigserial"
                               : sequence.type == "integer" ? "serial"
                                                            : "smallserial";
    absl::StrAppend(&ddl, "CREATE TABLE ", sequence.table, " (id ",
                    sequence.identity.empty() ? serial
                                              : absl::StrCat(sequence.type, " GENERATED ",
                                                             sequence.identity, " AS IDENTITY"),
                    " PRIMARY KEY, node int NOT NULL, statement bigint NOT NULL,"
                    " life bigint NOT NULL);\n");
  }
  return ddl;
}

absl::Status ConvertAll(const Plan& plan, const harness::Cluster& cluster) {
  for (const SequenceSpec& sequence : plan.sequences) {
    RETURN_IF_ERROR(Convert(cluster, sequence, sequence.methods.front(), kFirstSlots));
  }
  return absl::OkStatus();
}

SequenceConverter::SequenceConverter(const Plan& plan, const harness::Cluster* cluster,
                                     std::function<void(const std::string&)> log)
    : plan_(plan),
      cluster_(cluster),
      log_(std::move(log)),
      random_(plan.options.seed, kConverterStream) {
  for (const SequenceSpec& sequence : plan.sequences) {
    if (sequence.methods.size() < 2) continue;
    goals_.push_back({.sequence = &sequence,
                      .method = sequence.methods.front(),
                      .slots = kFirstSlots,
                      .slots_before = kFirstSlots});
  }
  if (!goals_.empty()) thread_ = std::thread([this] { Run(); });
}

void SequenceConverter::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void SequenceConverter::Run() {
  while (!stop_) {
    for (int64_t i = random_.Between(2, 30); i > 0 && !stop_; --i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // Users draw meanwhile.
    }
    if (!stop_) ConvertOne();
  }
}

// Another method, or more slots of the one that it has; or what it had, if it has not come further.
void SequenceConverter::ChooseGoal(Goal* goal) {
  if (goal->reached) goal->slots_before = goal->slots;
  const std::string method = random_.Pick(goal->sequence->methods);
  const bool back = random_.OneIn(2);
  if (method == goal->method && IsStepped(method)) {
    if (!goal->reached && back) {
      goal->slots = goal->slots_before;
    } else if (2 * goal->slots <= kMostSlots) {
      goal->slots *= 2;
    }
  }
  goal->method = method;
}

void SequenceConverter::ConvertOne() {
  Goal& goal = goals_[static_cast<size_t>(random_.Below(static_cast<int64_t>(goals_.size())))];
  // One that was cut off is gone on with, or given up for another.
  if (goal.reached || random_.OneIn(4)) ChooseGoal(&goal);
  goal.reached = false;
  // All drawn whether or not it is used, so that what comes later stays the same.
  const int64_t how = random_.Below(10);
  const std::string point = random_.Pick<std::string>({"conversion_capped", "conversion_numbered"});
  const int64_t nodes_done = random_.Between(1, plan_.nodes);
  const absl::Duration after = absl::Milliseconds(random_.Between(50, 1500));
  absl::Status status;
  if (how < 2) {
    status = ConvertKilled(*cluster_, *goal.sequence, goal.method, goal.slots, after);
  } else if (how < 5) {
    const std::string cut = how < 4 ? point : absl::StrCat("conversion_first_node:", nodes_done);
    status = Convert(*cluster_, *goal.sequence, goal.method, goal.slots, {{"BDR_FAIL_POINT", cut}});
  } else {
    // Somebody may be down, and then it says so; it is tried again.
    status = Convert(*cluster_, *goal.sequence, goal.method, goal.slots);
  }
  goal.reached = status.ok();
  ++(status.ok() ? converted_ : cut_off_);
  log_(absl::StrCat("sequence ", goal.sequence->name(), " to ", goal.method,
                    IsStepped(goal.method) ? absl::StrCat(" of ", goal.slots, " slots") : "",
                    status.ok() ? "" : ": ", std::string(status.message())));
}

absl::Status SequenceConverter::Finish() {
  for (Goal& goal : goals_) {
    if (goal.reached) continue;
    RETURN_IF_ERROR(Repeat(absl::StrCat(goal.sequence->name(), " is of method ", goal.method), [&] {
      return Convert(*cluster_, *goal.sequence, goal.method, goal.slots);
    }));
    goal.reached = true;
    ++converted_;
  }
  for (const SequenceSpec& sequence : plan_.sequences) {
    // Rolled back, since a number without a row would be a gap.
    const std::string sql =
        absl::StrCat("BEGIN; SELECT bdr.nextval('", sequence.name(), "'); ROLLBACK");
    for (const std::string& node : cluster_->names()) {
      RETURN_IF_ERROR(Repeat(absl::StrCat(node, " draws from ", sequence.name()),
                             [&] { return cluster_->Exec(node, sql); }));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
