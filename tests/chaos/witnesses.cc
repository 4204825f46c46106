#include "tests/chaos/witnesses.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/chaos/client.h"

namespace bdr::chaos {
namespace {

constexpr int kAccounts = 10;
constexpr int kBatchRows = 400;
constexpr auto kPause = std::chrono::milliseconds(30);

struct Look {
  const char* what;
  const char* sql;  // one row with one column: NULL, or what is wrong
};
constexpr Look kLooks[] = {
    {"causal order: a hole in the chain",
     "SELECT CASE WHEN count(*) <> max(n) + 1 THEN format('%s numbers up to %s; first missing %s', "
     "count(*), max(n), (SELECT min(c.n) + 1 FROM chaos_chain c WHERE NOT EXISTS "
     "(SELECT FROM chaos_chain d WHERE d.n = c.n + 1))) END FROM chaos_chain"},
    {"a transaction seen in part: sums of accounts",
     "SELECT string_agg(owner || ': ' || s, ', ') FROM (SELECT owner, sum(balance) AS s "
     "FROM chaos_account GROUP BY owner HAVING sum(balance) <> 1000 OR count(*) <> 10) AS wrong"},
    {"a transaction seen in part: numbers of a batch",
     "SELECT string_agg(owner || ': ' || s, ', ') FROM (SELECT owner, string_agg(DISTINCT "
     "number::text, ' and ') AS s FROM chaos_batch GROUP BY owner "
     "HAVING count(DISTINCT number) <> 1 OR count(*) <> 400) AS wrong"},
};

}  // namespace

std::string Witnesses::Schema(const std::vector<std::string>& nodes) {
  std::string sql =
      "CREATE TABLE chaos_chain (n bigint PRIMARY KEY, node text NOT NULL);\n"
      "INSERT INTO chaos_chain VALUES (0, 'nobody');\n"
      "CREATE TABLE chaos_account (owner text, id int, balance bigint, PRIMARY KEY (owner, id));\n"
      "CREATE TABLE chaos_batch (owner text, i int, number bigint, note text,"
      " PRIMARY KEY (owner, i));\n";
  for (const std::string& node : nodes) {
    absl::StrAppend(&sql, "INSERT INTO chaos_account SELECT '", node,
                    "', i, 100 FROM generate_series(1, ", kAccounts, ") AS i;\n",
                    "INSERT INTO chaos_batch SELECT '", node,
                    "', i, 0, 'begin' FROM generate_series(1, ", kBatchRows, ") AS i;\n");
  }
  return sql;
}

Witnesses::Witnesses(const Plan& plan, const harness::Cluster* cluster, Findings* findings)
    : plan_(plan), cluster_(cluster), findings_(findings) {
  int node = 0;
  for (const std::string& name : cluster->names()) {
    writers_.emplace_back([this, name, node] { Write(node, name); });
    readers_.emplace_back([this, name] { Read(name); });
    ++node;
  }
}

Witnesses::~Witnesses() { Stop(); }

void Witnesses::StopWriters() {
  stop_writers_ = true;
  for (std::thread& thread : writers_) {
    if (thread.joinable()) thread.join();
  }
}

void Witnesses::Stop() {
  stop_ = true;
  StopWriters();
  for (std::thread& thread : readers_) {
    if (thread.joinable()) thread.join();
  }
}

void Witnesses::Write(int node, const std::string& name) {
  Client client(cluster_, name, &stop_writers_);
  Random random(plan_.options.seed, 5000 + static_cast<uint64_t>(node));
  const std::string owner = absl::StrCat("owner = '", name, "'");
  for (int64_t round = 1; !stop_writers_ && client.Get() != nullptr; ++round) {
    // Whether it was committed does not matter: the next one asks the table again.
    const absl::StatusOr<std::string> newest =
        client.Get() == nullptr ? absl::CancelledError("stopped")
                                : client.Get()->QueryValue("SELECT max(n) FROM chaos_chain");
    int64_t n = 0;
    if (newest.ok() && absl::SimpleAtoi(*newest, &n) && (n + 1) % plan_.nodes == node) {
      if (client.Exec(absl::StrCat("INSERT INTO chaos_chain VALUES (", n + 1, ", '", name, "')"))
              .ok()) {
        chain_ = std::max<int64_t>(chain_, n + 1);
      }
    }
    if (client.Get() == nullptr) return;
    client
        .Exec(absl::StrCat("UPDATE chaos_account SET balance = balance + CASE id WHEN ",
                           random.Between(1, kAccounts / 2), " THEN -7 WHEN ",
                           random.Between(kAccounts / 2 + 1, kAccounts), " THEN 7 ELSE 0 END",
                           " WHERE ", owner))
        .IgnoreError();
    if (round % 40 == 0 && client.Get() != nullptr) {
      client
          .Exec(absl::StrCat("UPDATE chaos_batch SET number = ", round,
                             ", note = repeat(md5(i::text), 4) WHERE ", owner))
          .IgnoreError();
    }
    std::this_thread::sleep_for(kPause);  // He need not be quick.
  }
}

void Witnesses::Read(const std::string& name) {
  Client client(cluster_, name, &stop_);
  while (!stop_) {
    for (const Look& look : kLooks) {
      if (client.Get() == nullptr) return;
      const absl::StatusOr<postgres::Result> result = client.Exec(look.sql);
      if (!result.ok()) {
        if (!IsExpected(result.status())) {
          findings_->Add(absl::StrCat("a reader on ", name, " met ", result.status().ToString()));
        }
        continue;
      }
      ++looks_;
      if (!result->is_null(0, 0)) {
        findings_->Add(
            absl::StrCat(look.what, " on ", name, ": ", std::string(result->value(0, 0))));
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace bdr::chaos
