// Connections against a real server: each error has the code that tells its caller what to do, and
// a pipeline stays in step whatever happens inside it.
#include "postgres/connection.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "postgres/sqlstate_testing.h"
#include "tests/harness/ports.h"
#include "tests/harness/postgres_test.h"

namespace bdr::postgres {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ConnectionTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->Exec("CREATE ROLE plain LOGIN"));
  }

  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Connection>> connection = server_->Connect();
    ASSERT_OK(connection);
    connection_ = *std::move(connection);
  }

  std::unique_ptr<Connection> connection_;
};

TEST_F(ConnectionTest, RefusedConnectionsTellWhetherRepeatingHelps) {
  ASSERT_OK_AND_ASSIGN(const int port, harness::FreePort());
  const auto connect = [](const std::string& conninfo) {
    return Connection::Connect({.conninfo = conninfo, .application_name = "test"}).status();
  };
  const absl::Status nobody =
      connect(absl::StrCat("host=127.0.0.1 user=u dbname=d password=geheim port=", port));
  EXPECT_EQ(nobody.code(), absl::StatusCode::kUnavailable) << nobody;
  EXPECT_THAT(std::string(nobody.message()), HasSubstr(absl::StrCat("port ", port)));
  EXPECT_THAT(std::string(nobody.message()), Not(HasSubstr("geheim")));

  const absl::Status database = connect(server_->conninfo("postgres", "nowhere"));
  EXPECT_EQ(database.code(), absl::StatusCode::kFailedPrecondition) << database;
  EXPECT_EQ(Sqlstate(database), "3D000");
  EXPECT_THAT(std::string(database.message()), HasSubstr("\"nowhere\" does not exist"));
  EXPECT_THAT(std::string(database.message()), Not(HasSubstr(".c:")));

  const absl::Status role = connect(server_->conninfo("nobody"));
  EXPECT_EQ(role.code(), absl::StatusCode::kPermissionDenied) << role;

  const absl::Status malformed = connect("host=127.0.0.1 password=geheim nonsense");
  EXPECT_EQ(malformed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(malformed.message()), Not(HasSubstr("geheim")));
}

TEST_F(ConnectionTest, SilentServerIsGivenUpAfterTheTimeout) {
  // Takes connections into its backlog and never answers.
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);

  const absl::Time start = absl::Now();
  const absl::Status status =
      Connection::Connect(
          {.conninfo = absl::StrCat("host=127.0.0.1 user=u dbname=d sslmode=disable port=",
                                    ntohs(address.sin_port)),
           .application_name = "test",
           .timeout = absl::Milliseconds(300)})
          .status();
  close(listener);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST_F(ConnectionTest, SqlstatesBecomeTheCodesOfTheContract) {
  const auto code = [this](const std::string& sqlstate) {
    return connection_
        ->Exec(
            absl::StrCat("DO $$BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '", sqlstate, "'; END$$"))
        .status()
        .code();
  };
  EXPECT_EQ(code("40001"), absl::StatusCode::kAborted);
  EXPECT_EQ(code("40P01"), absl::StatusCode::kAborted);
  EXPECT_EQ(code("57P03"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("08006"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("57014"), absl::StatusCode::kCancelled);
  EXPECT_EQ(code("42501"), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code("22012"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("23505"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("42P01"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("53100"), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code("55006"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("55P03"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("BD001"), absl::StatusCode::kInternal);
}

TEST_F(ConnectionTest, ErrorsSayWhatWasTriedAndWhatToDo) {
  ASSERT_OK(connection_->Exec("CREATE TEMP TABLE t (id int PRIMARY KEY)"));
  const absl::Status status =
      connection_
          ->Exec(
              "DO $$BEGIN RAISE EXCEPTION 'broken' USING DETAIL = 'the detail', "
              "HINT = 'the hint', ERRCODE = 'BD001'; END$$")
          .status();
  EXPECT_EQ(Sqlstate(status), "BD001");
  for (const char* part : {"cannot run \"DO", "broken", "the detail", "the hint", "BD001"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
  EXPECT_EQ(Sqlstate(absl::OkStatus()), "");
  EXPECT_EQ(Sqlstate(ErrorForTesting(absl::StatusCode::kAborted, "40P01")), "40P01");
}

// Errors are logged, and what a row holds is nobody's business there.
TEST_F(ConnectionTest, ErrorsOfConstraintsNameThemAndNoValues) {
  ASSERT_OK(
      connection_->Exec("CREATE TEMP TABLE t (id int PRIMARY KEY, body text CONSTRAINT short CHECK "
                        "(length(body) < 5));"
                        "INSERT INTO t VALUES (4711, 'one')"));
  for (const auto& [sql, constraint] :
       {std::pair("INSERT INTO t VALUES (4711, 'two')", "t_pkey"),
        std::pair("INSERT INTO t VALUES (1, 'confidential')", "short")}) {
    const absl::Status status = connection_->ExecParams(sql, {}).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(constraint));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("Failing row")));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("Key (id)")));
  }
}

TEST_F(ConnectionTest, NoticesStayQuiet) {
  ::testing::internal::CaptureStderr();
  EXPECT_OK(connection_->Exec("DO $$BEGIN RAISE WARNING 'loud'; RAISE NOTICE 'less'; END$$"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(ConnectionTest, ParametersAndResultsInBothForms) {
  const std::string seven("\0\0\0\7", 4);
  ASSERT_OK_AND_ASSIGN(
      const Result result,
      connection_->ExecParams("SELECT $1::int + 1, $2::text, $3::text, $4::bytea",
                              {Param{.data = seven, .binary = true, .type_oid = 23},
                               Param{.data = absl::string_view("text not ended by NUL", 4)},
                               Param{}, Param{.data = "", .binary = true}},
                              /*binary_result=*/true));
  ASSERT_EQ(result.rows(), 1);
  ASSERT_EQ(result.columns(), 4);
  EXPECT_EQ(result.value(0, 0), absl::string_view("\0\0\0\x08", 4));
  EXPECT_EQ(result.value(0, 1), "text");
  EXPECT_TRUE(result.is_null(0, 2));
  EXPECT_FALSE(result.is_null(0, 3));
  EXPECT_EQ(result.value(0, 3), "");

  EXPECT_EQ(*connection_->QueryValue("SELECT $1::int * 2", {Param{.data = "21"}}), "42");
  EXPECT_EQ(connection_->QueryValue("SELECT 1 WHERE false").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(connection_->ExecParams("SELECT $1", {Param{.data = absl::string_view("a\0b", 3)}})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ConnectionTest, AffectedCountsWrittenRows) {
  ASSERT_OK(connection_->Exec("CREATE TEMP TABLE t (id int)"));
  EXPECT_EQ(connection_->Exec("INSERT INTO t SELECT generate_series(1, 5)")->affected(), 5);
  EXPECT_EQ(connection_->Exec("UPDATE t SET id = id WHERE id < 3")->affected(), 2);
  EXPECT_EQ(connection_->Exec("SELECT * FROM t")->affected(), 0);
  EXPECT_EQ(Result().affected(), 0);
}

TEST_F(ConnectionTest, PipelineGivesResultsInOrder) {
  ASSERT_OK(connection_->EnterPipeline());
  ASSERT_OK(connection_->QueuePrepare("twice", "SELECT $1 * 2", {23}));
  for (int i = 0; i < 3; ++i) {
    const std::string number = absl::StrCat(i);
    ASSERT_OK(connection_->QueuePrepared("twice", {Param{.data = number}}));
  }
  ASSERT_OK(connection_->QueueParams("SELECT 'x' WHERE false", {}));
  ASSERT_OK(connection_->Sync());
  EXPECT_EQ(connection_->ExitPipeline().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(connection_->Exec("SELECT 1").status().code(), absl::StatusCode::kFailedPrecondition);

  EXPECT_OK(connection_->Next());  // the prepare
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(const Result result, connection_->Next());
    EXPECT_EQ(result.value(0, 0), absl::StrCat(2 * i));
  }
  EXPECT_EQ(connection_->Next()->rows(), 0);
  EXPECT_EQ(connection_->Next()->rows(), 0);  // the sync
  EXPECT_EQ(connection_->Next().status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK(connection_->ExitPipeline());
  EXPECT_EQ(*connection_->QueryValue("SELECT 1"), "1");
}

TEST_F(ConnectionTest, PipelineErrorSkipsUpToTheSyncAndNoFurther) {
  ASSERT_OK(connection_->EnterPipeline());
  for (int batch = 0; batch < 3; ++batch) {
    ASSERT_OK(connection_->QueueParams("SELECT 1", {}));
    ASSERT_OK(connection_->QueueParams("SELECT 1 / 0", {}));
    ASSERT_OK(connection_->QueuePrepare("never", "SELECT 1", {}));
    ASSERT_OK(connection_->QueuePrepared("never", {}));
    ASSERT_OK(connection_->Sync());
  }
  for (int batch = 0; batch < 3; ++batch) {
    EXPECT_OK(connection_->Next());
    EXPECT_EQ(Sqlstate(connection_->Next().status()), "22012");
    for (int skipped = 0; skipped < 2; ++skipped) {
      const absl::Status status = connection_->Next().status();
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
      EXPECT_EQ(Sqlstate(status), "");
    }
    EXPECT_OK(connection_->Next());
  }
  ASSERT_OK(connection_->ExitPipeline());
}

TEST_F(ConnectionTest, PipelineStatementCanBeQueuedBetweenReads) {
  ASSERT_OK(connection_->EnterPipeline());
  ASSERT_OK(connection_->QueueParams("SELECT 1", {}));
  ASSERT_OK(connection_->Sync());
  EXPECT_EQ(connection_->Next()->value(0, 0), "1");
  ASSERT_OK(connection_->QueueParams("SELECT 2", {}));
  EXPECT_OK(connection_->Next());
  ASSERT_OK(connection_->Sync());
  EXPECT_EQ(connection_->Next()->value(0, 0), "2");
  EXPECT_OK(connection_->Next());
  ASSERT_OK(connection_->ExitPipeline());
  ASSERT_OK(connection_->EnterPipeline());
  ASSERT_OK(connection_->ExitPipeline());
}

TEST_F(ConnectionTest, MuchCanBeQueuedBeforeAnythingIsRead) {
  // 64 MB each way: far more than the buffers of both sockets hold.
  const std::string large(64 * 1024, 'x');
  constexpr int kStatements = 1000;
  ASSERT_OK(connection_->EnterPipeline());
  for (int i = 0; i < kStatements; ++i) {
    ASSERT_OK(connection_->QueueParams("SELECT $1::text", {Param{.data = large}}));
  }
  ASSERT_OK(connection_->Sync());
  for (int i = 0; i < kStatements; ++i) {
    ASSERT_OK_AND_ASSIGN(const Result result, connection_->Next(absl::Seconds(60)));
    ASSERT_EQ(result.value(0, 0).size(), large.size());
  }
  ASSERT_OK(connection_->Next(absl::Seconds(60)));
  ASSERT_OK(connection_->ExitPipeline());
}

TEST_F(ConnectionTest, PipelineDeadlineLeavesTheResultToALaterNext) {
  ASSERT_OK(connection_->EnterPipeline());
  ASSERT_OK(connection_->QueueParams("SELECT pg_sleep(0.5), 'done'", {}));
  ASSERT_OK(connection_->Sync());
  EXPECT_EQ(connection_->Next(absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(connection_->Next(absl::ZeroDuration()).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(connection_->Next(absl::Seconds(30))->value(0, 1), "done");
  EXPECT_OK(connection_->Next());
}

TEST_F(ConnectionTest, CancelFromAnotherThreadEndsTheStatement) {
  std::thread canceller([this] {
    absl::SleepFor(absl::Milliseconds(200));
    connection_->Cancel();
  });
  const absl::Status status = connection_->Exec("SELECT pg_sleep(60)").status();
  canceller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_OK(connection_->Exec("SELECT 1"));
}

TEST_F(ConnectionTest, KilledBackendMakesTheConnectionBrokenAndUnavailable) {
  ASSERT_OK(connection_->EnterPipeline());
  ASSERT_OK(connection_->QueueParams("SELECT pg_sleep(60)", {}));
  ASSERT_OK(connection_->QueueParams("SELECT 1", {}));
  ASSERT_OK(connection_->Sync());
  std::thread killer([this] {
    absl::SleepFor(absl::Milliseconds(200));
    EXPECT_OK(server_->Exec(
        absl::StrCat("SELECT pg_terminate_backend(", connection_->backend_pid(), ")")));
  });
  const absl::Status killed = connection_->Next().status();
  EXPECT_EQ(killed.code(), absl::StatusCode::kUnavailable) << killed;
  EXPECT_EQ(Sqlstate(killed), "57P01");
  EXPECT_FALSE(connection_->Next().ok());  // skipped or unavailable: the socket's end may be unread
  EXPECT_EQ(connection_->Next().status().code(), absl::StatusCode::kUnavailable);
  killer.join();
  EXPECT_TRUE(connection_->broken());
}

TEST_F(ConnectionTest, CopyInWritesRowsAndReportsErrors) {
  ASSERT_OK(connection_->Exec("CREATE TEMP TABLE t (id int PRIMARY KEY, v text)"));
  std::string rows;
  for (int i = 0; i < 200000; ++i) absl::StrAppend(&rows, i, "\tvalue\n");
  ASSERT_OK(connection_->CopyIn("COPY t FROM STDIN", rows));
  EXPECT_EQ(*connection_->QueryValue("SELECT count(*) FROM t"), "200000");

  EXPECT_EQ(Sqlstate(connection_->CopyIn("COPY t FROM STDIN", "1\ttwice\n")), "23505");
  EXPECT_EQ(Sqlstate(connection_->CopyIn("COPY t FROM STDIN", "x\ty\n")), "22P02");
  EXPECT_EQ(Sqlstate(connection_->CopyIn("COPY nowhere FROM STDIN", "")), "42P01");
  EXPECT_EQ(connection_->CopyIn("SELECT 1", "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(connection_->CopyIn("COPY t TO STDOUT", "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(connection_->Exec("COPY t FROM STDIN").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(connection_->Exec("COPY t TO STDOUT").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*connection_->QueryValue("SELECT count(*) FROM t"), "200000");
}

TEST_F(ConnectionTest, QuotingSurvivesTheServer) {
  for (const std::string text :
       {"plain", "it's", "back\\slash", "\"double\"", "", "Gr\u00f6\u00dfe", "\\'"}) {
    EXPECT_EQ(*connection_->QueryValue(absl::StrCat("SELECT ", QuoteLiteral(text))), text);
    if (text.empty()) continue;
    const absl::StatusOr<Result> result =
        connection_->Exec(absl::StrCat("SELECT 1 AS ", QuoteIdentifier(text)));
    ASSERT_OK(result);
    EXPECT_EQ(std::string(PQfname(result->get(), 0)), text);
  }
}

// A server whose machine is gone answers nothing, and its kernel neither.
TEST_F(ConnectionTest, AServerThatVanishesIsNotWaitedForLong) {
  const auto option = [](const std::string& conninfo, int name) {
    auto connection = Connection::Connect({.conninfo = conninfo, .application_name = "test"});
    EXPECT_OK(connection);
    int value = 0;
    socklen_t size = sizeof(value);
    EXPECT_EQ(getsockopt(PQsocket((*connection)->raw()), IPPROTO_TCP, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(option(server_->conninfo(), TCP_KEEPIDLE), 15);
  EXPECT_EQ(option(server_->conninfo(), TCP_USER_TIMEOUT), 30000);
  // Whoever knows his network better says so.
  EXPECT_EQ(option(server_->conninfo() + " tcp_user_timeout=90000", TCP_USER_TIMEOUT), 90000);
}

TEST_F(ConnectionTest, SessionKnowsItsNameEncodingAndFormats) {
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<Connection> connection,
      Connection::Connect({.conninfo = server_->conninfo("plain") + " options='-c geqo=off'",
                           .application_name = "bdr test"}));
  EXPECT_EQ(*connection->QueryValue("SHOW application_name"), "bdr test");
  EXPECT_EQ(*connection->QueryValue("SHOW client_encoding"), "UTF8");
  EXPECT_EQ(*connection->QueryValue("SHOW client_min_messages"), "warning");
  EXPECT_EQ(*connection->QueryValue("SHOW geqo"), "off");
  EXPECT_GE(connection->server_version(), 150000);
  EXPECT_EQ(*connection->QueryValue("SELECT pg_backend_pid()"),
            absl::StrCat(connection->backend_pid()));
}

// Every parameter that a default of role or database can set is another than usual; what still
// reaches a session of ours must be known to do no harm.
TEST_F(ConnectionTest, DefaultsOfRoleAndDatabaseDoNotReachOurSessions) {
  ASSERT_OK(server_->Exec("CREATE DATABASE odd"));
  ASSERT_OK(
      server_->Exec("CREATE ROLE ours LOGIN;"
                    "GRANT SET ON PARAMETER session_replication_role TO ours"));
  ASSERT_OK_AND_ASSIGN(
      const Result parameters,
      connection_->Exec(
          "SELECT name, CASE vartype WHEN 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' "
          "END WHEN 'enum' THEN (SELECT v FROM unnest(enumvals) v WHERE v <> setting LIMIT 1) WHEN "
          "'string' THEN CASE WHEN name ~ '^lc_' THEN 'POSIX' WHEN name = 'DateStyle' THEN "
          "'German' "
          "WHEN name = 'TimeZone' THEN 'Asia/Kathmandu' WHEN name = 'timezone_abbreviations' THEN "
          "'India' WHEN name = 'search_path' THEN 'public' WHEN name = 'client_encoding' THEN "
          "'LATIN1' WHEN name = 'restrict_nonsystem_relation_kind' THEN 'view' ELSE setting END "
          "ELSE CASE WHEN setting = max_val THEN min_val WHEN name ~ 'timeout' THEN '60000' "
          "ELSE max_val END END "
          "FROM pg_settings WHERE context IN ('user', 'superuser') AND name !~ "
          "'^(transaction_(isolation|read_only|deferrable)|local_preload|session_preload|"
          "max_stack_depth|temp_file_limit|debug_discard_caches|allow_system|default_table_access)"
          "'"));
  int set = 0;
  for (int i = 0; i < parameters.rows(); ++i) {
    if (parameters.is_null(i, 1)) continue;
    const std::string to = absl::StrCat(" SET ", QuoteIdentifier(parameters.value(i, 0)), " = ",
                                        QuoteLiteral(parameters.value(i, 1)));
    set += server_->Exec(absl::StrCat(set % 2 == 0 ? "ALTER ROLE ours" : "ALTER DATABASE odd", to))
               .ok();
  }
  EXPECT_GT(set, 130);

  ASSERT_OK_AND_ASSIGN(const auto connection,
                       Connection::Connect({.conninfo = server_->conninfo("ours", "odd"),
                                            .application_name = "bdr test"}));
  // Costs, memory and workers of plans, what vacuum and statistics do, what only a superuser can
  // set and means for his server: they change how fast something is, or the server's own log.
  EXPECT_EQ(
      *connection->QueryValue(
          "SELECT string_agg(name, ' ') FROM pg_settings WHERE source IN ('user', 'database', "
          "'database user') AND category !~ 'Cost|Resource Usage|Genetic|Statistics|Write-Ahead' "
          "AND "
          "name !~ "
          "'^(vacuum|log_|jit_|trace_|tcp_keepalives|debug_pretty|gin_pending|enable_parallel|"
          "enable_partitionwise)' AND name NOT IN ('default_statistics_target', "
          "'from_collapse_limit', 'join_collapse_limit', 'cursor_tuple_fraction', "
          "'recursive_worktable_factor', 'password_encryption', 'default_toast_compression', "
          "'client_connection_check_interval', 'synchronize_seqscans', 'enable_async_append', "
          "'enable_gathermerge', 'lc_messages', 'default_text_search_config', "
          "'update_process_title', "
          "'deadlock_timeout', 'lo_compat_privileges', 'allow_in_place_tablespaces', "
          "'ignore_checksum_failure', 'zero_damaged_pages', 'wal_consistency_checking', "
          "'dynamic_library_path', 'backtrace_functions')"),
      "");
  EXPECT_EQ(*connection->QueryValue("SELECT current_schemas(true)::text"), "{pg_catalog}");
  EXPECT_EQ(*connection->QueryValue("SHOW session_replication_role"), "origin");
  EXPECT_EQ(*connection->QueryValue("SELECT '2026-01-02 03:04:05+00'::timestamptz"),
            "2026-01-02 03:04:05+00");

  // Beside what a user would have.
  ASSERT_OK_AND_ASSIGN(const auto user,
                       Connection::Connect({.conninfo = server_->conninfo("ours", "odd"),
                                            .application_name = "a user",
                                            .users_settings = true}));
  EXPECT_NE(*user->QueryValue("SHOW search_path"), "pg_catalog,pg_temp");
}

TEST_F(ConnectionTest, AFunctionThatLeansOnAnotherSearchPathIsNamed) {
  ASSERT_OK(
      connection_->Exec("CREATE FUNCTION public.leans(int) RETURNS int LANGUAGE plpgsql AS "
                        "$$BEGIN RETURN (SELECT id FROM nowhere); END$$"));
  ASSERT_OK_AND_ASSIGN(
      const auto connection,
      Connection::Connect({.conninfo = server_->conninfo(), .application_name = "bdr test"}));
  const absl::Status status = connection->Exec("SELECT public.leans(7)").status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("in PL/pgSQL function public.leans(integer) line 1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("ALTER FUNCTION"));
}

}  // namespace
}  // namespace bdr::postgres
