#include "ctl/verify_repair.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/table.h"

namespace bdr::ctl {
namespace {

// Rows of one call: the keys of all are kept from other writers meanwhile.
constexpr size_t kRowsPerCall = 100;
constexpr size_t kItemsPrinted = 50;
constexpr absl::Duration kCallTime = absl::Minutes(2);
// Between two looks whether rows can be copied by now.
constexpr absl::Duration kPause = absl::Milliseconds(200);

absl::Status RepairBatch(const std::vector<VerifyNode>& nodes, size_t from,
                         const std::vector<RepairItem*>& batch) {
  const TableScan& table = *batch[0]->table;
  v1::ExportRowsRequest wanted;
  wanted.set_schema(table.name.schema);
  wanted.set_name(table.name.name);
  for (const RepairItem* item : batch) {
    v1::Key* key = wanted.add_keys();
    for (const std::string& column : item->key) key->add_column(column);
  }
  ASSIGN_OR_RETURN(const auto exported,
                   nodes[from].agent.Call(&v1::AgentAdmin::Stub::ExportRows, wanted, kCallTime));
  if (static_cast<size_t>(exported.rows_size()) != batch.size()) {
    return absl::InternalError(absl::StrCat(nodes[from].name, ": answered ", exported.rows_size(),
                                            " rows instead of ", batch.size()));
  }
  v1::RepairRowsRequest request;
  request.set_schema(table.name.schema);
  request.set_name(table.name.name);
  std::vector<RepairItem*> sent;
  for (size_t i = 0; i < batch.size(); ++i) {
    RepairItem& item = *batch[i];
    const v1::RowImage& image = exported.rows(static_cast<int>(i));
    item.may_wait = false;
    const bool as_planned = image.present() == item.from.has_value() &&
                            (!item.from.has_value() || (image.hash() == item.from->content.hash &&
                                                        image.version() == item.from->version));
    if (!as_planned) {
      item.outcome = absl::StrCat("not done: the row was written on ", nodes[from].name,
                                  " since it was compared");
      continue;
    }
    v1::RepairRowsRequest::Row* row = request.add_rows();
    *row->mutable_image() = image;
    row->set_present(item.present.has_value());
    if (item.present.has_value()) {
      row->set_hash(item.present->content.hash);
      row->set_version(item.present->version);
    }
    sent.push_back(&item);
  }
  if (sent.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto response, nodes[batch[0]->node].agent.Call(
                                            &v1::AgentAdmin::Stub::RepairRows, request, kCallTime));
  for (size_t i = 0; i < sent.size() && i < static_cast<size_t>(response.rows_size()); ++i) {
    const auto& row = response.rows(static_cast<int>(i));
    sent[i]->done = row.outcome() == v1::RepairRowsResponse::DONE;
    sent[i]->may_wait = row.outcome() == v1::RepairRowsResponse::HAS_HISTORY;
    sent[i]->outcome = sent[i]->done ? "done" : absl::StrCat("not done: ", row.reason());
  }
  return absl::OkStatus();
}

// What is not done yet.
absl::Status TryAll(const std::vector<VerifyNode>& nodes, size_t from,
                    std::vector<RepairItem>* plan) {
  for (size_t i = 0; i < plan->size();) {
    std::vector<RepairItem*> batch;
    const RepairItem& first = (*plan)[i];
    for (; i < plan->size() && batch.size() < kRowsPerCall && (*plan)[i].node == first.node &&
           (*plan)[i].table == first.table;
         ++i) {
      if (!(*plan)[i].done) batch.push_back(&(*plan)[i]);
    }
    if (!batch.empty()) RETURN_IF_ERROR(RepairBatch(nodes, from, batch));
  }
  return absl::OkStatus();
}

}  // namespace

const char* ToString(RepairAction action) {
  switch (action) {
    case RepairAction::kInsert:
      return "insert";
    case RepairAction::kUpdate:
      return "update";
    case RepairAction::kDelete:
      return "delete";
  }
  return "";
}

std::vector<RepairItem> PlanRepair(const std::vector<TableScan>& tables, size_t from) {
  std::vector<RepairItem> plan;
  for (const TableScan& table : tables) {
    if (!table.has_key) continue;
    for (const auto& [key, states] : table.settling.different()) {
      for (size_t node = 0; node < states.size(); ++node) {
        if (node == from || SameContent({states[node], states[from]})) continue;
        RepairAction action = RepairAction::kUpdate;
        if (!states[from].has_value()) action = RepairAction::kDelete;
        if (!states[node].has_value()) action = RepairAction::kInsert;
        plan.push_back({.node = node,
                        .table = &table,
                        .key = key,
                        .action = action,
                        .from = states[from],
                        .present = states[node],
                        .outcome = {},
                        .done = false});
      }
    }
  }
  std::stable_sort(plan.begin(), plan.end(), [](const RepairItem& a, const RepairItem& b) {
    return std::tie(a.node, a.table->name) < std::tie(b.node, b.table->name);
  });
  return plan;
}

std::string RenderPlan(const std::vector<VerifyNode>& nodes, const std::vector<RepairItem>& plan) {
  const bool tried = std::any_of(plan.begin(), plan.end(),
                                 [](const RepairItem& item) { return !item.outcome.empty(); });
  std::vector<Table::Column> columns = {{"NODE"}, {"TABLE"}, {"ACTION"}, {"KEY"}};
  if (tried) columns.push_back({"OUTCOME"});
  Table table(columns);
  size_t printed = 0;
  for (const RepairItem& item : plan) {
    if (printed++ == kItemsPrinted) break;
    std::vector<std::string> cells = {nodes[item.node].name, item.table->name.Display(),
                                      ToString(item.action),
                                      KeyText(item.table->key_columns, item.key)};
    if (tried) cells.push_back(item.outcome);
    table.AddRow(std::move(cells));
  }
  std::string text = table.Render();
  if (plan.size() > kItemsPrinted) {
    absl::StrAppend(&text, "and ", plan.size() - kItemsPrinted, " more; -o json has all\n");
  }
  return text;
}

Json PlanJson(const std::vector<VerifyNode>& nodes, const std::vector<RepairItem>& plan) {
  Json list = Json::array();
  for (const RepairItem& item : plan) {
    list.push_back({{"node", nodes[item.node].name},
                    {"table", item.table->name.Display()},
                    {"action", ToString(item.action)},
                    {"key", KeyText(item.table->key_columns, item.key)},
                    {"done", item.done},
                    {"outcome", item.outcome}});
  }
  return list;
}

absl::Status CarryOut(const std::vector<VerifyNode>& nodes, size_t from, absl::Time deadline,
                      std::vector<RepairItem>* plan) {
  // A row may need a unique value that another one frees only later: what failed is tried twice.
  RETURN_IF_ERROR(TryAll(nodes, from, plan));
  RETURN_IF_ERROR(TryAll(nodes, from, plan));
  const auto waits = [](const RepairItem& item) { return item.may_wait; };
  while (std::any_of(plan->begin(), plan->end(), waits) && absl::Now() < deadline) {
    absl::SleepFor(kPause);
    RETURN_IF_ERROR(TryAll(nodes, from, plan));
  }
  return absl::OkStatus();
}

}  // namespace bdr::ctl
