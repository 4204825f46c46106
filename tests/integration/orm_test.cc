// Object-relational mappers on converted sequences: applications that know nothing of bdr write on
// both nodes at once, and have the very ids of their rows.
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

// By name of the sequence's method: what the two applications have of each kind of key.
struct Converted {
  const char* sequence;
  const char* method;
};

class SequenceOrmTest : public ClusterTest {
 protected:
  // `script` is one of orm/*.py.
  explicit SequenceOrmTest(std::string script) : script_(std::move(script)) {}

  // The application's own role makes the tables, by the application, on every node.
  void StartShop() {
    harness::ClusterOptions options;
    options.schema_sql = "CREATE ROLE app LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO app";
    options.prepare = [this](harness::Cluster& cluster, const std::string& node) -> absl::Status {
      const absl::StatusOr<harness::ProgramResult> made =
          Run({"create", cluster.conninfo(node, "app")});
      if (!made.ok()) return made.status();
      if (made->exit_code == 0) return absl::OkStatus();
      return absl::InternalError(
          absl::StrCat(script_, ": ", made->err,
                       " (Debian: python3-django, python3-psycopg2, python3-sqlalchemy)"));
    };
    StartCluster(std::move(options));
  }
  void Convert(const std::vector<Converted>& sequences) {
    for (const Converted& converted : sequences) {
      Bdrctl({"sequence", "convert", absl::StrCat("public.", converted.sequence), "--method",
              converted.method});
    }
  }
  void Intercept() { Bdrctl({"sequence", "intercept", "app"}); }

  // The application on both nodes at once. What it was told of its rows is kept.
  void RunEverywhere(const std::string& what) {
    ++runs_;
    std::map<std::string, absl::StatusOr<harness::ProgramResult>> results;
    for (const std::string& node : cluster_->names()) results[node] = absl::UnknownError("not run");
    std::vector<std::thread> applications;
    for (const std::string& node : cluster_->names()) {
      applications.emplace_back([this, &what, &result = results[node], node] {
        result = Run({what, cluster_->conninfo(node, "app"), absl::StrCat(node, "-", runs_)});
      });
    }
    for (std::thread& application : applications) application.join();
    for (const auto& [node, result] : results) {
      ASSERT_OK(result) << node;
      ASSERT_EQ(result->exit_code, 0) << what << " on " << node << ": " << result->err;
      for (const absl::string_view line : absl::StrSplit(result->out, '\n', absl::SkipEmpty())) {
        const std::vector<std::string> words = absl::StrSplit(line, ' ');
        ASSERT_EQ(words.size(), 3u) << line;
        told_[words[0]].push_back(absl::StrCat(words[1], " ", words[2]));
      }
    }
  }
  // Every node has the very rows that were told of, and no id twice.
  void ExpectRowsAsTold(size_t tables) {
    EXPECT_EQ(told_.size(), tables);
    BDR_CONVERGE();
    for (auto& [table, rows] : told_) {
      std::set<std::string> ids;
      for (const std::string& row : rows) ids.insert(row.substr(0, row.find(' ')));
      EXPECT_EQ(ids.size(), rows.size()) << table << ": an id was told twice";
      const std::string differ = absl::StrCat(
          "SELECT coalesce(string_agg(format('%s %s', side, row), ', '), '') FROM (",
          "(SELECT 'not told:' AS side, id || ' ' || note AS row FROM ", table, " EXCEPT SELECT ",
          "'not told:', unnest($1::text[]) LIMIT 3) UNION ALL (SELECT 'told:', unnest($1::text[])",
          " EXCEPT SELECT 'told:', id || ' ' || note FROM ", table, " LIMIT 3)) t");
      const std::string told = absl::StrCat("{", absl::StrJoin(rows, ","), "}");
      for (const std::string& node : cluster_->names()) {
        ASSERT_OK_AND_ASSIGN(const auto session, cluster_->Connect(node));
        ASSERT_OK_AND_ASSIGN(const auto result, session->ExecParams(differ, {{{.data = told}}}));
        EXPECT_EQ(std::string(result.value(0, 0)), "") << table << " on " << node;
      }
    }
    ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  }
  // The result of a run of the application on one node.
  harness::ProgramResult RunOn(const std::string& node, const std::string& what,
                               const std::string& argument) {
    const auto result = Run({what, cluster_->conninfo(node, "app"), argument});
    EXPECT_OK(result);
    return result.ok() ? *result : harness::ProgramResult{.exit_code = -1, .out = "", .err = ""};
  }
  std::string OtherThan(const std::string& node) const { return node == "n1" ? "n2" : "n1"; }

 private:
  absl::StatusOr<harness::ProgramResult> Run(std::vector<std::string> arguments) const {
    // Debian's own, which alone finds Debian's packages.
    std::vector<std::string> argv = {"/usr/bin/python3",
                                     absl::StrCat(BDR_ORM_FOLDER, "/", script_)};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return harness::RunProgram(
        {.argv = std::move(argv), .environment = {{"PYTHONDONTWRITEBYTECODE", "1"}}}, kDeadline);
  }
  void Bdrctl(std::vector<std::string> command) {
    command = cluster_->WithDatabases(std::move(command));
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult result, cluster_->Bdrctl(command));
    ASSERT_EQ(result.exit_code, 0) << absl::StrJoin(command, " ") << result.out << result.err;
  }

  const std::string script_;
  int runs_ = 0;
  std::map<std::string, std::vector<std::string>> told_;  // table to "ID NOTE"
};

class SequenceSqlalchemyTest : public SequenceOrmTest {
 protected:
  SequenceSqlalchemyTest() : SequenceOrmTest("sqlalchemy_shop.py") {}
};

class SequenceDjangoTest : public SequenceOrmTest {
 protected:
  SequenceDjangoTest() : SequenceOrmTest("django_shop.py") {}
};

TEST_F(SequenceSqlalchemyTest, ObjectsHaveTheIdsOfTheirRowsOnBothNodes) {
  ASSERT_NO_FATAL_FAILURE(StartShop());
  ASSERT_NO_FATAL_FAILURE(Convert({{"sa_serial_id_seq", "galloc"},
                                   {"sa_bigserial_id_seq", "snowflake"},
                                   {"sa_by_default_id_seq", "galloc"},
                                   {"sa_always_id_seq", "snowflake"},
                                   {"sa_explicit_seq", "galloc"}}));
  ASSERT_NO_FATAL_FAILURE(RunEverywhere("write"));
  ASSERT_NO_FATAL_FAILURE(ExpectRowsAsTold(4));
  // Where it calls nextval() itself a native number would be none at all: the role is intercepted.
  const harness::ProgramResult refused = RunOn("n1", "draw", "refused");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("integer out of range"));
  ASSERT_NO_FATAL_FAILURE(Intercept());
  ASSERT_NO_FATAL_FAILURE(RunEverywhere("draw"));
  ASSERT_NO_FATAL_FAILURE(RunEverywhere("write"));
  ASSERT_NO_FATAL_FAILURE(ExpectRowsAsTold(5));
}

TEST_F(SequenceDjangoTest, ObjectsHaveTheIdsOfTheirRowsOnBothNodes) {
  ASSERT_NO_FATAL_FAILURE(StartShop());
  ASSERT_NO_FATAL_FAILURE(Convert({{"dj_serial_id_seq", "galloc"},
                                   {"dj_bigserial_id_seq", "snowflake"},
                                   {"dj_by_default_id_seq", "galloc"},
                                   {"dj_always_id_seq", "snowflake"}}));
  ASSERT_NO_FATAL_FAILURE(RunEverywhere("write"));
  ASSERT_NO_FATAL_FAILURE(ExpectRowsAsTold(4));

  // Django's reset calls setval(): refused, as a number of the table is none of the sequence's own,
  // unless the role is intercepted and the next number lies beyond.
  const harness::ProgramResult native = RunOn("n1", "reset", "dj_serial");
  EXPECT_NE(native.exit_code, 0);
  EXPECT_THAT(native.err, HasSubstr("out of bounds"));
  ASSERT_NO_FATAL_FAILURE(Intercept());
  for (const std::string& node : cluster_->names()) {
    const harness::ProgramResult reset = RunOn(node, "reset", "dj_always");
    EXPECT_EQ(reset.exit_code, 0) << node << ": " << reset.err;
  }
  // Chunks lie side by side. Who drew the highest id of all is beyond it; the other is not, and
  // cannot tell whether it was drawn or put there by hand.
  const std::string ahead =
      Value("n1", "SELECT split_part(note, '-', 1) FROM dj_by_default ORDER BY id DESC LIMIT 1");
  const harness::ProgramResult reset = RunOn(ahead, "reset", "dj_by_default");
  EXPECT_EQ(reset.exit_code, 0) << reset.err;
  const harness::ProgramResult refused = RunOn(OtherThan(ahead), "reset", "dj_by_default");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("Leave setval() out"));
  ASSERT_NO_FATAL_FAILURE(RunEverywhere("write"));
  ASSERT_NO_FATAL_FAILURE(ExpectRowsAsTold(4));
}

}  // namespace
}  // namespace bdr::integration
