// bdrctl dead-letter ...
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/lsn.h"
#include "ctl/command.h"
#include "ctl/confirm.h"
#include "ctl/field_table.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

// A large transaction takes its time.
constexpr absl::Duration kRetryTimeout = absl::Minutes(10);

struct LetterName {
  std::string node;
  int64_t id = 0;
};

absl::StatusOr<LetterName> ParseName(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  LetterName name{.node = parts.first};
  if (absl::SimpleAtoi(parts.second, &name.id) && !name.node.empty()) return name;
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" names no dead letter: write NODE/ID, as \"bdrctl dead-letter list\" shows it"));
}

std::string NodeName(const v1::Membership& membership, uint32_t id) {
  for (const v1::Member& member : membership.members()) {
    if (member.node_id() == id) return member.name();
  }
  return absl::StrCat("node ", id);
}

Json ContentsJson(const std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? Json(text) : json;
}

Json LetterJson(const v1::Membership& membership, const std::string& node,
                const v1::DeadLetter& letter) {
  return {{"name", absl::StrCat(node, "/", letter.id())},
          {"node", node},
          {"id", letter.id()},
          {"put_aside_us", letter.put_aside_us()},
          {"origin", NodeName(membership, letter.origin_node())},
          {"origin_incarnation", letter.origin_incarnation()},
          {"end_lsn", ToString(Lsn{letter.end_lsn()})},
          {"stamp_us", letter.stamp_us()},
          {"changes", letter.changes()},
          {"bytes", letter.bytes()},
          {"cause", letter.cause()},
          {"contents", ContentsJson(letter.contents())}};
}

// "public.price: 2 insert, 1 update; ..."
std::string ContentsText(const std::string& text) {
  std::string out;
  const Json contents = ContentsJson(text);
  if (!contents.is_object()) return text;
  for (const auto& [table, kinds] : contents.items()) {
    absl::StrAppend(&out, out.empty() ? "" : "; ", table, ":");
    const char* separator = " ";
    for (const auto& [kind, count] : kinds.items()) {
      absl::StrAppend(&out, std::exchange(separator, ", "), count.dump(), " ", kind);
    }
  }
  return out;
}

absl::StatusOr<int> ListLetters(const Invocation& invocation, const std::string& only) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, only));
  Table table({{"NAME"},
               {"PUT ASIDE"},
               {"ORIGIN"},
               {"COMMITTED"},
               {"CHANGES", Table::Align::kRight},
               {"CONTENTS"},
               {"CAUSE"}});
  Json document = Json::array();
  int exit_code = kGood;
  for (const v1::Member& member : members) {
    ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, member));
    const auto response =
        agent.Call(&v1::AgentAdmin::Stub::ListDeadLetters, v1::ListDeadLettersRequest());
    if (!response.ok()) {
      Invocation::Complain(response.status());
      exit_code = kFailed;
      continue;
    }
    for (const v1::DeadLetter& letter : response->letters()) {
      table.AddRow({absl::StrCat(member.name(), "/", letter.id()), LocalTime(letter.put_aside_us()),
                    NodeName(membership, letter.origin_node()), LocalTime(letter.stamp_us()),
                    absl::StrCat(letter.changes()), ContentsText(letter.contents()),
                    letter.cause()});
      document.push_back(LetterJson(membership, member.name(), letter));
    }
  }
  invocation.Print({.text = table.empty() ? "no dead letters\n" : table.Render(),
                    .document = std::move(document)});
  return exit_code;
}

absl::StatusOr<int> ShowLetter(const Invocation& invocation, const std::string& text) {
  ASSIGN_OR_RETURN(const LetterName name, ParseName(text));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, name.node));
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, members[0]));
  ASSIGN_OR_RETURN(const auto response, agent.Call(&v1::AgentAdmin::Stub::ListDeadLetters,
                                                   v1::ListDeadLettersRequest()));
  for (const v1::DeadLetter& letter : response.letters()) {
    if (letter.id() != name.id) continue;
    Output output{.text = "", .document = LetterJson(membership, name.node, letter)};
    Json facts = output.document;
    facts["contents"] = ContentsText(letter.contents());
    output.text = FieldTable(facts).Render();
    invocation.Print(output);
    return kGood;
  }
  return absl::NotFoundError(absl::StrCat("there is no dead letter ", text));
}

absl::StatusOr<int> Ask(const Invocation& invocation, const std::string& text, bool drop) {
  ASSIGN_OR_RETURN(const LetterName name, ParseName(text));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto members, SelectMembers(membership, name.node));
  ASSIGN_OR_RETURN(const Agent agent, ConnectAgent(invocation.globals, members[0]));
  v1::DeadLetterRequest request;
  request.set_id(name.id);
  RETURN_IF_ERROR(agent
                      .Call(drop ? &v1::AgentAdmin::Stub::DropDeadLetter
                                 : &v1::AgentAdmin::Stub::RetryDeadLetter,
                            request, drop ? kCallTimeout : kRetryTimeout)
                      .status());
  const char* const done = drop ? "dropped" : "applied";
  invocation.Print({.text = absl::StrCat(text, ": ", done, "\n"),
                    .document = {{"name", text}, {"outcome", done}}});
  return kGood;
}

absl::StatusOr<int> Drop(const Invocation& invocation, const std::string& text, bool yes) {
  RETURN_IF_ERROR(Confirm(
      absl::StrCat("The changes in ", text,
                   " will never be on that node: its rows differ from the other nodes' until they "
                   "are written again.\n"),
      "Drop it?", yes));
  return Ask(invocation, text, /*drop=*/true);
}

}  // namespace

void AddDeadLetterCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* noun =
      AddNoun(app, "dead-letter", "Transactions that could not be applied and were put aside",
              {"bdrctl dead-letter list", "bdrctl dead-letter retry us2/7"});
  auto node = std::make_shared<std::string>();
  CLI::App* list = AddVerb(noun, invocation, "list", "Lists them, the oldest first",
                           {"bdrctl dead-letter list", "bdrctl dead-letter list --node us2"},
                           [invocation, node] { return ListLetters(*invocation, *node); });
  list->add_option("--node", *node, "Only those of this node");

  auto name = std::make_shared<std::string>();
  const auto add_name = [name](CLI::App* verb) {
    verb->add_option("NAME", *name, "Node and number, as listed: us2/7")->required();
  };
  add_name(AddVerb(noun, invocation, "show", "Shows one with its cause and what it holds",
                   {"bdrctl dead-letter show us2/7"},
                   [invocation, name] { return ShowLetter(*invocation, *name); }));
  add_name(AddVerb(noun, invocation, "retry",
                   "Applies it now, by its own time: what was written since stays",
                   {"bdrctl dead-letter retry us2/7"},
                   [invocation, name] { return Ask(*invocation, *name, /*drop=*/false); }));
  auto yes = std::make_shared<bool>(false);
  CLI::App* drop = AddVerb(noun, invocation, "drop", "Removes it for good; asks first",
                           {"bdrctl dead-letter drop us2/7", "bdrctl dead-letter drop us2/7 --yes"},
                           [invocation, name, yes] { return Drop(*invocation, *name, *yes); });
  add_name(drop);
  drop->add_flag("--yes", *yes, "Do not ask");
}

}  // namespace bdr::ctl
