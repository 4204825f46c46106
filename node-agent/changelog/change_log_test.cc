// The log is what every node's copy of every other node rests on: a block that is skipped, or read
// twice, or taken from another history, makes nodes differ for ever.
#include "node-agent/changelog/change_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/transaction_log.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "node-agent/changelog/state.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr OriginId kOwn{.node = 1, .incarnation = 1};
constexpr OriginId kPeer{.node = 2, .incarnation = 1};

// Makes the blocks of one origin, each following the one before.
class BlockMaker {
 public:
  explicit BlockMaker(OriginId origin, Cursor from = {}) : origin_(origin), chain_(from.chain) {}

  EncodedBlock Next(uint64_t end_lsn, absl::string_view change = "change") {
    BlockBuilder builder(origin_);
    builder.BeginTransaction(HeaderOf(end_lsn));
    builder.AddChange(change);
    return Seal(builder, /*more_parts=*/false);
  }
  EncodedBlock Part(uint64_t end_lsn, uint32_t part, bool more_parts) {
    BlockBuilder builder(origin_);
    if (part == 0) {
      builder.BeginTransaction(HeaderOf(end_lsn));
    } else {
      builder.ContinueTransaction(HeaderOf(end_lsn), part);
    }
    builder.AddChange(absl::StrCat("part ", part));
    return Seal(builder, more_parts);
  }

 private:
  TransactionHeader HeaderOf(uint64_t end_lsn) const {
    return {.end_lsn = Lsn{end_lsn},
            .stamp = {.time_us = static_cast<int64_t>(end_lsn), .node = origin_.node}};
  }
  EncodedBlock Seal(BlockBuilder& builder, bool more_parts) {
    EncodedBlock block = builder.Seal(chain_, more_parts);
    chain_ = block.info.chain;
    return block;
  }

  const OriginId origin_;
  uint64_t chain_;
};

class ChangeLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    Reopen();
  }

  // As after a kill: what was written is there, whatever was synced.
  void Reopen() {
    log_.reset();
    database_.reset();
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/log"}));
    ASSERT_OK_AND_ASSIGN(log_, ChangeLog::Open(database_.get()));
  }

  absl::Status AppendOwn(const std::vector<EncodedBlock>& blocks) {
    rocksdb::WriteBatch batch;
    return log_->AppendOwn(blocks, &batch);
  }
  absl::Status WriteHidden(const EncodedBlock& block) {
    rocksdb::WriteBatch batch;
    return log_->WriteHidden(block, &batch);
  }

  // (end_lsn, part) of everything after a cursor.
  std::vector<std::pair<uint64_t, uint32_t>> Places(OriginId origin, Cursor after = {}) {
    std::vector<std::pair<uint64_t, uint32_t>> places;
    while (true) {
      const absl::StatusOr<std::optional<EncodedBlock>> block = log_->Next(origin, after);
      EXPECT_OK(block);
      if (!block.ok() || !block->has_value()) return places;
      after = (*block)->info.cursor();
      places.emplace_back(after.end_lsn.value, after.part);
    }
  }
  uint64_t FirstBeyond(OriginId origin, uint64_t lsn) {
    const absl::StatusOr<std::optional<EncodedBlock>> block = log_->FirstBeyond(origin, Lsn{lsn});
    EXPECT_OK(block);
    return block.ok() && block->has_value() ? (*block)->info.end_lsn.value : 0;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
};

using Place = std::pair<uint64_t, uint32_t>;

TEST_F(ChangeLogTest, AnEmptyLogBeginsAtTheBeginning) {
  EXPECT_TRUE(log_->End(kPeer).at_beginning());
  EXPECT_TRUE(log_->TrimmedThrough(kPeer).at_beginning());
  EXPECT_THAT(log_->Origins(), IsEmpty());
  EXPECT_THAT(Places(kPeer), IsEmpty());
  EXPECT_OK(log_->CheckCursor(kPeer, {}));
}

TEST_F(ChangeLogTest, ReceivedBlocksComeBackAsTheyWereInOrder) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  const EncodedBlock second = maker.Next(1000);
  ASSERT_OK(log_->AppendReceived(first));
  ASSERT_OK(log_->AppendReceived(second));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(10, 0), Place(1000, 0)));
  ASSERT_OK_AND_ASSIGN(const std::optional<EncodedBlock> read, log_->Next(kPeer, {}));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->bytes, first.bytes);
  EXPECT_EQ(log_->End(kPeer).chain, second.info.chain);
  EXPECT_THAT(log_->Origins(), ElementsAre(kPeer));
}

TEST_F(ChangeLogTest, OriginsAreKeptApart) {
  BlockMaker own(kOwn);
  BlockMaker peer(kPeer);
  const OriginId later{.node = kPeer.node, .incarnation = 2};
  BlockMaker reborn(later);
  ASSERT_OK(AppendOwn({own.Next(500)}));
  ASSERT_OK(log_->AppendReceived(peer.Next(10)));
  ASSERT_OK(log_->AppendReceived(reborn.Next(5)));
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(500, 0)));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(10, 0)));
  EXPECT_THAT(Places(later), ElementsAre(Place(5, 0)));
  EXPECT_THAT(log_->Origins(), ElementsAre(kOwn, kPeer, later));
}

TEST_F(ChangeLogTest, ABlockThatIsHereAlreadyIsHarmless) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  const EncodedBlock second = maker.Next(20);
  ASSERT_OK(log_->AppendReceived(first));
  ASSERT_OK(log_->AppendReceived(second));
  EXPECT_OK(log_->AppendReceived(second));
  EXPECT_OK(log_->AppendReceived(first));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(10, 0), Place(20, 0)));
}

TEST_F(ChangeLogTest, AGapIsRefused) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  (void)maker.Next(20);
  const absl::Status status = log_->AppendReceived(maker.Next(30));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing"));
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{10});
}

TEST_F(ChangeLogTest, AnotherHistoryIsRefused) {
  BlockMaker maker(kPeer);
  BlockMaker fork(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10, "what we know")));
  const absl::Status same_place = log_->AppendReceived(fork.Next(10, "another"));
  EXPECT_TRUE(absl::IsDataLoss(same_place)) << same_place;
  EXPECT_THAT(std::string(same_place.message()), HasSubstr("another history"));
  const absl::Status beyond = log_->AppendReceived(fork.Next(20));
  EXPECT_TRUE(absl::IsDataLoss(beyond)) << beyond;
}

TEST_F(ChangeLogTest, NothingIsReadBeforeItWasPublished) {
  BlockMaker maker(kOwn);
  ASSERT_OK(AppendOwn({maker.Next(10)}));
  ASSERT_OK(WriteHidden(maker.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(WriteHidden(maker.Part(20, 1, /*more_parts=*/true)));
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(10, 0)));
  EXPECT_EQ(FirstBeyond(kOwn, 10), 0);
  EXPECT_EQ(log_->End(kOwn).end_lsn, Lsn{10});

  ASSERT_OK(AppendOwn({maker.Part(20, 2, /*more_parts=*/false), maker.Next(30)}));
  EXPECT_THAT(Places(kOwn),
              ElementsAre(Place(10, 0), Place(20, 0), Place(20, 1), Place(20, 2), Place(30, 0)));
  Reopen();
  EXPECT_EQ(Places(kOwn).size(), 5);
}

TEST_F(ChangeLogTest, HiddenPartsAreGoneAfterAStart) {
  BlockMaker maker(kOwn);
  ASSERT_OK(AppendOwn({maker.Next(10)}));
  const Cursor end = log_->End(kOwn);
  ASSERT_OK(WriteHidden(maker.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(WriteHidden(maker.Part(20, 1, /*more_parts=*/true)));
  Reopen();
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(10, 0)));

  // Decoded again, with another stamp and other parts: nothing of before may show through.
  BlockMaker again(kOwn, end);
  ASSERT_OK(AppendOwn({again.Next(20, "whole this time"), again.Next(30)}));
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(10, 0), Place(20, 0), Place(30, 0)));
  Reopen();
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(10, 0), Place(20, 0), Place(30, 0)));
}

TEST_F(ChangeLogTest, HiddenPartsOfTheFirstTransactionEverAreGoneToo) {
  BlockMaker maker(kOwn);
  BlockMaker peer(kPeer);
  ASSERT_OK(log_->AppendReceived(peer.Next(15)));
  ASSERT_OK(WriteHidden(maker.Part(20, 0, /*more_parts=*/true)));
  Reopen();
  BlockMaker again(kOwn);
  ASSERT_OK(AppendOwn({again.Next(30)}));
  EXPECT_THAT(Places(kOwn), ElementsAre(Place(30, 0)));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(15, 0)));
}

TEST_F(ChangeLogTest, RemovingHiddenPartsLeavesAHalfReceivedTransaction) {
  BlockMaker peer(kPeer);
  ASSERT_OK(log_->AppendReceived(peer.Next(15)));
  ASSERT_OK(log_->AppendReceived(peer.Part(20, 0, /*more_parts=*/true)));
  Reopen();
  ASSERT_OK(log_->RemoveHidden());
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(15, 0), Place(20, 0)));
  ASSERT_OK(log_->AppendReceived(peer.Part(20, 1, /*more_parts=*/false)));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(15, 0), Place(20, 0), Place(20, 1)));
}

TEST_F(ChangeLogTest, WhatGoesAlongWithOwnBlocksIsWrittenWithThem) {
  BlockMaker maker(kOwn);
  rocksdb::WriteBatch batch;
  State(database_.get()).Put(&batch, "beside", "value");
  ASSERT_OK(log_->AppendOwn({maker.Next(10)}, &batch));
  rocksdb::WriteBatch alone;
  State(database_.get()).Put(&alone, "alone", "value");
  ASSERT_OK(log_->AppendOwn({}, &alone));
  Reopen();
  ASSERT_OK_AND_ASSIGN(const std::optional<std::string> beside,
                       State(database_.get()).Get("beside"));
  EXPECT_EQ(beside, "value");
  ASSERT_OK_AND_ASSIGN(const std::optional<std::string> other, State(database_.get()).Get("alone"));
  EXPECT_EQ(other, "value");
}

TEST_F(ChangeLogTest, CompleteThroughLeavesOutATransactionWhosePartsAreMissing) {
  BlockMaker peer(kPeer);
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{0});
  ASSERT_OK(log_->AppendReceived(peer.Next(15)));
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{15});
  ASSERT_OK(log_->AppendReceived(peer.Part(20, 0, /*more_parts=*/true)));
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{15});
  Reopen();
  EXPECT_GE(log_->CompleteThrough(kPeer), Lsn{15});
  EXPECT_LT(log_->CompleteThrough(kPeer), Lsn{20});
  ASSERT_OK(log_->AppendReceived(peer.Part(20, 1, /*more_parts=*/false)));
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{20});
  Reopen();
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{20});
}

TEST_F(ChangeLogTest, FirstBeyondFindsTheBlockWithTheNextTransactionFromItsFirstPart) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 1, /*more_parts=*/false)));
  ASSERT_OK(log_->AppendReceived(maker.Next(30)));
  EXPECT_EQ(FirstBeyond(kPeer, 0), 10);
  EXPECT_EQ(FirstBeyond(kPeer, 9), 10);
  EXPECT_EQ(FirstBeyond(kPeer, 20), 30);
  EXPECT_EQ(FirstBeyond(kPeer, 30), 0);
  EXPECT_EQ(FirstBeyond(kPeer, 99), 0);
  ASSERT_OK_AND_ASSIGN(const std::optional<EncodedBlock> block, log_->FirstBeyond(kPeer, Lsn{10}));
  ASSERT_TRUE(block.has_value());
  EXPECT_EQ(block->info.end_lsn, Lsn{20});
  EXPECT_EQ(block->info.part, 0);
}

TEST_F(ChangeLogTest, NextGoesOnFromAnyPart) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 1, /*more_parts=*/true)));
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 2, /*more_parts=*/false)));
  EXPECT_THAT(Places(kPeer, {.end_lsn = Lsn{20}, .part = 0}),
              ElementsAre(Place(20, 1), Place(20, 2)));
  EXPECT_THAT(Places(kPeer, {.end_lsn = Lsn{20}, .part = 2}), IsEmpty());
}

TEST_F(ChangeLogTest, ALogMayStartWhereAJoinerNeedsIt) {
  BlockMaker maker(kPeer);
  const EncodedBlock before = maker.Next(10);
  const EncodedBlock after = maker.Next(20);
  ASSERT_OK(log_->StartAt(kPeer, before.info.cursor()));
  EXPECT_OK(log_->StartAt(kPeer, before.info.cursor()));
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{10});
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{10});
  Reopen();
  EXPECT_EQ(log_->End(kPeer).chain, before.info.chain);
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{10});
  EXPECT_OK(log_->AppendReceived(before));  // harmless
  ASSERT_OK(log_->AppendReceived(after));
  EXPECT_THAT(Places(kPeer, log_->TrimmedThrough(kPeer)), ElementsAre(Place(20, 0)));
  EXPECT_TRUE(absl::IsFailedPrecondition(log_->Next(kPeer, {}).status()));

  EXPECT_OK(log_->StartAt(kPeer, before.info.cursor()));
  EXPECT_TRUE(absl::IsAlreadyExists(log_->StartAt(kPeer, after.info.cursor())));
}

TEST_F(ChangeLogTest, AStartMayBePutOffWhileNothingWasReceived) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  const EncodedBlock second = maker.Next(20);
  ASSERT_OK(log_->StartAt(kPeer, first.info.cursor()));
  ASSERT_OK(log_->StartAt(kPeer, second.info.cursor()));
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{20});
  ASSERT_OK(log_->AppendReceived(maker.Next(30)));
}

TEST_F(ChangeLogTest, TrimForgetsWhatEndsAtOrBefore) {
  BlockMaker maker(kPeer);
  for (const uint64_t lsn : {10, 20, 30, 40}) ASSERT_OK(log_->AppendReceived(maker.Next(lsn)));
  ASSERT_OK(log_->Trim(kPeer, Lsn{25}));
  EXPECT_EQ(log_->TrimmedThrough(kPeer).end_lsn, Lsn{20});
  EXPECT_THAT(Places(kPeer, log_->TrimmedThrough(kPeer)), ElementsAre(Place(30, 0), Place(40, 0)));
  EXPECT_TRUE(absl::IsFailedPrecondition(log_->Next(kPeer, {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(log_->FirstBeyond(kPeer, Lsn{15}).status()));
  EXPECT_EQ(FirstBeyond(kPeer, 20), 30);
  ASSERT_OK(log_->Trim(kPeer, Lsn{25}));
  ASSERT_OK(log_->Trim(kPeer, Lsn{5}));  // never back
  EXPECT_EQ(log_->TrimmedThrough(kPeer).end_lsn, Lsn{20});
  Reopen();
  EXPECT_EQ(log_->TrimmedThrough(kPeer).end_lsn, Lsn{20});
  EXPECT_THAT(Places(kPeer, log_->TrimmedThrough(kPeer)), ElementsAre(Place(30, 0), Place(40, 0)));
}

// Counts the ranges of the log that were deleted, and those that lie in others.
class DeletedRanges : public rocksdb::WriteBatch::Handler {
 public:
  using Handler::Delete;
  rocksdb::Status PutCF(uint32_t, const rocksdb::Slice&, const rocksdb::Slice&) override {
    return rocksdb::Status::OK();
  }
  rocksdb::Status DeleteRangeCF(uint32_t, const rocksdb::Slice& begin,
                                const rocksdb::Slice& end) override {
    ++ranges;
    if (begin.ToString() < last_end_) ++overlapping;
    last_end_ = end.ToString();
    return rocksdb::Status::OK();
  }

  int ranges = 0;
  int overlapping = 0;

 private:
  std::string last_end_;
};

// RocksDB breaks ranges that lie in each other into as many pieces, for every read: after 4,000
// trims a read of the log took 0.7 s of CPU.
TEST_F(ChangeLogTest, TrimsDoNotPileUp) {
  BlockMaker maker(kPeer);
  const rocksdb::SequenceNumber before = database_->db()->GetLatestSequenceNumber();
  uint64_t lsn = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_OK(log_->AppendReceived(maker.Next(lsn += 10)));
    ASSERT_OK(log_->Trim(kPeer, Lsn{lsn}));
  }
  std::unique_ptr<rocksdb::TransactionLogIterator> written;
  ASSERT_TRUE(database_->db()->GetUpdatesSince(before + 1, &written).ok());
  DeletedRanges deleted;
  for (; written->Valid(); written->Next()) {
    ASSERT_TRUE(written->GetBatch().writeBatchPtr->Iterate(&deleted).ok());
  }
  EXPECT_EQ(deleted.ranges, 100);
  EXPECT_EQ(deleted.overlapping, 0);

  for (int i = 0; i < 1000; ++i) {
    ASSERT_OK(log_->AppendReceived(maker.Next(lsn += 10)));
    ASSERT_OK(log_->Trim(kPeer, Lsn{lsn}));
  }
  uint64_t in_memory = 0;  // a put and a range each
  ASSERT_TRUE(database_->db()->GetIntProperty(database_->log(),
                                              "rocksdb.num-entries-active-mem-table", &in_memory));
  EXPECT_LE(in_memory, 1100u);
  EXPECT_EQ(log_->TrimmedThrough(kPeer).end_lsn, Lsn{lsn});
  Reopen();
  EXPECT_THAT(Places(kPeer, log_->TrimmedThrough(kPeer)), IsEmpty());
}

TEST_F(ChangeLogTest, BytesAreThoseOfBlocksAndNotOfPositions) {
  ASSERT_OK(log_->StartAt(kPeer, {.end_lsn = Lsn{uint64_t{1} << 40}, .part = 0, .chain = 0}));
  EXPECT_EQ(log_->BytesBetween(kPeer, Lsn{0}, Lsn{uint64_t{1} << 40}), 0u) << "nothing came yet";
  BlockMaker own(kOwn);
  for (uint64_t i = 1; i <= 200; ++i) ASSERT_OK(AppendOwn({own.Next(i * 1'000'000)}));
  EXPECT_GT(log_->BytesBetween(kOwn, Lsn{0}, Lsn{200'000'000}), 0u);
  // Of what is in memory RocksDB tells roughly, of files nearly.
  ASSERT_TRUE(database_->db()->Flush({}, database_->log()).ok());
  const uint64_t all = log_->BytesBetween(kOwn, Lsn{0}, Lsn{200'000'000});
  const uint64_t half = log_->BytesBetween(kOwn, Lsn{100'000'000}, Lsn{200'000'000});
  EXPECT_GT(half, all / 4);
  EXPECT_LT(half, all * 3 / 4);
  EXPECT_LT(all, 200u * 1000) << "RocksDB's estimate is far off";
  EXPECT_EQ(log_->BytesBetween(kOwn, Lsn{200'000'000}, Lsn{200'000'000}), 0u);
  EXPECT_EQ(log_->BytesBetween(kOwn, Lsn{200'000'000}, Lsn{900'000'000}), 0u);
}

TEST_F(ChangeLogTest, ALogThatWasTrimmedWholeGoesOn) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  ASSERT_OK(log_->AppendReceived(maker.Next(20)));
  ASSERT_OK(log_->Trim(kPeer, Lsn{1000}));
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{20});
  Reopen();
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{20});
  EXPECT_EQ(log_->CompleteThrough(kPeer), Lsn{20});
  EXPECT_OK(log_->CheckCursor(kPeer, log_->End(kPeer)));
  ASSERT_OK(log_->AppendReceived(maker.Next(30)));
  EXPECT_EQ(FirstBeyond(kPeer, 20), 30);
}

TEST_F(ChangeLogTest, TrimNeverCutsATransactionInTwo) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(log_->Trim(kPeer, Lsn{20}));
  EXPECT_LE(log_->TrimmedThrough(kPeer).end_lsn, Lsn{10});
  ASSERT_OK(log_->AppendReceived(maker.Part(20, 1, /*more_parts=*/false)));
  EXPECT_THAT(Places(kPeer, {.end_lsn = Lsn{10}}), ElementsAre(Place(20, 0), Place(20, 1)));
  ASSERT_OK(log_->Trim(kPeer, Lsn{20}));
  EXPECT_EQ(log_->TrimmedThrough(kPeer).end_lsn, Lsn{20});
  EXPECT_EQ(log_->TrimmedThrough(kPeer).part, 1);
}

TEST_F(ChangeLogTest, TrimLeavesHiddenPartsAndOtherOrigins) {
  BlockMaker own(kOwn);
  BlockMaker peer(kPeer);
  ASSERT_OK(log_->AppendReceived(peer.Next(5)));
  ASSERT_OK(AppendOwn({own.Next(10)}));
  ASSERT_OK(WriteHidden(own.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(log_->Trim(kOwn, Lsn{1000}));
  ASSERT_OK(AppendOwn({own.Part(20, 1, /*more_parts=*/false)}));
  EXPECT_THAT(Places(kOwn, {.end_lsn = Lsn{10}}), ElementsAre(Place(20, 0), Place(20, 1)));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(5, 0)));
}

TEST_F(ChangeLogTest, TrimOfAnUnknownOriginIsNothing) { EXPECT_OK(log_->Trim(kPeer, Lsn{10})); }

TEST_F(ChangeLogTest, ACursorIsGoodWhereTheHistoriesAreTheSame) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  const EncodedBlock second = maker.Next(20);
  ASSERT_OK(log_->AppendReceived(first));
  ASSERT_OK(log_->AppendReceived(second));
  EXPECT_OK(log_->CheckCursor(kPeer, {}));
  EXPECT_OK(log_->CheckCursor(kPeer, first.info.cursor()));
  EXPECT_OK(log_->CheckCursor(kPeer, second.info.cursor()));
  ASSERT_OK(log_->Trim(kPeer, Lsn{10}));
  EXPECT_OK(log_->CheckCursor(kPeer, first.info.cursor()));
  EXPECT_OK(log_->CheckCursor(kPeer, second.info.cursor()));
}

TEST_F(ChangeLogTest, ACursorBeforeWhatWasTrimmedIsRefused) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  ASSERT_OK(log_->AppendReceived(first));
  ASSERT_OK(log_->AppendReceived(maker.Next(20)));
  ASSERT_OK(log_->Trim(kPeer, Lsn{20}));
  for (const Cursor& cursor : {Cursor{}, first.info.cursor()}) {
    const absl::Status status = log_->CheckCursor(kPeer, cursor);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("trimmed"));
  }
}

TEST_F(ChangeLogTest, ACursorOfAnotherHistoryIsRefused) {
  BlockMaker maker(kPeer);
  BlockMaker fork(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  ASSERT_OK(log_->AppendReceived(maker.Next(20)));
  const Cursor forked = fork.Next(10, "another").info.cursor();
  EXPECT_TRUE(absl::IsDataLoss(log_->CheckCursor(kPeer, forked)));
  EXPECT_TRUE(absl::IsDataLoss(log_->CheckCursor(kPeer, {.end_lsn = Lsn{15}, .chain = 1})));
  ASSERT_OK(log_->Trim(kPeer, Lsn{10}));
  EXPECT_TRUE(absl::IsDataLoss(log_->CheckCursor(kPeer, forked)));
}

TEST_F(ChangeLogTest, ACursorAheadOfThisLogIsRefused) {
  BlockMaker maker(kPeer);
  ASSERT_OK(log_->AppendReceived(maker.Next(10)));
  const absl::Status status = log_->CheckCursor(kPeer, maker.Next(20).info.cursor());
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("ahead"));
}

// A crash of the machine loses a suffix of what was not synced. What remains must be a log.
TEST_F(ChangeLogTest, ALogThatLostItsEndGoesOnFromWhereItEnds) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  const EncodedBlock second = maker.Next(20);
  const EncodedBlock third = maker.Next(30);
  ASSERT_OK(log_->AppendReceived(first));
  ASSERT_OK(log_->AppendReceived(second));
  // Back to what there was at the sync.
  rocksdb::WriteBatch lost;
  (void)lost.Delete(database_->log(), EncodeOrigin(kPeer) + EncodeU64(20) + std::string(4, '\0'));
  State(database_.get())
      .Put(&lost, absl::StrCat(kStateEnd, EncodeOrigin(kPeer)), EncodeCursor(first.info.cursor()));
  ASSERT_OK(database_->Write(&lost, /*sync=*/true));
  Reopen();
  EXPECT_EQ(log_->End(kPeer).end_lsn, Lsn{10});
  EXPECT_TRUE(absl::IsDataLoss(log_->AppendReceived(third)));  // not before what was lost
  ASSERT_OK(log_->AppendReceived(second));
  ASSERT_OK(log_->AppendReceived(third));
  EXPECT_THAT(Places(kPeer), ElementsAre(Place(10, 0), Place(20, 0), Place(30, 0)));
}

TEST_F(ChangeLogTest, AWaiterWakesWhenTheLogGoesOn) {
  BlockMaker maker(kPeer);
  const EncodedBlock first = maker.Next(10);
  ASSERT_OK(log_->AppendReceived(first));
  EXPECT_TRUE(log_->WaitBeyond(kPeer, {}, absl::ZeroDuration()));
  EXPECT_FALSE(log_->WaitBeyond(kPeer, first.info.cursor(), absl::Milliseconds(5)));
  std::thread appender([&] {
    absl::SleepFor(absl::Milliseconds(20));
    EXPECT_OK(log_->AppendReceived(maker.Next(20)));
  });
  EXPECT_TRUE(log_->WaitBeyond(kPeer, first.info.cursor(), absl::Seconds(30)));
  appender.join();
}

TEST_F(ChangeLogTest, AWaiterWakesForShutdown) {
  std::atomic<bool> done = false;
  std::thread waker([&] {
    while (!done) {
      absl::SleepFor(absl::Milliseconds(5));
      log_->WakeAll();
    }
  });
  const absl::Time begun = absl::Now();
  EXPECT_FALSE(log_->WaitBeyond(kPeer, {}, absl::Seconds(30)));
  EXPECT_LT(absl::Now() - begun, absl::Seconds(20));
  done = true;
  waker.join();
}

TEST_F(ChangeLogTest, ListenersHearOfWhatCanBeRead) {
  std::vector<std::pair<OriginId, uint64_t>> heard;
  const uint64_t handle = log_->AddListener(
      [&](OriginId origin) { heard.emplace_back(origin, log_->End(origin).end_lsn.value); });
  BlockMaker peer(kPeer);
  BlockMaker own(kOwn);
  ASSERT_OK(log_->AppendReceived(peer.Next(10)));
  ASSERT_OK(WriteHidden(own.Part(20, 0, /*more_parts=*/true)));
  ASSERT_OK(AppendOwn({own.Part(20, 1, /*more_parts=*/false), own.Next(30)}));
  using Heard = std::pair<OriginId, uint64_t>;
  EXPECT_THAT(heard, ElementsAre(Heard(kPeer, 10), Heard(kOwn, 30)));
  log_->RemoveListener(handle);
  ASSERT_OK(log_->AppendReceived(peer.Next(40)));
  EXPECT_EQ(heard.size(), 2);
}

// Blocks are appended while others read, wait and trim.
TEST_F(ChangeLogTest, ReadersSeeEveryBlockOnceWhileOthersAppendAndTrim) {
  constexpr uint64_t kBlocks = 500;
  std::thread appender([&] {
    BlockMaker maker(kPeer);
    for (uint64_t i = 1; i <= kBlocks; ++i) EXPECT_OK(log_->AppendReceived(maker.Next(i)));
  });
  Cursor at;
  for (uint64_t i = 1; i <= kBlocks; ++i) {
    ASSERT_TRUE(log_->WaitBeyond(kPeer, at, absl::Seconds(30)));
    const absl::StatusOr<std::optional<EncodedBlock>> block = log_->Next(kPeer, at);
    ASSERT_OK(block);
    ASSERT_TRUE(block->has_value());
    EXPECT_EQ((*block)->info.end_lsn, Lsn{i});
    EXPECT_EQ((*block)->info.previous_chain, at.chain);
    at = (*block)->info.cursor();
    if (i % 50 == 0) {
      ASSERT_OK(log_->Trim(kPeer, Lsn{i - 10}));
    }
  }
  appender.join();
}

}  // namespace
}  // namespace bdr::agent
