// The migrations are part of what a superuser runs, perhaps twice at once, on databases of any age.
#include "postgres/migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "postgres/schema_version.h"
#include "tests/harness/postgres_test.h"

namespace bdr::postgres {
namespace {

using ::testing::HasSubstr;

class MigrationsTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->Exec("CREATE ROLE agent LOGIN"));
  }

  void SetUp() override {
    ASSERT_OK(server_->Exec("DROP DATABASE IF EXISTS app WITH (FORCE)"));
    ASSERT_OK(server_->Exec("CREATE DATABASE app"));
  }

  // As the script of setup does.
  static absl::Status Migrate() {
    return server_->Exec(absl::StrCat("BEGIN; SET LOCAL search_path = pg_catalog, pg_temp;"
                                      "DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$;"
                                      "CREATE SCHEMA IF NOT EXISTS bdr;",
                                      MigrationsSql(),
                                      "GRANT USAGE ON SCHEMA bdr TO agent;"
                                      "GRANT SELECT ON bdr.schema_version TO agent; COMMIT"),
                         "app");
  }
  static absl::Status Check() {
    ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection,
                     server_->Connect("agent", "app"));
    return CheckSchemaVersion(*connection);
  }
  static std::string Versions() {
    return server_
        ->QueryValue(
            "SELECT string_agg(version::text, ',' ORDER BY version) "
            "FROM bdr.schema_version",
            "app")
        .value_or("?");
  }
};

TEST_F(MigrationsTest, FreshDatabaseReachesLatestVersionAndRepeatingChangesNothing) {
  ASSERT_OK(Migrate());
  EXPECT_OK(Check());
  const std::string versions = Versions();
  EXPECT_THAT(versions, ::testing::StartsWith("1,2"));
  EXPECT_THAT(versions, ::testing::EndsWith(absl::StrCat(",", LatestSchemaVersion())));
  EXPECT_OK(server_->Exec("SELECT * FROM bdr.progress, bdr.conflict_log", "app"));
  EXPECT_OK(server_->Exec("SELECT bdr.require_clock_past('2000-01-01')", "app"));
  ASSERT_OK(Migrate());
  EXPECT_EQ(Versions(), versions);
}

TEST_F(MigrationsTest, WithoutThemTheAgentSaysWhatTheAdministratorMustDo) {
  absl::Status status = Check();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("bdrctl node setup-sql"));
  ASSERT_OK(Migrate());
  ASSERT_OK(server_->Exec("DELETE FROM bdr.schema_version WHERE version > 3", "app"));
  status = Check();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has version 3, and this program needs"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("bdrctl node setup-sql"));
}

TEST_F(MigrationsTest, ManyAtOnceMigrateOnce) {
  std::vector<absl::Status> results(6);
  std::vector<std::thread> threads;
  ASSERT_OK(server_->Exec("CREATE SCHEMA bdr", "app"));
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = Migrate(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_OK(result);
  EXPECT_OK(Check());
}

TEST_F(MigrationsTest, NewerSchemaThanTheProgramIsRefused) {
  ASSERT_OK(Migrate());
  ASSERT_OK(server_->Exec("INSERT INTO bdr.schema_version VALUES (9999)", "app"));
  EXPECT_THAT(std::string(Migrate().message()), HasSubstr("version 9999"));
  const absl::Status status = Check();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 9999"));
}

}  // namespace
}  // namespace bdr::postgres
