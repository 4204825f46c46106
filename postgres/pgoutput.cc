#include "postgres/pgoutput.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

// The least that one column takes: in a tuple its kind alone; in a relation flags, the NUL of an
// empty name, type and modifier. A count that promises more columns than fit is a lie, and nothing
// may be reserved by it.
constexpr size_t kTupleColumnMin = 1;
constexpr size_t kRelationColumnMin = 1 + 1 + 4 + 4;

constexpr uint8_t kRelationKeyFlag = 1;
constexpr uint8_t kTruncateCascade = 1;
constexpr uint8_t kTruncateRestartIdentity = 2;
constexpr uint8_t kLogicalTransactional = 1;

absl::string_view NameOf(char type) {
  switch (type) {
    case 'B':
      return "Begin";
    case 'C':
      return "Commit";
    case 'O':
      return "Origin";
    case 'R':
      return "Relation";
    case 'Y':
      return "Type";
    case 'I':
      return "Insert";
    case 'U':
      return "Update";
    case 'D':
      return "Delete";
    case 'T':
      return "Truncate";
    case 'M':
      return "Message";
    case 'S':
      return "Stream Start";
    case 'E':
      return "Stream Stop";
    case 'c':
      return "Stream Commit";
    case 'A':
      return "Stream Abort";
    case 'b':
      return "Begin Prepare";
    case 'P':
      return "Prepare";
    case 'K':
      return "Commit Prepared";
    case 'r':
      return "Rollback Prepared";
    case 'p':
      return "Stream Prepare";
    default:
      return "";
  }
}

// Reads one message. A method that finds a lie returns its status; a read past the end is found
// once, when all is read.
class Decoder {
 public:
  Decoder(absl::string_view buffer, DecodeOptions options)
      : reader_(buffer), in_stream_(options.in_stream) {}

  absl::StatusOr<Message> Run() {
    type_ = static_cast<char>(reader_.Uint8());
    if (!reader_.ok()) return absl::InvalidArgumentError("pgoutput: the message is empty");
    if (NameOf(type_).empty()) {
      return absl::InvalidArgumentError(absl::StrFormat("pgoutput: unknown message type 0x%02x",
                                                        static_cast<unsigned char>(type_)));
    }
    absl::StatusOr<Message> message = Body();
    if (!message.ok()) return message;
    if (!reader_.ok()) return Wrong("is cut off");
    if (reader_.remaining() != 0) {
      return Wrong(absl::StrCat("has ", reader_.remaining(), " bytes too many"));
    }
    return message;
  }

 private:
  absl::Status Wrong(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("pgoutput: message \"", NameOf(type_), "\" ",
                                                   what, " at offset ", reader_.offset()));
  }

  absl::StatusOr<Message> Body() {
    switch (type_) {
      case 'B':
        return Begin();
      case 'C':
        return Commit();
      case 'O':
        return Origin();
      case 'R':
        return Relation();
      case 'Y':
        return Type();
      case 'I':
        return Insert();
      case 'U':
        return Update();
      case 'D':
        return Delete();
      case 'T':
        return Truncate();
      case 'M':
        return Logical();
      case 'S':
        return StreamStart();
      case 'E':
        return Message(StreamStopMessage{});
      case 'c':
        return StreamCommit();
      case 'A':
        return StreamAbort();
      default:
        return Prepared();
    }
  }

  Lsn ReadLsn() { return Lsn{reader_.Uint64()}; }
  int64_t ReadTime() { return FromWireTime(reader_.Uint64()); }
  uint32_t ReadStreamXid() { return in_stream_ ? reader_.Uint32() : 0; }

  // Flags that this version of the protocol does not use would change the meaning: refuse them.
  absl::Status ReadNoFlags() {
    const uint8_t flags = reader_.Uint8();
    if (flags != 0) return Wrong(absl::StrCat("has unknown flags ", flags));
    return absl::OkStatus();
  }

  absl::StatusOr<Message> Begin() {
    BeginMessage m;
    m.final_lsn = ReadLsn();
    m.commit_time_us = ReadTime();
    m.xid = reader_.Uint32();
    return m;
  }

  absl::StatusOr<Message> Commit() {
    CommitMessage m;
    RETURN_IF_ERROR(ReadNoFlags());
    m.commit_lsn = ReadLsn();
    m.end_lsn = ReadLsn();
    m.commit_time_us = ReadTime();
    return m;
  }

  absl::StatusOr<Message> Origin() {
    OriginMessage m;
    m.origin_lsn = ReadLsn();
    m.name = reader_.CString();
    return m;
  }

  // The wire's "" stands for pg_catalog.
  std::string ReadSchema() {
    const absl::string_view schema = reader_.CString();
    return schema.empty() ? "pg_catalog" : std::string(schema);
  }

  absl::StatusOr<Message> Relation() {
    RelationMessage m;
    m.xid = ReadStreamXid();
    m.relation_oid = reader_.Uint32();
    m.schema = ReadSchema();
    m.name = std::string(reader_.CString());
    m.replica_identity = static_cast<char>(reader_.Uint8());
    const size_t count = reader_.Uint16();
    if (!reader_.ok()) return Wrong("is cut off");
    if (absl::string_view("dnfi").find(m.replica_identity) == absl::string_view::npos) {
      return Wrong("has an unknown replica identity");
    }
    if (count > reader_.remaining() / kRelationColumnMin) {
      return Wrong(absl::StrCat("claims ", count, " columns, more than fit"));
    }
    m.columns.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      RelationColumn column;
      column.is_key = (reader_.Uint8() & kRelationKeyFlag) != 0;
      column.name = std::string(reader_.CString());
      column.type_oid = reader_.Uint32();
      column.type_modifier = reader_.Int32();
      if (!reader_.ok()) return Wrong("is cut off");
      m.columns.push_back(std::move(column));
    }
    return m;
  }

  absl::StatusOr<Message> Type() {
    TypeMessage m;
    m.xid = ReadStreamXid();
    m.type_oid = reader_.Uint32();
    m.schema = ReadSchema();
    m.name = std::string(reader_.CString());
    return m;
  }

  absl::Status ReadTuple(Tuple* tuple) {
    const size_t count = reader_.Uint16();
    if (!reader_.ok()) return Wrong("is cut off");
    if (count > reader_.remaining() / kTupleColumnMin) {
      return Wrong(absl::StrCat("claims ", count, " columns, more than fit"));
    }
    tuple->columns.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      ColumnValue value;
      value.kind = static_cast<ColumnKind>(reader_.Uint8());
      switch (value.kind) {
        case ColumnKind::kNull:
        case ColumnKind::kUnchangedToast:
          break;
        case ColumnKind::kText:
        case ColumnKind::kBinary:
          value.data = reader_.Bytes(reader_.Uint32());
          break;
        default:
          if (!reader_.ok()) return Wrong("is cut off");
          return Wrong(absl::StrCat("has an unknown kind of value in column ", i + 1));
      }
      if (!reader_.ok()) return Wrong("is cut off");
      tuple->columns.push_back(value);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<char> ReadTupleKind(absl::string_view allowed) {
    const char kind = static_cast<char>(reader_.Uint8());
    if (!reader_.ok()) return Wrong("is cut off");
    if (allowed.find(kind) == absl::string_view::npos) return Wrong("has an unknown kind of row");
    return kind;
  }

  absl::StatusOr<Message> Insert() {
    InsertMessage m;
    m.xid = ReadStreamXid();
    m.relation_oid = reader_.Uint32();
    RETURN_IF_ERROR(ReadTupleKind("N").status());
    RETURN_IF_ERROR(ReadTuple(&m.row));
    return m;
  }

  absl::StatusOr<Message> Update() {
    UpdateMessage m;
    m.xid = ReadStreamXid();
    m.relation_oid = reader_.Uint32();
    ASSIGN_OR_RETURN(const char first, ReadTupleKind("KON"));
    if (first != 'N') {
      m.old_kind = first;
      RETURN_IF_ERROR(ReadTuple(&m.old_row));
      RETURN_IF_ERROR(ReadTupleKind("N").status());
    }
    const size_t row_at = reader_.offset();
    RETURN_IF_ERROR(ReadTuple(&m.row));
    m.row_bytes = reader_.offset() - row_at;
    FillFromOldRow(&m);
    return m;
  }

  // What the new row leaves out is in the old one if that was sent whole, and always if it is of
  // the key: PostgreSQL logs the old key also where it stays the same but lies out of line.
  static void FillFromOldRow(UpdateMessage* m) {
    const size_t count = std::min(m->row.columns.size(), m->old_row.columns.size());
    for (size_t i = 0; i < count; ++i) {
      ColumnValue& value = m->row.columns[i];
      const ColumnValue& old = m->old_row.columns[i];
      const bool has_data = old.kind == ColumnKind::kText || old.kind == ColumnKind::kBinary;
      if (value.kind == ColumnKind::kUnchangedToast && has_data) value = old;
    }
  }

  absl::StatusOr<Message> Delete() {
    DeleteMessage m;
    m.xid = ReadStreamXid();
    m.relation_oid = reader_.Uint32();
    ASSIGN_OR_RETURN(m.old_kind, ReadTupleKind("KO"));
    RETURN_IF_ERROR(ReadTuple(&m.old_row));
    return m;
  }

  absl::StatusOr<Message> Truncate() {
    TruncateMessage m;
    m.xid = ReadStreamXid();
    const size_t count = reader_.Uint32();
    const uint8_t flags = reader_.Uint8();
    if (!reader_.ok()) return Wrong("is cut off");
    if ((flags & ~(kTruncateCascade | kTruncateRestartIdentity)) != 0) {
      return Wrong(absl::StrCat("has unknown flags ", flags));
    }
    m.cascade = (flags & kTruncateCascade) != 0;
    m.restart_identity = (flags & kTruncateRestartIdentity) != 0;
    if (count > reader_.remaining() / sizeof(uint32_t)) {
      return Wrong(absl::StrCat("claims ", count, " relations, more than fit"));
    }
    m.relation_oids.reserve(count);
    for (size_t i = 0; i < count; ++i) m.relation_oids.push_back(reader_.Uint32());
    return m;
  }

  absl::StatusOr<Message> Logical() {
    LogicalMessage m;
    m.xid = ReadStreamXid();
    const uint8_t flags = reader_.Uint8();
    if ((flags & ~kLogicalTransactional) != 0) {
      return Wrong(absl::StrCat("has unknown flags ", flags));
    }
    m.transactional = (flags & kLogicalTransactional) != 0;
    m.lsn = ReadLsn();
    m.prefix = reader_.CString();
    m.content = reader_.Bytes(reader_.Uint32());
    return m;
  }

  absl::StatusOr<Message> StreamStart() {
    StreamStartMessage m;
    m.xid = reader_.Uint32();
    m.first_segment = reader_.Uint8() == 1;
    return m;
  }

  absl::StatusOr<Message> StreamCommit() {
    StreamCommitMessage m;
    m.xid = reader_.Uint32();
    RETURN_IF_ERROR(ReadNoFlags());
    m.commit_lsn = ReadLsn();
    m.end_lsn = ReadLsn();
    m.commit_time_us = ReadTime();
    return m;
  }

  absl::StatusOr<Message> StreamAbort() {
    StreamAbortMessage m;
    m.xid = reader_.Uint32();
    m.subxid = reader_.Uint32();
    // Version 4 with streaming 'parallel' adds the abort's LSN and time, for which we have no use.
    if (reader_.remaining() != 0) {
      ReadLsn();
      ReadTime();
    }
    return m;
  }

  absl::StatusOr<Message> Prepared() {
    PreparedMessage m;
    m.kind = static_cast<PreparedMessage::Kind>(type_);
    if (m.kind != PreparedMessage::Kind::kBeginPrepare) RETURN_IF_ERROR(ReadNoFlags());
    m.lsn = ReadLsn();
    m.end_lsn = ReadLsn();
    // When it was prepared; a rollback names its own time behind it.
    m.time_us = ReadTime();
    if (m.kind == PreparedMessage::Kind::kRollbackPrepared) m.time_us = ReadTime();
    m.xid = reader_.Uint32();
    m.gid = reader_.CString();
    return m;
  }

  WireReader reader_;
  const bool in_stream_;
  char type_ = 0;
};

absl::string_view SchemaOnWire(absl::string_view schema) {
  return schema == "pg_catalog" ? absl::string_view() : schema;
}

}  // namespace

absl::StatusOr<Message> Decode(absl::string_view buffer, DecodeOptions options) {
  return Decoder(buffer, options).Run();
}

uint32_t PeekRelationOid(absl::string_view buffer, DecodeOptions options) {
  WireReader reader(buffer);
  const char type = static_cast<char>(reader.Uint8());
  if (type != 'I' && type != 'U' && type != 'D') return 0;
  if (options.in_stream) reader.Uint32();
  return reader.Uint32();
}

std::string Encode(const RelationMessage& relation) {
  std::string out = "R";
  AppendNumber<uint32_t>(&out, relation.relation_oid);
  AppendCString(&out, SchemaOnWire(relation.schema));
  AppendCString(&out, relation.name);
  out.push_back(relation.replica_identity);
  AppendNumber<uint16_t>(&out, static_cast<uint16_t>(relation.columns.size()));
  for (const RelationColumn& column : relation.columns) {
    AppendNumber<uint8_t>(&out, column.is_key ? kRelationKeyFlag : 0);
    AppendCString(&out, column.name);
    AppendNumber<uint32_t>(&out, column.type_oid);
    AppendNumber<int32_t>(&out, column.type_modifier);
  }
  return out;
}

std::string Encode(const TypeMessage& type) {
  std::string out = "Y";
  AppendNumber<uint32_t>(&out, type.type_oid);
  AppendCString(&out, SchemaOnWire(type.schema));
  AppendCString(&out, type.name);
  return out;
}

}  // namespace bdr::postgres
