// Blocks are stored and shipped as they are, so what is written must be read back exactly, be a
// bdr.v1.Block to anyone who reads it with protobuf, and anything else must be refused.
#include "node-agent/changelog/block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bdr/v1/stream.pb.h"
#include "node-agent/changelog/block_format.h"
#include "node-agent/changelog/varint.h"

namespace bdr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr OriginId kOrigin{.node = 7, .incarnation = 3};

struct Record {
  char kind = 0;
  std::string bytes;
  TransactionHeader header;
};

bool operator==(const Record& a, const Record& b) {
  return a.kind == b.kind && a.bytes == b.bytes && a.header.end_lsn == b.header.end_lsn &&
         a.header.stamp == b.header.stamp && a.header.waits_for == b.header.waits_for &&
         a.header.seen == b.header.seen && a.header.settings_version == b.header.settings_version;
}

absl::StatusOr<std::vector<Record>> ReadRecords(absl::string_view bytes) {
  const absl::StatusOr<BlockPayload> payload = BlockPayload::Open(bytes);
  if (!payload.ok()) return payload.status();
  std::vector<Record> records;
  const auto keep = [&](char kind) {
    return [&records, kind](absl::string_view body) {
      records.push_back({.kind = kind, .bytes = std::string(body), .header = {}});
      return absl::OkStatus();
    };
  };
  const absl::Status status =
      payload->ForEach({.relation = keep('R'),
                        .type = keep('Y'),
                        .begin =
                            [&](const TransactionHeader& header) {
                              records.push_back({.kind = 'T', .bytes = "", .header = header});
                              return absl::OkStatus();
                            },
                        .change = keep('C')});
  if (!status.ok()) return status;
  return records;
}

// Lists with rising keys, as the builder's callers give them.
rc::Gen<std::vector<OriginLsn>> GenWaitsFor() {
  return rc::gen::map(rc::gen::arbitrary<std::map<std::pair<uint8_t, uint8_t>, uint64_t>>(),
                      [](const std::map<std::pair<uint8_t, uint8_t>, uint64_t>& entries) {
                        std::vector<OriginLsn> list;
                        for (const auto& [key, lsn] : entries) {
                          list.push_back({{key.first, key.second}, Lsn{lsn}});
                        }
                        return list;
                      });
}

rc::Gen<std::vector<SeenUntil>> GenSeen() {
  return rc::gen::map(rc::gen::arbitrary<std::map<uint8_t, int64_t>>(),
                      [](const std::map<uint8_t, int64_t>& entries) {
                        std::vector<SeenUntil> list;
                        for (const auto& [node, time] : entries) list.push_back({node, time});
                        return list;
                      });
}

RC_GTEST_PROP(BlockTest, WhatIsWrittenIsReadBack, ()) {
  BlockBuilder builder(kOrigin);
  std::vector<Record> expected;
  const int transactions = *rc::gen::inRange(1, 6);
  TransactionHeader header;
  for (int i = 0; i < transactions; ++i) {
    header.end_lsn = Lsn{*rc::gen::arbitrary<uint64_t>()};
    header.stamp = {.time_us = *rc::gen::arbitrary<int64_t>(), .node = kOrigin.node};
    // Often the same as before, as in real life.
    if (*rc::gen::inRange(0, 3) > 0) header.waits_for = *GenWaitsFor();
    if (*rc::gen::inRange(0, 3) > 0) header.seen = *GenSeen();
    if (*rc::gen::inRange(0, 3) == 0) header.settings_version = *rc::gen::arbitrary<uint64_t>();
    builder.BeginTransaction(header);
    expected.push_back({.kind = 'T', .bytes = "", .header = header});
    for (const auto& [kind, body] :
         *rc::gen::arbitrary<std::vector<std::pair<uint8_t, std::string>>>()) {
      const auto oid = static_cast<uint32_t>(expected.size());
      const char as = "RYCC"[kind % 4];
      if (as == 'R') builder.AddRelation(oid, body);
      if (as == 'Y') builder.AddType(oid, body);
      if (as == 'C') builder.AddChange(body);
      expected.push_back({.kind = as, .bytes = body, .header = {}});
    }
  }
  const size_t payload_bytes = builder.payload_bytes();
  const uint64_t previous = *rc::gen::arbitrary<uint64_t>();
  const bool more_parts = *rc::gen::arbitrary<bool>();
  const EncodedBlock block = builder.Seal(previous, more_parts);
  RC_ASSERT(builder.empty());

  const absl::StatusOr<BlockInfo> info = ParseBlock(block.bytes);
  RC_ASSERT(info.ok());
  RC_ASSERT(info->origin == kOrigin);
  RC_ASSERT(info->end_lsn == header.end_lsn);
  RC_ASSERT(info->last_stamp_us == header.stamp.time_us);
  RC_ASSERT(info->previous_chain == previous);
  RC_ASSERT(info->chain == block.info.chain);
  RC_ASSERT(info->more_parts == more_parts);
  RC_ASSERT(info->transactions == static_cast<uint32_t>(transactions));
  RC_ASSERT(info->payload_bytes == payload_bytes);
  const absl::StatusOr<std::vector<Record>> records = ReadRecords(block.bytes);
  RC_ASSERT(records.ok());
  RC_ASSERT(*records == expected);

  // To protobuf it is the same block, byte for byte.
  v1::Block message;
  RC_ASSERT(message.ParseFromString(block.bytes));
  RC_ASSERT(message.SerializeAsString() == block.bytes);
  RC_ASSERT(message.end_lsn() == header.end_lsn.value);
  RC_ASSERT(message.chain() == block.info.chain);
}

EncodedBlock SomeBlock(uint64_t previous_chain = 99) {
  BlockBuilder builder(kOrigin);
  builder.BeginTransaction({.end_lsn = Lsn{0x1000},
                            .stamp = {.time_us = 1'700'000'000'000'000, .node = kOrigin.node},
                            .waits_for = {{{1, 1}, Lsn{5}}, {{2, 1}, Lsn{6}}},
                            .seen = {{1, 17}, {2, 18}}});
  builder.AddRelation(16384, "a relation");
  for (int i = 0; i < 50; ++i) builder.AddChange(absl::StrCat("change ", i * i));
  builder.BeginTransaction({.end_lsn = Lsn{0x1100},
                            .stamp = {.time_us = 1'700'000'000'000'007, .node = kOrigin.node},
                            .waits_for = {{{2, 1}, Lsn{9}}},
                            .seen = {{1, 17}, {2, 30}, {5, 1}}});
  builder.AddChange("last");
  return builder.Seal(previous_chain, false);
}

TEST(BlockTest, EveryChangedBitAndEveryCutIsDataLoss) {
  const std::string good = SomeBlock().bytes;
  ASSERT_TRUE(ParseBlock(good).ok());
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(ParseBlock(bad).status().code(), absl::StatusCode::kDataLoss) << "bit " << bit;
    // Reading the payload without checking the chain must survive it too.
    ReadRecords(bad).IgnoreError();
  }
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_EQ(ParseBlock(good.substr(0, length)).status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(ParseBlock(good + '\0').status().code(), absl::StatusCode::kDataLoss);
}

// A payload that decompresses well but holds anything at all.
RC_GTEST_PROP(BlockTest, AnyPayloadIsReadOrRefused, (const std::string& noise)) {
  BlockBuilder builder(kOrigin);
  builder.BeginTransaction({.end_lsn = Lsn{1}, .stamp = {.time_us = 1, .node = 7}});
  builder.AddChange(noise);
  const EncodedBlock block = builder.Seal(0, false);
  // The noise is stored at the end of the frame and small blocks are not compressed, so swapping
  // the record's kind for 'T' makes the header reader read noise.
  std::string forged = block.bytes;
  const size_t at = forged.rfind(std::string("C") + static_cast<char>(noise.size()) + noise);
  if (at != std::string::npos) forged[at] = 'T';
  const auto records = ReadRecords(forged);
  RC_ASSERT(records.ok() || records.status().code() == absl::StatusCode::kDataLoss);
}

RC_GTEST_PROP(BlockTest, NoiseIsNoBlock, (const std::string& noise)) {
  RC_ASSERT(!ParseBlock(noise).ok());
  ReadRecords(noise).IgnoreError();
}

TEST(BlockTest, ChainDependsOnWhatWasBefore) {
  EXPECT_EQ(SomeBlock(1).info.chain, SomeBlock(1).info.chain);
  EXPECT_NE(SomeBlock(1).info.chain, SomeBlock(2).info.chain);
}

TEST(BlockTest, AClaimOfTooMuchPayloadIsRefusedWithoutAllocatingIt) {
  BlockInfo info = SomeBlock().info;
  info.payload_bytes = uint64_t{1} << 40;
  EXPECT_EQ(BlockPayload::Open(WriteBlock(info, "x")).status().code(),
            absl::StatusCode::kResourceExhausted);
  info.payload_bytes = 1 << 30;
  const absl::Status status = BlockPayload::Open(WriteBlock(info, "x")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("bdr_7_3 at 0/1100"));
}

TEST(BlockTest, ListsOutOfOrderAreSortedAndTheCarefulEntryOfTwoStays) {
  BlockBuilder builder(kOrigin);
  builder.BeginTransaction({.end_lsn = Lsn{1},
                            .stamp = {.time_us = 1, .node = kOrigin.node},
                            .waits_for = {{{2, 1}, Lsn{5}}, {{1, 1}, Lsn{1}}, {{2, 1}, Lsn{8}}},
                            .seen = {{2, 5}, {1, 1}, {2, 3}}});
  const auto records = ReadRecords(builder.Seal(0, false).bytes);
  ASSERT_TRUE(records.ok());
  EXPECT_THAT((*records)[0].header.waits_for,
              ElementsAre(OriginLsn{{1, 1}, Lsn{1}}, OriginLsn{{2, 1}, Lsn{8}}));
  EXPECT_THAT((*records)[0].header.seen, ElementsAre(SeenUntil{1, 1}, SeenUntil{2, 3}));
}

TEST(BlockTest, PartsOfALargeTransactionNameTheirPlace) {
  const TransactionHeader header{.end_lsn = Lsn{0x2000},
                                 .stamp = {.time_us = 5, .node = kOrigin.node}};
  BlockBuilder builder(kOrigin);
  builder.BeginTransaction(header);
  builder.AddRelation(1, "r");
  builder.AddChange("a");
  ASSERT_TRUE(builder.HasRelation(1));
  const EncodedBlock first = builder.Seal(0, true);
  EXPECT_FALSE(builder.HasRelation(1));  // each block stands for itself
  builder.ContinueTransaction(header, 1);
  builder.AddRelation(1, "r");
  builder.AddChange("b");
  const EncodedBlock second = builder.Seal(first.info.chain, false);

  EXPECT_EQ(first.info.part, 0u);
  EXPECT_TRUE(first.info.more_parts);
  EXPECT_EQ(second.info.part, 1u);
  EXPECT_FALSE(second.info.more_parts);
  EXPECT_EQ(second.info.transactions, 0u);
  EXPECT_EQ(second.info.end_lsn, header.end_lsn);
  EXPECT_EQ(ParseBlock(second.bytes)->previous_chain, first.info.chain);
}

TEST(BlockTest, HeadersOfABusyClusterTakeFewBytes) {
  TransactionHeader header{.end_lsn = Lsn{uint64_t{1} << 40},
                           .stamp = {.time_us = 1'700'000'000'000'000, .node = kOrigin.node}};
  for (NodeId node = 1; node <= 8; ++node) {
    header.waits_for.push_back({{node, 1}, Lsn{uint64_t{1} << 41}});
    header.seen.push_back({node, 1'700'000'000'000'000});
  }
  BlockBuilder builder(kOrigin);
  builder.BeginTransaction(header);
  const size_t first = builder.payload_bytes();
  header.end_lsn.value += 500;
  header.stamp.time_us += 200;
  header.seen[3].time_us += 1000;
  builder.BeginTransaction(header);
  EXPECT_LT(builder.payload_bytes() - first, 16u);
}

TEST(VarintTest, NumbersThatDoNotFitAreRefused) {
  const auto take = [](absl::string_view in) {
    uint64_t value = 0;
    return TakeVarint(&in, &value);
  };
  EXPECT_TRUE(take("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
  EXPECT_FALSE(take("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
  EXPECT_FALSE(take("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
  EXPECT_FALSE(take("\xff"));
  EXPECT_FALSE(take(""));
}

RC_GTEST_PROP(VarintTest, DifferencesComeBack, (uint64_t value, uint64_t before)) {
  RC_ASSERT(DecodeDifference(EncodeDifference(value, before), before) == value);
}

}  // namespace
}  // namespace bdr::agent
