// bdrctl constraint ...
#include <map>
#include <memory>
#include <string>

#include "absl/strings/strip.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

// Of settings: "foreign_key/SCHEMA.TABLE/CONSTRAINT", and the value is the policy's name.
constexpr char kPrefix[] = "foreign_key/";

struct PolicyOptions {
  std::string table;
  std::string constraint;
  std::string policy;
};

absl::StatusOr<int> SetPolicy(const Invocation& invocation, const PolicyOptions& options) {
  if (options.table.find('.') == std::string::npos ||
      options.table.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", options.table, "\" is no table: write it as SCHEMA.TABLE, such as public.book"));
  }
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::SetSettingRequest request;
  request.set_key(absl::StrCat(kPrefix, options.table, "/", options.constraint));
  // The default is kept as nothing.
  if (options.policy != "log") request.set_value(options.policy);
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::SetSetting, request));
  invocation.Print(
      {.text = absl::StrCat("orphans of constraint \"", options.constraint, "\" of ", options.table,
                            ": ", options.policy, ", once every node knows it\n"),
       .document = {{"table", options.table},
                    {"constraint", options.constraint},
                    {"policy", options.policy},
                    {"version", response.membership().settings_version()}}});
  return kGood;
}

absl::StatusOr<int> ListConstraints(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  std::map<std::string, const v1::Setting*> newest;
  for (const v1::Setting& setting : membership.settings()) {
    if (setting.key().starts_with(kPrefix)) newest[setting.key()] = &setting;
  }
  Table table({{"TABLE"}, {"CONSTRAINT"}, {"POLICY"}, {"IN FORCE"}});
  Json document = Json::array();
  for (const auto& [key, setting] : newest) {
    const absl::string_view rest = absl::StripPrefix(key, kPrefix);
    const size_t slash = rest.find('/');
    const std::string name(rest.substr(0, slash));
    const std::string constraint(slash == rest.npos ? "" : rest.substr(slash + 1));
    const std::string policy = setting->value().empty() ? "log" : setting->value();
    const bool in_force = setting->version() <= membership.settings_active();
    table.AddRow({name, constraint, policy, in_force ? "yes" : "not yet"});
    document.push_back(
        {{"table", name}, {"constraint", constraint}, {"policy", policy}, {"in_force", in_force}});
  }
  invocation.Print(
      {.text = table.empty() ? "orphans are logged, of every foreign key\n" : table.Render(),
       .document = std::move(document)});
  return kGood;
}

}  // namespace

void AddConstraintCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* noun = AddNoun(app, "constraint",
                           "What is done about foreign keys that concurrent changes have orphaned",
                           {"bdrctl constraint set-policy public.book book_author_fkey cascade",
                            "bdrctl constraint list"});
  AddVerb(noun, invocation, "list", "Shows the foreign keys that have a policy",
          {"bdrctl constraint list"}, [invocation] { return ListConstraints(*invocation); });
  auto options = std::make_shared<PolicyOptions>();
  CLI::App* verb = AddVerb(
      noun, invocation, "set-policy",
      "Says what is done about rows that reference a row which was deleted at the same time "
      "elsewhere, on every node alike",
      {"bdrctl constraint set-policy public.book book_author_fkey cascade",
       "bdrctl constraint set-policy public.book book_author_fkey log"},
      [invocation, options] { return SetPolicy(*invocation, *options); });
  verb->add_option("TABLE", options->table, "The table that references, as SCHEMA.TABLE")
      ->required();
  verb->add_option("CONSTRAINT", options->constraint, "Name of its foreign key")->required();
  verb->add_option("POLICY", options->policy,
                   "log: only note it; cascade: delete the row; set_null: set its columns to NULL; "
                   "restore_parent: insert what was deleted again")
      ->required()
      ->check(CLI::IsMember({"log", "cascade", "set_null", "restore_parent"}));
}

}  // namespace bdr::ctl
