// A group is written as its net effect. The property plays random transactions against a map, row
// by row, and the plan against another: both must end the same. The others pin what the executor
// leans on.
#include "node-agent/apply/plan/group_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/testing.h"
#include "node-agent/tables/changes_testing.h"

namespace bdr::agent {
namespace {

using conflict::ChangeKind;
using postgres::ColumnKind;
using testing::DeleteBytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::InsertBytes;
using testing::Int;
using ::testing::IsEmpty;
using testing::Null;
using testing::RelationOf;
using testing::Row;
using testing::SomeTable;
using testing::Text;
using testing::TruncateBytes;
using testing::Unchanged;
using testing::UpdateBytes;
using testing::Value;

constexpr NodeId kNode = 2;

// The tables of a test, announced and bound.
class Tables {
 public:
  uint32_t Add(postgres::TableInfo table) {
    const uint32_t oid = table.oid;
    auto relation = std::make_shared<RemoteRelation>();
    relation->message = RelationOf(table);
    relation->raw = postgres::Encode(relation->message);
    auto bound = BoundTable::Make(*relation, std::make_shared<postgres::TableInfo>(table));
    EXPECT_OK(bound);
    bound_[relation.get()] = *bound;
    relations_[oid] = std::move(relation);
    return oid;
  }
  std::shared_ptr<const RemoteRelation> relation(uint32_t oid) const { return relations_.at(oid); }
  GroupPlan::Resolve Resolver() const {
    return [this](const std::shared_ptr<const RemoteRelation>& relation,
                  const TransactionHeader&) -> absl::StatusOr<GroupPlan::Resolved> {
      return GroupPlan::Resolved{.table = bound_.at(relation.get())};
    };
  }

 private:
  std::map<uint32_t, std::shared_ptr<const RemoteRelation>> relations_;
  std::map<const RemoteRelation*, std::shared_ptr<const BoundTable>> bound_;
};

struct Transaction {
  uint64_t end_lsn = 0;
  std::vector<std::string> changes;
  bool last = true;
};

std::shared_ptr<const Piece> MakePiece(const Tables& tables, const Transaction& transaction) {
  Piece piece;
  piece.header = {.end_lsn = Lsn{transaction.end_lsn},
                  .stamp = {.time_us = static_cast<int64_t>(transaction.end_lsn), .node = kNode}};
  piece.last = transaction.last;
  std::string all;
  for (const std::string& change : transaction.changes) all += change;
  piece.bytes_owned = std::make_shared<const std::string>(std::move(all));
  absl::string_view left = *piece.bytes_owned;
  for (const std::string& change : transaction.changes) {
    const absl::string_view bytes = left.substr(0, change.size());
    left.remove_prefix(change.size());
    absl::StatusOr<postgres::Message> message = postgres::Decode(bytes);
    EXPECT_OK(message);
    RemoteChange remote{.relation = nullptr, .message = *std::move(message), .truncated = {}};
    if (const auto* truncate = std::get_if<postgres::TruncateMessage>(&remote.message)) {
      for (const uint32_t oid : truncate->relation_oids) {
        remote.truncated.push_back(tables.relation(oid));
      }
    } else {
      remote.relation = tables.relation(postgres::PeekRelationOid(bytes));
    }
    piece.changes.push_back(std::move(remote));
    piece.bytes += bytes.size();
  }
  return std::make_shared<const Piece>(std::move(piece));
}

Row ToRow(const LocalRow& local) {
  Row row;
  for (const postgres::ColumnValue& value : local) {
    row.push_back({.kind = value.kind, .data = std::string(value.data)});
  }
  return row;
}

// As SomeTable(), with another unique column.
postgres::TableInfo WithUnique(uint32_t oid) {
  postgres::TableInfo table = SomeTable(oid, "unique");
  table.other_unique_constraints = 1;
  postgres::ConstraintInfo& constraint = table.constraints.emplace_back();
  constraint.parts.push_back(
      {.column = 1, .expression = "small", .collation = "", .op = "=", .type = ""});
  constraint.columns = {1};
  return table;
}

class GroupPlanTest : public ::testing::Test {
 protected:
  void Add(const std::vector<std::string>& changes) {
    ASSERT_OK(
        plan_.Add(MakePiece(tables_, {.end_lsn = ++lsn_, .changes = changes}), tables_.Resolver()));
  }
  const std::vector<RowOp>& Rows(size_t segment = 0, size_t table = 0) {
    return plan_.segments()[segment].tables[table].rows;
  }

  Tables tables_;
  const uint32_t t_ = tables_.Add(SomeTable(100, "t"));
  const uint32_t u_ = tables_.Add(SomeTable(200, "u"));
  uint64_t lsn_ = 0;
  GroupPlan plan_;
};

TEST(GroupSizeTest, RowsWithoutAKeyShareOnlyWhatIsOlderThanAnyUnknownTruncate) {
  EXPECT_EQ(GroupSize({{{10, true}, {20, false}, {30, true}}}, 30), 3);
  EXPECT_EQ(GroupSize({{{10, false}, {20, false}, {30, false}}}, 0), 3);
  EXPECT_EQ(GroupSize({{{10, true}, {20, true}, {30, true}}}, 20), 2);
  EXPECT_EQ(GroupSize({{{10, false}, {20, false}, {30, true}}}, 15), 2);
  EXPECT_EQ(GroupSize({{{10, true}, {20, true}}}, 5), 1);
  // The row of the first would look as new as the second: a TRUNCATE at 16 would leave it.
  EXPECT_EQ(GroupSize({{{10, true}, {20, false}}}, 15), 1);
}

TEST_F(GroupPlanTest, ChangesOfDifferentRowsStayApart) {
  Add({InsertBytes(t_, {Int(1), Int(10), Text("a")}), InsertBytes(t_, {Int(2), Int(20), Null()})});
  ASSERT_EQ(Rows().size(), 2);
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(10), Text("a")}));
  EXPECT_EQ(ToRow(Rows()[1].row), (Row{Int(2), Int(20), Null()}));
  EXPECT_TRUE(Rows()[0].by_insert);
  EXPECT_EQ(plan_.transactions(), 1);
  EXPECT_EQ(plan_.changes(), 2);
  EXPECT_EQ(plan_.Keys().size(), 2);
}

TEST_F(GroupPlanTest, ChangesOfOneRowCollapseIntoTheLast) {
  Add({InsertBytes(t_, {Int(1), Int(10), Text("a")})});
  Add({UpdateBytes(t_, {Int(1), Int(11), Text("b")})});
  Add({UpdateBytes(t_, {Int(1), Int(12), Text("c")})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(12), Text("c")}));
  EXPECT_TRUE(Rows()[0].by_insert);  // the row is not there yet
  EXPECT_EQ(Rows()[0].stamp, (conflict::Stamp{.time_us = 3, .node = kNode}));
  EXPECT_EQ(Rows()[0].end_lsn, Lsn{3});
  EXPECT_EQ(Rows()[0].header->end_lsn, Lsn{3});
  EXPECT_EQ(plan_.transactions(), 3);
  EXPECT_EQ(plan_.first().end_lsn, Lsn{1});
  EXPECT_EQ(plan_.last().end_lsn, Lsn{3});
}

TEST_F(GroupPlanTest, UpdatesOfARowThatIsThereStayUpdates) {
  Add({UpdateBytes(t_, {Int(1), Int(11), Text("b")})});
  Add({UpdateBytes(t_, {Int(1), Int(12), Text("c")})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_FALSE(Rows()[0].by_insert);
  EXPECT_EQ(Rows()[0].kind, ChangeKind::kUpdate);
}

TEST_F(GroupPlanTest, ARowThatCameAndWentIsADeleteThatNobodyNeedFind) {
  Add({InsertBytes(t_, {Int(1), Int(10), Text("a")})});
  Add({DeleteBytes(t_, {Int(1), Null(), Null()})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_TRUE(Rows()[0].is_delete());
  EXPECT_TRUE(Rows()[0].by_insert);
}

TEST_F(GroupPlanTest, ARowThatWasUpdatedAndDeletedHasToBeFound) {
  Add({UpdateBytes(t_, {Int(1), Int(10), Unchanged()})});
  Add({DeleteBytes(t_, {Int(1), Null(), Null()})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_TRUE(Rows()[0].is_delete());
  EXPECT_FALSE(Rows()[0].by_insert);
}

TEST_F(GroupPlanTest, ARowThatWasDeletedAndInsertedIsWrittenWhole) {
  Add({DeleteBytes(t_, {Int(1), Null(), Null()}), InsertBytes(t_, {Int(1), Int(5), Null()})});
  Add({UpdateBytes(t_, {Int(1), Int(6), Unchanged()})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_TRUE(Rows()[0].by_insert);
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(6), Null()}));
}

TEST_F(GroupPlanTest, UnchangedValuesComeFromTheGroupWhereItHasThem) {
  Add({UpdateBytes(t_, {Int(1), Int(10), Text("large")})});
  Add({UpdateBytes(t_, {Int(1), Int(11), Unchanged()})});
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(11), Text("large")}));
}

TEST_F(GroupPlanTest, UnchangedValuesThatTheGroupHasNotStayUnchanged) {
  Add({UpdateBytes(t_, {Int(1), Int(10), Unchanged()})});
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(10), Unchanged()}));
}

TEST_F(GroupPlanTest, TheWholeOldRowTellsWhatIsUnchanged) {
  Add({UpdateBytes(t_, {Int(1), Int(10), Unchanged()}, 'O', {Int(1), Int(9), Text("large")})});
  EXPECT_EQ(ToRow(Rows()[0].row), (Row{Int(1), Int(10), Text("large")}));
  EXPECT_FALSE(Rows()[0].by_insert);
}

TEST_F(GroupPlanTest, AKeyChangeIsADeleteAndAnInsert) {
  Add({UpdateBytes(t_, {Int(2), Int(10), Text("a")}, 'K', {Int(1), Null(), Null()})});
  ASSERT_EQ(Rows().size(), 2);
  EXPECT_TRUE(Rows()[0].is_delete());
  EXPECT_FALSE(Rows()[0].by_insert);
  EXPECT_EQ(ToRow(Rows()[0].row)[0], Int(1));
  EXPECT_EQ(Rows()[1].kind, ChangeKind::kInsert);
  EXPECT_TRUE(Rows()[1].by_insert);
  EXPECT_EQ(Rows()[1].moved_from, std::nullopt);
}

TEST_F(GroupPlanTest, AMovedRowSaysWhereItsUnchangedValuesStand) {
  Add({UpdateBytes(t_, {Int(2), Int(10), Unchanged()}, 'K', {Int(1), Null(), Null()})});
  ASSERT_TRUE(Rows()[1].moved_from.has_value());
  EXPECT_EQ(ToRow(*Rows()[1].moved_from)[0], Int(1));
}

TEST_F(GroupPlanTest, ARowThatMovesTwiceComesFromWhereItBegan) {
  Add({UpdateBytes(t_, {Int(2), Int(10), Unchanged()}, 'K', {Int(1), Null(), Null()})});
  Add({UpdateBytes(t_, {Int(3), Int(10), Unchanged()}, 'K', {Int(2), Null(), Null()})});
  ASSERT_EQ(Rows().size(), 3);
  ASSERT_TRUE(Rows()[2].moved_from.has_value());
  EXPECT_EQ(ToRow(*Rows()[2].moved_from)[0], Int(1));
}

TEST_F(GroupPlanTest, AMovedRowTakesFromTheGroupWhatItHas) {
  Add({InsertBytes(t_, {Int(1), Int(10), Text("large")})});
  Add({UpdateBytes(t_, {Int(2), Int(10), Unchanged()}, 'K', {Int(1), Null(), Null()})});
  EXPECT_EQ(ToRow(Rows()[1].row), (Row{Int(2), Int(10), Text("large")}));
  EXPECT_EQ(Rows()[1].moved_from, std::nullopt);
}

TEST_F(GroupPlanTest, AKeyThatOnlyLooksDifferentIsNoKeyChange) {
  postgres::TableInfo table = SomeTable(300, "n");
  table.columns[0].type = testing::PlainType(1700, "numeric");
  const uint32_t n = tables_.Add(table);
  // 1 and 1.0: digits, weight, sign, display scale, and the one digit.
  const auto numeric = [](char scale) {
    return std::string("\0\1\0\0\0\0\0", 7) + scale + std::string("\0\1", 2);
  };
  Add({UpdateBytes(n, {Text(numeric(1)), Int(10), Text("a")}, 'K',
                   {Text(numeric(0)), Null(), Null()})});
  ASSERT_EQ(Rows().size(), 1);
  EXPECT_EQ(Rows()[0].kind, ChangeKind::kUpdate);
}

TEST_F(GroupPlanTest, TablesComeInTheOrderOfTheirFirstTouch) {
  Add({InsertBytes(u_, {Int(1), Int(1), Null()}), InsertBytes(t_, {Int(1), Int(1), Null()})});
  Add({InsertBytes(t_, {Int(2), Int(1), Null()}), InsertBytes(u_, {Int(2), Int(1), Null()})});
  ASSERT_EQ(plan_.segments().size(), 1);
  ASSERT_EQ(plan_.segments()[0].tables.size(), 2);
  EXPECT_EQ(plan_.segments()[0].tables[0].table->table().name, "u");
  EXPECT_EQ(plan_.segments()[0].tables[1].table->table().name, "t");
  EXPECT_EQ(Rows(0, 0).size(), 2);
}

TEST_F(GroupPlanTest, EqualKeysOfTwoTablesAreTwoRows) {
  Add({InsertBytes(t_, {Int(1), Int(1), Null()}), DeleteBytes(u_, {Int(1), Null(), Null()})});
  EXPECT_EQ(Rows(0, 0).size(), 1);
  EXPECT_FALSE(Rows(0, 0)[0].is_delete());
  EXPECT_EQ(Rows(0, 1).size(), 1);
  EXPECT_EQ(plan_.Keys().size(), 2);
}

TEST_F(GroupPlanTest, ATruncateEndsASegment) {
  EXPECT_FALSE(plan_.has_truncate());
  Add({InsertBytes(t_, {Int(1), Int(1), Null()})});
  Add({TruncateBytes({t_, u_}, /*restart_identity=*/true),
       InsertBytes(t_, {Int(1), Int(2), Null()})});
  EXPECT_TRUE(plan_.has_truncate());
  ASSERT_EQ(plan_.segments().size(), 2);
  const Segment& first = plan_.segments()[0];
  ASSERT_TRUE(first.truncate.has_value());
  EXPECT_EQ(first.truncate->tables.size(), 2);
  EXPECT_TRUE(first.truncate->restart_identity);
  EXPECT_EQ(first.truncate->stamp.time_us, 2);
  EXPECT_EQ(ToRow(Rows(0)[0].row)[1], Int(1));
  EXPECT_EQ(ToRow(Rows(1)[0].row)[1], Int(2));
}

// What a row claimed for a while counts like what it claims in the end, so nothing of it is lost.
TEST_F(GroupPlanTest, WithFurtherUniqueConstraintsSupersededRowsAreKept) {
  const uint32_t q = tables_.Add(WithUnique(300));
  Add({InsertBytes(q, {Int(1), Int(7), Null()}), InsertBytes(q, {Int(2), Int(7), Null()})});
  Add({DeleteBytes(q, {Int(1), Null(), Null()}), UpdateBytes(q, {Int(2), Int(8), Null()})});
  Add({InsertBytes(q, {Int(1), Int(9), Null()})});
  const TableOps& ops = plan_.segments().front().tables.front();
  std::vector<Row> newest;
  std::vector<Row> superseded;
  for (const RowOp& op : ops.rows) newest.push_back(ToRow(op.row));
  for (const RowOp& op : ops.superseded) superseded.push_back(ToRow(op.row));
  EXPECT_THAT(newest, ElementsAre(Row{Int(1), Int(9), Null()}, Row{Int(2), Int(8), Null()}));
  EXPECT_THAT(superseded, ElementsAre(Row{Int(1), Int(7), Null()}, Row{Int(2), Int(7), Null()}));
  EXPECT_EQ(plan_.Keys().size(), 2);
}

// But what its own transaction took back was never there for anybody.
TEST_F(GroupPlanTest, WhatATransactionItselfTookBackIsNotKept) {
  const uint32_t q = tables_.Add(WithUnique(300));
  Add({InsertBytes(q, {Int(1), Int(7), Null()}), DeleteBytes(q, {Int(1), Null(), Null()}),
       InsertBytes(q, {Int(2), Int(7), Null()}), UpdateBytes(q, {Int(2), Int(8), Null()}),
       InsertBytes(q, {Int(1), Int(9), Null()})});
  EXPECT_TRUE(plan_.segments().front().tables.front().superseded.empty());
}

TEST_F(GroupPlanTest, WithoutFurtherUniqueConstraintsSupersededRowsAreGone) {
  const uint32_t q = tables_.Add(SomeTable(300, "plain"));
  Add({InsertBytes(q, {Int(1), Int(7), Null()}), UpdateBytes(q, {Int(1), Int(8), Null()})});
  EXPECT_TRUE(plan_.segments().front().tables.front().superseded.empty());
}

// The row's values are fetched before anything of the segment is written, so what an earlier change
// of it within the group has set must not be fetched.
TEST_F(GroupPlanTest, WithUniqueValuesAMovedRowTakesWhatTheGroupSetBefore) {
  const uint32_t q = tables_.Add(WithUnique(300));
  Add({UpdateBytes(q, {Int(1), Int(7), Text("new")})});
  Add({UpdateBytes(q, {Int(1), Int(8), Unchanged()})});
  Add({UpdateBytes(q, {Int(2), Int(8), Unchanged()}, 'K', {Int(1), Null(), Null()})});
  const RowOp& moved = Rows().back();
  EXPECT_EQ(ToRow(moved.row), (Row{Int(2), Int(8), Text("new")}));
  EXPECT_EQ(moved.moved_from, std::nullopt);
}

TEST_F(GroupPlanTest, WithUniqueValuesARowThatMovesTwiceComesFromWhereItBegan) {
  const uint32_t q = tables_.Add(WithUnique(300));
  Add({UpdateBytes(q, {Int(2), Int(7), Unchanged()}, 'K', {Int(1), Null(), Null()})});
  Add({UpdateBytes(q, {Int(2), Int(8), Unchanged()})});
  Add({UpdateBytes(q, {Int(3), Int(8), Unchanged()}, 'K', {Int(2), Null(), Null()})});
  ASSERT_TRUE(Rows().back().moved_from.has_value());
  EXPECT_EQ(ToRow(*Rows().back().moved_from)[0], Int(1));
}

TEST_F(GroupPlanTest, RowsWithoutAKeyAreInsertedOneByOne) {
  postgres::TableInfo table = SomeTable(300, "log");
  table.has_key = false;
  table.key.clear();
  table.columns[0].key_position = -1;
  const uint32_t n = tables_.Add(table);
  Add({InsertBytes(n, {Int(1), Int(1), Null()}), InsertBytes(n, {Int(1), Int(1), Null()})});
  EXPECT_EQ(Rows().size(), 2);
  EXPECT_TRUE(Rows()[0].version_key.empty());
  EXPECT_THAT(plan_.Keys(), IsEmpty());
  const absl::Status status = plan_.Add(
      MakePiece(tables_, {.end_lsn = 9, .changes = {DeleteBytes(n, {Int(1), Int(1), Null()})}}),
      tables_.Resolver());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("public.log"));
}

TEST_F(GroupPlanTest, OnlyKeyedRowsWhereThatIsAskedFor) {
  postgres::TableInfo table = SomeTable(300, "log");
  table.has_key = false;
  table.key.clear();
  const uint32_t n = tables_.Add(table);
  GroupPlan plan({}, /*keyed_only=*/true);
  ASSERT_OK(plan.Add(MakePiece(tables_, {.end_lsn = 1,
                                         .changes = {InsertBytes(n, {Int(1), Int(1), Null()}),
                                                     InsertBytes(t_, {Int(1), Int(1), Null()})}}),
                     tables_.Resolver()));
  size_t rows = 0;
  for (const TableOps& ops : plan.segments()[0].tables) rows += ops.rows.size();
  EXPECT_EQ(rows, 1);
}

TEST_F(GroupPlanTest, AnOpenTransactionDoesNotCount) {
  ASSERT_OK(plan_.Add(MakePiece(tables_, {.end_lsn = 1,
                                          .changes = {InsertBytes(t_, {Int(1), Int(1), Null()})},
                                          .last = false}),
                      tables_.Resolver()));
  EXPECT_EQ(plan_.transactions(), 0);
  EXPECT_TRUE(plan_.empty());
}

TEST_F(GroupPlanTest, ARowOfAnotherShapeThanItsRelationIsRefused) {
  const absl::Status status =
      plan_.Add(MakePiece(tables_, {.end_lsn = 1, .changes = {InsertBytes(t_, {Int(1), Int(1)})}}),
                tables_.Resolver());
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("public.t"));
}

TEST_F(GroupPlanTest, AChangeWithoutItsKeyIsRefused) {
  const absl::Status status = plan_.Add(
      MakePiece(tables_, {.end_lsn = 1, .changes = {InsertBytes(t_, {Null(), Int(1), Null()})}}),
      tables_.Resolver());
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"id\""));
}

TEST_F(GroupPlanTest, WhatFollowsANewAnnouncementDoesNotOvertakeWhatWasBefore) {
  Add({InsertBytes(t_, {Int(1), Int(1), Null()})});
  postgres::TableInfo wider = SomeTable(100, "t");
  wider.columns.push_back(wider.columns[1]);
  wider.columns[3].name = "added";
  tables_.Add(wider);
  Add({UpdateBytes(t_, {Int(1), Int(2), Unchanged(), Int(3)})});
  ASSERT_EQ(plan_.segments().size(), 2);
  EXPECT_EQ(Rows(0).size(), 1);
  EXPECT_FALSE(Rows(1)[0].by_insert);
}

// --- the property ---

// From min to below max, whatever the size of the case: the first cases are to be as wild as the
// last.
int Draw(int min, int max) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(min, max));
}

// A table's rows by id.
using Rows = std::map<std::string, Row>;
using State = std::map<uint32_t, Rows>;

// What the executor does, without conflicts.
void Execute(GroupPlan& plan, State* state) {
  for (Segment& segment : plan.segments()) {
    for (TableOps& ops : segment.tables) {
      Rows& rows = (*state)[ops.table->table().oid];
      for (RowOp& op : ops.rows) {
        if (!op.moved_from.has_value()) continue;
        const auto old = rows.find(std::string((*op.moved_from)[0].data));
        RC_ASSERT(old != rows.end());
        for (size_t i = 0; i < op.row.size(); ++i) {
          if (op.row[i].kind != ColumnKind::kUnchangedToast) continue;
          op.row[i] = {.kind = old->second[i].kind, .data = plan.Own(old->second[i].data)};
        }
      }
    }
    for (TableOps& ops : segment.tables) {
      Rows& rows = (*state)[ops.table->table().oid];
      const auto run = [&](const RowOp& op) {
        const std::string key(op.row[0].data);
        if (op.is_delete()) {
          const bool found = rows.erase(key) == 1;
          RC_ASSERT(found || op.by_insert);
          return;
        }
        const Row row = ToRow(op.row);
        if (op.by_insert) {
          for (const Value& value : row) RC_ASSERT(value.kind != ColumnKind::kUnchangedToast);
          rows[key] = row;
          return;
        }
        RC_ASSERT(rows.contains(key));
        for (size_t i = 0; i < row.size(); ++i) {
          if (row[i].kind != ColumnKind::kUnchangedToast) rows[key][i] = row[i];
        }
      };
      for (const RowOp& op : ops.rows) {
        if (op.is_delete()) run(op);
      }
      for (const RowOp& op : ops.rows) {
        if (!op.is_delete() && !op.by_insert) run(op);
      }
      for (const RowOp& op : ops.rows) {
        if (!op.is_delete() && op.by_insert) run(op);
      }
    }
    if (!segment.truncate.has_value()) continue;
    for (const auto& table : segment.truncate->tables) (*state)[table->table().oid].clear();
  }
}

// The origin: makes a change that its state allows, and does it.
std::string Change(uint32_t oid, bool full_identity, State* state) {
  Rows& rows = (*state)[oid];
  const int32_t id = Draw(0, 4);
  const int32_t other = Draw(0, 4);
  const Value small = Int(Draw(0, 3));
  const Value large = Text(*rc::gen::element<std::string>("a", "b", "c"));
  const std::string key = Int(id).data;
  const auto found = rows.find(key);
  if (found == rows.end()) {
    rows[key] = {Int(id), small, large};
    return InsertBytes(oid, rows[key]);
  }
  const Row old = found->second;
  const Row old_sent = full_identity ? old : Row{old[0], Null(), Null()};
  switch (*rc::gen::weightedElement<int>({{4, 0}, {3, 1}, {2, 2}})) {
    case 0: {  // an update that keeps the key, and perhaps the large value
      const bool keeps = *rc::gen::arbitrary<bool>();
      found->second = {Int(id), small, keeps ? old[2] : large};
      const Row sent = {Int(id), small, keeps ? Unchanged() : large};
      return full_identity ? UpdateBytes(oid, sent, 'O', old) : UpdateBytes(oid, sent);
    }
    case 1: {  // an update that moves it, if it can
      const std::string new_key = Int(other).data;
      if (rows.contains(new_key)) break;
      const bool keeps = *rc::gen::arbitrary<bool>();
      rows.erase(key);
      rows[new_key] = {Int(other), small, keeps ? old[2] : large};
      return UpdateBytes(oid, {Int(other), small, keeps ? Unchanged() : large},
                         full_identity ? 'O' : 'K', old_sent);
    }
    default:
      break;
  }
  rows.erase(key);
  return DeleteBytes(oid, old_sent, full_identity ? 'O' : 'K');
}

RC_GTEST_PROP(GroupPlanPropertyTest, TheNetEffectIsThatOfTheChangesOneByOne, ()) {
  Tables tables;
  const bool full_identity = *rc::gen::arbitrary<bool>();
  const std::vector<uint32_t> oids = {tables.Add(SomeTable(100, "plain")),
                                      tables.Add(WithUnique(200))};
  State origin;
  State here;
  uint64_t lsn = 0;
  // Group after group, so that rows stand there already.
  const int groups = Draw(1, 4);
  for (int group = 0; group < groups; ++group) {
    GroupPlan plan;
    const int transactions = Draw(1, 8);
    for (int i = 0; i < transactions; ++i) {
      Transaction transaction{.end_lsn = ++lsn, .changes = {}};
      const int changes = Draw(1, 10);
      for (int j = 0; j < changes; ++j) {
        const uint32_t oid = *rc::gen::elementOf(oids);
        if (Draw(0, 15) == 0) {
          origin[oid].clear();
          transaction.changes.push_back(TruncateBytes({oid}));
          continue;
        }
        transaction.changes.push_back(Change(oid, full_identity, &origin));
      }
      RC_ASSERT(plan.Add(MakePiece(tables, transaction), tables.Resolver()).ok());
    }
    Execute(plan, &here);
    for (const uint32_t oid : oids) RC_ASSERT(here[oid] == origin[oid]);
  }
}

}  // namespace
}  // namespace bdr::agent
