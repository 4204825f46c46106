// Only what nobody can need any more is forgotten: the history of a row is what its next change is
// merged with.
#include "node-agent/upkeep/history_sweeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "conflict/version_store.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using conflict::FoldBase;
using conflict::HistoryEntry;
using conflict::HistoryStore;
using conflict::KeyHistory;
using conflict::VersionKey;

constexpr uint32_t kTable = 7;
constexpr size_t kAll = 1000;

// A sweeper over a database of its own.
class Swept {
 public:
  Swept() {
    auto folder = harness::TempFolder::Create("sweeper");
    if (!folder.ok()) throw std::runtime_error(folder.status().ToString());
    folder_ = *std::move(folder);
    auto database = Database::Open({.directory = folder_->path() + "/log"});
    if (!database.ok()) throw std::runtime_error(database.status().ToString());
    database_ = *std::move(database);
    history_ = std::make_unique<HistoryStore>(database_->db(), database_->history());
    sweeper_ = std::make_unique<HistorySweeper>(database_.get(), history_.get(), &keys_);
  }

  void Put(const std::string& key, const KeyHistory& history) {
    rocksdb::WriteBatch batch;
    if (history.base.has_value()) history_->PutBase(&batch, key, {}, *history.base);
    for (const HistoryEntry& entry : history.entries) history_->PutEntry(&batch, key, {}, entry);
    if (batch.Count() != 0 && !database_->Write(&batch, /*sync=*/false).ok()) {
      throw std::runtime_error("cannot write");
    }
  }
  void Clear(const std::string& key) {
    rocksdb::WriteBatch batch;
    for (const HistoryEntry& entry : Get(key).entries) {
      history_->DeleteEntry(&batch, key, entry.change);
    }
    history_->DeleteBase(&batch, key);
    if (!database_->Write(&batch, /*sync=*/false).ok()) throw std::runtime_error("cannot write");
  }
  KeyHistory Get(const std::string& key) const {
    absl::StatusOr<KeyHistory> history = history_->Get(key, {});
    if (!history.ok()) throw std::runtime_error(history.status().ToString());
    return *std::move(history);
  }
  HistorySweeper& sweeper() { return *sweeper_; }
  KeysInFlight& keys() { return keys_; }

 private:
  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<HistoryStore> history_;
  KeysInFlight keys_;
  std::unique_ptr<HistorySweeper> sweeper_;
};

HistoryEntry Entry(int64_t time_us, bool own = false, uint64_t end_lsn = 0) {
  HistoryEntry entry{.own = own, .commit_us = own ? time_us : 0};
  entry.change.stamp = {.time_us = time_us, .node = static_cast<NodeId>(own ? 1 : 2)};
  entry.change.end_lsn = Lsn{end_lsn};
  return entry;
}
FoldBase Base(int64_t time_us, uint64_t read_at = 0) {
  FoldBase base{.read_at = Lsn{read_at}};
  base.state.stamp = {.time_us = time_us, .node = 2};
  return base;
}

class HistorySweeperTest : public ::testing::Test {
 protected:
  // What is left of one key's history after a sweep.
  KeyHistory Left(const KeyHistory& history, int64_t stable_us, uint64_t merged = 0,
                  uint64_t captured = 0) {
    swept_.Put(key_, history);
    EXPECT_OK(swept_.sweeper().Sweep(stable_us, Lsn{merged}, Lsn{captured}, kAll));
    return swept_.Get(key_);
  }

  const std::string key_ = VersionKey(kTable, "k");
  Swept swept_;
};

TEST_F(HistorySweeperTest, AKeyOfWhichAllIsStableIsForgotten) {
  EXPECT_TRUE(Left({.base = Base(50), .entries = {Entry(60), Entry(70)}}, 71).empty());
}

TEST_F(HistorySweeperTest, StableMeansEarlierThanTheStableTime) {
  EXPECT_FALSE(Left({.base = Base(50), .entries = {Entry(70)}}, 70).empty());
}

// The base and the changes after it are one: part of them would fold to another row.
TEST_F(HistorySweeperTest, OfAKeyWithABaseAllGoesOrNothing) {
  const KeyHistory left = Left({.base = Base(50), .entries = {Entry(60), Entry(100)}}, 80);
  EXPECT_TRUE(left.base.has_value());
  EXPECT_EQ(left.entries.size(), 2u);
}

TEST_F(HistorySweeperTest, ABaseThatIsNotStableItselfStays) {
  EXPECT_FALSE(Left({.base = Base(90), .entries = {}}, 80).empty());
}

TEST_F(HistorySweeperTest, ABaseStaysUntilCaptureHasPassedWhereItWasRead) {
  const KeyHistory history{.base = Base(50, /*read_at=*/500), .entries = {}};
  EXPECT_FALSE(Left(history, 80, /*merged=*/0, /*captured=*/499).empty());
  EXPECT_TRUE(Left(history, 80, /*merged=*/0, /*captured=*/500).empty());
}

TEST_F(HistorySweeperTest, OwnChangesStayUntilTheyWereMergedAgain) {
  const KeyHistory history{.base = Base(50), .entries = {Entry(60, /*own=*/true, 300)}};
  EXPECT_FALSE(Left(history, 80, /*merged=*/299).empty());
  EXPECT_TRUE(Left(history, 80, /*merged=*/300).empty());
}

// Without a base each change carries what it replaced; the oldest go one by one, never one from the
// middle.
TEST_F(HistorySweeperTest, OwnChangesOfAKeyWithoutABaseGoFromTheOldestOn) {
  const KeyHistory left = Left({.base = {},
                                .entries = {Entry(50, true, 100), Entry(60, true, 900),
                                            Entry(70, true, 200), Entry(100, true, 300)}},
                               80, /*merged=*/400);
  ASSERT_EQ(left.entries.size(), 3u);
  EXPECT_EQ(left.entries[0].change.stamp.time_us, 60);
}

TEST_F(HistorySweeperTest, AKeyThatAnApplierHoldsIsLeftToIt) {
  const KeyHistory history{.base = Base(50), .entries = {Entry(60)}};
  {
    auto [registered, held] =
        swept_.keys().Register(1, {key_}, {.oldest_us = 0, .newest_us = 1}, absl::ZeroDuration());
    ASSERT_TRUE(registered);
    EXPECT_FALSE(Left(history, 80).empty());
  }
  EXPECT_TRUE(Left(history, 80).empty());
}

TEST_F(HistorySweeperTest, TruncatesStayAsLongAsARowOfTheTableHasAHistory) {
  const std::string truncates = VersionKey(kTable, "");
  swept_.Put(truncates, {.base = {}, .entries = {Entry(60), Entry(100)}});
  swept_.Put(VersionKey(kTable + 1, "other table"), {.base = Base(90), .entries = {}});
  EXPECT_FALSE(Left({.base = Base(90), .entries = {}}, 80).empty());
  EXPECT_EQ(swept_.Get(truncates).entries.size(), 2u);
  // The row's goes, and with the next round the truncate that is stable.
  EXPECT_OK(swept_.sweeper().Sweep(95, Lsn{0}, Lsn{0}, kAll));
  EXPECT_OK(swept_.sweeper().Sweep(95, Lsn{0}, Lsn{0}, kAll));
  const KeyHistory left = swept_.Get(truncates);
  ASSERT_EQ(left.entries.size(), 1u);
  EXPECT_EQ(left.entries[0].change.stamp.time_us, 100);
}

TEST_F(HistorySweeperTest, RoundsOfAFewKeysComeByAll) {
  for (int i = 0; i < 25; ++i) {
    swept_.Put(VersionKey(kTable, absl::StrCat("k", i)), {.base = Base(50), .entries = {}});
  }
  // Some stay, so that it must go on behind them.
  swept_.Put(VersionKey(kTable, "k1"), {.base = Base(900), .entries = {}});
  swept_.Put(VersionKey(kTable, "k20"), {.base = Base(900), .entries = {}});
  for (int round = 0; round < 9; ++round) {
    EXPECT_OK(swept_.sweeper().Sweep(80, Lsn{0}, Lsn{0}, 3));
  }
  for (int i = 0; i < 25; ++i) {
    EXPECT_EQ(swept_.Get(VersionKey(kTable, absl::StrCat("k", i))).empty(), i != 1 && i != 20) << i;
  }
}

RC_GTEST_PROP(HistorySweeperProperty, NothingGoesThatMayBeNeeded, ()) {
  static Swept swept;
  const int64_t stable_us = *rc::gen::inRange<int64_t>(1, 20);
  const uint64_t merged = *rc::gen::inRange<uint64_t>(0, 20);
  const uint64_t captured = merged + *rc::gen::inRange<uint64_t>(0, 5);
  std::map<std::string, KeyHistory> before;
  const int keys = *rc::gen::inRange(1, 6);
  for (int k = 0; k < keys; ++k) {
    KeyHistory& history = before[VersionKey(kTable, absl::StrCat("k", k))];
    if (*rc::gen::arbitrary<bool>()) {
      history.base = Base(*rc::gen::inRange<int64_t>(0, 20), *rc::gen::inRange<uint64_t>(0, 20));
    }
    const int entries = *rc::gen::inRange(history.base.has_value() ? 0 : 1, 5);
    int64_t time_us = 0;
    uint64_t end_lsn = 0;  // own changes rise in both
    for (int e = 0; e < entries; ++e) {
      time_us += *rc::gen::inRange<int64_t>(1, 8);
      end_lsn += *rc::gen::inRange<uint64_t>(1, 8);
      // Other nodes' changes are never kept without a base.
      const bool own = !history.base.has_value() || *rc::gen::arbitrary<bool>();
      history.entries.push_back(Entry(time_us, own, end_lsn));
    }
    swept.Put(VersionKey(kTable, absl::StrCat("k", k)), history);
  }
  RC_ASSERT(swept.sweeper().Sweep(stable_us, Lsn{merged}, Lsn{captured}, kAll).ok());
  for (const auto& [key, history] : before) {
    const KeyHistory left = swept.Get(key);
    const size_t gone = history.entries.size() - left.entries.size();
    if (history.base.has_value()) {
      RC_ASSERT((left.base.has_value() ? gone == 0 : left.entries.empty()));
      if (!left.base.has_value()) {
        RC_ASSERT(history.base->state.stamp.time_us < stable_us);
        RC_ASSERT(history.base->read_at.value <= captured);
      }
    }
    for (size_t i = 0; i < gone; ++i) {
      const HistoryEntry& entry = history.entries[i];
      RC_ASSERT(entry.change.stamp.time_us < stable_us);
      RC_ASSERT(!entry.own || entry.change.end_lsn.value <= merged);
    }
    for (size_t i = 0; i < left.entries.size(); ++i) {
      RC_ASSERT(left.entries[i].change.stamp == history.entries[gone + i].change.stamp);
    }
    swept.Clear(key);
  }
  // Once all is stable nothing stays.
  for (const auto& [key, history] : before) swept.Put(key, history);
  RC_ASSERT(swept.sweeper().Sweep(1000, Lsn{1000}, Lsn{1000}, kAll).ok());
  for (const auto& [key, history] : before) RC_ASSERT(swept.Get(key).empty());
}

}  // namespace
}  // namespace bdr::agent
