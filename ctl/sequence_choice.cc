#include "ctl/sequence_choice.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr::ctl {
namespace {

// In one error, before a person sees no end of it.
constexpr size_t kNamedAtOnce = 20;

constexpr char kSequencesSql[] =
    "SELECT c.oid::regclass::text, n.nspname, n.nspname || '.' || c.relname,"
    " EXISTS (SELECT FROM bdr.sequence q WHERE q.relation = c.oid)"
    "  OR EXISTS (SELECT FROM bdr.sequence_cap q WHERE q.relation = c.oid),"
    " EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
    "  AND d.deptype = 'e'),"
    " c.relpersistence"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'bdr', 'bdr_intercept')"
    " AND c.relpersistence <> 't'";

struct FoundSequence {
  std::string schema;
  std::string plain;       // schema.name, nothing quoted
  bool converted = false;  // on any node, or about to be
  bool extension = false;
  bool unlogged = false;
  std::vector<std::string> nodes;  // that have it
};

// By how a name is written in SQL.
using FoundByName = std::map<std::string, FoundSequence>;

absl::StatusOr<FoundByName> ListAll(const Server& server, std::vector<SequenceNode>& nodes) {
  FoundByName all;
  for (SequenceNode& node : nodes) {
    const auto rows = node.connection->Exec(kSequencesSql);
    if (!rows.ok()) return OnNode(node, rows.status());
    for (int i = 0; i < rows->rows(); ++i) {
      FoundSequence& one = all[std::string(rows->value(i, 0))];
      one.schema = std::string(rows->value(i, 1));
      one.plain = std::string(rows->value(i, 2));
      one.converted = one.converted || rows->value(i, 3) == "t";
      one.extension = one.extension || rows->value(i, 4) == "t";
      one.unlogged = one.unlogged || rows->value(i, 5) == "u";
      one.nodes.push_back(node.name);
    }
  }
  ASSIGN_OR_RETURN(const auto listed,
                   server.Call(&v1::ControlPlane::Stub::ListSequences, v1::ListSequencesRequest()));
  for (const v1::SequenceState& state : listed.sequences()) {
    const auto one = all.find(state.name());
    if (one != all.end() && state.method() != "local") one->second.converted = true;
  }
  return all;
}

bool IsChosen(const SequenceChoice& choice, const FoundSequence& found) {
  if (choice.all) return true;
  const auto matches = [&found](const std::string& pattern) {
    return fnmatch(pattern.c_str(), found.plain.c_str(), 0) == 0;
  };
  return std::find(choice.schemas.begin(), choice.schemas.end(), found.schema) !=
             choice.schemas.end() ||
         std::any_of(choice.patterns.begin(), choice.patterns.end(), matches);
}

// As SQL writes them; what no node has stays as it was given.
absl::StatusOr<std::vector<std::string>> Named(const std::vector<std::string>& names,
                                               std::vector<SequenceNode>& nodes) {
  std::vector<std::string> named;
  for (const std::string& name : names) {
    std::string text = name;
    for (SequenceNode& node : nodes) {
      const postgres::Param params[] = {{.data = name}};
      const auto row = node.connection->ExecParams(
          "SELECT s.oid::regclass::text FROM pg_class s"
          " WHERE s.oid = to_regclass($1) AND s.relkind = 'S'",
          params);
      if (!row.ok()) return OnNode(node, row.status());
      if (row->rows() == 0) continue;
      text = std::string(row->value(0, 0));
      break;
    }
    if (std::find(named.begin(), named.end(), text) == named.end()) named.push_back(text);
  }
  return named;
}

std::string MissingOn(const FoundSequence& found, const std::vector<SequenceNode>& nodes) {
  std::vector<std::string> missing;
  for (const SequenceNode& node : nodes) {
    if (std::find(found.nodes.begin(), found.nodes.end(), node.name) == found.nodes.end()) {
      missing.push_back(absl::StrCat("\"", node.name, "\""));
    }
  }
  return absl::StrJoin(missing, ", ");
}

// What is wrong with them, each in words of its own; empty if nothing is.
std::vector<std::string> Objections(const std::vector<std::string>& chosen, const FoundByName& all,
                                    const std::vector<SequenceNode>& nodes) {
  std::vector<std::string> wrong;
  for (const std::string& name : chosen) {
    const FoundSequence& found = all.at(name);
    if (found.nodes.size() < nodes.size()) {
      wrong.push_back(absl::StrCat("\"", name, "\" is missing on ", MissingOn(found, nodes)));
    } else if (found.unlogged) {
      wrong.push_back(absl::StrCat(
          "\"", name, "\" is unlogged, so that a crash sets it back and numbers come again"));
    }
  }
  return wrong;
}

absl::Status Refuse(std::vector<std::string> wrong) {
  const size_t all = wrong.size();
  if (all > kNamedAtOnce) {
    wrong.resize(kNamedAtOnce);
    wrong.push_back(absl::StrCat("and ", all - kNamedAtOnce, " more"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("nothing was changed, since not every sequence can be converted on all nodes: ",
                   absl::StrJoin(wrong, "; "),
                   ": make the nodes alike (\"bdrctl schema diff\"), or choose others"));
}

}  // namespace

absl::Status CheckChoice(const SequenceChoice& choice) {
  const int given = (choice.names.empty() ? 0 : 1) + (choice.schemas.empty() ? 0 : 1) +
                    (choice.patterns.empty() ? 0 : 1) + (choice.all ? 1 : 0);
  if (given == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      given == 0 ? "say which sequences: as SCHEMA.NAME, or by --schema, --match or --all"
                 : "say which sequences in one way: as SCHEMA.NAME, by --schema, by --match or by "
                   "--all");
}

absl::StatusOr<std::vector<std::string>> ChooseSequences(const SequenceChoice& choice,
                                                         bool only_converted, const Server& server,
                                                         std::vector<SequenceNode>& nodes) {
  ASSIGN_OR_RETURN(const FoundByName all, ListAll(server, nodes));
  std::vector<std::string> chosen;
  if (choice.names.empty()) {
    bool any = false;
    for (const auto& [name, found] : all) {
      if (found.extension || found.unlogged || !IsChosen(choice, found)) continue;
      any = true;
      if (!only_converted || found.converted) chosen.push_back(name);
    }
    if (!any) {
      return absl::NotFoundError(
          "no sequence of users' is among those: see \"bdrctl sequence convert --help\"");
    }
  } else {
    ASSIGN_OR_RETURN(chosen, Named(choice.names, nodes));
    for (const std::string& name : chosen) {
      if (all.contains(name)) continue;
      return absl::NotFoundError(absl::StrCat("there is no sequence \"", name,
                                              "\" that could be converted; write it as "
                                              "SCHEMA.NAME"));
    }
  }
  std::vector<std::string> wrong = Objections(chosen, all, nodes);
  if (!wrong.empty()) return Refuse(std::move(wrong));
  return chosen;
}

}  // namespace bdr::ctl
