// What the reader hands out is what is applied: every transaction once, whole and in order, also
// after a start in the middle of a block or of a large transaction.
#include "node-agent/apply/plan/transaction_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/testing.h"
#include "node-agent/tables/changes_testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using testing::DeleteBytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::InsertBytes;
using testing::Int;
using ::testing::IsEmpty;
using testing::Null;
using testing::RelationOf;
using testing::SomeTable;
using testing::TruncateBytes;

constexpr OriginId kPeer{.node = 2, .incarnation = 1};
constexpr uint32_t kTable = 100;
constexpr uint32_t kOther = 200;

class TransactionReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/log"}));
    ASSERT_OK_AND_ASSIGN(log_, ChangeLog::Open(database_.get()));
    reader_ = std::make_unique<TransactionReader>(log_.get(), kPeer);
  }

  static TransactionHeader Header(uint64_t end_lsn) {
    return {.end_lsn = Lsn{end_lsn},
            .stamp = {.time_us = static_cast<int64_t>(end_lsn) * 10, .node = kPeer.node},
            .waits_for = {{{.node = 1, .incarnation = 1}, Lsn{end_lsn / 2}}},
            .seen = {}};
  }
  static std::string Relation(uint32_t oid) {
    return postgres::Encode(RelationOf(SomeTable(oid, absl::StrCat("t", oid))));
  }
  static std::string Insert(int id) { return InsertBytes(kTable, {Int(id), Int(0), Null()}); }

  // A block of whole transactions, each with inserts of these ids.
  void AppendBlock(const std::vector<std::pair<uint64_t, std::vector<int>>>& transactions) {
    BlockBuilder builder(kPeer);
    bool announced = false;
    for (const auto& [end_lsn, ids] : transactions) {
      builder.BeginTransaction(Header(end_lsn));
      if (!announced) builder.AddRelation(kTable, Relation(kTable));
      announced = true;
      for (const int id : ids) builder.AddChange(Insert(id));
    }
    Append(builder, /*more_parts=*/false);
  }
  void AppendPart(uint64_t end_lsn, uint32_t part, const std::vector<int>& ids, bool more_parts) {
    BlockBuilder builder(kPeer);
    if (part == 0) {
      builder.BeginTransaction(Header(end_lsn));
    } else {
      builder.ContinueTransaction(Header(end_lsn), part);
    }
    builder.AddRelation(kTable, Relation(kTable));
    for (const int id : ids) builder.AddChange(Insert(id));
    Append(builder, more_parts);
  }
  void Append(BlockBuilder& builder, bool more_parts) {
    ASSERT_OK(log_->AppendReceived(builder.Seal(log_->End(kPeer).chain, more_parts)));
  }

  // What comes next, as "lsn:ids", with + before or after where the transaction goes on there.
  std::string Next() {
    const absl::StatusOr<const Piece*> next = reader_->Peek(absl::ZeroDuration());
    if (!next.ok()) return next.status().ToString();
    if (*next == nullptr) return "";
    const Piece piece = reader_->Pop();
    std::vector<int> ids;
    size_t bytes = 0;
    for (const RemoteChange& change : piece.changes) {
      EXPECT_EQ(change.relation->message.name, "t100");
      const auto& insert = std::get<postgres::InsertMessage>(change.message);
      const absl::string_view id = insert.row.columns[0].data;
      ids.push_back(static_cast<unsigned char>(id.back()));
      bytes += Insert(0).size();
    }
    EXPECT_EQ(piece.bytes, bytes);
    EXPECT_EQ(piece.header.stamp.time_us, static_cast<int64_t>(piece.header.end_lsn.value) * 10);
    EXPECT_EQ(piece.header.waits_for.size(), 1);
    return absl::StrCat(piece.first ? "" : "+", piece.header.end_lsn.value, ":",
                        absl::StrJoin(ids, ","), piece.last ? "" : "+");
  }
  std::vector<std::string> All() {
    std::vector<std::string> all;
    for (std::string next = Next(); !next.empty(); next = Next()) all.push_back(next);
    return all;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ChangeLog> log_;
  std::unique_ptr<TransactionReader> reader_;
};

TEST_F(TransactionReaderTest, AnEmptyLogHasNothing) {
  reader_->Seek(Lsn{0});
  EXPECT_THAT(All(), IsEmpty());
}

TEST_F(TransactionReaderTest, TransactionsComeOneByOneOverBlocks) {
  AppendBlock({{10, {1, 2}}, {20, {3}}});
  AppendBlock({{30, {4}}});
  reader_->Seek(Lsn{0});
  EXPECT_THAT(All(), ElementsAre("10:1,2", "20:3", "30:4"));
  AppendBlock({{40, {5}}});
  EXPECT_THAT(All(), ElementsAre("40:5"));
}

TEST_F(TransactionReaderTest, WhatWasAppliedIsSkippedWithinItsBlock) {
  AppendBlock({{10, {1}}, {20, {2}}, {30, {3}}});
  for (const auto& [from, expected] :
       std::vector<std::pair<uint64_t, std::vector<std::string>>>{{0, {"10:1", "20:2", "30:3"}},
                                                                  {9, {"10:1", "20:2", "30:3"}},
                                                                  {10, {"20:2", "30:3"}},
                                                                  {15, {"20:2", "30:3"}},
                                                                  {20, {"30:3"}},
                                                                  {30, {}}}) {
    reader_->Seek(Lsn{from});
    EXPECT_EQ(All(), expected) << from;
  }
}

TEST_F(TransactionReaderTest, PeekDoesNotTake) {
  AppendBlock({{10, {1}}, {20, {2}}});
  reader_->Seek(Lsn{0});
  ASSERT_OK_AND_ASSIGN(const Piece* first, reader_->Peek(absl::ZeroDuration()));
  ASSERT_OK_AND_ASSIGN(const Piece* again, reader_->Peek(absl::ZeroDuration()));
  EXPECT_EQ(first, again);
  EXPECT_THAT(All(), ElementsAre("10:1", "20:2"));
}

TEST_F(TransactionReaderTest, ALargeTransactionComesInParts) {
  AppendBlock({{10, {1}}});
  AppendPart(20, 0, {2}, /*more_parts=*/true);
  AppendPart(20, 1, {3}, /*more_parts=*/true);
  AppendPart(20, 2, {4}, /*more_parts=*/false);
  AppendBlock({{30, {5}}});
  reader_->Seek(Lsn{0});
  EXPECT_THAT(All(), ElementsAre("10:1", "20:2+", "+20:3+", "+20:4", "30:5"));
  // Sought while in its middle: from its beginning again, or not at all.
  reader_->Seek(Lsn{10});
  EXPECT_EQ(Next(), "20:2+");
  EXPECT_EQ(Next(), "+20:3+");
  reader_->Seek(Lsn{10});
  EXPECT_EQ(Next(), "20:2+");
  reader_->Seek(Lsn{20});
  EXPECT_THAT(All(), ElementsAre("30:5"));
}

TEST_F(TransactionReaderTest, AnAppliedTransactionBeforeALargeOneInItsBlockIsSkipped) {
  BlockBuilder builder(kPeer);
  builder.BeginTransaction(Header(10));
  builder.AddRelation(kTable, Relation(kTable));
  builder.AddChange(Insert(1));
  builder.BeginTransaction(Header(20));
  builder.AddChange(Insert(2));
  Append(builder, /*more_parts=*/true);
  AppendPart(20, 1, {3}, /*more_parts=*/false);
  reader_->Seek(Lsn{0});
  EXPECT_THAT(All(), ElementsAre("10:1", "20:2+", "+20:3"));
  reader_->Seek(Lsn{10});
  EXPECT_THAT(All(), ElementsAre("20:2+", "+20:3"));
}

TEST_F(TransactionReaderTest, PartsThatComeLaterAreWaitedFor) {
  AppendPart(20, 0, {2}, /*more_parts=*/true);
  reader_->Seek(Lsn{0});
  EXPECT_THAT(All(), ElementsAre("20:2+"));
  AppendPart(20, 1, {3}, /*more_parts=*/false);
  EXPECT_THAT(All(), ElementsAre("+20:3"));
}

// Rows point into their piece, which outlives the reader's place.
TEST_F(TransactionReaderTest, APieceOutlivesTheReader) {
  AppendBlock({{10, {7}}});
  reader_->Seek(Lsn{0});
  ASSERT_OK_AND_ASSIGN(const Piece* next, reader_->Peek(absl::ZeroDuration()));
  ASSERT_NE(next, nullptr);
  const Piece piece = reader_->Pop();
  reader_.reset();
  const auto& insert = std::get<postgres::InsertMessage>(piece.changes[0].message);
  EXPECT_EQ(std::string(insert.row.columns[0].data), Int(7).data);
}

TEST_F(TransactionReaderTest, RelationsAreThoseOfTheMomentOfTheChange) {
  postgres::TypeMessage type{.xid = 0, .type_oid = 90000, .schema = "app", .name = "mood"};
  postgres::RelationMessage first = RelationOf(SomeTable(kTable, "t"));
  first.columns[1].type_oid = 90000;
  postgres::RelationMessage second = first;
  second.columns.pop_back();
  BlockBuilder builder(kPeer);
  builder.BeginTransaction(Header(10));
  builder.AddType(90000, postgres::Encode(type));
  builder.AddRelation(kTable, postgres::Encode(first));
  builder.AddChange(Insert(1));
  builder.BeginTransaction(Header(20));
  builder.AddRelation(kTable, postgres::Encode(second));
  builder.AddChange(DeleteBytes(kTable, {Int(1), Null()}));
  Append(builder, /*more_parts=*/false);

  reader_->Seek(Lsn{0});
  ASSERT_OK(reader_->Peek(absl::ZeroDuration()));
  const Piece one = reader_->Pop();
  ASSERT_OK(reader_->Peek(absl::ZeroDuration()));
  const Piece two = reader_->Pop();
  EXPECT_EQ(one.changes[0].relation->message.columns.size(), 3);
  EXPECT_EQ(one.changes[0].relation->types.at(90000).name, "mood");
  EXPECT_EQ(two.changes[0].relation->message.columns.size(), 2);
  EXPECT_NE(one.changes[0].relation->raw, two.changes[0].relation->raw);
}

TEST_F(TransactionReaderTest, ATruncateNamesTheTablesThatReplicate) {
  BlockBuilder builder(kPeer);
  builder.BeginTransaction(Header(10));
  builder.AddRelation(kTable, Relation(kTable));
  builder.AddRelation(kOther, Relation(kOther));
  builder.AddChange(TruncateBytes({kOther, 999, kTable}));
  Append(builder, /*more_parts=*/false);
  reader_->Seek(Lsn{0});
  ASSERT_OK(reader_->Peek(absl::ZeroDuration()));
  const Piece piece = reader_->Pop();
  ASSERT_EQ(piece.changes[0].truncated.size(), 2);
  EXPECT_EQ(piece.changes[0].truncated[0]->message.relation_oid, kOther);
  EXPECT_EQ(piece.changes[0].truncated[1]->message.relation_oid, kTable);
}

TEST_F(TransactionReaderTest, AChangeOfAnUndescribedRelationIsDamage) {
  BlockBuilder builder(kPeer);
  builder.BeginTransaction(Header(10));
  builder.AddChange(Insert(1));
  Append(builder, /*more_parts=*/false);
  reader_->Seek(Lsn{0});
  const absl::Status status = reader_->Peek(absl::ZeroDuration()).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("without describing it"));
}

TEST_F(TransactionReaderTest, WhatWasTrimmedCannotBeSought) {
  AppendBlock({{10, {1}}});
  AppendBlock({{20, {2}}});
  AppendBlock({{30, {3}}});
  ASSERT_OK(log_->Trim(kPeer, Lsn{20}));
  reader_->Seek(Lsn{10});
  EXPECT_TRUE(absl::IsFailedPrecondition(reader_->Peek(absl::ZeroDuration()).status()));
  reader_->Seek(Lsn{20});
  EXPECT_THAT(All(), ElementsAre("30:3"));
}

TEST_F(TransactionReaderTest, AnOwnChangeIsAPieceByItself) {
  const postgres::RelationMessage relation = RelationOf(SomeTable(kTable, "t"));
  OwnChange own{.header = Header(10),
                .relation = postgres::Encode(relation),
                .relation_message = relation,
                .types = {},
                .change = DeleteBytes(kTable, {Int(5), Null(), Null()})};
  ASSERT_OK_AND_ASSIGN(Piece piece, MakePiece(own));
  const Piece moved = std::move(piece);
  EXPECT_TRUE(moved.first);
  EXPECT_TRUE(moved.last);
  ASSERT_EQ(moved.changes.size(), 1);
  const auto& erase = std::get<postgres::DeleteMessage>(moved.changes[0].message);
  EXPECT_EQ(std::string(erase.old_row.columns[0].data), Int(5).data);
  EXPECT_EQ(moved.changes[0].relation->message.name, "t");

  own.change = TruncateBytes({kTable});
  ASSERT_OK_AND_ASSIGN(const Piece truncate, MakePiece(own));
  EXPECT_EQ(truncate.changes[0].truncated.size(), 1);

  own.change = "nonsense";
  EXPECT_FALSE(MakePiece(own).ok());
}

}  // namespace
}  // namespace bdr::agent
