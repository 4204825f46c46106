// What somebody takes from under a running agent must be told without a row that needs it.
#include "node-agent/upkeep/fitness.h"

#include <gmock/gmock.h>

#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "postgres/setup/node_check.h"
#include "postgres/setup/setup_sql.h"
#include "tests/harness/cluster.h"
#include "tests/harness/postgres_test.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(60);

class FitnessTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->Exec("CREATE TABLE t (id int PRIMARY KEY)"));
    ASSERT_OK_AND_ASSIGN(const std::string sql, pg_setup::SetupSql({.settings = false}));
    ASSERT_OK(server_->RunScript(sql));
  }

  static std::unique_ptr<Fitness> Start(absl::Duration interval, absl::Duration interval_unfit) {
    return std::make_unique<Fitness>(Fitness::Options{.conninfo = server_->conninfo("bdr"),
                                                      .interval = interval,
                                                      .interval_unfit = interval_unfit});
  }
  static void WaitFor(const Fitness& fitness, const std::string& reason) {
    ASSERT_OK(harness::WaitFor(absl::StrCat("it says \"", reason, "\""), kDeadline, [&] {
      const Health health = fitness.health();
      return reason.empty() ? health.level == Health::Level::kOk
                            : health.level == Health::Level::kCritical &&
                                  absl::StrContains(health.reason, reason);
    })) << fitness.health().reason;
  }
};

TEST_F(FitnessTest, WhatIsTakenAwayIsToldEachMinuteAndForgottenOnceMended) {
  const auto fitness = Start(absl::Milliseconds(50), absl::Milliseconds(50));
  struct Case {
    const char *damage, *reason, *mend;
  };
  for (const Case& each : {
           Case{"REVOKE SET ON PARAMETER session_replication_role FROM bdr",
                "lacks SET on parameter session_replication_role: as administrator: GRANT SET",
                "GRANT SET ON PARAMETER session_replication_role TO bdr"},
           Case{"REVOKE INSERT ON bdr.progress FROM bdr", "lacks SELECT, INSERT, UPDATE, DELETE",
                "GRANT INSERT ON bdr.progress TO bdr"},
           Case{"REVOKE USAGE ON SCHEMA bdr FROM bdr, PUBLIC", "lacks USAGE on schema bdr",
                "GRANT USAGE ON SCHEMA bdr TO bdr"},
           Case{"ALTER PUBLICATION bdr_keyed SET (publish = 'insert')",
                "publication bdr_keyed has other options",
                "ALTER PUBLICATION bdr_keyed SET (publish = 'insert, update, delete, truncate')"},
           Case{"DROP PUBLICATION bdr_insert_only", "publication bdr_insert_only does not exist",
                "CREATE PUBLICATION bdr_insert_only WITH (publish = 'insert, truncate', "
                "publish_via_partition_root = true)"},
           Case{"ALTER ROLE bdr NOBYPASSRLS; ALTER TABLE t ENABLE ROW LEVEL SECURITY",
                "row security hides rows from role \"bdr\", so that changes are not applied to: "
                "public.t",
                "ALTER ROLE bdr BYPASSRLS"},
           // No session of it can be begun any more; those that there are live on.
           Case{"ALTER ROLE bdr NOLOGIN", "not permitted to log in", "ALTER ROLE bdr LOGIN"},
       }) {
    SCOPED_TRACE(each.damage);
    ASSERT_NO_FATAL_FAILURE(WaitFor(*fitness, ""));
    ASSERT_OK(server_->Exec(each.damage));
    ASSERT_NO_FATAL_FAILURE(WaitFor(*fitness, each.reason));
    ASSERT_OK(server_->Exec(each.mend));
  }
  ASSERT_NO_FATAL_FAILURE(WaitFor(*fitness, ""));
}

TEST_F(FitnessTest, AServerThatCameBackIsLookedAtAtOnce) {
  const auto fitness = Start(absl::Hours(1), absl::Milliseconds(50));
  ASSERT_OK(server_->Exec("REVOKE EXECUTE ON FUNCTION bdr.sync_publications() FROM bdr"));
  fitness->Reconnected();
  ASSERT_NO_FATAL_FAILURE(WaitFor(*fitness, "lacks EXECUTE on bdr.sync_publications()"));
  ASSERT_OK(server_->Exec("GRANT EXECUTE ON FUNCTION bdr.sync_publications() TO bdr"));
  ASSERT_NO_FATAL_FAILURE(WaitFor(*fitness, ""));
}

}  // namespace
}  // namespace bdr::agent
