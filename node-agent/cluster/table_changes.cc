#include "node-agent/cluster/table_changes.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

using Kind = TableChange::Kind;
using Outcome = FoundName::Outcome;

constexpr std::pair<Kind, absl::string_view> kKinds[] = {
    {Kind::kColumnDropped, "column-dropped"}, {Kind::kColumnRenamed, "column-renamed"},
    {Kind::kTableDropped, "dropped"},         {Kind::kTableRenamed, "renamed"},
    {Kind::kSchemaRenamed, "schema-renamed"},
};

// What a name became, one after the other.
template <typename Name>
struct Path {
  std::vector<Name> names;
  std::vector<const TableChange*> by;  // by[i] ended names[i]; of the last only if it was dropped

  bool dropped() const { return by.size() == names.size(); }
};

// What was said at a version that the change's origin went by was done before: the names in the
// change are those from after it.
bool SaidLater(const TableChange& change, const MadeAt& at, AnswerHolds* holds) {
  if (at.settings_version >= change.version) {
    holds->from_version = std::max(holds->from_version, change.version);
    return false;
  }
  holds->before_version = std::min(holds->before_version, change.version);
  return true;
}

// The name on the path under which it is to be found here. The first that exists is it, unless it
// may be something else that took the name since.
template <typename Name>
absl::StatusOr<size_t> Choose(const Path<Name>& path, const MadeAt& at,
                              const std::function<absl::StatusOr<bool>(const Name&)>& exists,
                              const std::function<absl::StatusOr<int64_t>(const Name&)>& made_us,
                              const std::function<std::string(const Name&)>& display,
                              AnswerHolds* holds) {
  const size_t nowhere = path.names.size();
  std::vector<bool> found;
  for (const Name& name : path.names) {
    ASSIGN_OR_RETURN(const bool here, exists(name));
    found.push_back(here);
  }
  for (size_t i = 0; i < path.names.size(); ++i) {
    // A name that it got back is looked at in its last place.
    if (!found[i] || std::find(path.names.begin() + i + 1, path.names.end(), path.names[i]) !=
                         path.names.end()) {
      continue;
    }
    if (i >= path.by.size()) return i;
    const auto later = std::find(found.begin() + i + 1, found.end(), true);
    if (later == found.end() && !path.dropped()) return i;
    ASSIGN_OR_RETURN(const int64_t since_us, made_us(path.names[i]));
    if (since_us > at.stamp_us) {
      holds->before_us = std::min(holds->before_us, since_us);
      continue;  // it was not there yet: the name was used again
    }
    holds->from_us = std::max(holds->from_us, since_us);
    if (later == found.end()) return i;  // not dropped here yet
    const Name& other = path.names[static_cast<size_t>(later - found.begin())];
    return absl::FailedPreconditionError(absl::StrCat(
        "it cannot be told whether ", display(path.names[i]), " or ", display(other),
        " is meant: both exist here, the change is from before \"", path.by[i]->ToString(),
        "\" (version ", path.by[i]->version,
        " of the cluster's settings) was in force, and both are older than it. If the first, run "
        "\"bdrctl table forget-change ",
        path.by[i]->version,
        "\"; if the second, give the first another name here until this change is applied; then "
        "run \"bdrctl apply retry\""));
  }
  return nowhere;
}

bool Has(absl::Span<const TableName> names, const TableName& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What was done to a column may have been said under any name that its table has had.
std::vector<TableName> WithFormerNames(absl::Span<const TableName> table,
                                       absl::Span<const TableChange> changes) {
  std::vector<TableName> names(table.begin(), table.end());
  for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
    for (size_t i = 0; i < names.size(); ++i) {
      TableName former;
      if (change->kind == Kind::kTableRenamed &&
          names[i] == TableName{change->new_schema, change->new_table}) {
        former = {change->schema, change->table};
      } else if (change->kind == Kind::kSchemaRenamed && names[i].first == change->new_schema) {
        former = {change->schema, names[i].second};
      }
      if (!former.first.empty() && !Has(names, former)) names.push_back(former);
    }
  }
  return names;
}

}  // namespace

std::string TableChange::ToString() const {
  std::string text;
  for (const auto& [one, name] : kKinds) {
    if (one == kind) text = std::string(name);
  }
  switch (kind) {
    case Kind::kColumnDropped:
      return absl::StrCat(text, " ", schema, ".", table, " ", column);
    case Kind::kColumnRenamed:
      return absl::StrCat(text, " ", schema, ".", table, " ", column, " ", new_column);
    case Kind::kTableDropped:
      return absl::StrCat(text, " ", schema, ".", table);
    case Kind::kTableRenamed:
      return absl::StrCat(text, " ", schema, ".", table, " ", new_schema, ".", new_table);
    case Kind::kSchemaRenamed:
      return absl::StrCat(text, " ", schema, " ", new_schema);
  }
  return text;
}

absl::StatusOr<TableChange> ParseTableChange(absl::string_view value, uint64_t version) {
  v1::TableChange message;
  if (!message.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::DataLossError("what was said of a table is damaged");
  }
  for (const auto& [kind, name] : kKinds) {
    if (message.kind() != name) continue;
    return TableChange{.kind = kind,
                       .version = version,
                       .schema = message.schema(),
                       .table = message.table(),
                       .column = message.column(),
                       .new_schema = message.new_schema(),
                       .new_table = message.new_table(),
                       .new_column = message.new_column()};
  }
  return absl::UnimplementedError(absl::StrCat("this agent does not know what \"", message.kind(),
                                               "\" says of a table; bring it up to date"));
}

absl::StatusOr<FoundTable> FindTableName(const TableName& name, const MadeAt& at,
                                         absl::Span<const TableChange> changes,
                                         const NamesHere& here, AnswerHolds* holds) {
  Path<TableName> path{.names = {name}, .by = {}};
  for (const TableChange& change : changes) {
    if (!SaidLater(change, at, holds)) continue;
    const TableName last = path.names.back();
    if (change.kind == Kind::kSchemaRenamed && change.schema == last.first) {
      path.by.push_back(&change);
      path.names.push_back({change.new_schema, last.second});
    } else if (TableName{change.schema, change.table} != last) {
      continue;
    } else if (change.kind == Kind::kTableRenamed) {
      path.by.push_back(&change);
      path.names.push_back({change.new_schema, change.new_table});
    } else if (change.kind == Kind::kTableDropped) {
      path.by.push_back(&change);
      break;
    }
  }
  ASSIGN_OR_RETURN(const size_t chosen, Choose<TableName>(
                                            path, at, here.has_table, here.table_made_us,
                                            [](const TableName& table) {
                                              return absl::StrCat("table \"", table.first, ".",
                                                                  table.second, "\"");
                                            },
                                            holds));
  if (chosen < path.names.size()) {
    return FoundTable{
        .outcome = Outcome::kHere, .name = path.names[chosen], .names = path.names, .by = nullptr};
  }
  return FoundTable{.outcome = path.dropped() ? Outcome::kGone : Outcome::kNotHere,
                    .name = path.names.back(),
                    .names = path.names,
                    .by = path.dropped() ? path.by.back() : nullptr};
}

absl::StatusOr<FoundName> FindColumnName(const std::string& column,
                                         absl::Span<const TableName> table, const MadeAt& at,
                                         absl::Span<const TableChange> changes,
                                         const ColumnsHere& here, AnswerHolds* holds) {
  Path<std::string> path{.names = {column}, .by = {}};
  const std::vector<TableName> names = WithFormerNames(table, changes);
  for (const TableChange& change : changes) {
    if (!SaidLater(change, at, holds)) continue;
    if (change.column != path.names.back() || !Has(names, {change.schema, change.table})) continue;
    if (change.kind == Kind::kColumnRenamed) {
      path.by.push_back(&change);
      path.names.push_back(change.new_column);
    } else if (change.kind == Kind::kColumnDropped) {
      path.by.push_back(&change);
      break;
    }
  }
  const std::string of = absl::StrCat(table.back().first, ".", table.back().second);
  ASSIGN_OR_RETURN(const size_t chosen,
                   Choose<std::string>(
                       path, at, [&](const std::string& name) { return here.has_column(name); },
                       here.column_made_us,
                       [&](const std::string& name) {
                         return absl::StrCat("column \"", name, "\" of table \"", of, "\"");
                       },
                       holds));
  if (chosen < path.names.size()) {
    return FoundName{.outcome = Outcome::kHere, .name = path.names[chosen], .by = nullptr};
  }
  return FoundName{.outcome = path.dropped() ? Outcome::kGone : Outcome::kNotHere,
                   .name = path.names.back(),
                   .by = path.dropped() ? path.by.back() : nullptr};
}

}  // namespace bdr::agent
