#include "ctl/clock_view.h"

#include <algorithm>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "bdr/v1/control.pb.h"
#include "ctl/format.h"
#include "ctl/status_view.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

// Clocks of different machines are never quite equal; so much more is accepted at once, so that no
// node has to wait for the last moments.
constexpr int64_t kSlackUs = 1'000'000;

bool IsSilent(const v1::ClusterStatusResponse& status, const v1::ReportedStatus& node) {
  return node.received_us() == 0 ||
         status.now_us() - node.received_us() > absl::ToInt64Microseconds(kSilenceIsCritical);
}

// A node's clock by now; 0 if it is not known.
int64_t ClockNow(const v1::ClusterStatusResponse& status, const v1::ReportedStatus& node) {
  if (node.status().clock_us() == 0 || IsSilent(status, node)) return 0;
  return node.status().clock_us() + status.now_us() - node.received_us();
}

std::string Held(const v1::NodeStatus& status) {
  std::vector<std::string> held;
  for (const v1::OriginStatus& origin : status.origins()) {
    if (origin.held_ahead_us() == 0) continue;
    held.push_back(absl::StrCat(origin.name(), " ", SignedDuration(origin.held_ahead_us())));
  }
  return absl::StrJoin(held, ", ");
}

}  // namespace

std::string SignedDuration(int64_t us) {
  const char* const sign = us < 0 ? "-" : "+";
  const double seconds = static_cast<double>(std::llabs(us)) / 1e6;
  if (seconds < 1) return absl::StrFormat("%s%.1f ms", sign, seconds * 1e3);
  if (seconds < 120) return absl::StrFormat("%s%.1f s", sign, seconds);
  if (seconds < 2 * 3600) return absl::StrFormat("%s%.0f min", sign, seconds / 60);
  if (seconds < 2 * 86400) return absl::StrFormat("%s%.1f h", sign, seconds / 3600);
  return absl::StrFormat("%s%.0f days", sign, seconds / 86400);
}

Output ViewClocks(const v1::ClusterStatusResponse& status) {
  Table table({{"NODE"},
               {"CLOCK"},
               {"NEWEST CHANGE"},
               {"AHEAD OF IT"},
               {"HELD"},
               {"PAUSED FOR", Table::Align::kRight},
               {"ADVANCE", Table::Align::kRight}});
  Json nodes = Json::array();
  for (const v1::ReportedStatus& node : status.nodes()) {
    const v1::NodeStatus& own = node.status();
    std::vector<std::string> skews;
    Json peers = Json::array();
    for (const v1::OriginStatus& origin : own.origins()) {
      skews.push_back(absl::StrCat(origin.name(), " ", SignedDuration(origin.clock_skew_us())));
      peers.push_back({{"name", origin.name()},
                       {"clock_skew_us", origin.clock_skew_us()},
                       {"held_ahead_us", origin.held_ahead_us()},
                       {"newest_stamp_us", origin.newest_stamp_us()}});
    }
    const int64_t clock_us = ClockNow(status, node);
    const int64_t behind_us =
        clock_us == 0 ? 0 : own.newest_stamp_us() - clock_us - own.clock_advance_us();
    table.AddRow({node.member().name(), clock_us == 0 ? "unknown" : LocalTime(clock_us),
                  LocalTime(own.newest_stamp_us()), OrDash(absl::StrJoin(skews, ", ")),
                  OrDash(Held(own)), behind_us > 0 ? SignedDuration(behind_us).substr(1) : "-",
                  own.clock_advance_us() == 0 ? "-" : SignedDuration(own.clock_advance_us())});
    nodes.push_back({{"name", node.member().name()},
                     {"clock_us", clock_us},
                     {"newest_stamp_us", own.newest_stamp_us()},
                     {"paused_for_us", std::max<int64_t>(behind_us, 0)},
                     {"advance_us", own.clock_advance_us()},
                     {"peers", std::move(peers)}});
  }
  Json document = {{"now_us", status.now_us()}, {"nodes", std::move(nodes)}};
  if (status.membership().has_accepted_clock()) {
    const v1::AcceptedClock& accepted = status.membership().accepted_clock();
    document["accepted"] = {{"id", accepted.id()},
                            {"node_id", accepted.node_id()},
                            {"ceiling_us", accepted.ceiling_us()},
                            {"advance_us", accepted.advance_us()},
                            {"accepted_us", accepted.accepted_us()}};
  }
  return {.text = table.Render(), .document = std::move(document)};
}

absl::StatusOr<ClockStep> PlanClockStep(const v1::ClusterStatusResponse& status,
                                        const std::string& node) {
  ClockStep step{.node = node};
  const v1::ReportedStatus* named = nullptr;
  int64_t most_advanced_us = 0;
  for (const v1::ReportedStatus& each : status.nodes()) {
    if (each.member().name() == node) {
      named = &each;
      step.ceiling_us = std::max(
          {step.ceiling_us, each.status().newest_stamp_us(), each.status().clock_floor_us()});
    }
    if (IsSilent(status, each)) step.silent.push_back(each.member().name());
    most_advanced_us = std::max(most_advanced_us, each.status().clock_advance_us());
    for (const v1::OriginStatus& origin : each.status().origins()) {
      if (origin.name() != node) continue;
      step.ceiling_us = std::max(step.ceiling_us, origin.newest_stamp_us());
    }
  }
  if (named == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no node \"", node, "\" in the cluster"));
  }
  std::vector<int64_t> clocks;
  for (const v1::ReportedStatus& each : status.nodes()) {
    const int64_t clock_us = ClockNow(status, each);
    // The clock that jumped tells nothing of the time.
    if (clock_us == 0 || (&each == named && clock_us + kSlackUs > step.ceiling_us)) continue;
    clocks.push_back(clock_us);
  }
  if (clocks.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no node other than \"", node,
        "\" reports its clock now; see \"bdrctl status\", and try again when one does"));
  }
  std::sort(clocks.begin(), clocks.end());
  step.ahead_us = step.ceiling_us - clocks[(clocks.size() - 1) / 2];
  if (step.ahead_us <= most_advanced_us) {
    return absl::FailedPreconditionError(
        absl::StrCat("no change of node \"", node, "\" is ahead of the other nodes' clocks",
                     most_advanced_us == 0 ? "" : " by more than was accepted already",
                     ": there is nothing to accept; see \"bdrctl clock status\""));
  }
  step.advance_us = step.ahead_us + kSlackUs;
  return step;
}

std::string ClockStepCosts(const ClockStep& step) {
  std::string text =
      absl::StrCat("The newest change of node \"", step.node, "\" is stamped ",
                   LocalTime(step.ceiling_us), ", ", SignedDuration(step.ahead_us).substr(1),
                   " ahead of the other nodes' clocks. To accept it means, on every node:\n"
                   "  - its changes from the future are applied now, and win against everything "
                   "that was written\n"
                   "    elsewhere before they arrive;\n"
                   "  - every later change gets a stamp above them, so all nodes' stamps run ahead "
                   "of their clocks\n"
                   "    until the clocks have passed ",
                   LocalTime(step.ceiling_us),
                   ";\n"
                   "  - until then apply cannot tell by commit times which row is older, and looks "
                   "at every row\n"
                   "    that was written locally: it is slower;\n"
                   "  - until then another clock that is ahead by less than this is not noticed;\n"
                   "  - it cannot be undone.\n"
                   "Set the clock right first if it is not: otherwise it goes on like this.\n");
  if (!step.silent.empty()) {
    absl::StrAppend(&text, "Nodes that do not report now take it up when they are back: ",
                    absl::StrJoin(step.silent, ", "), ".\n");
  }
  return text;
}

}  // namespace bdr::ctl
