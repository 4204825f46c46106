// The filter stands in SQL for the agent and in C++ for the model. A real server and the function
// are given the same rows, and must say the same of each.
#include "conflict/row_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/testing.h"
#include "node-agent/apply/plan/seen.h"
#include "node-agent/clocks/stable_xid.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/found_rows.h"
#include "postgres/connection.h"
#include "tests/harness/cluster.h"
#include "tests/harness/postgres_test.h"

namespace bdr::agent {
namespace {

using conflict::Stamp;
using postgres::Param;
using postgres::Result;

constexpr uint64_t kSeed = 20'261'129;
constexpr int kStatements = 300;
constexpr int64_t kNoon = 1'700'000'000'000'000;
constexpr NodeId kOwn = 1;
// A repaired row's origin is nobody's; the last origin is another tool's.
const std::vector<std::pair<std::string, NodeId>> kOrigins = {
    {"two", NodeId{2}}, {"three", NodeId{3}}, {"repair", NodeId{0}}, {"tool", kOwn}};

class RowFilterTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->Exec("CREATE TABLE t (id int PRIMARY KEY, v int)"));
  }

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(connection_, server_->Connect());
    for (const auto& [name, node] : kOrigins) {
      ASSERT_OK_AND_ASSIGN(const std::string id,
                           connection_->QueryValue(
                               absl::StrCat("SELECT pg_replication_origin_create('", name, "')")));
      uint32_t roident = 0;
      ASSERT_TRUE(absl::SimpleAtoi(id, &roident));
      roidents_.push_back(roident);
      if (name != "tool") node_of_roident_[roident] = node;
    }
  }

  // Commits `count` rows one by one, each by a writer of its own: -1 is a user, who gets his time
  // from the server's clock; the others have one near kNoon.
  void WriteRows(int count) {
    for (int i = 0; i < count; ++i) {
      const int writer = Between(-1, static_cast<int>(kOrigins.size()) - 1);
      ASSERT_OK(connection_->Exec("BEGIN"));
      ASSERT_OK(connection_->Exec(absl::StrCat("INSERT INTO t VALUES (", ++last_id_, ")")));
      if (writer >= 0) {
        const std::string& name = kOrigins[static_cast<size_t>(writer)].first;
        ASSERT_OK(connection_->Exec(
            absl::StrCat("SELECT pg_replication_origin_session_setup('", name, "')")));
        ASSERT_OK(connection_->Exec(
            absl::StrCat("SELECT pg_replication_origin_xact_setup('0/1', 'epoch'::timestamptz + ",
                         kNoon + Between(0, 20), " * '1 microsecond'::interval)")));
      }
      ASSERT_OK(connection_->Exec("COMMIT"));
      if (writer < 0) continue;
      ASSERT_OK(connection_->Exec("SELECT pg_replication_origin_session_reset()"));
    }
  }

  // The commit times of everything so far are lost.
  absl::Status Freeze() {
    RETURN_IF_ERROR(connection_->Exec("ALTER DATABASE template0 ALLOW_CONNECTIONS true").status());
    // Catalogs may still be needed as they were, so it may take more than one try.
    return harness::WaitFor("the freeze to take the commit times", absl::Seconds(60),
                            [this]() -> absl::StatusOr<bool> {
                              // Only what is older than the oldest xid in use is forgotten.
                              RETURN_IF_ERROR(server_->Exec("SELECT pg_current_xact_id()"));
                              for (const char* database : {"postgres", "template0", "template1"}) {
                                RETURN_IF_ERROR(server_->Exec("VACUUM (FREEZE)", database));
                              }
                              ASSIGN_OR_RETURN(const std::string kept,
                                               server_->QueryValue("SELECT count(*) FROM t WHERE "
                                                                   "pg_xact_commit_timestamp(xmin) "
                                                                   "IS NOT NULL"));
                              return kept == "0";
                            });
  }

  int Between(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random_);
  }

  // A time that lies near, at or between those of rows, or says all or nothing.
  int64_t SomeTime(const std::vector<int64_t>& times, bool may_be_null) {
    const int kind = Between(0, 9);
    if (kind == 0 && may_be_null) return INT64_MIN;
    if (kind == 1) return INT64_MAX;
    if (kind == 2) return 0;
    return times[static_cast<size_t>(Between(0, static_cast<int>(times.size()) - 1))] +
           Between(-2, 2);
  }

  std::unique_ptr<postgres::Connection> connection_;
  std::vector<uint32_t> roidents_;
  absl::flat_hash_map<uint32_t, NodeId> node_of_roident_;
  std::mt19937_64 random_{kSeed};
  int last_id_ = 0;
};

TEST_F(RowFilterTest, TheServerAndTheFunctionPassTheSameRows) {
  WriteRows(8);
  ASSERT_OK_AND_ASSIGN(const std::string stable_xid,
                       connection_->QueryValue("SELECT pg_current_xact_id()::xid"));
  WriteRows(8);
  ASSERT_OK(Freeze());
  WriteRows(30);
  ASSERT_OK(connection_->Exec(absl::StrCat("SET ", kStableXidSetting, " = '", stable_xid, "'")));
  ASSERT_OK(connection_->Exec("BEGIN"));
  ASSERT_OK(connection_->Exec("INSERT INTO t SELECT 1000 + n FROM generate_series(1, 3) AS n"));
  ASSERT_OK(connection_->Exec("UPDATE t SET v = 1 WHERE id % 7 = 0"));

  // What the rows are, as an applier reads them.
  const FoundRows reader(&node_of_roident_);
  ASSERT_OK_AND_ASSIGN(const Result rows, connection_->Exec(absl::StrCat(
                                              "SELECT ", FoundSql({.place = "t.id"}), " FROM t")));
  std::map<int, conflict::FoundRow> found;
  std::map<int, uint32_t> roident_of;
  std::vector<int64_t> times = {kNoon};
  int long_stable = 0;
  int lost = 0;
  for (int i = 0; i < rows.rows(); ++i) {
    int id = 0;
    ASSERT_TRUE(absl::SimpleAtoi(rows.value(i, 0), &id));
    found[id] = reader.At(rows, i).at;
    uint32_t roident = 0;
    ASSERT_TRUE(rows.is_null(i, 4) || absl::SimpleAtoi(rows.value(i, 4), &roident));
    roident_of[id] = roident;
    const std::optional<int64_t>& time_us = found[id].time_us;
    if (time_us == conflict::kLongStable) ++long_stable;
    if (time_us.value_or(0) != 0) times.push_back(*time_us);
    if (!time_us.has_value() && found[id].writer == conflict::Writer::kLocal && roident == 0)
      ++lost;
  }
  // Each kind of row is there.
  EXPECT_GT(long_stable, 0);
  EXPECT_GT(lost, 0);

  std::map<bool, int> passed;
  const std::string sql =
      absl::StrCat("SELECT t.id, COALESCE(",
                   conflict::SqlFilter({.older_than = "$1::pg_catalog.timestamptz",
                                        .seen = "$2::pg_catalog.timestamptz[]",
                                        .long_stable = WrittenByStableXidSql()}),
                   ", false) FROM t");
  constexpr int64_t kRaises[] = {0, 1, 5, 20'000};
  for (int statement = 0; statement < kStatements; ++statement) {
    const Stamp stamp{.time_us = SomeTime(times, /*may_be_null=*/false), .node = 2};
    if (stamp.time_us == INT64_MAX || stamp.time_us == 0) continue;  // no change is stamped so
    const int64_t raise_us = kRaises[Between(0, 3)];
    const std::vector<int64_t> seen =
        ByRoident<int64_t>(node_of_roident_, SomeTime(times, true), INT64_MIN,
                           [&](NodeId) { return SomeTime(times, /*may_be_null=*/true); });
    const std::string older_than = EncodeTimestamptz(stamp.time_us - raise_us);
    const std::string seen_param = EncodeTimestamptzArray(seen);
    const Param params[] = {{.data = older_than, .binary = true},
                            {.data = seen_param, .binary = true}};
    ASSERT_OK_AND_ASSIGN(const Result result, connection_->ExecParams(sql, params));
    ASSERT_EQ(result.rows(), rows.rows());
    for (int i = 0; i < result.rows(); ++i) {
      int id = 0;
      ASSERT_TRUE(absl::SimpleAtoi(result.value(i, 0), &id));
      const uint32_t roident = roident_of[id];
      const int64_t seen_us = roident < seen.size() ? seen[roident] : INT64_MIN;
      const bool by_sql = result.value(i, 1) == "t";
      const bool by_function = conflict::PassesFilter(found[id], stamp, raise_us, seen_us);
      ++passed[by_sql];
      ASSERT_EQ(by_sql, by_function)
          << "row " << id << ": stamp " << stamp.time_us << ", raise " << raise_us
          << ", seen until " << seen_us << ", its time " << found[id].time_us.value_or(-1)
          << ", seed " << kSeed << ", statement " << statement;
    }
  }
  // A comparison in which all pass, or none, would compare nothing.
  EXPECT_GT(passed[true], 1000);
  EXPECT_GT(passed[false], 1000);
  ASSERT_OK(connection_->Exec("ROLLBACK"));
}

}  // namespace
}  // namespace bdr::agent
