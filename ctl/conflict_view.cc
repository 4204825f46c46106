#include "ctl/conflict_view.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/lsn.h"
#include "conflict/conflict_kind.h"
#include "ctl/format.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

using conflict::Rule;
using conflict::Winner;

constexpr int64_t kForEver = std::numeric_limits<int64_t>::max();

// Rows travel as JSON text; as a value they can be taken apart.
Json RowJson(const std::string& text) {
  if (text.empty()) return nullptr;
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(text) : value;
}

std::string NameOf(const v1::Membership& membership, uint32_t id) {
  for (const v1::Member& member : membership.members()) {
    if (member.node_id() == id) return member.name();
  }
  return id == 0 ? "-" : absl::StrCat("node ", id);
}

std::string LsnText(uint64_t lsn) { return lsn == 0 ? "-" : ToString(Lsn{lsn}); }

Json ConflictJson(const v1::Membership& membership, const FoundConflict& found) {
  const v1::Conflict& c = found.conflict;
  Json absent = Json::array();
  for (const std::string& column : c.remote_absent()) absent.push_back(column);
  return {{"node", found.node},
          {"id", c.id()},
          {"detected", TimeText(c.detected_us())},
          {"detected_us", c.detected_us()},
          {"table", c.table()},
          {"kind", c.kind()},
          {"key", RowJson(c.key())},
          {"winner", c.winner()},
          {"rule", c.rule()},
          {"local_node", NameOf(membership, c.local_node())},
          {"local_incarnation", c.local_incarnation()},
          {"local_stamp", TimeText(c.local_stamp_us())},
          {"local_stamp_us", c.local_stamp_us()},
          {"local_lsn", LsnText(c.local_lsn())},
          {"local_row", RowJson(c.local_row())},
          {"remote_node", NameOf(membership, c.remote_node())},
          {"remote_incarnation", c.remote_incarnation()},
          {"remote_stamp", TimeText(c.remote_stamp_us())},
          {"remote_stamp_us", c.remote_stamp_us()},
          {"remote_lsn", LsnText(c.remote_lsn())},
          {"remote_seen_us", c.remote_seen_us()},
          {"remote_row", RowJson(c.remote_row())},
          {"remote_absent", std::move(absent)},
          {"undone", c.undone_us() == 0 ? Json() : Json(TimeText(c.undone_us()))}};
}

std::string WinnerText(const v1::Membership& membership, const v1::Conflict& c) {
  return absl::StrCat(
      c.winner(), " (",
      NameOf(membership, c.winner() == ToString(Winner::kLocal) ? c.local_node() : c.remote_node()),
      ")");
}

// A column of a row for people; "-" where the row or the column is not there.
std::string ValueText(const Json& row, const std::string& column) {
  if (!row.is_object()) return "-";
  const auto value = row.find(column);
  if (value == row.end()) return "-";
  return value->is_string() ? value->get<std::string>() : value->dump();
}

std::vector<std::string> ColumnsOf(const Json& one, const Json& other) {
  std::vector<std::string> columns;
  std::set<std::string> seen;
  for (const Json* row : {&one, &other}) {
    if (!row->is_object()) continue;
    for (const auto& [name, value] : row->items()) {
      // Why some columns are not held as they were: under each row, by NotHeldText().
      if (!name.empty() && seen.insert(name).second) columns.push_back(name);
    }
  }
  return columns;
}

// What a row does not hold as it was, and why (bdr.row_as_jsonb()): a line for each column.
std::string NotHeldText(const std::string& title, const Json& row) {
  std::string text;
  if (!row.is_object() || !row.contains("")) return text;
  for (const auto& [column, reason] : row.at("").items()) {
    absl::StrAppend(&text, title, ": column ", column, ": ",
                    reason.is_string() ? reason.get<std::string>() : reason.dump(), "\n");
  }
  return text;
}

// Two rows side by side, marked where they differ. `unknown`: columns of the second that did not
// travel.
std::string SideBySide(const std::string& one_title, const Json& one,
                       const std::string& other_title, const Json& other,
                       const std::set<std::string>& unknown) {
  Table table({{""}, {"COLUMN"}, {one_title}, {other_title}});
  for (const std::string& column : ColumnsOf(one, other)) {
    const bool absent = unknown.contains(column);
    const bool both = one.is_object() && other.is_object();
    const bool differs =
        !absent && both && one.value(column, Json()) != other.value(column, Json());
    table.AddRow({differs ? "*" : "", column, ValueText(one, column),
                  absent ? "(unchanged)" : ValueText(other, column)});
  }
  if (table.empty()) return "neither has a row\n";
  return absl::StrCat(table.Render(), NotHeldText(one_title, one), NotHeldText(other_title, other));
}

std::string Title(const std::string& side, const std::string& node, bool row, bool wins) {
  return absl::StrCat(side, " (", node, ")", row ? "" : ", no row", wins ? ", wins" : "");
}

std::string RowsText(const v1::Membership& membership, const v1::Conflict& c) {
  return SideBySide(Title("LOCAL", NameOf(membership, c.local_node()), !c.local_row().empty(),
                          c.winner() == ToString(Winner::kLocal)),
                    RowJson(c.local_row()),
                    Title("REMOTE", NameOf(membership, c.remote_node()), !c.remote_row().empty(),
                          c.winner() == ToString(Winner::kRemote)),
                    RowJson(c.remote_row()), {c.remote_absent().begin(), c.remote_absent().end()});
}

std::string Difference(int64_t us) {
  const double ms = static_cast<double>(us) / 1000;
  return std::abs(us) < 1000000 ? absl::StrFormat("%.3f ms", ms)
                                : absl::StrFormat("%.3f s", ms / 1000);
}

std::string RuleText(const v1::Conflict& c, const std::string& here) {
  if (c.rule() == ToString(Rule::kNewerKnown)) {
    return "before anything was sent to PostgreSQL the version store knew a newer version of the "
           "row, so the remote change was dropped";
  }
  if (c.rule() == ToString(Rule::kNewerCaptured)) {
    return absl::StrCat("a newer commit of ", here,
                        " was captured while the remote change was being decided about, so the "
                        "remote change was dropped");
  }
  if (c.rule() == ToString(Rule::kOlderKnown)) {
    return "the version store says that the local version is older, so the remote change was "
           "written";
  }
  if (c.rule() == ToString(Rule::kOlderByTime)) {
    return absl::StrCat(
        "the local version was not captured yet, but its commit time by the clock "
        "of ",
        here, " is surely older, so the remote change was written");
  }
  if (c.rule() == ToString(Rule::kUnknownIsOlder)) {
    return "the version store does not know the local version: it is older than anything that can "
           "still arrive, so the remote change was written";
  }
  if (c.rule() == ToString(Rule::kNothingStands)) {
    return "no row stood there, and none is known to have been deleted later, so the remote change "
           "stands";
  }
  if (c.rule().empty()) return "it was logged by an agent that did not say which rule decided";
  return absl::StrCat("rule ", c.rule());
}

std::string SeenText(const v1::Membership& membership, const v1::Conflict& c) {
  const std::string local = NameOf(membership, c.local_node());
  const std::string remote = NameOf(membership, c.remote_node());
  if (c.local_node() == 0) {
    return absl::StrCat("what ", remote, " had seen of the local version is not known");
  }
  if (c.remote_seen_us() == kForEver) {
    return absl::StrCat(remote, " had seen the local version: it is its own");
  }
  if (c.remote_seen_us() == 0) {
    return absl::StrCat(remote, " had seen nothing of ", local, " yet that is not stable");
  }
  const bool seen = c.remote_seen_us() >= c.local_stamp_us();
  return absl::StrCat(
      remote, " had seen what ", local, " committed up to ", LocalStamp(c.remote_seen_us()), ", ",
      seen ? "and so the local version"
           : absl::StrCat("and not the local version, which is ",
                          Difference(c.local_stamp_us() - c.remote_seen_us()), " later"));
}

const char* ActionText(v1::UndoConflictResponse::Action action) {
  switch (action) {
    case v1::UndoConflictResponse::NOTHING:
      return "nothing";
    case v1::UndoConflictResponse::INSERT:
      return "insert";
    case v1::UndoConflictResponse::UPDATE:
      return "update";
    case v1::UndoConflictResponse::DELETE:
      return "delete";
    default:
      return "unknown";
  }
}

}  // namespace

Output ViewConflicts(const v1::Membership& membership, const std::vector<FoundConflict>& all) {
  Table table({{"ID"}, {"DETECTED"}, {"TABLE"}, {"KIND"}, {"KEY"}, {"WINNER"}, {"UNDONE"}});
  Json document = Json::array();
  for (const FoundConflict& found : all) {
    const v1::Conflict& c = found.conflict;
    table.AddRow({absl::StrCat(found.node, "/", c.id()), LocalTime(c.detected_us()), c.table(),
                  c.kind(), OrDash(c.key()), WinnerText(membership, c),
                  c.undone_us() == 0 ? "" : "yes"});
    document.push_back(ConflictJson(membership, found));
  }
  return {.text = all.empty() ? "no conflicts\n" : table.Render(), .document = std::move(document)};
}

Output ViewConflict(const v1::Membership& membership, const FoundConflict& found) {
  const v1::Conflict& c = found.conflict;
  Output output{.text = "", .document = ConflictJson(membership, found)};
  output.text =
      absl::StrCat("conflict ", found.node, "/", c.id(), ": ", c.kind(), " in ", c.table(),
                   ", key ", OrDash(c.key()), "\ndetected ", LocalTime(c.detected_us()),
                   ", winner ", WinnerText(membership, c),
                   c.undone_us() == 0 ? "" : absl::StrCat(", undone ", LocalTime(c.undone_us())),
                   "\nlocal stamp ", LocalStamp(c.local_stamp_us()), ", remote stamp ",
                   LocalStamp(c.remote_stamp_us()), "\n\n", RowsText(membership, c));
  return output;
}

Output ExplainConflict(const v1::Membership& membership, const FoundConflict& found) {
  const v1::Conflict& c = found.conflict;
  const std::string local = NameOf(membership, c.local_node());
  const std::string remote = NameOf(membership, c.remote_node());
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(
      "remote: ", remote, c.remote_row().empty() ? " deleted" : " wrote", " the row at ",
      LocalStamp(c.remote_stamp_us()), " by its clock",
      c.remote_lsn() == 0 ? ""
                          : absl::StrCat(", in its transaction at ", LsnText(c.remote_lsn()))));
  if (c.local_stamp_us() == 0) {
    lines.push_back(c.local_row().empty()
                        ? "local:  no row stood there, and no version of it was known"
                        : "local:  a row stood there whose version is older than anything that can "
                          "still arrive");
  } else {
    lines.push_back(absl::StrCat(
        "local:  ", local, c.local_row().empty() ? " had deleted" : " had written", " the row at ",
        LocalStamp(c.local_stamp_us()), " by its clock",
        c.local_lsn() == 0 ? ""
                           : absl::StrCat(", in its transaction at ", LsnText(c.local_lsn()))));
    const int64_t later = c.remote_stamp_us() - c.local_stamp_us();
    lines.push_back(absl::StrCat("stamps: the remote one is ", Difference(std::abs(later)),
                                 later > 0   ? " later"
                                 : later < 0 ? " earlier"
                                             : " away: alike, so the larger node id wins"));
  }
  lines.push_back(absl::StrCat("seen:   ", SeenText(membership, c)));
  lines.push_back(absl::StrCat("here:   ", found.node, " decided at ", LocalStamp(c.detected_us()),
                               " by its clock, ", Difference(c.detected_us() - c.remote_stamp_us()),
                               " after the remote stamp"));
  lines.push_back(absl::StrCat("rule:   ", RuleText(c, found.node)));
  lines.push_back(absl::StrCat(
      "result: the ", c.winner(), " version stays",
      c.undone_us() == 0 ? "" : absl::StrCat("; undone at ", LocalTime(c.undone_us()))));
  Output output{.text = absl::StrCat("conflict ", found.node, "/", c.id(), ": ", c.kind(), " in ",
                                     c.table(), ", key ", OrDash(c.key()), "\n\n"),
                .document = ConflictJson(membership, found)};
  Json explanation = Json::array();
  for (const std::string& line : lines) {
    absl::StrAppend(&output.text, line, "\n");
    explanation.push_back(line);
  }
  absl::StrAppend(&output.text, "\n", RowsText(membership, c));
  output.document["explanation"] = std::move(explanation);
  return output;
}

Output ViewUndo(const std::string& node, const v1::UndoConflictResponse& undo) {
  const v1::Conflict& c = undo.conflict();
  const Json current = RowJson(undo.current_row());
  const Json target = RowJson(undo.target_row());
  Output output;
  output.document = {{"node", node},
                     {"id", c.id()},
                     {"table", c.table()},
                     {"key", RowJson(c.key())},
                     {"action", ActionText(undo.action())},
                     {"current_row", current},
                     {"target_row", target},
                     {"changed_since", undo.changed_since()},
                     {"applied", undo.applied()}};
  output.text = absl::StrCat("conflict ", node, "/", c.id(), " in ", c.table(), ", key ",
                             OrDash(c.key()), "\n");
  if (undo.action() == v1::UndoConflictResponse::NOTHING) {
    absl::StrAppend(&output.text, "the version that lost stands there already\n");
    return output;
  }
  absl::StrAppend(&output.text, ActionText(undo.action()), " on ", node, ":\n\n",
                  SideBySide(undo.current_row().empty() ? "NOW (no row)" : "NOW", current,
                             undo.target_row().empty() ? "THEN (no row)" : "THEN", target, {}));
  if (undo.changed_since()) {
    absl::StrAppend(&output.text, "\nthe row was written since the conflict was decided\n");
  }
  return output;
}

}  // namespace bdr::ctl
