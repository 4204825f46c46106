// A sequence goes from any method to any other, with its columns, its identity and its numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/cluster.h"
#include "tests/harness/postgres_test.h"

namespace bdr::seqam {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class SequenceConversionTest : public harness::PostgresTest,
                               public ::testing::WithParamInterface<const char*> {};

// How the column is declared.
INSTANTIATE_TEST_SUITE_P(Columns, SequenceConversionTest,
                         ::testing::Values("bigserial", "bigint GENERATED ALWAYS AS IDENTITY"));

TEST_P(SequenceConversionTest, FromAnyMethodToAnyOther) {
  ASSERT_OK(MakeNode(*server_, "app"));
  ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", "app"));
  ASSERT_OK(
      session->Exec(absl::StrCat("CREATE TABLE public.t (id ", GetParam(),
                                 " PRIMARY KEY, v int); INSERT INTO public.t (v) VALUES (1)")));
  const auto value = [&](const std::string& sql) {
    return session->QueryValue(sql).value_or("an error");
  };
  const std::string identity =
      "SELECT attidentity FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attnum = 1";
  const std::string expression =
      "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'public.t'::regclass";
  const std::string declared = value(identity);
  std::vector<int64_t> all = {1};
  // Each follows each.
  for (const std::string method :
       {"stepped", "snowflake", "stepped_blocks", "stepped", "stepped_blocks", "snowflake",
        "stepped", "local", "snowflake", "local", "stepped_blocks", "local", "stepped", "local"}) {
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> highest,
        Ids(*session,
            "SELECT greatest(bdr.sequence_highest('public.t_id_seq'), max(id)) FROM public.t"));
    ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.t_id_seq', '", method,
                                         "', 5, 3, ", highest[0] + 1,
                                         ", '{\"block\": 1048576, \"slots\": 4, \"slot\": 3}')")))
        << method;
    const bool by_default = method == "snowflake" || method == "stepped_blocks";
    // Only PostgreSQL's own nextval() draws for an identity. From another method it comes back with
    // "local"; it stays where the first method leaves it.
    if (by_default) {
      EXPECT_EQ(value(identity), "") << method;
    } else if (method == "local" || all.size() == 1) {
      EXPECT_EQ(value(identity), declared) << method;
    }
    if (by_default) {
      EXPECT_THAT(value(expression), StartsWith(absl::StrCat("bdr.nextval_", method, "(")));
    }
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> ids,
        Ids(*session, "INSERT INTO public.t (v) SELECT generate_series(1, 20) RETURNING id"));
    for (const int64_t id : ids) EXPECT_GT(id, highest[0]) << method;
    all.insert(all.end(), ids.begin(), ids.end());
    // A number that a session still holds, and no row has.
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> held,
        Ids(*session, method == "local" ? "SELECT nextval('public.t_id_seq')"
                                        : "SELECT bdr.nextval('public.t_id_seq')"));
    EXPECT_GT(held[0], highest[0]) << method;
    all.push_back(held[0]);
  }
  EXPECT_THAT(Duplicates(all), IsEmpty());
  EXPECT_EQ(
      value("SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname LIKE 'sequence_5%'"),
      "0");
  EXPECT_EQ(value("SELECT string_agg(register::text, ' ') FROM bdr.sequence_lock"), "bdr.uuid_v7");
}

// While other nodes are converted already, whose numbers begin above the cap.
TEST_P(SequenceConversionTest, UntilItIsConvertedASteppedSequenceKeepsToTheCap) {
  ASSERT_OK(MakeNode(*server_, "app"));
  ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", "app"));
  ASSERT_OK(session->Exec(absl::StrCat(
      "CREATE TABLE public.t (id ", GetParam(),
      " PRIMARY KEY, v int); SELECT bdr.convert_sequence('public.t_id_seq', 'stepped', 5, 3, 1, "
      "'{\"slots\": 4, \"slot\": 3}')")));
  ASSERT_OK(session->Exec("SELECT bdr.cap_sequence('public.t_id_seq', 12)"));
  EXPECT_THAT(Ids(*session, "INSERT INTO public.t (v) VALUES (1), (2), (3) RETURNING id").value(),
              ::testing::ElementsAre(3, 7, 11));
  EXPECT_FALSE(session->Exec("INSERT INTO public.t (v) VALUES (4)").ok());
  EXPECT_FALSE(session->Exec("SELECT bdr.stepped_cap('public.t_id_seq')").ok());
  ASSERT_OK(
      session->Exec("SELECT bdr.convert_sequence('public.t_id_seq', 'stepped_blocks', 5, 3, 13, "
                    "'{\"block\": 16, \"slots\": 4, \"slot\": 3}')"));
  EXPECT_THAT(Ids(*session, "INSERT INTO public.t (v) VALUES (1) RETURNING id").value(),
              ::testing::ElementsAre(64));
  ASSERT_OK(session->Exec("SELECT bdr.convert_sequence('public.t_id_seq', 'local', 5, 3, 100)"));
  EXPECT_EQ(session
                ->QueryValue("SELECT seqmax FROM pg_sequence WHERE seqrelid = "
                             "pg_get_serial_sequence('public.t', 'id')::regclass")
                .value_or("an error"),
            "9223372036854775807");
}

class SequenceCapTest : public harness::PostgresTest {
 protected:
  // An only sequence of `method`, as of node 3 of 4.
  std::unique_ptr<postgres::Connection> Session(const std::string& method) {
    EXPECT_OK(MakeNode(*server_, "app"));
    auto session = server_->Connect("postgres", "app");
    EXPECT_OK(session);
    EXPECT_OK((*session)->Exec(
        absl::StrCat("CREATE SEQUENCE public.q; SELECT bdr.convert_sequence('public.q', '", method,
                     "', 5, 3, 1, '{\"block\": 16, \"slots\": 4, \"slot\": 3}')")));
    return *std::move(session);
  }
  // All that come until there is an error, but not more than 100.
  static std::vector<int64_t> Drain(postgres::Connection& session) {
    std::vector<int64_t> all;
    while (all.size() < 100) {
      const auto id = Ids(session, "SELECT bdr.nextval('public.q')");
      if (!id.ok()) break;
      all.push_back(id->at(0));
    }
    return all;
  }
};

TEST_F(SequenceCapTest, SteppedEndsWhereItIsTold) {
  const auto session = Session("stepped");
  ASSERT_OK(session->Exec("SELECT bdr.nextval('public.q')"));
  ASSERT_OK(session->Exec("SELECT bdr.cap_stepped('public.q', 12)"));
  EXPECT_THAT(Drain(*session), ::testing::ElementsAre(7, 11));
  const auto status = session->Exec("SELECT bdr.cap_stepped('public.q', 10)").status();
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("it is at 11 already"));
}

// Beyond its cap other nodes may have gone on by their new slots.
TEST_F(SequenceCapTest, SteppedKeepsToTheCapOfSlotsThatAreBeingChanged) {
  const auto session = Session("stepped");
  EXPECT_EQ(session->QueryValue("SELECT bdr.stepped_cap('public.q', 1)").value_or("error"), "7");
  ASSERT_OK(session->Exec("SELECT bdr.cap_stepped('public.q', 100)"));
  EXPECT_THAT(Drain(*session), ::testing::ElementsAre(3, 7));
}

TEST_F(SequenceCapTest, BlocksEndWithinABlockAndBetweenTwo) {
  const auto session = Session("stepped_blocks");
  // Before it has drawn: the first that it may give out is 64.
  EXPECT_FALSE(session->Exec("SELECT bdr.cap_stepped_blocks('public.q', 63)").ok());
  ASSERT_OK(session->Exec("BEGIN; SELECT bdr.cap_stepped_blocks('public.q', 65); ROLLBACK"));
  ASSERT_OK(session->Exec("SELECT bdr.cap_stepped_blocks('public.q', 100)"));
  const std::vector<int64_t> first = Drain(*session);
  ASSERT_EQ(first.size(), 16u);
  EXPECT_EQ(first.front(), 64);
  EXPECT_EQ(first.back(), 79);
  ASSERT_OK(session->Exec("SELECT bdr.cap_sequence('public.q', 130)"));
  EXPECT_THAT(Drain(*session), ::testing::ElementsAre(128, 129, 130));
  const auto status = session->Exec("SELECT bdr.cap_stepped_blocks('public.q', 129)").status();
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("it is at 130 already"));
  EXPECT_FALSE(session->Exec("SELECT bdr.stepped_cap('public.q')").ok());
  ASSERT_OK(
      session->Exec("SELECT bdr.convert_sequence('public.q', 'stepped', 5, 3, 131, "
                    "'{\"slots\": 4, \"slot\": 3}')"));
  EXPECT_EQ(session->QueryValue("SELECT bdr.nextval('public.q')").value_or("error"), "131");
}

TEST_F(SequenceCapTest, BlocksEndInALaterRound) {
  const auto session = Session("stepped_blocks");
  ASSERT_OK(session->Exec("SELECT bdr.nextval('public.q'); SELECT bdr.stepped_cap('public.q', 0)"));
  ASSERT_OK(session->Exec("SELECT bdr.stepped_switch('public.q', 2, 1, 1000)"));
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> id,
                       Ids(*session, "SELECT bdr.nextval('public.q')"));
  ASSERT_OK(
      session->Exec(absl::StrCat("SELECT bdr.cap_stepped_blocks('public.q', ", id[0] + 2, ")")));
  EXPECT_THAT(Drain(*session), ::testing::ElementsAre(id[0] + 1, id[0] + 2));
}

// Somebody has begun to convert it to another method, and thinks better of it.
TEST_F(SequenceCapTest, EndsWhereTheSequenceIsGivenTheMethodThatItHas) {
  for (const std::string method : {"stepped", "stepped_blocks", "snowflake"}) {
    const auto session = Session(method);
    // Of snowflake no id may lie far ahead of the clock.
    const std::vector<int64_t> first =
        Ids(*session, method == "snowflake" ? "SELECT bdr.snowflake_at(now() + interval '1 hour')"
                                            : "SELECT 1000000")
            .value();
    const std::string convert =
        absl::StrCat("SELECT bdr.convert_sequence('public.q', '", method, "', 5, 3, ", first[0],
                     ", '{\"block\": 16, \"slots\": 4, \"slot\": 3}')");
    const auto next = [&session] {
      return Ids(*session, "SELECT bdr.nextval('public.q')").value().at(0);
    };
    EXPECT_LT(next(), first[0]) << method;
    ASSERT_OK(session->Exec(convert));  // changes nothing
    EXPECT_LT(next(), first[0]) << method;
    ASSERT_OK(
        session->Exec(absl::StrCat("SELECT bdr.cap_sequence('public.q', ", first[0] - 1, ")")));
    ASSERT_OK(session->Exec(convert)) << method;
    const int64_t after = next();
    EXPECT_GE(after, first[0]) << method;
    EXPECT_EQ(session->QueryValue("SELECT count(*) FROM bdr.sequence_cap").value_or("error"), "0");
    ASSERT_OK(session->Exec(convert));  // changes nothing
    EXPECT_GT(next(), after) << method;
  }
}

TEST_F(SequenceCapTest, SnowflakeDoesNotMoveItsRegisterOn) {
  const auto session = Session("snowflake");
  ASSERT_OK(session->Exec("SELECT bdr.nextval('public.q')"));
  EXPECT_FALSE(session->Exec("SELECT bdr.cap_snowflake('public.q', 1::bigint << 50)").ok());
  ASSERT_OK(
      session->Exec("BEGIN; SELECT bdr.cap_snowflake('public.q', pg_sequence_last_value("
                    "'bdr.sequence_5') | 268435455); ROLLBACK"));
  const std::string next_stretch = "SELECT setval('public.q', nextval('public.q') + 262144)";
  ASSERT_OK(session->Exec(next_stretch));
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> before,
                       Ids(*session, "SELECT bdr.nextval('public.q')"));
  // A session that has read the register may still be about to give out what it made of it.
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "app"));
  ASSERT_OK(other->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT bdr.nextval('public.q')"));
  ASSERT_OK_AND_ASSIGN(
      const std::vector<int64_t> last,
      Ids(*session, "SELECT pg_sequence_last_value('bdr.sequence_5') | 268435455"));
  const std::string cap = absl::StrCat("SELECT bdr.cap_snowflake('public.q', ", last[0], ")");
  ASSERT_OK(session->Exec("SET lock_timeout = '200ms'"));
  EXPECT_FALSE(session->Exec(cap).ok());
  ASSERT_OK(other->Exec("COMMIT"));
  // As one that began before.
  ASSERT_OK(other->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM bdr.sequence"));
  ASSERT_OK(session->Exec(cap));
  ASSERT_OK(session->Exec(next_stretch));
  for (postgres::Connection* each : {other.get(), session.get()}) {
    const auto status = each->Exec("SELECT bdr.nextval('public.q')").status();
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("being converted"));
    ASSERT_OK(each->Exec("ROLLBACK"));
  }
  ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.q', 'stepped', 5, 3, ",
                                       last[0] + 1, ", '{\"slots\": 4, \"slot\": 3}')")));
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> after,
                       Ids(*session, "SELECT bdr.nextval('public.q')"));
  EXPECT_GT(after[0], last[0]);
  EXPECT_LE(before[0], last[0]);
}

// Another node may be giving out what lies above a cap already, so that a second look that sees
// higher numbers must not raise it.
TEST_F(SequenceCapTest, ACapOnlyFalls) {
  const auto session = Session("local");
  ASSERT_OK(session->Exec("CREATE SEQUENCE public.capped START 5"));
  const auto highest = [&] {
    return *session->QueryValue("SELECT bdr.sequence_highest('public.capped')");
  };
  const auto cap = [&](int last) {
    return session->Exec(absl::StrCat("SELECT bdr.cap_sequence('public.capped', ", last, ")"));
  };
  EXPECT_EQ(highest(), "4");
  // It was never drawn from, and gives out nothing.
  ASSERT_OK(cap(0));
  EXPECT_FALSE(session->Exec("SELECT nextval('public.capped')").ok());
  ASSERT_OK(session->Exec("SELECT bdr.convert_sequence('public.capped', 'local', 1, 1, 1)"));
  EXPECT_EQ(*session->QueryValue("SELECT nextval('public.capped')"), "5");
  ASSERT_OK(cap(7));
  ASSERT_OK(cap(9));
  EXPECT_EQ(*session->QueryValue("SELECT nextval('public.capped')"), "6");
  EXPECT_EQ(*session->QueryValue("SELECT nextval('public.capped')"), "7");
  EXPECT_FALSE(session->Exec("SELECT nextval('public.capped')").ok());
  ASSERT_OK(
      session->Exec("SELECT bdr.convert_sequence('public.capped', 'stepped', 6, 1, 8, '{\"slots\": "
                    "4, \"slot\": 0}')"));
  EXPECT_EQ(*session->QueryValue("SELECT nextval('public.capped')"), "8");
  ASSERT_OK(session->Exec("SELECT bdr.convert_sequence('public.capped', 'local', 6, 1, 20)"));
  EXPECT_EQ(
      *session->QueryValue("SELECT seqstart || ' ' || seqmin FROM pg_sequence WHERE seqrelid = "
                           "'public.capped'::regclass"),
      "5 1");
}

TEST_F(SequenceCapTest, WhatBeginsAboveTheCapEndsAndComesBackAsItWas) {
  const auto session = Session("local");
  const auto value = [&](const std::string& sql) {
    return session->QueryValue(sql).value_or("an error");
  };
  const std::string all =
      "SELECT format('%s %s %s %s %s', seqstart, seqmin, seqmax, last_value, is_called) FROM "
      "pg_sequence, public.high WHERE seqrelid = 'public.high'::regclass";
  // Its numbers, as it was made, and where it stands: never drawn from, in front of its START, far
  // beyond it, at the first of all.
  for (const char* made :
       {"START 1000", "START 1000; ALTER SEQUENCE public.high RESTART 500",
        "START 1000; SELECT setval('public.high', 300)",
        "START 1000; SELECT setval('public.high', 1)", "START 1000 MINVALUE 1000",
        "MINVALUE 998 START 1000", "MINVALUE 997 START 1000; SELECT setval('public.high', 997)"}) {
    SCOPED_TRACE(made);
    ASSERT_OK(session->Exec(
        absl::StrCat("DROP SEQUENCE IF EXISTS public.high; CREATE SEQUENCE public.high ", made)));
    const std::string before = value(all);
    const bool begins_above = before.ends_with(" 1000 f");
    for (const int last : {999, 998, 999}) {
      ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.cap_sequence('public.high', ", last, ")")));
      EXPECT_EQ(value("SELECT seqmax FROM pg_sequence WHERE seqrelid = 'public.high'::regclass"),
                last == 999 && value("SELECT last FROM bdr.sequence_cap") == "999" ? "999" : "998");
    }
    if (begins_above) {
      EXPECT_FALSE(session->Exec("SELECT nextval('public.high')").ok());
    }
    ASSERT_OK(session->Exec("SELECT bdr.convert_sequence('public.high', 'local', 1, 1, 1)"));
    EXPECT_EQ(value(all), before);
  }
  // What was drawn after the look is not lost.
  ASSERT_OK(session->Exec("SELECT setval('public.high', 1005)"));
  EXPECT_FALSE(session->Exec("SELECT bdr.cap_sequence('public.high', 999)").ok());
}

// Of two that are at work the later one sees what the earlier one made of the sequence.
TEST_F(SequenceCapTest, ACapWaitsForAConversionAndGoesByItsMethod) {
  const auto session = Session("local");
  ASSERT_OK(session->Exec("CREATE SEQUENCE public.busy; SELECT nextval('public.busy')"));
  ASSERT_OK(
      session->Exec("BEGIN; SELECT bdr.convert_sequence('public.busy', 'snowflake', 6, 1, 200)"));
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "app"));
  ASSERT_OK(other->Exec("SET application_name = 'capping'"));
  absl::Status capped;
  std::thread capping(
      [&] { capped = other->Exec("SELECT bdr.cap_sequence('public.busy', 100)").status(); });
  const absl::Status waits =
      harness::WaitFor("the cap to wait", absl::Seconds(30), [&]() -> absl::StatusOr<bool> {
        const auto waiting = server_->QueryValue(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'capping' AND "
            "wait_event_type = 'Lock'",
            "app");
        return waiting.ok() && *waiting == "1";
      });
  const auto committed = session->Exec("COMMIT");
  capping.join();
  ASSERT_OK(waits);
  ASSERT_OK(committed);
  // The method's own refusal: its numbers lie beyond.
  EXPECT_THAT(std::string(capped.message()), HasSubstr("cannot end at 100 on this node"));
  EXPECT_EQ(*session->QueryValue("SELECT count(*) FROM bdr.sequence_cap"), "0");
}

// A conversion that is given up half-way leaves nodes capped; the way back to the method that they
// have takes the cap away, and goes on above it.
TEST_F(SequenceCapTest, TheWayBackToTheSameMethodTakesTheCapAway) {
  for (const std::string method : {"stepped", "stepped_blocks", "snowflake"}) {
    const auto session = Session(method);
    ASSERT_OK(session->Exec("SELECT bdr.nextval('public.q')"));
    ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> highest,
                         Ids(*session, "SELECT bdr.sequence_highest('public.q')"));
    const int64_t last = highest[0] + 100;
    ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.cap_sequence('public.q', ", last, ")")));
    EXPECT_EQ(*session->QueryValue("SELECT count(*) FROM bdr.sequence_cap"), "1") << method;
    ASSERT_OK(
        session->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.q', '", method, "', 5, 3, ",
                                   last + 1, ", '{\"block\": 16, \"slots\": 4, \"slot\": 3}')")))
        << method;
    EXPECT_EQ(*session->QueryValue("SELECT count(*) FROM bdr.sequence_cap"), "0") << method;
    const std::vector<int64_t> ids = Drain(*session);
    ASSERT_EQ(ids.size(), 100u) << method;
    EXPECT_GT(ids.front(), last) << method;
  }
}

// Nothing was ever drawn: it ends where it began, and goes on above that as anything else.
TEST_F(SequenceCapTest, AMethodThatGaveOutNothingCanBeLeft) {
  for (const std::string method : {"stepped", "stepped_blocks", "snowflake"}) {
    const auto session = Session(method);
    ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> highest,
                         Ids(*session, "SELECT bdr.sequence_highest('public.q')"));
    EXPECT_LT(highest[0], int64_t{1} << 30) << method;
    ASSERT_OK(
        session->Exec(absl::StrCat("SELECT bdr.cap_sequence('public.q', ", highest[0] + 1, ")")))
        << method;
    for (const int64_t id : Drain(*session)) EXPECT_LE(id, highest[0] + 1) << method;
    ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.q', 'local', 5, 3, ",
                                         highest[0] + 2, ")")))
        << method;
    EXPECT_EQ(*session->QueryValue("SELECT nextval('public.q')"), absl::StrCat(highest[0] + 2));
  }
}

class SequenceColumnsTest : public harness::PostgresTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(harness::PostgresTest::SetUp());
    ASSERT_OK(MakeNode(*server_, "app"));
    ASSERT_OK_AND_ASSIGN(session_, server_->Connect("postgres", "app"));
  }
  void Convert(const std::string& sequence, const std::string& method, int64_t first) {
    ASSERT_OK(session_->Exec(absl::StrCat("SELECT bdr.convert_sequence('", sequence, "', '", method,
                                          "', 5, 3, ", first, ", '{\"slots\": 4, \"slot\": 3}')")))
        << method;
  }
  std::string Value(const std::string& sql) {
    const auto value = session_->QueryValue(sql);
    return value.ok() ? *value : std::string(value.status().message());
  }

  std::unique_ptr<postgres::Connection> session_;
};

// A partition that is older than its table comes first by its number, and is not what the identity
// belongs to.
TEST_F(SequenceColumnsTest, APartitionedTableGetsItsIdentityBack) {
  ASSERT_OK(session_->Exec(
      "CREATE TABLE public.old (id bigint NOT NULL, v int);"
      "CREATE TABLE public.t (id bigint GENERATED BY DEFAULT AS IDENTITY, v int) PARTITION BY "
      "RANGE (v);"
      "ALTER TABLE public.t ATTACH PARTITION public.old FOR VALUES FROM (0) TO (100);"
      "CREATE TABLE public.young PARTITION OF public.t FOR VALUES FROM (100) TO (200)"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.t_id_seq", "snowflake", 1000));
  ASSERT_OK(session_->Exec("INSERT INTO public.t (v) VALUES (1), (101)"));
  EXPECT_EQ(Value("SELECT count(*) FROM public.t WHERE bdr.snowflake_node(id) = 3"), "2");
  ASSERT_NO_FATAL_FAILURE(Convert("public.t_id_seq", "local", 5000));
  EXPECT_EQ(Value("SELECT attidentity FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND "
                  "attname = 'id'"),
            "d");
  EXPECT_EQ(Value("SELECT count(*) FROM pg_attrdef WHERE pg_get_expr(adbin, adrelid) LIKE 'bdr.%'"),
            "0");
  EXPECT_EQ(Value("INSERT INTO public.t (v) VALUES (2) RETURNING id"), "5000");
}

// Whoever inserts into a view gets the view's default, not the table's.
TEST_F(SequenceColumnsTest, TheDefaultOfAViewIsConvertedAndComesBack) {
  ASSERT_OK(
      session_->Exec("CREATE TABLE public.t (id bigserial PRIMARY KEY, code text DEFAULT 'A-'"
                     " || nextval('public.t_id_seq') || '-Z', v int);"
                     "CREATE VIEW public.w AS SELECT id, code, v FROM public.t;"
                     "ALTER VIEW public.w ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq')"));
  const std::string defaults =
      "SELECT string_agg(c.relname || ' ' || adnum || ' ' || pg_get_expr(adbin, adrelid), ', '"
      " ORDER BY c.relname, adnum) FROM pg_attrdef JOIN pg_class c ON c.oid = adrelid"
      " WHERE c.relname IN ('t', 'w') AND c.relnamespace = 'public'::regnamespace";
  const std::string before = Value(defaults);
  ASSERT_THAT(before, ::testing::HasSubstr("w 1 nextval("));
  ASSERT_THAT(before, ::testing::HasSubstr("-Z"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.t_id_seq", "snowflake", 1000));
  EXPECT_THAT(Value(defaults), ::testing::HasSubstr("w 1 bdr.nextval_snowflake("));
  EXPECT_EQ(Value("INSERT INTO public.w (v) VALUES (1) RETURNING bdr.snowflake_node(id)"), "3");
  EXPECT_EQ(Value("INSERT INTO public.t (v) VALUES (1) RETURNING code ~ '^A-[0-9]{17,}-Z$'"), "t");
  ASSERT_NO_FATAL_FAILURE(Convert("public.t_id_seq", "local", 5000));
  EXPECT_EQ(Value(defaults), before);
}

// It was taken while the sequence was stepped; an identity column gets another sequence each time
// that it stops or begins to be one.
TEST_F(SequenceColumnsTest, TheRightToSetAnIdentitysSequenceComesBackWithIt) {
  const std::string may = "SELECT has_sequence_privilege('clerk', 'public.t_id_seq', 'UPDATE')";
  ASSERT_OK(session_->Exec(
      "DROP ROLE IF EXISTS clerk; CREATE ROLE clerk; CREATE TABLE public.t (id bigint GENERATED "
      "ALWAYS AS IDENTITY, v int); GRANT UPDATE ON SEQUENCE public.t_id_seq TO clerk"));
  for (const std::vector<std::string>& way :
       {std::vector<std::string>{"stepped", "snowflake", "local"},
        {"snowflake", "stepped", "local"}}) {
    int64_t first = 1000;
    for (const std::string& method : way) {
      ASSERT_OK_AND_ASSIGN(
          const std::vector<int64_t> highest,
          Ids(*session_, "SELECT coalesce(bdr.sequence_highest('public.t_id_seq'), 0)"));
      first = std::max(first, highest[0]) + 1;
      ASSERT_NO_FATAL_FAILURE(Convert("public.t_id_seq", method, first));
      EXPECT_EQ(Value(may), method == "stepped" ? "f" : "t") << method;
    }
  }
  ASSERT_OK(session_->Exec("DROP TABLE public.t; DROP ROLE clerk"));
}

// Whoever may make tables gives one a default that names another's sequence, and hides code where
// only a plan of a query looks.
class SequenceAttackTest : public harness::PostgresTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(harness::PostgresTest::SetUp());
    ASSERT_OK(MakeNode(*server_, "app"));
    ASSERT_OK_AND_ASSIGN(session_, server_->Connect("postgres", "app"));
    ASSERT_OK(session_->Exec(
        "DROP ROLE IF EXISTS mallory; CREATE ROLE mallory LOGIN; CREATE SCHEMA evil AUTHORIZATION "
        "mallory; CREATE TABLE public.t (id bigserial PRIMARY KEY, v int);"
        "INSERT INTO public.t (v) SELECT generate_series(1, 5);"
        "SET SESSION AUTHORIZATION mallory;"
        "CREATE FUNCTION evil.steal() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        " EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END $$;"
        "CREATE FUNCTION evil.evil(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM evil.steal(); RETURN 1; END $$;"
        "RESET SESSION AUTHORIZATION"));
  }
  void TearDown() override {
    EXPECT_OK(session_->Exec("DROP OWNED BY mallory CASCADE; DROP ROLE mallory"));
  }
  void AsMallory(const std::string& sql) {
    ASSERT_OK(session_->Exec("SET SESSION AUTHORIZATION mallory"));
    const auto done = session_->Exec(sql);
    ASSERT_OK(session_->Exec("RESET SESSION AUTHORIZATION"));
    ASSERT_OK(done) << sql;
  }
  std::string Value(const std::string& sql) {
    const auto value = session_->QueryValue(sql);
    return value.ok() ? *value : std::string(value.status().message());
  }
  bool Stole() { return Value("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'") != "f"; }

  std::unique_ptr<postgres::Connection> session_;
};

constexpr char kDrawsToo[] = "DEFAULT nextval('public.t_id_seq'::regclass)";

// How mallory's table is made, without the right to draw: by number, since he may not name it.
struct Hidden {
  std::string where;
  std::string made;  // @ID@: the column
};

TEST_F(SequenceAttackTest, CodeOfATablesOwnerIsNotRunToFindTheHighestNumber) {
  const std::vector<Hidden> attacks = {
      {"index", "CREATE TABLE evil.t (@ID@); CREATE INDEX ON evil.t ((id + evil.evil(1)))"},
      {"predicate",
       "CREATE TABLE evil.t (@ID@); CREATE INDEX ON evil.t (id) WHERE evil.evil(1) = 1"},
      {"statistics",
       "CREATE TABLE evil.t (@ID@); CREATE STATISTICS evil.st ON (id + evil.evil(1)) FROM evil.t"},
      {"partition",
       "CREATE TABLE evil.t (@ID@) PARTITION BY RANGE (id); CREATE TABLE evil.p PARTITION OF "
       "evil.t "
       "(CHECK (id + evil.evil(1) > 0)) FOR VALUES FROM (0) TO (1000)"},
      {"child",
       "CREATE TABLE evil.t (@ID@); CREATE TABLE evil.c (CHECK (id + evil.evil(1) > 0)) INHERITS "
       "(evil.t)"},
      {"index of a child",
       "CREATE TABLE evil.t (@ID@); CREATE TABLE evil.c () INHERITS (evil.t);"
       "CREATE INDEX ON evil.c ((id + evil.evil(1)))"}};
  const std::string oid = Value("SELECT 'public.t_id_seq'::regclass::oid");
  for (const Hidden& attack : attacks) {
    for (const bool may_draw : {false, true}) {
      SCOPED_TRACE(absl::StrCat(attack.where, may_draw ? ", may draw" : ""));
      ASSERT_OK(session_->Exec(absl::StrCat(may_draw ? "GRANT" : "REVOKE",
                                            " USAGE ON SEQUENCE public.t_id_seq ",
                                            may_draw ? "TO" : "FROM", " mallory")));
      ASSERT_NO_FATAL_FAILURE(AsMallory(absl::StrReplaceAll(
          attack.made,
          {{"@ID@", absl::StrCat("id bigint DEFAULT nextval('", oid, "'::regclass)")}})));
      // As superuser.
      const std::string highest = Value("SELECT bdr.sequence_highest('public.t_id_seq')");
      EXPECT_FALSE(Stole());
      if (may_draw) {
        EXPECT_THAT(highest,
                    AllOf(HasSubstr("table evil."), HasSubstr("\"mallory\" is not trusted"),
                          HasSubstr("bdrctl node trust mallory")));
      } else {
        EXPECT_EQ(highest, "5");
      }
      ASSERT_NO_FATAL_FAILURE(AsMallory("DROP TABLE evil.t CASCADE"));
    }
  }
}

// What is trusted counts, and what an owner wrote who may draw; but no further than the sequence
// goes.
TEST_F(SequenceAttackTest, PlainTablesOfWhoMayDrawCountUpToTheMaxvalue) {
  ASSERT_OK(session_->Exec("GRANT USAGE ON SEQUENCE public.t_id_seq TO mallory"));
  ASSERT_NO_FATAL_FAILURE(AsMallory(
      absl::StrCat("CREATE TABLE evil.t (id bigint ", kDrawsToo,
                   "); CREATE INDEX ON evil.t ((id + 1)); INSERT INTO evil.t VALUES (77)")));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "77");
  ASSERT_OK(session_->Exec("REVOKE USAGE ON SEQUENCE public.t_id_seq FROM mallory"));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "5");
  ASSERT_OK(session_->Exec("SELECT bdr.trust_owner('mallory')"));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "77");
  ASSERT_NO_FATAL_FAILURE(AsMallory("CREATE INDEX ON evil.t ((id + evil.evil(0) - 1))"));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "77");
  ASSERT_OK(
      session_->Exec("ALTER ROLE mallory NOSUPERUSER; SELECT bdr.distrust_owner('mallory');"
                     "DROP TABLE evil.t; ALTER SEQUENCE public.t_id_seq MAXVALUE 1000;"
                     "INSERT INTO public.t VALUES (9223372036854775807)"));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "1000");
  ASSERT_OK(session_->Exec("SELECT bdr.cap_sequence('public.t_id_seq', 500)"));
  EXPECT_EQ(Value("SELECT bdr.sequence_highest('public.t_id_seq')"), "1000");
}

// A default's text is read again by the conversion, and with it constants of its types.
TEST_F(SequenceAttackTest, ADefaultWithAnUntrustedTypeIsNotRead) {
  ASSERT_OK(session_->Exec("GRANT USAGE ON SEQUENCE public.t_id_seq TO mallory"));
  for (const char* relation :
       {"TABLE evil.t (id bigint)", "VIEW evil.t AS SELECT 1::bigint AS id"}) {
    SCOPED_TRACE(relation);
    ASSERT_NO_FATAL_FAILURE(AsMallory(absl::StrCat(
        "CREATE DOMAIN evil.d AS bigint; CREATE TYPE evil.r AS (x evil.d); CREATE ", relation,
        "; ALTER TABLE evil.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq'::regclass)"
        " + length('(\"1\")'::evil.r::text);"
        "ALTER DOMAIN evil.d ADD CHECK (evil.evil(VALUE) = 1)")));
    const std::string failed = Value(
        "SELECT bdr.convert_sequence('public.t_id_seq', 'stepped_blocks', 5, 3, 100,"
        " '{\"block\": 16, \"slots\": 4, \"slot\": 3}')");
    EXPECT_FALSE(Stole());
    EXPECT_THAT(failed, AllOf(HasSubstr("table evil.t"), HasSubstr("\"mallory\" is not trusted")));
    EXPECT_EQ(Value("SELECT count(*) FROM bdr.sequence"), "0");
    ASSERT_NO_FATAL_FAILURE(
        AsMallory(absl::StrCat("DROP ", relation[0] == 'T' ? "TABLE" : "VIEW",
                               " evil.t; DROP TYPE evil.r; DROP DOMAIN evil.d")));
  }
}

}  // namespace
}  // namespace bdr::seqam
