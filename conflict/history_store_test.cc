// A row that folds is what its history says, so the store must give back what was put in, whatever
// else lies beside it, and whatever happened to the table's columns in between.
#include "conflict/history_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/testing.h"
#include "conflict/version_store.h"
#include "tests/harness/temp_folder.h"

namespace bdr::conflict {
namespace {

FoldValue Text(std::string data) {
  return {.kind = FoldValue::Kind::kValue, .data = std::move(data)};
}
constexpr FoldValue::Kind kKinds[] = {FoldValue::Kind::kNull, FoldValue::Kind::kValue,
                                      FoldValue::Kind::kUnchanged};

const FoldValue kUnknown{.kind = FoldValue::Kind::kUnknown};

class StoreFile {
 public:
  StoreFile() {
    absl::StatusOr<std::unique_ptr<harness::TempFolder>> folder = harness::TempFolder::Create();
    if (!folder.ok()) throw std::runtime_error(folder.status().ToString());
    folder_ = *std::move(folder);
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* db = nullptr;
    Check(rocksdb::DB::Open(options, folder_->path() + "/db", &db));
    db_.reset(db);
  }

  HistoryStore store() const { return HistoryStore(db_.get(), db_->DefaultColumnFamily()); }
  void PutBase(const std::string& key, const Attnums& attnums, const FoldBase& base) {
    rocksdb::WriteBatch batch;
    store().PutBase(&batch, key, attnums, base);
    Check(db_->Write({}, &batch));
  }
  void PutEntry(const std::string& key, const Attnums& attnums, const HistoryEntry& entry) {
    rocksdb::WriteBatch batch;
    store().PutEntry(&batch, key, attnums, entry);
    Check(db_->Write({}, &batch));
  }
  void DeleteBase(const std::string& key) {
    rocksdb::WriteBatch batch;
    store().DeleteBase(&batch, key);
    Check(db_->Write({}, &batch));
  }
  void DeleteEntry(const std::string& key, const FoldChange& change) {
    rocksdb::WriteBatch batch;
    store().DeleteEntry(&batch, key, change);
    Check(db_->Write({}, &batch));
  }
  KeyHistory Get(const std::string& key, const Attnums& attnums) const {
    absl::StatusOr<KeyHistory> history = store().Get(key, attnums);
    if (!history.ok()) throw std::runtime_error(history.status().ToString());
    return *std::move(history);
  }
  rocksdb::DB* db() { return db_.get(); }

  // A table that nobody has used yet.
  uint32_t NewTable() { return ++last_table_; }

 private:
  static void Check(const rocksdb::Status& status) {
    if (!status.ok()) throw std::runtime_error(status.ToString());
  }
  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<rocksdb::DB> db_;
  uint32_t last_table_ = 0;
};

// As text, so that a difference can be read.
std::string Describe(const std::optional<FoldRow>& row) {
  if (!row.has_value()) return "none";
  std::string text = "(";
  for (const FoldValue& value : *row) {
    absl::StrAppend(&text, static_cast<int>(value.kind), "'", value.data, "',");
  }
  return text + ")";
}
std::string Describe(Stamp stamp) { return absl::StrCat(stamp.time_us, "/", stamp.node); }
std::string Describe(const FoldBase& base) {
  return absl::StrCat("base ", Describe(base.state.row), " by ", Describe(base.state.stamp), " of ",
                      base.state.origin.node, ".", base.state.origin.incarnation, " at ",
                      base.state.end_lsn.value, base.assumed ? " assumed" : "", " through ",
                      Describe(base.through), " truncates ", base.truncates_us, " own ",
                      base.own_commit_us, " read ", base.read_at.value);
}
std::string Describe(const HistoryEntry& entry) {
  const FoldChange& change = entry.change;
  std::string text =
      absl::StrCat("change ", static_cast<int>(change.kind), " ", Describe(change.stamp), " #",
                   change.number, " settings ", change.settings_version, " of ", change.origin.node,
                   ".", change.origin.incarnation, " at ", change.end_lsn.value, " from ",
                   Describe(change.old_row), " to ", Describe(change.new_row),
                   entry.own ? " own " : " ", entry.commit_us, " stable ", entry.stable_us);
  for (const SeenTime& seen : change.seen) {
    absl::StrAppend(&text, " saw ", seen.node, ":", seen.time_us);
  }
  return text;
}
std::vector<std::string> Describe(const KeyHistory& history) {
  std::vector<std::string> lines;
  if (history.base.has_value()) lines.push_back(Describe(*history.base));
  for (const HistoryEntry& entry : history.entries) lines.push_back(Describe(entry));
  return lines;
}

FoldRow ArbitraryRow(size_t columns) {
  FoldRow row(columns);
  for (FoldValue& value : row) {
    value.kind = *rc::gen::elementOf(std::vector<FoldValue::Kind>(kKinds, kKinds + 3));
    if (value.kind == FoldValue::Kind::kValue) value.data = *rc::gen::arbitrary<std::string>();
  }
  return row;
}
std::optional<FoldRow> PerhapsRow(size_t columns) {
  if (*rc::gen::inRange(0, 3) == 0) return std::nullopt;
  return ArbitraryRow(columns);
}
Stamp ArbitraryStamp() {
  return {.time_us = *rc::gen::inRange<int64_t>(1, int64_t{1} << 60),
          .node = *rc::gen::inRange<NodeId>(1, 1024)};
}
OriginId ArbitraryOrigin() {
  return {.node = *rc::gen::inRange<NodeId>(1, 1024),
          .incarnation = *rc::gen::arbitrary<uint32_t>()};
}
FoldBase ArbitraryBase(size_t columns) {
  FoldBase base{.assumed = *rc::gen::arbitrary<bool>(),
                .through = ArbitraryStamp(),
                .truncates_us = *rc::gen::inRange<int64_t>(0, 1000),
                .own_commit_us = *rc::gen::inRange<int64_t>(0, 1000),
                .read_at = Lsn{*rc::gen::arbitrary<uint64_t>()}};
  base.state = {.row = PerhapsRow(columns),
                .stamp = ArbitraryStamp(),
                .origin = ArbitraryOrigin(),
                .end_lsn = Lsn{*rc::gen::arbitrary<uint64_t>()}};
  return base;
}
HistoryEntry ArbitraryEntry(size_t columns) {
  HistoryEntry entry{.own = *rc::gen::arbitrary<bool>(),
                     .commit_us = *rc::gen::inRange<int64_t>(0, 1000),
                     .stable_us = *rc::gen::inRange<int64_t>(0, 1000)};
  FoldChange& change = entry.change;
  change.kind = *rc::gen::element(ChangeKind::kInsert, ChangeKind::kUpdate, ChangeKind::kDelete);
  change.stamp = ArbitraryStamp();
  change.number = *rc::gen::arbitrary<uint32_t>();
  change.settings_version = *rc::gen::arbitrary<uint64_t>();
  change.origin = ArbitraryOrigin();
  change.end_lsn = Lsn{*rc::gen::arbitrary<uint64_t>()};
  change.old_row = PerhapsRow(columns);
  change.new_row = PerhapsRow(columns);
  const int seen = *rc::gen::inRange(0, 4);
  for (int i = 0; i < seen; ++i) {
    change.seen.push_back({.node = static_cast<NodeId>(i + 1),
                           .time_us = *rc::gen::inRange<int64_t>(0, int64_t{1} << 60)});
  }
  return entry;
}

// Attnums of a table: they rise, with gaps where columns were dropped.
Attnums ArbitraryColumns() {
  Attnums attnums;
  int attnum = 0;
  const int count = *rc::gen::inRange(0, 6);
  for (int i = 0; i < count; ++i) attnums.push_back(attnum += *rc::gen::inRange(1, 4));
  return attnums;
}

// What a row of the table as it was looks like in the table as it is.
std::optional<FoldRow> Moved(const std::optional<FoldRow>& row, const Attnums& was,
                             const Attnums& is) {
  if (!row.has_value()) return std::nullopt;
  FoldRow moved(is.size(), kUnknown);
  for (size_t i = 0; i < is.size(); ++i) {
    const auto column = std::find(was.begin(), was.end(), is[i]);
    if (column != was.end()) moved[i] = (*row)[static_cast<size_t>(column - was.begin())];
  }
  return moved;
}

RC_GTEST_PROP(HistoryStoreProperty, GivesBackWhatWasPutInByColumnNumber, ()) {
  static StoreFile file;
  const std::string key = VersionKey(file.NewTable(), "k");
  const Attnums was = ArbitraryColumns();
  const Attnums is = *rc::gen::arbitrary<bool>() ? was : ArbitraryColumns();
  KeyHistory expected;
  if (*rc::gen::arbitrary<bool>()) {
    expected.base = ArbitraryBase(was.size());
    file.PutBase(key, was, *expected.base);
    expected.base->state.row = Moved(expected.base->state.row, was, is);
  }
  const int count = *rc::gen::inRange(0, 6);
  for (int i = 0; i < count; ++i) {
    HistoryEntry entry = ArbitraryEntry(was.size());
    entry.change.number = static_cast<uint32_t>(i);  // no two have one name
    file.PutEntry(key, was, entry);
    entry.change.old_row = Moved(entry.change.old_row, was, is);
    entry.change.new_row = Moved(entry.change.new_row, was, is);
    expected.entries.push_back(std::move(entry));
  }
  // Whatever the order in which they came, they come out in the order of the fold.
  std::sort(expected.entries.begin(), expected.entries.end(),
            [](const HistoryEntry& a, const HistoryEntry& b) { return a.change < b.change; });
  RC_ASSERT(Describe(file.Get(key, is)) == Describe(expected));
  RC_ASSERT(*file.store().HasBase(key) == expected.base.has_value());
}

// Keys of which one begins with another, is empty, or holds what records are tagged by.
const std::vector<std::string> kKeys = {
    "", "B", "C", std::string(1, '\0'), "BB", std::string("\xff\xff", 2), std::string(15, 'C')};

RC_GTEST_PROP(HistoryStoreProperty, EveryKeyHasItsOwnAndIsListedOnce, ()) {
  static StoreFile file;
  const std::vector<uint32_t> tables = {file.NewTable(), file.NewTable()};
  std::map<std::string, KeyHistory> expected;  // by version key: in the order of writing
  const int writes = *rc::gen::inRange(0, 30);
  for (int i = 0; i < writes; ++i) {
    const std::string key = VersionKey(*rc::gen::elementOf(tables), *rc::gen::elementOf(kKeys));
    KeyHistory& history = expected[key];
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        history.base = ArbitraryBase(1);
        file.PutBase(key, {1}, *history.base);
        break;
      case 1:
        history.base.reset();
        file.DeleteBase(key);
        break;
      case 2:
        if (history.entries.empty()) break;
        file.DeleteEntry(key, history.entries.back().change);
        history.entries.pop_back();
        break;
      default:
        history.entries.push_back(ArbitraryEntry(1));
        history.entries.back().change.stamp.time_us = i + 1;
        file.PutEntry(key, {1}, history.entries.back());
    }
  }
  for (const auto& [key, history] : expected) {
    RC_ASSERT(Describe(file.Get(key, {1})) == Describe(history));
  }
  std::erase_if(expected, [](const auto& each) { return each.second.empty(); });
  const size_t most = *rc::gen::inRange<size_t>(1, 5);
  for (const uint32_t table : tables) {
    std::set<std::string> listed;
    std::string after;
    while (true) {
      const std::vector<std::string> keys = *file.store().Keys(after, table, most);
      RC_ASSERT(keys.size() <= most);
      for (const std::string& key : keys) RC_ASSERT(listed.insert(key).second);
      if (keys.size() < most) break;
      after = keys.back();
    }
    std::set<std::string> in_table;
    for (const auto& [key, history] : expected) {
      if (key.substr(0, 4) == VersionKey(table, "")) in_table.insert(key);
    }
    RC_ASSERT(listed == in_table);
  }
}

TEST(HistoryStoreTest, AChangeThatIsWrittenAgainIsThereOnce) {
  StoreFile file;
  const std::string key = VersionKey(1, "k");
  HistoryEntry entry;
  entry.change.stamp = {.time_us = 10, .node = 1};
  entry.change.new_row = FoldRow{Text("first")};
  file.PutEntry(key, {1}, entry);
  entry.change.new_row = FoldRow{Text("again")};
  file.PutEntry(key, {1}, entry);
  const KeyHistory history = file.Get(key, {1});
  ASSERT_EQ(history.entries.size(), 1u);
  EXPECT_EQ(history.entries[0].change.new_row, FoldRow{Text("again")});
}

// A column that is dropped and added by the same name has another number: values of the one must
// not turn up in the other. And of a column that came later nothing is known: taken for a null, the
// default that it has in all rows would be overwritten.
TEST(HistoryStoreTest, AColumnThatWasDroppedAndAddedAgainIsAnother) {
  StoreFile file;
  const std::string key = VersionKey(1, "k");
  file.PutBase(key, {1, 2, 3}, {.state = {.row = FoldRow{Text("id"), Text("old"), Text("kept")}}});
  EXPECT_EQ(file.Get(key, {1, 3, 4}).base->state.row,
            (FoldRow{Text("id"), Text("kept"), kUnknown}));
  EXPECT_EQ(file.Get(key, {}).base->state.row, FoldRow());
}

TEST(HistoryStoreTest, WhatIsMalformedIsNotGuessedAt) {
  StoreFile file;
  const std::string key = VersionKey(1, "k");
  HistoryEntry entry;
  entry.change.stamp = {.time_us = 10, .node = 1};
  entry.change.new_row = FoldRow{Text("first")};
  file.PutEntry(key, {1}, entry);
  file.PutBase(key, {1}, {.state = {.row = FoldRow{Text("base")}}});
  const std::unique_ptr<rocksdb::Iterator> at(file.db()->NewIterator({}));
  std::vector<std::pair<std::string, std::string>> records;
  for (at->SeekToFirst(); at->Valid(); at->Next()) {
    records.emplace_back(at->key().ToString(), at->value().ToString());
  }
  ASSERT_EQ(records.size(), 2u);
  for (const auto& [name, value] : records) {
    for (size_t length = 0; length <= value.size(); ++length) {
      const std::string damaged = length == value.size() ? value + "x" : value.substr(0, length);
      ASSERT_TRUE(file.db()->Put({}, name, damaged).ok());
      EXPECT_EQ(file.store().Get(key, {1}).status().code(), absl::StatusCode::kDataLoss) << length;
    }
    ASSERT_TRUE(file.db()->Put({}, name, value).ok());
    EXPECT_OK(file.store().Get(key, {1}).status());
  }
  ASSERT_TRUE(file.db()->Put({}, records[0].first + "x", "").ok());
  EXPECT_EQ(file.store().Get(key, {1}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace bdr::conflict
