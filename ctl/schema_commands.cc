// bdrctl schema ...
#include <fnmatch.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bdr/v1/schema.pb.h"
#include "ctl/command.h"
#include "ctl/rpc.h"
#include "postgres/shapes/packed_schema.h"
#include "postgres/shapes/schema_diff.h"

namespace bdr::ctl {
namespace {

struct DiffOptions {
  std::vector<std::string> nodes;
  std::string table = "*";
};

struct Told {
  std::string node;
  v1::Schema schema;
};

struct Found {
  postgres::ShapeDifference difference;
  std::string node;  // where the statement is to be run
};

absl::StatusOr<std::vector<v1::Member>> Chosen(const v1::Membership& membership,
                                               const std::vector<std::string>& names) {
  if (names.empty()) return SelectMembers(membership, "");
  std::vector<v1::Member> members;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto selected, SelectMembers(membership, name));
    members.push_back(selected.front());
  }
  return members;
}

// The first of all is compared with each of the others: what is equal to it is equal.
std::vector<Found> Compare(const std::vector<Told>& told, const std::string& pattern) {
  std::vector<Found> all;
  for (size_t i = 1; i < told.size(); ++i) {
    const Told& one = told.front();
    const Told& other = told[i];
    for (postgres::ShapeDifference& difference : postgres::CompareSchemas(
             {.schema = &one.schema, .where = absl::StrCat("on ", one.node)},
             {.schema = &other.schema, .where = absl::StrCat("on ", other.node)})) {
      if (fnmatch(pattern.c_str(), difference.table.c_str(), 0) != 0) continue;
      const std::string& node = difference.at_other ? other.node : one.node;
      all.push_back({.difference = std::move(difference), .node = node});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
    return a.difference.table < b.difference.table;
  });
  return all;
}

std::string Render(const std::vector<Found>& found) {
  std::string text;
  std::string table;
  for (const Found& each : found) {
    const postgres::ShapeDifference& difference = each.difference;
    if (difference.table != table) {
      table = difference.table;
      absl::StrAppend(&text, table, "\n");
    }
    absl::StrAppend(&text, "  ", difference.what, difference.matters ? "" : " (stops nothing)",
                    "\n");
    if (!difference.statement.empty()) {
      absl::StrAppend(&text, "    on ", each.node, ": ", difference.statement, ";\n");
    }
  }
  return text;
}

Output Show(const std::vector<Told>& told, const std::vector<std::string>& silent,
            const std::vector<Found>& found, int exit_code) {
  std::vector<std::string> names;
  for (const Told& each : told) names.push_back(each.node);
  Output output;
  output.text = Render(found);
  for (const std::string& node : silent) {
    absl::StrAppend(&output.text, "node ", node,
                    " has told nothing of its tables yet: is its agent running?\n");
  }
  if (found.empty()) {
    absl::StrAppend(&output.text, "no difference between the tables of ",
                    absl::StrJoin(names, ", "), "\n");
  }
  output.document["result"] = exit_code == kCritical ? "different"
                              : found.empty()        ? "equal"
                                                     : "equal but for what stops nothing";
  output.document["nodes"] = names;
  output.document["unknown"] = silent;
  output.document["differences"] = Json::array();
  for (const Found& each : found) {
    output.document["differences"].push_back({{"table", each.difference.table},
                                              {"what", each.difference.what},
                                              {"matters", each.difference.matters},
                                              {"node", each.node},
                                              {"statement", each.difference.statement}});
  }
  return output;
}

absl::StatusOr<int> Diff(const Invocation& invocation, const DiffOptions& options) {
  if (options.nodes.size() == 1) {
    return absl::InvalidArgumentError("name two nodes, or none to compare all of them");
  }
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const std::vector<v1::Member> members, Chosen(membership, options.nodes));
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  std::vector<Told> told;
  std::vector<std::string> silent;
  for (const v1::Member& member : members) {
    v1::GetSchemaRequest request;
    request.set_node(member.name());
    const auto response = server.Call(&v1::ControlPlane::Stub::GetSchema, request);
    if (absl::IsNotFound(response.status())) {
      silent.push_back(member.name());
      continue;
    }
    RETURN_IF_ERROR(response.status());
    Told& each = told.emplace_back();
    each.node = member.name();
    RETURN_IF_ERROR(postgres::UnpackSchema(response->schema().packed(), &each.schema));
  }
  const std::vector<Found> found = Compare(told, options.table);
  int exit_code = silent.empty() && found.empty() ? kGood : kWarning;
  for (const Found& each : found) {
    if (each.difference.matters) exit_code = kCritical;
  }
  invocation.Print(Show(told, silent, found, exit_code));
  return exit_code;
}

}  // namespace

void AddSchemaCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* schema = AddNoun(app, "schema", "The shapes of the tables: what differs between nodes",
                             {"bdrctl schema diff"});
  auto options = std::make_shared<DiffOptions>();
  CLI::App* diff = AddVerb(
      schema, invocation, "diff",
      "Shows what differs between the tables of the nodes, with the statement that makes it equal, "
      "and runs none of them. Exit code 0: equal, 1: differences that stop nothing, or a node has "
      "told nothing yet, 2: different",
      {"bdrctl schema diff", "bdrctl schema diff eu1 us1 --table 'public.*'",
       "bdrctl schema diff -o json"},
      [invocation, options] { return Diff(*invocation, *options); });
  diff->add_option("NODES", options->nodes, "Two nodes; without, all are compared")->expected(0, 2);
  diff->add_option("--table", options->table,
                   "Only tables whose schema.name matches: 'public.*', '*.price'");
}

}  // namespace bdr::ctl
