// Migrations run at every start of an agent, perhaps of two at once, on databases of any age.
#include "postgres/migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/testing.h"
#include "postgres/migrations_internal.h"
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

  static absl::Status MakeSchema() {
    return server_->Exec("CREATE SCHEMA bdr AUTHORIZATION agent", "app");
  }
  static absl::StatusOr<std::unique_ptr<Connection>> Connect() {
    return server_->Connect("agent", "app");
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
  ASSERT_OK(MakeSchema());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  ASSERT_OK(Migrate(*connection));
  const std::string versions = Versions();
  EXPECT_THAT(versions, ::testing::StartsWith("1"));
  EXPECT_OK(connection->Exec("SELECT * FROM bdr.progress, bdr.conflict_log"));
  EXPECT_OK(connection->Exec("SELECT bdr.require_clock_past('2000-01-01')"));

  ASSERT_OK(Migrate(*connection));
  EXPECT_EQ(Versions(), versions);
  EXPECT_EQ(PQtransactionStatus(connection->raw()), PQTRANS_IDLE);
}

TEST_F(MigrationsTest, MissingSchemaSaysWhatTheAdministratorMustDo) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  const absl::Status status = Migrate(*connection);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("bdrctl node setup-sql"));
}

TEST_F(MigrationsTest, SchemaOfSomebodyElseIsRefused) {
  ASSERT_OK(server_->Exec("CREATE SCHEMA bdr", "app"));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  const absl::Status status = Migrate(*connection);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"agent\" may not create"));
}

TEST_F(MigrationsTest, ManyAtOnceMigrateOnce) {
  ASSERT_OK(MakeSchema());
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 6; ++i) {
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Connection> connection, Connect());
    connections.push_back(std::move(connection));
  }
  std::vector<absl::Status> results(connections.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < connections.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = Migrate(*connections[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_OK(result);
  EXPECT_EQ(server_->QueryValue("SELECT max(version) FROM bdr.schema_version", "app").value_or(""),
            std::to_string(LatestSchemaVersion()));
}

TEST_F(MigrationsTest, NewerSchemaThanTheProgramIsRefused) {
  ASSERT_OK(MakeSchema());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  ASSERT_OK(Migrate(*connection));
  ASSERT_OK(server_->Exec("INSERT INTO bdr.schema_version VALUES (9999)", "app"));
  const absl::Status status = Migrate(*connection);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 9999"));
  EXPECT_EQ(PQtransactionStatus(connection->raw()), PQTRANS_IDLE);
}

TEST_F(MigrationsTest, FailureKeepsTheVersionsBeforeItAndIsRepeatedLater) {
  ASSERT_OK(MakeSchema());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  const internal::Migration good{1, "001_good.sql", "CREATE TABLE bdr.one ()"};
  const internal::Migration bad{2, "002_bad.sql", "CREATE TABLE bdr.two (); SELECT 1 / 0"};
  const internal::Migration mended{2, "002_bad.sql", "CREATE TABLE bdr.two ()"};

  const absl::Status status = internal::MigrateWith(*connection, {good, bad});
  EXPECT_EQ(Sqlstate(status), "22012");
  EXPECT_THAT(std::string(status.message()), HasSubstr("002_bad.sql"));
  EXPECT_EQ(Versions(), "1");

  ASSERT_OK(internal::MigrateWith(*connection, {good, mended}));
  EXPECT_EQ(Versions(), "1,2");
}

TEST_F(MigrationsTest, InsideATransactionIsRefused) {
  ASSERT_OK(MakeSchema());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Connection> connection, Connect());
  ASSERT_OK(connection->Exec("BEGIN"));
  EXPECT_EQ(Migrate(*connection).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace bdr::postgres
