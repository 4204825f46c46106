#include "node-agent/upkeep/conflict_log_bound.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "postgres/migrations.h"
#include "tests/harness/postgres_test.h"

namespace bdr::agent {
namespace {

class ConflictLogBoundTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->RunScript("CREATE SCHEMA bdr"));
    ASSERT_OK_AND_ASSIGN(const auto connection, server_->Connect());
    ASSERT_OK(connection->Exec(postgres::MigrationsSql()));
  }

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(connection_, server_->Connect());
    ASSERT_OK(connection_->Exec("TRUNCATE bdr.conflict_log; SET lock_timeout = '200ms'"));
  }

  void Add(int rows, const std::string& age) {
    ASSERT_OK(connection_->Exec(absl::StrCat(
        "INSERT INTO bdr.conflict_log (detected_at, relation, kind, winner) SELECT "
        "clock_timestamp() - interval '",
        age, "', 'public.t', 'insert_exists', 'local' FROM generate_series(1, ", rows, ")")));
  }
  std::string Left() {
    return connection_->QueryValue("SELECT count(*) FROM bdr.conflict_log").value_or("error");
  }
  static int64_t Ago(absl::Duration age) { return absl::ToUnixMicros(absl::Now() - age); }

  std::unique_ptr<postgres::Connection> connection_;
};

// The watcher promises in between, and the whole cluster waits for that.
TEST_F(ConflictLogBoundTest, WhatIsTooOldGoesInSmallParts) {
  Add(2500, "8 days");
  Add(10, "6 days");
  ConflictLogBound bound({.max_age = absl::Hours(24 * 7), .max_rows = 1'000'000});
  for (const char* left : {"1510", "510", "10", "10"}) {
    ASSERT_OK(bound.Look(connection_.get(), Ago(absl::ZeroDuration())));
    EXPECT_EQ(Left(), left);
  }
}

TEST_F(ConflictLogBoundTest, WhatIsTooMuchGoesInSmallParts) {
  Add(2500, "1 day");
  ConflictLogBound bound({.max_age = absl::Hours(24 * 7), .max_rows = 100});
  for (const char* left : {"1500", "500", "100", "100"}) {
    ASSERT_OK(bound.Look(connection_.get(), Ago(absl::ZeroDuration())));
    EXPECT_EQ(Left(), left);
  }
}

// By this server's clock, which was set ahead by ten days, the rows are eight days old.
TEST_F(ConflictLogBoundTest, AClockThatJumpedAheadEmptiesNothing) {
  Add(10, "8 days");
  ConflictLogBound bound({.max_age = absl::Hours(24 * 7), .max_rows = 1'000'000});
  ASSERT_OK(bound.Look(connection_.get(), Ago(absl::Hours(24 * 10))));
  EXPECT_EQ(Left(), "10");
  // Nor does what is not known yet.
  ConflictLogBound at_start({.max_age = absl::Hours(24 * 7), .max_rows = 1'000'000});
  ASSERT_OK(at_start.Look(connection_.get(), 0));
  EXPECT_EQ(Left(), "10");
}

TEST_F(ConflictLogBoundTest, WhatAUserHasLockedIsLeftForTheNextTime) {
  Add(10, "8 days");
  ASSERT_OK_AND_ASSIGN(const auto user, server_->Connect());
  ASSERT_OK(user->Exec("BEGIN; SELECT FROM bdr.conflict_log LIMIT 1 FOR UPDATE").status());
  ConflictLogBound bound({.max_age = absl::Hours(24 * 7), .max_rows = 1'000'000});
  ASSERT_OK(bound.Look(connection_.get(), Ago(absl::ZeroDuration())));
  EXPECT_EQ(Left(), "1");
  ASSERT_OK(user->Exec("LOCK TABLE bdr.conflict_log").status());
  ConflictLogBound again({.max_age = absl::Hours(24 * 7), .max_rows = 1'000'000});
  EXPECT_OK(again.Look(connection_.get(), Ago(absl::ZeroDuration())));
  ASSERT_OK(user->Exec("COMMIT").status());
  EXPECT_EQ(Left(), "1");
}

}  // namespace
}  // namespace bdr::agent
