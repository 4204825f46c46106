// The harness itself: what every other test leans on.
#include "tests/harness/postgres_server.h"

#include <gmock/gmock.h>

#include "base/testing.h"

namespace bdr::harness {
namespace {

TEST(PostgresServerTest, SurvivesKill9AndRestartsWithWhatWasCommitted) {
  ASSERT_OK_AND_ASSIGN(const auto server, PostgresServer::Create());
  ASSERT_OK(server->Exec("CREATE TABLE t (a int); INSERT INTO t VALUES (7)"));
  ASSERT_OK(server->Kill9());
  EXPECT_FALSE(server->Running());
  EXPECT_FALSE(server->QueryValue("SELECT 1").ok());
  ASSERT_OK(server->Start());
  EXPECT_EQ(*server->QueryValue("SELECT a FROM t"), "7");
  EXPECT_EQ(*server->QueryValue("SHOW wal_level"), "logical");
}

TEST(PostgresServerTest, ScriptsMayHoldStatementsThatRefuseATransaction) {
  ASSERT_OK_AND_ASSIGN(const auto server, PostgresServer::Create());
  EXPECT_OK(server->RunScript("ALTER SYSTEM SET work_mem = '5MB';\nSELECT pg_reload_conf();\n"));
  EXPECT_FALSE(server->RunScript("SELECT 1/0;").ok());
}

TEST(PostgresServerTest, AStopWaitsUntilTheServerIsGone) {
  ASSERT_OK_AND_ASSIGN(const auto server, PostgresServer::Create());
  ASSERT_OK(server->Restart(PostgresServer::StopMode::kImmediate));
  ASSERT_OK(server->Restart(PostgresServer::StopMode::kFast));
  EXPECT_EQ(*server->QueryValue("SELECT 1"), "1");
  ASSERT_OK(server->Stop());
  EXPECT_FALSE(server->Running());
}

TEST(ChildProcessTest, TellsHowAProgramEnded) {
  ASSERT_OK_AND_ASSIGN(
      const ProgramResult result,
      RunProgram({.argv = {"sh", "-c", "cat; echo bad >&2; exit 3"}}, absl::Seconds(10), "hello"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "hello");
  EXPECT_EQ(result.err, "bad\n");
  EXPECT_FALSE(RunProgram({.argv = {"/no/such/program"}}).ok());

  ASSERT_OK_AND_ASSIGN(const auto child, ChildProcess::Start({.argv = {"sleep", "100"}}));
  EXPECT_TRUE(child->Running());
  EXPECT_GT(*child->PeakMemoryBytes(), 0);
  EXPECT_FALSE(child->Terminate().ok());  // a signal ended it, not its own will
  EXPECT_FALSE(child->Running());
}

}  // namespace
}  // namespace bdr::harness
