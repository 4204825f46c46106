// What a local transaction had seen is known only as an interval. Rounded the wrong way it breaks
// causal order (waits for too little) or hides a conflict (had seen too much), and nothing else in
// the system would notice. So the property plays a server's WAL with groups, crashes and retries,
// and compares with what was truly committed when.
#include "node-agent/positions/applied_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr OriginId kPeer{.node = 2, .incarnation = 1};
constexpr OriginId kOther{.node = 3, .incarnation = 1};

// The slot's stream breaks, and what was not durable is decoded again: it had seen no more than the
// first time.
TEST(AppliedHistoryTest, AnEarlierCommitThatIsAskedForAgainGetsTheSameAnswer) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{120});
  history.Finish(kPeer, Lsn{130});
  EXPECT_THAT(history.At(Lsn{110}).seen, IsEmpty());
  EXPECT_THAT(history.At(Lsn{200}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
  EXPECT_THAT(history.At(Lsn{110}).seen, IsEmpty());
  EXPECT_THAT(history.At(Lsn{110}).waits_for, IsEmpty());
  history.Fold(Lsn{130});
  EXPECT_THAT(history.At(Lsn{130}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
}

// PostgreSQL crashed and lost a group; its place in the WAL is used again. What commits there had
// not seen it, whoever notices first.
TEST(AppliedHistoryTest, WhatACrashTookWasNotSeenByWhatComesAfter) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{110});
  history.Begin(kPeer, Lsn{60}, 2000, Lsn{120});
  history.Finish(kPeer, Lsn{130});
  history.Begin(kOther, Lsn{9}, 1500, Lsn{130});  // under way
  const std::vector<OriginLsn> finished = history.Finished();
  EXPECT_THAT(finished, ElementsAre(OriginLsn{kPeer, Lsn{60}}, OriginLsn{kOther, Lsn{0}}));
  history.Lost(kPeer, Lsn{60}, /*visible_lsn=*/Lsn{50}, 1000);
  history.Lost(kOther, Lsn{0}, /*visible_lsn=*/Lsn{0}, 0);
  EXPECT_THAT(history.At(Lsn{200}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
  history.Finish(kOther, Lsn{210});
  EXPECT_THAT(history.At(Lsn{210}).seen,
              ElementsAre(SeenUntil{kPeer.node, 1000}, SeenUntil{kOther.node, 1500}));
}

TEST(AppliedHistoryTest, KnowsOfNothingAtFirst) {
  AppliedHistory history;
  const AppliedHistory::Snapshot snapshot = history.At(Lsn{100});
  EXPECT_THAT(snapshot.waits_for, IsEmpty());
  EXPECT_THAT(snapshot.seen, IsEmpty());
  EXPECT_EQ(snapshot.newest_stamp_us, 0);
}

TEST(AppliedHistoryTest, AGroupUnderWayIsWaitedForAndNotSeen) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  const AppliedHistory::Snapshot snapshot = history.At(Lsn{110});
  EXPECT_THAT(snapshot.waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));
  EXPECT_THAT(snapshot.seen, IsEmpty());
  EXPECT_EQ(snapshot.newest_stamp_us, 1000);
}

TEST(AppliedHistoryTest, AGroupThatBeganAfterTheCommitIsNothingToIt) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{200});
  EXPECT_THAT(history.At(Lsn{100}).waits_for, IsEmpty());
}

TEST(AppliedHistoryTest, AGroupIsSeenOnceLocalCommitsLieBeyondIt) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{200});
  EXPECT_THAT(history.At(Lsn{199}).seen, IsEmpty());
  EXPECT_THAT(history.At(Lsn{200}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
  EXPECT_THAT(history.At(Lsn{200}).waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));
}

TEST(AppliedHistoryTest, AnAttemptThatWasRolledBackIsReplaced) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{90}, 9000, Lsn{100});
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{120});
  history.Finish(kPeer, Lsn{130});
  const AppliedHistory::Snapshot snapshot = history.At(Lsn{200});
  EXPECT_THAT(snapshot.waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));
  EXPECT_THAT(snapshot.seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
  EXPECT_EQ(snapshot.newest_stamp_us, 1000);
}

TEST(AppliedHistoryTest, APromiseCountsOnceItsPositionIsSeen) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.AddPromise(kPeer, Lsn{50}, 3000);
  history.AddPromise(kPeer, Lsn{60}, 4000);
  EXPECT_THAT(history.At(Lsn{150}).seen, IsEmpty());
  history.Finish(kPeer, Lsn{160});
  EXPECT_THAT(history.At(Lsn{170}).seen, ElementsAre(SeenUntil{kPeer.node, 3000}));
}

TEST(AppliedHistoryTest, AnOriginThatHasPublishedNothingPromisesToo) {
  AppliedHistory history;
  history.AddPromise(kPeer, Lsn{0}, 700);
  const AppliedHistory::Snapshot snapshot = history.At(Lsn{10});
  EXPECT_THAT(snapshot.seen, ElementsAre(SeenUntil{kPeer.node, 700}));
  EXPECT_THAT(snapshot.waits_for, IsEmpty());
}

// Two streams of one peer overlap after a reconnect, so its heartbeats may come in any order.
TEST(AppliedHistoryTest, APromiseThatComesLateSaysNothingOfEarlierPositions) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{110});
  history.AddPromise(kPeer, Lsn{60}, 4000);
  history.AddPromise(kPeer, Lsn{50}, 3000);
  // 3000 would be true, 4000 would not.
  EXPECT_THAT(history.At(Lsn{200}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
}

TEST(AppliedHistoryTest, WhatProgressKnowsAfterAStartIsWaitedForByEverything) {
  AppliedHistory history;
  history.Reset(kPeer, Lsn{50}, 1000, Lsn{300});
  // Committed before the start: the group may have been there already.
  const AppliedHistory::Snapshot before = history.At(Lsn{200});
  EXPECT_THAT(before.waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));
  EXPECT_THAT(before.seen, IsEmpty());
  EXPECT_EQ(before.newest_stamp_us, 1000);
  EXPECT_THAT(history.At(Lsn{300}).seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
}

TEST(AppliedHistoryTest, AResetSettlesWhetherAGroupWasCommitted) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{110});
  history.Begin(kPeer, Lsn{60}, 2000, Lsn{120});
  history.Reset(kPeer, Lsn{50}, 1000, Lsn{200});
  EXPECT_THAT(history.At(Lsn{210}).waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));

  history.Begin(kPeer, Lsn{60}, 2000, Lsn{220});
  history.Reset(kPeer, Lsn{60}, 2000, Lsn{300});
  EXPECT_THAT(history.At(Lsn{310}).seen, ElementsAre(SeenUntil{kPeer.node, 2000}));
}

// A crash of the server takes back commits that it had not flushed.
TEST(AppliedHistoryTest, WhatWasLostInACrashIsNotSeenAnyMore) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Finish(kPeer, Lsn{110});
  history.Begin(kPeer, Lsn{60}, 2000, Lsn{120});
  history.Finish(kPeer, Lsn{130});
  history.AddPromise(kPeer, Lsn{60}, 2500);
  EXPECT_THAT(history.At(Lsn{140}).seen, ElementsAre(SeenUntil{kPeer.node, 2500}));

  history.Reset(kPeer, Lsn{50}, 1000, Lsn{145});
  const AppliedHistory::Snapshot after = history.At(Lsn{150});
  EXPECT_THAT(after.waits_for, ElementsAre(OriginLsn{kPeer, Lsn{50}}));
  EXPECT_THAT(after.seen, ElementsAre(SeenUntil{kPeer.node, 1000}));
}

TEST(AppliedHistoryTest, OriginsDoNotMix) {
  AppliedHistory history;
  history.Begin(kPeer, Lsn{50}, 1000, Lsn{100});
  history.Begin(kOther, Lsn{70}, 5000, Lsn{105});
  history.Finish(kOther, Lsn{110});
  const AppliedHistory::Snapshot snapshot = history.At(Lsn{120});
  EXPECT_THAT(snapshot.waits_for,
              ElementsAre(OriginLsn{kPeer, Lsn{50}}, OriginLsn{kOther, Lsn{70}}));
  EXPECT_THAT(snapshot.seen, ElementsAre(SeenUntil{kOther.node, 5000}));
  EXPECT_EQ(snapshot.newest_stamp_us, 5000);
}

// --- the property ---

// A transaction of the remote origin.
struct Published {
  Lsn origin_lsn;
  int64_t stamp_us;
};

// One applier and what is true of its origin.
struct Applied {
  OriginId id;
  std::vector<Published> published;
  int64_t promised_us = 0;
  size_t next = 0;  // first transaction that is not committed here
  // Of the group under way: 0 none, else how many transactions.
  size_t group = 0;
  bool committed = false;  // the group is, but the applier does not know yet
  struct Commit {
    Lsn local_lsn;  // of the commit record
    size_t through;
  };
  std::vector<Commit> commits;

  // How many transactions were committed before a local one at `local_lsn`.
  size_t CommittedBefore(Lsn local_lsn) const {
    size_t through = 0;
    for (const Commit& commit : commits) {
      if (commit.local_lsn < local_lsn) through = commit.through;
    }
    return through;
  }
};

class World {
 public:
  explicit World(const std::vector<uint32_t>& tape) : tape_(tape) {
    origins_[0].id = kPeer;
    origins_[1].id = kOther;
  }

  void Play() {
    while (at_ < tape_.size()) {
      Applied& origin = origins_[Draw(2)];
      wal_.value += Draw(3);  // others write as well
      switch (Draw(12)) {
        case 0:
        case 1:
          Publish(origin);
          break;
        case 2:
          Promise(origin);
          break;
        case 3:
        case 4:
          if (origin.group == 0) BeginGroup(origin);
          break;
        case 5:
        case 6:
          if (origin.group > 0 && !origin.committed) Commit(origin);
          break;
        case 7:
          if (origin.committed) Finish(origin);
          break;
        case 8:
          if (origin.group > 0 && !origin.committed) origin.group = 0;  // rolled back
          break;
        case 9:
          NewSession(origin);
          break;
        case 10:
          local_.push_back(wal_);
          wal_.value += 1 + Draw(3);
          break;
        default:
          if (Draw(10) == 0) {
            Crash();
          } else {
            Capture();
          }
          break;
      }
    }
    while (!local_.empty()) Capture();
  }

 private:
  uint32_t Draw(uint32_t below) { return at_ < tape_.size() ? tape_[at_++] % below : 0; }

  void Publish(Applied& origin) {
    const Lsn last = origin.published.empty() ? Lsn{0} : origin.published.back().origin_lsn;
    const int64_t newest = std::max(
        origin.promised_us, origin.published.empty() ? 0 : origin.published.back().stamp_us);
    origin.published.push_back(
        {.origin_lsn = Lsn{last.value + 1 + Draw(3)}, .stamp_us = newest + 1 + Draw(5)});
  }

  void Promise(Applied& origin) {
    // What a heartbeat says was true when it was sent; it may arrive late.
    if (Draw(3) > 0 && !sent_[origin.id].empty()) {
      const Published& late = sent_[origin.id][Draw(sent_[origin.id].size())];
      history_.AddPromise(origin.id, late.origin_lsn, late.stamp_us);
      return;
    }
    const Published last = origin.published.empty() ? Published{} : origin.published.back();
    origin.promised_us = std::max(origin.promised_us, last.stamp_us) + Draw(4);
    if (origin.promised_us == 0) return;
    sent_[origin.id].push_back({.origin_lsn = last.origin_lsn, .stamp_us = origin.promised_us});
    history_.AddPromise(origin.id, last.origin_lsn, origin.promised_us);
  }

  void BeginGroup(Applied& origin) {
    const size_t left = origin.published.size() - origin.next;
    if (left == 0) return;
    origin.group = 1 + Draw(static_cast<uint32_t>(left));
    const Published& last = origin.published[origin.next + origin.group - 1];
    history_.Begin(origin.id, last.origin_lsn, last.stamp_us, wal_);
  }

  void Commit(Applied& origin) {
    origin.commits.push_back({.local_lsn = wal_, .through = origin.next + origin.group});
    wal_.value += 1 + Draw(3);
    origin.committed = true;
  }

  void Finish(Applied& origin) {
    history_.Finish(origin.id, wal_);
    origin.next += origin.group;
    origin.group = 0;
    origin.committed = false;
  }

  // The applier reads bdr.progress: after a lost connection, or a crash.
  void NewSession(Applied& origin) {
    origin.next = origin.CommittedBefore(Lsn{UINT64_MAX});
    origin.group = 0;
    origin.committed = false;
    const Published last = origin.next == 0 ? Published{} : origin.published[origin.next - 1];
    history_.Reset(origin.id, last.origin_lsn, last.stamp_us, wal_);
  }

  // The server loses what it had not flushed. Capture never reads that.
  void Crash() {
    const uint64_t unflushed = wal_.value - captured_.value;
    wal_.value = captured_.value + Draw(static_cast<uint32_t>(unflushed + 1));
    while (!local_.empty() && local_.back() >= wal_) local_.pop_back();
    for (Applied& origin : origins_) {
      while (!origin.commits.empty() && origin.commits.back().local_lsn >= wal_) {
        origin.commits.pop_back();
      }
    }
    for (Applied& origin : origins_) NewSession(origin);
  }

  void Capture() {
    if (local_.empty()) {
      captured_ = wal_;
      history_.Fold(wal_);
      return;
    }
    const Lsn commit = local_.front();
    local_.erase(local_.begin());
    captured_ = Lsn{commit.value + 1};
    const AppliedHistory::Snapshot snapshot = history_.At(commit);
    for (const Applied& origin : origins_) Check(origin, commit, snapshot);
  }

  void Check(const Applied& origin, Lsn commit, const AppliedHistory::Snapshot& snapshot) {
    const size_t through = origin.CommittedBefore(commit);
    const Published last = through == 0 ? Published{} : origin.published[through - 1];
    Lsn waits_for;
    for (const OriginLsn& wait : snapshot.waits_for) {
      if (wait.origin == origin.id) waits_for = wait.lsn;
    }
    int64_t seen_us = 0;
    for (const SeenUntil& seen : snapshot.seen) {
      if (seen.node == origin.id.node) seen_us = seen.time_us;
    }
    RC_ASSERT(waits_for >= last.origin_lsn);
    RC_ASSERT(snapshot.newest_stamp_us >= last.stamp_us);
    // It waits only for what was published: nothing can wait for itself.
    RC_ASSERT(waits_for <=
              (origin.published.empty() ? Lsn{0} : origin.published.back().origin_lsn));
    // No stamp that was not committed here by then, published or yet to come, counts as seen.
    const int64_t first_unseen_us = through < origin.published.size()
                                        ? origin.published[through].stamp_us
                                        : std::max(origin.promised_us, last.stamp_us) + 1;
    RC_ASSERT(seen_us < first_unseen_us);
  }

  const std::vector<uint32_t>& tape_;
  size_t at_ = 0;
  AppliedHistory history_;
  Lsn wal_{1};
  Lsn captured_{1};
  std::vector<Lsn> local_;  // commits that capture has not read yet
  Applied origins_[2];
  std::map<OriginId, std::vector<Published>> sent_;
};

RC_GTEST_PROP(AppliedHistoryTest, NeitherWaitsForTooLittleNorHasSeenTooMuch, ()) {
  const std::vector<uint32_t> tape = *rc::gen::resize(
      800, rc::gen::container<std::vector<uint32_t>>(rc::gen::inRange<uint32_t>(0, 1 << 16)));
  World(tape).Play();
}

}  // namespace
}  // namespace bdr::agent
