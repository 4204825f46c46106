// What sessions ask of a sequence besides its next number, by every method alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/postgres_test.h"

namespace bdr::seqam {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SequenceSessionTest : public harness::PostgresTest,
                            public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    ASSERT_OK(MakeNode(*server_, "app"));
    ASSERT_OK(server_->Exec("CREATE TABLE public.t (id bigserial PRIMARY KEY, v int)", "app"));
    if (method() != "none") {
      ASSERT_OK(
          server_->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.t_id_seq', '", method(),
                                     "', 5, 2, 1, '{\"block\": 16, \"slots\": 4, \"slot\": 1}')"),
                        "app"));
    }
    auto session = server_->Connect("postgres", "app");
    ASSERT_OK(session);
    session_ = *std::move(session);
  }
  void TearDown() override { session_.reset(); }
  std::string method() const { return GetParam(); }
  std::string Value(const std::string& sql) {
    return session_->QueryValue(sql).value_or("an error");
  }
  std::string Error(const std::string& sql) {
    return std::string(session_->Exec(sql).status().message());
  }

  std::unique_ptr<postgres::Connection> session_;
};

INSTANTIATE_TEST_SUITE_P(Methods, SequenceSessionTest,
                         ::testing::Values("none", "snowflake", "stepped", "stepped_blocks"),
                         [](const auto& method) { return std::string(method.param); });

TEST_P(SequenceSessionTest, CurrvalIsWhatThisSessionGotLastOrAnError) {
  EXPECT_THAT(Error("SELECT bdr.currval('public.t_id_seq')"), HasSubstr("not yet defined"));
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "app"));
  int known = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string id = Value("INSERT INTO public.t (v) VALUES (1) RETURNING id");
    ASSERT_OK(other->Exec("INSERT INTO public.t (v) VALUES (2), (3)"));
    for (const char* sql : {"SELECT bdr.currval('public.t_id_seq')", "SELECT bdr.lastval()"}) {
      const absl::StatusOr<std::string> last = session_->QueryValue(sql);
      if (last.ok()) {
        EXPECT_EQ(*last, id);
        ++known;
      } else {
        EXPECT_EQ(method(), "snowflake") << last.status();
        EXPECT_THAT(std::string(last.status().message()), HasSubstr("RETURNING"));
      }
    }
  }
  EXPECT_GT(known, method() == "snowflake" ? 100 : 399);
}

TEST_P(SequenceSessionTest, CurrvalOfLongAgo) {
  const std::string id = Value("INSERT INTO public.t (v) VALUES (1) RETURNING id");
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "app"));
  ASSERT_OK(other->Exec("SELECT pg_sleep(0.1); INSERT INTO public.t (v) VALUES (2)"));
  if (method() == "snowflake") {
    EXPECT_THAT(Error("SELECT bdr.currval('public.t_id_seq')"), HasSubstr("RETURNING"));
  } else {
    EXPECT_EQ(Value("SELECT bdr.currval('public.t_id_seq')"), id);
  }
}

TEST_P(SequenceSessionTest, LastvalKnowsWhichSequence) {
  ASSERT_OK(session_->Exec("CREATE SEQUENCE public.plain START 77"));
  ASSERT_OK(session_->Exec("SELECT bdr.nextval('public.t_id_seq')"));
  ASSERT_OK(session_->Exec("SELECT bdr.nextval('public.plain')"));
  EXPECT_EQ(Value("SELECT bdr.lastval()"), "77");
}

TEST_P(SequenceSessionTest, SetvalIsDoneWhereItBreaksNothing) {
  const std::string id = Value("INSERT INTO public.t (v) VALUES (1) RETURNING id");
  if (method() == "none") {
    EXPECT_EQ(Value("SELECT bdr.setval('public.t_id_seq', 50)"), "50");
    EXPECT_EQ(Value("SELECT bdr.nextval('public.t_id_seq')"), "51");
    EXPECT_EQ(Value("SELECT bdr.setval('public.t_id_seq', 50, false)"), "50");
    EXPECT_EQ(Value("SELECT bdr.nextval('public.t_id_seq')"), "50");
    return;
  }
  // What lies behind is no matter.
  EXPECT_EQ(Value("SELECT bdr.setval('public.t_id_seq', 1)"), "1");
  EXPECT_EQ(Value(absl::StrCat("SELECT bdr.setval('public.t_id_seq', ", id, ")")), id);
  const std::string next = Value("SELECT bdr.nextval('public.t_id_seq')");
  EXPECT_EQ(Value(absl::StrCat("SELECT ", next, " > ", id)), "t");
  // With snowflake more than an hour.
  const std::string ahead = absl::StrCat(next, " + 20000000000000");
  const std::string error =
      Error(absl::StrCat("SELECT bdr.setval('public.t_id_seq', ", ahead, ")"));
  EXPECT_THAT(error, HasSubstr("other nodes give out"));
  EXPECT_THAT(error, HasSubstr(method()));
  EXPECT_EQ(Value(absl::StrCat("SELECT bdr.nextval('public.t_id_seq') < ", ahead)), "t");
}

// The sequence is converted after a transaction took its snapshot, which shows a register that is
// gone, or none.
TEST_P(SequenceSessionTest, WhoseSnapshotIsOlderThanAConversionRepeatsOrDraws) {
  for (const std::string to : {"stepped", "stepped_blocks", "snowflake", "stepped"}) {
    if (to == method()) continue;
    ASSERT_OK(session_->Exec("SELECT bdr.nextval('public.t_id_seq')"));
    ASSERT_OK(session_->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM bdr.sequence"));
    ASSERT_OK(server_->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.t_id_seq', '", to,
                                         "', 5, 2, bdr.sequence_highest('public.t_id_seq') + 1, "
                                         "'{\"block\": 1048576, \"slots\": 4, \"slot\": 1}')"),
                            "app"));
    for (const char* sql :
         {"bdr.nextval('public.t_id_seq')", "bdr.reserve('public.t_id_seq', 3)"}) {
      ASSERT_OK(session_->Exec("SAVEPOINT s"));
      const absl::Status status = session_->Exec(absl::StrCat("SELECT ", sql)).status();
      EXPECT_TRUE(status.ok() || postgres::Sqlstate(status) == "40001") << to << ": " << status;
      ASSERT_OK(session_->Exec("ROLLBACK TO s"));
    }
    ASSERT_OK(session_->Exec("SAVEPOINT s"));
    const absl::Status status = session_->Exec("SELECT bdr.currval('public.t_id_seq')").status();
    EXPECT_TRUE(status.ok() || postgres::Sqlstate(status) == "55000") << to << ": " << status;
    ASSERT_OK(session_->Exec("ROLLBACK"));
    ASSERT_OK(session_->Exec("SELECT bdr.nextval('public.t_id_seq')"));
  }
}

TEST_P(SequenceSessionTest, ReserveGivesAsManyAsAsked) {
  ASSERT_OK_AND_ASSIGN(std::vector<int64_t> all,
                       Ids(*session_, "SELECT bdr.reserve('public.t_id_seq', 100)"));
  EXPECT_EQ(all.size(), 100u);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> more,
                       Ids(*session_, "SELECT bdr.reserve('public.t_id_seq', 3)"));
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_THAT(Duplicates(all), ::testing::IsEmpty());
  EXPECT_THAT(Error("SELECT bdr.reserve('public.t_id_seq', 0)"), HasSubstr("1 or more"));
}

}  // namespace
}  // namespace bdr::seqam
