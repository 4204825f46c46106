// bdrctl conflict ...: what was decided where two nodes wrote the same row.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/config.h"
#include "ctl/command.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

struct ListOptions {
  std::string node;
  int limit = 20;
  std::string since;
  std::string table;
  std::string kind;
};

struct Found {
  std::string node;
  v1::Conflict conflict;
};

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

Json ConflictJson(const v1::Membership& membership, const Found& found) {
  const v1::Conflict& c = found.conflict;
  return {{"node", found.node},
          {"id", c.id()},
          {"detected", TimeText(c.detected_us())},
          {"detected_us", c.detected_us()},
          {"table", c.table()},
          {"kind", c.kind()},
          {"key", RowJson(c.key())},
          {"winner", c.winner()},
          {"local_node", NameOf(membership, c.local_node())},
          {"local_stamp", TimeText(c.local_stamp_us())},
          {"local_stamp_us", c.local_stamp_us()},
          {"local_row", RowJson(c.local_row())},
          {"remote_node", NameOf(membership, c.remote_node())},
          {"remote_stamp", TimeText(c.remote_stamp_us())},
          {"remote_stamp_us", c.remote_stamp_us()},
          {"remote_row", RowJson(c.remote_row())}};
}

absl::StatusOr<v1::ListConflictsRequest> ToRequest(const ListOptions& options) {
  v1::ListConflictsRequest request;
  request.set_limit(options.limit);
  request.set_table(options.table);
  request.set_kind(options.kind);
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(const absl::Duration age, config::ParseDuration(options.since));
    request.set_since_us(absl::ToUnixMicros(absl::Now() - age));
  }
  return request;
}

absl::StatusOr<int> List(const Invocation& invocation, const ListOptions& options) {
  ASSIGN_OR_RETURN(const v1::ListConflictsRequest request, ToRequest(options));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, options.node));
  std::vector<Found> all;
  int exit_code = kGood;
  for (const v1::Member& member : members) {
    ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, member));
    const auto response = agent.Call(&v1::AgentAdmin::Stub::ListConflicts, request);
    if (!response.ok()) {
      // The others' conflicts are still worth seeing.
      Invocation::Complain(response.status());
      exit_code = kFailed;
      continue;
    }
    for (const v1::Conflict& conflict : response->conflicts()) {
      all.push_back({member.name(), conflict});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
    return a.conflict.detected_us() > b.conflict.detected_us();
  });
  if (all.size() > static_cast<size_t>(options.limit)) all.resize(options.limit);

  Table table({{"NODE"},
               {"ID", Table::Align::kRight},
               {"DETECTED"},
               {"TABLE"},
               {"KIND"},
               {"KEY"},
               {"WINNER"}});
  Json document = Json::array();
  for (const Found& found : all) {
    const v1::Conflict& c = found.conflict;
    const uint32_t winner = c.winner() == "local" ? c.local_node() : c.remote_node();
    table.AddRow({found.node, absl::StrCat(c.id()), TimeText(c.detected_us()), c.table(), c.kind(),
                  OrDash(c.key()),
                  absl::StrCat(c.winner(), " (", NameOf(membership, winner), ")")});
    document.push_back(ConflictJson(membership, found));
  }
  invocation.Print(
      {.text = all.empty() ? "no conflicts\n" : table.Render(), .document = std::move(document)});
  return exit_code;
}

absl::StatusOr<int> Show(const Invocation& invocation, int64_t id, const std::string& node) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, node));
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, members[0]));
  v1::GetConflictRequest request;
  request.set_id(id);
  ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::GetConflict, request));

  Output output{.text = "", .document = ConflictJson(membership, {node, response.conflict()})};
  Table table({{"FIELD"}, {"VALUE"}});
  for (const auto& [key, value] : output.document.items()) {
    table.AddRow({key, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  output.text = table.Render();
  invocation.Print(output);
  return kGood;
}

}  // namespace

void AddConflictCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* conflict = AddNoun(app, "conflict", "Rows that two nodes wrote at the same time",
                               {"bdrctl conflict list", "bdrctl conflict show 42 --node eu1"});
  auto list = std::make_shared<ListOptions>();
  CLI::App* list_verb =
      AddVerb(conflict, invocation, "list", "Lists conflicts, the newest first",
              {"bdrctl conflict list", "bdrctl conflict list --node eu1 --since 1h",
               "bdrctl conflict list --table public.price --kind update_origin_differs -o json"},
              [invocation, list] { return List(*invocation, *list); });
  list_verb->add_option("--node", list->node, "Only those found on this node");
  list_verb->add_option("--limit", list->limit, "At most so many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  list_verb->add_option("--since", list->since, "Only those of the last 30m, 12h, 7d ...");
  list_verb->add_option("--table", list->table, "Only those of this table, as schema.name");
  list_verb->add_option("--kind", list->kind, "Only this kind, such as insert_exists");

  struct ShowOptions {
    int64_t id = 0;
    std::string node;
  };
  auto show = std::make_shared<ShowOptions>();
  CLI::App* show_verb = AddVerb(conflict, invocation, "show", "Shows one conflict with both rows",
                                {"bdrctl conflict show 42 --node eu1"}, [invocation, show] {
                                  return Show(*invocation, show->id, show->node);
                                });
  show_verb->add_option("ID", show->id, "Its number, as listed")->required();
  show_verb->add_option("--node", show->node, "Node on which it was found")->required();
}

}  // namespace bdr::ctl
