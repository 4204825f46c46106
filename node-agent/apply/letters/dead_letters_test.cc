// A transaction that is put aside must be kept whole and exactly as it came, and nothing else with
// it; and while it is there, nothing it will be judged by may be forgotten.
#include "node-agent/apply/letters/dead_letters.h"

#include <gmock/gmock.h>

#include <thread>

#include "base/testing.h"
#include "node-agent/tables/changes_testing.h"

namespace bdr::agent {
namespace {

using testing::DeleteBytes;
using testing::InsertBytes;
using testing::Int;
using testing::Null;
using testing::RelationOf;
using testing::SomeTable;

constexpr OriginId kPeer{.node = 2, .incarnation = 1};
constexpr uint32_t kTable = 100;

TransactionHeader Header(uint64_t end_lsn) {
  return {.end_lsn = Lsn{end_lsn},
          .stamp = {.time_us = static_cast<int64_t>(end_lsn) * 10, .node = kPeer.node},
          .waits_for = {{{.node = 1, .incarnation = 1}, Lsn{end_lsn / 2}}},
          .seen = {{.node = 1, .time_us = 5}}};
}

std::string Insert(int id) { return InsertBytes(kTable, {Int(id), Int(0), Null()}); }
std::string Relation() { return postgres::Encode(RelationOf(SomeTable(kTable, "t"))); }

// A transaction that has only to wait is a healthy one: put aside, it would be missing until a
// person looks.
TEST(MayLieInTransactionTest, NoWaitingIsAReasonToPutATransactionAside) {
  EXPECT_FALSE(MayLieInTransaction(
      absl::DeadlineExceededError("capture has reached 0/1000 and not yet 0/2000")));
  EXPECT_FALSE(MayLieInTransaction(absl::UnavailableError("the server is shutting down")));
  EXPECT_FALSE(MayLieInTransaction(absl::CancelledError("the agent is shutting down")));
  EXPECT_FALSE(
      MayLieInTransaction(absl::AbortedError("somebody writes the same row all the time")));
  EXPECT_FALSE(MayLieInTransaction(absl::ResourceExhaustedError("no memory")));
  EXPECT_TRUE(MayLieInTransaction(absl::FailedPreconditionError("a column is missing")));
  EXPECT_TRUE(MayLieInTransaction(absl::InvalidArgumentError("a value does not fit")));
}

TEST(ExtractTransactionTest, TakesOneTransactionOutOfABlock) {
  BlockBuilder builder(kPeer);
  builder.BeginTransaction(Header(10));
  builder.AddRelation(kTable, Relation());
  builder.AddChange(Insert(1));
  builder.BeginTransaction(Header(20));
  builder.AddChange(Insert(2));
  builder.AddChange(DeleteBytes(kTable, {Int(3), Null(), Null()}));
  builder.BeginTransaction(Header(30));
  builder.AddChange(Insert(4));
  const EncodedBlock block = builder.Seal(0, /*more_parts=*/false);

  ASSERT_OK_AND_ASSIGN(const EncodedBlock one, ExtractTransaction(block, Header(20)));
  std::optional<OpenTransaction> open;
  ASSERT_OK_AND_ASSIGN(const std::vector<Piece> pieces, PiecesOf(one, Lsn{0}, &open));
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].header.end_lsn, Lsn{20});
  EXPECT_EQ(pieces[0].header.stamp, Header(20).stamp);
  EXPECT_EQ(pieces[0].header.seen, Header(20).seen);
  EXPECT_EQ(pieces[0].changes.size(), 2u);
  EXPECT_TRUE(pieces[0].last);
  ContentsSummary contents;
  contents.Add(pieces[0]);
  EXPECT_EQ(contents.ToJson(), R"({"public.t":{"delete":1,"insert":1}})");
  EXPECT_EQ(contents.changes(), 2);
  EXPECT_FALSE(ExtractTransaction(block, Header(25)).ok());
}

TEST(ExtractTransactionTest, KeepsThePartsOfALargeOne) {
  std::vector<Piece> all;
  std::optional<OpenTransaction> open;
  for (uint32_t part = 0; part < 3; ++part) {
    BlockBuilder builder(kPeer);
    if (part == 0) {
      builder.BeginTransaction(Header(50));
    } else {
      builder.ContinueTransaction(Header(50), part);
    }
    builder.AddRelation(kTable, Relation());
    builder.AddChange(Insert(static_cast<int>(part)));
    const EncodedBlock block = builder.Seal(part, /*more_parts=*/part < 2);
    ASSERT_OK_AND_ASSIGN(const EncodedBlock kept, ExtractTransaction(block, Header(50)));
    EXPECT_EQ(kept.info.part, part);
    EXPECT_EQ(kept.info.more_parts, part < 2);
    ASSERT_OK_AND_ASSIGN(const std::vector<Piece> pieces, PiecesOf(kept, Lsn{0}, &open));
    all.insert(all.end(), pieces.begin(), pieces.end());
  }
  ASSERT_EQ(all.size(), 3u);
  for (const Piece& piece : all) EXPECT_EQ(piece.header.stamp, Header(50).stamp);
  EXPECT_FALSE(all[1].last);
  EXPECT_TRUE(all[2].last);
}

class DeadLettersTest : public ::testing::Test {
 protected:
  DeadLettersTest() {
    progress_.SetPeers({});
    progress_.Published(Lsn{1}, 1000, {});
    progress_.OwnMerged(Lsn{1});
  }
  AppliedHistory history_;
  Progress progress_{OriginId{.node = 1, .incarnation = 1}, nullptr, &history_};
  DeadLetter letter_{.id = 7, .origin = kPeer, .end_lsn = Lsn{5}, .stamp_us = 300};
};

TEST_F(DeadLettersTest, NothingIsStableFromTheOldestLetterOn) {
  ASSERT_EQ(progress_.StableTime(), 1000);
  DeadLetters letters(&progress_, {});
  letters.Announce(kPeer, 300);
  EXPECT_EQ(progress_.StableTime(), 299) << "before it is committed";
  letters.Add(kPeer, {letter_});
  letters.Add(kPeer, {{.id = 8, .origin = kPeer, .end_lsn = Lsn{6}, .stamp_us = 400}});
  EXPECT_EQ(progress_.StableTime(), 299);
  letters.Remove(7);
  EXPECT_EQ(progress_.StableTime(), 399);
  letters.Reload(kPeer, {});
  EXPECT_EQ(progress_.StableTime(), 1000);
  EXPECT_EQ(letters.count(), 0u);
}

TEST_F(DeadLettersTest, ALetterIsTriedByItsOriginsApplier) {
  DeadLetters letters(&progress_, {letter_});
  EXPECT_EQ(letters.Retry(9, absl::Seconds(1)).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(letters.Retry(7, absl::Milliseconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
  for (const absl::Status& outcome :
       {absl::FailedPreconditionError("still not"), absl::OkStatus()}) {
    std::thread applier([&] {
      std::optional<DeadLetter> request;
      while (!request.has_value()) {
        EXPECT_FALSE(letters.NextRequest({.node = 3, .incarnation = 1}).has_value());
        request = letters.NextRequest(kPeer);
      }
      letters.Finish(request->id, outcome);
    });
    EXPECT_EQ(letters.Retry(7, absl::Seconds(30)), outcome);
    applier.join();
  }
  EXPECT_EQ(letters.count(), 0u);
  EXPECT_EQ(progress_.StableTime(), 1000);
}

TEST_F(DeadLettersTest, ARefusedChangeIsTriedByTheApplierOfOwnChanges) {
  letter_.refused = true;
  DeadLetters letters(&progress_, {});
  letters.Announce(kPeer, 300);
  letters.Add(kPeer, {letter_});
  EXPECT_EQ(progress_.StableTime(), 299);
  EXPECT_FALSE(letters.Holds(kPeer, Lsn{5})) << "its transaction is applied";
  letters.Reload(kPeer, {});
  EXPECT_EQ(letters.count(), 1u) << "written since by another session";
  std::thread applier([&] {
    std::optional<DeadLetter> request;
    while (!request.has_value()) {
      EXPECT_FALSE(letters.NextRequest(kPeer).has_value());
      request = letters.NextRequest(progress_.own());
    }
    letters.Finish(request->id, absl::OkStatus());
  });
  EXPECT_OK(letters.Retry(7, absl::Seconds(30)));
  applier.join();
}

}  // namespace
}  // namespace bdr::agent
