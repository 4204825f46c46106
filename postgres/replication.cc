#include "postgres/replication.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

constexpr size_t kDataHeader = 1 + 8 + 8 + 8;
constexpr size_t kKeepaliveSize = 1 + 8 + 8 + 1;

// A string of the replication grammar, which knows no backslash escapes.
std::string ReplicationLiteral(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

int ProtocolVersion(int server_version) { return server_version >= 160000 ? 4 : 3; }

std::string StartCommand(const StartOptions& options, int server_version) {
  const std::string publications = absl::StrJoin(
      options.publications, ",",
      [](std::string* out, const std::string& name) { out->append(QuoteIdentifier(name)); });
  std::string command = absl::StrCat(
      "START_REPLICATION SLOT ", QuoteIdentifier(options.slot), " LOGICAL ",
      ToString(options.start), " (proto_version '", ProtocolVersion(server_version),
      "', publication_names ", ReplicationLiteral(publications),
      options.binary ? ", binary 'true'" : "", options.messages ? ", messages 'true'" : "");
  if (options.streaming) absl::StrAppend(&command, ", streaming 'on'");
  if (server_version >= 160000) {
    absl::StrAppend(&command, options.any_origin ? ", origin 'any'" : ", origin 'none'");
  }
  absl::StrAppend(&command, ")");
  return command;
}

// A slot that was invalidated says "object not in prerequisite state": waiting does not help.
absl::Status SlotError(absl::string_view what, const PGresult* result, PGconn* conn) {
  const absl::Status status = ErrorStatus(what, result, conn);
  const std::string sqlstate = Sqlstate(status);
  if (sqlstate == "42710") return absl::AlreadyExistsError(status.message());
  if (sqlstate != "55000") return status;
  absl::Status mapped = absl::FailedPreconditionError(status.message());
  status.ForEachPayload([&mapped](absl::string_view url, const absl::Cord& payload) {
    mapped.SetPayload(url, payload);
  });
  return mapped;
}

absl::StatusOr<StreamItem> ParseItem(absl::string_view message) {
  WireReader reader(message);
  const char kind = static_cast<char>(reader.Uint8());
  StreamItem item;
  if (kind == 'w' && message.size() >= kDataHeader) {
    item.kind = StreamItem::Kind::kData;
    item.wal_start = Lsn{reader.Uint64()};
    item.wal_end = Lsn{reader.Uint64()};
    item.send_time_us = FromWireTime(reader.Uint64());
    item.data = reader.Bytes(reader.remaining());
    return item;
  }
  if (kind == 'k' && message.size() == kKeepaliveSize) {
    item.kind = StreamItem::Kind::kKeepalive;
    item.wal_end = Lsn{reader.Uint64()};
    item.send_time_us = FromWireTime(reader.Uint64());
    item.reply_requested = reader.Uint8() != 0;
    return item;
  }
  return absl::DataLossError(absl::StrCat(
      "the replication stream holds a message of ", message.size(),
      " bytes that is neither data nor keepalive; is a proxy between agent and PostgreSQL?"));
}

// False if `deadline` passed first.
bool WaitReadable(PGconn* conn, int wake_fd, absl::Time deadline, bool* woken) {
  const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  const int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
  pollfd fds[] = {{.fd = PQsocket(conn), .events = POLLIN, .revents = 0},
                  {.fd = wake_fd, .events = POLLIN, .revents = 0}};
  const int ready = poll(fds, 2, static_cast<int>(std::min<int64_t>(ms, 1000 * 1000)));
  *woken = fds[1].revents != 0;
  return ready != 0;  // an error of poll() shows in the next read
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReplicationConnection>> ReplicationConnection::Connect(
    ConnectOptions options) {
  options.replication = true;
  ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Connection::Connect(options));
  return std::unique_ptr<ReplicationConnection>(new ReplicationConnection(std::move(connection)));
}

ReplicationConnection::~ReplicationConnection() { PQfreemem(copy_buffer_); }

absl::StatusOr<SystemIdentity> ReplicationConnection::IdentifySystem() {
  ASSIGN_OR_RETURN(const Result result, connection_->Exec("IDENTIFY_SYSTEM"));
  SystemIdentity identity;
  if (result.rows() != 1 || result.columns() < 3 ||
      !absl::SimpleAtoi(result.value(0, 1), &identity.timeline)) {
    return absl::InternalError("IDENTIFY_SYSTEM gave no identity");
  }
  identity.system_identifier = std::string(result.value(0, 0));
  ASSIGN_OR_RETURN(identity.wal_flush_lsn, ParseLsn(result.value(0, 2)));
  return identity;
}

absl::StatusOr<CreatedSlot> ReplicationConnection::CreateSlot(const CreateSlotOptions& options) {
  const std::string command =
      absl::StrCat("CREATE_REPLICATION_SLOT ", QuoteIdentifier(options.name),
                   options.temporary ? " TEMPORARY" : "", " LOGICAL pgoutput (SNAPSHOT '",
                   options.export_snapshot ? "export" : "nothing", "')");
  PGconn* conn = connection_->raw();
  const Result result(PQexec(conn, command.c_str()));
  if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
    return SlotError(absl::StrCat("cannot create replication slot \"", options.name, "\""),
                     result.get(), conn);
  }
  if (result.rows() != 1 || result.columns() < 3) {
    return absl::InternalError(
        absl::StrCat("creating replication slot \"", options.name, "\" gave no consistent point"));
  }
  CreatedSlot slot;
  slot.name = std::string(result.value(0, 0));
  ASSIGN_OR_RETURN(slot.consistent_point, ParseLsn(result.value(0, 1)));
  slot.snapshot = std::string(result.value(0, 2));
  return slot;
}

absl::Status ReplicationConnection::Start(const StartOptions& options) {
  if (server_version() < 150000) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot stream from PostgreSQL ", server_version() / 10000, ": 15 or later is needed"));
  }
  if (options.decoding_memory_kb > 0) {
    const absl::StatusOr<Result> set = connection_->Exec(
        absl::StrCat("SET logical_decoding_work_mem = ", options.decoding_memory_kb));
    if (!set.ok()) return set.status();
  }
  PGconn* conn = connection_->raw();
  const Result result(PQexec(conn, StartCommand(options, server_version()).c_str()));
  if (PQresultStatus(result.get()) != PGRES_COPY_BOTH) {
    return SlotError(absl::StrCat("cannot stream from replication slot \"", options.slot, "\""),
                     result.get(), conn);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<StreamItem>> ReplicationConnection::Receive(absl::Duration timeout,
                                                                         int wake_fd) {
  PQfreemem(copy_buffer_);
  copy_buffer_ = nullptr;
  PGconn* conn = connection_->raw();
  const absl::Time deadline = absl::Now() + timeout;
  bool expired = false;
  while (true) {
    const int size = PQgetCopyData(conn, &copy_buffer_, /*async=*/1);
    if (size > 0) {
      ASSIGN_OR_RETURN(StreamItem item,
                       ParseItem(absl::string_view(copy_buffer_, static_cast<size_t>(size))));
      return std::optional<StreamItem>(item);
    }
    if (size < 0) {
      const Result last(size == -1 ? PQgetResult(conn) : nullptr);
      const ExecStatusType status = PQresultStatus(last.get());
      // PGRES_COPY_IN: the server has ended its half and waits for ours, as it does on shutdown.
      const bool orderly =
          last.get() != nullptr && (status == PGRES_COPY_IN || status == PGRES_COMMAND_OK);
      if (!orderly) return SlotError("the replication stream has failed", last.get(), conn);
      return absl::UnavailableError("the replication stream was ended by PostgreSQL");
    }
    if (expired) return std::optional<StreamItem>();
    // Reading what has arrived comes before giving up, also with no time left.
    bool woken = false;
    expired = (!WaitReadable(conn, wake_fd, deadline, &woken) && absl::Now() >= deadline) || woken;
    if (PQconsumeInput(conn) != 1) {
      return ErrorStatus("the replication stream was lost", nullptr, conn);
    }
  }
}

absl::StatusOr<Lsn> ReplicationConnection::ReadPosition() {
  // What is left of the failed command.
  while (PGresult* const next = PQgetResult(connection_->raw())) {
    const Result left(next);
    if (PQresultStatus(left.get()) == PGRES_COPY_BOTH) break;
  }
  // A walsender keeps what it shows of itself until it streams again. It counts whole records.
  ASSIGN_OR_RETURN(const Result sent,
                   connection_->Exec("SELECT sent_lsn FROM pg_catalog.pg_stat_replication "
                                     "WHERE pid = pg_catalog.pg_backend_pid()"));
  if (sent.rows() != 1 || sent.is_null(0, 0)) {
    return absl::FailedPreconditionError(
        "PostgreSQL does not tell how far its walsender has read; GRANT pg_monitor to the agent's "
        "role");
  }
  return ParseLsn(sent.value(0, 0));
}

absl::Status ReplicationConnection::SendStatus(const StandbyStatus& status) {
  std::string message = "r";
  message.reserve(34);
  AppendNumber<uint64_t>(&message, status.write.value);
  AppendNumber<uint64_t>(&message, status.flush.value);
  AppendNumber<uint64_t>(&message, status.apply.value);
  AppendNumber<uint64_t>(&message, ToWireTime(absl::ToUnixMicros(absl::Now())));
  message.push_back(status.request_reply ? 1 : 0);
  PGconn* conn = connection_->raw();
  if (PQputCopyData(conn, message.data(), static_cast<int>(message.size())) != 1 ||
      PQflush(conn) != 0) {
    return ErrorStatus("cannot report progress to PostgreSQL", nullptr, conn);
  }
  return absl::OkStatus();
}

}  // namespace bdr::postgres
