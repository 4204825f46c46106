// Every sequence access method, and all that sessions ask of it, on other major versions of
// PostgreSQL than Debian's.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/compat/other_versions.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

class SequenceVersionsTest : public ClusterTest, public ::testing::WithParamInterface<int> {
 protected:
  // Two nodes in two databases of one server.
  void StartNodes(const std::string& bin_folder) {
    harness::ClusterOptions options;
    options.nodes.assign(2, {});
    options.nodes[0].bin_folder = bin_folder;
    options.nodes[1].server_of = "n1";
    options.nodes[0].first_sql = "CREATE ROLE app LOGIN";
    options.schema_sql =
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL);"
        "GRANT ALL ON t, t_id_seq TO app";
    StartCluster(std::move(options));
  }
  void Bdrctl(std::vector<std::string> command) {
    command = cluster_->WithDatabases(std::move(command));
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult result, cluster_->Bdrctl(command));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  }
  void Convert(const std::string& method) {
    ASSERT_NO_FATAL_FAILURE(Bdrctl({"sequence", "convert", "public.t_id_seq", "--method", method}));
  }
  std::unique_ptr<postgres::Connection> ConnectAsApp(const std::string& node) {
    auto app = postgres::Connection::Connect({.conninfo = cluster_->conninfo(node, "app"),
                                              .application_name = "app",
                                              .users_settings = true});
    EXPECT_OK(app.status());
    return app.ok() ? *std::move(app) : nullptr;
  }

  // Repeats the transaction as long as the server asks for that, as an application must: a gapless
  // sequence's turn may come while it runs.
  void Repeat(const std::string& node, const std::string& sql) {
    ASSERT_OK(harness::WaitFor(sql, absl::Minutes(1), [&]() -> absl::StatusOr<bool> {
      const absl::Status status = cluster_->Exec(node, sql);
      if (absl::IsAborted(status)) return false;
      return status.ok() ? absl::StatusOr<bool>(true) : status;
    }));
  }

  // Each row that anybody writes counts, so that an id that came twice is missed.
  void DrawInEveryWay(const std::string& node) {
    for (const char* sql : {"INSERT INTO t (note) SELECT 'default' FROM generate_series(1, 100)",
                            "COPY t (note) FROM PROGRAM 'seq 1 200'",
                            "INSERT INTO t OVERRIDING SYSTEM VALUE SELECT r, 'reserve' FROM "
                            "bdr.reserve('t_id_seq', 50) r"}) {
      ASSERT_NO_FATAL_FAILURE(Repeat(node, sql));
    }
    for (const char* level : {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"}) {
      ASSERT_NO_FATAL_FAILURE(
          Repeat(node, absl::StrCat("BEGIN ISOLATION LEVEL ", level,
                                    "; SELECT count(*) FROM t; INSERT INTO t (note) SELECT '",
                                    level, "' FROM generate_series(1, 1000); COMMIT")));
    }
    rows_ += 100 + 200 + 50 + 3000;
  }
  // By the names of PostgreSQL's own functions.
  void DrawAsAnApplication(const std::string& node) {
    const auto app = ConnectAsApp(node);
    ASSERT_NE(app, nullptr);
    int known = 0;
    for (int i = 0; i < 20; ++i) {
      ASSERT_OK_AND_ASSIGN(
          const std::string id,
          app->QueryValue("INSERT INTO t OVERRIDING SYSTEM VALUE SELECT nextval('t_id_seq'), 'app' "
                          "RETURNING id"));
      ++rows_;
      for (const char* sql : {"SELECT currval('t_id_seq')", "SELECT lastval()"}) {
        const absl::StatusOr<std::string> last = app->QueryValue(sql);
        if (last.ok()) {
          EXPECT_EQ(*last, id) << sql;
          ++known;
        } else {
          EXPECT_THAT(std::string(last.status().message()), HasSubstr("RETURNING"));
        }
      }
      EXPECT_EQ(app->QueryValue("SELECT setval('t_id_seq', 1)").value_or("an error"), "1");
    }
    EXPECT_GT(known, 0);
  }
  void ExpectRows() {
    BDR_CONVERGE();
    ExpectEverywhere("SELECT count(*) FROM t", absl::StrCat(rows_));
    ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  }

  int rows_ = 0;
};

TEST_P(SequenceVersionsTest, EveryMethodGivesIdsInEveryWay) {
  const absl::StatusOr<std::string> bin_folder = BinFolderOf(GetParam());
  if (!bin_folder.ok()) GTEST_SKIP() << bin_folder.status();
  ASSERT_NO_FATAL_FAILURE(StartNodes(*bin_folder));
  EXPECT_EQ(Value("n1", "SHOW server_version").substr(0, 2), absl::StrCat(GetParam()));
  ASSERT_NO_FATAL_FAILURE(Bdrctl({"sequence", "intercept", "app"}));
  for (const char* method : {"gapless", "stepped", "stepped_blocks", "galloc", "snowflake"}) {
    SCOPED_TRACE(method);
    ASSERT_NO_FATAL_FAILURE(Convert(method));
    ExpectEverywhere("SELECT method FROM bdr.sequence", method);
    for (const std::string& node : cluster_->names()) {
      ASSERT_NO_FATAL_FAILURE(DrawInEveryWay(node));
      ASSERT_NO_FATAL_FAILURE(DrawAsAnApplication(node));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectRows());
  }
  ASSERT_NO_FATAL_FAILURE(Convert("local"));
  ExpectEverywhere(
      "SELECT attidentity FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'id'",
      "a");
  ExpectEverywhere(
      "SELECT count(*) FROM pg_class WHERE relnamespace = 'bdr'::regnamespace AND relkind = 'S' AND"
      " relname ~ '^sequence_'",
      "0");
  ASSERT_NO_FATAL_FAILURE(DrawInEveryWay("n1"));
  ASSERT_NO_FATAL_FAILURE(ExpectRows());
}

INSTANTIATE_TEST_SUITE_P(Majors, SequenceVersionsTest, ::testing::Values(16, 17, 18),
                         [](const ::testing::TestParamInfo<int>& major) {
                           return absl::StrCat("Postgres", major.param);
                         });

}  // namespace
}  // namespace bdr::integration
