#include "ctl/verify_scan.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace bdr::ctl {
namespace {

// Under load a row that is on its way makes its whole bucket differ, so buckets are small.
constexpr uint32_t kBuckets = 8192;
// Ranges of so many rows are not halved any more: their rows are named.
constexpr uint64_t kListRows = 500;
// Of one table. More would say no more to a person, and a repair would be a copy.
constexpr size_t kMostCandidates = 100000;
constexpr size_t kKeysPerCall = 1000;
// Rows move while they are looked at, so halving might not end by itself.
constexpr int kMostHalvings = 40;
// A busy server may take long; whoever waits can end the program.
constexpr absl::Duration kRangeTimeout = absl::Minutes(10);
constexpr absl::Duration kPassTimeout = absl::Hours(24);

template <typename Request>
Request RequestFor(const TableScan& table) {
  Request request;
  request.set_schema(table.name.schema);
  request.set_name(table.name.name);
  return request;
}

v1::Key ToProto(const RowKey& key) {
  v1::Key out;
  for (const std::string& column : key) out.add_column(column);
  return out;
}

RowKey FromProto(const v1::Key& key) { return {key.column().begin(), key.column().end()}; }

class TableScanner {
 public:
  TableScanner(const std::vector<VerifyNode>& nodes, const Pace& pace, uint64_t chunk_rows,
               TableScan* table)
      : nodes_(nodes), pace_(pace), chunk_rows_(chunk_rows), table_(table) {
    table_->rows.assign(nodes.size(), 0);
  }

  absl::Status ScanByRange() {
    std::optional<v1::Key> after;
    while (true) {
      const absl::Time begun = absl::Now();
      v1::KeyRange range;
      if (after.has_value()) *range.mutable_after() = *after;
      ASSIGN_OR_RETURN(const std::optional<v1::Key> last,
                       FindKey(table_->largest_node, range, chunk_rows_));
      if (last.has_value()) *range.mutable_through() = *last;
      ASSIGN_OR_RETURN(const std::vector<ContentHash> hashes, Hash(range));
      uint64_t most = 0;
      for (size_t i = 0; i < hashes.size(); ++i) {
        table_->rows[i] += hashes[i].rows;
        most = std::max(most, hashes[i].rows);
      }
      if (!AllEqual(hashes)) {
        ++table_->differing_chunks;
        RETURN_IF_ERROR(Narrow(range, hashes, 0));
      }
      if (!last.has_value()) return absl::OkStatus();
      after = last;
      absl::SleepFor(Rest(pace_, most, absl::Now() - begun));
    }
  }

  absl::Status ScanByHash() {
    auto request = RequestFor<v1::HashTableRequest>(*table_);
    request.set_buckets(kBuckets);
    SetPace(request.mutable_pace());
    ASSIGN_OR_RETURN(const std::vector<Buckets> all,
                     AskAll<Buckets>(nodes_, [&](const Agent& agent) -> absl::StatusOr<Buckets> {
                       ASSIGN_OR_RETURN(
                           const auto response,
                           agent.Call(&v1::AgentAdmin::Stub::HashTable, request, kPassTimeout));
                       if (response.bucket_hash_size() != static_cast<int>(kBuckets) ||
                           response.bucket_rows_size() != static_cast<int>(kBuckets)) {
                         return absl::InternalError(absl::StrCat(agent.name(), ": answered ",
                                                                 response.bucket_hash_size(),
                                                                 " buckets instead of ", kBuckets));
                       }
                       Buckets buckets;
                       for (int i = 0; i < static_cast<int>(kBuckets); ++i) {
                         buckets.push_back({response.bucket_hash(i), response.bucket_rows(i)});
                       }
                       return buckets;
                     }));
    for (size_t i = 0; i < all.size(); ++i) {
      for (const ContentHash& bucket : all[i]) table_->rows[i] += bucket.rows;
    }
    table_->buckets = DifferingBuckets(all);
    table_->differing_chunks = table_->buckets.size();
    // As many buckets as hold no more rows than are looked at.
    uint64_t rows = 0;
    for (size_t i = 0; i < table_->buckets.size(); ++i) {
      uint64_t most = 0;
      for (const Buckets& node : all) most = std::max(most, node[table_->buckets[i]].rows);
      rows += most;
      if (i > 0 && rows > kMostCandidates) {
        table_->too_many = true;
        table_->buckets.resize(i);
      }
    }
    if (table_->buckets.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::vector<NodeRows> named, RowsOfBuckets());
    Keep(Differing(named));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<NodeRows>> RowsOfBuckets() {
    auto request = RequestFor<v1::HashRowsRequest>(*table_);
    request.set_buckets(kBuckets);
    request.set_bucket(table_->buckets[0]);
    for (size_t i = 1; i < table_->buckets.size(); ++i) request.add_more(table_->buckets[i]);
    SetPace(request.mutable_pace());
    return AskAll<NodeRows>(nodes_, [&](const Agent& agent) -> absl::StatusOr<NodeRows> {
      ASSIGN_OR_RETURN(const auto response,
                       agent.Call(&v1::AgentAdmin::Stub::HashRows, request, kPassTimeout));
      NodeRows rows;
      for (const auto& row : response.rows()) {
        AddRow(rows, row.has_columns() ? FromProto(row.columns()) : RowKey{row.key()}, row.hash(),
               "");
      }
      return rows;
    });
  }

 private:
  void SetPace(v1::Pace* pace) const {
    pace->set_rows_per_second(pace_.rows_per_second);
    pace->set_load_percent(pace_.load_percent);
  }

  void Keep(RowDifferences rows) {
    for (auto& [key, states] : rows) {
      if (table_->candidates.size() >= kMostCandidates) {
        table_->too_many = true;
        return;
      }
      table_->candidates[key] = std::move(states);
    }
  }

  absl::StatusOr<std::optional<v1::Key>> FindKey(size_t node, const v1::KeyRange& range,
                                                 uint64_t rows) {
    auto request = RequestFor<v1::FindKeyRequest>(*table_);
    *request.mutable_range() = range;
    request.set_rows(rows);
    ASSIGN_OR_RETURN(const auto response, nodes_[node].agent.Call(&v1::AgentAdmin::Stub::FindKey,
                                                                  request, kRangeTimeout));
    return response.has_key() ? std::optional(response.key()) : std::nullopt;
  }

  absl::StatusOr<std::vector<ContentHash>> Hash(const v1::KeyRange& range) {
    auto request = RequestFor<v1::HashRangeRequest>(*table_);
    *request.mutable_range() = range;
    return AskAll<ContentHash>(nodes_, [&](const Agent& agent) -> absl::StatusOr<ContentHash> {
      ASSIGN_OR_RETURN(const auto response,
                       agent.Call(&v1::AgentAdmin::Stub::HashRange, request, kRangeTimeout));
      return ContentHash{.hash = response.hash(), .rows = response.rows()};
    });
  }

  // Halves the range until it has few rows.
  absl::Status Narrow(const v1::KeyRange& range, const std::vector<ContentHash>& hashes,
                      int halvings) {
    if (table_->candidates.size() >= kMostCandidates) {
      table_->too_many = true;
      return absl::OkStatus();
    }
    const auto most = std::max_element(
        hashes.begin(), hashes.end(),
        [](const ContentHash& a, const ContentHash& b) { return a.rows < b.rows; });
    if (most->rows > kListRows && halvings < kMostHalvings) {
      ASSIGN_OR_RETURN(const std::optional<v1::Key> middle,
                       FindKey(static_cast<size_t>(most - hashes.begin()), range, most->rows / 2));
      if (middle.has_value()) {
        v1::KeyRange first = range;
        *first.mutable_through() = *middle;
        v1::KeyRange second = range;
        *second.mutable_after() = *middle;
        for (const v1::KeyRange& half : {first, second}) {
          ASSIGN_OR_RETURN(const std::vector<ContentHash> of_half, Hash(half));
          if (!AllEqual(of_half)) RETURN_IF_ERROR(Narrow(half, of_half, halvings + 1));
        }
        return absl::OkStatus();
      }
    }
    auto request = RequestFor<v1::ReadRowsRequest>(*table_);
    *request.mutable_range() = range;
    ASSIGN_OR_RETURN(const std::vector<NodeRows> rows,
                     AskAll<NodeRows>(nodes_, [&](const Agent& agent) -> absl::StatusOr<NodeRows> {
                       ASSIGN_OR_RETURN(
                           const auto response,
                           agent.Call(&v1::AgentAdmin::Stub::ReadRows, request, kRangeTimeout));
                       NodeRows found;
                       for (const auto& row : response.rows()) {
                         AddRow(found, FromProto(row.key()), row.hash(), row.version());
                       }
                       return found;
                     }));
    Keep(Differing(rows));
    return absl::OkStatus();
  }

  const std::vector<VerifyNode>& nodes_;
  const Pace pace_;
  const uint64_t chunk_rows_;
  TableScan* const table_;
};

}  // namespace

absl::StatusOr<std::vector<TableScan>> ListTables(const std::vector<VerifyNode>& nodes,
                                                  const ScanOptions& options) {
  using Tables = std::map<TableName, v1::ListTablesResponse::Table>;
  ASSIGN_OR_RETURN(const std::vector<Tables> lists,
                   AskAll<Tables>(nodes, [](const Agent& agent) -> absl::StatusOr<Tables> {
                     ASSIGN_OR_RETURN(const auto response,
                                      agent.Call(&v1::AgentAdmin::Stub::ListTables,
                                                 v1::ListTablesRequest(), absl::Minutes(1)));
                     Tables tables;
                     for (const auto& table : response.tables()) {
                       tables[{table.schema(), table.name()}] = table;
                     }
                     return tables;
                   }));
  std::set<TableName> names;
  for (const Tables& list : lists) {
    for (const auto& [name, table] : list) {
      if (options.table.empty() || name.Display() == options.table || name.name == options.table) {
        names.insert(name);
      }
    }
  }
  if (names.empty() && !options.table.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no node has a replicated table \"", options.table,
                     "\": give it as schema.name, and see \"bdrctl node check\""));
  }
  std::vector<TableScan> scans;
  for (const TableName& name : names) {
    TableScan scan;
    scan.name = name;
    const v1::ListTablesResponse::Table* first = nullptr;
    int64_t most = -1;
    scan.by_range = true;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const auto found = lists[i].find(name);
      if (found == lists[i].end()) {
        scan.missing_on.push_back(nodes[i].name);
        continue;
      }
      const v1::ListTablesResponse::Table& table = found->second;
      if (first == nullptr) {
        first = &table;
        scan.columns = {table.columns().begin(), table.columns().end()};
        scan.key_columns = {table.key_columns().begin(), table.key_columns().end()};
        scan.has_key = table.has_key();
      } else if (!std::equal(table.columns().begin(), table.columns().end(),
                             first->columns().begin(), first->columns().end()) ||
                 !std::equal(table.key_columns().begin(), table.key_columns().end(),
                             first->key_columns().begin(), first->key_columns().end())) {
        scan.shaped_otherwise_on.push_back(nodes[i].name);
      }
      scan.by_range =
          scan.by_range && !table.key_order().empty() && table.key_order() == first->key_order();
      if (table.estimated_rows() > most) {
        most = table.estimated_rows();
        scan.largest_node = i;
      }
    }
    scans.push_back(std::move(scan));
  }
  return scans;
}

absl::Status ScanTables(const std::vector<VerifyNode>& nodes, const ScanOptions& options,
                        std::vector<TableScan>* tables) {
  const int jobs = std::clamp(options.jobs, 1, std::max(1, static_cast<int>(tables->size())));
  Pace pace = options.pace;
  if (pace.rows_per_second > 0) {
    pace.rows_per_second = std::max<uint64_t>(1, pace.rows_per_second / jobs);
  }
  if (pace.load_percent > 0) pace.load_percent = std::max<uint32_t>(1, pace.load_percent / jobs);
  uint64_t chunk_rows = options.chunk_rows;
  if (pace.rows_per_second > 0) {
    chunk_rows = std::clamp<uint64_t>(pace.rows_per_second, 100, chunk_rows);
  }
  std::atomic<size_t> next = 0;
  std::vector<absl::Status> results(tables->size());
  std::vector<std::thread> threads;
  for (int job = 0; job < jobs; ++job) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < tables->size(); i = next++) {
        TableScan& table = (*tables)[i];
        if (!table.comparable()) continue;
        TableScanner scanner(nodes, pace, chunk_rows, &table);
        results[i] = table.by_range ? scanner.ScanByRange() : scanner.ScanByHash();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::StatusOr<RowDifferences> ReadAgain(const std::vector<VerifyNode>& nodes,
                                         const TableScan& table, const RowDifferences& rows) {
  RowDifferences seen;
  if (!table.has_key) {
    TableScan again = table;
    ASSIGN_OR_RETURN(std::vector<NodeRows> now, TableScanner(nodes, {}, 1, &again).RowsOfBuckets());
    for (RowDifferences::value_type& difference : Differing(now)) {
      if (rows.contains(difference.first)) seen.insert(std::move(difference));
    }
    return seen;
  }
  for (auto from = rows.begin(); from != rows.end();) {
    auto request = RequestFor<v1::ReadRowsRequest>(table);
    std::vector<const RowKey*> keys;
    for (; from != rows.end() && keys.size() < kKeysPerCall; ++from) {
      keys.push_back(&from->first);
      *request.add_keys() = ToProto(from->first);
    }
    ASSIGN_OR_RETURN(
        const std::vector<NodeRows> now,
        AskAll<NodeRows>(nodes, [&](const Agent& agent) -> absl::StatusOr<NodeRows> {
          ASSIGN_OR_RETURN(const auto response,
                           agent.Call(&v1::AgentAdmin::Stub::ReadRows, request, kRangeTimeout));
          NodeRows found;
          for (const auto& row : response.rows()) {
            if (row.place() >= keys.size()) {
              return absl::InternalError(
                  absl::StrCat(agent.name(), ": answered for a row that was not asked for"));
            }
            AddRow(found, *keys[row.place()], row.hash(), row.version());
          }
          return found;
        }));
    seen.merge(Differing(now));
  }
  return seen;
}

}  // namespace bdr::ctl
