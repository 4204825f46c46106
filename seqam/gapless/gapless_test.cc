// What sessions see of a sequence without gaps, on one node whose turn the test gives and takes as
// the agent does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/cluster.h"
#include "tests/harness/postgres_test.h"

namespace bdr::seqam {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kDraw[] = "SELECT bdr.nextval('public.t_id_seq')";
constexpr char kInsert[] = "INSERT INTO public.t DEFAULT VALUES RETURNING id";

class GaplessTest : public harness::PostgresTest {
 protected:
  void SetUp() override {
    harness::PostgresTest::SetUp();
    ASSERT_OK(MakeNode(*server_, "node1"));
    ASSERT_OK_AND_ASSIGN(session_, server_->Connect("postgres", "node1"));
    ASSERT_OK_AND_ASSIGN(agent_, server_->Connect("postgres", "node1"));
    Run("CREATE TABLE public.t (id bigserial PRIMARY KEY);"
        "SELECT bdr.convert_sequence('public.t_id_seq', 'gapless', 1, 1, 1);"
        "SET bdr.sequence_timeout = '300ms'");
  }
  void Run(const std::string& sql) { ASSERT_OK(session_->Exec(sql).status()) << sql; }
  void TakeTurn(int turn, int next) {
    ASSERT_OK(agent_
                  ->Exec(absl::StrCat(
                      "UPDATE bdr.gapless SET held = true, turn = ", turn, ", next = ", next,
                      "; SELECT bdr.gapless_set_open('bdr.sequence_1', ", turn, ")"))
                  .status());
  }
  absl::Status EndTurn(int turn) {
    return agent_
        ->Exec(absl::StrCat("SELECT setval('bdr.sequence_1', ", -turn,
                            "); UPDATE bdr.gapless SET held = false"))
        .status();
  }
  std::string Fails(postgres::Connection& session, const std::string& sql) {
    const auto done = session.Exec(sql);
    if (done.ok()) return "it did not fail";
    return absl::StrCat(postgres::Sqlstate(done.status()), " ", done.status().message());
  }
  std::string Draw(postgres::Connection& session) {
    const auto drawn = session.QueryValue(kDraw);
    return drawn.ok() ? *drawn : std::string(drawn.status().message());
  }

  std::unique_ptr<postgres::Connection> session_;
  std::unique_ptr<postgres::Connection> agent_;
};

TEST_F(GaplessTest, ARollbackGivesTheNumberBack) {
  TakeTurn(1, 1);
  EXPECT_EQ(Draw(*session_), "1");
  Run("BEGIN; INSERT INTO public.t DEFAULT VALUES; INSERT INTO public.t DEFAULT VALUES");
  EXPECT_EQ(*session_->QueryValue("SELECT bdr.currval('public.t_id_seq')"), "3");
  Run("ROLLBACK");
  EXPECT_THAT(Fails(*session_, "SELECT bdr.currval('public.t_id_seq')"), HasSubstr("55000"));
  ASSERT_OK_AND_ASSIGN(const auto ids, Ids(*session_, kInsert));
  EXPECT_THAT(ids, ElementsAre(2));
  Run("BEGIN; SAVEPOINT a; INSERT INTO public.t DEFAULT VALUES; ROLLBACK TO a");
  EXPECT_EQ(Draw(*session_), "3");
  Run("COMMIT");
  EXPECT_EQ(*session_->QueryValue("SELECT bdr.setval('public.t_id_seq', 3)"), "3");
  EXPECT_THAT(Fails(*session_, "SELECT bdr.setval('public.t_id_seq', 4)"), HasSubstr("gapless"));
}

TEST_F(GaplessTest, ManyWhoDrawAtOnceLeaveNoGap) {
  TakeTurn(1, 1);
  ASSERT_OK_AND_ASSIGN(
      const auto drawn,
      DrawAtOnce(*server_, "node1", 6,
                 [](postgres::Connection& session) -> absl::StatusOr<std::vector<int64_t>> {
                   std::vector<int64_t> ids;
                   for (int i = 0; i < 60; ++i) {
                     RETURN_IF_ERROR(session.Exec("BEGIN").status());
                     ASSIGN_OR_RETURN(const auto two, Ids(session,
                                                          "INSERT INTO public.t SELECT "
                                                          "FROM generate_series(1, 2) "
                                                          "RETURNING id"));
                     const bool keep = i % 3 != 0;
                     RETURN_IF_ERROR(session.Exec(keep ? "COMMIT" : "ROLLBACK").status());
                     if (keep) ids.insert(ids.end(), two.begin(), two.end());
                   }
                   return ids;
                 }));
  std::vector<int64_t> ids = Flat(drawn);
  EXPECT_THAT(Duplicates(ids), IsEmpty());
  ASSERT_EQ(ids.size(), 6u * 40 * 2);
  EXPECT_EQ(*std::max_element(ids.begin(), ids.end()), 480) << "no gap";
}

TEST_F(GaplessTest, AnotherIsolationLevelRepeatsOrSeesTheSame) {
  TakeTurn(1, 1);
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "node1"));
  for (const char* level : {"REPEATABLE READ", "SERIALIZABLE"}) {
    Run(absl::StrCat("BEGIN ISOLATION LEVEL ", level, "; SELECT FROM public.t"));
    const std::string first = Draw(*session_);
    Run("COMMIT");
    // Somebody was faster.
    Run(absl::StrCat("BEGIN ISOLATION LEVEL ", level, "; SELECT FROM public.t"));
    EXPECT_NE(Draw(*other), first);
    EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("40001"));
    Run("ROLLBACK");
  }
  // The turn comes after the transaction began.
  ASSERT_OK(EndTurn(1));
  Run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM public.t");
  TakeTurn(2, 50);
  EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("40001"));
  Run("ROLLBACK");
  EXPECT_EQ(Draw(*session_), "50");
}

TEST_F(GaplessTest, WhoHasNoTurnAsksAndWaits) {
  EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("55000 "));
  EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("did not come to this node within"));
  EXPECT_EQ(*agent_->QueryValue("SELECT pg_sequence_last_value('bdr.sequence_1_ask') > 0"), "t");
  ASSERT_OK(agent_->Exec("SELECT setval('bdr.sequence_1_ask', 1)").status());
  Run("SET bdr.sequence_timeout = '30s'");
  std::string drawn;
  std::thread waiting([&] { drawn = Draw(*session_); });
  EXPECT_OK(harness::WaitFor("the question", absl::Seconds(20), [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string asked,
                     agent_->QueryValue("SELECT pg_sequence_last_value('bdr.sequence_1_ask') > "
                                        "extract(epoch FROM clock_timestamp()) * 1000"));
    return asked == "t";
  }));
  TakeTurn(1, 17);
  waiting.join();
  EXPECT_EQ(drawn, "17");
}

// The turn ends behind who has drawn, and before who has not.
TEST_F(GaplessTest, ATurnEndsBehindWhoHasDrawn) {
  TakeTurn(1, 1);
  Run("BEGIN");
  EXPECT_EQ(Draw(*session_), "1");
  // One who waits for that row, and comes too late.
  ASSERT_OK_AND_ASSIGN(const auto late, server_->Connect("postgres", "node1"));
  ASSERT_OK(late->Exec("SET bdr.sequence_timeout = '200ms'").status());
  std::string drawn;
  std::thread waiting([&] { drawn = Draw(*late); });
  EXPECT_OK(harness::WaitFor("one who waits", absl::Seconds(20), [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const std::string waits,
                     agent_->QueryValue("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"));
    return waits == "t";
  }));
  ASSERT_OK(agent_->Exec("SET lock_timeout = '50ms'").status());
  EXPECT_EQ(postgres::Sqlstate(EndTurn(1)), "55P03");
  Run("COMMIT");
  waiting.join();
  EXPECT_THAT(drawn, HasSubstr("did not come to this node"));
  ASSERT_OK(EndTurn(1));
  EXPECT_EQ(*agent_->QueryValue("SELECT next FROM bdr.gapless"), "2");
}

// The turn waits for a transaction that has drawn, which must not wait for the turn in its place.
TEST_F(GaplessTest, WhoHasDrawnGoesOnWhileTheTurnEnds) {
  ASSERT_OK_AND_ASSIGN(const auto late, server_->Connect("postgres", "node1"));
  ASSERT_OK(late->Exec("SET bdr.sequence_timeout = '100ms'").status());
  int next = 1;
  for (const char* level : {"READ COMMITTED", "SERIALIZABLE"}) {
    TakeTurn(next, next);
    Run(absl::StrCat("BEGIN ISOLATION LEVEL ", level));
    EXPECT_EQ(Draw(*session_), absl::StrCat(next));
    ASSERT_OK(agent_->Exec(absl::StrCat("SELECT setval('bdr.sequence_1', ", -next, ")")).status());
    Run("SAVEPOINT a");
    EXPECT_EQ(Draw(*session_), absl::StrCat(next + 1));
    Run("ROLLBACK TO a");
    EXPECT_EQ(Draw(*session_), absl::StrCat(next + 1));
    EXPECT_THAT(Draw(*late), HasSubstr("did not come to this node"));
    Run("COMMIT");
    EXPECT_THAT(Draw(*session_), HasSubstr("did not come to this node"));
    ASSERT_OK(EndTurn(next));
    next += 2;
    EXPECT_EQ(*agent_->QueryValue("SELECT next FROM bdr.gapless"), absl::StrCat(next));
  }
}

TEST_F(GaplessTest, ACrashLeavesTheTurnToTheAgent) {
  TakeTurn(1, 1);
  EXPECT_EQ(Draw(*session_), "1");
  server_->sessions().Clear();
  ASSERT_OK(server_->Kill9());
  ASSERT_OK(server_->Start());
  ASSERT_OK_AND_ASSIGN(session_, server_->Connect("postgres", "node1"));
  ASSERT_OK_AND_ASSIGN(agent_, server_->Connect("postgres", "node1"));
  Run("SET bdr.sequence_timeout = '100ms'");
  EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("did not come"));
  ASSERT_OK(agent_->Exec("SELECT bdr.gapless_set_open('bdr.sequence_1', 1)").status());
  EXPECT_EQ(Draw(*session_), "2");
}

// Who may call nextval() can take the next number by other ways as well, and nothing else.
TEST_F(GaplessTest, NobodyMovesTheRowButByOne) {
  Run("CREATE ROLE gapless_user; CREATE ROLE gapless_nobody;"
      "GRANT USAGE ON SEQUENCE public.t_id_seq TO gapless_user");
  TakeTurn(1, 5);
  Run("SET ROLE gapless_user");
  EXPECT_EQ(Draw(*session_), "5");
  for (const char* wrong : {"SET next = 1", "SET next = next + 2", "SET next = next - 1"}) {
    EXPECT_THAT(Fails(*session_, absl::StrCat("UPDATE bdr.gapless ", wrong)),
                HasSubstr("the next number of sequence \"public.t_id_seq\" is 6, and no other"))
        << wrong;
  }
  // With operators of one's own before PostgreSQL's.
  Run("RESET ROLE; CREATE SCHEMA gapless_evil AUTHORIZATION gapless_user; SET ROLE gapless_user;"
      "CREATE FUNCTION gapless_evil.no(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT "
      "false';"
      "CREATE OPERATOR gapless_evil.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = "
      "gapless_evil.no); SET search_path = gapless_evil, pg_catalog");
  EXPECT_THAT(Fails(*session_, "UPDATE bdr.gapless SET next = 1"), HasSubstr("and no other"));
  for (const char* wrong :
       {"UPDATE bdr.gapless SET held = false", "UPDATE bdr.gapless SET last = 1, next = next + 1",
        "DELETE FROM bdr.gapless", "SELECT pg_catalog.setval('bdr.sequence_1', 1)",
        "ALTER TABLE bdr.gapless DISABLE TRIGGER by_one",
        "SET session_replication_role = replica"}) {
    EXPECT_THAT(Fails(*session_, wrong), HasSubstr("42501")) << wrong;
  }
  Run("RESET ROLE; RESET search_path; SET ROLE gapless_nobody");
  EXPECT_THAT(Fails(*session_, kDraw), HasSubstr("42501"));
  EXPECT_THAT(Fails(*session_, "SELECT bdr.gapless_next('public.t_id_seq', 'bdr.sequence_1', 1)"),
              HasSubstr("did not come"));
  ASSERT_OK_AND_ASSIGN(const auto moved,
                       session_->Exec("UPDATE bdr.gapless SET next = next + 1 RETURNING 1"));
  EXPECT_EQ(moved.rows(), 0);
  ASSERT_OK_AND_ASSIGN(const auto locked, session_->Exec("SELECT 1 FROM bdr.gapless FOR UPDATE"));
  EXPECT_EQ(locked.rows(), 0);
  Run("RESET ROLE");
  EXPECT_EQ(Draw(*session_), "6");
  Run("DROP SCHEMA gapless_evil CASCADE; DROP OWNED BY gapless_user; DROP ROLE gapless_user, "
      "gapless_nobody");
}

TEST_F(GaplessTest, ItEndsAtItsCapAndGoesBack) {
  TakeTurn(1, 1);
  EXPECT_EQ(Draw(*session_), "1");
  Run("SELECT bdr.cap_sequence('public.t_id_seq', 2)");
  EXPECT_EQ(Draw(*session_), "2");
  EXPECT_THAT(Draw(*session_), HasSubstr("has no number above 2 left on this node"));
  EXPECT_THAT(Fails(*session_, "SELECT bdr.cap_sequence('public.t_id_seq', 1)"),
              HasSubstr("it is at 2 already"));
  Run("SELECT bdr.convert_sequence('public.t_id_seq', 'local', 1, 1, 3)");
  EXPECT_EQ(Draw(*session_), "3");
  EXPECT_EQ(*session_->QueryValue("SELECT count(*) FROM bdr.gapless"), "0");
  EXPECT_EQ(
      *session_->QueryValue("SELECT count(*) FROM pg_class WHERE relname LIKE 'sequence\\_1%'"),
      "0");
}

}  // namespace
}  // namespace bdr::seqam
