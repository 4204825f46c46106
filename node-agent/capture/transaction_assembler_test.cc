// Whatever way a transaction comes, what is written down of it is the same: its changes in order,
// under the relations that it saw, less what was rolled back.
#include "node-agent/capture/transaction_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "node-agent/tables/changes_testing.h"
#include "postgres/wire.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kItems = 16'400;
constexpr uint32_t kOrders = 16'500;
constexpr uint32_t kHidden = 16'600;  // is not replicated
constexpr size_t kMemoryBytes = 4096;

template <typename... Numbers>
std::string Bytes(char kind, Numbers... numbers) {
  std::string out(1, kind);
  (postgres::AppendNumber(&out, numbers), ...);
  return out;
}
std::string Begin(uint32_t xid, uint64_t final_lsn) {
  return Bytes('B', final_lsn, uint64_t{0}, xid);
}
std::string Commit(uint64_t lsn) { return Bytes('C', uint8_t{0}, lsn, lsn + 8, uint64_t{0}); }
std::string Origin(const std::string& name) {
  return Bytes('O', uint64_t{0}) + name + std::string(1, '\0');
}
std::string Relation(uint32_t oid, const std::string& name) {
  return postgres::Encode(testing::RelationOf(testing::SomeTable(oid, name)));
}
std::string Insert(uint32_t oid, int32_t id) {
  return testing::InsertBytes(oid, {testing::Int(id), testing::Null(), testing::Null()});
}
std::string LargeInsert(uint32_t oid, int32_t id) {
  return testing::InsertBytes(
      oid, {testing::Int(id), testing::Null(), testing::Text(std::string(1000, 'x'))});
}
std::string StreamStart(uint32_t xid) { return Bytes('S', xid, uint8_t{1}); }
std::string StreamStop() { return "E"; }
std::string StreamCommit(uint32_t xid, uint64_t lsn) {
  return Bytes('c', xid, uint8_t{0}, lsn, lsn + 8, uint64_t{0});
}
std::string StreamAbort(uint32_t xid, uint32_t subxid) { return Bytes('A', xid, subxid); }
// The message as it comes between Stream Start and Stop, from this subtransaction.
std::string By(uint32_t subxid, const std::string& message) {
  return Bytes(message[0], subxid) + message.substr(1);
}

class TransactionAssemblerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create("bdr-assembler"));
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/db",
                                                    .memory_bytes = 16 << 20}));
    assembler_ = std::make_unique<TransactionAssembler>(
        database_.get(), kMemoryBytes,
        TransactionAssembler::Surroundings{
            .announce =
                [this](absl::string_view raw, const postgres::RelationMessage& message) {
                  return Announce(raw, message);
                },
            .announce_type = [](uint32_t, absl::string_view) {},
            .stays_here = [](absl::string_view origin) { return origin == "bdr_other"; }});
    ASSERT_OK(assembler_->Clear());
  }

  absl::StatusOr<std::shared_ptr<const CapturedRelation>> Announce(
      absl::string_view raw, const postgres::RelationMessage& message) {
    if (!locked_.ok()) return locked_;
    ++announced_;
    auto relation = std::make_shared<CapturedRelation>();
    relation->raw = std::string(raw);
    relation->message = message;
    relation->message.name += suffix_;
    relation->replicated = message.relation_oid != kHidden;
    return relation;
  }

  // What the last message ends; nothing before it may end one.
  std::optional<AssembledTransaction> Send(const std::vector<std::string>& messages) {
    std::optional<AssembledTransaction> ended;
    for (const std::string& message : messages) {
      EXPECT_FALSE(ended.has_value()) << "a transaction ended before its commit";
      auto added = assembler_->Add(message);
      EXPECT_OK(added);
      if (added.ok()) ended = *std::move(added);
    }
    return ended;
  }
  // Each change that travels, by its tables and the id in its row.
  std::vector<std::string> Changes(const AssembledTransaction& transaction) {
    std::vector<std::string> changes;
    EXPECT_OK(assembler_->ForEachChange(transaction, [&](const AssembledChange& change) {
      std::string text;
      for (const auto& relation : change.relations) {
        absl::StrAppend(&text, text.empty() ? "" : ",", relation->message.name);
      }
      if (text.empty()) return absl::OkStatus();
      if (change.truncate) {
        changes.push_back("truncate " + text);
        return absl::OkStatus();
      }
      const auto message = postgres::Decode(change.bytes);
      const absl::string_view id = std::get<postgres::InsertMessage>(*message).row.columns[0].data;
      changes.push_back(absl::StrCat(text, " ", static_cast<int>(id.back())));
      return absl::OkStatus();
    }));
    EXPECT_OK(assembler_->Done(transaction));
    return changes;
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<TransactionAssembler> assembler_;
  std::string suffix_;  // of the names that relations have by now
  absl::Status locked_ = absl::OkStatus();
  int announced_ = 0;
};

TEST_F(TransactionAssemblerTest, OneThatComesWholeIsGivenOutAtItsCommit) {
  const auto whole =
      Send({Begin(7, 100), Relation(kItems, "items"), Insert(kItems, 1),
            Relation(kOrders, "orders"), Insert(kOrders, 2), Insert(kItems, 3), Commit(100)});
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->xid, 7u);
  EXPECT_EQ(whole->commit.commit_lsn, Lsn{100});
  EXPECT_FALSE(whole->spooled);
  EXPECT_GT(whole->bytes, 0u);
  EXPECT_THAT(Changes(*whole), ElementsAre("items 1", "orders 2", "items 3"));
  // What was described is known to later ones.
  const auto later = Send({Begin(8, 200), Insert(kItems, 4), Commit(200)});
  ASSERT_TRUE(later.has_value());
  EXPECT_THAT(Changes(*later), ElementsAre("items 4"));
  EXPECT_EQ(announced_, 2);
}

TEST_F(TransactionAssemblerTest, AChangeOfARelationThatWasNotDescribedIsAnError) {
  (void)Send({Begin(7, 100)});
  EXPECT_EQ(assembler_->Add(Insert(kItems, 1)).status().code(), absl::StatusCode::kInternal);
}

TEST_F(TransactionAssemblerTest, ALockOnATableIsPassedOn) {
  (void)Send({Begin(7, 100)});
  locked_ = absl::UnavailableError("locked");
  EXPECT_EQ(assembler_->Add(Relation(kItems, "items")).status(), locked_);
}

TEST_F(TransactionAssemblerTest, WhatWasAppliedForAnotherNodeHasNoChanges) {
  EXPECT_FALSE(
      Send({Begin(7, 100), Origin("bdr_other"), Relation(kItems, "items"), Insert(kItems, 1)})
          .has_value());
  EXPECT_EQ(assembler_->open_that_stays(), Lsn{100});
  const auto whole = Send({Commit(100)});
  ASSERT_TRUE(whole.has_value());
  EXPECT_TRUE(whole->stays_here);
  EXPECT_EQ(whole->bytes, 0u);
  EXPECT_THAT(Changes(*whole), IsEmpty());
  EXPECT_EQ(assembler_->open_that_stays(), std::nullopt);
  // That held for this one alone.
  const auto own = Send({Begin(8, 200), Insert(kItems, 2), Commit(200)});
  ASSERT_TRUE(own.has_value());
  EXPECT_FALSE(own->stays_here);
  EXPECT_THAT(Changes(*own), ElementsAre("items 2"));
  const auto foreign = Send({Begin(9, 300), Origin("etl"), Insert(kItems, 3), Commit(300)});
  ASSERT_TRUE(foreign.has_value());
  EXPECT_TRUE(foreign->foreign);
  EXPECT_FALSE(foreign->stays_here);
}

TEST_F(TransactionAssemblerTest, WhatDoesNotTravelIsLeftOutAndATruncateKeepsTheRest) {
  const auto whole = Send({Begin(7, 100), Relation(kItems, "items"), Relation(kHidden, "hidden"),
                           Insert(kHidden, 1), testing::TruncateBytes({kItems, kHidden}),
                           testing::TruncateBytes({kHidden}), Insert(kItems, 2), Commit(100)});
  ASSERT_TRUE(whole.has_value());
  EXPECT_THAT(Changes(*whole), ElementsAre("truncate items", "items 2"));
  const auto nothing = Send({Begin(8, 200), Insert(kHidden, 1), Commit(200)});
  ASSERT_TRUE(nothing.has_value());
  EXPECT_EQ(nothing->bytes, 0u);
}

TEST_F(TransactionAssemblerTest, OneThatComesWholeAndIsLargeGoesToTheSpool) {
  std::vector<std::string> messages = {Begin(7, 100), Relation(kItems, "items"),
                                       Relation(kHidden, "hidden")};
  std::vector<std::string> expected;
  for (int i = 1; i <= 20; ++i) {
    messages.push_back(LargeInsert(kItems, i));
    expected.push_back(absl::StrCat("items ", i));
    if (i != 10) continue;  // described anew in its midst
    messages.push_back(Relation(kItems, "items"));
    messages.push_back(testing::TruncateBytes({kHidden, kItems}));
    expected.push_back("truncate items");
  }
  messages.push_back(Commit(100));
  const auto whole = Send(messages);
  ASSERT_TRUE(whole.has_value());
  EXPECT_TRUE(whole->spooled);
  EXPECT_EQ(whole->bytes, 0u);
  EXPECT_EQ(Changes(*whole), expected);
  EXPECT_TRUE(assembler_->empty()) << "the spool keeps what was given out";
  const auto later = Send({Begin(8, 200), Insert(kItems, 21), Commit(200)});
  ASSERT_TRUE(later.has_value());
  EXPECT_FALSE(later->spooled);
  EXPECT_THAT(Changes(*later), ElementsAre("items 21"));
}

TEST_F(TransactionAssemblerTest, StreamedOnesMixAndWhatWasRolledBackIsGone) {
  EXPECT_FALSE(Send({StreamStart(7), By(7, Relation(kItems, "items")), By(7, Insert(kItems, 1)),
                     By(70, Insert(kItems, 2)), StreamStop(), StreamStart(8),
                     By(8, Relation(kItems, "items")), By(8, Insert(kItems, 3)), StreamStop(),
                     StreamStart(7), By(71, Insert(kItems, 4)), StreamStop(), StreamAbort(7, 70)})
                   .has_value());
  EXPECT_TRUE(assembler_->between_transactions());
  EXPECT_FALSE(assembler_->empty());
  const auto seven = Send({StreamCommit(7, 100)});
  ASSERT_TRUE(seven.has_value());
  EXPECT_TRUE(seven->streamed);
  EXPECT_THAT(Changes(*seven), ElementsAre("items 1", "items 4"));
  EXPECT_EQ(assembler_->rolled_back(), 0u);
  EXPECT_FALSE(Send({StreamAbort(8, 8)}).has_value());
  EXPECT_EQ(assembler_->rolled_back(), 1u);
  EXPECT_TRUE(assembler_->empty());
}

TEST_F(TransactionAssemblerTest, AStreamedOneOfAnotherNodeIsNotKept) {
  const auto whole = Send({StreamStart(7), Origin("bdr_other"), By(7, Relation(kItems, "items")),
                           By(7, Insert(kItems, 1)), StreamStop(), StreamCommit(7, 100)});
  ASSERT_TRUE(whole.has_value());
  EXPECT_TRUE(whole->stays_here);
  EXPECT_THAT(Changes(*whole), IsEmpty());
}

// Else the change of a later one would be an error, as the server describes a relation only once.
TEST_F(TransactionAssemblerTest, WhatAStreamedOneDescribedCountsOnceItCommits) {
  EXPECT_FALSE(Send({StreamStart(7), By(7, Relation(kItems, "items")), By(7, Insert(kItems, 1)),
                     StreamStop()})
                   .has_value());
  EXPECT_EQ(assembler_->relations(), 0u);
  const auto seven = Send({StreamCommit(7, 100)});
  ASSERT_TRUE(seven.has_value());
  (void)Changes(*seven);
  const auto later = Send({Begin(8, 200), Insert(kItems, 2), Commit(200)});
  ASSERT_TRUE(later.has_value());
  EXPECT_THAT(Changes(*later), ElementsAre("items 2"));
}

TEST_F(TransactionAssemblerTest, WhatAStreamedOneDescribedIsNotTakenForWhatCameLater) {
  EXPECT_FALSE(Send({StreamStart(7), By(7, Relation(kItems, "before")), By(7, Insert(kItems, 1)),
                     StreamStop()})
                   .has_value());
  const auto eight =
      Send({Begin(8, 100), Relation(kItems, "renamed"), Insert(kItems, 2), Commit(100)});
  ASSERT_TRUE(eight.has_value());
  EXPECT_THAT(Changes(*eight), ElementsAre("renamed 2"));
  const auto seven = Send({StreamCommit(7, 200)});
  ASSERT_TRUE(seven.has_value());
  EXPECT_THAT(Changes(*seven), ElementsAre("before 1"));
  const auto nine = Send({Begin(9, 300), Insert(kItems, 3), Commit(300)});
  ASSERT_TRUE(nine.has_value());
  EXPECT_THAT(Changes(*nine), ElementsAre("renamed 3"));
}

TEST_F(TransactionAssemblerTest, RelationsThatAreLookedUpAgainCountForWhatWaitsAsWell) {
  const auto whole =
      Send({Begin(7, 100), Relation(kItems, "items"), Insert(kItems, 1), Commit(100)});
  ASSERT_TRUE(whole.has_value());
  suffix_ = "_moved";
  ASSERT_OK(assembler_->LookUpRelationsAgain());
  EXPECT_EQ(announced_, 2) << "one relation, whoever holds it";
  EXPECT_THAT(Changes(*whole), ElementsAre("items_moved 1"));
  const auto later = Send({Begin(8, 200), Insert(kItems, 2), Commit(200)});
  ASSERT_TRUE(later.has_value());
  EXPECT_THAT(Changes(*later), ElementsAre("items_moved 2"));
}

TEST_F(TransactionAssemblerTest, WhetherOneIsOpenIsKnownAtEachMessage) {
  EXPECT_TRUE(assembler_->between_transactions());
  (void)Send({Begin(7, 100)});
  EXPECT_FALSE(assembler_->between_transactions());
  EXPECT_TRUE(assembler_->in_transaction());
  (void)Send({Commit(100)});
  EXPECT_TRUE(assembler_->between_transactions());
  (void)Send({StreamStart(8)});
  EXPECT_FALSE(assembler_->between_transactions());
  EXPECT_FALSE(assembler_->in_transaction());
  (void)Send({StreamStop()});
  EXPECT_TRUE(assembler_->between_transactions());
}

}  // namespace
}  // namespace bdr::agent
