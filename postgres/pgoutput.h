// Decoder of the messages of PostgreSQL's logical replication output plugin pgoutput, protocol
// versions 1 to 4.
//
// Source of the format: PostgreSQL manual, "Logical Replication Message Formats"
// (https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html).
//
// Zero-copy: every string_view in a decoded message points into the buffer given to Decode(), and
// lives no longer than it. Nothing is read past the end of the buffer whatever it holds: a
// truncated, oversized or random message gives kInvalidArgument that names the message and offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/lsn.h"

namespace bdr::postgres {

// Times are microseconds since 1970-01-01 UTC (the wire's epoch, 2000-01-01, is converted).

enum class ColumnKind : char {
  kNull = 'n',
  kUnchangedToast = 'u',  // not sent; the row keeps what it has
  kText = 't',
  kBinary = 'b',
};

struct ColumnValue {
  ColumnKind kind = ColumnKind::kNull;
  absl::string_view data;  // empty unless kText or kBinary
};

struct Tuple {
  std::vector<ColumnValue> columns;
};

struct BeginMessage {
  Lsn final_lsn;
  int64_t commit_time_us = 0;
  uint32_t xid = 0;
};

struct CommitMessage {
  Lsn commit_lsn;
  Lsn end_lsn;
  int64_t commit_time_us = 0;
};

struct OriginMessage {
  Lsn origin_lsn;  // as given to pg_replication_origin_xact_setup; 0 within a streamed block
  absl::string_view name;
};

struct RelationColumn {
  bool is_key = false;
  std::string name;
  uint32_t type_oid = 0;
  int32_t type_modifier = -1;
  // Not on the wire: whoever reads the relation knows that this column is gone where it is written
  // to, so its values are not.
  bool gone = false;
};

// Owns its strings: relations outlive the buffer which announced them.
struct RelationMessage {
  uint32_t xid = 0;  // only within a streamed block
  uint32_t relation_oid = 0;
  std::string schema;  // never empty: the wire's "" (pg_catalog) is spelled out
  std::string name;
  char replica_identity = 'd';  // d, n, f, i as in pg_class.relreplident
  std::vector<RelationColumn> columns;
};

struct TypeMessage {
  uint32_t xid = 0;
  uint32_t type_oid = 0;
  std::string schema;
  std::string name;
};

struct InsertMessage {
  uint32_t xid = 0;  // of the subtransaction, only within a streamed block
  uint32_t relation_oid = 0;
  Tuple row;
};

struct UpdateMessage {
  uint32_t xid = 0;
  uint32_t relation_oid = 0;
  // 'K': `old_row` holds the old key (other columns null); 'O': the whole old row (REPLICA IDENTITY
  // FULL); 0: no old row, the key did not change. With either the key may have stayed the same.
  char old_kind = 0;
  Tuple old_row;
  // What it leaves out (kUnchangedToast) and `old_row` has is taken from there: else an update
  // would come without its key where that is stored out of line.
  Tuple row;
  size_t row_bytes = 0;  // how long `row` is as it was sent, at the message's end
};

struct DeleteMessage {
  uint32_t xid = 0;
  uint32_t relation_oid = 0;
  char old_kind = 'K';  // 'K' or 'O', as above
  Tuple old_row;
};

struct TruncateMessage {
  uint32_t xid = 0;
  bool cascade = false;
  bool restart_identity = false;
  std::vector<uint32_t> relation_oids;
};

// pg_logical_emit_message(). Anyone may emit one: never trust its content.
struct LogicalMessage {
  uint32_t xid = 0;
  bool transactional = false;
  Lsn lsn;
  absl::string_view prefix;
  absl::string_view content;
};

struct StreamStartMessage {
  uint32_t xid = 0;
  bool first_segment = false;
};
struct StreamStopMessage {};
struct StreamCommitMessage {
  uint32_t xid = 0;
  Lsn commit_lsn;
  Lsn end_lsn;
  int64_t commit_time_us = 0;
};
struct StreamAbortMessage {
  uint32_t xid = 0;
  uint32_t subxid = 0;  // equals xid if the whole transaction was aborted
};

// Two-phase messages: Begin Prepare, Prepare, Commit Prepared, Rollback Prepared, Stream Prepare.
struct PreparedMessage {
  enum class Kind : char {
    kBeginPrepare = 'b',
    kPrepare = 'P',
    kCommitPrepared = 'K',
    kRollbackPrepared = 'r',
    kStreamPrepare = 'p',
  };
  Kind kind = Kind::kPrepare;
  Lsn lsn;  // prepare LSN; for kCommitPrepared the commit's, for kRollbackPrepared the prepare's
            // end
  Lsn end_lsn;          // end of the (rollback, commit) prepared transaction
  int64_t time_us = 0;  // prepare, commit or rollback time
  uint32_t xid = 0;
  absl::string_view gid;
};

using Message = std::variant<BeginMessage, CommitMessage, OriginMessage, RelationMessage,
                             TypeMessage, InsertMessage, UpdateMessage, DeleteMessage,
                             TruncateMessage, LogicalMessage, StreamStartMessage, StreamStopMessage,
                             StreamCommitMessage, StreamAbortMessage, PreparedMessage>;

// Between Stream Start and Stream Stop most messages carry an xid more; the caller knows which.
struct DecodeOptions {
  bool in_stream = false;
};

absl::StatusOr<Message> Decode(absl::string_view buffer, DecodeOptions options = {});

// The relation that an Insert, Update or Delete in `buffer` is about, without decoding the rest.
// 0 if the buffer is no such message.
uint32_t PeekRelationOid(absl::string_view buffer, DecodeOptions options = {});

// Writes a relation or type as pgoutput would send it outside of a streamed block: blocks of the
// change log carry them along in that form.
std::string Encode(const RelationMessage& relation);
std::string Encode(const TypeMessage& type);

}  // namespace bdr::postgres
