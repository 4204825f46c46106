// What cannot be decoded is passed only where somebody said so, only what he said, and never
// without being written down.
#include "node-agent/capture/skips.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>

#include "base/steady_clock.h"
#include "base/testing.h"
#include "node-agent/capture/captured_state.h"
#include "node-agent/capture/wal_pages.h"
#include "node-agent/changelog/state.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr Lsn kFirst{1'000'000};
constexpr Lsn kSecond{2'000'000};

class SkipsTest : public ::testing::Test {
 protected:
  using Answer = absl::StatusOr<CaptureGap>;

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create("bdr-skips"));
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/db",
                                                    .memory_bytes = 16 << 20}));
    ASSERT_OK(
        State(database_.get())
            .Put(kStateCaptured, CapturedState{.through = Lsn{1000}}.Encode(), /*sync=*/true));
    ASSERT_OK_AND_ASSIGN(gaps_, CaptureGaps::Load(database_.get()));
    skips_ = std::make_unique<Skips>(database_.get(), gaps_.get());
  }

  static Undecodable At(Lsn commit, bool follows = false) {
    return {.commit = commit, .cause = "invalid page", .follows = follows};
  }
  // As the admin service does, from a thread of its own. Returns once it is known that it waits.
  std::future<Answer> Ask(Lsn commit, bool until_decodable, absl::Duration timeout = kLong) {
    auto answer = std::async(std::launch::async, [this, commit, until_decodable, timeout] {
      return skips_->Ask(commit, until_decodable, timeout, [] { return false; });
    });
    skips_->SleepUntilAsked(SteadyNow() + kLong);
    return answer;
  }
  bool Pass(const Undecodable& undecodable) {
    const absl::StatusOr<bool> passed = skips_->Pass(undecodable);
    EXPECT_OK(passed);
    return passed.ok() && *passed;
  }
  Lsn Through() { return CapturedState::Load(database_.get()).value()->through; }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<CaptureGaps> gaps_;
  std::unique_ptr<Skips> skips_;
};

TEST_F(SkipsTest, NothingIsPassedThatNobodyAskedFor) {
  EXPECT_FALSE(skips_->InDoubt());
  EXPECT_FALSE(Pass(At(kFirst)));
  EXPECT_TRUE(skips_->InDoubt());
  EXPECT_EQ(Through(), Lsn{1000});
  EXPECT_THAT(gaps_->all(), IsEmpty());
}

TEST_F(SkipsTest, OnlyTheOneThatCaptureStandsAtMayBeAskedFor) {
  const auto ask = [this](Lsn commit) {
    return skips_->Ask(commit, false, kLong, [] { return false; }).status().code();
  };
  EXPECT_EQ(ask(kFirst), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Pass(At(kFirst)));
  EXPECT_EQ(ask(kSecond), absl::StatusCode::kFailedPrecondition);
  skips_->Decodes(/*proven=*/true);
  EXPECT_EQ(ask(kFirst), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SkipsTest, OneIsPassedAndWrittenDownAndNoMore) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/false);
  EXPECT_TRUE(Pass(At(kFirst)));
  EXPECT_EQ(Through(), BehindCommit(kFirst));
  ASSERT_OK_AND_ASSIGN(const CaptureGap gap, answer.get());
  EXPECT_EQ(gap.first, kFirst);
  EXPECT_EQ(gap.transactions, 1u);
  EXPECT_FALSE(Pass(At(kSecond, /*follows=*/true)));
  EXPECT_EQ(Through(), BehindCommit(kFirst));
}

TEST_F(SkipsTest, UntilDecodableEndsBehindTheFirstThatCanBeDecoded) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/true);
  EXPECT_TRUE(Pass(At(kFirst)));
  EXPECT_TRUE(skips_->InDoubt());
  EXPECT_TRUE(Pass(At(kSecond, /*follows=*/true)));
  EXPECT_FALSE(Pass(At(Lsn{3'000'000}, /*follows=*/false))) << "something was decoded before it";
  ASSERT_OK_AND_ASSIGN(const CaptureGap gap, answer.get());
  EXPECT_EQ(gap.first, kFirst);
  EXPECT_EQ(gap.last, kSecond);
  EXPECT_EQ(gap.transactions, 2u);
  EXPECT_THAT(gaps_->all(), SizeIs(1));
}

TEST_F(SkipsTest, AnotherThanTheOneThatWasMeantIsNotPassed) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/true);
  EXPECT_FALSE(Pass(At(kSecond)));
  EXPECT_EQ(answer.get().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Through(), Lsn{1000});
}

TEST_F(SkipsTest, WithoutAPublicationNothingIsPassedAsItWouldNeverEnd) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/true);
  Undecodable missing = At(kFirst);
  missing.missing = "bdr_keyed";
  EXPECT_FALSE(Pass(missing));
  EXPECT_THAT(answer.get().status().message(), ::testing::HasSubstr("bdr_keyed"));
  EXPECT_EQ(skips_->Ask(kFirst, true, kLong, [] { return false; }).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SkipsTest, WhatWasAppliedForAnotherNodeIsPassedUnasked) {
  Undecodable applied = At(kFirst);
  applied.applied = true;
  EXPECT_TRUE(Pass(applied));
  EXPECT_EQ(Through(), BehindCommit(kFirst));
  EXPECT_THAT(gaps_->all(), IsEmpty()) << "its changes are on another node";
}

TEST_F(SkipsTest, PassingTheSameAgainIsAnErrorThatEndsTheSkip) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/true);
  EXPECT_TRUE(Pass(At(kFirst)));
  const absl::StatusOr<bool> again = skips_->Pass(At(kFirst, /*follows=*/true));
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(answer.get().status(), again.status());
}

TEST_F(SkipsTest, WhoAskedIsAnsweredWhenTheAgentStops) {
  EXPECT_FALSE(Pass(At(kFirst)));
  std::future<Answer> answer = Ask(kFirst, /*until_decodable=*/false);
  skips_->Stop();
  EXPECT_EQ(answer.get().status().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace bdr::agent
