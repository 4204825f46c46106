// The replication protocol against a real server.
#include "postgres/replication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "postgres/pgoutput.h"
#include "tests/harness/postgres_server.h"

namespace bdr::postgres {
namespace {

using ::testing::HasSubstr;

class ReplicationTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<std::unique_ptr<harness::PostgresServer>> server =
        harness::PostgresServer::Create({.settings = {{"logical_decoding_work_mem", "64kB"}}});
    ASSERT_OK(server);
    server_ = *std::move(server);
    ASSERT_OK(server_->RunScript(
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "CREATE PUBLICATION bdr_keyed FOR TABLE t;"
        "CREATE PUBLICATION \"bdr's \"\"other\"\"\" WITH (publish = 'insert');"));
  }
  static void TearDownTestSuite() { server_.reset(); }

  static absl::StatusOr<std::unique_ptr<ReplicationConnection>> Connect() {
    return ReplicationConnection::Connect(
        {.conninfo = server_->conninfo(), .application_name = "bdr test"});
  }
  static StartOptions From(const std::string& slot, Lsn start = {}) {
    return {.slot = slot, .start = start, .publications = {"bdr_keyed", "bdr's \"other\""}};
  }

  // The types of the messages up to and including the first of type `last`.
  static absl::StatusOr<std::string> Types(ReplicationConnection& stream, char last) {
    std::string types;
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (absl::Now() < deadline) {
      ASSIGN_OR_RETURN(const std::optional<StreamItem> item,
                       stream.Receive(absl::Milliseconds(100)));
      if (!item.has_value() || item->kind != StreamItem::Kind::kData) continue;
      types.push_back(item->data[0]);
      if (types.back() == last) return types;
    }
    return absl::DeadlineExceededError(types);
  }

  static inline std::unique_ptr<harness::PostgresServer> server_;
};

TEST_F(ReplicationTest, IdentifiesTheServer) {
  ASSERT_OK_AND_ASSIGN(const auto connection, Connect());
  ASSERT_OK_AND_ASSIGN(const SystemIdentity identity, connection->IdentifySystem());
  EXPECT_EQ(identity.system_identifier,
            *server_->QueryValue("SELECT system_identifier FROM pg_control_system()"));
  EXPECT_EQ(identity.timeline, 1u);
  EXPECT_TRUE(identity.wal_flush_lsn.valid());
}

TEST_F(ReplicationTest, SlotIsCreatedOnceAndItsSnapshotCanBeUsed) {
  ASSERT_OK_AND_ASSIGN(const auto connection, Connect());
  ASSERT_OK_AND_ASSIGN(const CreatedSlot slot,
                       connection->CreateSlot({.name = "snap", .export_snapshot = true}));
  EXPECT_EQ(slot.name, "snap");
  EXPECT_TRUE(slot.consistent_point.valid());
  EXPECT_FALSE(slot.snapshot.empty());
  EXPECT_OK(
      server_->Exec(absl::StrCat("BEGIN ISOLATION LEVEL REPEATABLE READ; "
                                 "SET TRANSACTION SNAPSHOT '",
                                 slot.snapshot, "'; SELECT * FROM t; COMMIT")));
  EXPECT_EQ(connection->CreateSlot({.name = "snap"}).status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_OK_AND_ASSIGN(const CreatedSlot passing,
                       connection->CreateSlot({.name = "passing", .temporary = true}));
  EXPECT_TRUE(passing.snapshot.empty());
  ASSERT_OK(server_->Exec("SELECT pg_drop_replication_slot('snap')"));
}

TEST_F(ReplicationTest, StreamsChangesAndMovesTheSlotByWhatWasFlushed) {
  ASSERT_OK_AND_ASSIGN(const auto stream, Connect());
  ASSERT_OK(stream->CreateSlot({.name = "flow"}));
  ASSERT_OK(server_->Exec("INSERT INTO t VALUES (1, 'one')"));
  ASSERT_OK(stream->Start(From("flow")));
  Lsn end;
  std::string types;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!end.valid() && absl::Now() < deadline) {
    ASSERT_OK_AND_ASSIGN(const std::optional<StreamItem> item, stream->Receive(absl::Seconds(1)));
    if (!item.has_value()) continue;
    EXPECT_LT(absl::AbsDuration(absl::Now() - absl::FromUnixMicros(item->send_time_us)),
              absl::Minutes(1));
    if (item->kind != StreamItem::Kind::kData) continue;
    ASSERT_OK_AND_ASSIGN(const Message message, Decode(item->data));
    types.push_back(item->data[0]);
    if (const auto* insert = std::get_if<InsertMessage>(&message)) {
      EXPECT_EQ(insert->row.columns[0].kind, ColumnKind::kBinary);
      EXPECT_EQ(insert->row.columns[0].data, absl::string_view("\0\0\0\1", 4));
      EXPECT_EQ(insert->row.columns[1].data, "one");
    }
    if (const auto* commit = std::get_if<CommitMessage>(&message)) end = commit->end_lsn;
  }
  EXPECT_EQ(types, "BRIC");
  ASSERT_TRUE(end.valid());

  ASSERT_OK(stream->SendStatus({.write = end, .flush = end, .apply = end, .request_reply = true}));
  // One that comes by itself may have been on its way.
  bool replied = false;
  std::string flushed;
  while (!(replied && flushed == ToString(end)) && absl::Now() < deadline) {
    ASSERT_OK_AND_ASSIGN(const std::optional<StreamItem> item, stream->Receive(absl::Seconds(1)));
    replied = replied || (item.has_value() && item->kind == StreamItem::Kind::kKeepalive);
    flushed = *server_->QueryValue(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'flow'");
  }
  EXPECT_TRUE(replied);
  EXPECT_EQ(flushed, ToString(end));

  // Nothing comes: neither waits longer than told.
  EXPECT_OK(stream->Receive(absl::ZeroDuration()));
  const absl::Time start = absl::Now();
  EXPECT_OK(stream->Receive(absl::Milliseconds(50)));
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST_F(ReplicationTest, LogicalMessagesAndStreamedTransactionsAreDelivered) {
  ASSERT_OK_AND_ASSIGN(const auto stream, Connect());
  ASSERT_OK(stream->CreateSlot({.name = "huge", .temporary = true}));
  ASSERT_OK(
      server_->Exec("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1000, 3000) i"));
  ASSERT_OK(server_->Exec("SELECT pg_logical_emit_message(true, 'bdr.test', 'hello')"));
  StartOptions options = From("huge");
  options.messages = true;
  ASSERT_OK(stream->Start(options));
  ASSERT_OK_AND_ASSIGN(const std::string types, Types(*stream, 'C'));
  EXPECT_EQ(types.substr(0, 3), "SRI");
  EXPECT_THAT(types, ::testing::EndsWith("EcBMC"));
}

// Anybody could fill the reader's memory with them.
TEST_F(ReplicationTest, LogicalMessagesDoNotComeUnasked) {
  ASSERT_OK_AND_ASSIGN(const auto stream, Connect());
  ASSERT_OK(stream->CreateSlot({.name = "quiet", .temporary = true}));
  ASSERT_OK(server_->Exec("SELECT pg_logical_emit_message(false, 'bdr.test', 'hello')"));
  ASSERT_OK(
      server_->Exec("BEGIN; SELECT pg_logical_emit_message(true, 'bdr.test', 'hello');"
                    "INSERT INTO t VALUES (5000, 'behind'); COMMIT"));
  ASSERT_OK(stream->Start(From("quiet")));
  ASSERT_OK_AND_ASSIGN(const std::string types, Types(*stream, 'C'));
  EXPECT_EQ(types, "BRIC");
}

TEST_F(ReplicationTest, MissingAndBusySlotsAreToldApart) {
  ASSERT_OK_AND_ASSIGN(const auto missing, Connect());
  const absl::Status status = missing->Start(From("nowhere"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"nowhere\""));

  ASSERT_OK_AND_ASSIGN(const auto first, Connect());
  ASSERT_OK(first->CreateSlot({.name = "busy"}));
  ASSERT_OK(first->Start(From("busy")));
  ASSERT_OK_AND_ASSIGN(const auto second, Connect());
  EXPECT_EQ(second->Start(From("busy")).code(), absl::StatusCode::kUnavailable);
}

TEST_F(ReplicationTest, LostSlotIsAPreconditionNotARetry) {
  ASSERT_OK(server_->Exec("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'"));
  ASSERT_OK(server_->Exec("SELECT pg_reload_conf()"));
  ASSERT_OK_AND_ASSIGN(const auto stream, Connect());
  ASSERT_OK(stream->CreateSlot({.name = "lost"}));
  for (int i = 0; i < 4; ++i) ASSERT_OK(server_->Exec("SELECT pg_switch_wal(), txid_current()"));
  ASSERT_OK(server_->Exec("CHECKPOINT"));
  ASSERT_OK(server_->Exec("CHECKPOINT"));
  ASSERT_EQ(*server_->QueryValue("SELECT wal_status FROM pg_replication_slots "
                                 "WHERE slot_name = 'lost'"),
            "lost");
  const absl::Status status = stream->Start(From("lost"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  ASSERT_OK(server_->Exec("ALTER SYSTEM RESET max_slot_wal_keep_size"));
  ASSERT_OK(server_->Exec("SELECT pg_reload_conf(), pg_drop_replication_slot('lost')"));
}

// Last, as it takes the server away.
TEST_F(ReplicationTest, StoppedServerEndsTheStreamAsUnavailable) {
  ASSERT_OK_AND_ASSIGN(const auto stream, Connect());
  ASSERT_OK(stream->CreateSlot({.name = "ending"}));
  ASSERT_OK(stream->Start(From("ending")));
  ASSERT_OK(server_->Stop(harness::PostgresServer::StopMode::kImmediate));
  absl::Status status;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (status.ok() && absl::Now() < deadline) {
    status = stream->Receive(absl::Milliseconds(100)).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(stream->SendStatus({}).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace bdr::postgres
