#include "node-agent/apply/session/pipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "tests/harness/postgres_test.h"

namespace bdr::agent {
namespace {

class PipeTest : public harness::PostgresTest {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(connection_, server_->Connect());
    ASSERT_OK(connection_->EnterPipeline());
  }

  // Runs a statement that gives `value` and is known as `name`; nothing is sent yet.
  static absl::Status Queue(Pipe& pipe, const std::string& name, int value, std::string* seen) {
    return pipe.Run(
        name, [value] { return absl::StrCat("SELECT ", value); }, {}, {},
        [seen](const postgres::Result& result) {
          absl::StrAppend(seen, result.value(0, 0), " ");
          return absl::OkStatus();
        });
  }

  // How many statements the server keeps for the session.
  static int Kept(Pipe& pipe) {
    int kept = -1;
    EXPECT_OK(pipe.Exec("SELECT count(*) FROM pg_prepared_statements",
                        [&kept](const postgres::Result& result) {
                          EXPECT_TRUE(absl::SimpleAtoi(result.value(0, 0), &kept));
                          return absl::OkStatus();
                        }));
    EXPECT_OK(pipe.Finish());
    return kept;
  }

  std::unique_ptr<postgres::Connection> connection_;
};

// A handler that queues another statement made Finish() take the answer to its Sync for that
// statement's, and wait for ever for the real one, with all locks held.
TEST_F(PipeTest, WhatAHandlerQueuesIsAnsweredByTheNextFinish) {
  Pipe pipe(connection_.get());
  std::string seen;
  const auto select = [&](const std::string& value) {
    return [&pipe, &seen, value](Pipe::Handler then) {
      return pipe.Run(
          "again", [] { return "SELECT 'again'"; }, {}, {},
          [&seen, value, then = std::move(then)](const postgres::Result& result) -> absl::Status {
            seen += value + "=" + std::string(result.value(0, 0)) + " ";
            return then ? then(result) : absl::OkStatus();
          });
    };
  };
  ASSERT_OK(pipe.Exec("SELECT 'first'", [&](const postgres::Result& result) -> absl::Status {
    seen += std::string(result.value(0, 0)) + " ";
    const absl::Status queued = select("one")(nullptr);
    return queued.ok() ? select("two")(nullptr) : queued;
  }));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "first ");
  // Prepared once, though the first answer to that is yet to come.
  ASSERT_OK(select("three")(nullptr));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "first one=again two=again three=again ");
  ASSERT_OK(pipe.Finish());
}

// PostgreSQL cuts names at 63 bytes: the second statement of a table of some hundred columns was
// refused as prepared already, or the first one ran in its place.
// ROLLBACK behind a statement that fails in the same pipeline is skipped with it, and the session
// would stay in a transaction that is aborted.
TEST_F(PipeTest, ATransactionIsLeftThoughWhatWasQueuedInItFails) {
  Pipe pipe(connection_.get());
  ASSERT_OK(pipe.Exec("BEGIN"));
  ASSERT_OK(pipe.Finish());
  ASSERT_OK(pipe.Exec("SELECT 1 / 0"));  // and then something else stopped the attempt
  ASSERT_OK(pipe.Rollback());
  std::string seen;
  ASSERT_OK(Queue(pipe, "after", 7, &seen));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "7 ");
}

TEST_F(PipeTest, StatementsAreToldApartByNamesOfAnyLength) {
  Pipe pipe(connection_.get());
  const std::string common(100, 'f');
  std::string seen;
  ASSERT_OK(Queue(pipe, common + "0", 1, &seen));
  ASSERT_OK(Queue(pipe, common + "1", 2, &seen));
  ASSERT_OK(Queue(pipe, common + "0", 1, &seen));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "1 2 1 ");
}

// Each takes the server 50 to 100 kB.
TEST_F(PipeTest, StatementsThatWereNotUsedForLongAreGivenUp) {
  Pipe pipe(connection_.get(), nullptr, /*most_statements=*/3);
  std::string seen;
  for (int value = 0; value < 10; ++value) {
    ASSERT_OK(Queue(pipe, absl::StrCat("s", value), value, &seen));
    ASSERT_OK(Queue(pipe, "often", 77, &seen));
    ASSERT_OK(pipe.Finish());
    EXPECT_LE(Kept(pipe), 3);
  }
  EXPECT_EQ(seen, "0 77 1 77 2 77 3 77 4 77 5 77 6 77 7 77 8 77 9 77 ");
  // Prepared anew, with more of them in one go than there may be for long.
  seen.clear();
  for (int value = 0; value < 10; ++value) {
    ASSERT_OK(Queue(pipe, absl::StrCat("s", value), value, &seen));
  }
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "0 1 2 3 4 5 6 7 8 9 ");
  ASSERT_OK(Queue(pipe, "another", 10, &seen));
  ASSERT_OK(pipe.Finish());
  EXPECT_LE(Kept(pipe), 3);
  ASSERT_OK(pipe.ForgetStatements());
  EXPECT_EQ(Kept(pipe), 0);
}

// A stopped transaction is tried again for days, each time with tables that are bound anew: what
// its errors leave behind must not add up.
TEST_F(PipeTest, WhatAnErrorSkipsIsGivenUpLater) {
  Pipe pipe(connection_.get(), nullptr, /*most_statements=*/3);
  std::string seen;
  for (int attempt = 0; attempt < 20; ++attempt) {
    ASSERT_OK(pipe.Exec("BEGIN"));
    for (int i = 0; i < 2; ++i) {
      ASSERT_OK(Queue(pipe, absl::StrCat("good", attempt, "_", i), i, &seen));
    }
    ASSERT_OK(pipe.Run(
        absl::StrCat("bad", attempt), [] { return "SELECT 1 / 0"; }, {}, {}, nullptr));
    // The last ones that fit; their place is taken by giving up others, which is skipped.
    ASSERT_OK(Queue(pipe, absl::StrCat("skipped", attempt), 1, &seen));
    EXPECT_FALSE(pipe.Finish().ok());
    ASSERT_OK(pipe.Exec("ROLLBACK"));
    ASSERT_OK(pipe.Finish());
    EXPECT_LE(Kept(pipe), 3 + 3) << attempt;
  }
}

}  // namespace
}  // namespace bdr::agent
