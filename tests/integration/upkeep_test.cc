// What stands still, or does not travel, without anybody's fault: it is put right, or told by name.
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class UpkeepTest : public ClusterTest {
 protected:
  static harness::ClusterOptions TwoNodes(const std::string& schema) {
    harness::ClusterOptions options;
    // Nobody else commits on an idle server.
    const harness::NodeOptions idle = {
        .settings = {{"autovacuum", "off"}, {"checkpoint_timeout", "1h"}}};
    options.nodes.assign(2, idle);
    options.schema_sql = schema;
    return options;
  }

  std::string Status() {
    const auto status = cluster_->Bdrctl({"status"});
    return status.ok() ? status->out : status.status().ToString();
  }
  void WaitForStatus(const std::string& text) {
    ASSERT_OK(harness::WaitFor(
        absl::StrCat("status says \"", text, "\""), kDeadline,
        [&]() -> absl::StatusOr<bool> { return absl::StrContains(Status(), text); }));
  }
  int64_t StableUs(const std::string& node) {
    const auto status = cluster_->Bdrctl({"status", "-o", "json"});
    if (!status.ok()) return 0;
    const auto json = nlohmann::json::parse(status->out, nullptr, false);
    for (const auto& each : json["nodes"]) {
      if (each["name"] == node) return each["stable_us"].get<int64_t>();
    }
    return 0;
  }
  void WaitForStable(int64_t time_us) {
    for (const std::string& node : cluster_->names()) {
      ASSERT_OK(
          harness::WaitFor(absl::StrCat("the stable time of ", node, " goes on"), kDeadline,
                           [&]() -> absl::StatusOr<bool> { return StableUs(node) > time_us; }));
    }
  }
  int64_t Number(absl::string_view node, const std::string& sql) {
    int64_t number = 0;
    const std::string value = Value(node, sql);
    EXPECT_TRUE(absl::SimpleAtoi(value, &number)) << value;
    return number;
  }

  // As after a restart of the server: its settings may be others now.
  void EndWatchersSession(const std::string& node) {
    BDR_EXEC(node,
             "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
             " WHERE application_name = 'bdr watcher'");
  }
  int LogLines(const std::string& node, const std::string& text) {
    const auto log = harness::ReadFile(cluster_->agent_log(node));
    EXPECT_OK(log);
    int lines = 0;
    for (absl::string_view line : absl::StrSplit(log.value_or(""), '\n')) {
      lines += absl::StrContains(line, text) ? 1 : 0;
    }
    return lines;
  }

  static constexpr char kNow[] = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
  static constexpr char kWritten[] = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn";
};

// What it has written is flushed by nobody else, so the whole cluster would wait for it.
TEST_F(UpkeepTest, AnOpenTransactionThatHasWrittenHoldsNothingBack) {
  BDR_START_CLUSTER(TwoNodes("CREATE TABLE t (id int PRIMARY KEY, v text)"));
  ASSERT_OK_AND_ASSIGN(const auto writer, cluster_->Connect("n1"));
  ASSERT_OK(writer->Exec("BEGIN; INSERT INTO t VALUES (1, 'open')"));
  ASSERT_NO_FATAL_FAILURE(WaitForStable(Number("n1", kNow)));
  ASSERT_OK(writer->Exec("INSERT INTO t VALUES (2, 'open')"));
  ASSERT_NO_FATAL_FAILURE(WaitForStable(Number("n1", kNow)));

  // Once it is flushed, nothing is written to keep things going.
  const int64_t before = Number("n1", kWritten);
  ASSERT_NO_FATAL_FAILURE(WaitForStable(Number("n1", kNow) + 4'000'000));
  EXPECT_LT(Number("n1", kWritten) - before, 1000);

  ASSERT_OK(writer->Exec("COMMIT"));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "2");
}

// Its commit times are whatever the tool says: years ago, or yet to come.
TEST_F(UpkeepTest, WhatForeignOriginsWriteIsSentOnIfWished) {
  harness::ClusterOptions options = TwoNodes(
      "CREATE TABLE t (id int PRIMARY KEY, v text, u text UNIQUE); CREATE TABLE keyless (v text);"
      "CREATE TABLE large (id int PRIMARY KEY, v text);"
      "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 9) i");
  options.agent_config = "forward_foreign_origins: true\n";
  options.proxies = true;
  BDR_START_CLUSTER(std::move(options));
  BDR_EXEC("n1", "SELECT pg_replication_origin_create('etl')");
  const auto etl = [](const std::string& time, const std::string& sql) {
    return absl::StrCat(
        "SELECT pg_replication_origin_session_setup('etl'); BEGIN;"
        "SELECT pg_replication_origin_xact_setup('0/1', '",
        time, "');", sql, "; COMMIT");
  };
  // Each of two nodes writes what the other does not see.
  const auto apart = [&](const std::string& first, const std::string& n1, const std::string& n2) {
    cluster_->Partition("n1", "n2");
    BDR_EXEC(first, first == "n1" ? n1 : n2);
    // The stamps are in this order, whatever the commit times say.
    ASSERT_OK(cluster_->WaitForValue(
        first,
        absl::StrCat("SELECT confirmed_flush_lsn >= '", Value(first, "SELECT pg_current_wal_lsn()"),
                     "' FROM pg_replication_slots"),
        "t", kDeadline));
    const std::string second = first == "n1" ? "n2" : "n1";
    BDR_EXEC(second, second == "n1" ? n1 : n2);
    cluster_->Heal();
    BDR_CONVERGE();
  };
  for (const std::string time : {"2001-01-01", "2099-01-01"}) {
    SCOPED_TRACE(time);
    BDR_EXEC("n1", etl(time,
                       "INSERT INTO t VALUES (100, 'etl'); INSERT INTO keyless VALUES "
                       "('etl'); INSERT INTO large SELECT i, repeat(i::text, 100) FROM "
                       "generate_series(1, 100000) i"));
    BDR_CONVERGE();
    ExpectEverywhere(
        "SELECT (SELECT v FROM t WHERE id = 100) || (SELECT v FROM keyless) || "
        "(SELECT count(*) FROM large)",
        "etletl100000");
    // The later one wins.
    ASSERT_NO_FATAL_FAILURE(apart("n2", etl(time, "UPDATE t SET v = 'etl' WHERE id = 1"),
                                  "UPDATE t SET v = 'n2' WHERE id = 1"));
    ExpectEverywhere("SELECT v FROM t WHERE id = 1", "etl");
    ASSERT_NO_FATAL_FAILURE(apart("n1", etl(time, "UPDATE t SET v = 'etl' WHERE id = 2"),
                                  "UPDATE t SET v = 'n2' WHERE id = 2"));
    ExpectEverywhere("SELECT v FROM t WHERE id = 2", "n2");
    ASSERT_NO_FATAL_FAILURE(apart("n1", etl(time, "UPDATE t SET u = 'x' WHERE id = 3"),
                                  "UPDATE t SET u = 'x' WHERE id = 4"));
    ExpectEverywhere("SELECT string_agg(id::text, ' ') FROM t WHERE u = 'x'", "4");
    // A TRUNCATE takes what is older, and leaves what is newer.
    ASSERT_NO_FATAL_FAILURE(apart("n1",
                                  etl(time,
                                      "INSERT INTO t VALUES (5, 'older'), (6, 'older') ON "
                                      "CONFLICT (id) DO UPDATE SET v = 'older'; INSERT INTO "
                                      "keyless VALUES ('older')"),
                                  "TRUNCATE t, keyless, large"));
    ExpectEverywhere("SELECT count(*) + (SELECT count(*) FROM keyless) FROM t", "0");
    ASSERT_NO_FATAL_FAILURE(apart("n2",
                                  etl(time,
                                      "INSERT INTO t SELECT i, 'newer' FROM "
                                      "generate_series(1, 9) i; INSERT INTO keyless VALUES "
                                      "('newer')"),
                                  "TRUNCATE t, keyless"));
    ExpectEverywhere("SELECT count(*) || (SELECT v FROM keyless) FROM t", "9newer");
    BDR_EXEC("n2", "TRUNCATE keyless");
    BDR_CONVERGE();
  }
  EXPECT_THAT(Status(), Not(HasSubstr("etl")));
}

TEST_F(UpkeepTest, NewTablesArePublishedAndForeignOriginsToldOf) {
  BDR_START_CLUSTER(TwoNodes("CREATE TABLE t (id int PRIMARY KEY, v text)"));
  const auto published = [this](const std::string& tables) {
    for (const std::string& node : cluster_->names()) {
      ASSERT_OK(cluster_->WaitForValue(node,
                                       "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM "
                                       "pg_publication_tables WHERE schemaname = 'public'",
                                       tables, kDeadline));
    }
  };
  ASSERT_OK(cluster_->ExecEverywhere(
      "CREATE TABLE made (id int PRIMARY KEY, v text); CREATE TABLE keyless (v text);"
      "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
      "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);"
      "CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); DROP TABLE t;"
      "CREATE TABLE t (id int PRIMARY KEY, v text)"));
  ASSERT_NO_FATAL_FAILURE(published("keyless made parted t"));
  BDR_EXEC("n1", "INSERT INTO made VALUES (1, 'n1'); INSERT INTO keyless VALUES ('n1')");
  BDR_EXEC("n2", "INSERT INTO t VALUES (1, 'n2'); INSERT INTO parted VALUES (1); TRUNCATE made");
  BDR_CONVERGE();
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));

  // Rows from before do not travel. A writer that stays is not waited for without end.
  ASSERT_OK(cluster_->ExecEverywhere("CREATE TABLE filled AS SELECT 1 AS id"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("held rows already when published"));
  EXPECT_THAT(Status(), HasSubstr("public.filled"));
  ASSERT_OK(cluster_->ExecEverywhere("CREATE TABLE written (id int PRIMARY KEY)"));
  ASSERT_OK_AND_ASSIGN(const auto writer, cluster_->Connect("n1"));
  // It may have been published before.
  ASSERT_OK(writer->Exec("BEGIN; INSERT INTO written VALUES (1)"));
  ASSERT_NO_FATAL_FAILURE(published("filled keyless made parted t written"));
  ASSERT_OK(writer->Exec("ROLLBACK"));
  BDR_CONVERGE();

  // Another tool's: here alone.
  BDR_EXEC("n1",
           "SELECT pg_replication_origin_create('etl');"
           "SELECT pg_replication_origin_session_setup('etl'); INSERT INTO t VALUES (7, 'etl')");
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("\"etl\", 1 transaction"));
  BDR_EXEC("n1", "INSERT INTO t VALUES (8, 'ours')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t",
                                   "1 8", kDeadline));
}

// Of a partition that comes later, and where somebody took them away; whether or not new tables are
// to be published.
TEST_F(UpkeepTest, RightsThatTheAgentLacksAreGiven) {
  harness::ClusterOptions options = TwoNodes(
      "CREATE TABLE t (id int PRIMARY KEY, v text);"
      "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)");
  options.agent_config = "publish_new_tables: false\n";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK(cluster_->ExecEverywhere(
      "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);"
      "REVOKE ALL ON t FROM bdr"));
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK(cluster_->WaitForValue(node,
                                     "SELECT has_table_privilege('bdr', 't', 'INSERT') AND "
                                     "has_table_privilege('bdr', 'parted_1', 'SELECT')",
                                     "t", kDeadline));
  }
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 'x'); INSERT INTO parted VALUES (1)");
  BDR_CONVERGE();
}

TEST_F(UpkeepTest, UnpublishedTablesAreNamedWhereThatIsAsked) {
  harness::ClusterOptions options = TwoNodes("CREATE TABLE t (id int PRIMARY KEY, v text)");
  options.agent_config = "publish_new_tables: false\n";
  BDR_START_CLUSTER(std::move(options));
  ASSERT_OK(cluster_->ExecEverywhere("CREATE TABLE made (id int PRIMARY KEY, v text)"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("nothing of them travels: public.made"));
  EXPECT_THAT(Status(), HasSubstr("bdr.sync_publications()"));
  ASSERT_OK(cluster_->ExecEverywhere("SELECT bdr.sync_publications()"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  // A table that lost its key is in the wrong one.
  ASSERT_OK(cluster_->ExecEverywhere("ALTER TABLE made DROP CONSTRAINT made_pkey"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("in the wrong publication"));
  EXPECT_THAT(Status(), HasSubstr("public.made"));

  // A function that leans on the users' search_path: named, with what mends it.
  ASSERT_OK(cluster_->ExecEverywhere(
      "CREATE FUNCTION known(int) RETURNS boolean LANGUAGE sql AS"
      " 'SELECT NOT EXISTS (SELECT FROM t WHERE id = -$1)';"
      "ALTER TABLE t ADD CHECK (known(id)); ALTER TABLE made ADD PRIMARY KEY (id);"
      "SELECT bdr.sync_publications()"));
  BDR_EXEC("n1", "INSERT INTO t VALUES (1, 'n1')");
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("SQL function \"known\""));
  EXPECT_THAT(Status(), HasSubstr("ALTER FUNCTION"));
  ASSERT_OK(cluster_->ExecEverywhere("ALTER FUNCTION known(int) SET search_path = public"));
  ASSERT_OK(harness::WaitFor("it is applied", kDeadline, [&]() -> absl::StatusOr<bool> {
    (void)cluster_->Bdrctl({"apply", "retry", "n2"});
    return Value("n2", "SELECT count(*) FROM t") == "1";
  }));
  BDR_CONVERGE();
}

// Nobody writes a row from beginning to end: the first one that needs what is gone may come months
// later.
TEST_F(UpkeepTest, WhatIsTakenFromUnderARunningAgentIsTold) {
  BDR_START_CLUSTER(TwoNodes("CREATE TABLE t (id int PRIMARY KEY, v text)"));
  struct Case {
    std::string damage, mend, said;
  };
  int told = 0;
  for (const Case& each : std::vector<Case>{
           {"REVOKE EXECUTE ON FUNCTION pg_replication_origin_session_setup(text) FROM bdr",
            "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text) TO bdr",
            "lacks EXECUTE on pg_replication_origin_session_setup(text)"},
           {"ALTER PUBLICATION bdr_keyed SET (publish = 'insert')",
            "ALTER PUBLICATION bdr_keyed SET (publish = 'insert, update, delete, truncate')",
            "publication bdr_keyed has other options"},
           {"ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;"
            "ALTER ROLE bdr NOBYPASSRLS",
            "ALTER ROLE bdr BYPASSRLS", "changes are not applied to: public.t"},
       }) {
    SCOPED_TRACE(each.damage);
    BDR_EXEC("n2", each.damage);
    ASSERT_NO_FATAL_FAILURE(EndWatchersSession("n2"));
    ASSERT_NO_FATAL_FAILURE(WaitForStatus(each.said));
    // Once for each change, however often it is looked at.
    EXPECT_EQ(LogLines("n2", "fitness state=unfit: "), ++told);
    BDR_EXEC("n2", each.mend);
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  }

  BDR_EXEC("n2", "ALTER SYSTEM SET track_commit_timestamp = off");
  ASSERT_OK(cluster_->postgres("n2").Restart());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("track_commit_timestamp is off, must be on"));
  BDR_EXEC("n2", "ALTER SYSTEM RESET track_commit_timestamp");
  ASSERT_OK(cluster_->postgres("n2").Restart());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_EQ(LogLines("n2", "fitness state=unfit: "), ++told);
  EXPECT_EQ(LogLines("n2", "fitness state=unfit->fit"), told);
  EXPECT_EQ(LogLines("n1", "fitness"), 0);

  // Where no session ends it is told within a minute.
  BDR_EXEC("n1", "REVOKE SET ON PARAMETER session_replication_role FROM bdr");
  ASSERT_OK(harness::WaitFor(
      "status says so", absl::Minutes(1) + kDeadline, [&]() -> absl::StatusOr<bool> {
        return absl::StrContains(Status(), "lacks SET on parameter session_replication_role");
      }));
  BDR_EXEC("n1", "GRANT SET ON PARAMETER session_replication_role TO bdr");
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
