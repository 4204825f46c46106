// What an update left out must come from the version that it was made from, or be marked as coming
// from another.
#include "node-agent/apply/plan/missing_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/testing.h"
#include "node-agent/tables/changes_testing.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using testing::Int;
using testing::RelationOf;
using testing::SomeTable;
using testing::Text;
using testing::Unchanged;
using testing::UpdateBytes;

constexpr NodeId kSelf = 1;
constexpr NodeId kOrigin = 2;
constexpr NodeId kThird = 3;

// Answers as told, and remembers who was asked.
class FakeSource : public RowSource {
 public:
  std::vector<NodeId> Members() override { return members; }
  std::string NameOf(NodeId node) override { return absl::StrCat("n", node); }
  absl::StatusOr<std::vector<RowAnswer>> Fetch(NodeId node, const RowsWanted& wanted,
                                               const std::function<bool()>&) override {
    asked.push_back(node);
    EXPECT_EQ(wanted.exact_only, node != kOrigin);
    const auto found = answers.find(node);
    if (found == answers.end()) return absl::UnavailableError("cannot be reached");
    return std::vector<RowAnswer>(wanted.rows.size(), found->second);
  }

  std::vector<NodeId> members = {kOrigin, kThird};
  std::map<NodeId, RowAnswer> answers;
  std::vector<NodeId> asked;
};

RowAnswer Found(int64_t stamp_us, const std::string& value) {
  return {.state = RowAnswer::State::kFound,
          .version = {.stamp = {.time_us = stamp_us, .node = kOrigin}, .origin = {}, .end_lsn = {}},
          .values = {{.kind = postgres::ColumnKind::kBinary, .data = value}}};
}

class MissingValuesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/log"}));
    versions_ = std::make_unique<conflict::VersionStore>(database_->db(), database_->versions());
    values_ = std::make_unique<MissingValues>(&source_, database_.get(), versions_.get());
  }

  // A group of one transaction for each change, stamped 10, 20, ... by the origin.
  std::unique_ptr<GroupPlan> Plan(const std::vector<std::string>& changes) {
    auto plan = std::make_unique<GroupPlan>();
    int64_t time_us = 0;
    for (const std::string& change : changes) {
      time_us += 10;
      Piece piece{.header = {.end_lsn = Lsn{static_cast<uint64_t>(time_us)},
                             .stamp = {.time_us = time_us, .node = kOrigin}},
                  .changes = {},
                  .payload = nullptr};
      piece.bytes_owned = std::make_shared<const std::string>(change);
      absl::StatusOr<postgres::Message> message = postgres::Decode(*piece.bytes_owned);
      EXPECT_OK(message);
      piece.changes.push_back(
          {.relation = relation_, .message = *std::move(message), .truncated = {}});
      EXPECT_OK(plan->Add(std::make_shared<const Piece>(std::move(piece)),
                          [this](const auto&, const auto&) -> absl::StatusOr<GroupPlan::Resolved> {
                            ASSIGN_OR_RETURN(const auto table, Bound());
                            return GroupPlan::Resolved{.table = table};
                          }));
    }
    return plan;
  }
  absl::StatusOr<std::shared_ptr<const BoundTable>> Bound() {
    if (bound_ != nullptr) return bound_;
    return bound_ = *BoundTable::Make(*relation_, table_);
  }
  RowOp& OnlyRow(GroupPlan& plan) {
    EXPECT_EQ(plan.segments().front().tables.front().rows.size(), 1);
    return plan.segments().front().tables.front().rows.front();
  }
  absl::Status Fetch(GroupPlan& plan) {
    values_->BeginAttempt();
    RETURN_IF_ERROR(values_->Prepare(plan, {}));
    values_->Want(bound_, OnlyRow(plan));
    RETURN_IF_ERROR(values_->FetchWanted({.origin = {.node = kOrigin, .incarnation = 1},
                                          .own_node = kSelf,
                                          .stop = [this] { return waits_.size() > 50; },
                                          .wait =
                                              [this](const std::string& why) {
                                                waits_.push_back(why);
                                                if (waits_.size() == 3)
                                                  source_.answers = later_answers_;
                                              }},
                                         /*may_be_split=*/false));
    return values_->Prepare(plan, {});
  }
  std::optional<conflict::Version> Disputed(const RowOp& op) {
    const absl::StatusOr<std::vector<std::optional<conflict::Version>>> found =
        versions_->GetDisputed(absl::MakeConstSpan(&op.version_key, 1));
    EXPECT_OK(found);
    return found->front();
  }

  const std::shared_ptr<const postgres::TableInfo> table_ =
      std::make_shared<postgres::TableInfo>(SomeTable(100, "t"));
  const std::shared_ptr<RemoteRelation> relation_ = [this] {
    auto relation = std::make_shared<RemoteRelation>();
    relation->message = RelationOf(*table_);
    relation->raw = postgres::Encode(relation->message);
    return relation;
  }();
  std::shared_ptr<const BoundTable> bound_;
  std::map<NodeId, RowAnswer> later_answers_;  // from the third wait on
  std::vector<std::string> waits_;
  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<conflict::VersionStore> versions_;
  FakeSource source_;
  std::unique_ptr<MissingValues> values_;
};

const std::string kLeavesOut = UpdateBytes(100, {Int(1), Int(5), Unchanged()});

TEST_F(MissingValuesTest, TheOriginsOwnVersionIsExact) {
  source_.answers[kOrigin] = Found(10, "value");
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "value");
  EXPECT_FALSE(Disputed(OnlyRow(*plan)).has_value());
  EXPECT_THAT(source_.asked, ElementsAre(kOrigin));
}

TEST_F(MissingValuesTest, ValuesOfALaterVersionAreTakenAndTheRowIsDisputedByIt) {
  source_.answers[kOrigin] = Found(70, "later");
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "later");
  ASSERT_TRUE(Disputed(OnlyRow(*plan)).has_value());
  EXPECT_EQ(Disputed(OnlyRow(*plan))->stamp.time_us, 70);
}

TEST_F(MissingValuesTest, AnotherMemberHelpsOnlyWhereTheOriginCannotBeReached) {
  source_.answers[kThird] = Found(10, "value");
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "value");
  EXPECT_THAT(source_.asked, ElementsAre(kOrigin, kThird));
}

TEST_F(MissingValuesTest, WithNobodyToAskItWaitsAndSaysForWhat) {
  source_.answers[kThird] = {};  // it does not have that version
  later_answers_[kOrigin] = Found(10, "value");
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "value");
  ASSERT_EQ(waits_.size(), 3);
  EXPECT_EQ(waits_.front(),
            "for large values of table \"public.t\" from node \"n2\": cannot be reached");
}

TEST_F(MissingValuesTest, WhatIsGoneAtTheOriginKeepsWhatIsFound) {
  source_.answers[kOrigin] = Found(70, "");
  source_.answers[kOrigin].state = RowAnswer::State::kGone;
  source_.answers[kOrigin].values.clear();
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_TRUE(OnlyRow(*plan).keeps_found);
  EXPECT_FALSE(OnlyRow(*plan).values_lost);
  EXPECT_TRUE(Disputed(OnlyRow(*plan)).has_value());
}

TEST_F(MissingValuesTest, WhatEverybodyDeniesLongEnoughIsLost) {
  source_.answers[kOrigin] = {};
  source_.answers[kThird] = {};
  later_answers_ = source_.answers;
  auto plan = Plan({kLeavesOut});
  ASSERT_OK(Fetch(*plan));
  EXPECT_TRUE(OnlyRow(*plan).keeps_found);
  EXPECT_TRUE(OnlyRow(*plan).values_lost);
}

// A transaction that is applied piece by piece may change a row in several of them, and leave
// another column alone in each.
TEST_F(MissingValuesTest, WhatCameForOneChangeOfATransactionStaysBesideThatOfAnother) {
  source_.answers[kOrigin] = Found(10, "large");
  ASSERT_OK(Fetch(*Plan({kLeavesOut})));
  source_.answers[kOrigin] = Found(10, "other");
  ASSERT_OK(Fetch(*Plan({UpdateBytes(100, {Int(1), Unchanged(), Text("set")})})));
  auto plan = Plan({UpdateBytes(100, {Int(1), Unchanged(), Unchanged()})});
  ASSERT_OK(values_->Prepare(*plan, {}));
  EXPECT_EQ(OnlyRow(*plan).row[1].data, "other");
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "large");
}

// Another origin's version may lie between two changes of one group; then what the earlier one set
// is no more what the later one left alone.
TEST_F(MissingValuesTest, AValueOfAnEarlierChangeCountsOnlyIfNothingLiesBetween) {
  const std::vector<std::string> changes = {UpdateBytes(100, {Int(1), Int(4), Text("set")}),
                                            kLeavesOut};
  auto plan = Plan(changes);
  ASSERT_OK(values_->Prepare(*plan, {}));
  EXPECT_EQ(OnlyRow(*plan).row[2].data, "set");
  const conflict::Version between{
      .stamp = {.time_us = 15, .node = kThird}, .origin = {}, .end_lsn = {}};
  ASSERT_OK(values_->Prepare(*plan, {{OnlyRow(*plan).version_key, between}}));
  EXPECT_TRUE(HasUnchanged(OnlyRow(*plan).row));
}

TEST_F(MissingValuesTest, ADisputedRowCountsUntilItsLaterVersionWasSeen) {
  auto plan = Plan({kLeavesOut});
  rocksdb::WriteBatch batch;
  versions_->PutDisputed(&batch, OnlyRow(*plan).version_key,
                         {.stamp = {.time_us = 5, .node = kThird}, .origin = {}, .end_lsn = {}});
  ASSERT_OK(database_->Write(&batch, /*sync=*/false));
  const OriginId origin{.node = kOrigin, .incarnation = 1};
  ASSERT_OK(values_->Prepare(*plan, {}));
  EXPECT_TRUE(values_->IsDisputed(OnlyRow(*plan), origin));
  TransactionHeader header = *OnlyRow(*plan).header;
  header.seen = {{.node = kThird, .time_us = 5}};
  OnlyRow(*plan).first_header = &header;
  EXPECT_FALSE(values_->IsDisputed(OnlyRow(*plan), origin));
}

}  // namespace
}  // namespace bdr::agent
