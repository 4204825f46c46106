#include "tests/chaos/workload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace bdr::chaos {
namespace {

constexpr int64_t kMostBulkRows = 1500;
constexpr int64_t kMostFoldedRows = 60;

int64_t ToNumber(const postgres::Result& result, int row, int column) {
  int64_t number = 0;
  if (!result.is_null(row, column)) (void)absl::SimpleAtoi(result.value(row, column), &number);
  return number;
}

}  // namespace

std::string Workload::Schema() {
  return "CREATE TABLE chaos_txn (number bigint PRIMARY KEY, node text NOT NULL);\n";
}

// One session of one node.
class Workload::User {
 public:
  User(const Plan& plan, int node, Random random, Client client, Journal* journal,
       Findings* findings)
      : plan_(plan),
        node_(node),
        random_(std::move(random)),
        client_(std::move(client)),
        journal_(journal),
        findings_(findings) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop && client_.Get() != nullptr) {
      const absl::Status status = OneTransaction();
      if (!status.ok() && !IsExpected(status)) {
        findings_->Add(absl::StrCat("a user of ", client_.node(), " met ", status.ToString()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(20)));  // He thinks.
    }
  }

 private:
  absl::Status OneTransaction() {
    transaction_ = {.number = journal_->TakeTransaction(),
                    .node = node_,
                    .acknowledged = false,
                    .begun = absl::Now(),
                    .ended = absl::InfiniteFuture(),
                    .writes = {},
                    .truncated = {},
                    .added = {}};
    const bool foreign = MayBeForeign() && random_.OneIn(6) && BecomeForeign();
    absl::Status status = client_.Exec("BEGIN").status();
    if (status.ok() && foreign) status = MakeUpTime();
    if (status.ok()) status = Statements();
    const bool give_up = random_.OneIn(20);
    if (!status.ok() || give_up) {
      client_.Exec("ROLLBACK").IgnoreError();
      if (foreign) BecomeUser();
      return status;
    }
    status = client_.Exec("COMMIT").status();
    transaction_.acknowledged = status.ok();
    transaction_.ended = absl::Now();
    if (foreign) BecomeUser();
    // Not acknowledged, it may have been committed all the same: chaos_txn tells.
    journal_->Add(std::move(transaction_));
    return status;
  }

  // What such a tool leaves in tables without a key goes by times that it must not use twice.
  bool MayBeForeign() const {
    return std::none_of(plan_.tables.begin(), plan_.tables.end(),
                        [](const TableSpec& table) { return table.kind == TableKind::kLog; });
  }

  // As another tool that replicates into this node, under an origin of its own. One session at a
  // time can be that.
  bool BecomeForeign() {
    return client_
        .Exec(
            "SELECT pg_replication_origin_create('chaos') WHERE NOT EXISTS (SELECT FROM "
            "pg_replication_origin WHERE roname = 'chaos');"
            "SELECT pg_replication_origin_session_setup('chaos')")
        .ok();
  }

  // Long ago, now, or to come.
  absl::Status MakeUpTime() {
    return client_
        .Exec(absl::StrCat("SELECT pg_replication_origin_xact_setup('0/1', now() + interval '",
                           random_.Pick<int>({-100'000'000, -10, 0, 10, 100'000'000}), " s')"))
        .status();
  }

  void BecomeUser() { client_.Exec("SELECT pg_replication_origin_session_reset()").IgnoreError(); }

  absl::Status Statements() {
    RETURN_IF_ERROR(client_
                        .Exec(absl::StrCat("INSERT INTO chaos_txn VALUES (", transaction_.number,
                                           ", '", client_.node(), "')"))
                        .status());
    const int64_t operations = random_.Between(1, 5);
    for (int64_t i = 0; i < operations; ++i) {
      if (random_.OneIn(30)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(400)));  // He is slow.
      }
      if (random_.OneIn(5)) {
        RETURN_IF_ERROR(InSavepoint());
      } else {
        RETURN_IF_ERROR(OneOperation());
      }
    }
    return absl::OkStatus();
  }

  absl::Status InSavepoint() {
    const size_t before = transaction_.writes.size();
    const size_t truncated = transaction_.truncated.size();
    const size_t added = transaction_.added.size();
    RETURN_IF_ERROR(client_.Exec("SAVEPOINT s").status());
    const absl::Status status = OneOperation();
    const bool refused = IsRefused(status);
    if (!status.ok() && !refused) return status;
    if (refused || random_.OneIn(3)) {
      transaction_.writes.resize(before);
      transaction_.truncated.resize(truncated);
      transaction_.added.resize(added);
      return client_.Exec("ROLLBACK TO s").status();
    }
    return client_.Exec("RELEASE s").status();
  }

  absl::Status OneOperation() {
    table_ = static_cast<int>(random_.Below(static_cast<int64_t>(plan_.tables.size())));
    const TableSpec& table = plan_.tables[table_];
    const int64_t key = random_.Below(table.hot_keys);
    if (table.kind == TableKind::kCounter) return Add(table, key);
    if (table.kind == TableKind::kLog) return WriteLog(table);
    switch (random_.PickWeighted(plan_.profile.operations)) {
      case Operation::kUpsert:
        return Upsert(table, key);
      case Operation::kUpdate:
        return Update(table, key);
      case Operation::kInsert:
        return Insert(table, key);
      case Operation::kDelete:
        return Delete(table, table.KeyCondition(key));
      case Operation::kKeyChange:
        return ChangeKey(table, key);
      case Operation::kExchange:
        return Exchange(table, key);
      case Operation::kTruncate:
        return Truncate(table);
      case Operation::kRefill:
        RETURN_IF_ERROR(Truncate(table));
        RETURN_IF_ERROR(Upsert(table, key));
        return Upsert(table, random_.Below(table.hot_keys));
      case Operation::kBulkUpsert:
        return BulkUpsert(table);
      case Operation::kBulkDelete:
        // By what the rows hold, as no index knows it.
        return Delete(table, absl::StrCat("w % 3 = ", random_.Below(3), " AND prev IS NULL"));
    }
    return absl::OkStatus();
  }

  // What users do to a table without a key.
  absl::Status WriteLog(const TableSpec& table) {
    switch (random_.PickWeighted(plan_.profile.operations)) {
      case Operation::kTruncate:
        return Truncate(table);
      case Operation::kRefill:
        RETURN_IF_ERROR(Truncate(table));
        if (random_.OneIn(4)) {
          RETURN_IF_ERROR(Append(table, random_.Between(1, 3)));
          RETURN_IF_ERROR(Truncate(table));
        }
        return Append(table, random_.OneIn(10) ? kMostBulkRows : random_.Between(1, 3));
      case Operation::kBulkUpsert:
        return Append(table, random_.Between(100, kMostBulkRows));
      default:
        return Append(table, 1);
    }
  }

  absl::Status Append(const TableSpec& table, int64_t rows) {
    const int64_t first = journal_->TakeNumbers(rows);
    const auto [columns, values] = Values(table, absl::StrCat(first, " + i"), /*all=*/true);
    ASSIGN_OR_RETURN(const postgres::Result result,
                     client_.Exec(absl::StrCat("INSERT INTO ", table.name, " (", columns,
                                               ") SELECT ", values, " FROM generate_series(0, ",
                                               rows - 1, ") AS i RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  // "w, v0, v1, large", and values for them: all, or some.
  std::pair<std::string, std::string> Values(const TableSpec& table, const std::string& number,
                                             bool all) {
    std::vector<std::string> columns = {"w"};
    std::vector<std::string> values = {number};
    for (const ValueColumn& column : table.values) {
      // What is large is left alone most of the time: that is when it does not travel.
      if (!all && !random_.OneIn(column.type == "large" ? 6 : 2)) continue;
      columns.push_back(column.name);
      values.push_back(column.RandomValue(random_));
    }
    return {absl::StrJoin(columns, ", "), absl::StrJoin(values, ", ")};
  }

  std::string Excluded(const std::string& columns) {
    return absl::StrCat("(prev, ", columns, ") = ROW(t.w, excluded.",
                        absl::StrJoin(absl::StrSplit(columns, ", "), ", excluded."), ")");
  }

  absl::Status Upsert(const TableSpec& table, int64_t key) {
    const int64_t number = journal_->TakeNumbers(1);
    const auto [columns, values] = Values(table, absl::StrCat(number), /*all=*/true);
    ASSIGN_OR_RETURN(
        const postgres::Result result,
        client_.Exec(absl::StrCat("INSERT INTO ", table.name, " AS t (", table.KeyColumns(), ", ",
                                  columns, ") VALUES (", table.KeyExpression(absl::StrCat(key)),
                                  ", ", values, ") ON CONFLICT (", table.KeyColumns(),
                                  ") DO UPDATE SET ", Excluded(columns), " RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  absl::Status Update(const TableSpec& table, int64_t key) {
    const int64_t number = journal_->TakeNumbers(1);
    const auto [columns, values] = Values(table, absl::StrCat(number), /*all=*/false);
    ASSIGN_OR_RETURN(const postgres::Result result,
                     client_.Exec(absl::StrCat("UPDATE ", table.name, " SET (prev, ", columns,
                                               ") = ROW(w, ", values, ") WHERE ",
                                               table.KeyCondition(key), " RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  absl::Status Add(const TableSpec& table, int64_t key) {
    const bool all = random_.OneIn(10);
    const int64_t amount = random_.Between(-100, 200);
    const auto [columns, values] = Values(table, "w + 1", /*all=*/false);
    ASSIGN_OR_RETURN(
        const postgres::Result result,
        client_.Exec(absl::StrCat("UPDATE ", table.name, " SET (n, prev, ", columns, ") = ROW(n + ",
                                  amount, ", w, ", values, ") WHERE ",
                                  all ? "true" : table.KeyCondition(key), " RETURNING w")));
    if (result.rows() != (all ? table.hot_keys : 1)) {
      return absl::InternalError(absl::StrCat(result.rows(), " counters in ", table.name));
    }
    for (int64_t other = 0; other < table.hot_keys; ++other) {
      if (!all && other != key) continue;
      transaction_.added.push_back({.table = table_, .key = other, .amount = amount});
    }
    return absl::OkStatus();
  }

  absl::Status Insert(const TableSpec& table, int64_t key) {
    const int64_t number = journal_->TakeNumbers(1);
    const auto [columns, values] = Values(table, absl::StrCat(number), /*all=*/true);
    ASSIGN_OR_RETURN(
        const postgres::Result result,
        client_.Exec(absl::StrCat(
            "INSERT INTO ", table.name, " (", table.KeyColumns(), ", ", columns, ") VALUES (",
            table.KeyExpression(absl::StrCat(key)), ", ", values, ") ON CONFLICT ",
            // PostgreSQL asks no deferrable constraint here.
            table.exchanged.empty() ? "" : absl::StrCat("(", table.KeyColumns(), ") "),
            "DO NOTHING RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  absl::Status Delete(const TableSpec& table, const std::string& condition) {
    ASSIGN_OR_RETURN(const postgres::Result result,
                     client_.Exec(absl::StrCat("DELETE FROM ", table.name, " WHERE ", condition,
                                               " RETURNING w")));
    const int64_t first = journal_->TakeNumbers(result.rows());
    for (int i = 0; i < result.rows(); ++i) {
      transaction_.writes.push_back(
          {.table = table_, .number = first + i, .saw = ToNumber(result, i, 0), .deletes = true});
    }
    return absl::OkStatus();
  }

  absl::Status ChangeKey(const TableSpec& table, int64_t key) {
    // The conflict log names orphans by their keys.
    if (table.kind == TableKind::kChild) return Update(table, key);
    const int64_t number = journal_->TakeNumbers(1);
    const int64_t to = random_.Below(table.hot_keys);
    const auto [columns, values] = Values(table, absl::StrCat(number), /*all=*/false);
    ASSIGN_OR_RETURN(const postgres::Result result,
                     client_.Exec(absl::StrCat(
                         "UPDATE ", table.name, " SET (", table.KeyColumns(), ", prev, ", columns,
                         ") = ROW(", table.KeyExpression(absl::StrCat(to)), ", w, ", values,
                         ") WHERE ", table.KeyCondition(key), " RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  // Two rows take each other's unique value, which both hold for a moment.
  absl::Status Exchange(const TableSpec& table, int64_t key) {
    const int64_t other = random_.Below(table.hot_keys);
    if (table.exchanged.empty() || other == key) return Update(table, key);
    RETURN_IF_ERROR(client_.Exec("SET CONSTRAINTS ALL DEFERRED").status());
    std::vector<std::string> held;
    for (const int64_t row : {key, other}) {
      ASSIGN_OR_RETURN(const postgres::Result result,
                       client_.Exec(absl::StrCat("SELECT quote_nullable(", table.exchanged,
                                                 ") FROM ", table.name, " WHERE ",
                                                 table.KeyCondition(row), " FOR UPDATE")));
      if (result.rows() == 0) return absl::OkStatus();
      held.emplace_back(result.value(0, 0));
    }
    for (const int64_t row : {key, other}) {
      ASSIGN_OR_RETURN(const postgres::Result result,
                       client_.Exec(absl::StrCat(
                           "UPDATE ", table.name, " SET prev = w, w = ", journal_->TakeNumbers(1),
                           ", ", table.exchanged, " = ", held[row == key ? 1 : 0], " WHERE ",
                           table.KeyCondition(row), " RETURNING w, prev")));
      Wrote(result);
    }
    return absl::OkStatus();
  }

  absl::Status Truncate(const TableSpec& table) {
    const bool parent = table.kind == TableKind::kParent;
    RETURN_IF_ERROR(
        client_.Exec(absl::StrCat("TRUNCATE ", table.name, parent ? " CASCADE" : "")).status());
    transaction_.truncated.push_back(table_);
    if (parent) transaction_.truncated.push_back(table_ + 1);
    return absl::OkStatus();
  }

  absl::Status BulkUpsert(const TableSpec& table) {
    // Rows of one statement get equal values, which a unique index refuses.
    if (table.kind == TableKind::kUnique) return Upsert(table, kBulkKeys);
    // Each row of a folded table may take a call of a function for each of its changes.
    const bool folded = table.kind == TableKind::kFolded;
    const int64_t rows =
        folded ? random_.Between(10, kMostFoldedRows) : random_.Between(100, kMostBulkRows);
    const int64_t first = journal_->TakeNumbers(rows);
    const auto [columns, values] = Values(table, absl::StrCat(first, " + i"), /*all=*/true);
    ASSIGN_OR_RETURN(
        const postgres::Result result,
        client_.Exec(absl::StrCat(
            "INSERT INTO ", table.name, " AS t (", table.KeyColumns(), ", ", columns, ") SELECT ",
            table.KeyExpression(absl::StrCat(kBulkKeys, " + i")), ", ", values,
            " FROM generate_series(0, ", rows - 1, ") AS i ON CONFLICT (", table.KeyColumns(),
            ") DO UPDATE SET ", Excluded(columns), " RETURNING w, prev")));
    Wrote(result);
    return absl::OkStatus();
  }

  // Rows of (w, prev).
  void Wrote(const postgres::Result& result) {
    for (int i = 0; i < result.rows(); ++i) {
      transaction_.writes.push_back({.table = table_,
                                     .number = ToNumber(result, i, 0),
                                     .saw = ToNumber(result, i, 1),
                                     .deletes = false});
    }
  }

  const Plan& plan_;
  const int node_;
  Random random_;
  Client client_;
  Journal* const journal_;
  Findings* const findings_;
  int table_ = 0;
  JournaledTransaction transaction_;
};

Workload::Workload(const Plan& plan, const harness::Cluster* cluster, Journal* journal,
                   Findings* findings)
    : plan_(plan) {
  const std::vector<std::string> names = cluster->names();
  for (int node = 0; node < plan.nodes; ++node) {
    for (int i = 0; i < plan.workers; ++i) {
      const uint64_t stream = 1000 + static_cast<uint64_t>(node) * 100 + static_cast<uint64_t>(i);
      threads_.emplace_back([this, cluster, journal, findings, node, stream,
                             name = names[static_cast<size_t>(node)]] {
        User(plan_, node, Random(plan_.options.seed, stream), Client(cluster, name, &stop_),
             journal, findings)
            .Run(stop_);
      });
    }
  }
}

Workload::~Workload() { Stop(); }

void Workload::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace bdr::chaos
