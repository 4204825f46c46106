#include "ctl/verify_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

constexpr size_t kValuesPerCall = 500;
// Rows that still change are named, but not all of them.
constexpr size_t kMovingNamed = 10;

enum class Verdict { kEqual, kChanging, kDifferent, kShape, kMissing };

Verdict VerdictOf(const TableScan& table) {
  if (!table.missing_on.empty()) return Verdict::kMissing;
  if (!table.shaped_otherwise_on.empty()) return Verdict::kShape;
  if (!table.settling.different().empty()) return Verdict::kDifferent;
  return table.settling.moving().empty() && !table.too_many ? Verdict::kEqual : Verdict::kChanging;
}

const char* Word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kEqual:
      return "equal";
    case Verdict::kChanging:
      return "changing";
    case Verdict::kDifferent:
      return "different";
    case Verdict::kShape:
      return "other columns or key";
    case Verdict::kMissing:
      return "missing";
  }
  return "";
}

int ExitCodeOf(Verdict verdict) {
  if (verdict == Verdict::kEqual) return kGood;
  return verdict == Verdict::kChanging ? kWarning : kCritical;
}

std::string StateText(const std::optional<RowState>& state) {
  if (!state.has_value()) return "missing";
  std::string text = absl::StrFormat("%016x", state->content.hash);
  if (state->content.rows > 1) absl::StrAppend(&text, " x", state->content.rows);
  return text;
}

std::string ResultText(const TableScan& table) {
  const Verdict verdict = VerdictOf(table);
  switch (verdict) {
    case Verdict::kMissing:
      return absl::StrCat("missing on ", absl::StrJoin(table.missing_on, ", "));
    case Verdict::kShape:
      return absl::StrCat("other columns or key on ",
                          absl::StrJoin(table.shaped_otherwise_on, ", "));
    case Verdict::kDifferent:
      return absl::StrCat("different in ", table.too_many ? "more than " : "",
                          table.settling.different().size(),
                          table.settling.different().size() == 1 ? " row" : " rows");
    default:
      return Word(verdict);
  }
}

Json RowJson(const std::vector<VerifyNode>& nodes, const DifferentRow& row) {
  Json hashes = Json::object();
  Json values = Json::object();
  for (size_t i = 0; i < nodes.size(); ++i) {
    hashes[nodes[i].name] = StateText(row.states[i]);
    if (row.values.empty()) continue;
    if (!row.states[i].has_value()) {
      values[nodes[i].name] = nullptr;
      continue;
    }
    Json of_node = Json::object();
    for (size_t c = 0; c < row.columns.size() && c < row.values[i].size(); ++c) {
      of_node[row.columns[c]] = row.values[i][c];
    }
    values[nodes[i].name] = std::move(of_node);
  }
  Json json = {{"key", KeyText(row.table->key_columns, row.key)},
               {"hash", std::move(hashes)},
               {"columns", row.columns}};
  if (!row.values.empty()) json["values"] = std::move(values);
  return json;
}

std::string RowsText(const std::vector<VerifyNode>& nodes, const TableScan& table,
                     const std::vector<DifferentRow>& all) {
  std::vector<Table::Column> columns = {{"KEY"}};
  for (const VerifyNode& node : nodes) columns.push_back({node.name});
  columns.push_back({"COLUMNS THAT DIFFER"});
  Table rows(columns);
  std::string values;
  size_t named = 0;
  for (const DifferentRow& row : all) {
    if (row.table != &table) continue;
    ++named;
    std::vector<std::string> cells = {KeyText(table.key_columns, row.key)};
    for (const auto& state : row.states) cells.push_back(StateText(state));
    cells.push_back(absl::StrJoin(row.columns, ", "));
    if (!row.values.empty()) {
      absl::StrAppend(&values, cells[0], "\n");
      for (size_t i = 0; i < nodes.size(); ++i) {
        absl::StrAppend(&values, "  ", nodes[i].name, ": ");
        if (!row.states[i].has_value()) absl::StrAppend(&values, "no such row");
        for (size_t c = 0; c < row.columns.size() && c < row.values[i].size(); ++c) {
          absl::StrAppend(&values, c == 0 ? "" : ", ", row.columns[c], "=", row.values[i][c]);
        }
        absl::StrAppend(&values, "\n");
      }
    }
    rows.AddRow(std::move(cells));
  }
  std::string text = absl::StrCat("\n", table.name.Display(), " is ", ResultText(table),
                                  "; hash of the row on each node:\n", rows.Render());
  const size_t different = table.settling.different().size();
  if (named < different) {
    absl::StrAppend(&text, "and ", different - named, " more rows: see --rows\n");
  }
  return absl::StrCat(text, values);
}

std::string MovingText(const TableScan& table) {
  std::string text = absl::StrCat("\n", table.name.Display(), ": ", table.settling.moving().size(),
                                  " rows still change:\n");
  size_t named = 0;
  for (const auto& [key, states] : table.settling.moving()) {
    if (named++ == kMovingNamed) {
      absl::StrAppend(&text, "  ...\n");
      break;
    }
    absl::StrAppend(&text, "  ", KeyText(table.key_columns, key), "\n");
  }
  return text;
}

Json TableJson(const std::vector<VerifyNode>& nodes, const TableScan& table,
               const std::vector<DifferentRow>& all) {
  Json rows = Json::object();
  for (size_t i = 0; i < table.rows.size(); ++i) rows[nodes[i].name] = table.rows[i];
  Json different = Json::array();
  for (const DifferentRow& row : all) {
    if (row.table == &table) different.push_back(RowJson(nodes, row));
  }
  Json moving = Json::array();
  for (const auto& [key, states] : table.settling.moving()) {
    if (moving.size() == kMovingNamed) break;
    moving.push_back(KeyText(table.key_columns, key));
  }
  return {{"table", table.name.Display()},
          {"result", Word(VerdictOf(table))},
          {"compared_by", table.by_range ? "key ranges" : "buckets"},
          {"rows", std::move(rows)},
          {"missing_on", table.missing_on},
          {"shaped_otherwise_on", table.shaped_otherwise_on},
          {"differing_rows", table.settling.different().size()},
          {"changing_rows", table.settling.moving().size()},
          {"more_rows_differ", table.too_many},
          {"keys", std::move(different)},
          {"changing_keys", std::move(moving)}};
}

}  // namespace

absl::StatusOr<std::vector<DifferentRow>> DescribeRows(const std::vector<VerifyNode>& nodes,
                                                       const std::vector<TableScan>& tables,
                                                       size_t most, bool with_values) {
  std::vector<DifferentRow> described;
  for (const TableScan& table : tables) {
    std::vector<DifferentRow> rows;
    for (const auto& [key, states] : table.settling.different()) {
      if (rows.size() == most) break;
      rows.push_back({.table = &table, .key = key, .states = states, .columns = {}, .values = {}});
    }
    for (size_t from = 0; table.has_key && from < rows.size(); from += kValuesPerCall) {
      const size_t count = std::min(kValuesPerCall, rows.size() - from);
      v1::ReadRowsRequest request;
      request.set_schema(table.name.schema);
      request.set_name(table.name.name);
      request.set_columns(true);
      request.set_values(with_values);
      for (size_t i = from; i < from + count; ++i) {
        v1::Key* key = request.add_keys();
        for (const std::string& column : rows[i].key) key->add_column(column);
      }
      ASSIGN_OR_RETURN(const std::vector<v1::ReadRowsResponse> answers,
                       AskAll<v1::ReadRowsResponse>(nodes, [&](const Agent& agent) {
                         return agent.Call(&v1::AgentAdmin::Stub::ReadRows, request,
                                           absl::Minutes(1));
                       }));
      std::vector<std::vector<const v1::ReadRowsResponse::Row*>> found(
          count, std::vector<const v1::ReadRowsResponse::Row*>(nodes.size(), nullptr));
      for (size_t node = 0; node < nodes.size(); ++node) {
        for (const auto& row : answers[node].rows()) {
          if (row.place() < count) found[row.place()][node] = &row;
        }
      }
      for (size_t i = 0; i < count; ++i) {
        DifferentRow& row = rows[from + i];
        std::vector<std::vector<uint64_t>> hashes(nodes.size());
        for (size_t node = 0; node < nodes.size(); ++node) {
          if (found[i][node] == nullptr) continue;
          hashes[node].assign(found[i][node]->column_hash().begin(),
                              found[i][node]->column_hash().end());
        }
        row.columns = DifferingColumns(table.columns, hashes);
        if (!with_values) continue;
        // Of a row that only some nodes have there is no column to single out.
        const bool all = row.columns.empty();
        if (all) row.columns = table.columns;
        for (size_t node = 0; node < nodes.size(); ++node) {
          std::vector<std::string>& values = row.values.emplace_back();
          for (size_t c = 0; found[i][node] != nullptr && c < table.columns.size(); ++c) {
            const bool wanted = std::find(row.columns.begin(), row.columns.end(),
                                          table.columns[c]) != row.columns.end();
            if (!wanted || static_cast<int>(c) >= found[i][node]->column_text_size()) continue;
            const bool null = hashes[node][c] == 0;
            values.push_back(null ? "NULL" : found[i][node]->column_text(static_cast<int>(c)));
          }
        }
      }
    }
    std::move(rows.begin(), rows.end(), std::back_inserter(described));
  }
  return described;
}

VerifyReport RenderVerify(const std::vector<VerifyNode>& nodes,
                          const std::vector<TableScan>& tables,
                          const std::vector<DifferentRow>& rows,
                          const std::vector<std::string>& missing) {
  std::vector<Table::Column> columns = {{"TABLE"}, {"RESULT"}};
  Json names = Json::array();
  for (const VerifyNode& node : nodes) {
    columns.push_back({absl::StrCat(node.name, " rows"), Table::Align::kRight});
    names.push_back(node.name);
  }
  Table summary(columns);
  Json list = Json::array();
  std::string details;
  int worst = kGood;
  for (const TableScan& table : tables) {
    worst = std::max(worst, ExitCodeOf(VerdictOf(table)));
    std::vector<std::string> cells = {table.name.Display(), ResultText(table)};
    for (const uint64_t count : table.rows) cells.push_back(absl::StrCat(count));
    summary.AddRow(std::move(cells));
    list.push_back(TableJson(nodes, table, rows));
    if (!table.settling.different().empty()) {
      absl::StrAppend(&details, RowsText(nodes, table, rows));
    }
    if (!table.settling.moving().empty()) absl::StrAppend(&details, MovingText(table));
  }
  std::string conclusion;
  if (worst == kGood) {
    conclusion =
        absl::StrCat("all ", tables.size(), " tables are equal on ", nodes.size(), " nodes");
  } else if (worst == kCritical) {
    conclusion = "nodes differ; \"bdrctl verify --repair FROM\" makes them what FROM has";
  } else if (missing.empty()) {
    conclusion = "rows were written too often to be compared: repeat with a longer --timeout";
  } else {
    conclusion =
        "rows differ, but changes are still under way, so it is not known whether they "
        "will in the end";
  }
  for (const std::string& what : missing) absl::StrAppend(&conclusion, "\n  ", what);
  VerifyReport report{.exit_code = worst, .output = {}};
  report.output.text =
      absl::StrCat(summary.empty() ? "" : summary.Render(), details, "\n", conclusion, "\n");
  report.output.document = {{"result", worst == kGood      ? "equal"
                                       : worst == kWarning ? "changing"
                                                           : "different"},
                            {"nodes", std::move(names)},
                            {"under_way", missing},
                            {"tables", std::move(list)}};
  return report;
}

}  // namespace bdr::ctl
