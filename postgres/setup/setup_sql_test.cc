// The script that an administrator trusts with superuser rights: what it gives, and that running it
// again gives nothing else.
#include "postgres/setup/setup_sql.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/testing.h"
#include "tests/harness/postgres_server.h"

namespace bdr::pg_setup {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SetupSqlTest, RoleNamesThatNeedThoughtAreRefused) {
  for (const char* role : {"", "a'b", "a\"b", "a;b", "pg_monitor", "public", "none", "a b"}) {
    EXPECT_EQ(SetupSql({.role = role}).status().code(), absl::StatusCode::kInvalidArgument) << role;
  }
  EXPECT_OK(SetupSql({.role = "Bdr-2_x"}));
}

TEST(SetupSqlTest, SetsOnlyWhatDiffers) {
  ASSERT_OK_AND_ASSIGN(const std::string sql, SetupSql({.current = ServerSettings{
                                                            .wal_level = "logical",
                                                            .track_commit_timestamp = false,
                                                            .max_replication_slots = 100,
                                                            .max_wal_senders = 5,
                                                        }}));
  EXPECT_THAT(sql, Not(HasSubstr("wal_level = ")));
  EXPECT_THAT(sql, HasSubstr("ALTER SYSTEM SET track_commit_timestamp = 'on'"));
  EXPECT_THAT(sql, Not(HasSubstr("SET max_replication_slots")));
  EXPECT_THAT(sql, HasSubstr("ALTER SYSTEM SET max_wal_senders = 20"));
}

class SetupSqlOnServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = harness::PostgresServer::Create();
    ASSERT_OK(server);
    server_ = std::move(*server);
    ASSERT_OK_AND_ASSIGN(script_, SetupSql({.role = "agent-1"}));
  }

  // Where each table is: "table=publication,...".
  std::string Published() {
    return server_
        ->QueryValue(
            "SELECT coalesce(string_agg(tablename || '=' || pubname, ',' ORDER BY 1), '') "
            "FROM (SELECT tablename, pubname FROM pg_publication_tables ORDER BY 1, 2) t")
        .value_or("error");
  }

  std::unique_ptr<harness::PostgresServer> server_;
  std::string script_;
};

TEST_F(SetupSqlOnServerTest, EveryTableLandsWhereItsKeyPutsIt) {
  ASSERT_OK(server_->Exec(R"sql(
    CREATE TABLE keyed (id int PRIMARY KEY);
    CREATE TABLE keyless (v text);
    CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
    CREATE TABLE whole (id int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE whole_keyless (id int); ALTER TABLE whole_keyless REPLICA IDENTITY FULL;
    CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE by_index (a int NOT NULL UNIQUE);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_key;
    CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."Ta""ble" (id int PRIMARY KEY))sql"));
  ASSERT_OK(server_->RunScript(script_));
  const std::string expected =
      "Ta\"ble=bdr_keyed,by_index=bdr_keyed,deferred=bdr_insert_only,keyed=bdr_keyed,"
      "keyless=bdr_insert_only,nothing=bdr_insert_only,parted=bdr_keyed,whole=bdr_keyed,"
      "whole_keyless=bdr_insert_only";
  EXPECT_EQ(Published(), expected);
  ASSERT_OK(server_->RunScript(script_));
  EXPECT_EQ(Published(), expected);
}

TEST_F(SetupSqlOnServerTest, TheAgentsRoleMayMoveTablesBetweenPublicationsItself) {
  ASSERT_OK(server_->Exec("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (v text)"));
  ASSERT_OK(server_->RunScript(script_));
  ASSERT_OK(
      server_->Exec("ALTER TABLE a DROP CONSTRAINT a_pkey; CREATE TABLE c (id int PRIMARY KEY);"
                    "DROP TABLE b"));
  ASSERT_OK_AND_ASSIGN(auto agent, server_->Connect("agent-1"));
  ASSERT_OK(agent->Exec("SELECT bdr.sync_publications()"));
  EXPECT_EQ(Published(), "a=bdr_insert_only,c=bdr_keyed");
  ASSERT_OK(agent->Exec("TRUNCATE c"));
}

TEST_F(SetupSqlOnServerTest, NobodyElseMayMoveTables) {
  ASSERT_OK(server_->RunScript(script_));
  ASSERT_OK(server_->Exec("CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA bdr TO other"));
  ASSERT_OK_AND_ASSIGN(auto other, server_->Connect("other"));
  EXPECT_EQ(other->Exec("SELECT bdr.sync_publications()").status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(SetupSqlOnServerTest, ASuperuserIsNotTurnedIntoAnAgent) {
  ASSERT_OK_AND_ASSIGN(const std::string script, SetupSql({.role = "postgres"}));
  EXPECT_FALSE(server_->RunScript(script).ok());
}

TEST_F(SetupSqlOnServerTest, WithoutSettingsItRunsAsOneQuery) {
  ASSERT_OK_AND_ASSIGN(const std::string sql, SetupSql({.settings = false}));
  ASSERT_OK(server_->Exec(sql));
  ASSERT_OK(server_->Exec(sql));
}

}  // namespace
}  // namespace bdr::pg_setup
