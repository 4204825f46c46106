// No id of a snowflake sequence may ever come twice: not from sessions of one node, whatever the
// clock shows, whoever is stopped or killed, and not from two nodes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/fake_clock.h"
#include "tests/harness/postgres_test.h"
#include "tests/harness/temp_folder.h"

namespace bdr::seqam {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kTable[] =
    "CREATE TABLE public.t (id bigserial PRIMARY KEY, v int);"
    "SELECT bdr.convert_sequence('public.t_id_seq', 'snowflake', 7, 3, 1)";
constexpr char kInsert[] = "INSERT INTO public.t (v) SELECT generate_series(1, 50) RETURNING id";

// As if all the rest of the stretch had been drawn.
constexpr char kNextStretch[] =
    "SELECT setval('public.t_id_seq', nextval('public.t_id_seq') + 262144)";

// As who moves the register does.
constexpr char kLockRegister[] =
    "SELECT FROM bdr.sequence_lock WHERE register = 'bdr.sequence_7'::regclass FOR UPDATE";

class SnowflakeTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create("bdr-snowflake"));
    ASSERT_OK_AND_ASSIGN(clock_, harness::FakeClock::Create(folder_->path() + "/clock"));
    ASSERT_OK_AND_ASSIGN(server_,
                         harness::PostgresServer::Create({.environment = clock_->environment()}));
  }
  static void TearDownTestSuite() {
    server_.reset();
    clock_.reset();
    folder_.reset();
  }
  void SetUp() override {
    clock_->Set(absl::ZeroDuration());
    ASSERT_OK(MakeNode(*server_, "app"));
    ASSERT_OK(server_->Exec(kTable, "app"));
  }
  // One that keeps to what it was connected to, for tests that go back and forth.
  std::unique_ptr<postgres::Connection> Session(const std::string& user = "postgres") {
    auto session = server_->Connect(user, "app");
    EXPECT_OK(session);
    return *std::move(session);
  }

  static inline std::unique_ptr<harness::TempFolder> folder_;
  static inline std::unique_ptr<harness::FakeClock> clock_;
};

TEST_F(SnowflakeTest, AnIdTellsTimeNodeAndCounter) {
  const absl::Time before = absl::Now();
  ASSERT_OK_AND_ASSIGN(const std::string id,
                       server_->QueryValue("SELECT bdr.nextval('public.t_id_seq')", "app"));
  const auto of = [&](const std::string& what) {
    return server_->QueryValue(absl::StrCat("SELECT ", what, " FROM (SELECT ", id, " AS id) i"),
                               "app");
  };
  EXPECT_EQ(*of("bdr.snowflake_node(id)"), "3");
  EXPECT_EQ(*of("(id & 4095) = bdr.snowflake_counter(id)"), "t");
  EXPECT_EQ(*of("bdr.snowflake_at(bdr.snowflake_time(id)) = id >> 22 << 22"), "t");
  ASSERT_OK_AND_ASSIGN(const std::string seconds,
                       of("extract(epoch FROM bdr.snowflake_time(id))::float8"));
  double at = 0;
  ASSERT_TRUE(absl::SimpleAtod(seconds, &at));
  EXPECT_NEAR(at, absl::ToDoubleSeconds(before - absl::UnixEpoch()), 5);
  EXPECT_EQ(*server_->QueryValue("SELECT bdr.snowflake_at('2024-01-01 00:00:00.001+00')", "app"),
            "4194304");
}

// 4096 ids are a millisecond: far more than that come from whatever time it takes.
TEST_F(SnowflakeTest, MoreThanAMillisecondHoldsBorrowFromTheNext) {
  clock_->StandAt(clock_->Now());
  const auto session = Session();
  ASSERT_OK_AND_ASSIGN(
      const std::vector<int64_t> ids,
      Ids(*session, "SELECT bdr.nextval('public.t_id_seq') FROM generate_series(1, 300000)"));
  EXPECT_THAT(Duplicates(ids), IsEmpty());
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST_F(SnowflakeTest, IdsOfANodeRiseWhileItsClockStepsBack) {
  const auto one = Session();
  const auto other = Session();
  int64_t last = 0;
  for (int round = 0; round < 300; ++round) {
    clock_->Set(absl::Seconds((round * 7919) % 40 - 20));
    for (const auto& session : {one.get(), other.get()}) {
      ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> ids, Ids(*session, kInsert));
      for (const int64_t id : ids) {
        ASSERT_GT(id, last) << "round " << round;
        last = id;
      }
    }
  }
}

TEST_F(SnowflakeTest, SessionsAtOnceNeverMeetWhileTheClockJumps) {
  std::atomic<bool> done = false;
  std::thread jumps([&] {
    for (int i = 0; !done; ++i) {
      clock_->Set(absl::Milliseconds((i * 7919) % 400 - 200));
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  const auto drawn =
      DrawAtOnce(*server_, "app", 6,
                 [](postgres::Connection& session) -> absl::StatusOr<std::vector<int64_t>> {
                   std::vector<int64_t> all;
                   for (int i = 0; i < 200; ++i) {
                     ASSIGN_OR_RETURN(const std::vector<int64_t> ids, Ids(session, kInsert));
                     all.insert(all.end(), ids.begin(), ids.end());
                   }
                   return all;
                 });
  done = true;
  jumps.join();
  ASSERT_OK(drawn);
  for (const auto& ids : *drawn) EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_THAT(Duplicates(Flat(*drawn)), IsEmpty());
}

// Whatever lies between drawing an ordinal, reading the register and giving out the id.
TEST_F(SnowflakeTest, WhoWasHeldUpBetweenTwoStepsGetsAnIdOfItsOwn) {
  const auto held = Session();
  const auto busy = Session();
  const auto value = [&](const std::string& sql) { return held->QueryValue(sql); };
  std::vector<int64_t> all;
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK_AND_ASSIGN(const std::string ordinal, value("SELECT nextval('public.t_id_seq')"));
    ASSERT_OK_AND_ASSIGN(const std::string mapping,
                         value("SELECT pg_sequence_last_value('bdr.sequence_7')"));
    // Stretches of ordinals go by, and a time that is long for a piece.
    for (int i = 0; i < 3; ++i) {
      ASSERT_OK_AND_ASSIGN(
          const std::vector<int64_t> ids,
          Ids(*busy, absl::StrCat("SELECT bdr.nextval('public.t_id_seq') FROM generate_series(1, ",
                                  round == 0 ? 262144 : 200, ")")));
      if (round > 0) {
        ASSERT_OK(busy->Exec(kNextStretch));
      }
      all.insert(all.end(), ids.begin(), ids.end());
      clock_->Set(clock_->ahead() + absl::Milliseconds(i == 1 ? -500 : 100));
    }
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> ids,
        Ids(*held, absl::StrCat("SELECT unnest(ARRAY["
                                // Read before the hold-up, or after it.
                                "bdr.sequence_id(",
                                ordinal, ", ", round == 0 ? "NULL" : mapping,
                                ", 'public.t_id_seq', 'bdr.sequence_7'), "
                                "bdr.sequence_id(nextval('public.t_id_seq'), ",
                                mapping,
                                ", 'public.t_id_seq', 'bdr.sequence_7'), "
                                "bdr.snowflake_next('public.t_id_seq', 'bdr.sequence_7', "
                                "nextval('public.t_id_seq'))])")));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  EXPECT_THAT(Duplicates(all), IsEmpty());
}

TEST_F(SnowflakeTest, BackendsThatAreStoppedAnywhereDoNoHarm) {
  constexpr int kSessions = 5;
  std::vector<std::atomic<int>> backends(kSessions);
  std::atomic<int> next = 0;
  std::atomic<bool> done = false;
  std::thread stopper([&] {
    std::minstd_rand random(4711);
    while (!done) {
      const int pid = backends[random() % kSessions];
      if (pid == 0) continue;
      kill(pid, SIGSTOP);
      absl::SleepFor(absl::Milliseconds(1 + static_cast<int>(random() % 80)));
      kill(pid, SIGCONT);
    }
  });
  const auto drawn = DrawAtOnce(
      *server_, "app", kSessions,
      [&](postgres::Connection& session) -> absl::StatusOr<std::vector<int64_t>> {
        std::atomic<int>& backend = backends[static_cast<size_t>(next++)];
        backend = session.backend_pid();
        std::vector<int64_t> all;
        for (int i = 0; i < 100; ++i) {
          ASSIGN_OR_RETURN(
              const std::vector<int64_t> ids,
              Ids(session, "SELECT bdr.nextval('public.t_id_seq') FROM generate_series(1, 1500)"));
          all.insert(all.end(), ids.begin(), ids.end());
        }
        backend = 0;
        return all;
      });
  done = true;
  stopper.join();
  ASSERT_OK(drawn);
  for (const auto& ids : *drawn) EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_THAT(Duplicates(Flat(*drawn)), IsEmpty());
}

TEST_F(SnowflakeTest, WhatWasCommittedDoesNotComeAgainAfterKill9) {
  std::vector<int64_t> committed;
  for (int crash = 0; crash < 4; ++crash) {
    std::atomic<int> statements = 0;
    std::thread killer([&] {
      while (statements < 100) absl::SleepFor(absl::Milliseconds(1));
      EXPECT_OK(server_->Kill9());
    });
    const auto drawn =
        DrawAtOnce(*server_, "app", 4,
                   [&](postgres::Connection& session) -> absl::StatusOr<std::vector<int64_t>> {
                     std::vector<int64_t> all;
                     while (true) {
                       const absl::StatusOr<std::vector<int64_t>> ids = Ids(session, kInsert);
                       ++statements;
                       if (!ids.ok()) return all;
                       all.insert(all.end(), ids->begin(), ids->end());
                     }
                   });
    killer.join();
    ASSERT_OK(drawn);
    const std::vector<int64_t> ids = Flat(*drawn);
    committed.insert(committed.end(), ids.begin(), ids.end());
    // The clock of a machine that starts again may be wrong, too.
    clock_->Set(absl::Milliseconds(-100 * (crash % 3)));
    server_->sessions().Clear();
    ASSERT_OK(server_->Start());
  }
  EXPECT_THAT(Duplicates(committed), IsEmpty());
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) = count(DISTINCT id) FROM public.t", "app"), "t");
}

TEST_F(SnowflakeTest, ARegisterFromABackupBeginsAtTheClock) {
  const auto session = Session();
  const auto state = [&] {
    return *session->QueryValue(
        "SELECT format('SELECT setval(''bdr.sequence_7'', %s), setval(''public.t_id_seq'', %s)', "
        "pg_sequence_last_value('bdr.sequence_7'), pg_sequence_last_value('public.t_id_seq'))");
  };
  ASSERT_OK_AND_ASSIGN(std::vector<int64_t> all, Ids(*session, kInsert));
  const std::string backup = state();
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> lost, Ids(*session, kInsert));
  all.insert(all.end(), lost.begin(), lost.end());
  ASSERT_OK(session->Exec(backup));
  clock_->Set(absl::Milliseconds(200));  // a restore takes longer
  ASSERT_OK(session->Exec("TRUNCATE public.t"));
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> again, Ids(*session, kInsert));
  all.insert(all.end(), again.begin(), again.end());
  EXPECT_THAT(Duplicates(all), IsEmpty());
}

TEST_F(SnowflakeTest, EveryIsolationLevelAndWayOfWritingDraws) {
  ASSERT_OK(
      server_->Exec("CREATE FUNCTION public.add() RETURNS bigint LANGUAGE sql AS "
                    "$$ INSERT INTO public.t (v) VALUES (1) RETURNING id $$;"
                    "CREATE FUNCTION public.add_twice() RETURNS SETOF bigint LANGUAGE plpgsql AS "
                    "$$ BEGIN RETURN NEXT public.add(); RETURN NEXT public.add(); END $$;"
                    "CREATE TABLE public.u (id bigint PRIMARY KEY DEFAULT "
                    "bdr.nextval('public.t_id_seq', 'bdr.sequence_7'), v int)",
                    "app"));
  const auto drawn = DrawAtOnce(
      *server_, "app", 4,
      [](postgres::Connection& session) -> absl::StatusOr<std::vector<int64_t>> {
        std::vector<int64_t> all;
        for (int i = 0; i < 60; ++i) {
          const char* levels[] = {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"};
          RETURN_IF_ERROR(
              session.Exec(absl::StrCat("BEGIN ISOLATION LEVEL ", levels[i % 3])).status());
          for (const char* sql :
               {kInsert, "SELECT public.add_twice()",
                "INSERT INTO public.u (v) SELECT generate_series(1, 20) RETURNING id"}) {
            ASSIGN_OR_RETURN(const std::vector<int64_t> ids, Ids(session, sql));
            all.insert(all.end(), ids.begin(), ids.end());
          }
          RETURN_IF_ERROR(session.CopyIn("COPY public.u (v) FROM STDIN", "1\n2\n3\n"));
          RETURN_IF_ERROR(session.Exec("COMMIT").status());
        }
        return all;
      });
  ASSERT_OK(drawn);
  EXPECT_THAT(Duplicates(Flat(*drawn)), IsEmpty());
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) - count(DISTINCT id) FROM (SELECT id FROM "
                                 "public.t UNION ALL SELECT id FROM public.u) a",
                                 "app"),
            "0");
  EXPECT_EQ(*server_->QueryValue("SELECT count(*) FROM public.u", "app"), "5520");
}

TEST_F(SnowflakeTest, NodesNeverMeet) {
  ASSERT_OK(MakeNode(*server_, "second"));
  ASSERT_OK(
      server_->Exec("CREATE TABLE public.t (id bigserial PRIMARY KEY, v int);"
                    "SELECT bdr.convert_sequence('public.t_id_seq', 'snowflake', 7, 4, 1)",
                    "second"));
  clock_->StandAt(clock_->Now());  // nothing but the node tells them apart
  std::vector<int64_t> all;
  for (const char* database : {"app", "second"}) {
    ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", database));
    ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> ids, Ids(*session, kInsert));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  EXPECT_THAT(Duplicates(all), IsEmpty());
}

TEST_F(SnowflakeTest, ANativeCallIsHarmless) {
  const auto session = Session();
  ASSERT_OK_AND_ASSIGN(std::vector<int64_t> all, Ids(*session, kInsert));
  ASSERT_OK_AND_ASSIGN(
      const std::vector<int64_t> native,
      Ids(*session, "SELECT nextval('public.t_id_seq') FROM generate_series(1, 50)"));
  for (const int64_t id : native) EXPECT_LT(id, 0);
  all.insert(all.end(), native.begin(), native.end());
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> more, Ids(*session, kInsert));
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_THAT(Duplicates(all), IsEmpty());
  EXPECT_THAT(
      std::string(session->Exec("SELECT nextval('public.t_id_seq')::int").status().message()),
      HasSubstr("integer out of range"));
  EXPECT_THAT(std::string(session->Exec("SELECT setval('public.t_id_seq', 1)").status().message()),
              HasSubstr("out of bounds"));
}

TEST_F(SnowflakeTest, UsersNeedNoMoreRightsThanNextvalAndGetNone) {
  ASSERT_OK(server_->Exec(
      "DO $$ BEGIN CREATE ROLE app_user LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
      "GRANT SELECT, INSERT ON public.t TO app_user; GRANT USAGE ON SEQUENCE public.t_id_seq TO "
      "app_user;"
      "CREATE SEQUENCE public.hidden; CREATE SEQUENCE public.mine; GRANT ALL ON public.mine TO "
      "app_user",
      "app"));
  const auto user = Session("app_user");
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> ids, Ids(*user, kInsert));
  EXPECT_EQ(ids.size(), 50u);
  ASSERT_OK(user->Exec("SELECT bdr.nextval('public.t_id_seq')"));
  for (const char* sql :
       {"SELECT setval('bdr.sequence_7', 5)", "SELECT nextval('bdr.sequence_7')",
        "SELECT setval('public.t_id_seq', (SELECT last_value FROM public.t_id_seq))",
        "SELECT bdr.nextval('public.hidden')"}) {
    EXPECT_EQ(user->Exec(sql).status().code(), absl::StatusCode::kPermissionDenied) << sql;
  }
  // One's own sequence moves nobody's register.
  EXPECT_THAT(
      std::string(user->Exec("SELECT bdr.snowflake_advance('public.mine', 'bdr.sequence_7')")
                      .status()
                      .message()),
      HasSubstr("is not that of sequence"));
}

// The functions that move registers have an administrator's rights; whoever calls names the
// register.
TEST_F(SnowflakeTest, RegistersOfOnesOwnMoveNobodysSequence) {
  ASSERT_OK(server_->Exec(
      "DO $$ BEGIN CREATE ROLE app_forger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
      "CREATE SCHEMA forged AUTHORIZATION app_forger; CREATE SEQUENCE forged.r_began",
      "app"));
  const auto user = Session("app_forger");
  ASSERT_OK(user->Exec(
      "CREATE SEQUENCE forged.r; CREATE SEQUENCE forged.r_relation;"
      "CREATE TEMP SEQUENCE r; CREATE TEMP SEQUENCE r_relation; CREATE TEMP SEQUENCE r_began;"
      "SELECT setval('forged.r_relation', 'forged.r'::regclass::oid::bigint),"
      " setval('pg_temp.r_relation', 'pg_temp.r'::regclass::oid::bigint)"));
  for (const char* sql : {"SELECT bdr.snowflake_advance('forged.r', 'forged.r')",
                          "SELECT bdr.snowflake_advance('pg_temp.r', 'pg_temp.r')",
                          // Another method's.
                          "SELECT bdr.stepped_blocks_enter_round('public.t_id_seq', "
                          "'bdr.sequence_7')"}) {
    EXPECT_THAT(std::string(user->Exec(sql).status().message()),
                HasSubstr("is not that of sequence"))
        << sql;
  }
  EXPECT_EQ(*server_->QueryValue("SELECT is_called FROM forged.r_began", "app"), "f");
  EXPECT_EQ(*server_->QueryValue("SELECT is_called FROM public.t_id_seq", "app"), "f");
}

// A lock that lasted as long as the transaction would hold up everybody else.
TEST_F(SnowflakeTest, ATransactionThatDrewHoldsNobodyUp) {
  const auto first = Session();
  const auto second = Session();
  ASSERT_OK(first->Exec("BEGIN"));
  ASSERT_OK(Ids(*first, kInsert));
  EXPECT_EQ(second->Exec(absl::StrCat(kLockRegister, " NOWAIT"))->rows(), 1);
  clock_->Set(absl::Seconds(1));
  ASSERT_OK(second->Exec("SET statement_timeout = '10s'"));
  ASSERT_OK(Ids(*second, kInsert));
  ASSERT_OK(second->Exec(kNextStretch));
  ASSERT_OK(Ids(*second, kInsert));
}

// Who waits for its turn may give up, and is then in nobody's way.
TEST_F(SnowflakeTest, WhoWaitsCanBeCancelled) {
  const auto holder = Session();
  const auto waiter = Session();
  ASSERT_OK(holder->Exec("BEGIN"));
  EXPECT_EQ(holder->Exec(kLockRegister)->rows(), 1);
  ASSERT_OK(waiter->Exec(kNextStretch));
  ASSERT_OK(waiter->Exec("SET statement_timeout = '200ms'"));
  EXPECT_EQ(waiter->Exec("SELECT bdr.nextval('public.t_id_seq')").status().code(),
            absl::StatusCode::kCancelled);
  ASSERT_OK(holder->Exec("ROLLBACK"));
  ASSERT_OK(waiter->Exec("SELECT bdr.nextval('public.t_id_seq')"));
  ASSERT_OK(holder->Exec("SELECT bdr.nextval('public.t_id_seq')"));
}

// What a user may lock, he may lock for ever.
TEST_F(SnowflakeTest, NoUserCanHoldTheOthersUp) {
  ASSERT_OK(server_->Exec(
      "DO $$ BEGIN CREATE ROLE app_blocker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END "
      "$$;",
      "app"));
  const auto user = Session("app_blocker");
  ASSERT_OK(user->Exec(
      "SELECT pg_advisory_lock(objid::int, register::int) FROM (VALUES (7562609)) k (objid), "
      "unnest(ARRAY['bdr.sequence_7', 'bdr.uuid_v7']::regclass[]::oid[]) AS register"));
  for (const char* sql :
       {kLockRegister, "SELECT FROM bdr.sequence_lock FOR KEY SHARE",
        "DO $$ BEGIN LOCK TABLE bdr.sequence_lock IN ACCESS SHARE MODE; END $$"}) {
    EXPECT_EQ(user->Exec(sql).status().code(), absl::StatusCode::kPermissionDenied) << sql;
  }
  const auto other = Session();
  ASSERT_OK(other->Exec("SET statement_timeout = '10s'"));
  ASSERT_OK(other->Exec(kNextStretch));
  ASSERT_OK(Ids(*other, kInsert));
  ASSERT_OK(other->Exec("SELECT bdr.uuid_v7()"));
}

TEST_F(SnowflakeTest, ATransactionFromBeforeTheConversionIsToldToRepeat) {
  ASSERT_OK(server_->Exec("CREATE SEQUENCE public.late", "app"));
  const auto session = Session();
  ASSERT_OK(session->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM public.t"));
  ASSERT_OK(
      server_->Exec("SELECT bdr.convert_sequence('public.late', 'snowflake', 8, 3, 1)", "app"));
  for (const char* sql : {"SELECT bdr.nextval('public.late')",
                          "SELECT bdr.nextval('public.late', 'bdr.sequence_8')"}) {
    ASSERT_OK(session->Exec("SAVEPOINT before"));
    EXPECT_EQ(session->Exec(sql).status().code(), absl::StatusCode::kAborted) << sql;
    ASSERT_OK(session->Exec("ROLLBACK TO before"));
  }
  ASSERT_OK(session->Exec("ROLLBACK"));
  ASSERT_OK(session->Exec("SELECT bdr.nextval('public.late')"));
}

TEST_F(SnowflakeTest, TooSmallAColumnIsRefused) {
  ASSERT_OK(server_->Exec("CREATE TABLE public.small (id serial PRIMARY KEY)", "app"));
  const absl::Status status = server_->Exec(
      "SELECT bdr.convert_sequence('public.small_id_seq', 'snowflake', 8, 3, 1)", "app");
  EXPECT_THAT(std::string(status.message()), HasSubstr("63 bits"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("public.small"));
}

TEST_F(SnowflakeTest, BeginsAboveWhatWasGivenOutBefore) {
  const int64_t high = (int64_t{1} << 58);
  ASSERT_OK(server_->Exec(
      absl::StrCat("CREATE SEQUENCE public.old; SELECT bdr.convert_sequence('public.old', "
                   "'snowflake', 9, 3, ",
                   high, ")"),
      "app"));
  const auto session = Session();
  ASSERT_OK_AND_ASSIGN(const std::vector<int64_t> ids,
                       Ids(*session, "SELECT bdr.nextval('public.old')"));
  EXPECT_GE(ids[0], high);
  EXPECT_THAT(std::string(server_
                              ->Exec("CREATE SEQUENCE public.far; SELECT bdr.convert_sequence("
                                     "'public.far', 'snowflake', 10, 3, 1::bigint << 62)",
                                     "app")
                              .message()),
              HasSubstr("ahead of the clock"));
}

}  // namespace
}  // namespace bdr::seqam
