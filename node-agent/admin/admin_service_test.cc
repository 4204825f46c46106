// The agent's admin service on real PostgreSQL servers: hashes that are the same wherever the rows
// are, conflicts, and requests that come when they cannot be answered.
#include "node-agent/admin/admin_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/testing.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "node-agent/admin/table_hash.h"
#include "postgres/setup/setup_sql.h"
#include "tests/harness/postgres_server.h"

namespace bdr::agent {
namespace {

class FakeBackend : public AgentBackend {
 public:
  absl::Status owns = absl::OkStatus();
  absl::Status OwnsDatabase() override { return owns; }
  void FillStatus(v1::NodeStatus* status) override { status->set_name("eu1"); }
  absl::Status FillPosition(absl::Time, v1::GetPositionResponse* position) override {
    position->set_published_lsn(42);
    return absl::OkStatus();
  }
  absl::Status RetryDeadLetter(int64_t id, absl::Time) override {
    return absl::NotFoundError(absl::StrCat("no dead letter ", id));
  }
  void DeadLetterDropped(int64_t) override {}
  absl::Status SkipUndecodable(absl::Time, absl::FunctionRef<bool()>,
                               const v1::SkipUndecodableRequest&,
                               v1::SkipUndecodableResponse*) override {
    return absl::UnimplementedError("not asked for here");
  }
  absl::Status CloseGaps(const v1::CloseGapsRequest&, v1::CloseGapsResponse*) override {
    return absl::UnimplementedError("not asked for here");
  }
  std::vector<pg_setup::PolicyWish> TablePolicies() override { return {}; }
  std::vector<pg_setup::Finding> SchemaFindings() override { return {}; }
  absl::StatusOr<std::vector<NodeId>> RetryApply(NodeId node) override {
    if (node == 9) return absl::NotFoundError("node 9 is no origin of this agent");
    return std::vector<NodeId>{2, 3};
  }
  absl::Status ExportRows(postgres::Connection&, const v1::ExportRowsRequest&,
                          v1::ExportRowsResponse*) override {
    return absl::UnimplementedError("not asked for here");
  }
  absl::Status RepairRows(const v1::RepairRowsRequest&, v1::RepairRowsResponse*) override {
    return absl::UnimplementedError("not asked for here");
  }
};

class AdminServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = harness::PostgresServer::Create();
    ASSERT_OK(server);
    postgres_ = std::move(*server);
    ASSERT_OK_AND_ASSIGN(const std::string sql, pg_setup::SetupSql({.settings = false}));
    ASSERT_OK(postgres_->Exec(
        "CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE log (line text);"
        "INSERT INTO item SELECT i, 'v' || i FROM generate_series(1, 1000) i;"
        "INSERT INTO log VALUES ('a'), ('a'), (NULL), ('')"));
    ASSERT_OK(postgres_->RunScript(sql));
    service_ = std::make_unique<AdminService>(&backend_,
                                              AdminOptions{.database = postgres_->conninfo("bdr")});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_->service());
    grpc_ = builder.BuildAndStart();
    ASSERT_NE(grpc_, nullptr);
    stub_ = v1::AgentAdmin::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    if (grpc_ == nullptr) return;
    service_->Stop();
    grpc_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
    grpc_->Wait();
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::AgentAdmin::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                    const Request& request, Response* response,
                    absl::Duration timeout = absl::Seconds(30)) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return (stub_.get()->*method)(&context, request, response);
  }

  v1::HashTableResponse Hash(const std::string& table, uint32_t buckets = 16) {
    v1::HashTableRequest request;
    request.set_schema("public");
    request.set_name(table);
    request.set_buckets(buckets);
    v1::HashTableResponse response;
    const grpc::Status status = Call(&v1::AgentAdmin::Stub::HashTable, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  FakeBackend backend_;
  std::unique_ptr<harness::PostgresServer> postgres_;
  std::unique_ptr<AdminService> service_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<v1::AgentAdmin::Stub> stub_;
};

TEST_F(AdminServiceTest, AsksTheBackendForWhatOnlyItKnows) {
  v1::GetNodeStatusResponse status;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::GetNodeStatus, {}, &status).ok());
  EXPECT_EQ(status.status().name(), "eu1");
  v1::GetPositionResponse position;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::GetPosition, {}, &position).ok());
  EXPECT_EQ(position.published_lsn(), 42u);
  v1::RetryApplyRequest retry;
  v1::RetryApplyResponse retried;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::RetryApply, retry, &retried).ok());
  EXPECT_THAT(retried.nodes(), ::testing::ElementsAre(2, 3));
  retry.set_node(9);
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::RetryApply, retry, &retried).error_code(),
            grpc::StatusCode::NOT_FOUND);
  retry.set_node(70000);
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::RetryApply, retry, &retried).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminServiceTest, ListsWhatReplicates) {
  v1::ListTablesResponse tables;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::ListTables, {}, &tables).ok());
  std::map<std::string, bool> has_key;
  for (const auto& table : tables.tables()) has_key[table.name()] = table.has_key();
  EXPECT_THAT(has_key,
              ::testing::ElementsAre(::testing::Pair("item", true), ::testing::Pair("log", false)));
}

TEST_F(AdminServiceTest, OneChangedRowChangesOneBucketAndIsNamed) {
  const v1::HashTableResponse before = Hash("item");
  EXPECT_EQ(before.rows(), 1000u);
  ASSERT_OK(postgres_->Exec("UPDATE item SET v = 'other' WHERE id = 77"));
  const v1::HashTableResponse after = Hash("item");
  std::vector<int> changed;
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(before.bucket_rows(i), after.bucket_rows(i));
    if (before.bucket_hash(i) != after.bucket_hash(i)) changed.push_back(i);
  }
  ASSERT_EQ(changed.size(), 1u);

  v1::HashRowsRequest request;
  request.set_schema("public");
  request.set_name("item");
  request.set_buckets(16);
  request.set_bucket(changed[0]);
  v1::HashRowsResponse rows;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::HashRows, request, &rows).ok());
  EXPECT_EQ(static_cast<uint64_t>(rows.rows_size()), after.bucket_rows(changed[0]));
  uint64_t sum = 0;
  bool named = false;
  for (const auto& row : rows.rows()) {
    sum += row.hash();
    named = named || row.key() == "id='77'";
  }
  EXPECT_EQ(sum, after.bucket_hash(changed[0]));
  EXPECT_TRUE(named);

  // All buckets in one request are the whole table.
  for (int i = 0; i < 16; ++i) {
    if (i != changed[0]) request.add_more(i);
  }
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::HashRows, request, &rows).ok());
  EXPECT_EQ(rows.rows_size(), 1000);
}

TEST_F(AdminServiceTest, TablesWithoutAKeyAreComparedAsBags) {
  const v1::HashTableResponse before = Hash("log", 4);
  EXPECT_EQ(before.rows(), 4u);
  ASSERT_OK(postgres_->Exec("DELETE FROM log WHERE line IS NULL; INSERT INTO log VALUES (NULL)"));
  EXPECT_EQ(Hash("log", 4).SerializeAsString(), before.SerializeAsString());
  ASSERT_OK(postgres_->Exec("UPDATE log SET line = '' WHERE line IS NULL"));
  EXPECT_NE(Hash("log", 4).SerializeAsString(), before.SerializeAsString());
}

TEST_F(AdminServiceTest, HashesDependOnNeitherColumnOrderNorDefaultsNorOids) {
  const std::string rows =
      "INSERT INTO t (id, ts, n, f, b, e, i, m, a) VALUES "
      "(1, '2026-01-02 03:04:05+00', 1.50, 0.1, '\\xdeadbeef', 'no', '1 day 02:00', 12.34, "
      "ARRAY['no', 'yes']::answer[])";
  ASSERT_OK(postgres_->Exec(
      "CREATE TYPE answer AS ENUM ('yes', 'no');"
      "CREATE TABLE t (id int PRIMARY KEY, ts timestamptz, n numeric, f float8, b bytea, e answer,"
      " i interval, m money, a answer[]);" +
      rows + "; SELECT bdr.sync_publications()"));
  const std::string here = Hash("t").SerializeAsString();

  auto other = harness::PostgresServer::Create();
  ASSERT_OK(other);
  ASSERT_OK((*other)->Exec(
      "CREATE TYPE moves_the_oids AS ENUM ('x'); CREATE TYPE answer AS ENUM ('yes', 'no');"
      "CREATE TABLE t (gone int, a answer[], m money, i interval, e answer, b bytea, f float8,"
      " n numeric, ts timestamptz, id int PRIMARY KEY); ALTER TABLE t DROP gone;" +
      rows + ";CREATE PUBLICATION bdr_keyed FOR TABLE t"));
  ASSERT_OK(
      (*other)->Exec("ALTER DATABASE postgres SET \"DateStyle\" = 'German';"
                     "ALTER DATABASE postgres SET \"TimeZone\" = 'Asia/Tokyo';"
                     "ALTER DATABASE postgres SET \"IntervalStyle\" = 'iso_8601';"
                     "ALTER DATABASE postgres SET bytea_output = 'escape';"
                     "ALTER DATABASE postgres SET extra_float_digits = -3"));
  AdminService service(&backend_, AdminOptions{.database = (*other)->conninfo()});
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service.service());
  const auto server = builder.BuildAndStart();
  stub_ = v1::AgentAdmin::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  EXPECT_EQ(Hash("t").SerializeAsString(), here);
  server->Shutdown();
}

TEST_F(AdminServiceTest, PartitionsCountAsTheirRoot) {
  ASSERT_OK(
      postgres_->Exec("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
                      "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
                      "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
                      "INSERT INTO p SELECT i, i FROM generate_series(0, 19) i;"
                      "SELECT bdr.sync_publications()"));
  EXPECT_EQ(Hash("p").rows(), 20u);
}

TEST_F(AdminServiceTest, ImpossibleRequestsAreRefused) {
  v1::HashTableRequest request;
  v1::HashTableResponse response;
  request.set_schema("public");
  request.set_name("item");
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::HashTable, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_buckets(4);
  request.set_name("nowhere");
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::HashTable, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  v1::HashRowsRequest rows;
  v1::HashRowsResponse ignored;
  rows.set_schema("public");
  rows.set_name("item");
  rows.set_buckets(4);
  rows.set_bucket(4);
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::HashRows, rows, &ignored).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminServiceTest, ConflictsAreListedNewestFirst) {
  ASSERT_OK(postgres_->Exec(
      "INSERT INTO bdr.conflict_log (detected_at, relation, kind, key, local_row, remote_row,"
      " local_stamp, local_node, remote_stamp, remote_node, winner) VALUES "
      "('2026-01-01 00:00:00+00', 'public.item', 'insert_exists', '{\"id\": 1}', '{\"v\": 1}',"
      " '{\"v\": 2}', '2026-01-01 00:00:00.000001+00', 1, '2026-01-01 00:00:00.000002+00', 2,"
      " 'remote'),"
      "('2026-01-02 00:00:00+00', 'public.item', 'update_missing', NULL, NULL, NULL, NULL, NULL,"
      " NULL, NULL, 'local')"));
  v1::ListConflictsRequest request;
  v1::ListConflictsResponse list;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::ListConflicts, request, &list).ok());
  ASSERT_EQ(list.conflicts_size(), 2);
  EXPECT_EQ(list.conflicts(0).kind(), "update_missing");
  EXPECT_EQ(list.conflicts(1).remote_stamp_us(), 1767225600000002);
  request.set_kind("insert_exists");
  request.set_table("public.item");
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::ListConflicts, request, &list).ok());
  ASSERT_EQ(list.conflicts_size(), 1);

  v1::GetConflictRequest get;
  v1::GetConflictResponse one;
  get.set_id(list.conflicts(0).id());
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::GetConflict, get, &one).ok());
  EXPECT_EQ(one.conflict().remote_row(), "{\"v\": 2}");
  EXPECT_EQ(one.conflict().local_node(), 1u);
  get.set_id(999);
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::GetConflict, get, &one).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

// The port is served before the database is known to be this node's: it may be another's.
TEST_F(AdminServiceTest, WritesNothingToADatabaseThatMayBeAnothers) {
  backend_.owns = absl::UnavailableError("the agent is starting");
  ASSERT_OK(postgres_->Exec(
      "INSERT INTO bdr.dead_letter (origin_node, origin_incarnation, end_lsn, stamp, cause,"
      " contents, changes) VALUES (2, 1, '0/10', now(), 'test', '{}', 1)"));
  v1::DeadLetterRequest letter;
  letter.set_id(1);
  v1::DeadLetterResponse dropped;
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::DropDeadLetter, letter, &dropped).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  v1::UndoConflictResponse undone;
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::UndoConflict, {}, &undone).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  ASSERT_OK_AND_ASSIGN(const std::string left,
                       postgres_->QueryValue("SELECT count(*) FROM bdr.dead_letter"));
  EXPECT_EQ(left, "1");
}

TEST_F(AdminServiceTest, ChecksItsOwnDatabase) {
  v1::CheckNodeResponse response;
  ASSERT_TRUE(Call(&v1::AgentAdmin::Stub::CheckNode, {}, &response).ok());
  int errors = 0, warnings = 0;
  for (const auto& finding : response.findings()) {
    errors += finding.level() == v1::CheckNodeResponse::Finding::ERROR;
    warnings += finding.level() == v1::CheckNodeResponse::Finding::WARNING;
  }
  EXPECT_EQ(errors, 0) << response.DebugString();
  EXPECT_GE(warnings, 1);  // table log has no key
}

TEST_F(AdminServiceTest, WorksAgainAfterPostgresWasRestarted) {
  EXPECT_EQ(Hash("item").rows(), 1000u);
  ASSERT_OK(postgres_->Stop());
  v1::ListTablesResponse tables;
  EXPECT_EQ(Call(&v1::AgentAdmin::Stub::ListTables, {}, &tables).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  // What needs no database is answered all the same.
  v1::RetryApplyResponse retried;
  EXPECT_TRUE(Call(&v1::AgentAdmin::Stub::RetryApply, {}, &retried).ok());
  ASSERT_OK(postgres_->Start());
  EXPECT_EQ(Hash("item").rows(), 1000u);
}

TEST_F(AdminServiceTest, ADeadlineEndsTheStatementInPostgres) {
  // A view-free way to make a pass over a table last: lock it.
  ASSERT_OK_AND_ASSIGN(auto holder, postgres_->Connect());
  ASSERT_OK(holder->Exec("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE"));
  v1::HashTableRequest request;
  request.set_schema("public");
  request.set_name("item");
  request.set_buckets(1);
  v1::HashTableResponse response;
  EXPECT_FALSE(
      Call(&v1::AgentAdmin::Stub::HashTable, request, &response, absl::Milliseconds(300)).ok());
  ASSERT_OK(holder->Exec("ROLLBACK"));
  EXPECT_EQ(Hash("item").rows(), 1000u);
}

TEST_F(AdminServiceTest, StopCancelsWhatRuns) {
  ASSERT_OK_AND_ASSIGN(auto holder, postgres_->Connect());
  ASSERT_OK(holder->Exec("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE"));
  std::thread caller([this] {
    v1::HashTableRequest request;
    request.set_schema("public");
    request.set_name("item");
    request.set_buckets(1);
    v1::HashTableResponse response;
    EXPECT_FALSE(
        Call(&v1::AgentAdmin::Stub::HashTable, request, &response, absl::Seconds(60)).ok());
  });
  const absl::Time until = absl::Now() + absl::Seconds(30);
  while (*postgres_->QueryValue("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bdr' AND "
                                "wait_event_type = 'Lock'") == "0" &&
         absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  const absl::Time start = absl::Now();
  service_->Stop();
  caller.join();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

// The agent's role may be able to read them.
TEST_F(AdminServiceTest, RowsOfTablesThatDoNotReplicateAreShownToNobody) {
  ASSERT_OK(
      postgres_->Exec("GRANT SELECT ON pg_authid TO bdr; CREATE TABLE later (id int PRIMARY "
                      "KEY); GRANT SELECT ON later TO bdr"));
  const std::pair<const char*, const char*> tables[] = {
      {"pg_catalog", "pg_authid"}, {"public", "later"}, {"bdr", "conflict_log"}};
  for (const auto& [schema, name] : tables) {
    const auto expect_refused = [&](auto method, auto request, auto response) {
      request.set_schema(schema);
      request.set_name(name);
      const grpc::Status status = Call(method, request, &response);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << name;
      EXPECT_THAT(status.error_message(), ::testing::HasSubstr("does not replicate here")) << name;
      EXPECT_EQ(response.ByteSizeLong(), 0u);
    };
    using Stub = v1::AgentAdmin::Stub;
    v1::HashTableRequest hash;
    hash.set_buckets(1);
    expect_refused(&Stub::HashTable, hash, v1::HashTableResponse());
    v1::HashRowsRequest rows;
    rows.set_buckets(1);
    expect_refused(&Stub::HashRows, rows, v1::HashRowsResponse());
    v1::FindKeyRequest find;
    find.set_rows(1);
    expect_refused(&Stub::FindKey, find, v1::FindKeyResponse());
    expect_refused(&Stub::HashRange, v1::HashRangeRequest(), v1::HashRangeResponse());
    v1::ReadRowsRequest read;
    read.set_values(true);
    expect_refused(&Stub::ReadRows, read, v1::ReadRowsResponse());
  }
}

}  // namespace
}  // namespace bdr::agent
