#include "node-agent/apply/drive/apply_tools.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "node-agent/apply/plan/seen.h"

namespace bdr::agent {

using postgres::Result;

void ApplyTools::Unbind() {
  tables->Unbind();
  foreign_keys->Reset();
}

absl::Status ApplyTools::RefreshSettings() {
  tables->RefreshSettings();
  if (!tables->TakeUnbound()) return absl::OkStatus();
  foreign_keys->Reset();
  // What was fetched goes by the places of columns.
  values->Clear();
  return pipe()->ForgetStatements();
}

ExecutorOptions ApplyTools::MakeExecutorOptions() const {
  const Progress& progress = *parts->positions.progress;
  const NodeId own_node = progress.own().node;
  ExecutorOptions made{.origin = origin,
                       .own_node = own_node,
                       .merges_own = own(),
                       .node_of_roident = node_of_roident,
                       .forwards_foreign_origins = options->forwards_foreign_origins,
                       .largest_raise_us = LargestRaise(),
                       .is_pending =
                           [this, own_node](const conflict::Version& version) {
                             if (version.origin.node == own_node) return false;
                             const std::optional<Lsn> applied =
                                 parts->positions.progress->CommittedLsn(version.origin);
                             return (applied.has_value() && *applied < version.end_lsn) ||
                                    parts->dead_letters->Holds(version.origin, version.end_lsn);
                           },
                       .locks = locks,
                       .counts_claim = parts->counts_claim};
  made.fold = {.database = parts->stores.database,
               .history = parts->stores.fold_history,
               .log = parts->stores.log,
               .settings = parts->settings,
               .barrier = parts->in_flight.barrier,
               .own = progress.own(),
               .origin = origin,
               .merges_own = own(),
               .node_of_roident = &node_of_roident,
               .stable_us = progress.StableTime()};
  return made;
}

int64_t ApplyTools::LargestRaise() const {
  return parts->clocks.stamps->LargestRaise(parts->positions.progress->StableTime());
}

absl::Status ApplyTools::WaitForCapture(const FoundBefore& found, ExecutorOptions* executor,
                                        FoundBefore* found_before) const {
  ASSIGN_OR_RETURN(executor->captured_xid, waits->ForCapture());
  // What capture has passed may have been raised further.
  executor->largest_raise_us = LargestRaise();
  for (const auto& [key, xmin] : found) (*found_before)[key] = xmin;
  return absl::OkStatus();
}

void ApplyTools::Committed(bool moved_progress) {
  before.clear();
  values->Clear();
  if (!moved_progress) return;
  tally->Committed();
  versions->Applied(session->committed(), parts->positions.progress->DurableLsn(origin));
}

bool ApplyTools::SawEverything(const TransactionHeader& header) const {
  const NodeId own_node = parts->positions.progress->own().node;
  if (parts->clocks.stamps->Newest() > SeenUntilTime(header, origin.node, own_node)) return false;
  for (const auto& [other, newest_us] : parts->positions.applied->NewestStamps()) {
    if (newest_us > SeenUntilTime(header, origin.node, other.node)) return false;
  }
  return true;
}

absl::Status ApplyTools::CheckForeignKeys(GroupPlan& plan, bool letter) {
  if (own() || foreign_keys->empty()) return absl::OkStatus();
  return foreign_keys->After(plan, letter || !SawEverything(plan.first()), pipe());
}

absl::Status ApplyTools::RecordDead(const GroupExecutor& executor) {
  if (executor.unseated().empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  for (const auto& [key, version] : executor.unseated()) {
    parts->stores.versions->Put(&batch, key, version);
  }
  return parts->stores.database->Write(&batch, /*sync=*/false);
}

void ApplyTools::AnnounceRefused(const std::deque<DeadLetter>& refused) {
  if (refused.empty()) return;
  int64_t oldest_us = INT64_MAX;
  for (const DeadLetter& letter : refused) oldest_us = std::min(oldest_us, letter.stamp_us);
  parts->dead_letters->Announce(origin, oldest_us);
}

void ApplyTools::NoteRefused(const std::deque<DeadLetter>& refused) {
  if (refused.empty()) return;
  parts->dead_letters->Add(origin, {refused.begin(), refused.end()});
  for (const DeadLetter& letter : refused) {
    LogError("dead_letter",
             {{"state", "put_aside"},
              {"id", letter.id},
              {"origin", ToString(letter.origin)},
              {"lsn", ToString(letter.end_lsn)},
              {"changes", 1}},
             "the function of the table's policy refused a change; see \"bdrctl dead-letter\"");
  }
}

void ApplyTools::NoteOrphans(uint64_t orphans, bool queued) {
  if (own() || orphans == 0) return;
  tally->FoundOrphans(orphans);
  if (queued) parts->foreign_keys_queued();
}

namespace {

using BoundTables = absl::flat_hash_map<std::string, std::shared_ptr<const BoundTable>>;  // by oid

absl::Status Altered(const BoundTable& table) {
  return absl::FailedPreconditionError(
      absl::StrCat("table \"", table.table().DisplayName(),
                   "\" was altered since its columns were looked up; run \"bdrctl apply retry\""));
}

absl::Status CompareShapes(BoundTables tables, const Result& result) {
  for (int row = 0; row < result.rows(); ++row) {
    const auto found = tables.extract(std::string(result.value(row, 0)));
    if (found.empty()) continue;
    const BoundTable& table = *found.mapped();
    if (result.value(row, 2) != table.table().schema ||
        result.value(row, 3) != table.table().name ||
        (!table.shape().empty() && table.shape() != result.value(row, 1))) {
      return Altered(table);
    }
  }
  return tables.empty() ? absl::OkStatus() : Altered(*tables.begin()->second);
}

}  // namespace

absl::Status QueueShapeCheck(GroupPlan& plan, Pipe* pipe) {
  BoundTables tables;
  std::vector<int32_t> oids;
  const auto ask = [&](const std::shared_ptr<const BoundTable>& table) {
    const uint32_t oid = table->table().oid;
    if (tables.emplace(absl::StrCat(oid), table).second) oids.push_back(static_cast<int32_t>(oid));
  };
  for (const Segment& segment : plan.segments()) {
    for (const TableOps& ops : segment.tables) ask(ops.table);
    if (!segment.truncate.has_value()) continue;
    for (const auto& table : segment.truncate->tables) ask(table);
  }
  if (oids.empty()) return absl::OkStatus();
  const auto sql = [] {
    return std::string(
        "SELECT c.oid::pg_catalog.text, COALESCE((SELECT pg_catalog.string_agg("
        "pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) FROM "
        "pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT "
        "a.attisdropped), ''), n.nspname, c.relname FROM pg_catalog.pg_class c JOIN "
        "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY "
        "($1::pg_catalog.int4[]::pg_catalog.oid[])");
  };
  return pipe->Run(
      "bdr shapes", sql, {kInt4ArrayOid}, {EncodeInt4Array(oids)},
      [tables = std::move(tables)](const Result& result) { return CompareShapes(tables, result); });
}

}  // namespace bdr::agent
