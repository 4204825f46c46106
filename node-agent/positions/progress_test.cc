// Positions decide what is sent again, what is thrown away, and which versions may be forgotten.
// Each must err low, whatever order the news comes in.
#include "node-agent/positions/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr OriginId kOwn{.node = 1, .incarnation = 1};
constexpr OriginId kPeer{.node = 2, .incarnation = 1};
constexpr OriginId kOther{.node = 3, .incarnation = 1};

const std::vector<SeenUntil> kAllSeen = {{kPeer.node, INT64_MAX}, {kOther.node, INT64_MAX}};

class ProgressTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/log"}));
    ASSERT_OK_AND_ASSIGN(log_, ChangeLog::Open(database_.get()));
    progress_ = std::make_unique<Progress>(kOwn, log_.get(), &history_);
    progress_->OwnMerged(Lsn{UINT64_MAX});
  }

  static HeartbeatInfo Heartbeat(std::vector<HeartbeatOrigin> origins) {
    return {.clock_us = 0, .origins = std::move(origins)};
  }
  void Acknowledge(NodeId subscriber, Lsn durable) {
    progress_->OnAcks(subscriber, {{.origin = kOwn, .durable_lsn = durable}});
  }
  void Append(OriginId origin, Lsn end_lsn, absl::string_view change = "") {
    BlockBuilder builder(origin);
    builder.BeginTransaction({.end_lsn = end_lsn, .stamp = {.time_us = 1, .node = origin.node}});
    if (!change.empty()) builder.AddChange(change);
    ASSERT_OK(log_->AppendReceived(builder.Seal(log_->End(origin).chain, /*more_parts=*/false)));
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
  AppliedHistory history_;
  std::unique_ptr<Progress> progress_;
};

TEST_F(ProgressTest, AnOriginOfWhichNothingIsKnownIsMissing) {
  EXPECT_EQ(progress_->CommittedLsn(kPeer), std::nullopt);
  EXPECT_THAT(progress_->FirstMissing({{kPeer, Lsn{5}}}), Optional(OriginLsn{kPeer, Lsn{5}}));
}

// A crash of this machine has taken the end of the change log, which others ask us for, and from
// which row versions come back. The server has not lost what was applied from it.
TEST_F(ProgressTest, WhatTheLogHasLostIsNotDurableUntilItHasComeAgain) {
  Append(kPeer, Lsn{10});
  progress_->RestartFlushing({{kPeer, Lsn{20}}}, Lsn{200});
  EXPECT_THAT(progress_->FlushedThrough(Lsn{200}), ElementsAre(OriginLsn{kPeer, Lsn{10}}));
  Append(kPeer, Lsn{20});
  EXPECT_THAT(progress_->FlushedThrough(Lsn{200}), ElementsAre(OriginLsn{kPeer, Lsn{20}}));
}

TEST_F(ProgressTest, ADependencyIsMetOnceCommitted) {
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Committed(kPeer, Lsn{9}, Lsn{100}, progress_->ServerLife());
  EXPECT_THAT(progress_->FirstMissing({{kPeer, Lsn{10}}}), Optional(OriginLsn{kPeer, Lsn{10}}));
  progress_->Committed(kPeer, Lsn{10}, Lsn{110}, progress_->ServerLife());
  EXPECT_EQ(progress_->FirstMissing({{kPeer, Lsn{10}}}), std::nullopt);
  EXPECT_EQ(progress_->CommittedLsn(kPeer), Lsn{10});
}

TEST_F(ProgressTest, OwnTransactionsAreHereAlready) {
  EXPECT_EQ(progress_->FirstMissing({{kOwn, Lsn{1000}}}), std::nullopt);
}

TEST_F(ProgressTest, AWaiterReturnsWhenItsDependencyIsCommitted) {
  progress_->ResetCommitted(kPeer, Lsn{0});
  std::thread applier([&] {
    absl::SleepFor(absl::Milliseconds(20));
    progress_->Committed(kPeer, Lsn{5}, Lsn{50}, progress_->ServerLife());
  });
  const absl::Time begun = absl::Now();
  progress_->WaitCommitted({kPeer, Lsn{5}}, absl::Seconds(30));
  EXPECT_LT(absl::Now() - begun, absl::Seconds(20));
  EXPECT_EQ(progress_->CommittedLsn(kPeer), Lsn{5});
  applier.join();
  progress_->WaitCommitted({kPeer, Lsn{6}}, absl::Milliseconds(5));  // returns all the same
}

TEST_F(ProgressTest, CommittedGoesBackOnlyByReset) {
  EXPECT_FALSE(progress_->ResetCommitted(kPeer, Lsn{10}));
  progress_->Committed(kPeer, Lsn{20}, Lsn{200}, progress_->ServerLife());
  EXPECT_TRUE(progress_->ResetCommitted(kPeer, Lsn{10}));
  EXPECT_EQ(progress_->CommittedLsn(kPeer), Lsn{10});
  EXPECT_FALSE(progress_->ResetCommitted(kPeer, Lsn{10}));
}

TEST_F(ProgressTest, CommittedIsNotFlushedBeforeTheLocalWalIs) {
  Append(kPeer, Lsn{10});
  Append(kPeer, Lsn{20});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Committed(kPeer, Lsn{10}, Lsn{100}, progress_->ServerLife());
  progress_->Committed(kPeer, Lsn{20}, Lsn{200}, progress_->ServerLife());
  EXPECT_THAT(progress_->FlushedThrough(Lsn{99}), IsEmpty());
  EXPECT_THAT(progress_->FlushedThrough(Lsn{100}), ElementsAre(OriginLsn{kPeer, Lsn{10}}));
  EXPECT_THAT(progress_->FlushedThrough(Lsn{300}), ElementsAre(OriginLsn{kPeer, Lsn{20}}));
}

TEST_F(ProgressTest, WhatACrashTookBackIsNeverFlushed) {
  Append(kPeer, Lsn{10});
  Append(kPeer, Lsn{20});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Committed(kPeer, Lsn{10}, Lsn{100}, progress_->ServerLife());
  progress_->Committed(kPeer, Lsn{20}, Lsn{200}, progress_->ServerLife());
  progress_->ResetCommitted(kPeer, Lsn{10});
  // The WAL grows again over the places of what was lost.
  EXPECT_THAT(progress_->FlushedThrough(Lsn{1000}), IsEmpty());
  progress_->Committed(kPeer, Lsn{10}, Lsn{150}, progress_->ServerLife());
  EXPECT_THAT(progress_->FlushedThrough(Lsn{1000}), ElementsAre(OriginLsn{kPeer, Lsn{10}}));
}

// An applier may be held up between the server's answer to COMMIT and this note of it, for longer
// than the server needs to crash, recover without that commit, and write other WAL in its place.
TEST_F(ProgressTest, ACommitOfAnEarlierServerLifeCountsNoMore) {
  Append(kPeer, Lsn{10});
  Append(kPeer, Lsn{20});
  progress_->ResetCommitted(kPeer, Lsn{0});
  const uint64_t before_crash = progress_->ServerLife();
  progress_->RestartFlushing({{kPeer, Lsn{10}}}, Lsn{100});
  EXPECT_FALSE(progress_->Committed(kPeer, Lsn{20}, Lsn{200}, before_crash));
  EXPECT_THAT(progress_->FlushedThrough(Lsn{1000}), ElementsAre(OriginLsn{kPeer, Lsn{10}}));
  EXPECT_TRUE(progress_->Committed(kPeer, Lsn{20}, Lsn{200}, progress_->ServerLife()));
}

TEST_F(ProgressTest, DurableIsWhatWasSaidLastAndNeverGoesBack) {
  EXPECT_EQ(progress_->DurableLsn(kPeer), Lsn{0});
  progress_->Durable({{kPeer, Lsn{10}}});
  progress_->Durable({{kPeer, Lsn{5}}});
  EXPECT_EQ(progress_->DurableLsn(kPeer), Lsn{10});
}

TEST_F(ProgressTest, NothingIsStableBeforeTheMembersAreKnown) {
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{0});
  EXPECT_EQ(progress_->StableTime(), 0);
}

TEST_F(ProgressTest, OwnIsStableOnceEveryMemberHasIt) {
  progress_->SetPeers({kPeer, kOther});
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  Acknowledge(kPeer.node, Lsn{100});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{0});
  Acknowledge(kOther.node, Lsn{60});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{60});
  Acknowledge(kOther.node, Lsn{40});  // an old word
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{60});
  Acknowledge(kOther.node, Lsn{100});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{100});
}

TEST_F(ProgressTest, StableTimeIsTheLowestOfAllMembers) {
  progress_->SetPeers({kPeer, kOther});
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  Acknowledge(kPeer.node, Lsn{100});
  Acknowledge(kOther.node, Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 0);  // the others have not told yet
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 4000}}));
  EXPECT_EQ(progress_->StableTime(), 0);
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kOther, .stable_us = 6000}}));
  EXPECT_EQ(progress_->StableTime(), 4000);
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 7000}}));
  EXPECT_EQ(progress_->StableTime(), 5000);
}

// Own changes that are to be merged again must find the versions that they met: what is newer than
// they are, and known to everybody, must not be forgotten before.
TEST_F(ProgressTest, NothingIsStableThatOwnChangesStillToBeMergedAgainMayMeet) {
  Progress progress(kOwn, /*log=*/nullptr, &history_);
  progress.SetPeers({kPeer});
  progress.OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 1'000'000}}));
  progress.Published(Lsn{100}, 5000, kAllSeen);
  progress.Published(Lsn{110}, 6000, kAllSeen);
  progress.OnAcks(kPeer.node, {{.origin = kOwn, .durable_lsn = Lsn{110}}});
  EXPECT_EQ(progress.StableTime(), 0);
  EXPECT_EQ(progress.StableLsn(kOwn), Lsn{0});
  progress.OwnMerged(Lsn{100});
  EXPECT_EQ(progress.StableTime(), 5000);
  EXPECT_EQ(progress.StableLsn(kOwn), Lsn{100});
  progress.OwnMerged(Lsn{110});
  EXPECT_EQ(progress.StableTime(), 6000);
}

// A change that is still to come may have been made in ignorance of one that everybody has. What
// is forgotten as stable must be known to all that is to come.
TEST_F(ProgressTest, NothingIsStableThatChangesStillToComeHadNotSeen) {
  progress_->SetPeers({kPeer});
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 1'000'000}}));
  progress_->Published(Lsn{100}, 5000, {});
  Acknowledge(kPeer.node, Lsn{200});
  EXPECT_EQ(progress_->StableTime(), 0);
  progress_->Published(Lsn{110}, 6000, {{.node = kPeer.node, .time_us = 4000}});
  EXPECT_EQ(progress_->StableTime(), 4000);
  progress_->Published(Lsn{120}, 7000, {{.node = kPeer.node, .time_us = 9000}});
  EXPECT_EQ(progress_->StableTime(), 7000);
}

TEST_F(ProgressTest, APromiseWhileIdleMovesTheStableTime) {
  progress_->SetPeers({kPeer});
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 1'000'000}}));
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  Acknowledge(kPeer.node, Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 5000);
  progress_->Published(Lsn{100}, 8000, kAllSeen);
  EXPECT_EQ(progress_->StableTime(), 8000);
  progress_->Published(Lsn{110}, 9000, kAllSeen);  // nobody has it yet
  EXPECT_EQ(progress_->StableTime(), 8000);
}

TEST_F(ProgressTest, OthersHavePromisedWhatIsInForceWhereTheyAreApplied) {
  progress_->SetPeers({kPeer, kOther});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->ResetCommitted(kOther, Lsn{0});
  const auto promise = [&](OriginId origin, Lsn lsn, int64_t time_us) {
    progress_->OnHeartbeat(
        origin.node, Heartbeat({{.origin = origin, .published_lsn = lsn, .promise_us = time_us}}));
  };
  progress_->Published(Lsn{5}, 9000, kAllSeen);
  promise(kPeer, Lsn{100}, 5000);
  promise(kPeer, Lsn{200}, 6000);
  promise(kPeer, Lsn{200}, 7000);
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 0);  // nothing of the peer is applied
  progress_->Committed(kPeer, Lsn{100}, Lsn{1}, progress_->ServerLife());
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 5000);
  EXPECT_EQ(progress_->NoTruncateBefore(kPeer), 0);  // the other has promised nothing
  progress_->Committed(kPeer, Lsn{200}, Lsn{1}, progress_->ServerLife());
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 7000);
  promise(kPeer, Lsn{200}, 20000);
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 9000);  // our own
}

// A heartbeat comes ten times a second, and a peer may not be applied for days.
TEST_F(ProgressTest, PromisesOfAPeerThatIsNotAppliedAreKeptThinlyAndTheNewestCounts) {
  progress_->SetPeers({kPeer});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Published(Lsn{5}, 900'000'000, kAllSeen);
  constexpr uint64_t kHeartbeats = 100'000;
  for (uint64_t i = 1; i <= kHeartbeats; ++i) {
    progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer,
                                                   .published_lsn = Lsn{i * 10},
                                                   .promise_us = static_cast<int64_t>(i) * 100}}));
  }
  // What is told errs low, and by little wherever apply has come.
  constexpr int64_t kMiddleUs = kHeartbeats * 50;
  const int64_t middle_us = progress_->PromisedBefore(kPeer, Lsn{kHeartbeats * 5});
  EXPECT_LE(middle_us, kMiddleUs);
  EXPECT_GE(middle_us, kMiddleUs * 98 / 100);
  progress_->Committed(kPeer, Lsn{kHeartbeats * 5}, Lsn{1}, progress_->ServerLife());
  EXPECT_GE(progress_->NoTruncateBefore(kOther), middle_us);
  progress_->Committed(kPeer, Lsn{kHeartbeats * 10}, Lsn{1}, progress_->ServerLife());
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), static_cast<int64_t>(kHeartbeats) * 100);
}

TEST_F(ProgressTest, APeerThatIsBehindHoldsBackTruncatesOnlyWhereOneWasReceived) {
  progress_->SetPeers({kPeer, kOther});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Published(Lsn{5}, 9000, kAllSeen);
  const auto promise = [&](Lsn lsn, int64_t time_us) {
    progress_->OnHeartbeat(
        kPeer.node, Heartbeat({{.origin = kPeer, .published_lsn = lsn, .promise_us = time_us}}));
  };
  promise(Lsn{100}, 5000);
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 0);  // not received
  Append(kPeer, Lsn{100}, "I");
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 5000);
  promise(Lsn{200}, 6000);
  Append(kPeer, Lsn{200}, "T");
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 0);
  Append(kPeer, Lsn{300}, "I");
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 0);
  // A start does not make it forget.
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ChangeLog> again, ChangeLog::Open(database_.get()));
  EXPECT_EQ(again->TruncatesThrough(kPeer), Lsn{200});
  progress_->Committed(kPeer, Lsn{200}, Lsn{1}, progress_->ServerLife());
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 6000);
  promise(Lsn{300}, 7000);
  EXPECT_EQ(progress_->NoTruncateBefore(kOther), 7000);
}

TEST_F(ProgressTest, AHeartbeatCarriesOwnPromisesAndOnlyDurableBlocksOfOthers) {
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  Append(kPeer, Lsn{70});
  progress_->OnHeartbeat(kPeer.node,
                         Heartbeat({{.origin = kPeer, .published_lsn = Lsn{80}, .stable_us = 3}}));
  progress_->Durable({{kPeer, Lsn{60}}});
  progress_->SetServerClock(1'000'000);
  const HeartbeatInfo heartbeat = progress_->MakeHeartbeat();
  EXPECT_GE(heartbeat.clock_us, 1'000'000);
  ASSERT_EQ(heartbeat.origins.size(), 2);
  EXPECT_EQ(heartbeat.origins[0].origin, kOwn);
  EXPECT_EQ(heartbeat.origins[0].published_lsn, Lsn{100});
  EXPECT_EQ(heartbeat.origins[0].promise_us, 5000);
  EXPECT_EQ(heartbeat.origins[1].origin, kPeer);
  EXPECT_EQ(heartbeat.origins[1].published_lsn, Lsn{60});
  EXPECT_EQ(heartbeat.origins[1].promise_us, 0);  // only an origin itself may promise
  EXPECT_EQ(heartbeat.origins[1].stable_us, 3);
}

TEST_F(ProgressTest, OnlyTheOriginItselfIsBelievedAboutItsPromise) {
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kOther, .promise_us = 900}}));
  EXPECT_THAT(history_.At(Lsn{10}).seen, IsEmpty());
  progress_->OnHeartbeat(kOther.node, Heartbeat({{.origin = kOther, .promise_us = 900}}));
  EXPECT_THAT(history_.At(Lsn{10}).seen, ElementsAre(SeenUntil{kOther.node, 900}));
}

TEST_F(ProgressTest, NobodyTellsUsAboutOurOwnOrigin) {
  progress_->SetPeers({});
  progress_->OnHeartbeat(
      kPeer.node,
      Heartbeat({{.origin = kOwn, .published_lsn = Lsn{9}, .stable_lsn = Lsn{9}, .stable_us = 9}}));
  EXPECT_EQ(progress_->PublishedLsn(kOwn), Lsn{0});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{0});
  EXPECT_EQ(progress_->StableTime(), 0);
}

TEST_F(ProgressTest, AcknowledgementsTellReceivedDurableAndApplied) {
  Append(kPeer, Lsn{70});
  progress_->ResetCommitted(kPeer, Lsn{0});
  progress_->Committed(kPeer, Lsn{65}, Lsn{1000}, progress_->ServerLife());
  progress_->Durable({{kPeer, Lsn{50}}});
  const std::vector<AckInfo> acks = progress_->MakeAcks();
  ASSERT_EQ(acks.size(), 1);
  EXPECT_EQ(acks[0].origin, kPeer);
  EXPECT_EQ(acks[0].received_lsn, Lsn{70});
  EXPECT_EQ(acks[0].applied_lsn, Lsn{65});
  EXPECT_EQ(acks[0].durable_lsn, Lsn{50});
}

// From min to below max, whatever the size of the case: the first cases are to be as wild as the
// last.
template <typename T>
T Draw(T min, T max) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(min, max));
}

TEST_F(ProgressTest, WhatAPeerHasReceivedOrAppliedIsNotStableBeforeItIsDurableThere) {
  progress_->SetPeers({kPeer});
  progress_->Published(Lsn{100}, 1000, kAllSeen);
  progress_->OnHeartbeat(kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = INT64_MAX}}));
  progress_->OnAcks(kPeer.node, {{.origin = kOwn,
                                  .received_lsn = Lsn{100},
                                  .durable_lsn = Lsn{99},
                                  .applied_lsn = Lsn{100}}});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{99});
  EXPECT_EQ(progress_->StableTime(), 0);
  Acknowledge(kPeer.node, Lsn{100});
  EXPECT_EQ(progress_->StableLsn(kOwn), Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 1000);
}

TEST_F(ProgressTest, TheMemberThatHoldsTheStableTimeBackIsNamed) {
  EXPECT_EQ(progress_->StableHeldBy(), std::nullopt);
  progress_->SetPeers({kPeer, kOther});
  progress_->Published(Lsn{100}, 1000, kAllSeen);
  for (const OriginId& peer : {kPeer, kOther}) {
    progress_->OnHeartbeat(peer.node, Heartbeat({{.origin = peer, .stable_us = 900}}));
  }
  // Of our own transactions kOther has the least.
  Acknowledge(kPeer.node, Lsn{90});
  Acknowledge(kOther.node, Lsn{50});
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kOther.node));
  Acknowledge(kPeer.node, Lsn{100});
  Acknowledge(kOther.node, Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 900);
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kPeer.node));  // its promise is the oldest
  // Of kPeer's transactions, by its own word, we have.
  progress_->OnHeartbeat(
      kPeer.node, Heartbeat({{.origin = kPeer, .stable_us = 900, .stable_held_by = kOwn.node}}));
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kOwn.node));
}

TEST_F(ProgressTest, AMemberThatWasNeverHeardOfHoldsTheStableTimeBack) {
  progress_->SetPeers({kPeer});
  progress_->Published(Lsn{100}, 1000, kAllSeen);
  Acknowledge(kPeer.node, Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 0);
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kPeer.node));
}

// It has said what it has, and is heard of; but what is still to come here has seen nothing of it.
TEST_F(ProgressTest, AMemberOfWhichNothingWasSeenIsNamed) {
  progress_->SetPeers({kPeer, kOther});
  for (const OriginId& peer : {kPeer, kOther}) {
    progress_->OnHeartbeat(peer.node, Heartbeat({{.origin = peer, .stable_us = 1'000'000}}));
  }
  progress_->Published(Lsn{100}, 5000, {{.node = kPeer.node, .time_us = 9000}});
  Acknowledge(kPeer.node, Lsn{100});
  Acknowledge(kOther.node, Lsn{100});
  EXPECT_EQ(progress_->StableTime(), 0);
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kOther.node));
  EXPECT_EQ(progress_->MakeHeartbeat().origins.at(0).stable_held_by, kOther.node);
  progress_->Published(Lsn{100}, 5000, kAllSeen);
  EXPECT_EQ(progress_->StableTime(), 5000);
  EXPECT_THAT(progress_->StableHeldBy(), Optional(kOwn.node));
}

// Promises are kept in a list that is thinned when a member stays behind; and acknowledgements come
// in any order. What is said to be stable must be so by the whole list.
RC_GTEST_PROP(ProgressStabilityTest, StableTimeIsNeverAboveAPromiseThatEverybodyHas, ()) {
  AppliedHistory history;
  Progress progress(kOwn, /*log=*/nullptr, &history);  // the log is not asked about stability
  progress.SetPeers({kPeer, kOther});
  progress.OwnMerged(Lsn{UINT64_MAX});
  for (const OriginId peer : {kPeer, kOther}) {
    progress.OnHeartbeat(peer.node,
                         {.clock_us = 0, .origins = {{.origin = peer, .stable_us = INT64_MAX}}});
  }
  std::vector<std::pair<Lsn, int64_t>> said;
  std::map<NodeId, Lsn> has;
  Lsn published;
  int64_t promise = 0;
  const int steps = Draw(1, 100);
  for (int i = 0; i < steps; ++i) {
    if (Draw(0, 3) > 0) {
      // Often many at once, to come to the limit of the list.
      const int many = *rc::gen::element(1, 2, 700);
      for (int j = 0; j < many; ++j) {
        published.value += static_cast<uint64_t>(j % 3);
        promise += 1 + j % 2;
        progress.Published(published, promise, kAllSeen);
        said.emplace_back(published, promise);
      }
    } else {
      const NodeId node = *rc::gen::element(kPeer.node, kOther.node);
      const Lsn lsn{Draw<uint64_t>(0, published.value + 1)};
      progress.OnAcks(node, {{.origin = kOwn, .durable_lsn = lsn}});
      has[node] = std::max(has[node], lsn);
    }
    const Lsn everybody = std::min(has[kPeer.node], has[kOther.node]);
    RC_ASSERT(progress.StableLsn(kOwn) == std::min(everybody, published));
    int64_t largest = 0;
    for (const auto& [lsn, time] : said) {
      if (lsn <= everybody) largest = std::max(largest, time);
    }
    RC_ASSERT(progress.StableTime() <= largest);
    // With everything everywhere it is the promise itself.
    if (everybody >= published && !said.empty()) RC_ASSERT(progress.StableTime() == largest);
  }
}

}  // namespace
}  // namespace bdr::agent
