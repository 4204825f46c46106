// bdrctl conflict ...: what was decided where two nodes wrote the same row, why, and taking it
// back.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/config.h"
#include "conflict/conflict_kind.h"
#include "ctl/command.h"
#include "ctl/confirm.h"
#include "ctl/conflict_view.h"
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
  std::string winner;
};

absl::StatusOr<v1::ListConflictsRequest> ToRequest(const v1::Membership& membership,
                                                   const ListOptions& options) {
  v1::ListConflictsRequest request;
  request.set_limit(options.limit);
  request.set_table(options.table);
  request.set_kind(options.kind);
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(const absl::Duration age, config::ParseDuration(options.since));
    request.set_since_us(absl::ToUnixMicros(absl::Now() - age));
  }
  if (options.winner == ToString(conflict::Winner::kLocal) ||
      options.winner == ToString(conflict::Winner::kRemote)) {
    request.set_winner(options.winner);
  } else if (!options.winner.empty()) {
    ASSIGN_OR_RETURN(const auto winner, SelectMembers(membership, options.winner));
    request.set_winner_node(winner[0].node_id());
  }
  return request;
}

absl::StatusOr<int> ListConflicts(const Invocation& invocation, const ListOptions& options) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const v1::ListConflictsRequest request, ToRequest(membership, options));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, options.node));
  std::vector<FoundConflict> all;
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
  std::stable_sort(all.begin(), all.end(), [](const FoundConflict& a, const FoundConflict& b) {
    return a.conflict.detected_us() > b.conflict.detected_us();
  });
  if (all.size() > static_cast<size_t>(options.limit)) all.resize(options.limit);
  invocation.Print(ViewConflicts(membership, all));
  return exit_code;
}

// One conflict, named as NODE/ID, or as ID with --node.
struct Named {
  std::string id;
  std::string node;
};

struct Located {
  v1::Membership membership;
  v1::Member member;
  int64_t id = 0;
};

absl::StatusOr<Located> Locate(const Invocation& invocation, const Named& named) {
  std::string node = named.node;
  std::string number = named.id;
  const std::vector<std::string> parts = absl::StrSplit(named.id, '/');
  if (parts.size() == 2) {
    if (!node.empty() && node != parts[0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", named.id, "\" names another node than --node ", node));
    }
    node = parts[0];
    number = parts[1];
  }
  Located located;
  if (node.empty() || !absl::SimpleAtoi(number, &located.id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", named.id,
                     "\" names no conflict: give NODE/ID, as \"bdrctl conflict list\" shows it"));
  }
  ASSIGN_OR_RETURN(located.membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(located.membership, node));
  located.member = members[0];
  return located;
}

absl::StatusOr<v1::Conflict> Fetch(const Agent& agent, int64_t id) {
  v1::GetConflictRequest request;
  request.set_id(id);
  ASSIGN_OR_RETURN(auto response, agent.Call(&v1::AgentAdmin::Stub::GetConflict, request));
  return std::move(*response.mutable_conflict());
}

absl::StatusOr<int> ShowConflict(const Invocation& invocation, const Named& named, bool explain) {
  ASSIGN_OR_RETURN(const Located located, Locate(invocation, named));
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, located.member));
  ASSIGN_OR_RETURN(const v1::Conflict conflict, Fetch(agent, located.id));
  const FoundConflict found{located.member.name(), conflict};
  invocation.Print(explain ? ExplainConflict(located.membership, found)
                           : ViewConflict(located.membership, found));
  return kGood;
}

struct UndoOptions {
  Named named;
  bool yes = false;
  bool force = false;
};

absl::StatusOr<int> Undo(const Invocation& invocation, const UndoOptions& options) {
  ASSIGN_OR_RETURN(const Located located, Locate(invocation, options.named));
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, located.member));
  v1::UndoConflictRequest request;
  request.set_id(located.id);
  request.set_force(options.force);
  ASSIGN_OR_RETURN(v1::UndoConflictResponse plan,
                   agent.Call(&v1::AgentAdmin::Stub::UndoConflict, request));
  const bool text = invocation.globals.format == OutputFormat::kTable;
  if (text) invocation.Print(ViewUndo(located.member.name(), plan));
  if (plan.action() == v1::UndoConflictResponse::NOTHING) {
    if (!text) invocation.Print(ViewUndo(located.member.name(), plan));
    return kGood;
  }
  if (plan.changed_since() && !options.force) {
    if (!text) invocation.Print(ViewUndo(located.member.name(), plan));
    return absl::FailedPreconditionError(
        "the row was written since the conflict was decided: nothing was done; --force overwrites "
        "it all the same");
  }
  if (!options.yes && (!text || !Confirm("", "Write this?", /*yes=*/false).ok())) {
    if (!text) invocation.Print(ViewUndo(located.member.name(), plan));
    if (text) *invocation.out << "nothing was written\n";
    return kGood;
  }
  request.set_apply(true);
  request.set_expected_row(plan.current_row());
  ASSIGN_OR_RETURN(const v1::UndoConflictResponse done,
                   agent.Call(&v1::AgentAdmin::Stub::UndoConflict, request, absl::Seconds(60)));
  if (text) {
    *invocation.out << (done.applied() ? "written on " : "nothing was written on ")
                    << located.member.name() << "\n";
  } else {
    invocation.Print(ViewUndo(located.member.name(), done));
  }
  return kGood;
}

void AddName(CLI::App* verb, Named* named) {
  verb->add_option("ID", named->id, "The conflict, as NODE/ID, or its number with --node")
      ->required();
  verb->add_option("--node", named->node, "Node on which it was found");
}

}  // namespace

void AddConflictCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* conflict = AddNoun(app, "conflict", "Rows that two nodes wrote at the same time",
                               {"bdrctl conflict list", "bdrctl conflict explain eu1/42"});
  auto list = std::make_shared<ListOptions>();
  CLI::App* list_verb =
      AddVerb(conflict, invocation, "list", "Lists conflicts, the newest first",
              {"bdrctl conflict list", "bdrctl conflict list --node eu1 --since 1h",
               "bdrctl conflict list --winner us2 --limit 100",
               "bdrctl conflict list --table public.price --kind update_origin_differs -o json"},
              [invocation, list] { return ListConflicts(*invocation, *list); });
  list_verb->add_option("--node", list->node, "Only those found on this node");
  list_verb->add_option("--limit", list->limit, "At most so many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  list_verb->add_option("--since", list->since, "Only those of the last 30m, 12h, 7d ...");
  list_verb->add_option("--table", list->table, "Only those of this table, as schema.name");
  list_verb->add_option("--kind", list->kind, "Only this kind, such as insert_exists");
  list_verb->add_option("--winner", list->winner,
                        "Only those that this node's version won; or local, remote");

  auto show = std::make_shared<Named>();
  AddName(
      AddVerb(conflict, invocation, "show",
              "Shows one conflict: both rows side by side, what differs marked",
              {"bdrctl conflict show eu1/42", "bdrctl conflict show 42 --node eu1"},
              [invocation, show] { return ShowConflict(*invocation, *show, /*explain=*/false); }),
      show.get());

  auto explain = std::make_shared<Named>();
  AddName(AddVerb(conflict, invocation, "explain",
                  "Tells why a conflict was decided as it was: stamps, clocks, what had been seen",
                  {"bdrctl conflict explain eu1/42"},
                  [invocation, explain] {
                    return ShowConflict(*invocation, *explain, /*explain=*/true);
                  }),
          explain.get());

  auto undo = std::make_shared<UndoOptions>();
  CLI::App* undo_verb = AddVerb(
      conflict, invocation, "undo",
      "Writes the version that lost again, as a new change of the node that replicates: shows the "
      "difference and asks",
      {"bdrctl conflict undo eu1/42", "bdrctl conflict undo eu1/42 --yes --force"},
      [invocation, undo] { return Undo(*invocation, *undo); });
  AddName(undo_verb, &undo->named);
  undo_verb->add_flag("--yes", undo->yes, "Do not ask");
  undo_verb->add_flag("--force", undo->force,
                      "Also if the row was written since the conflict was decided");
}

}  // namespace bdr::ctl
