// Records the seed corpus of the fuzzer from a real server, which it starts for itself:
//
//   record_corpus FOLDER
//
// Runs a workload that makes pgoutput send every kind of message, and writes the first few of each
// kind to FOLDER, in the form that pgoutput_fuzzer.cc reads.
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/pgoutput.h"
#include "postgres/replication.h"
#include "tests/harness/postgres_server.h"

namespace bdr::postgres {
namespace {

constexpr int kFilesOfAKind = 2;
constexpr size_t kMessageBytesMax = 1000;
// Emitted last; ends the recording.
constexpr absl::string_view kLastPrefix = "corpus.end";

constexpr char kSchemaSql[] = R"(
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, m mood);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE plain (id int PRIMARY KEY, v text, n numeric(10, 2), b bytea);
CREATE TABLE "Mixed Case" (id bigint PRIMARY KEY, m mood, ms mood[], p pair, d positive,
                           r int4range, j jsonb, t timestamptz, acl aclitem);
CREATE TABLE full_row (id int PRIMARY KEY, v text);
ALTER TABLE full_row REPLICA IDENTITY FULL;
CREATE TABLE by_index (id int, code text NOT NULL UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
CREATE TABLE no_identity (v int);
ALTER TABLE no_identity REPLICA IDENTITY NOTHING;
CREATE TABLE toasted (id int PRIMARY KEY, n int, big text);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
CREATE TABLE serial_table (id serial PRIMARY KEY);
CREATE PUBLICATION bdr_keyed
    FOR TABLE plain, "Mixed Case", full_row, by_index, toasted, serial_table
    WITH (publish_via_partition_root = true);
CREATE PUBLICATION bdr_insert_only FOR TABLE no_identity WITH (publish = 'insert');
SELECT pg_replication_origin_create('bdr_2_1');
SELECT pg_create_logical_replication_slot('corpus', 'pgoutput', false, true);
)";

// Each statement is a transaction of its own, but for the blocks.
constexpr char kWorkloadSql[] = R"(
INSERT INTO plain VALUES (1, 'one', 1.50, '\x0001'), (2, NULL, NULL, NULL);
UPDATE plain SET v = 'uno' WHERE id = 1;
UPDATE plain SET id = 3 WHERE id = 2;
DELETE FROM plain WHERE id = 3;
INSERT INTO "Mixed Case" VALUES (1, 'ok', '{sad,NULL}', ROW (1, 'ok'), 5, '[1,5)', '{"a": [1]}',
                                 '2026-01-01 00:00+00', 'postgres=r/postgres');
UPDATE "Mixed Case" SET m = NULL;
INSERT INTO full_row VALUES (1, 'a');
UPDATE full_row SET v = 'b';
DELETE FROM full_row;
INSERT INTO by_index VALUES (1, 'x');
UPDATE by_index SET code = 'y';
DELETE FROM by_index;
INSERT INTO no_identity VALUES (1);
INSERT INTO toasted VALUES (1, 1, repeat('t', 3000));
UPDATE toasted SET n = 2;
TRUNCATE plain;
TRUNCATE full_row, toasted CASCADE;
TRUNCATE serial_table RESTART IDENTITY;
SELECT pg_logical_emit_message(true, 'corpus.transactional', 'content');
SELECT pg_logical_emit_message(false, 'corpus.plain', '\x00ff'::bytea);
SELECT pg_replication_origin_session_setup('bdr_2_1');
BEGIN; SELECT pg_replication_origin_xact_setup('0/E00', now()); INSERT INTO plain VALUES (9); COMMIT;
SELECT pg_replication_origin_session_reset();

BEGIN; INSERT INTO plain VALUES (10); PREPARE TRANSACTION 'kept';
COMMIT PREPARED 'kept';
BEGIN; INSERT INTO plain VALUES (11); PREPARE TRANSACTION 'dropped';
ROLLBACK PREPARED 'dropped';

-- More than logical_decoding_work_mem: sent while they run, with their sub-transactions.
BEGIN;
INSERT INTO plain SELECT i, 'streamed' FROM generate_series(1000, 2000) i;
SAVEPOINT a;
INSERT INTO "Mixed Case" SELECT i, 'sad' FROM generate_series(1000, 2000) i;
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO "Mixed Case" SELECT i, 'ok', '{ok}', ROW (i, 'sad')::pair FROM generate_series(1000, 2000) i;
UPDATE "Mixed Case" SET m = 'happy';
UPDATE plain SET id = -id;
DELETE FROM "Mixed Case" WHERE id > 100;
INSERT INTO full_row SELECT i, 'streamed' FROM generate_series(1, 1000) i;
UPDATE full_row SET v = NULL;
DELETE FROM full_row;
TRUNCATE by_index, plain;
SELECT pg_logical_emit_message(true, 'corpus.streamed', repeat('m', 100));
INSERT INTO plain SELECT i FROM generate_series(3000, 5000) i;
COMMIT;
BEGIN; INSERT INTO plain SELECT i FROM generate_series(6000, 8000) i; ROLLBACK;
BEGIN; INSERT INTO plain SELECT i FROM generate_series(6000, 8000) i; PREPARE TRANSACTION 'huge';
COMMIT PREPARED 'huge';
SELECT pg_logical_emit_message(true, 'corpus.end', '');
)";

// What makes a message different from others of its type.
std::string KindOf(const Message& message, char type, bool in_stream) {
  std::string kind;
  switch (type) {
    // File names of some systems do not tell upper from lower case.
    case 'B':
      kind = "begin";
      break;
    case 'C':
      kind = "commit";
      break;
    case 'O':
      kind = "origin";
      break;
    case 'R':
      kind = "relation";
      break;
    case 'Y':
      kind = "type";
      break;
    case 'I':
      kind = "insert";
      break;
    case 'U':
      kind = "update";
      break;
    case 'D':
      kind = "delete";
      break;
    case 'T':
      kind = "truncate";
      break;
    case 'M':
      kind = "message";
      break;
    case 'S':
      kind = "stream-start";
      break;
    case 'E':
      kind = "stream-stop";
      break;
    case 'c':
      kind = "stream-commit";
      break;
    case 'A':
      kind = "stream-abort";
      break;
    case 'b':
      kind = "begin-prepare";
      break;
    case 'P':
      kind = "prepare";
      break;
    case 'K':
      kind = "commit-prepared";
      break;
    case 'r':
      kind = "rollback-prepared";
      break;
    case 'p':
      kind = "stream-prepare";
      break;
    default:
      kind = "other";
  }
  if (const auto* update = std::get_if<UpdateMessage>(&message)) {
    if (update->old_kind == 'K') kind += "-key";
    if (update->old_kind == 'O') kind += "-full";
    for (const ColumnValue& value : update->row.columns) {
      if (value.kind == ColumnKind::kUnchangedToast) kind += "-toast";
    }
  }
  if (const auto* removed = std::get_if<DeleteMessage>(&message)) {
    kind += removed->old_kind == 'O' ? "-full" : "-key";
  }
  if (in_stream) kind += "-streamed";
  return kind;
}

class Recorder {
 public:
  explicit Recorder(std::string folder) : folder_(std::move(folder)) {}

  // True at the end of the workload.
  absl::StatusOr<bool> Take(absl::string_view data) {
    const char type = data.empty() ? '\0' : data[0];
    const bool in_stream = in_stream_;
    ASSIGN_OR_RETURN(const Message message, Decode(data, {.in_stream = in_stream}));
    if (type == 'S') in_stream_ = true;
    if (type == 'E') in_stream_ = false;
    const auto* logical = std::get_if<LogicalMessage>(&message);
    if (logical != nullptr && logical->prefix == kLastPrefix) return true;
    if (data.size() > kMessageBytesMax) return false;
    const std::string kind = KindOf(message, type, in_stream);
    // Relations and rows differ by table: more of them.
    const int wanted = kind == "relation" || kind == "insert" ? 3 * kFilesOfAKind : kFilesOfAKind;
    int& count = counts_[kind];
    if (count >= wanted) return false;
    ++count;
    const std::string name = absl::StrCat("pgoutput-", kind, "-", count);
    RETURN_IF_ERROR(Write(name, in_stream ? '\1' : '\0', data));
    return false;
  }

  absl::Status Write(const std::string& name, char mode, absl::string_view data) {
    std::ofstream file(absl::StrCat(folder_, "/", name), std::ios::binary);
    file.put(mode);
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    file.close();
    if (!file) return absl::UnavailableError(absl::StrCat("cannot write \"", folder_, "/", name));
    ++files_;
    return absl::OkStatus();
  }

  int files() const { return files_; }

 private:
  const std::string folder_;
  std::map<std::string, int> counts_;
  bool in_stream_ = false;
  int files_ = 0;
};

// Values for the two other modes of the fuzzer.
absl::Status RecordValues(Connection& connection, Recorder* recorder) {
  ASSIGN_OR_RETURN(const Result nested,
                   connection.ExecParams("SELECT ARRAY[ROW (1, 'ok')::pair, NULL], "
                                         "ARRAY['ok', NULL]::mood[], ROW (1, 'ok')::pair",
                                         {}, true));
  for (int i = 0; i < nested.columns(); ++i) {
    RETURN_IF_ERROR(recorder->Write(absl::StrCat("nested-", i), '\2', nested.value(0, i)));
  }
  // In the order of the types in pgoutput_fuzzer.cc.
  ASSIGN_OR_RETURN(
      const Result keys,
      connection.ExecParams("SELECT true, '-0'::float4, 'NaN'::float8, 1234567.8900, '::1'::inet, "
                            "B'10110'::varbit, 'ab  '::char(5), 'text', 1::int8, "
                            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
                            {}, true));
  for (int i = 0; i < keys.columns(); ++i) {
    const std::string value = absl::StrCat(std::string(1, static_cast<char>(i)), keys.value(0, i));
    RETURN_IF_ERROR(recorder->Write(absl::StrCat("key-", i), '\3', value));
  }
  return absl::OkStatus();
}

absl::Status Record(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto server, harness::PostgresServer::Create(
                                          {.settings = {{"logical_decoding_work_mem", "64kB"},
                                                        {"max_prepared_transactions", "5"}}}));
  RETURN_IF_ERROR(server->RunScript(kSchemaSql));
  ASSIGN_OR_RETURN(const auto stream,
                   ReplicationConnection::Connect(
                       {.conninfo = server->conninfo(), .application_name = "record_corpus"}));
  RETURN_IF_ERROR(stream->Start({.slot = "corpus",
                                 .start = Lsn{},
                                 .publications = {"bdr_keyed", "bdr_insert_only"},
                                 .messages = true}));
  // While we stream, so that also transactions that roll back are sent.
  RETURN_IF_ERROR(server->RunScript(kWorkloadSql));

  Recorder recorder(folder);
  for (bool done = false; !done;) {
    ASSIGN_OR_RETURN(const std::optional<StreamItem> item, stream->Receive(absl::Seconds(30)));
    if (!item.has_value()) return absl::DeadlineExceededError("the server sends nothing more");
    if (item->kind != StreamItem::Kind::kData) continue;
    ASSIGN_OR_RETURN(done, recorder.Take(item->data));
  }
  ASSIGN_OR_RETURN(const auto connection, server->Connect());
  RETURN_IF_ERROR(RecordValues(*connection, &recorder));
  std::printf("%d files\n", recorder.files());
  return absl::OkStatus();
}

}  // namespace
}  // namespace bdr::postgres

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  const absl::Status status = bdr::postgres::Record(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
