// What comes after a failure. Too little patience stops replication at a race; too much goes round
// for ever at a transaction that a person has to look at.
#include "node-agent/apply/drive/recovery.h"

#include <gtest/gtest.h>

#include <string>

#include "node-agent/apply/session/left_out.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"
#include "postgres/sqlstate_testing.h"

namespace bdr::agent {
namespace {

using Step = Recovery::Step;

using postgres::ErrorForTesting;
absl::Status Deadlock() { return ErrorForTesting(absl::StatusCode::kAborted, "40P01"); }
absl::Status Collision() { return ErrorForTesting(absl::StatusCode::kFailedPrecondition, "23505"); }
absl::Status LockTimeout() { return ErrorForTesting(absl::StatusCode::kUnavailable, "55P03"); }
absl::Status NoColumn() { return ErrorForTesting(absl::StatusCode::kFailedPrecondition, "42703"); }
absl::Status RowLeftOut() {
  postgres::TableInfo table;
  table.schema = "public";
  table.name = "t";
  return LeftOut(table, kUpdatesRows);
}

TEST(RecoveryTest, ADeadlockIsTriedAgainAsOftenAsItTakes) {
  Recovery recovery;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(recovery.After(Deadlock(), 1), Step::kSmaller);
}

TEST(RecoveryTest, ALockIsWaitedForAsLongAsSomebodyHoldsIt) {
  Recovery recovery;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(recovery.After(LockTimeout(), 1), Step::kWaitForLock);
}

TEST(RecoveryTest, AShapeThatChangedIsLookedUpAgainForOneTransactionAlone) {
  Recovery recovery;
  EXPECT_EQ(recovery.After(NoColumn(), 8), Step::kAlone);
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kAlone) << "looked up again, not yet tried";
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kGiveUp);
}

TEST(RecoveryTest, AfterASuccessTheNextOneIsLookedUpAgainAsWell) {
  Recovery recovery;
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kAlone);
  recovery.Reset();
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kAlone);
}

TEST(RecoveryTest, ShapesThatWereLookedUpForSomethingElseDoNotCount) {
  Recovery recovery;
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kAlone);
  recovery.BeginPending();  // in a new session
  EXPECT_EQ(recovery.After(NoColumn(), 1), Step::kAlone);
}

TEST(RecoveryTest, AValueThatSomebodyHoldsIsNoRaceForEver) {
  Recovery recovery;
  for (int i = 0; i < Recovery::kMostCollisions; ++i) {
    ASSERT_EQ(recovery.After(Collision(), 1), Step::kLookAgain);
  }
  EXPECT_EQ(recovery.After(Collision(), 1), Step::kAlone);
  EXPECT_EQ(recovery.After(Collision(), 1), Step::kGiveUp);
}

TEST(RecoveryTest, ARowThatIsLeftOutIsExplainedWhenItGoesOn) {
  Recovery recovery;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(recovery.After(RowLeftOut(), 2), Step::kLeftOut) << "a group may be why";
  }
  for (int i = 0; i < Recovery::kMostCollisions; ++i) {
    ASSERT_EQ(recovery.After(RowLeftOut(), 1), Step::kLeftOut);
  }
  EXPECT_EQ(recovery.After(RowLeftOut(), 1), Step::kExplainLeftOut);
  EXPECT_EQ(recovery.AfterExplanation(absl::FailedPreconditionError("a trigger"), 1), Step::kAlone);
  EXPECT_EQ(recovery.After(RowLeftOut(), 1), Step::kExplainLeftOut);
  EXPECT_EQ(recovery.AfterExplanation(absl::FailedPreconditionError("a trigger"), 1),
            Step::kGiveUp);
}

TEST(RecoveryTest, UsersWhoWriteARowAllTheTimeAreWaitedForLonger) {
  Recovery recovery;
  int attempts = 0;
  for (Step step = Step::kLeftOut; step != Step::kAlone; ++attempts) {
    ASSERT_LT(attempts, 10'000);
    step = recovery.After(RowLeftOut(), 1);
    if (step == Step::kExplainLeftOut) {
      step = recovery.AfterExplanation(absl::AbortedError("nobody knows"), 1);
    }
  }
  EXPECT_EQ(attempts, Recovery::kMostLeftOut + 1);
}

TEST(RecoveryTest, WhatTheServerLacksIsNotForGood) {
  EXPECT_TRUE(IsForGood(NoColumn()));
  EXPECT_TRUE(IsForGood(absl::NotFoundError("no such table")));
  EXPECT_FALSE(
      IsForGood(ErrorForTesting(absl::StatusCode::kFailedPrecondition, "42501")));  // a right
  EXPECT_FALSE(
      IsForGood(ErrorForTesting(absl::StatusCode::kResourceExhausted, "53100")));  // disk full
}

}  // namespace
}  // namespace bdr::agent
