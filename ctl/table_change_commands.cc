// bdrctl table column-dropped, renamed, ...: what an administrator says was done to tables by hand.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ctl/command.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

constexpr absl::string_view kSaidPrefix = "table_change/";
constexpr absl::Duration kSaidPoll = absl::Milliseconds(200);

struct SayOptions {
  std::string from;
  std::string to;
  std::string column;
  int wait_seconds = 0;
};

absl::Status TakeName(const std::string& name, std::string* schema, std::string* table) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits('.', 1));
  if (parts.first.empty() || parts.second.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name, "\" names no table: give it as SCHEMA.TABLE"));
  }
  std::tie(*schema, *table) = parts;
  return absl::OkStatus();
}

std::string WhoAmI() {
  const passwd* user = getpwuid(geteuid());
  return user == nullptr ? "" : user->pw_name;
}

// Of the same thing said twice, the second counts.
std::string KeyOf(const v1::TableChange& change) {
  return absl::StrCat(kSaidPrefix,
                      Json{change.kind(), change.schema(), change.table(), change.column(),
                           change.new_schema(), change.new_table(), change.new_column()}
                          .dump());
}

std::string TextOf(const v1::TableChange& change) {
  const std::string table =
      change.table().empty() ? change.schema() : absl::StrCat(change.schema(), ".", change.table());
  const std::string new_table = change.new_table().empty()
                                    ? change.new_schema()
                                    : absl::StrCat(change.new_schema(), ".", change.new_table());
  std::vector<std::string> words = {change.kind(), table};
  for (const std::string& word : {change.column(), new_table, change.new_column()}) {
    if (!word.empty()) words.push_back(word);
  }
  return absl::StrJoin(words, " ");
}

// Those for which it waits, until it is in force everywhere.
std::vector<std::string> WaitsFor(const v1::Membership& membership, uint64_t version) {
  std::vector<std::string> waits;
  for (const v1::Member& member : membership.members()) {
    const bool there = version <= membership.settings_active() ? member.settings_active() >= version
                                                               : member.settings_ready() >= version;
    if (!there) waits.push_back(member.name());
  }
  return waits;
}

std::string StateOfChange(const v1::Membership& membership, uint64_t version) {
  const std::vector<std::string> waits = WaitsFor(membership, version);
  if (waits.empty() && version <= membership.settings_active()) return "in force";
  return absl::StrCat("waits for ", absl::StrJoin(waits, ", "));
}

absl::StatusOr<int> SayChange(const Invocation& invocation, v1::TableChange change,
                              int wait_seconds) {
  change.set_said_us(absl::ToUnixMicros(absl::Now()));
  change.set_said_by(WhoAmI());
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  v1::SetSettingRequest request;
  request.set_key(KeyOf(change));
  request.set_value(change.SerializeAsString());
  ASSIGN_OR_RETURN(const auto response, server.Call(&v1::ControlPlane::Stub::SetSetting, request));
  v1::Membership membership = response.membership();
  uint64_t version = 0;
  for (const v1::Setting& setting : membership.settings()) {
    if (setting.key() == request.key()) version = std::max(version, setting.version());
  }
  const absl::Time until = absl::Now() + absl::Seconds(wait_seconds);
  while (StateOfChange(membership, version) != "in force" && absl::Now() < until) {
    absl::SleepFor(kSaidPoll);
    ASSIGN_OR_RETURN(membership, FetchMembership(invocation.globals));
  }
  invocation.Print(
      {.text = absl::StrCat(TextOf(change), ": version ", version, ", ",
                            StateOfChange(membership, version),
                            "; changes from before go by it where an agent knows of it\n"),
       .document = {{"change", TextOf(change)},
                    {"version", version},
                    {"in_force", StateOfChange(membership, version) == "in force"},
                    {"waits_for", WaitsFor(membership, version)}}});
  return kGood;
}

struct Said {
  v1::TableChange change;
  std::string key;
  uint64_t version = 0;
};

// What counts, by version.
absl::StatusOr<std::vector<Said>> SaidIn(const v1::Membership& membership) {
  std::vector<Said> all;
  for (const v1::Setting& setting : membership.settings()) {
    if (!absl::StartsWith(setting.key(), kSaidPrefix)) continue;
    std::erase_if(all, [&](const Said& older) { return older.key == setting.key(); });
    if (setting.value().empty()) continue;
    Said& said = all.emplace_back();
    said.key = setting.key();
    said.version = setting.version();
    if (!said.change.ParseFromString(setting.value())) {
      return absl::DataLossError(absl::StrCat("the setting \"", setting.key(), "\" is damaged"));
    }
  }
  return all;
}

absl::StatusOr<int> ListChanges(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const std::vector<Said> all, SaidIn(membership));
  Table table({{"VERSION"}, {"CHANGE"}, {"SAID AT"}, {"BY"}, {"STATE"}});
  Json document = Json::array();
  for (const Said& said : all) {
    table.AddRow({absl::StrCat(said.version), TextOf(said.change), LocalTime(said.change.said_us()),
                  said.change.said_by(), StateOfChange(membership, said.version)});
    document.push_back({{"version", said.version},
                        {"change", TextOf(said.change)},
                        {"said_at", TimeText(said.change.said_us())},
                        {"said_by", said.change.said_by()},
                        {"in_force", StateOfChange(membership, said.version) == "in force"},
                        {"waits_for", WaitsFor(membership, said.version)}});
  }
  invocation.Print({.text = table.empty() ? "nothing was said of tables that were changed by hand\n"
                                          : table.Render(),
                    .document = std::move(document)});
  return kGood;
}

absl::StatusOr<int> ForgetChange(const Invocation& invocation, uint64_t version) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const std::vector<Said> all, SaidIn(membership));
  for (const Said& said : all) {
    if (said.version != version) continue;
    ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
    v1::SetSettingRequest request;
    request.set_key(said.key);
    RETURN_IF_ERROR(server.Call(&v1::ControlPlane::Stub::SetSetting, request).status());
    invocation.Print({.text = absl::StrCat(TextOf(said.change), ": forgotten\n"),
                      .document = {{"change", TextOf(said.change)}, {"version", version}}});
    return kGood;
  }
  return absl::NotFoundError(absl::StrCat("nothing that counts was said of a table at version ",
                                          version, ": see \"bdrctl table changes\""));
}

void AddWait(CLI::App* verb, const std::shared_ptr<SayOptions>& options) {
  verb->add_option("--wait", options->wait_seconds,
                   "Seconds to wait for it to be in force: done on every node, and no change from "
                   "before is on its way; 0: do not wait")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace

void AddTableChangeCommands(CLI::App* table, Invocation* invocation) {
  auto column_dropped = std::make_shared<SayOptions>();
  CLI::App* verb =
      AddVerb(table, invocation, "column-dropped",
              "Says that a column is dropped on every node: changes from before go on without it",
              {"bdrctl table column-dropped public.item price"}, [invocation, column_dropped] {
                v1::TableChange change;
                change.set_kind("column-dropped");
                change.set_column(column_dropped->column);
                const absl::Status named =
                    TakeName(column_dropped->from, change.mutable_schema(), change.mutable_table());
                return named.ok() ? SayChange(*invocation, change, column_dropped->wait_seconds)
                                  : absl::StatusOr<int>(named);
              });
  verb->add_option("TABLE", column_dropped->from, "The table, as SCHEMA.TABLE")->required();
  verb->add_option("COLUMN", column_dropped->column, "The column that is gone")->required();
  AddWait(verb, column_dropped);

  auto column_renamed = std::make_shared<SayOptions>();
  verb = AddVerb(
      table, invocation, "column-renamed",
      "Says that a column has another name: changes from before are written to that",
      {"bdrctl table column-renamed public.item price net_price"}, [invocation, column_renamed] {
        v1::TableChange change;
        change.set_kind("column-renamed");
        change.set_column(column_renamed->column);
        change.set_new_column(column_renamed->to);
        const absl::Status named =
            TakeName(column_renamed->from, change.mutable_schema(), change.mutable_table());
        return named.ok() ? SayChange(*invocation, change, column_renamed->wait_seconds)
                          : absl::StatusOr<int>(named);
      });
  verb->add_option("TABLE", column_renamed->from, "The table, as SCHEMA.TABLE")->required();
  verb->add_option("OLD", column_renamed->column, "The column's name before")->required();
  verb->add_option("NEW", column_renamed->to, "Its name now")->required();
  AddWait(verb, column_renamed);

  auto renamed = std::make_shared<SayOptions>();
  verb = AddVerb(
      table, invocation, "renamed",
      "Says that a table was renamed or moved to another schema: changes from before are "
      "written to it",
      {"bdrctl table renamed public.item public.article",
       "bdrctl table renamed public.item shop.item"},
      [invocation, renamed] {
        v1::TableChange change;
        change.set_kind("renamed");
        absl::Status named =
            TakeName(renamed->from, change.mutable_schema(), change.mutable_table());
        if (named.ok()) {
          named = TakeName(renamed->to, change.mutable_new_schema(), change.mutable_new_table());
        }
        return named.ok() ? SayChange(*invocation, change, renamed->wait_seconds)
                          : absl::StatusOr<int>(named);
      });
  verb->add_option("OLD", renamed->from, "The table's name before, as SCHEMA.TABLE")->required();
  verb->add_option("NEW", renamed->to, "Its name now, as SCHEMA.TABLE")->required();
  AddWait(verb, renamed);

  auto dropped = std::make_shared<SayOptions>();
  verb = AddVerb(table, invocation, "dropped",
                 "Says that a table is dropped on every node: changes from before are not written",
                 {"bdrctl table dropped public.item"}, [invocation, dropped] {
                   v1::TableChange change;
                   change.set_kind("dropped");
                   const absl::Status named =
                       TakeName(dropped->from, change.mutable_schema(), change.mutable_table());
                   return named.ok() ? SayChange(*invocation, change, dropped->wait_seconds)
                                     : absl::StatusOr<int>(named);
                 });
  verb->add_option("TABLE", dropped->from, "The table, as SCHEMA.TABLE")->required();
  AddWait(verb, dropped);

  auto schema_renamed = std::make_shared<SayOptions>();
  verb = AddVerb(table, invocation, "schema-renamed",
                 "Says that a schema has another name: changes from before are written to its "
                 "tables",
                 {"bdrctl table schema-renamed public shop"}, [invocation, schema_renamed] {
                   v1::TableChange change;
                   change.set_kind("schema-renamed");
                   change.set_schema(schema_renamed->from);
                   change.set_new_schema(schema_renamed->to);
                   return SayChange(*invocation, change, schema_renamed->wait_seconds);
                 });
  verb->add_option("OLD", schema_renamed->from, "The schema's name before")->required();
  verb->add_option("NEW", schema_renamed->to, "Its name now")->required();
  AddWait(verb, schema_renamed);

  AddVerb(table, invocation, "changes",
          "Lists what was said of tables that were changed by hand, and whether it is in force",
          {"bdrctl table changes", "bdrctl table changes -o json"},
          [invocation] { return ListChanges(*invocation); });
  auto version = std::make_shared<uint64_t>(0);
  verb = AddVerb(table, invocation, "forget-change",
                 "Takes back what was said of a table: names in changes count as they are",
                 {"bdrctl table forget-change 7"},
                 [invocation, version] { return ForgetChange(*invocation, *version); });
  verb->add_option("VERSION", *version, "As \"bdrctl table changes\" shows it")->required();
}

}  // namespace bdr::ctl
