// The decoder reads what a server, or whoever poses as one, sends. Each message kind is checked
// against bytes written down from the manual, and no cut or random input may make it read further.
#include "postgres/pgoutput.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kTimeUs = 1700000000123456;  // µs since 1970

// Builds a message field by field.
class Bytes {
 public:
  explicit Bytes(char type) { out_.push_back(type); }
  Bytes& U8(uint8_t value) { return Number(value); }
  Bytes& U16(uint16_t value) { return Number(value); }
  Bytes& U32(uint32_t value) { return Number(value); }
  Bytes& U64(uint64_t value) { return Number(value); }
  Bytes& Char(char value) {
    out_.push_back(value);
    return *this;
  }
  Bytes& Time(int64_t unix_us) { return U64(ToWireTime(unix_us)); }
  Bytes& CString(absl::string_view text) {
    AppendCString(&out_, text);
    return *this;
  }
  Bytes& Raw(absl::string_view text) {
    out_.append(text.data(), text.size());
    return *this;
  }
  Bytes& Value(char kind, absl::string_view text) {
    return Char(kind).U32(static_cast<uint32_t>(text.size())).Raw(text);
  }
  operator std::string() const { return out_; }  // NOLINT: reads like a literal

 private:
  template <typename T>
  Bytes& Number(T value) {
    AppendNumber<T>(&out_, value);
    return *this;
  }
  std::string out_;
};

struct Sample {
  const char* name;
  std::string bytes;
  bool in_stream = false;
  // Cut behind these bytes it is a shorter message of the same kind.
  size_t also_valid_at = 0;
};

std::vector<Sample> AllSamples() {
  std::vector<Sample> samples = {
      {"begin", Bytes('B').U64(0x1234).Time(kTimeUs).U32(77)},
      {"commit", Bytes('C').U8(0).U64(0x10).U64(0x20).Time(kTimeUs)},
      {"origin", Bytes('O').U64(0xE00).CString("bdr_3_1")},
      {"stream start", Bytes('S').U32(900).U8(1)},
      {"stream stop", Bytes('E'), true},
      {"stream commit", Bytes('c').U32(900).U8(0).U64(0x10).U64(0x20).Time(kTimeUs)},
      {"stream abort", Bytes('A').U32(900).U32(901)},
      {"stream abort v4", Bytes('A').U32(900).U32(901).U64(0x10).Time(kTimeUs), false, 9},
      {"begin prepare", Bytes('b').U64(1).U64(2).Time(kTimeUs).U32(5).CString("gid")},
      {"prepare", Bytes('P').U8(0).U64(1).U64(2).Time(kTimeUs).U32(5).CString("gid")},
      {"commit prepared", Bytes('K').U8(0).U64(1).U64(2).Time(kTimeUs).U32(5).CString("gid")},
      {"rollback prepared",
       Bytes('r').U8(0).U64(1).U64(2).Time(kTimeUs - 9).Time(kTimeUs).U32(5).CString("gid")},
      {"stream prepare", Bytes('p').U8(0).U64(1).U64(2).Time(kTimeUs).U32(5).CString("gid")},
  };
  // Those which carry an xid within a streamed block.
  for (const bool in_stream : {false, true}) {
    const auto start = [in_stream](char type) {
      Bytes bytes(type);
      if (in_stream) bytes.U32(4321);
      return bytes;
    };
    samples.push_back({"relation",
                       start('R')
                           .U32(16400)
                           .CString("public")
                           .CString("Mixed Case")
                           .Char('f')
                           .U16(2)
                           .U8(1)
                           .CString("id")
                           .U32(23)
                           .U32(0xFFFFFFFF)
                           .U8(0)
                           .CString("v")
                           .U32(1043)
                           .U32(36),
                       in_stream});
    samples.push_back({"type", start('Y').U32(16500).CString("").CString("mood"), in_stream});
    samples.push_back({"insert",
                       start('I')
                           .U32(16400)
                           .Char('N')
                           .U16(4)
                           .Value('b', "\0\0\0\1")
                           .Value('t', "x")
                           .Char('n')
                           .Char('u'),
                       in_stream});
    samples.push_back(
        {"update", start('U').U32(16400).Char('N').U16(1).Value('b', "new"), in_stream});
    samples.push_back({"update with key",
                       start('U')
                           .U32(16400)
                           .Char('K')
                           .U16(2)
                           .Value('b', "old")
                           .Char('n')
                           .Char('N')
                           .U16(2)
                           .Value('b', "new")
                           .Char('u'),
                       in_stream});
    samples.push_back({"update with old row",
                       start('U')
                           .U32(16400)
                           .Char('O')
                           .U16(1)
                           .Value('t', "old")
                           .Char('N')
                           .U16(1)
                           .Value('t', "new"),
                       in_stream});
    samples.push_back(
        {"delete by key", start('D').U32(16400).Char('K').U16(1).Value('b', "old"), in_stream});
    samples.push_back(
        {"delete of row", start('D').U32(16400).Char('O').U16(1).Value('b', "old"), in_stream});
    samples.push_back({"truncate", start('T').U32(2).U8(3).U32(16400).U32(16401), in_stream});
    samples.push_back(
        {"message", start('M').U8(1).U64(0x99).CString("bdr.ask").Raw(std::string("\0\0\0\2hi", 6)),
         in_stream});
  }
  return samples;
}

template <typename T>
T DecodeAs(const std::string& bytes, bool in_stream = false) {
  const absl::StatusOr<Message> message = Decode(bytes, {.in_stream = in_stream});
  EXPECT_TRUE(message.ok()) << message.status();
  if (!message.ok()) return T{};
  EXPECT_TRUE(std::holds_alternative<T>(*message)) << message->index();
  return std::holds_alternative<T>(*message) ? std::get<T>(*message) : T{};
}

TEST(PgoutputTest, TransactionBounds) {
  const auto begin =
      DecodeAs<BeginMessage>(Bytes('B').U64(0x1'0000'0002).Time(kTimeUs).U32(0xFFFFFFFE));
  EXPECT_EQ(begin.final_lsn.value, 0x1'0000'0002u);
  EXPECT_EQ(begin.commit_time_us, kTimeUs);
  EXPECT_EQ(begin.xid, 0xFFFFFFFEu);

  const auto commit = DecodeAs<CommitMessage>(Bytes('C').U8(0).U64(16).U64(32).Time(kTimeUs));
  EXPECT_EQ(commit.commit_lsn.value, 16u);
  EXPECT_EQ(commit.end_lsn.value, 32u);
  EXPECT_EQ(commit.commit_time_us, kTimeUs);

  const std::string bytes = Bytes('O').U64(0xE00).CString("bdr_3_1");
  const auto origin = DecodeAs<OriginMessage>(bytes);
  EXPECT_EQ(origin.origin_lsn.value, 0xE00u);
  EXPECT_EQ(origin.name, "bdr_3_1");
}

TEST(PgoutputTest, TimesBefore2000AndAtTheEndsOfTheRangeDoNotOverflow) {
  EXPECT_EQ(DecodeAs<BeginMessage>(Bytes('B').U64(0).Time(-5).U32(0)).commit_time_us, -5);
  for (const uint64_t wire : {uint64_t{0x7FFFFFFFFFFFFFFF}, uint64_t{0x8000000000000000}}) {
    EXPECT_TRUE(Decode(std::string(Bytes('B').U64(0).U64(wire).U32(0))).ok());
  }
}

TEST(PgoutputTest, RelationOwnsItsNamesAndSpellsOutPgCatalog) {
  auto bytes = std::make_unique<std::string>(Bytes('R')
                                                 .U32(7)
                                                 .CString("")
                                                 .CString("weird \"name\"")
                                                 .Char('i')
                                                 .U16(2)
                                                 .U8(1)
                                                 .CString("a")
                                                 .U32(23)
                                                 .U32(0xFFFFFFFF)
                                                 .U8(0)
                                                 .CString("")
                                                 .U32(1700)
                                                 .U32(655366));
  const auto relation = DecodeAs<RelationMessage>(*bytes);
  bytes.reset();
  EXPECT_EQ(relation.relation_oid, 7u);
  EXPECT_EQ(relation.schema, "pg_catalog");
  EXPECT_EQ(relation.name, "weird \"name\"");
  EXPECT_EQ(relation.replica_identity, 'i');
  ASSERT_EQ(relation.columns.size(), 2u);
  EXPECT_TRUE(relation.columns[0].is_key);
  EXPECT_EQ(relation.columns[0].type_modifier, -1);
  EXPECT_FALSE(relation.columns[1].is_key);
  EXPECT_EQ(relation.columns[1].type_oid, 1700u);
  EXPECT_EQ(relation.columns[1].type_modifier, 655366);
}

TEST(PgoutputTest, TupleValuesPointIntoTheBuffer) {
  const std::string bytes =
      Bytes('I').U32(9).Char('N').U16(4).Value('b', "binary").Value('t', "").Char('n').Char('u');
  const auto insert = DecodeAs<InsertMessage>(bytes);
  EXPECT_EQ(insert.relation_oid, 9u);
  ASSERT_EQ(insert.row.columns.size(), 4u);
  EXPECT_EQ(insert.row.columns[0].kind, ColumnKind::kBinary);
  EXPECT_EQ(insert.row.columns[0].data, "binary");
  EXPECT_GE(insert.row.columns[0].data.data(), bytes.data());
  EXPECT_LT(insert.row.columns[0].data.data(), bytes.data() + bytes.size());
  EXPECT_EQ(insert.row.columns[1].kind, ColumnKind::kText);
  EXPECT_EQ(insert.row.columns[1].data, "");
  EXPECT_EQ(insert.row.columns[2].kind, ColumnKind::kNull);
  EXPECT_EQ(insert.row.columns[3].kind, ColumnKind::kUnchangedToast);
}

TEST(PgoutputTest, UpdateTellsWhichOldRowItCarries) {
  const std::string plain = Bytes('U').U32(9).Char('N').U16(1).Value('b', "new");
  const auto without = DecodeAs<UpdateMessage>(plain);
  EXPECT_EQ(without.old_kind, 0);
  EXPECT_TRUE(without.old_row.columns.empty());
  EXPECT_EQ(without.row.columns.at(0).data, "new");

  for (const char kind : {'K', 'O'}) {
    const std::string bytes =
        Bytes('U').U32(9).Char(kind).U16(1).Value('b', "old").Char('N').U16(1).Value('b', "new");
    const auto update = DecodeAs<UpdateMessage>(bytes);
    EXPECT_EQ(update.old_kind, kind);
    EXPECT_EQ(update.old_row.columns.at(0).data, "old");
    EXPECT_EQ(update.row.columns.at(0).data, "new");
    const std::string gone = Bytes('D').U32(9).Char(kind).U16(1).Value('b', "old");
    const auto removed = DecodeAs<DeleteMessage>(gone);
    EXPECT_EQ(removed.old_kind, kind);
    EXPECT_EQ(removed.old_row.columns.at(0).data, "old");
  }
}

// A key stored out of line that stays the same is left out of the new row and sent as the old key.
TEST(PgoutputTest, WhatTheNewRowLeavesOutComesFromTheOldOne) {
  const std::string bytes = Bytes('U')
                                .U32(9)
                                .Char('K')
                                .U16(3)
                                .Value('b', "k")
                                .Char('n')
                                .Char('n')
                                .Char('N')
                                .U16(3)
                                .Char('u')
                                .Char('u')
                                .Value('b', "new");
  const auto update = DecodeAs<UpdateMessage>(bytes);
  EXPECT_EQ(update.row.columns.at(0).kind, ColumnKind::kBinary);
  EXPECT_EQ(update.row.columns.at(0).data, "k");
  EXPECT_EQ(update.row.columns.at(1).kind, ColumnKind::kUnchangedToast);
  EXPECT_EQ(update.row.columns.at(2).data, "new");
  EXPECT_EQ(update.row_bytes, size_t{2 + 1 + 1 + 1 + 4 + 3});
}

TEST(PgoutputTest, TruncateAndLogicalMessage) {
  const auto truncate = DecodeAs<TruncateMessage>(Bytes('T').U32(2).U8(2).U32(5).U32(6));
  EXPECT_FALSE(truncate.cascade);
  EXPECT_TRUE(truncate.restart_identity);
  EXPECT_THAT(truncate.relation_oids, ElementsAre(5u, 6u));

  const std::string bytes =
      Bytes('M').U8(1).U64(0x77).CString("bdr.x").U32(3).Raw(absl::string_view("a\0b", 3));
  const auto message = DecodeAs<LogicalMessage>(bytes);
  EXPECT_TRUE(message.transactional);
  EXPECT_EQ(message.lsn.value, 0x77u);
  EXPECT_EQ(message.prefix, "bdr.x");
  EXPECT_EQ(message.content, absl::string_view("a\0b", 3));
}

TEST(PgoutputTest, StreamedMessagesCarryTheXidOfTheirSubtransaction) {
  EXPECT_EQ(DecodeAs<InsertMessage>(Bytes('I').U32(55).U32(9).Char('N').U16(0), true).xid, 55u);
  EXPECT_EQ(DecodeAs<TruncateMessage>(Bytes('T').U32(55).U32(0).U8(0), true).xid, 55u);
  const auto start = DecodeAs<StreamStartMessage>(Bytes('S').U32(55).U8(1));
  EXPECT_TRUE(start.first_segment);
  EXPECT_FALSE(DecodeAs<StreamStartMessage>(Bytes('S').U32(55).U8(0)).first_segment);
  const auto commit =
      DecodeAs<StreamCommitMessage>(Bytes('c').U32(55).U8(0).U64(1).U64(2).Time(kTimeUs));
  EXPECT_EQ(commit.xid, 55u);
  EXPECT_EQ(commit.end_lsn.value, 2u);
  EXPECT_EQ(commit.commit_time_us, kTimeUs);
  for (const std::string& bytes : {std::string(Bytes('A').U32(55).U32(56)),
                                   std::string(Bytes('A').U32(55).U32(56).U64(1).Time(kTimeUs))}) {
    const auto abort = DecodeAs<StreamAbortMessage>(bytes);
    EXPECT_EQ(abort.xid, 55u);
    EXPECT_EQ(abort.subxid, 56u);
  }
}

TEST(PgoutputTest, PreparedTransactions) {
  for (const Sample& sample : AllSamples()) {
    if (std::string("bPKrp").find(sample.bytes[0]) == std::string::npos) continue;
    const auto prepared = DecodeAs<PreparedMessage>(sample.bytes);
    EXPECT_EQ(static_cast<char>(prepared.kind), sample.bytes[0]);
    EXPECT_EQ(prepared.lsn.value, 1u);
    EXPECT_EQ(prepared.end_lsn.value, 2u);
    EXPECT_EQ(prepared.time_us, kTimeUs) << sample.name;
    EXPECT_EQ(prepared.xid, 5u);
    EXPECT_EQ(prepared.gid, "gid");
  }
}

TEST(PgoutputTest, EveryTruncationAndEveryExtraByteGivesAStatus) {
  for (const Sample& sample : AllSamples()) {
    SCOPED_TRACE(sample.name);
    const DecodeOptions options{.in_stream = sample.in_stream};
    EXPECT_TRUE(Decode(sample.bytes, options).ok()) << Decode(sample.bytes, options).status();
    for (size_t size = 0; size < sample.bytes.size(); ++size) {
      if (size == sample.also_valid_at && size != 0) continue;
      // A heap copy of the exact size, so that AddressSanitizer sees a read past the end.
      const std::vector<char> cut(sample.bytes.begin(),
                                  sample.bytes.begin() + static_cast<ptrdiff_t>(size));
      const absl::string_view view(cut.data(), cut.size());
      EXPECT_EQ(Decode(view, options).status().code(), absl::StatusCode::kInvalidArgument) << size;
      PeekRelationOid(view, options);
    }
    EXPECT_EQ(Decode(sample.bytes + '\0', options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(PgoutputTest, CountsThatPromiseMoreThanFitsAreRefusedBeforeAnythingIsReserved) {
  for (const std::string& bytes :
       {std::string(Bytes('I').U32(9).Char('N').U16(0xFFFF).Char('n')),
        std::string(Bytes('R').U32(9).CString("s").CString("t").Char('d').U16(0xFFFF).U8(0)),
        std::string(Bytes('T').U32(0xFFFFFFFF).U8(0).U32(1)),
        std::string(Bytes('I').U32(9).Char('N').U16(1).Char('b').U32(0xFFFFFFFF).Raw("abc"))}) {
    const absl::Status status = Decode(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("offset"));
  }
}

TEST(PgoutputTest, LiesAreNamed) {
  EXPECT_THAT(std::string(Decode("").status().message()), HasSubstr("empty"));
  EXPECT_THAT(std::string(Decode("\x01").status().message()), HasSubstr("0x01"));
  const std::string flags = Bytes('C').U8(1).U64(1).U64(2).U64(3);
  EXPECT_THAT(std::string(Decode(flags).status().message()), HasSubstr("\"Commit\""));
  const std::string kind = Bytes('I').U32(9).Char('N').U16(1).Char('x');
  EXPECT_THAT(std::string(Decode(kind).status().message()), HasSubstr("column 1"));
  const std::string identity = Bytes('R').U32(9).CString("s").CString("t").Char('z').U16(0);
  EXPECT_THAT(std::string(Decode(identity).status().message()), HasSubstr("replica identity"));
}

TEST(PgoutputTest, PeekFindsTheRelationOfRowChangesOnly) {
  EXPECT_EQ(PeekRelationOid(std::string(Bytes('U').U32(9))), 9u);
  EXPECT_EQ(PeekRelationOid(std::string(Bytes('D').U32(5).U32(9)), {.in_stream = true}), 9u);
  EXPECT_EQ(PeekRelationOid(std::string(Bytes('T').U32(9))), 0u);
  EXPECT_EQ(PeekRelationOid(""), 0u);
  EXPECT_EQ(PeekRelationOid("I12"), 0u);
}

TEST(PgoutputTest, EncodedRelationsAndTypesDecodeToThemselves) {
  const RelationMessage relation{
      .xid = 0,
      .relation_oid = 16400,
      .schema = "pg_catalog",
      .name = "Tafel \xc3\xbc",
      .replica_identity = 'n',
      .columns = {{.is_key = true, .name = "a", .type_oid = 23},
                  {.is_key = false, .name = "b", .type_oid = 3000000000u, .type_modifier = 12}}};
  const auto again = DecodeAs<RelationMessage>(Encode(relation));
  EXPECT_EQ(again.schema, relation.schema);
  EXPECT_EQ(again.name, relation.name);
  EXPECT_EQ(again.replica_identity, 'n');
  ASSERT_EQ(again.columns.size(), 2u);
  EXPECT_TRUE(again.columns[0].is_key);
  EXPECT_EQ(again.columns[1].type_oid, 3000000000u);
  EXPECT_EQ(again.columns[1].type_modifier, 12);
  EXPECT_EQ(Encode(again), Encode(relation));

  const auto type = DecodeAs<TypeMessage>(
      Encode(TypeMessage{.xid = 0, .type_oid = 16500, .schema = "app", .name = "mood"}));
  EXPECT_EQ(type.type_oid, 16500u);
  EXPECT_EQ(type.schema, "app");
  EXPECT_EQ(type.name, "mood");
}

// Repeat a failure with BDR_SEED=<seed>.
TEST(PgoutputTest, RandomBytesAndDamagedMessagesNeverReadPastTheEnd) {
  const char* given = std::getenv("BDR_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE("BDR_SEED=" + std::to_string(seed));
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::vector<Sample> samples = AllSamples();
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    if (round % 2 == 0) {
      bytes.resize(random() % 64);
      for (char& byte : bytes) byte = static_cast<char>(random());
      if (!bytes.empty()) bytes[0] = samples[random() % samples.size()].bytes[0];
    } else {
      bytes = samples[random() % samples.size()].bytes;
      for (int damage = 0; damage < 3; ++damage) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
    }
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const absl::string_view view(exact.data(), exact.size());
    for (const bool in_stream : {false, true}) {
      const absl::StatusOr<Message> message = Decode(view, {.in_stream = in_stream});
      if (message.ok()) continue;
      ASSERT_EQ(message.status().code(), absl::StatusCode::kInvalidArgument) << message.status();
    }
  }
}

}  // namespace
}  // namespace bdr::postgres
