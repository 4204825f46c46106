#include "ctl/status_view.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/lsn.h"
#include "bdr/v1/control.pb.h"
#include "ctl/clock_view.h"
#include "ctl/command.h"
#include "ctl/field_table.h"
#include "ctl/format.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

using Level = v1::Health::Level;

// Below this somebody is always the last, and nothing is wrong.
constexpr int64_t kStableIsLateUs = 10'000'000;

const char* LevelName(int level) {
  return level == v1::Health::OK ? "ok" : level == v1::Health::WARNING ? "warning" : "critical";
}

// What is said of one node as a whole.
struct NodeVerdict {
  Level level = v1::Health::OK;
  std::string state;
  std::string reason;
  int64_t since_us = 0;
};

void Raise(NodeVerdict& verdict, Level level, const std::string& state, const std::string& reason,
           int64_t since_us) {
  if (level <= verdict.level) return;
  verdict = {level, state, reason, since_us};
}

// The part of a node that is worst, the first of equals; what it is comes first in the reason.
void RaiseBy(NodeVerdict& verdict, const std::string& part, const v1::Health& health) {
  Raise(verdict, health.level(), health.state(),
        absl::StrCat(part, ": ", health.reason().empty() ? health.state() : health.reason()),
        health.since_us());
}

const v1::OriginStatus* FindOrigin(const v1::NodeStatus& status, uint32_t node) {
  for (const v1::OriginStatus& origin : status.origins()) {
    if (origin.node_id() == node) return &origin;
  }
  return nullptr;
}

NodeVerdict Judge(const v1::ClusterStatusResponse& status, const v1::ReportedStatus& node) {
  const v1::Member& member = node.member();
  if (node.refused_us() != 0 &&
      status.now_us() - node.refused_us() < absl::ToInt64Microseconds(kRefusalIsShown)) {
    return {v1::Health::CRITICAL, "refused", node.refused(), node.refused_us()};
  }
  const bool joining = member.state() != v1::Member::ACTIVE;
  if (node.received_us() == 0) {
    return joining ? NodeVerdict{v1::Health::WARNING, "joining",
                                 "added; its agent has not reported yet", member.added_us()}
                   : NodeVerdict{v1::Health::CRITICAL, "silent",
                                 "its agent has not reported since bdr-server was started", 0};
  }
  const int64_t silent_us = status.now_us() - node.received_us();
  if (silent_us > absl::ToInt64Microseconds(kSilenceIsCritical)) {
    return {v1::Health::CRITICAL, "silent",
            absl::StrCat("its agent has not reported for ", HumanAge(silent_us)),
            node.received_us()};
  }
  const v1::NodeStatus& own = node.status();
  NodeVerdict verdict{v1::Health::OK, own.node().state().empty() ? "running" : own.node().state(),
                      "", own.node().since_us()};
  Raise(verdict, own.node().level(), own.node().state(), own.node().reason(),
        own.node().since_us());
  RaiseBy(verdict, "capture", own.capture());
  for (const v1::OriginStatus& origin : own.origins()) {
    RaiseBy(verdict, absl::StrCat("link from ", origin.name()), origin.link());
    RaiseBy(verdict, absl::StrCat("apply of ", origin.name()), origin.apply());
  }
  if (joining) {
    Raise(verdict, v1::Health::WARNING, "joining", "its agent does not capture yet",
          member.added_us());
    return verdict;
  }
  for (const v1::Member& peer : status.membership().members()) {
    if (peer.node_id() == member.node_id() || peer.state() != v1::Member::ACTIVE) continue;
    if (FindOrigin(own, peer.node_id()) != nullptr) continue;
    Raise(verdict, v1::Health::WARNING, "connecting",
          absl::StrCat("no link from ", peer.name(), " yet"), 0);
  }
  return verdict;
}

std::string Since(int64_t now_us, int64_t since_us) {
  return since_us == 0 ? "-" : HumanAge(now_us - since_us);
}

// How far the stable time is behind the node's clock; 0 if it is not known.
int64_t StableBehindUs(const v1::NodeStatus& own) {
  return own.stable_us() == 0 ? 0 : std::max<int64_t>(0, own.reported_us() - own.stable_us());
}

// Something holds back what the node may forget: the stable time is late, or there is none yet.
bool IsHeldBack(const v1::NodeStatus& own) {
  // Before its first pulse a node knows no clock, and waits for nobody but itself.
  if (own.clock_us() == 0) return false;
  return own.stable_us() == 0 || StableBehindUs(own) >= kStableIsLateUs;
}

// A node that is held back and knows of nobody waits for its own joining.
std::string HeldBy(const v1::ReportedStatus& node) {
  if (!IsHeldBack(node.status())) return "-";
  const std::string& holder = node.status().stable_held_by();
  return holder.empty() ? node.member().name() : holder;
}

Json HealthJson(const v1::Health& health) {
  return {{"level", LevelName(health.level())},
          {"state", health.state()},
          {"reason", health.reason()},
          {"since_us", health.since_us()}};
}

std::string HealthText(const v1::Health& health) {
  std::string text = absl::StrCat(OrDash(health.state()), " (", LevelName(health.level()), ")");
  if (health.since_us() != 0) absl::StrAppend(&text, " since ", LocalTime(health.since_us()));
  if (!health.reason().empty()) absl::StrAppend(&text, ": ", health.reason());
  return text;
}

Json OriginJson(const v1::OriginStatus& origin) {
  return {{"name", origin.name()},
          {"id", origin.node_id()},
          {"incarnation", origin.incarnation()},
          {"link", HealthJson(origin.link())},
          {"apply", HealthJson(origin.apply())},
          {"held_by", origin.held_by()},
          {"lag_ms", origin.lag_ms()},
          {"queued_bytes", origin.queued_bytes()},
          {"published_lsn", ToString(Lsn{origin.published_lsn()})},
          {"received_lsn", ToString(Lsn{origin.received_lsn()})},
          {"applied_lsn", ToString(Lsn{origin.applied_lsn()})},
          {"durable_lsn", ToString(Lsn{origin.durable_lsn()})},
          {"clock_skew_us", origin.clock_skew_us()},
          {"held_ahead_us", origin.held_ahead_us()},
          {"transactions_applied", origin.transactions_applied()},
          {"changes_applied", origin.changes_applied()},
          {"conflicts", origin.conflicts()}};
}

Json NodeJson(const v1::ClusterStatusResponse& status, const v1::ReportedStatus& node,
              const NodeVerdict& verdict) {
  const v1::Member& member = node.member();
  const v1::NodeStatus& own = node.status();
  Json origins = Json::array();
  for (const v1::OriginStatus& origin : own.origins()) origins.push_back(OriginJson(origin));
  return {{"name", member.name()},
          {"id", member.node_id()},
          {"address", member.agent_address()},
          {"member_state", member.state() == v1::Member::ACTIVE ? "active" : "joining"},
          {"incarnation", member.incarnation()},
          {"level", LevelName(verdict.level)},
          {"state", verdict.state},
          {"reason", verdict.reason},
          {"since_us", verdict.since_us},
          {"received_us", node.received_us()},
          {"report_age_ms",
           node.received_us() == 0 ? Json() : Json((status.now_us() - node.received_us()) / 1000)},
          {"agent_version", own.agent_version()},
          {"postgres_version", own.postgres_version()},
          {"capture", HealthJson(own.capture())},
          {"captured_lsn", ToString(Lsn{own.captured_lsn()})},
          {"undecoded_bytes", own.undecoded_bytes()},
          {"slot_retained_bytes", own.slot_retained_bytes()},
          {"log_bytes", own.log_bytes()},
          {"log_retained_bytes", own.log_retained_bytes()},
          {"log_cap_bytes", own.log_cap_bytes()},
          {"memory_bytes", own.memory_bytes()},
          {"stable_us", own.stable_us()},
          {"dead_letters", own.dead_letters()},
          {"clock_us", own.clock_us()},
          {"newest_stamp_us", own.newest_stamp_us()},
          {"clock_advance_us", own.clock_advance_us()},
          {"stable_behind_ms", StableBehindUs(own) / 1000},
          {"stable_held_by", own.stable_held_by()},
          {"versions_estimated", own.versions_estimated()},
          {"transactions_captured", own.transactions_captured()},
          {"changes_captured", own.changes_captured()},
          {"origins", std::move(origins)}};
}

Table NodeTable() {
  return Table({{"NODE"},
                {"ID", Table::Align::kRight},
                {"LEVEL"},
                {"STATE"},
                {"SINCE", Table::Align::kRight},
                {"CAPTURE"},
                {"UNDECODED", Table::Align::kRight},
                {"SLOT WAL", Table::Align::kRight},
                {"LOG", Table::Align::kRight},
                {"MEMORY", Table::Align::kRight},
                {"STABLE", Table::Align::kRight},
                {"HELD BY"},
                {"REASON"}});
}

void AddNodeRow(Table& table, int64_t now_us, const v1::ReportedStatus& node,
                const NodeVerdict& verdict) {
  const v1::NodeStatus& own = node.status();
  table.AddRow(
      {node.member().name(), absl::StrCat(node.member().node_id()), LevelName(verdict.level),
       verdict.state, Since(now_us, verdict.since_us), OrDash(own.capture().state()),
       HumanBytes(own.undecoded_bytes()), HumanBytes(own.slot_retained_bytes()),
       HumanBytes(own.log_bytes()), HumanBytes(own.memory_bytes()),
       own.stable_us() == 0 ? "-" : HumanAge(StableBehindUs(own)), HeldBy(node), verdict.reason});
}

Table LinkTable() {
  return Table({{"NODE"},
                {"FROM"},
                {"LINK"},
                {"SINCE", Table::Align::kRight},
                {"APPLY"},
                {"SINCE", Table::Align::kRight},
                {"LAG", Table::Align::kRight},
                {"CLOCK", Table::Align::kRight},
                {"QUEUED", Table::Align::kRight},
                {"APPLIED", Table::Align::kRight},
                {"CONFLICTS", Table::Align::kRight},
                {"HELD BY"},
                {"REASON"}});
}

void AddLinkRows(Table& table, int64_t now_us, const v1::ReportedStatus& node) {
  for (const v1::OriginStatus& origin : node.status().origins()) {
    const v1::Health& worse =
        origin.apply().level() >= origin.link().level() ? origin.apply() : origin.link();
    const std::string& reason = !worse.reason().empty()
                                    ? worse.reason()
                                    : absl::StrCat(origin.apply().reason(), origin.link().reason());
    table.AddRow({node.member().name(), origin.name(), OrDash(origin.link().state()),
                  Since(now_us, origin.link().since_us()), OrDash(origin.apply().state()),
                  Since(now_us, origin.apply().since_us()), HumanLag(origin.lag_ms()),
                  SignedDuration(origin.clock_skew_us()), HumanBytes(origin.queued_bytes()),
                  absl::StrCat(origin.transactions_applied()), absl::StrCat(origin.conflicts()),
                  OrDash(origin.held_by()), reason});
  }
}

const v1::ReportedStatus* FindNode(const v1::ClusterStatusResponse& status,
                                   const std::string& name) {
  for (const v1::ReportedStatus& node : status.nodes()) {
    if (node.member().name() == name) return &node;
  }
  return nullptr;
}

}  // namespace

StatusView ViewCluster(const v1::ClusterStatusResponse& status) {
  Level worst = v1::Health::OK;
  Table nodes = NodeTable();
  Table links = LinkTable();
  Json node_list = Json::array();
  for (const v1::ReportedStatus& node : status.nodes()) {
    const NodeVerdict verdict = Judge(status, node);
    worst = std::max(worst, verdict.level);
    AddNodeRow(nodes, status.now_us(), node, verdict);
    AddLinkRows(links, status.now_us(), node);
    node_list.push_back(NodeJson(status, node, verdict));
  }

  const v1::Membership& membership = status.membership();
  StatusView view{.exit_code = static_cast<int>(worst), .output = {}};
  view.output.text = absl::StrCat(
      "cluster ", membership.cluster_name(), ": ", absl::AsciiStrToUpper(LevelName(worst)), ", ",
      membership.members_size(), membership.members_size() == 1 ? " node" : " nodes", ", epoch ",
      membership.epoch(), ", ", LocalTime(status.now_us()), "\n");
  if (!nodes.empty()) absl::StrAppend(&view.output.text, "\n", nodes.Render());
  if (!links.empty()) absl::StrAppend(&view.output.text, "\n", links.Render());
  view.output.document = {{"cluster", membership.cluster_name()},
                          {"cluster_id", membership.cluster_id()},
                          {"epoch", membership.epoch()},
                          {"level", LevelName(worst)},
                          {"now_us", status.now_us()},
                          {"nodes", std::move(node_list)}};
  return view;
}

Output ViewNode(const v1::ClusterStatusResponse& status, const std::string& name) {
  const v1::ReportedStatus* node = FindNode(status, name);
  if (node == nullptr) return {};
  const NodeVerdict verdict = Judge(status, *node);
  Output output{.text = "", .document = NodeJson(status, *node, verdict)};

  Json facts = output.document;
  facts.erase("origins");
  facts["capture"] = HealthText(node->status().capture());
  output.text = FieldTable(facts, {"clock_advance_us"}).Render();
  Table links = LinkTable();
  AddLinkRows(links, status.now_us(), *node);
  if (!links.empty()) absl::StrAppend(&output.text, "\n", links.Render());
  return output;
}

absl::Duration LongestLag(const v1::ClusterStatusResponse& status) {
  int64_t lag_ms = 0;
  for (const v1::ReportedStatus& node : status.nodes()) {
    for (const v1::OriginStatus& origin : node.status().origins()) {
      lag_ms = std::max<int64_t>(lag_ms, origin.lag_ms());
    }
  }
  return absl::Milliseconds(lag_ms);
}

bool IsQuiet(const v1::ClusterStatusResponse& status) {
  for (const v1::ReportedStatus& node : status.nodes()) {
    if (node.member().state() != v1::Member::ACTIVE) continue;
    if (Judge(status, node).level == v1::Health::CRITICAL) return false;
    for (const v1::OriginStatus& origin : node.status().origins()) {
      if (origin.lag_ms() != 0 || origin.queued_bytes() != 0) return false;
      if (origin.applied_lsn() < origin.published_lsn()) return false;
    }
  }
  return true;
}

}  // namespace bdr::ctl
