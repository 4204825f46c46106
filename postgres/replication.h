// The streaming replication protocol, client side: logical slots and the stream of changes.
//
// Source: PostgreSQL manual, "Streaming Replication Protocol".
//
// Not thread-safe: one owner.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/lsn.h"
#include "postgres/connection.h"

namespace bdr::postgres {

struct CreatedSlot {
  std::string name;
  Lsn consistent_point;
  std::string snapshot;  // exported, valid until the next command on the connection; may be empty
};

struct SystemIdentity {
  std::string system_identifier;
  uint32_t timeline = 0;
  Lsn wal_flush_lsn;
};

struct CreateSlotOptions {
  std::string name;
  bool temporary = false;
  bool export_snapshot = false;
};

struct StartOptions {
  std::string slot;
  Lsn start;
  std::vector<std::string> publications;
  // Values in binary where their type can; else all as text (see Start()).
  bool binary = true;
  // Transactions that need more are streamed while in progress (logical_decoding_work_mem); 0: as
  // the server has it.
  int decoding_memory_kb = 0;
  // Also logical messages, of whatever size and from whomever: each role may send them
  // (pg_logical_emit_message).
  bool messages = false;
  // Also what replication origins wrote; up to 15 that comes always.
  bool any_origin = false;
  // Off: every transaction is sent whole after its commit, however large it is, and what cannot be
  // decoded fails at its commit record (see ReadPosition()).
  bool streaming = true;
};

// What the walsender sent. `data` points into a buffer that is valid until the next Receive().
struct StreamItem {
  enum class Kind { kData, kKeepalive };
  Kind kind = Kind::kKeepalive;
  Lsn wal_start;             // kData only
  Lsn wal_end;               // end of WAL that the server has sent or skipped so far
  int64_t send_time_us = 0;  // server's clock, µs since 1970
  bool reply_requested = false;
  absl::string_view data;  // one pgoutput message
};

struct StandbyStatus {
  Lsn write;
  Lsn flush;  // moves the slot's confirmed_flush_lsn
  Lsn apply;
  bool request_reply = false;
};

class ReplicationConnection {
 public:
  // Opens a connection with replication=database.
  static absl::StatusOr<std::unique_ptr<ReplicationConnection>> Connect(ConnectOptions options);

  absl::StatusOr<SystemIdentity> IdentifySystem();
  // kAlreadyExists if there is a slot of this name.
  absl::StatusOr<CreatedSlot> CreateSlot(const CreateSlotOptions& options);

  // START_REPLICATION with pgoutput, the highest protocol version of the server that we know,
  // binary 'true' unless it is not wanted, streaming 'on' unless it is switched
  // off, and from PostgreSQL 16 origin 'none'.
  // kUnavailable if the slot is in use, kFailedPrecondition if it is lost or missing.
  // In binary a value that has no such form, though its type claims one (an array of aclitem), ends
  // the stream with SQLSTATE 42883, and each later one that comes to it.
  absl::Status Start(const StartOptions& options);

  // The next item; nullopt if none came within `timeout` (zero: only what is already here), or
  // before `wake_fd` became readable, if that is not negative.
  // kUnavailable when the stream has ended.
  absl::StatusOr<std::optional<StreamItem>> Receive(absl::Duration timeout, int wake_fd = -1);

  absl::Status SendStatus(const StandbyStatus& status);

  // After Receive() has failed with an error of the server that left the connection alive: where
  // the WAL record begins which it could not process. Needs pg_monitor.
  absl::StatusOr<Lsn> ReadPosition();

  // Interrupts a command that runs (CREATE_REPLICATION_SLOT waits for open transactions); from any
  // thread.
  void Cancel() { connection_->Cancel(); }

  int server_version() const { return connection_->server_version(); }

 private:
  explicit ReplicationConnection(std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)) {}
  std::unique_ptr<Connection> connection_;
  char* copy_buffer_ = nullptr;

 public:
  ~ReplicationConnection();
};

}  // namespace bdr::postgres
