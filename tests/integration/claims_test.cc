// Unique values beside the key: nodes that take the same value without seeing each other end with
// the same rows, none of them holding a value twice, and what had to go is on record. In other
// systems such a conflict stops replication, or leaves each node with a row of its own. What can be
// told as a sequence of statements is in tests/scenarios.
#include <cstdlib>
#include <random>

#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ClaimsTest : public ClusterTest {
 protected:
  void StartWithProxies(const std::string& schema) {
    harness::ClusterOptions options;
    options.nodes.assign(3, {});
    options.proxies = true;
    options.schema_sql = schema;
    BDR_START_CLUSTER(std::move(options));
  }
};

// Few rows, few values, two unique columns, everybody at once, with links that come and go: what
// nobody thought of.
TEST_F(ClaimsTest, ManyRandomWritesOfFewValuesConverge) {
  StartWithProxies(
      "CREATE TABLE pair (id int PRIMARY KEY, a int UNIQUE, b text, note int);"
      "CREATE UNIQUE INDEX pair_b ON pair (lower(b)) WHERE note % 3 <> 0");
  if (HasFatalFailure()) return;
  // BDR_SEED runs it with another one.
  const char* const given = std::getenv("BDR_SEED");
  const uint32_t seed =
      given == nullptr ? 20261121 : static_cast<uint32_t>(std::strtoul(given, nullptr, 10));
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto draw = [&random](int count) {
    return static_cast<int>(random() % static_cast<unsigned>(count));
  };
  const auto change = [&draw]() -> std::string {
    const int id = draw(5);
    const std::string a = draw(4) == 0 ? "NULL" : absl::StrCat(draw(4));
    const std::string b =
        draw(3) == 0 ? "NULL" : absl::StrCat("'", draw(2) == 0 ? "q" : "Q", draw(3), "'");
    switch (draw(8)) {
      case 0:
      case 1:
      case 2:
        return absl::StrCat("INSERT INTO pair VALUES (", id, ", ", a, ", ", b, ", ", draw(100),
                            ")");
      case 3:
        return absl::StrCat("UPDATE pair SET a = ", a, ", note = ", draw(100), " WHERE id = ", id);
      case 4:
        return absl::StrCat("UPDATE pair SET b = ", b, " WHERE id = ", id);
      case 5:
        return absl::StrCat("UPDATE pair SET id = ", draw(5), " WHERE id = ", id);
      case 6:
        return absl::StrCat("DELETE FROM pair WHERE id = ", id);
      default:
        return absl::StrCat("INSERT INTO pair VALUES (", id, ", ", a, ", ", b, ", ", draw(100),
                            ") ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a, b = EXCLUDED.b");
    }
  };
  std::vector<std::unique_ptr<postgres::Connection>> users;
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(auto user, cluster_->Connect(node));
    users.push_back(std::move(user));
  }
  for (int round = 0; round < (kSanitized ? 2 : 6); ++round) {
    for (int i = 0; i < 250; ++i) {
      if (i % 50 == 0 && round % 2 == 0) {
        cluster_->Heal();
        const std::vector<std::string> names = cluster_->names();
        const size_t cut = static_cast<size_t>(draw(3));
        cluster_->Partition(names[cut], names[(cut + 1) % 3]);
      }
      if (i == 125 && round % 3 == 1) {
        // In the middle of whatever it does: what it knows of claims comes back.
        const std::string node = cluster_->names()[static_cast<size_t>(draw(3))];
        cluster_->agent(node).Kill9();
        ASSERT_OK(cluster_->StartAgent(node));
      }
      std::string sql = change();
      for (int more = draw(3); more > 0; --more) absl::StrAppend(&sql, "; ", change());
      // What a node's own constraints refuse is refused.
      const absl::Status status = users[static_cast<size_t>(draw(3))]->Exec(sql).status();
      ASSERT_TRUE(status.ok() || absl::IsFailedPrecondition(status) || absl::IsAborted(status))
          << status;
    }
    cluster_->Heal();
    Converge();
    if (HasFatalFailure()) {
      // What each node decided, as far as it is on record.
      for (const std::string& node : cluster_->names()) {
        ADD_FAILURE() << node << "\n"
                      << Value(
                             node,
                             "SELECT string_agg(concat_ws(' ', detected_at::time, kind, rule, key,"
                             " winner, local_row, local_stamp::time, local_node, remote_row,"
                             " remote_stamp::time, remote_node), E'\\n' ORDER BY id) FROM (SELECT *"
                             " FROM bdr.conflict_log ORDER BY id DESC LIMIT 100) c");
      }
      return;
    }
    ExpectEverywhere(
        "SELECT count(*) FROM (SELECT a FROM pair WHERE a IS NOT NULL GROUP BY a"
        " HAVING count(*) > 1 UNION ALL SELECT NULL FROM pair WHERE note % 3 <> 0"
        " AND b IS NOT NULL GROUP BY lower(b) HAVING count(*) > 1) d",
        "0");
  }
}

}  // namespace
}  // namespace bdr::integration
