// bdrctl table ...
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

constexpr absl::string_view kPolicyKey = "policy/";
constexpr char kDefaultPolicy[] = "last_update_wins";
constexpr absl::Duration kPoll = absl::Milliseconds(200);

struct SetOptions {
  std::string table;
  std::string policy;
  std::vector<std::string> columns;
  std::vector<std::string> priority;
  std::string function;
  int wait_seconds = 30;
};

absl::StatusOr<std::pair<std::string, std::string>> SplitName(const std::string& name) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits('.', 1));
  if (!parts.first.empty() && !parts.second.empty()) return parts;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" names no table: give it as SCHEMA.TABLE"));
}

absl::StatusOr<v1::TablePolicy> ToPolicy(const SetOptions& options,
                                         const v1::Membership& membership) {
  v1::TablePolicy policy;
  policy.set_policy(options.policy);
  policy.set_function(options.function);
  for (const std::string& column : options.columns) policy.add_columns(column);
  for (const std::string& node : options.priority) {
    ASSIGN_OR_RETURN(const auto member, SelectMembers(membership, node));
    policy.add_priority(member.front().node_id());
  }
  const auto only_of = [&](bool given, const char* option, const char* of) -> absl::Status {
    if (given == (options.policy == of)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        given ? absl::StrCat(option, " belongs to policy ", of, ", not to ", options.policy)
              : absl::StrCat("policy ", of, " needs ", option));
  };
  RETURN_IF_ERROR(only_of(!options.columns.empty(), "--columns", "delta"));
  RETURN_IF_ERROR(only_of(!options.priority.empty(), "--priority", "origin_priority"));
  RETURN_IF_ERROR(only_of(!options.function.empty(), "--function", "custom"));
  return policy;
}

// Every node is asked, so that all that is missing is told at once. False if something is.
absl::StatusOr<bool> Check(const Invocation& invocation, const v1::Membership& membership,
                           const v1::CheckPolicyRequest& request) {
  Table table({{"NODE"}, {"WHAT"}, {"REMEDY"}});
  Json findings = Json::array();
  for (const v1::Member& member : membership.members()) {
    ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, member));
    ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::CheckPolicy, request));
    for (const v1::CheckNodeResponse::Finding& finding : response.findings()) {
      table.AddRow({member.name(), finding.what(), finding.remedy()});
      findings.push_back(
          {{"node", member.name()}, {"what", finding.what()}, {"remedy", finding.remedy()}});
    }
  }
  if (table.empty()) return true;
  invocation.Print({.text = table.Render(), .document = {{"findings", std::move(findings)}}});
  return false;
}

std::vector<std::string> NotReady(const v1::Membership& membership, uint64_t version) {
  std::vector<std::string> waits;
  for (const v1::Member& member : membership.members()) {
    // Before all are ready nobody goes by it; then each does as soon as it hears of that.
    const bool ready = version <= membership.settings_active() ? member.settings_active() >= version
                                                               : member.settings_ready() >= version;
    if (!ready) waits.push_back(member.name());
  }
  return waits;
}

bool InForce(const v1::Membership& membership, uint64_t version) {
  return version <= membership.settings_active() && NotReady(membership, version).empty();
}

std::string StateOf(const v1::Membership& membership, uint64_t version) {
  if (InForce(membership, version)) return "in force";
  return absl::StrCat("waits for ", absl::StrJoin(NotReady(membership, version), ", "));
}

const v1::Setting* FindSetting(const v1::Membership& membership, const std::string& key) {
  const v1::Setting* found = nullptr;
  for (const v1::Setting& setting : membership.settings()) {
    if (setting.key() == key) found = &setting;
  }
  return found;
}

absl::StatusOr<int> Set(const Invocation& invocation, const SetOptions& options) {
  ASSIGN_OR_RETURN(const auto name, SplitName(options.table));
  ASSIGN_OR_RETURN(v1::Membership membership, FetchMembership(invocation.globals));
  v1::CheckPolicyRequest check;
  check.set_schema(name.first);
  check.set_name(name.second);
  ASSIGN_OR_RETURN(*check.mutable_policy(), ToPolicy(options, membership));
  ASSIGN_OR_RETURN(const bool good, Check(invocation, membership, check));
  if (!good) {
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", options.table, "\" cannot have policy ", options.policy,
                     " yet; run what is named above, and set it again"));
  }
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::SetSettingRequest request;
  request.set_key(absl::StrCat(kPolicyKey, options.table));
  const bool never_had =
      options.policy == kDefaultPolicy && FindSetting(membership, request.key()) == nullptr;
  if (!never_had) request.set_value(check.policy().SerializeAsString());
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::SetSetting, request));
  membership = response.membership();
  const v1::Setting* setting = FindSetting(membership, request.key());
  const uint64_t version = setting == nullptr ? 0 : setting->version();
  const absl::Time until = absl::Now() + absl::Seconds(options.wait_seconds);
  while (!InForce(membership, version) && absl::Now() < until) {
    absl::SleepFor(kPoll);
    ASSIGN_OR_RETURN(membership, FetchMembership(invocation.globals));
  }
  invocation.Print({.text = absl::StrCat("table ", options.table, ": ", options.policy, ", ",
                                         StateOf(membership, version), "\n"),
                    .document = {{"table", options.table},
                                 {"policy", options.policy},
                                 {"version", version},
                                 {"in_force", InForce(membership, version)},
                                 {"waits_for", NotReady(membership, version)}}});
  return kGood;
}

struct Shown {
  std::string table;
  v1::TablePolicy policy;
  uint64_t version = 0;
};

std::string Details(const v1::TablePolicy& policy, const v1::Membership& membership) {
  std::vector<std::string> names(policy.columns().begin(), policy.columns().end());
  for (const uint32_t id : policy.priority()) {
    std::string name = absl::StrCat("node ", id);
    for (const v1::Member& member : membership.members()) {
      if (member.node_id() == id) name = member.name();
    }
    names.push_back(std::move(name));
  }
  if (!policy.function().empty()) names.push_back(policy.function());
  return absl::StrJoin(names, ", ");
}

void Print(const Invocation& invocation, const v1::Membership& membership,
           const std::vector<Shown>& all) {
  Table table({{"TABLE"}, {"POLICY"}, {"BY"}, {"VERSION"}, {"STATE"}});
  Json document = Json::array();
  for (const Shown& shown : all) {
    const std::string details = Details(shown.policy, membership);
    const std::string state = StateOf(membership, shown.version);
    table.AddRow({shown.table, shown.policy.policy(), details, absl::StrCat(shown.version), state});
    document.push_back({{"table", shown.table},
                        {"policy", shown.policy.policy()},
                        {"by", details},
                        {"version", shown.version},
                        {"in_force", InForce(membership, shown.version)},
                        {"waits_for", NotReady(membership, shown.version)}});
  }
  invocation.Print({.text = table.empty() ? "every table: last_update_wins\n" : table.Render(),
                    .document = std::move(document)});
}

absl::StatusOr<std::vector<Shown>> PoliciesIn(const v1::Membership& membership) {
  std::vector<Shown> all;
  for (const v1::Setting& setting : membership.settings()) {
    if (!absl::StartsWith(setting.key(), kPolicyKey)) continue;
    Shown& shown = all.emplace_back();
    shown.table = setting.key().substr(kPolicyKey.size());
    shown.version = setting.version();
    if (!shown.policy.ParseFromString(setting.value())) {
      return absl::DataLossError(
          absl::StrCat("the policy of table \"", shown.table, "\" is damaged; set it again"));
    }
    if (shown.policy.policy().empty()) shown.policy.set_policy(kDefaultPolicy);
  }
  return all;
}

absl::StatusOr<int> ListTables(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(std::vector<Shown> all, PoliciesIn(membership));
  // Of each table the newest, which was set last.
  std::vector<Shown> newest;
  for (Shown& shown : all) {
    std::erase_if(newest, [&](const Shown& older) { return older.table == shown.table; });
    newest.push_back(std::move(shown));
  }
  Print(invocation, membership, newest);
  return kGood;
}

absl::StatusOr<int> ShowTable(const Invocation& invocation, const std::string& name) {
  RETURN_IF_ERROR(SplitName(name).status());
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(std::vector<Shown> all, PoliciesIn(membership));
  std::erase_if(all, [&](const Shown& shown) { return shown.table != name; });
  if (all.empty()) {
    all.push_back({.table = name, .policy = {}, .version = 0});
    all.back().policy.set_policy(kDefaultPolicy);
  }
  Print(invocation, membership, all);
  return kGood;
}

}  // namespace

void AddTableCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* table =
      AddNoun(app, "table", "How tables are merged, and what was done to them by hand",
              {"bdrctl table list", "bdrctl table changes"});
  auto options = std::make_shared<SetOptions>();
  CLI::App* set =
      AddVerb(table, invocation, "set-policy",
              "Sets how changes of a table are merged that did not know of each other",
              {"bdrctl table set-policy public.account delta --columns balance",
               "bdrctl table set-policy public.item column_merge",
               "bdrctl table set-policy public.price origin_priority --priority eu1,us2",
               "bdrctl table set-policy public.cart custom --function public.merge_cart",
               "bdrctl table set-policy public.account last_update_wins"},
              [invocation, options] { return Set(*invocation, *options); });
  set->add_option("TABLE", options->table, "The table, as SCHEMA.TABLE")->required();
  set->add_option("POLICY", options->policy,
                  "last_update_wins, first_update_wins, origin_priority, column_merge, delta or "
                  "custom")
      ->required()
      ->check(CLI::IsMember({"last_update_wins", "first_update_wins", "origin_priority",
                             "column_merge", "delta", "custom"}));
  set->add_option("--columns", options->columns, "Of delta: the numbers that are counted")
      ->delimiter(',');
  set->add_option("--priority", options->priority,
                  "Of origin_priority: nodes, the one that counts most first")
      ->delimiter(',');
  set->add_option("--function", options->function,
                  "Of custom: SCHEMA.FUNCTION(older TABLE, newer TABLE, info jsonb) RETURNS TABLE");
  set->add_option("--wait", options->wait_seconds,
                  "Seconds to wait for it to be in force; 0: do not wait")
      ->check(CLI::NonNegativeNumber);
  AddVerb(table, invocation, "list", "Lists the tables that have a policy of their own",
          {"bdrctl table list", "bdrctl table list -o json"},
          [invocation] { return ListTables(*invocation); });
  auto name = std::make_shared<std::string>();
  CLI::App* show = AddVerb(table, invocation, "show-policy",
                           "Shows every policy that a table has had, the present one last",
                           {"bdrctl table show-policy public.account"},
                           [invocation, name] { return ShowTable(*invocation, *name); });
  show->add_option("TABLE", *name, "The table, as SCHEMA.TABLE")->required();
  AddTableChangeCommands(table, invocation);
}

}  // namespace bdr::ctl
