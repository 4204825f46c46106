// Names in changes from before tables were changed by hand: each goes to what became of it, a name
// that is used again is told from the old one, and what cannot be told is refused.
#include "node-agent/cluster/table_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_split.h"
#include "base/testing.h"
#include "bdr/v1/control.pb.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;
using Kind = TableChange::Kind;
using Outcome = FoundName::Outcome;

TableChange Renamed(uint64_t version, const std::string& from, const std::string& to) {
  const std::pair<std::string, std::string> a = absl::StrSplit(from, '.');
  const std::pair<std::string, std::string> b = absl::StrSplit(to, '.');
  return {.kind = Kind::kTableRenamed,
          .version = version,
          .schema = a.first,
          .table = a.second,
          .new_schema = b.first,
          .new_table = b.second};
}

TableChange Dropped(uint64_t version, const std::string& table) {
  const std::pair<std::string, std::string> name = absl::StrSplit(table, '.');
  return {
      .kind = Kind::kTableDropped, .version = version, .schema = name.first, .table = name.second};
}

TableChange SchemaRenamed(uint64_t version, const std::string& from, const std::string& to) {
  return {.kind = Kind::kSchemaRenamed, .version = version, .schema = from, .new_schema = to};
}

TableChange Column(uint64_t version, const std::string& table, const std::string& column,
                   const std::string& to = "") {
  TableChange change = Dropped(version, table);
  change.kind = to.empty() ? Kind::kColumnDropped : Kind::kColumnRenamed;
  change.column = column;
  change.new_column = to;
  return change;
}

// What stands on this node, and when it was made.
class Node {
 public:
  explicit Node(std::map<std::string, int64_t> made_us) : made_us_(std::move(made_us)) {}

  std::string Table(const std::string& name, MadeAt at, const std::vector<TableChange>& changes) {
    const NamesHere here{
        .has_table = [this](const TableName& table) -> absl::StatusOr<bool> {
          return made_us_.contains(table.first + "." + table.second);
        },
        .table_made_us = [this](const TableName& table) -> absl::StatusOr<int64_t> {
          return made_us_.at(table.first + "." + table.second);
        }};
    const std::pair<std::string, std::string> parts = absl::StrSplit(name, '.');
    holds_ = {};
    const auto found = FindTableName(parts, at, changes, here, &holds_);
    if (!found.ok()) return std::string(found.status().message());
    EXPECT_TRUE(holds_.Covers(at));
    if (found->outcome == Outcome::kGone) return "gone";
    return found->outcome == Outcome::kNotHere ? "not here"
                                               : found->name.first + "." + found->name.second;
  }

  std::string Column(const std::string& name, MadeAt at, const std::vector<TableChange>& changes,
                     std::vector<TableName> table = {{"public", "t"}}) {
    const ColumnsHere here{
        .has_column = [this](const std::string& column) { return made_us_.contains(column); },
        .column_made_us = [this](const std::string& column) -> absl::StatusOr<int64_t> {
          return made_us_.at(column);
        }};
    holds_ = {};
    const auto found = FindColumnName(name, table, at, changes, here, &holds_);
    if (!found.ok()) return std::string(found.status().message());
    EXPECT_TRUE(holds_.Covers(at));
    if (found->outcome == Outcome::kGone) return "gone";
    return found->outcome == Outcome::kNotHere ? "not here" : found->name;
  }

  const AnswerHolds& holds() const { return holds_; }

 private:
  std::map<std::string, int64_t> made_us_;
  AnswerHolds holds_;
};

constexpr MadeAt kBefore{.settings_version = 0, .stamp_us = 100};

TEST(TableChangesTest, ANameThatExistsAndOfWhichNothingWasSaidIsTakenAsItIs) {
  Node node({{"public.t", 0}});
  EXPECT_EQ(node.Table("public.t", kBefore, {}), "public.t");
  EXPECT_EQ(node.Table("public.u", kBefore, {}), "not here");
  EXPECT_EQ(node.Table("public.t", kBefore, {Renamed(1, "public.x", "public.y")}), "public.t");
}

TEST(TableChangesTest, ARenamedTableIsFoundWhetherItWasRenamedHereOrNot) {
  const std::vector<TableChange> said = {Renamed(1, "public.t", "public.u")};
  EXPECT_EQ(Node({{"public.u", 0}}).Table("public.t", kBefore, said), "public.u");
  EXPECT_EQ(Node({{"public.t", 0}}).Table("public.t", kBefore, said), "public.t");
  EXPECT_EQ(Node({}).Table("public.t", kBefore, said), "not here");
}

TEST(TableChangesTest, RenamesAreFollowedOneAfterTheOther) {
  const std::vector<TableChange> said = {Renamed(1, "public.a", "public.b"),
                                         SchemaRenamed(2, "public", "shop"),
                                         Renamed(3, "shop.b", "shop.c")};
  EXPECT_EQ(Node({{"shop.c", 0}}).Table("public.a", kBefore, said), "shop.c");
  EXPECT_EQ(Node({{"shop.c", 0}}).Table("public.b", kBefore, said), "shop.c");
  EXPECT_EQ(Node({{"shop.b", 0}}).Table("public.a", kBefore, said), "shop.b");
  EXPECT_EQ(Node({{"shop.z", 0}}).Table("public.z", kBefore, said), "shop.z");
}

TEST(TableChangesTest, ANameThatWasHadBackIsFound) {
  const std::vector<TableChange> said = {Renamed(1, "public.t", "public.u"),
                                         Renamed(2, "public.u", "public.t")};
  EXPECT_EQ(Node({{"public.t", 0}}).Table("public.t", kBefore, said), "public.t");
  EXPECT_EQ(Node({{"public.t", 0}}).Table("public.u", kBefore, said), "public.t");
}

TEST(TableChangesTest, WhatWasMadeOnceItWasInForceHasTheNamesOfToday) {
  const std::vector<TableChange> said = {Renamed(5, "public.t", "public.t_old")};
  Node node({{"public.t", 50}, {"public.t_old", 0}});
  EXPECT_EQ(node.Table("public.t", {.settings_version = 5, .stamp_us = 200}, said), "public.t");
  EXPECT_EQ(node.holds().from_version, 5u);
  // A new table that this node lacks is not the old one.
  Node lacks({{"public.t_old", 0}});
  EXPECT_EQ(lacks.Table("public.t", {.settings_version = 5, .stamp_us = 200}, said), "not here");
  EXPECT_EQ(lacks.Table("public.t", {.settings_version = 4, .stamp_us = 200}, said),
            "public.t_old");
  EXPECT_EQ(lacks.holds().before_version, 5u);
}

TEST(TableChangesTest, ANameThatWasUsedAgainAfterAChangeIsNotWhatTheChangeMeant) {
  const std::vector<TableChange> said = {Renamed(5, "public.t", "public.t_old")};
  Node node({{"public.t", 150}, {"public.t_old", 0}});
  EXPECT_EQ(node.Table("public.t", kBefore, said), "public.t_old");
  EXPECT_EQ(node.holds().before_us, 150);
  Node dropped({{"public.t", 150}});
  EXPECT_EQ(dropped.Table("public.t", kBefore, {Dropped(5, "public.t")}), "gone");
}

TEST(TableChangesTest, TwoTablesThatHaveSwappedNamesAreNeverTakenForEachOther) {
  const std::vector<TableChange> said = {Renamed(1, "public.t", "public.t_old"),
                                         Renamed(2, "public.t_new", "public.t")};
  Node node({{"public.t", 10}, {"public.t_old", 0}});
  EXPECT_THAT(node.Table("public.t", kBefore, said),
              HasSubstr("whether table \"public.t\" or table \"public.t_old\" is meant"));
  EXPECT_THAT(node.Table("public.t", kBefore, said), HasSubstr("forget-change 1"));
  EXPECT_EQ(node.Table("public.t_new", kBefore, said), "public.t");
  Node not_yet({{"public.t", 0}, {"public.t_new", 10}});
  EXPECT_EQ(not_yet.Table("public.t", kBefore, said), "public.t");
  // Stops until the names are swapped here as well.
  EXPECT_THAT(not_yet.Table("public.t_new", kBefore, said), HasSubstr("it cannot be told"));
}

TEST(TableChangesTest, ADroppedTableIsGoneOnlyWhereItWasDropped) {
  const std::vector<TableChange> said = {Dropped(3, "public.t")};
  EXPECT_EQ(Node({}).Table("public.t", kBefore, said), "gone");
  EXPECT_EQ(Node({{"public.t", 0}}).Table("public.t", kBefore, said), "public.t");
  // Made again elsewhere since: to be made here, not to be left out.
  EXPECT_EQ(Node({}).Table("public.t", {.settings_version = 3, .stamp_us = 200}, said), "not here");
  EXPECT_EQ(Node({}).Table("public.a", kBefore,
                           {Renamed(1, "public.a", "public.t"), Dropped(3, "public.t")}),
            "gone");
}

TEST(TableChangesTest, ColumnsAreFoundUnderEveryNameThatTheirTableHasHad) {
  const std::vector<TableChange> said = {
      Column(1, "public.old", "c", "d"), Renamed(2, "public.old", "public.t"),
      Column(3, "public.t", "d", "e"), Column(4, "public.t", "x")};
  const std::vector<TableName> table = {{"public", "old"}, {"public", "t"}};
  Node node({{"e", 0}});
  EXPECT_EQ(node.Column("c", kBefore, said, table), "e");
  EXPECT_EQ(node.Column("d", kBefore, said, {{"public", "t"}}), "e");
  EXPECT_EQ(node.Column("c", kBefore, said, {{"public", "t"}}), "e");
  EXPECT_EQ(node.Column("x", kBefore, said, table), "gone");
  EXPECT_EQ(node.Column("y", kBefore, said, table), "not here");
  EXPECT_EQ(node.Column("c", kBefore, said, {{"public", "other"}}), "not here");
}

TEST(TableChangesTest, AColumnIsLeftOutOnlyWhereItIsGone) {
  const std::vector<TableChange> said = {Column(4, "public.t", "c")};
  EXPECT_EQ(Node({{"c", 0}}).Column("c", kBefore, said), "c");
  EXPECT_EQ(Node({}).Column("c", kBefore, said), "gone");
  // A new column of that name.
  EXPECT_EQ(Node({{"c", 150}}).Column("c", kBefore, said), "gone");
  EXPECT_EQ(Node({{"c", 150}}).Column("c", {.settings_version = 4, .stamp_us = 120}, said), "c");
  EXPECT_EQ(Node({}).Column("c", {.settings_version = 4, .stamp_us = 200}, said), "not here");
}

TEST(TableChangesTest, ColumnsThatHaveSwappedNamesAreNeverTakenForEachOther) {
  const std::vector<TableChange> said = {Column(1, "public.t", "a", "b")};
  EXPECT_THAT(Node({{"a", 10}, {"b", 0}}).Column("a", kBefore, said),
              HasSubstr("whether column \"a\" of table \"public.t\" or column \"b\""));
}

TEST(TableChangesTest, IsReadAsItWasSaid) {
  v1::TableChange message;
  message.set_kind("column-renamed");
  message.set_schema("public");
  message.set_table("t");
  message.set_column("a");
  message.set_new_column("b");
  ASSERT_OK_AND_ASSIGN(const TableChange change, ParseTableChange(message.SerializeAsString(), 7));
  EXPECT_EQ(change, Column(7, "public.t", "a", "b"));
  EXPECT_EQ(change.ToString(), "column-renamed public.t a b");
  message.set_kind("column-painted");
  EXPECT_EQ(ParseTableChange(message.SerializeAsString(), 7).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace bdr::agent
