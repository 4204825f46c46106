// The only loop that tries, waits and tries again, with a session and a body that follow a script:
// what is left locked while something is waited for, or tried again in a session that may have
// committed, loses data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/testing.h"
#include "node-agent/apply/drive/group_driver.h"
#include "postgres/connection.h"
#include "postgres/sqlstate_testing.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;

class ScriptedSession : public ApplySession {
 public:
  explicit ScriptedSession(std::vector<std::string>* told) : told_(*told) {}

  absl::Status Begin(int64_t) override {
    told_.push_back("begin");
    open_ = true;
    return broken_ ? absl::UnavailableError("lost") : absl::OkStatus();
  }
  absl::Status Commit(const CommittedAt&, KeysInFlight::Registration*) override {
    told_.push_back("commit");
    if (commit_.ok()) open_ = false;
    if (unconfirmed_) broken_ = true;
    return std::exchange(commit_, absl::OkStatus());
  }
  void Rollback() override {
    if (open_) told_.push_back("rollback");
    open_ = false;
    if (cannot_leave_) broken_ = true;
  }
  bool in_transaction() const override { return open_; }
  bool broken() const override { return broken_; }
  absl::Time begun_at() const override { return absl::InfinitePast(); }
  Lsn committed() const override { return Lsn{}; }

  void Break() { broken_ = true; }
  void CannotLeave() { cannot_leave_ = true; }
  void AnswerCommit(absl::Status status) { commit_ = std::move(status); }
  void LoseCommit() {
    commit_ = absl::UnavailableError("commit was not confirmed");
    unconfirmed_ = true;
  }

 private:
  std::vector<std::string>& told_;
  bool open_ = false;
  bool broken_ = false;
  bool cannot_leave_ = false;
  bool unconfirmed_ = false;
  absl::Status commit_ = absl::OkStatus();
};

// Each Write() takes the next step of the script; when there is none left, all is well.
class ScriptedBody : public GroupBody {
 public:
  using Step = std::function<absl::Status(Needs*)>;
  ScriptedBody(ScriptedSession* session, std::vector<std::string>* told)
      : session_(*session), told_(*told) {}

  absl::Status Prepare() override {
    MoveTo(GroupPhase::kPlanned);
    MoveTo(GroupPhase::kRegistered);
    MoveTo(GroupPhase::kRecorded);
    return prepare;
  }
  absl::Status Write(Needs* needs) override {
    RETURN_IF_ERROR(session_.Begin(1));
    if (!script.empty()) {
      const Step step = std::move(script.front());
      script.pop_front();
      RETURN_IF_ERROR(step(needs));
    }
    if (needs->empty()) MoveTo(GroupPhase::kWritten);
    return absl::OkStatus();
  }
  absl::Status Commit() override {
    MoveTo(GroupPhase::kCommitting);
    RETURN_IF_ERROR(session_.Commit({}, nullptr));
    MoveTo(GroupPhase::kCommitted);
    return absl::OkStatus();
  }
  absl::Status Meet(const Needs& needs) override {
    EXPECT_FALSE(session_.in_transaction()) << "waits while it holds locks";
    if (!needs.keys.empty()) told_.push_back("keys");
    if (needs.values) told_.push_back("values");
    if (!needs.capture.empty()) told_.push_back("capture");
    MoveTo(GroupPhase::kRecorded);
    return meet;
  }
  absl::Status Recover(const absl::Status& failed) override {
    EXPECT_FALSE(session_.in_transaction());
    if (IsLockTimeout(failed)) {
      told_.push_back("lock");
    } else if (postgres::Sqlstate(failed) == kClockBehind) {
      told_.push_back("clock");
    } else {
      return failed;
    }
    MoveTo(GroupPhase::kRecorded);
    return absl::OkStatus();
  }
  int64_t newest_us() const override { return 1; }

  std::deque<Step> script;
  absl::Status prepare = absl::OkStatus();
  absl::Status meet = absl::OkStatus();

 private:
  ScriptedSession& session_;
  std::vector<std::string>& told_;
};

ScriptedBody::Step Lacks(Needs lacking) {
  return [lacking = std::move(lacking)](Needs* needs) {
    *needs = lacking;
    return absl::OkStatus();
  };
}
ScriptedBody::Step Fails(absl::Status status) {
  return [status = std::move(status)](Needs*) { return status; };
}

class DriveTest : public ::testing::Test {
 protected:
  absl::Status Run() { return Drive(&body_, &session_, control_, &tally_); }

  std::vector<std::string> told_;
  ScriptedSession session_{&told_};
  ScriptedBody body_{&session_, &told_};
  ApplyControl control_{{.node = 2, .incarnation = 1}};
  ApplyTally tally_;
};

TEST_F(DriveTest, WhatLacksNothingIsCommittedAtOnce) {
  ASSERT_OK(Run());
  EXPECT_THAT(told_, ElementsAre("begin", "commit"));
  EXPECT_EQ(body_.phase(), GroupPhase::kCommitted);
  EXPECT_EQ(tally_.Get().retries, 0u);
}

TEST_F(DriveTest, NeedsAfterNeedsAreMetWithNothingLocked) {
  body_.script = {Lacks({.keys = {"k"}}), Lacks({.values = true}),
                  Lacks({.capture = {{"k", std::nullopt}}, .values = true})};
  ASSERT_OK(Run());
  EXPECT_THAT(told_, ElementsAre("begin", "rollback", "keys", "begin", "rollback", "values",
                                 "begin", "rollback", "values", "capture", "begin", "commit"));
  EXPECT_EQ(tally_.Get().retries, 3u);
}

TEST_F(DriveTest, NeedsCountThoughTheAttemptHasFailedByThem) {
  body_.script = {[](Needs* needs) {
    needs->values = true;
    return absl::FailedPreconditionError("what was left out was missed");
  }};
  ASSERT_OK(Run());
  EXPECT_THAT(told_, ElementsAre("begin", "rollback", "values", "begin", "commit"));
}

TEST_F(DriveTest, ADeadlockIsRolledBackAndTold) {
  body_.script = {Fails(absl::AbortedError("deadlock"))};
  EXPECT_EQ(Run().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(told_, ElementsAre("begin", "rollback"));
}

TEST_F(DriveTest, AClockThatIsBehindIsWaitedFor) {
  const absl::Status behind =
      postgres::ErrorForTesting(absl::StatusCode::kFailedPrecondition, kClockBehind);
  body_.script = {Fails(behind), Fails(behind)};
  ASSERT_OK(Run());
  EXPECT_THAT(told_, ElementsAre("begin", "rollback", "clock", "begin", "rollback", "clock",
                                 "begin", "commit"));
}

TEST_F(DriveTest, WhatTheServerRefusesAtCommitIsRolledBackAndTold) {
  session_.AnswerCommit(absl::FailedPreconditionError("a deferred constraint"));
  EXPECT_EQ(Run().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(told_, ElementsAre("begin", "commit", "rollback"));
  EXPECT_EQ(body_.phase(), GroupPhase::kRegistered);
}

TEST_F(DriveTest, AfterACommitThatMayHaveHappenedNothingIsSent) {
  session_.LoseCommit();
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin", "commit"));
  EXPECT_EQ(body_.phase(), GroupPhase::kCommitting) << "nobody knows";
}

TEST_F(DriveTest, ALockThatCommitHasToWaitForIsWaitedForWithNothingOpen) {
  session_.AnswerCommit(postgres::ErrorForTesting(absl::StatusCode::kUnavailable, "55P03"));
  ASSERT_OK(Run());
  EXPECT_THAT(told_, ElementsAre("begin", "commit", "rollback", "lock", "begin", "commit"));
}

TEST_F(DriveTest, ATransactionThatCannotBeLeftEndsTheSession) {
  session_.CannotLeave();
  body_.script = {Fails(absl::AbortedError("deadlock"))};
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin", "rollback"));
}

TEST_F(DriveTest, DamageIsToldAtOnceWhateverIsNeeded) {
  body_.script = {[](Needs* needs) {
    needs->values = true;
    return absl::DataLossError("a block is damaged");
  }};
  EXPECT_EQ(Run().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(told_, ElementsAre("begin", "rollback"));
}

TEST_F(DriveTest, AConnectionLostWhileWritingEndsIt) {
  body_.script = {[this](Needs*) {
    session_.Break();
    return absl::UnavailableError("lost");
  }};
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin"));
}

TEST_F(DriveTest, AConnectionLostWhileNeedsAreFoundIsNoSuccess) {
  body_.script = {[this](Needs* needs) {
    session_.Break();
    needs->values = true;
    return absl::OkStatus();
  }};
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin"));
}

TEST_F(DriveTest, AConnectionLostBeforeItBeginsEndsIt) {
  session_.Break();
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin"));
}

TEST_F(DriveTest, WhatCannotBePreparedNeverBegins) {
  body_.prepare = absl::AbortedError("settings have changed");
  EXPECT_EQ(Run().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(told_.empty());
}

TEST_F(DriveTest, WhatCannotBeMetEndsItWithNothingOpen) {
  body_.script = {Lacks({.values = true})};
  body_.meet = absl::AbortedError("too many at once");
  EXPECT_EQ(Run().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(session_.in_transaction());
}

TEST_F(DriveTest, AnApplierThatIsToStopLeavesBetweenAttempts) {
  body_.script = {[this](Needs* needs) {
    control_.Stop();
    needs->values = true;
    return absl::OkStatus();
  }};
  EXPECT_EQ(Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(told_, ElementsAre("begin", "rollback"));
}

}  // namespace
}  // namespace bdr::agent
